/* What the parts of package verification share. Private to verify/package.c, signature.c, image_layers.c,
 * layout_files.c. */
#ifndef VERIFY_PACKAGE_STATE_H
#define VERIFY_PACKAGE_STATE_H

#include "formats/oci_layout.h"
#include "formats/tar.h"
#include "verify/package.h"

struct package {
    const struct package_options *o;
    struct report *report;
    struct oci_ref ref;
    struct oci_layout layout;
    struct oci_index index;
    uint32_t image;                 /* entry of the index that has the tag */
    struct oci_manifest *manifests; /* one per index entry; `doc` NULL where it cannot be read */
    bool all_read;                  /* every manifest was: it is known what they refer to */
    struct oci_config config;       /* `doc` NULL where it cannot be read */
};

static inline const struct oci_descriptor *package_image(const struct package *p)
{
    return &p->index.manifests[p->image];
}

/* Turns a failed call into a line of the report: wrong bytes and shapes are failures of `check_class`, an operating
 * system that does not read is undecided. False (err is set) for what is not about the package: memory, our own
 * mistakes. */
MUST_CHECK bool package_judge(struct report *r, const char *check_class, const char *name, const struct error *found,
                              struct error *err);

/* The parts, in the order of the report. False only as in package_verify. */
MUST_CHECK bool package_check_signatures(struct package *p, struct error *err);
MUST_CHECK bool package_check_layers(struct package *p, struct error *err);
MUST_CHECK bool package_check_files(struct package *p, struct error *err);

#endif
