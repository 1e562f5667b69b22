/* A projection of the folder that is two tensors in GGUF: its rows are groups (heads) of sections, of which GGUF has
 * some gathered in a tensor of their own. */
#ifndef CONVERT_SPLIT_ROWS_H
#define CONVERT_SPLIT_ROWS_H

#include "convert/convert.h"
#include "formats/gguf_arch.h"
#include "models/inventory.h"

struct split_rows {
    const struct checkpoint *ck;
    struct convert_item source; /* the whole projection as fp32 */
    uint64_t isa;
    struct gguf_sections s;
    uint32_t first, last; /* sections of the output: all groups' `first`, then all groups' next one, up to `last` */
    bool transposed;      /* of one section: [groups, columns, rows of the section] */
    uint32_t n_dims;
    uint64_t dims[GGUF_DIMS_MAX]; /* of the output */
};

/* Fills everything but ck, source and isa. ERR_FORMAT when the projection's rows are not those of the configuration. */
MUST_CHECK bool split_rows_plan(struct split_rows *r, enum gguf_change change, const struct model_config *cfg,
                                const struct model_tensor *t, struct error *err);
/* convert_item's `read`; ctx: struct split_rows. */
bool split_rows_read(void *ctx, uint32_t worker, uint64_t first, uint64_t n, float *out, struct error *err);

#endif
