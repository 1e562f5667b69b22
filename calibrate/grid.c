#include "calibrate/grid.h"

#include "backends/cpu/kernel.h"
#include "plan/scale_method.h"

bool grid_knows(const struct quant_format *f)
{
    return f->encode_op == OP_ENCODE_NVFP4 || f->encode_op == OP_ENCODE_INT4 || f->encode_op == OP_ENCODE_INT4_ZERO;
}

enum grid_kind grid_kind(const struct grid *g)
{
    return g->encode == OP_ENCODE_NVFP4 ? GRID_NVFP4 : g->encode == OP_ENCODE_INT4 ? GRID_INT4 : GRID_INT4_ZERO;
}

bool grid_of(struct grid *g, const struct plan_item *item, float group_amax, uint64_t isa, struct error *err)
{
    float amax = group_amax > 0 ? group_amax : 1; /* as quantize/scalars.c */
    *g = (struct grid){.format = item->format,
                       .encode = quant_format_encoder(item->format, item->zero),
                       .decode = quant_format_decoder(item->format, item->zero),
                       .scales = item->scales,
                       .range = item->range,
                       .group_amax = amax,
                       .isa = isa};
    if (grid_kind(g) != GRID_NVFP4) return true;
    g->tensor_scale = plan_item_weight_scale(item, amax);
    return g->tensor_scale > 0 ||
           error_set(err, ERR_FORMAT, "tensor '%.256s': its largest magnitude %g is too small for a scale",
                     item->tensor->name, (double)amax);
}

uint32_t grid_scale_bytes(const struct grid *g)
{
    return grid_kind(g) != GRID_INT4;
}

uint32_t grid_scale_floats(const struct grid *g)
{
    return grid_kind(g) != GRID_NVFP4;
}

static struct kernel_args encode_args(const struct grid *g, const float *w, uint64_t n, uint64_t cols,
                                      const struct grid_scales *out, uint8_t *codes)
{
    return (struct kernel_args){.n_rows = n,
                                .n_cols = cols,
                                .src = w,
                                .dtype = DTYPE_F32,
                                .amax = g->group_amax,
                                .scale = nvfp4_tensor_scale(g->group_amax),
                                .static_max = scale_method_max(g->scales),
                                .range_start = g->range.start,
                                .range_stop = g->range.stop,
                                .range_count = g->range.n,
                                .group = g->format->block_cols,
                                .int4_scale = quant_format_int4_scale(g->format),
                                .dst = codes,
                                .dst_scale = out->bytes,
                                .dst_f32 = out->floats};
}

/* Codes and zero points as the layout will have them. */
static void encode(const struct grid *g, const struct kernel_args *a)
{
    kernel_for(g->encode, g->isa)(a);
    quant_raise_zeros(g->format, a->dst_scale, a->dst, a->n_rows, a->n_cols);
}

void grid_choose(const struct grid *g, const float *w, uint64_t n, uint64_t cols, const struct grid_scales *out,
                 uint8_t *codes)
{
    struct kernel_args a = encode_args(g, w, n, cols, out, codes);
    uint64_t n_blocks = n * (cols / g->format->block_cols);
    if (g->scales == SCALES_MAX) {
        encode(g, &a);
    } else { /* by moments: choose_by_moments comes later, and without moments all inputs are alike */
        enum op op = g->scales == SCALES_LOCAL_HESSIAN ? OP_SWEEP_NVFP4 : scale_method_op(g->scales);
        a.dst_f32 = out->steps; /* the maxima, before the steps */
        kernel_for(op, g->isa)(&a);
        a.block_amax = out->steps;
        kernel_for(OP_ENCODE_NVFP4_STATIC, g->isa)(&a);
    }
    for (uint64_t i = 0; i < n_blocks; i++)
        out->steps[i] = grid_kind(g) == GRID_NVFP4 ? nvfp4_block_scale(out->bytes[i], g->tensor_scale) : out->floats[i];
}

void grid_round(const struct grid *g, const float *w, uint64_t n, uint64_t cols, const struct grid_scales *room,
                uint8_t *codes, float *base)
{
    struct kernel_args a = encode_args(g, w, n, cols, room, codes);
    encode(g, &a);
    kernel_for(g->decode, g->isa)(&(struct kernel_args){.n_rows = n,
                                                        .n_cols = cols,
                                                        .src = codes,
                                                        .src_scale = room->bytes,
                                                        .src_scale_f32 = room->floats,
                                                        .scale = a.scale,
                                                        .group = a.group,
                                                        .dst_f32 = base});
}
