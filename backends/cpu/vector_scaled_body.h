/* FP8 with a scale per row or per block of 128 x 128, for a vector unit: written in the words of words_*.h. */
#include "backends/cpu/element.h"
#include "numeric/fp8_scaled.h"

/* The largest magnitude of elements first .. first + n - 1, by bits: 16-bit types order as fp32 does, so two of them
 * are compared at once. */
LANES_FN float span_amax(const void *src, enum dtype dtype, uint64_t first, uint64_t n)
{
    const uint8_t *p = (const uint8_t *)src + first * (dtype == DTYPE_F32 ? 4 : 2);
    const vi magnitude = v_set_int(dtype == DTYPE_F32 ? 0x7FFFFFFF : 0x7FFF7FFF);
    uint64_t i = 0, per = dtype == DTYPE_F32 ? LANES : 2 * LANES;
    vi best = v_set_int(0);
    for (; i + per <= n; i += per, p += 4 * LANES) {
        vi x = v_and(v_load_raw(p), magnitude);
        best = dtype == DTYPE_F32 ? v_max_u32(best, x) : v_max_u16(best, x);
    }
    float amax;
    if (dtype == DTYPE_F32) amax = f32_from_bits(v_largest_u32(best));
    else {
        uint32_t h = v_largest_u32(v_max_u32(v_and(best, v_set_int(0xFFFF)), v_shift_right(best, 16)));
        amax = dtype == DTYPE_BF16 ? bf16_decode((uint16_t)h) : f16_decode((uint16_t)h);
    }
    for (; i < n; i++) amax = f32_amax(amax, element_widen(src, dtype, first + i));
    return amax;
}

LANES_FN void span_fp8(const void *src, enum dtype dtype, uint64_t first, uint64_t n, float scale, uint8_t *dst)
{
    uint64_t i = 0;
#ifdef BACKENDS_CPU_FAST_AVX512_H
    if (dtype == DTYPE_BF16 && scale >= FAST_SCALE_MIN && scale <= FAST_SCALE_MAX)
        for (; i + 32 <= n; i += 32) {
            const uint8_t *p = (const uint8_t *)src + 2 * (first + i);
            if (fast_fp8(_mm512_loadu_si512(p), v_set(scale), v_set(1.0f / scale), false, dst + first + i)) continue;
            for (uint64_t k = first + i; k < first + i + 32; k += LANES)
                v_store_bytes(dst + k, v_e4m3_encode(v_div(v_load(src, dtype, k), v_set(scale))));
        }
#endif
    for (; i + LANES <= n; i += LANES)
        v_store_bytes(dst + first + i, v_e4m3_encode(v_div(v_load(src, dtype, first + i), v_set(scale))));
    for (; i < n; i++) dst[first + i] = fp8_scaled_encode(element_widen(src, dtype, first + i), scale);
}

LANES_FN void encode_fp8_rows(const struct kernel_args *a, enum dtype dtype)
{
    for (uint64_t r = 0; r < a->n_rows; r++) {
        float scale = fp8_scaled_scale(span_amax(a->src, dtype, r * a->n_cols, a->n_cols), FP8_SCALE_F32);
        element_store_f32(a->dst_f32, r, scale);
        span_fp8(a->src, dtype, r * a->n_cols, a->n_cols, scale, a->dst);
    }
}

LANES_FN float encode_fp8_tile(const struct kernel_args *a, enum dtype dtype, uint64_t r0, uint64_t r1, uint64_t c0,
                               uint64_t c1)
{
    float amax = 0.0f;
    for (uint64_t r = r0; r < r1; r++) amax = f32_amax(amax, span_amax(a->src, dtype, r * a->n_cols + c0, c1 - c0));
    float scale = fp8_scaled_scale(amax, a->form);
    for (uint64_t r = r0; r < r1; r++) span_fp8(a->src, dtype, r * a->n_cols + c0, c1 - c0, scale, a->dst);
    return scale;
}

LANES_FN void encode_fp8_tiles(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t block = 0;
    for (uint64_t r = 0; r < a->n_rows; r += FP8_BLOCK)
        for (uint64_t c = 0; c < a->n_cols; c += FP8_BLOCK) {
            uint64_t r1 = a->n_rows - r < FP8_BLOCK ? a->n_rows : r + FP8_BLOCK;
            uint64_t c1 = a->n_cols - c < FP8_BLOCK ? a->n_cols : c + FP8_BLOCK;
            element_store_f32(a->dst_f32, block++, encode_fp8_tile(a, dtype, r, r1, c, c1));
        }
}

/* One NaN for all, as numeric/ decoders give it. */
LANES_FN vf v_one_nan(vf x)
{
    return v_select(x, m_nan(x), v_set(f32_from_bits(F32_NAN_BITS)));
}

LANES_FN void decode_fp8_span(const struct kernel_args *a, uint64_t first, uint64_t n, float scale)
{
    const uint8_t *src = (const uint8_t *)a->src + first;
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(a->dst_f32, first + i, v_one_nan(v_mul(v_e4m3_decode(v_load_bytes(src + i)), v_set(scale))));
    for (; i < n; i++) element_store_f32(a->dst_f32, first + i, fp8_scaled_decode(src[i], scale));
}

static void decode_fp8_rows(const struct kernel_args *a)
{
    for (uint64_t r = 0; r < a->n_rows; r++)
        decode_fp8_span(a, r * a->n_cols, a->n_cols, element_f32(a->src_scale_f32, r));
}

static void decode_fp8_tiles(const struct kernel_args *a)
{
    uint64_t across = a->n_cols / FP8_BLOCK + (a->n_cols % FP8_BLOCK != 0);
    for (uint64_t r = 0; r < a->n_rows; r++)
        for (uint64_t c = 0; c < a->n_cols; c += FP8_BLOCK) {
            uint64_t n = a->n_cols - c < FP8_BLOCK ? a->n_cols - c : FP8_BLOCK;
            decode_fp8_span(a, r * a->n_cols + c, n,
                            element_f32(a->src_scale_f32, r / FP8_BLOCK * across + c / FP8_BLOCK));
        }
}
