#include "convert/cast.h"

#include "backends/cpu/ggml_kernel.h"
#include "core/cleanup.h"
#include "core/memory.h"
#include "numeric/ggml_nvfp4.h"

#include <math.h>

struct cast cast_make(enum dtype from, enum dtype to, enum cast_change change, uint64_t isa)
{
    return (struct cast){.from = from,
                         .to = to,
                         .change = change,
                         .from_scale = 1,
                         .to_scale = 1,
                         .widen = kernel_for(OP_WIDEN, isa),
                         .amax = kernel_for(OP_AMAX, isa),
                         .decode = kernel_for(from == DTYPE_Q8_0 ? OP_DECODE_Q8_0 : OP_DECODE_GGML, isa),
                         .encode = kernel_for(to == DTYPE_Q8_0 ? OP_ENCODE_Q8_0 : OP_ENCODE_GGML, isa),
                         .encode_nvfp4 = kernel_for(OP_ENCODE_NVFP4, isa)};
}

bool cast_possible(enum dtype from, enum dtype to)
{
    bool reads = dtype_is_plain_float(from) || dtype_is_decoded(from);
    bool writes = dtype_is_plain_float(to) || ggml_encodes(to) || to == DTYPE_GGML_NVFP4;
    return from == to || (reads && writes);
}

static float top_of(const struct cast *c, const void *src, enum dtype dtype, uint64_t n)
{
    float top = 0;
    c->amax(&(struct kernel_args){.n_rows = 1, .n_cols = n, .src = src, .dtype = dtype, .dst_f32 = &top});
    return top;
}

/* The largest magnitude that still becomes a number: half a step below what would round to infinity; of blocks, the
 * largest binary16 scale times the code that a maximum gets (K types: a little less, since their minimum may go beyond
 * it). */
static float limit_of(enum dtype to)
{
    switch (to) {
    case DTYPE_F16: return 65519.996f;
    case DTYPE_BF16: return 3.3961775e38f; /* 0x7F7F7FFF */
    case DTYPE_Q8_0: return 127.0f * 65504.0f;
    case DTYPE_Q4_0: return 8.0f * 65504.0f;
    case DTYPE_Q5_0: return 16.0f * 65504.0f;
    case DTYPE_Q5_1: return 65504.0f;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K: return 32.0f * 65504.0f;
    case DTYPE_Q6_K: return 2048.0f * 65504.0f;
    default: return 3.4028235e38f;
    }
}

static bool check_top(float top, enum dtype to, struct error *err)
{
    if (!isfinite(top)) return error_set(err, ERR_FORMAT, "a value is not finite");
    if (top <= limit_of(to)) return true;
    return error_set(err, ERR_FORMAT, "a value of magnitude %g is beyond what %s can hold", (double)top,
                     dtype_name(to));
}

static void apply(enum cast_change change, float *x, uint64_t n)
{
    if (change == CAST_PLUS_ONE)
        for (uint64_t i = 0; i < n; i++) x[i] += 1;
    if (change == CAST_NEG_EXP)
        for (uint64_t i = 0; i < n; i++) x[i] = -(float)exp((double)x[i]);
}

static void narrow(const float *x, uint64_t n, enum dtype to, void *dst)
{
    uint16_t *h = dst;
    if (to == DTYPE_F32) memcpy(dst, x, n * sizeof *x);
    else if (to == DTYPE_BF16)
        for (uint64_t i = 0; i < n; i++) h[i] = bf16_encode(x[i]);
    else
        for (uint64_t i = 0; i < n; i++) h[i] = f16_encode(x[i]);
}

/* Codes and scales by the encoder that quantize uses, then in GGUF's order. */
static bool encode_nvfp4(const struct cast *c, struct kernel_args a, uint8_t *dst, struct error *err)
{
    uint64_t n_groups = a.n_rows * a.n_cols / NVFP4_BLOCK;
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *scales = NULL;
    if (!memory_alloc(&codes, n_groups, NVFP4_BLOCK_BYTES, err) || !memory_alloc(&scales, n_groups, 1, err))
        return false;
    a.scale = c->to_scale;
    a.dst = codes;
    a.dst_scale = scales;
    c->encode_nvfp4(&a);
    for (uint64_t b = 0; b < n_groups / 4; b++)
        ggml_nvfp4_pack(codes + 32 * b, scales + 4 * b, dst + GGML_NVFP4_BLOCK_BYTES * b);
    return true;
}

/* Plain numbers that have been checked, to blocks. */
static bool to_blocks(const struct cast *c, const void *src, enum dtype dtype, uint64_t n_rows, uint64_t n_cols,
                      void *dst, struct error *err)
{
    struct kernel_args a = {
        .n_rows = n_rows, .n_cols = n_cols, .src = src, .dtype = dtype, .blocks = c->to, .dst = dst};
    if (c->to == DTYPE_GGML_NVFP4) return encode_nvfp4(c, a, dst, err);
    c->encode(&a);
    return true;
}

/* As it is: no rounding, no fp32. */
static bool copy(const struct cast *c, const void *src, uint64_t n_rows, uint64_t n_cols, void *dst, struct error *err)
{
    if (dst != src) memcpy(dst, src, n_rows * dtype_row_bytes(c->from, n_cols));
    return !dtype_is_plain_float(c->from) || check_top(top_of(c, src, c->from, n_rows * n_cols), c->from, err);
}

void cast_decode(const struct cast *c, const void *src, uint64_t n_rows, uint64_t n_cols, float *dst)
{
    struct kernel_args a = {.n_rows = n_rows,
                            .n_cols = n_cols,
                            .src = src,
                            .dtype = c->from,
                            .blocks = c->from,
                            .scale = c->from_scale,
                            .dst_f32 = dst};
    (dtype_is_blocks(c->from) ? c->decode : c->widen)(&a);
}

bool cast_f32_rows(const struct cast *c, const float *src, uint64_t n_rows, uint64_t n_cols, void *dst,
                   struct error *err)
{
    if (!check_top(top_of(c, src, DTYPE_F32, n_rows * n_cols), c->to, err)) return false;
    if (dtype_is_blocks(c->to)) return to_blocks(c, src, DTYPE_F32, n_rows, n_cols, dst, err);
    narrow(src, n_rows * n_cols, c->to, dst);
    return true;
}

bool cast_rows(const struct cast *c, const void *src, uint64_t n_rows, uint64_t n_cols, float *scratch, void *dst,
               struct error *err)
{
    uint64_t n = n_rows * n_cols;
    if (c->from == c->to && c->change == CAST_SAME) return copy(c, src, n_rows, n_cols, dst, err);
    if (!dtype_is_blocks(c->from) && dtype_is_blocks(c->to) && c->change == CAST_SAME) /* straight from the source */
        return check_top(top_of(c, src, c->from, n), c->to, err) &&
               to_blocks(c, src, c->from, n_rows, n_cols, dst, err);
    cast_decode(c, src, n_rows, n_cols, scratch);
    apply(c->change, scratch, n);
    return cast_f32_rows(c, scratch, n_rows, n_cols, dst, err);
}

bool cast_is_exact(const float *values, uint64_t n, enum dtype to)
{
    for (uint64_t i = 0; i < n; i++) {
        float back = to == DTYPE_BF16 ? bf16_decode(bf16_encode(values[i])) : f16_decode(f16_encode(values[i]));
        if (memcmp(&back, &values[i], sizeof back) != 0) return false;
    }
    return true;
}
