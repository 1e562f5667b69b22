/* A thin layout: a package without its weights and without a base's layers (docs/package.md, thin layouts). Enough to
 * sign, to attest and to audit; the host with the key never needs the weights. What was signed there comes back by
 * merge_run. */
#ifndef PACK_THIN_H
#define PACK_THIN_H

#include "core/crypto.h"
#include "core/progress.h"

struct thin_result {
    struct digest image; /* of the package: that of the whole one */
    uint32_t n_blobs, n_left_out;
    uint64_t bytes, bytes_left_out;
};

/* From "oci:DIR:TAG" into the folder `out`; every blob is checked on its way. All images and referrers of the layout
 * come along. ERR_USAGE when `out` exists and not `replace`. */
MUST_CHECK bool thin_run(const char *ref, const char *out, bool replace, const struct progress *progress,
                         struct thin_result *result, struct error *err);

/* Adds to the package what `from`, a layout, has more: entries with a subject that the package has, and legacy
 * signatures (tag sha256-HEX.sig) of its images, with their blobs. Nothing else is taken. *n_added: entries. ERR_FORMAT
 * when a legacy signature of the package would be lost. */
MUST_CHECK bool merge_run(const char *ref, const char *from, uint32_t *n_added, struct error *err);

#endif
