/* The functions of numeric/ on 16 lanes of AVX-512, for the *_avx512.c files only. Each gives the bits of its scalar
 * namesake; the comments say only what differs in method. No instruction here depends on anything but its operands and
 * the default rounding (VCVTNEPS2BF16 is not used: it flushes denormals). */
#ifndef BACKENDS_CPU_LANES_AVX512_H
#define BACKENDS_CPU_LANES_AVX512_H

#include "backends/cpu/element.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <immintrin.h>

#define LANES_FN static inline __attribute__((always_inline))
#define LANES_UNROLL _Pragma("GCC unroll 16") /* arrays of vectors become registers only when their loops are gone */

LANES_FN __m512i lanes_u32(uint32_t u)
{
    return _mm512_set1_epi32((int)u);
}

/* The first n (up to 16) lanes. */
LANES_FN __mmask16 lanes_first(uint64_t n)
{
    return (__mmask16)(n >= 16 ? 0xFFFFu : (1u << n) - 1u);
}

LANES_FN __m512 lanes_bf16_decode(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Elements i.. of the source, widened; lanes outside `m` are 0 and their memory is not touched. */
LANES_FN __m512 lanes_load(const void *src, enum dtype dtype, uint64_t i, __mmask16 m)
{
    const uint8_t *p = src;
    if (dtype == DTYPE_F32) return _mm512_maskz_loadu_ps(m, p + 4 * i);
    __m256i h = _mm256_maskz_loadu_epi16(m, p + 2 * i);
    return dtype == DTYPE_BF16 ? lanes_bf16_decode(h) : _mm512_cvtph_ps(h);
}

LANES_FN __m512i lanes_magnitude_bits(__m512 x)
{
    return _mm512_and_si512(_mm512_castps_si512(x), lanes_u32(~F32_SIGN_BIT));
}

LANES_FN __mmask16 lanes_is_nan(__m512 x)
{
    return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
}

/* bf16_decode(bf16_encode(x)); a NaN stays a NaN only if its low 16 bits are zero, as those that bf16 sources and 0/0
 * give. */
LANES_FN __m512 lanes_through_bf16(__m512 x)
{
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), lanes_u32(1));
    u = _mm512_add_epi32(_mm512_add_epi32(u, lanes_u32(0x7FFF)), odd);
    return _mm512_castsi512_ps(_mm512_and_si512(u, lanes_u32(0xFFFF0000u)));
}

/* f16_decode(f16_encode(x)); NaN stays a NaN. */
LANES_FN __m512 lanes_through_f16(__m512 x)
{
    return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* Rounding to a small float by one addition: for |x| in [2^n, 2^(n+1)), adding 2^(n + 23 - mantissa bits) leaves the
 * fraction field of the sum counting steps of the small type. Below its smallest normal the power stays, which is
 * denormal rounding. The power comes from the exponent field of x itself. */
struct lanes_rounded {
    __m512 sum;
    __m512i power, exponent;
};

/* `a` holds magnitude bits of finite values; min_exponent is the float of the smallest normal, shift is 23 - mantissa
 * bits. */
LANES_FN struct lanes_rounded lanes_round(__m512i a, uint32_t min_exponent, uint32_t shift)
{
    struct lanes_rounded r;
    r.exponent = _mm512_max_epu32(_mm512_and_si512(a, lanes_u32(F32_INFINITY_BITS)), lanes_u32(min_exponent));
    r.power = _mm512_add_epi32(r.exponent, lanes_u32(shift << 23));
    r.sum = _mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(r.power));
    return r;
}

/* The rounded magnitude as a float: exact subtraction. */
LANES_FN __m512 lanes_rounded_value(struct lanes_rounded r)
{
    return _mm512_sub_ps(r.sum, _mm512_castsi512_ps(r.power));
}

/* The rounded magnitude as a code: steps above the power, plus the codes below this exponent. */
LANES_FN __m512i lanes_rounded_code(struct lanes_rounded r, uint32_t min_exponent, uint32_t shift)
{
    __m512i steps = _mm512_sub_epi32(_mm512_castps_si512(r.sum), r.power);
    __m512i below = _mm512_srli_epi32(_mm512_sub_epi32(r.exponent, lanes_u32(min_exponent)), shift);
    return _mm512_add_epi32(steps, below);
}

#define E4M3_MIN_EXPONENT 0x3C800000u /* 2^-6 */
#define E4M3_SHIFT 20u
#define E2M1_MIN_EXPONENT 0x3F800000u /* 1.0 */
#define E2M1_SHIFT 22u

/* e4m3_encode in 32-bit lanes. */
LANES_FN __m512i lanes_e4m3_encode(__m512 x)
{
    __m512i a = _mm512_min_epu32(lanes_magnitude_bits(x), lanes_u32(0x43E00000u));
    struct lanes_rounded r = lanes_round(a, E4M3_MIN_EXPONENT, E4M3_SHIFT);
    __m512i code = lanes_rounded_code(r, E4M3_MIN_EXPONENT, E4M3_SHIFT);
    __m512i sign = _mm512_srli_epi32(_mm512_castps_si512(x), 24);
    code = _mm512_ternarylogic_epi32(code, sign, lanes_u32(0x80), 0xF8); /* code | (sign & 0x80) */
    return _mm512_mask_mov_epi32(code, lanes_is_nan(x), lanes_u32(E4M3_NAN));
}

/* e4m3_decode(e4m3_encode(x)). */
LANES_FN __m512 lanes_through_e4m3(__m512 x)
{
    __m512i a = _mm512_min_epu32(lanes_magnitude_bits(x), lanes_u32(0x43E00000u));
    __m512i v = _mm512_castps_si512(lanes_rounded_value(lanes_round(a, E4M3_MIN_EXPONENT, E4M3_SHIFT)));
    v = _mm512_ternarylogic_epi32(v, _mm512_castps_si512(x), lanes_u32(F32_SIGN_BIT), 0xF8);
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(v, lanes_is_nan(x), lanes_u32(F32_NAN_BITS)));
}

/* e4m3_decode of codes in 32-bit lanes: exponent and mantissa put into place, then an exact multiplication by 2^120. */
LANES_FN __m512 lanes_e4m3_decode(__m512i code)
{
    __m512i a = _mm512_and_si512(code, lanes_u32(0x7F));
    __m512 v = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(a, 20)), _mm512_set1_ps(0x1p120f));
    __m512i sign = _mm512_slli_epi32(code, 24);
    __m512i u = _mm512_ternarylogic_epi32(_mm512_castps_si512(v), sign, lanes_u32(F32_SIGN_BIT), 0xF8);
    __mmask16 nan = _mm512_cmpeq_epi32_mask(a, lanes_u32(E4M3_NAN));
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(u, nan, lanes_u32(F32_NAN_BITS)));
}

/* |q| cut to 6.0 for E2M1; min_ps gives its second operand for NaN, as e2m1_magnitude does. */
LANES_FN struct lanes_rounded lanes_e2m1_round(__m512 q)
{
    __m512 a = _mm512_min_ps(_mm512_castsi512_ps(lanes_magnitude_bits(q)), _mm512_set1_ps(E2M1_MAX));
    return lanes_round(_mm512_castps_si512(a), E2M1_MIN_EXPONENT, E2M1_SHIFT);
}

/* nvfp4_code in 32-bit lanes. */
LANES_FN __m512i lanes_nvfp4_code(__m512 q)
{
    __m512i code = lanes_rounded_code(lanes_e2m1_round(q), E2M1_MIN_EXPONENT, E2M1_SHIFT);
    __mmask16 negative = _mm512_cmp_ps_mask(q, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_or_epi32(code, negative, code, lanes_u32(E2M1_SIGN));
}

/* e2m1_decode(nvfp4_code(q)). */
LANES_FN __m512 lanes_through_nvfp4(__m512 q)
{
    __m512i v = _mm512_castps_si512(lanes_rounded_value(lanes_e2m1_round(q)));
    __mmask16 negative = _mm512_cmp_ps_mask(q, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_castsi512_ps(_mm512_mask_or_epi32(v, negative, v, lanes_u32(F32_SIGN_BIT)));
}

/* nvfp4_scale_clamp; min_ps and max_ps take their second operand for NaN. */
LANES_FN __m512 lanes_scale_clamp(__m512 p)
{
    p = _mm512_min_ps(p, _mm512_set1_ps(E4M3_MAX));
    return _mm512_max_ps(p, _mm512_set1_ps(E4M3_MIN));
}

LANES_FN __m512 lanes_zero_to_one(__m512 p)
{
    return _mm512_mask_mov_ps(p, _mm512_cmp_ps_mask(p, _mm512_setzero_ps(), _CMP_EQ_OQ), _mm512_set1_ps(1.0f));
}

LANES_FN __m512i lanes_scale_dynamic(__m512 amax, float s2)
{
    return lanes_e4m3_encode(lanes_scale_clamp(lanes_zero_to_one(_mm512_div_ps(amax, _mm512_set1_ps(6.0f * s2)))));
}

/* For a tensor that does not count as zero. */
LANES_FN __m512i lanes_scale_static(__m512 amax, float g, float m)
{
    __m512 p = lanes_zero_to_one(_mm512_div_ps(amax, _mm512_set1_ps(6.0f)));
    p = _mm512_div_ps(_mm512_mul_ps(p, _mm512_set1_ps(m)), _mm512_set1_ps(g / 6.0f));
    return lanes_e4m3_encode(lanes_scale_clamp(p));
}

/* Block maxima of 16 blocks: lane b of the result is the largest magnitude (by bits) of v[b]. A tree of maxima in which
 * each level halves what is left of every block and merges two vectors, so that the last level has one lane a block. */
LANES_FN __m512i lanes_block_amax(const __m512 v[16])
{
    __m512i a[16];
    LANES_UNROLL
    for (int b = 0; b < 16; b++) a[b] = lanes_magnitude_bits(v[b]);
    LANES_UNROLL
    for (int b = 0; b < 8; b++) /* lanes of 64 bits: block b in the even ones, b + 8 in the odd ones */
        a[b] = _mm512_max_epu32(_mm512_unpacklo_epi64(a[b], a[b + 8]), _mm512_unpackhi_epi64(a[b], a[b + 8]));
    LANES_UNROLL
    for (int b = 0; b < 4; b++) { /* every 128-bit lane: b, b + 8, b + 4, b + 12 */
        __m512 x = _mm512_castsi512_ps(a[b]), y = _mm512_castsi512_ps(a[b + 4]);
        a[b] = _mm512_max_epu32(_mm512_castps_si512(_mm512_shuffle_ps(x, y, 0x88)),
                                _mm512_castps_si512(_mm512_shuffle_ps(x, y, 0xDD)));
    }
    LANES_UNROLL
    for (int b = 0; b < 2; b++) /* 128-bit lanes 0, 1 of b and 2, 3 of b + 2 */
        a[b] = _mm512_max_epu32(_mm512_shuffle_i32x4(a[b], a[b + 2], 0x88), _mm512_shuffle_i32x4(a[b], a[b + 2], 0xDD));
    a[0] = _mm512_max_epu32(_mm512_shuffle_i32x4(a[0], a[1], 0x88), _mm512_shuffle_i32x4(a[0], a[1], 0xDD));
    /* 128-bit lanes: 0, 2, 1, 3; inside lane k: k, k + 8, k + 4, k + 12. */
    const __m512i order = _mm512_setr_epi32(0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15);
    return _mm512_permutexvar_epi32(order, a[0]);
}

#endif
