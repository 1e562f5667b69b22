/* WIDEN and AMAX on AVX-512. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx512.h"

LANES_FN void widen(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = a->n_rows * a->n_cols;
    for (uint64_t i = 0; i < n; i += 16) {
        __mmask16 m = lanes_first(n - i);
        _mm512_mask_storeu_ps((uint8_t *)a->dst_f32 + 4 * i, m, lanes_load(a->src, dtype, i, m));
    }
}

void widen_avx512(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    if (a->dtype == DTYPE_BF16) widen(a, DTYPE_BF16);
    else if (a->dtype == DTYPE_F16) widen(a, DTYPE_F16);
    else if (n) memcpy(a->dst_f32, a->src, 4 * n);
}

/* The largest of n 16-bit magnitudes: bf16 and binary16 order by their bits as fp32 does. */
static uint16_t amax_u16(const uint8_t *p, uint64_t n)
{
    __m512i best = _mm512_setzero_si512(), best2 = best;
    const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
    uint64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        best = _mm512_max_epu16(best, _mm512_and_si512(_mm512_loadu_si512(p + 2 * i), magnitude));
        best2 = _mm512_max_epu16(best2, _mm512_and_si512(_mm512_loadu_si512(p + 2 * i + 64), magnitude));
    }
    for (; i < n; i += 32) {
        __mmask32 m = n - i >= 32 ? 0xFFFFFFFFu : (1u << (n - i)) - 1u;
        best = _mm512_max_epu16(best, _mm512_and_si512(_mm512_maskz_loadu_epi16(m, p + 2 * i), magnitude));
    }
    best = _mm512_max_epu16(best, best2);
    __m512i low = _mm512_and_si512(best, lanes_u32(0xFFFF)), high = _mm512_srli_epi32(best, 16);
    return (uint16_t)_mm512_reduce_max_epu32(_mm512_max_epu32(low, high));
}

static float amax_f32(const uint8_t *p, uint64_t n)
{
    __m512i best = _mm512_setzero_si512(), best2 = best;
    uint64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        best = _mm512_max_epu32(best, lanes_magnitude_bits(_mm512_loadu_ps(p + 4 * i)));
        best2 = _mm512_max_epu32(best2, lanes_magnitude_bits(_mm512_loadu_ps(p + 4 * i + 64)));
    }
    for (; i < n; i += 16)
        best = _mm512_max_epu32(best, lanes_magnitude_bits(_mm512_maskz_loadu_ps(lanes_first(n - i), p + 4 * i)));
    return f32_from_bits(_mm512_reduce_max_epu32(_mm512_max_epu32(best, best2)));
}

void amax_avx512(const struct kernel_args *a)
{
    uint64_t row_bytes = a->n_cols * dtype_bytes(a->dtype);
    for (uint64_t r = 0; r < a->n_rows; r++) {
        const uint8_t *p = (const uint8_t *)a->src + r * row_bytes;
        float amax;
        if (a->dtype == DTYPE_F32) amax = amax_f32(p, a->n_cols);
        else if (a->dtype == DTYPE_BF16) amax = bf16_decode(amax_u16(p, a->n_cols));
        else amax = f16_decode(amax_u16(p, a->n_cols));
        element_store_f32(a->dst_f32, r, f32_is_nan(amax) ? f32_from_bits(F32_NAN_BITS) : amax);
    }
}
