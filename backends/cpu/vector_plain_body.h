/* What AVX2 and AVX-512 have kernels of their own for: NVFP4 and FP8 per tensor, encoded, decoded and as inputs, WIDEN
 * and AMAX, for any other vector unit, in the words of words_*.h. Scales of blocks are computed as numeric/ has them,
 * one at a time; what a row leaves over too. */
#include "backends/cpu/element.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#define NVFP4_VECTORS (NVFP4_BLOCK / LANES)

LANES_FN void widen_all(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = a->n_rows * a->n_cols, i = 0;
    for (; i + LANES <= n; i += LANES) v_store(a->dst_f32, i, v_load(a->src, dtype, i));
    for (; i < n; i++) element_store_f32(a->dst_f32, i, element_widen(a->src, dtype, i));
}

LANES_FN void amax_rows(const struct kernel_args *a, enum dtype dtype)
{
    for (uint64_t r = 0; r < a->n_rows; r++) {
        float amax = span_amax(a->src, dtype, r * a->n_cols, a->n_cols);
        element_store_f32(a->dst_f32, r, f32_is_nan(amax) ? f32_from_bits(F32_NAN_BITS) : amax);
    }
}

/* bf16_decode(bf16_encode(x)); a NaN stays a NaN only if its low 16 bits are zero, as those that bf16 sources and 0/0
 * give. */
LANES_FN vf v_through_bf16(vf x)
{
    vi u = v_bits(x), odd = v_and(v_shift_right(u, 16), v_set_int(1));
    return v_from_bits(v_and(v_add_int(v_add_int(u, v_set_int(0x7FFF)), odd), v_set_int((int)0xFFFF0000)));
}

LANES_FN void encode_fp8_all(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = a->n_rows * a->n_cols, i = 0;
    bool single = a->rounding == FP8_SINGLE || dtype == DTYPE_F32;
    float s = a->scale;
    if (!single && a->rounding == FP8_MODELOPT_CUDA)
        s = dtype == DTYPE_BF16 ? bf16_decode(bf16_encode(s)) : f16_decode(f16_encode(s));
    for (; i + LANES <= n; i += LANES) {
        vf q = v_div(v_load(a->src, dtype, i), v_set(s));
        if (!single) q = dtype == DTYPE_BF16 ? v_through_bf16(q) : v_through_f16(q);
        v_store_bytes(a->dst + i, v_e4m3_encode(q));
    }
    for (; i < n; i++) {
        if (dtype == DTYPE_F32) a->dst[i] = fp8_encode_f32(element_f32(a->src, i), a->scale);
        else if (dtype == DTYPE_BF16) a->dst[i] = fp8_encode_bf16(element_u16(a->src, i), a->scale, a->rounding);
        else a->dst[i] = fp8_encode_f16(element_u16(a->src, i), a->scale, a->rounding);
    }
}

static void decode_fp8_all(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols, i = 0;
    const uint8_t *src = a->src;
    for (; i + LANES <= n; i += LANES)
        v_store(a->dst_f32, i, v_mul(v_e4m3_decode(v_load_bytes(src + i)), v_set(a->scale)));
    for (; i < n; i++) element_store_f32(a->dst_f32, i, fp8_decode(src[i], a->scale));
}

static void input_fp8_all(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols, i = 0;
    vf scale = v_set(a->scale);
    for (; i + LANES <= n; i += LANES)
        v_store(a->dst_f32, i, v_mul(v_through_e4m3(v_div(v_load(a->src, DTYPE_F32, i), scale)), scale));
    for (; i < n; i++) element_store_f32(a->dst_f32, i, fp8_input(element_f32(a->src, i), a->scale));
}

LANES_FN float nvfp4_load(vf v[NVFP4_VECTORS], const void *src, enum dtype dtype, uint64_t first)
{
    vf amax = v_set(0.0f);
    LANES_UNROLL
    for (uint32_t k = 0; k < NVFP4_VECTORS; k++) {
        v[k] = v_load(src, dtype, first + k * LANES);
        amax = v_amax(amax, v_abs(v[k]));
    }
    return f32_from_bits(v_largest_u32(v_bits(amax)));
}

/* nvfp4_code: the sign bit where q < 0. */
LANES_FN vi nvfp4_codes(vf q)
{
    vm up;
    vi code = v_e2m1_code(q, &up);
    return v_select_int(code, m_less(q, v_set(0.0f)), v_or(code, v_set_int((int)E2M1_SIGN)));
}

LANES_FN void encode_nvfp4_blocks(const struct kernel_args *a, enum dtype dtype, bool is_static)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    float s2 = is_static ? nvfp4_static_tensor_scale(a->amax, a->static_max) : a->scale;
    for (uint64_t b = 0; b < n_blocks; b++) {
        vf v[NVFP4_VECTORS];
        float amax = nvfp4_load(v, a->src, dtype, b * NVFP4_BLOCK);
        uint8_t scale = is_static ? nvfp4_scale_static(element_f32(a->block_amax, b), a->amax, a->static_max)
                                  : nvfp4_scale_dynamic(amax, s2);
        vf e = v_set(nvfp4_block_scale(scale, s2));
        a->dst_scale[b] = scale;
        LANES_UNROLL
        for (uint32_t k = 0; k < NVFP4_VECTORS; k++)
            v_store_nibbles(a->dst + b * NVFP4_BLOCK_BYTES + k * (LANES / 2), nvfp4_codes(v_div(v[k], e)));
    }
}

static void decode_nvfp4_blocks(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    const uint8_t *src = a->src;
    for (uint64_t b = 0; b < n_blocks; b++) {
        vf e = v_set(nvfp4_block_scale(a->src_scale[b], a->scale));
        LANES_UNROLL
        for (uint32_t k = 0; k < NVFP4_VECTORS; k++) {
            vi code = v_load_nibbles(src + b * NVFP4_BLOCK_BYTES + k * (LANES / 2));
            v_store(a->dst_f32, b * NVFP4_BLOCK + k * LANES, v_mul(v_e2m1_decode(code), e));
        }
    }
}

static void input_nvfp4_blocks(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        vf v[NVFP4_VECTORS];
        float amax = nvfp4_load(v, a->src, DTYPE_F32, b * NVFP4_BLOCK);
        float d = 6.0f * a->scale, s = e4m3_decode(e4m3_encode(amax / d)) * a->scale;
        LANES_UNROLL
        for (uint32_t k = 0; k < NVFP4_VECTORS; k++) {
            vf y = v_set(f32_is_nan(amax) ? f32_from_bits(F32_NAN_BITS) : 0.0f);
            if (s > 0.0f) y = v_mul(v_e2m1_decode(nvfp4_codes(v_div(v[k], v_set(s)))), v_set(s));
            v_store(a->dst_f32, b * NVFP4_BLOCK + k * LANES, y);
        }
    }
}

#define PLAIN(isa)                                                                                                     \
    void widen_##isa(const struct kernel_args *a)                                                                      \
    {                                                                                                                  \
        BY_DTYPE(widen_all, a, NOTHING);                                                                               \
    }                                                                                                                  \
    void amax_##isa(const struct kernel_args *a)                                                                       \
    {                                                                                                                  \
        BY_DTYPE(amax_rows, a, NOTHING);                                                                               \
    }                                                                                                                  \
    void encode_nvfp4_##isa(const struct kernel_args *a)                                                               \
    {                                                                                                                  \
        BY_DTYPE(encode_nvfp4_blocks, a, AND(false));                                                                  \
    }                                                                                                                  \
    void encode_nvfp4_static_##isa(const struct kernel_args *a)                                                        \
    {                                                                                                                  \
        BY_DTYPE(encode_nvfp4_blocks, a, AND(true));                                                                   \
    }                                                                                                                  \
    void encode_fp8_##isa(const struct kernel_args *a)                                                                 \
    {                                                                                                                  \
        BY_DTYPE(encode_fp8_all, a, NOTHING);                                                                          \
    }                                                                                                                  \
    void decode_nvfp4_##isa(const struct kernel_args *a)                                                               \
    {                                                                                                                  \
        decode_nvfp4_blocks(a);                                                                                        \
    }                                                                                                                  \
    void decode_fp8_##isa(const struct kernel_args *a)                                                                 \
    {                                                                                                                  \
        decode_fp8_all(a);                                                                                             \
    }                                                                                                                  \
    void input_nvfp4_##isa(const struct kernel_args *a)                                                                \
    {                                                                                                                  \
        input_nvfp4_blocks(a);                                                                                         \
    }                                                                                                                  \
    void input_fp8_##isa(const struct kernel_args *a)                                                                  \
    {                                                                                                                  \
        input_fp8_all(a);                                                                                              \
    }
