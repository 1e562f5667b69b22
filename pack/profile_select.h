/* The profiles of a package, as its index tells them, and which of them suits a machine. Nothing but documents is read.
 *
 *     profile_offers_open(&offers, "oci:dist:v1", &err);
 *     machine_parse("gpu=b200,count=2", &machine, &err);
 *     uint32_t best = profile_select(&offers, &machine, rows); */
#ifndef PACK_PROFILE_SELECT_H
#define PACK_PROFILE_SELECT_H

#include "formats/oci_package.h"
#include "pack/profile_rows.h"

#define MACHINE_NAME_BYTES 128u

/* What is known of a machine; everything may be unknown, and then nothing is refused for it. */
struct machine {
    char gpu[MACHINE_NAME_BYTES]; /* an id or alias of profiles/gpus.yaml, or what the driver calls it; "": unknown */
    bool count_known;
    uint32_t count;      /* of equal GPUs; 0 when count_known: there is none */
    uint64_t memory;     /* bytes of one; 0: unknown */
    uint32_t capability; /* major * 10 + minor; 0: unknown */
};

/* "gpu=NAME,count=N,memory=180GiB,capability=10.0", each at most once, in any order; count is 1 when it is not said.
 * ERR_USAGE. */
MUST_CHECK bool machine_parse(const char *text, struct machine *out, struct error *err);

/* One image of a package. Texts are borrowed from the package's documents; NULL where it does not say. */
struct profile_offer {
    const char *name, *id, *engine, *version, *precision, *gpu, *gpu_name, *tag;
    uint32_t count, capability; /* of GPUs that it was made for; 0: it runs anywhere */
    uint64_t memory;            /* bytes of one of them */
    struct digest image;
    bool fits;
    char why[256]; /* what does not fit */
};

struct profile_offers {
    struct oci_layout layout;
    struct oci_package package;
    char *dir;
    struct profile_offer *list; /* the fallback first */
    uint32_t n;
};

/* `ref`: "oci:DIR:TAG". ERR_FORMAT when an annotation is no number where one must be. */
MUST_CHECK bool profile_offers_open(struct profile_offers *o, const char *ref, struct error *err);
void profile_offers_close(struct profile_offers *o);

static inline void cleanup_profile_offers(struct profile_offers *o)
{
    profile_offers_close(o);
}

/* Fills fits and why of every offer; the number of the one to take: of those that fit, the one for most GPUs, the first
 * of equals. The fallback always fits. */
uint32_t profile_select(struct profile_offers *o, const struct machine *m, const struct profile_rows *rows);

#endif
