#include "convert/coded.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "numeric/e4m3.h"
#include "numeric/ggml_nvfp4.h"

#include <math.h>

#define TILE_ROWS 128u /* of FP8 blocks */

bool coded_is_known(const struct quant_format *f)
{
    if (f->self_described) return dtype_is_decoded(f->parts[0].dtype);
    if (f->zeros != ZEROS_NONE || f->row_pairs || f->parts[0].on_side) return false;
    switch (f->decode_op) {
    case OP_DECODE_NVFP4:
    case OP_DECODE_FP8:
    case OP_DECODE_FP8_CHANNEL:
    case OP_DECODE_FP8_BLOCK:
    case OP_DECODE_MXFP4:
    case OP_DECODE_MXFP8: return true;
    default: return false;
    }
}

enum dtype coded_twin(const struct quant_format *f, uint64_t cols)
{
    if (f->self_described) return f->parts[0].dtype;
    if (f->decode_op == OP_DECODE_MXFP4) return DTYPE_GGML_MXFP4;
    return f->decode_op == OP_DECODE_NVFP4 && cols % GGML_NVFP4_BLOCK == 0 ? DTYPE_GGML_NVFP4 : DTYPE_COUNT;
}

static bool is_input(enum tensor_part part)
{
    return part == PART_INPUT_SCALE || part == PART_INPUT_GLOBAL_SCALE;
}

/* A scalar part, as a plain number that is positive. */
static bool read_scalar(const struct coded *c, enum tensor_part part, float *out, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(c->ck, c->tensor->parts[part]);
    uint64_t raw = 0;
    if (!checkpoint_read(c->ck, c->tensor->parts[part], 0, &raw, dtype_bytes(t->dtype), err)) return false;
    kernel_for(OP_WIDEN,
               c->isa)(&(struct kernel_args){.n_rows = 1, .n_cols = 1, .src = &raw, .dtype = t->dtype, .dst_f32 = out});
    if (*out > 0 && isfinite(*out) && (part == PART_WEIGHT_GLOBAL_SCALE || part == PART_INPUT_GLOBAL_SCALE))
        *out = nvfp4_scale_of_global(*out);
    return (*out > 0 && isfinite(*out)) ||
           error_set(err, ERR_FORMAT, "tensor '%.256s' is %g; a scale is positive and finite", t->name, (double)*out);
}

static bool find_scalar(const struct coded *c, bool input, float *out, bool *has, struct error *err)
{
    const struct quant_format *f = c->tensor->format;
    *has = false;
    for (uint32_t i = 1; i < f->n_parts; i++) {
        const struct quant_part *p = &f->parts[i];
        if (p->cols_per_elem || p->part == PART_WEIGHT_SHAPE || is_input(p->part) != input) continue;
        *has = true;
        return read_scalar(c, p->part, out, err);
    }
    return true;
}

bool coded_scale(const struct coded *c, float *out, struct error *err)
{
    bool has;
    *out = 1;
    return find_scalar(c, false, out, &has, err);
}

bool coded_input_scale(const struct coded *c, float *out, bool *has, struct error *err)
{
    return find_scalar(c, true, out, has, err);
}

/* Rows of a part with one element per so many rows and columns. */
static bool read_part(const struct coded *c, const struct quant_part *p, uint64_t first, uint64_t n, uint8_t **out,
                      uint64_t *elems, struct error *err)
{
    uint32_t index = c->tensor->parts[p->part];
    const struct tensor_info *t = checkpoint_tensor(c->ck, index);
    uint64_t per = p->rows_per_elem ? p->rows_per_elem : 1, from = first / per,
             rows = u64_div_up(first + n, per) - from;
    uint64_t row = t->dims[0] ? t->n_elems / t->dims[0] : 0, bytes = dtype_row_bytes(t->dtype, row);
    *elems = rows * row;
    return memory_alloc(out, rows * bytes, 1, err) &&
           checkpoint_read(c->ck, index, from * bytes, *out, rows * bytes, err);
}

static bool plain_scales(const struct coded *c, enum tensor_part part, const uint8_t *raw, uint64_t n, float **out,
                         struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(c->ck, c->tensor->parts[part]);
    if (!memory_alloc(out, n, sizeof **out, err)) return false;
    kernel_for(OP_WIDEN,
               c->isa)(&(struct kernel_args){.n_rows = 1, .n_cols = n, .src = raw, .dtype = t->dtype, .dst_f32 = *out});
    for (uint64_t i = 0; i < n; i++)
        if (!((*out)[i] >= 0) || !isfinite((*out)[i]))
            return error_set(err, ERR_FORMAT, "tensor '%.256s' holds %g; a scale is finite and not negative", t->name,
                             (double)(*out)[i]);
    return true;
}

static bool block_scales(const struct coded *c, enum tensor_part part, const uint8_t *codes, uint64_t n,
                         struct error *err)
{
    uint8_t any = 0;
    for (uint64_t i = 0; i < n; i++) any |= codes[i] == (0x80 | E4M3_NAN) ? 0 : codes[i]; /* NaN shows later */
    return any < 0x80 || error_set(err, ERR_FORMAT, "tensor '%.256s' holds a negative scale",
                                   checkpoint_tensor(c->ck, c->tensor->parts[part])->name);
}

/* Rows that lie in one row of tiles, where the format has such. */
static bool decode_rows(const struct coded *c, uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct quant_format *f = c->tensor->format;
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *scales = NULL;
    CLEANUP(free) float *numbers = NULL;
    struct kernel_args a = {
        .n_rows = n, .n_cols = c->tensor->dims[1], .group = f->block_cols, .blocks = f->parts[0].dtype, .dst_f32 = out};
    uint64_t elems;
    if (!coded_scale(c, &a.scale, err) || !read_part(c, &f->parts[0], first, n, &codes, &elems, err)) return false;
    for (uint32_t i = 1; i < f->n_parts; i++) {
        const struct quant_part *p = &f->parts[i];
        if (!p->cols_per_elem || is_input(p->part)) continue;
        enum dtype stored = checkpoint_tensor(c->ck, c->tensor->parts[p->part])->dtype;
        if (!read_part(c, p, first, n, &scales, &elems, err) ||
            (f->decode_op == OP_DECODE_NVFP4 && !block_scales(c, p->part, scales, elems, err)) ||
            (dtype_is_plain_float(stored) && !plain_scales(c, p->part, scales, elems, &numbers, err)))
            return false;
    }
    a.src = codes;
    a.src_scale = scales;
    a.src_scale_f32 = numbers;
    kernel_for(f->decode_op, c->isa)(&a);
    return true;
}

bool coded_rows(const struct coded *c, uint64_t first, uint64_t n, float *out, struct error *err)
{
    bool tiles = c->tensor->format->decode_op == OP_DECODE_FP8_BLOCK;
    while (n) {
        uint64_t m = tiles ? u64_min(n, TILE_ROWS - first % TILE_ROWS) : n;
        if (!decode_rows(c, first, m, out, err)) return false;
        first += m;
        n -= m;
        out += m * c->tensor->dims[1];
    }
    return true;
}

/* Pairs of neighbours to pairs half a block apart. */
static void repack_mxfp4(const uint8_t codes[16], uint8_t scale, uint8_t out[17])
{
    out[0] = scale;
    for (uint32_t k = 0; k < 16u; k++) {
        uint32_t low = (uint32_t)codes[k / 2u] >> 4u * (k % 2u) & 15u,
                 high = (uint32_t)codes[8u + k / 2u] >> 4u * (k % 2u);
        out[1u + k] = (uint8_t)(low | (high & 15u) << 4);
    }
}

/* What GGUF's reader would take for another number. */
static bool check_codes(const struct coded *c, const uint8_t *scales, uint64_t n, bool mxfp4, struct error *err)
{
    for (uint64_t i = 0; i < n; i++)
        if (mxfp4 ? scales[i] == E8M0_NAN : scales[i] > 0x7Eu)
            return error_set(err, ERR_FORMAT, "tensor '%.256s': a block's scale is not a number of its type",
                             c->tensor->name);
    return true;
}

bool coded_repack(const struct coded *c, uint64_t first, uint64_t n, uint8_t *out, struct error *err)
{
    const struct quant_format *f = c->tensor->format;
    bool mxfp4 = f->decode_op == OP_DECODE_MXFP4;
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *scales = NULL;
    uint64_t elems, n_scales;
    if (!read_part(c, &f->parts[0], first, n, &codes, &elems, err) ||
        !read_part(c, &f->parts[1], first, n, &scales, &n_scales, err) || !check_codes(c, scales, n_scales, mxfp4, err))
        return false;
    if (mxfp4)
        for (uint64_t b = 0; b < n_scales; b++) repack_mxfp4(codes + 16 * b, scales[b], out + 17 * b);
    else
        for (uint64_t b = 0; b < n_scales / 4; b++)
            ggml_nvfp4_pack(codes + 32 * b, scales + 4 * b, out + GGML_NVFP4_BLOCK_BYTES * b);
    return true;
}
