#include "engine/int4_rows.h"

#include "engine/scaled_rows.h"

#include "core/memory.h"
#include "models/int4_parts.h"

bool int4_rows(const struct engine *e, const struct model_tensor *t, uint64_t first, uint64_t n, const uint8_t *codes,
               float *out, struct error *err)
{
    const struct checkpoint *ck = e->inv->checkpoint;
    uint64_t cols = t->dims[1], n_groups = cols / t->format->block_cols;
    CLEANUP(free) float *scales = NULL;
    CLEANUP(free) uint8_t *zeros = NULL;
    CLEANUP(free) uint32_t *order = NULL;
    if (!memory_alloc(&zeros, n * n_groups, 1, err) || !int4_zeros(ck, t, first, n, zeros, err)) return false;
    if (!t->format->parts[0].on_side) {
        if (!scaled_rows_scales(e, t, PART_WEIGHT_SCALE, first, n, &scales, err)) return false;
    } else if (!memory_alloc(&scales, n * n_groups, sizeof *scales, err) ||
               !int4_side_scales(ck, t, first, n, scales, err)) {
        return false;
    }
    if (!int4_order(ck, t, &order, err)) return false;
    if (order) {
        int4_decode_ordered(&(struct int4_ordered){order, codes, scales, zeros}, n, cols, n_groups, out);
        return true;
    }
    kernel_for(OP_DECODE_INT4_ZERO, e->isa)(&(struct kernel_args){.n_rows = n,
                                                                  .n_cols = cols,
                                                                  .src = codes,
                                                                  .src_scale = zeros,
                                                                  .src_scale_f32 = scales,
                                                                  .group = t->format->block_cols,
                                                                  .dst_f32 = out});
    return true;
}
