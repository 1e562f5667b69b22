/* One layer of an image: its bytes, its shape, its labels. Private to verify/image_layers.c, which runs them in
 * parallel. */
#ifndef VERIFY_LAYER_CHECK_H
#define VERIFY_LAYER_CHECK_H

#include "verify/package_state.h"

#include <stdatomic.h>

struct layer_run {
    struct package *p;
    const struct oci_manifest *m;
    struct layer_check *checks; /* [m->n_layers]; an item fills its own */
    struct oci_kept *kept; /* gets its own layers, not the base's; NULL: nobody needs them, or not the first image */
    _Atomic uint64_t done_bytes;
    _Atomic bool cancelled;
    uint64_t total_bytes;
    uint32_t n_base; /* layers of the base: only their bytes are checked */
};

/* Before: which layers are read with this image; the others are alike to one that is, or was. */
void layers_claim(struct layer_run *run);
/* Afterwards, in order: what was found is shared; what this manifest says of the layer is its own. */
MUST_CHECK bool layer_settle(struct layer_run *run, uint32_t layer, struct error *err);
/* An item of a parallel-for: layer `item`, read once. False only when checking itself failed. */
MUST_CHECK bool layer_check_item(void *run, uint64_t item, uint32_t worker, struct error *err);
/* "adapters/NAME/..." -> NAME; *n its bytes, 0 for other paths. */
const char *layer_adapter(const char *path, size_t *n);

#endif
