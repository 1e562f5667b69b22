#include "engine/scaled_rows.h"

#include "core/memory.h"

#include <math.h>

#define BLOCK_ROWS 128u /* of FP8 blocks; formats/quant_format.c has the same number */
#define INT4_ZERO 8u    /* compressed-tensors stores the number plus 8 */

bool scaled_rows_scales(const struct engine *e, const struct model_tensor *t, enum tensor_part part, uint64_t first,
                        uint64_t n, float **out, struct error *err)
{
    const struct checkpoint *ck = e->inv->checkpoint;
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[part]);
    uint64_t cols = info->dims[0] ? info->n_elems / info->dims[0] : 0, row_bytes = cols * dtype_bytes(info->dtype);
    CLEANUP(free) void *raw = NULL;
    CLEANUP(free) float *v = NULL;
    if (!memory_alloc(&raw, n * row_bytes, 1, err) || !memory_alloc(&v, n * cols, sizeof *v, err) ||
        !checkpoint_read(ck, t->parts[part], first * row_bytes, raw, n * row_bytes, err))
        return false;
    e->widen(&(struct kernel_args){.n_rows = n, .n_cols = cols, .src = raw, .dtype = info->dtype, .dst_f32 = v});
    for (uint64_t i = 0; i < n * cols; i++)
        if (!(v[i] >= 0) || !isfinite(v[i]))
            return error_set(err, ERR_FORMAT,
                             "tensor '%.256s' holds %g in row %llu; a scale is finite and not negative", info->name,
                             (double)v[i], (unsigned long long)(first + i / cols));
    *out = take_ptr(&v);
    return true;
}

/* Rows of one block of 128 share its scales; a run may begin and end inside of blocks. */
static bool block_rows(const struct engine *e, const struct model_tensor *t, enum tensor_part part, uint64_t first,
                       uint64_t n, const uint8_t *raw, float *out, struct error *err)
{
    kernel_fn decode = kernel_for(OP_DECODE_FP8_BLOCK, e->isa);
    uint64_t cols = t->dims[1];
    for (uint64_t i = 0; i < n;) {
        uint64_t m = u64_min(n - i, BLOCK_ROWS - (first + i) % BLOCK_ROWS);
        CLEANUP(free) float *scales = NULL;
        if (!scaled_rows_scales(e, t, part, (first + i) / BLOCK_ROWS, 1, &scales, err)) return false;
        decode(&(struct kernel_args){
            .n_rows = m, .n_cols = cols, .src = raw + i * cols, .src_scale_f32 = scales, .dst_f32 = out + i * cols});
        i += m;
    }
    return true;
}

/* A scale per row or per group of a row. */
static bool group_rows(const struct engine *e, const struct model_tensor *t, uint64_t first, uint64_t n,
                       const uint8_t *raw, float *out, struct error *err)
{
    const struct quant_format *f = t->format;
    uint64_t cols = t->dims[1], n_groups = n * (cols / f->block_cols);
    CLEANUP(free) float *scales = NULL;
    CLEANUP(free) uint8_t *zeros = NULL;
    bool has_zeros = f->decode_op == OP_DECODE_INT4_ZERO;
    if (!scaled_rows_scales(e, t, PART_WEIGHT_SCALE, first, n, &scales, err) ||
        (has_zeros && !memory_alloc(&zeros, n_groups, 1, err)))
        return false;
    if (has_zeros) memset(zeros, INT4_ZERO, n_groups);
    kernel_for(f->decode_op, e->isa)(&(struct kernel_args){.n_rows = n,
                                                           .n_cols = cols,
                                                           .src = raw,
                                                           .src_scale = zeros,
                                                           .src_scale_f32 = scales,
                                                           .group = f->block_cols,
                                                           .dst_f32 = out});
    return true;
}

bool scaled_rows(const struct engine *e, const struct model_tensor *t, uint64_t first, uint64_t n, const void *raw,
                 float *out, struct error *err)
{
    switch (t->format->decode_op) {
    case OP_DECODE_INT4:
    case OP_DECODE_INT4_ZERO:
    case OP_DECODE_FP8_CHANNEL: return group_rows(e, t, first, n, raw, out, err);
    case OP_DECODE_FP8_BLOCK: return block_rows(e, t, t->format->parts[1].part, first, n, raw, out, err);
    default:
        return error_set(err, ERR_INTERNAL, "tensor '%.256s': %s is not decoded by blocks", t->name, t->format->name);
    }
}

bool check_packed_shape(const struct engine *e, const struct model_tensor *t, struct error *err)
{
    const struct checkpoint *ck = e->inv->checkpoint;
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[PART_WEIGHT_SHAPE]);
    int64_t said[2] = {0};
    int32_t narrow[2] = {0};
    bool wide = info->dtype == DTYPE_I64;
    if (!checkpoint_read(ck, t->parts[PART_WEIGHT_SHAPE], 0, wide ? (void *)said : (void *)narrow,
                         wide ? sizeof said : sizeof narrow, err))
        return false;
    for (int i = 0; i < 2 && !wide; i++) said[i] = narrow[i];
    if (said[0] == (int64_t)t->dims[0] && said[1] == (int64_t)t->dims[1]) return true;
    return error_set(err, ERR_FORMAT, "tensor '%.256s' says [%lld, %lld], expected [%llu, %llu] (from config.json)",
                     info->name, (long long)said[0], (long long)said[1], (unsigned long long)t->dims[0],
                     (unsigned long long)t->dims[1]);
}
