/* The model inside a package, as far as it is there. */
#ifndef CLI_VERIFY_PACKED_H
#define CLI_VERIFY_PACKED_H

#include "formats/oci_kept.h"
#include "models/inventory.h"
#include "verify/report.h"

struct packed {
    struct model model; /* whole */
    bool has_model;
    struct folder *thin; /* without a model: the files of a thin layout; NULL: nothing can be read */
};

/* Of a package that was verified, from what was verified (formats/oci_kept.h); `ref` is its name in sentences.
 * `beside`: where the weights of a thin layout are, or NULL. What cannot be opened becomes a check in `r`; false only
 * when looking failed. */
MUST_CHECK bool packed_open(struct packed *p, const char *ref, const struct oci_kept *k,
                            const struct oci_weights *beside, struct report *r, struct error *err);
void packed_close(struct packed *p);

static inline void cleanup_packed(struct packed *p)
{
    packed_close(p);
}

/* Where ingot.json is; NULL: nowhere. */
static inline const struct folder *packed_folder(const struct packed *p)
{
    return p->has_model ? p->model.folder : p->thin;
}

#endif
