#include "calibrate/rounded.h"

#include "backends/cpu/kernel.h"
#include "core/bytes.h"
#include "core/memory.h"
#include "plan/scale_method.h"

#define LEAST_BLOCK 16u /* columns that share a scale, at least */

static float scale_of(const struct plan_item *item, float amax)
{
    return quant_format_has_tensor_scale(item->format) ? plan_item_weight_scale(item, amax) : 0;
}

void decode_rows(const struct plan_item *item, float amax, uint64_t isa, const struct coded_rows *c, uint64_t n,
                 float *out)
{
    kernel_for(quant_format_decoder(item->format, item->zero),
               isa)(&(struct kernel_args){.n_rows = n,
                                          .n_cols = item->tensor->dims[1],
                                          .src = c->codes,
                                          .src_scale = c->bytes,
                                          .src_scale_f32 = c->floats,
                                          .scale = scale_of(item, amax),
                                          .group = item->format->block_cols,
                                          .dst_f32 = out});
}

static void encode(const struct plan_item *item, struct kernel_args a, uint64_t isa, const struct coded_rows *c)
{
    enum op chooses = plan_item_scale_op(item), encodes = quant_format_encoder(item->format, item->zero);
    a.dst = c->codes;
    a.dst_scale = c->bytes;
    a.dst_f32 = c->floats;
    if (chooses != OP_COUNT) {
        kernel_for(chooses, isa)(&a);
        a.block_amax = c->floats;
        encodes = OP_ENCODE_NVFP4_STATIC;
    }
    kernel_for(encodes, isa)(&a);
}

void code_rows(const struct plan *p, uint32_t i, enum scale_method scales, float amax, uint64_t isa, const void *rows,
               enum dtype dtype, uint64_t n, const struct coded_rows *c)
{
    struct plan_item item = p->items[i];
    item.scales = scales; /* the tensor's scale goes with them */
    struct kernel_args a = {.n_rows = n,
                            .n_cols = item.tensor->dims[1],
                            .src = rows,
                            .dtype = dtype,
                            .scale = scale_of(&item, amax),
                            .amax = amax,
                            .static_max = scale_method_max(scales),
                            .range_start = item.range.start,
                            .range_stop = item.range.stop,
                            .range_count = item.range.n,
                            .rounding = p->recipe->rounding,
                            .mxfp4_rule = item.type->mxfp4_rule,
                            .group = item.format->block_cols,
                            .int4_scale = quant_format_int4_scale(item.format)};
    encode(&item, a, isa, c);
    quant_raise_zeros(item.format, c->bytes, c->codes, n, a.n_cols);
}

bool round_rows(const struct plan *p, uint32_t i, enum scale_method scales, float amax, uint64_t isa, const void *rows,
                enum dtype dtype, uint64_t n, float *out, struct error *err)
{
    struct plan_item item = p->items[i];
    uint64_t cols = item.tensor->dims[1], blocks = u64_div_up(cols, LEAST_BLOCK);
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *bytes = NULL;
    CLEANUP(free) float *floats = NULL; /* scales, or chosen maxima */
    if (!memory_alloc(&codes, n, cols, err) || !memory_alloc(&bytes, n, blocks, err) ||
        !memory_alloc(&floats, n * blocks, sizeof *floats, err))
        return false;
    const struct coded_rows c = {codes, bytes, floats};
    item.scales = scales;
    code_rows(p, i, scales, amax, isa, rows, dtype, n, &c);
    decode_rows(&item, amax, isa, &c, n, out);
    return true;
}

/* Rows [from, from + n), which begin and end where the format may be cut. */
static bool whole_rows(const struct plan *p, uint32_t i, const struct fold_factors *factors, float amax, uint64_t isa,
                       uint64_t from, uint64_t n, float *out, struct error *err)
{
    const struct plan_item *item = &p->items[i];
    uint32_t weight = item->tensor->parts[PART_WEIGHT];
    const struct tensor_info *info = checkpoint_tensor(p->inventory->checkpoint, weight);
    uint64_t cols = item->tensor->dims[1], row_bytes = cols * dtype_bytes(info->dtype);
    CLEANUP(free) uint8_t *raw = NULL;
    if (!memory_alloc(&raw, n, row_bytes, err) ||
        !checkpoint_read(p->inventory->checkpoint, weight, from * row_bytes, raw, n * row_bytes, err))
        return false;
    if (factors) fold_apply(p, i, factors, info->dtype, from * cols, n * cols, raw, raw);
    return round_rows(p, i, item->scales, amax, isa, raw, info->dtype, n, out, err);
}

bool rounded_rows(const struct plan *p, uint32_t item, const struct fold_factors *factors, float amax, uint64_t isa,
                  uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct model_tensor *t = p->items[item].tensor;
    uint64_t unit = quant_format_rows(p->items[item].format), cols = t->dims[1];
    if (unit == 0) unit = 1;
    uint64_t from = first / unit * unit, to = u64_min(u64_div_up(first + n, unit) * unit, t->dims[0]);
    if (from == first && to == first + n) return whole_rows(p, item, factors, amax, isa, first, n, out, err);
    CLEANUP(free) float *wide = NULL;
    if (!memory_alloc(&wide, (to - from) * cols, sizeof *wide, err) ||
        !whole_rows(p, item, factors, amax, isa, from, to - from, wide, err))
        return false;
    memcpy(out, wide + (first - from) * cols, n * cols * sizeof *out);
    return true;
}
