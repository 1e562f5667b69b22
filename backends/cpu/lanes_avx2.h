/* The functions of numeric/ on 8 lanes of AVX2 (with F16C), for the *_avx2.c files only. Each gives the bits of its
 * scalar namesake; lanes_avx512.h has the same functions on 16 lanes and explains the rounding by one addition. */
#ifndef BACKENDS_CPU_LANES_AVX2_H
#define BACKENDS_CPU_LANES_AVX2_H

#include "backends/cpu/element.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <immintrin.h>

#define LANES_FN static inline __attribute__((always_inline))
#define LANES_UNROLL _Pragma("GCC unroll 16")

LANES_FN __m256i lanes_u32(uint32_t u)
{
    return _mm256_set1_epi32((int)u);
}

/* Elements i..i+7 of the source, widened. */
LANES_FN __m256 lanes_load(const void *src, enum dtype dtype, uint64_t i)
{
    const uint8_t *p = src;
    if (dtype == DTYPE_F32) return _mm256_loadu_ps((const float *)(const void *)(p + 4 * i));
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(p + 2 * i));
    if (dtype == DTYPE_F16) return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

LANES_FN void lanes_store(void *dst, uint64_t i, __m256 x)
{
    _mm256_storeu_ps((float *)(void *)((uint8_t *)dst + 4 * i), x);
}

/* Bytes to and from 32-bit lanes. */
LANES_FN __m256i lanes_load_bytes(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

LANES_FN void lanes_store_bytes(uint8_t *p, __m256i u)
{
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(words, words));
}

LANES_FN __m256i lanes_magnitude_bits(__m256 x)
{
    return _mm256_and_si256(_mm256_castps_si256(x), lanes_u32(~F32_SIGN_BIT));
}

/* All bits of the lanes that hold a NaN. */
LANES_FN __m256i lanes_is_nan(__m256 x)
{
    return _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* `b` in the lanes of the mask, `a` in the others. */
LANES_FN __m256i lanes_select(__m256i a, __m256i mask, __m256i b)
{
    return _mm256_blendv_epi8(a, b, mask);
}

LANES_FN __m256i lanes_sign_of(__m256 x)
{
    return _mm256_and_si256(_mm256_castps_si256(x), lanes_u32(F32_SIGN_BIT));
}

/* bf16_decode(bf16_encode(x)); a NaN stays a NaN only if its low 16 bits are zero, as those that bf16 sources and 0/0
 * give. */
LANES_FN __m256 lanes_through_bf16(__m256 x)
{
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), lanes_u32(1));
    u = _mm256_add_epi32(_mm256_add_epi32(u, lanes_u32(0x7FFF)), odd);
    return _mm256_castsi256_ps(_mm256_and_si256(u, lanes_u32(0xFFFF0000u)));
}

LANES_FN __m256 lanes_through_f16(__m256 x)
{
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

struct lanes_rounded {
    __m256 sum;
    __m256i power, exponent;
};

LANES_FN struct lanes_rounded lanes_round(__m256i a, uint32_t min_exponent, uint32_t shift)
{
    struct lanes_rounded r;
    r.exponent = _mm256_max_epu32(_mm256_and_si256(a, lanes_u32(F32_INFINITY_BITS)), lanes_u32(min_exponent));
    r.power = _mm256_add_epi32(r.exponent, lanes_u32(shift << 23));
    r.sum = _mm256_add_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(r.power));
    return r;
}

LANES_FN __m256 lanes_rounded_value(struct lanes_rounded r)
{
    return _mm256_sub_ps(r.sum, _mm256_castsi256_ps(r.power));
}

LANES_FN __m256i lanes_rounded_code(struct lanes_rounded r, uint32_t min_exponent, int shift)
{
    __m256i steps = _mm256_sub_epi32(_mm256_castps_si256(r.sum), r.power);
    __m256i below = _mm256_srli_epi32(_mm256_sub_epi32(r.exponent, lanes_u32(min_exponent)), shift);
    return _mm256_add_epi32(steps, below);
}

#define E4M3_MIN_EXPONENT 0x3C800000u /* 2^-6 */
#define E4M3_SHIFT 20
#define E2M1_MIN_EXPONENT 0x3F800000u /* 1.0 */
#define E2M1_SHIFT 22

LANES_FN __m256i lanes_e4m3_encode(__m256 x)
{
    __m256i a = _mm256_min_epu32(lanes_magnitude_bits(x), lanes_u32(0x43E00000u));
    struct lanes_rounded r = lanes_round(a, E4M3_MIN_EXPONENT, E4M3_SHIFT);
    __m256i code = lanes_rounded_code(r, E4M3_MIN_EXPONENT, E4M3_SHIFT);
    code = _mm256_or_si256(code, _mm256_srli_epi32(lanes_sign_of(x), 24));
    return lanes_select(code, lanes_is_nan(x), lanes_u32(E4M3_NAN));
}

LANES_FN __m256 lanes_through_e4m3(__m256 x)
{
    __m256i a = _mm256_min_epu32(lanes_magnitude_bits(x), lanes_u32(0x43E00000u));
    __m256i v = _mm256_castps_si256(lanes_rounded_value(lanes_round(a, E4M3_MIN_EXPONENT, E4M3_SHIFT)));
    v = _mm256_or_si256(v, lanes_sign_of(x));
    return _mm256_castsi256_ps(lanes_select(v, lanes_is_nan(x), lanes_u32(F32_NAN_BITS)));
}

LANES_FN __m256 lanes_e4m3_decode(__m256i code)
{
    __m256i a = _mm256_and_si256(code, lanes_u32(0x7F));
    __m256 v = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(a, 20)), _mm256_set1_ps(0x1p120f));
    __m256i sign = _mm256_and_si256(_mm256_slli_epi32(code, 24), lanes_u32(F32_SIGN_BIT));
    __m256i nan = _mm256_cmpeq_epi32(a, lanes_u32(E4M3_NAN));
    return _mm256_castsi256_ps(
        lanes_select(_mm256_or_si256(_mm256_castps_si256(v), sign), nan, lanes_u32(F32_NAN_BITS)));
}

LANES_FN struct lanes_rounded lanes_e2m1_round(__m256 q)
{
    __m256 a = _mm256_min_ps(_mm256_castsi256_ps(lanes_magnitude_bits(q)), _mm256_set1_ps(E2M1_MAX));
    return lanes_round(_mm256_castps_si256(a), E2M1_MIN_EXPONENT, E2M1_SHIFT);
}

/* All bits of the lanes with q < 0: the sign rule of nvfp4_code. */
LANES_FN __m256i lanes_negative(__m256 q)
{
    return _mm256_castps_si256(_mm256_cmp_ps(q, _mm256_setzero_ps(), _CMP_LT_OQ));
}

LANES_FN __m256i lanes_nvfp4_code(__m256 q)
{
    __m256i code = lanes_rounded_code(lanes_e2m1_round(q), E2M1_MIN_EXPONENT, E2M1_SHIFT);
    return _mm256_or_si256(code, _mm256_and_si256(lanes_negative(q), lanes_u32(E2M1_SIGN)));
}

LANES_FN __m256 lanes_through_nvfp4(__m256 q)
{
    __m256i v = _mm256_castps_si256(lanes_rounded_value(lanes_e2m1_round(q)));
    return _mm256_castsi256_ps(_mm256_or_si256(v, _mm256_and_si256(lanes_negative(q), lanes_u32(F32_SIGN_BIT))));
}

LANES_FN __m256 lanes_scale_clamp(__m256 p)
{
    p = _mm256_min_ps(p, _mm256_set1_ps(E4M3_MAX));
    return _mm256_max_ps(p, _mm256_set1_ps(E4M3_MIN));
}

LANES_FN __m256 lanes_zero_to_one(__m256 p)
{
    return _mm256_blendv_ps(p, _mm256_set1_ps(1.0f), _mm256_cmp_ps(p, _mm256_setzero_ps(), _CMP_EQ_OQ));
}

LANES_FN __m256i lanes_scale_dynamic(__m256 amax, float s2)
{
    return lanes_e4m3_encode(lanes_scale_clamp(lanes_zero_to_one(_mm256_div_ps(amax, _mm256_set1_ps(6.0f * s2)))));
}

/* For a tensor that does not count as zero. */
LANES_FN __m256i lanes_scale_static(__m256 amax, float g, float m)
{
    __m256 p = lanes_zero_to_one(_mm256_div_ps(amax, _mm256_set1_ps(6.0f)));
    p = _mm256_div_ps(_mm256_mul_ps(p, _mm256_set1_ps(m)), _mm256_set1_ps(g / 6.0f));
    return lanes_e4m3_encode(lanes_scale_clamp(p));
}

/* Block maxima of 8 blocks of 16: lane b of the result belongs to v[2b] and v[2b+1]. */
LANES_FN __m256i lanes_block_amax(const __m256 v[16])
{
    __m256i a[8];
    LANES_UNROLL
    for (int b = 0; b < 8; b++)
        a[b] = _mm256_max_epu32(lanes_magnitude_bits(v[2 * b]), lanes_magnitude_bits(v[2 * b + 1]));
    LANES_UNROLL
    for (int b = 0; b < 4; b++)
        a[b] = _mm256_max_epu32(_mm256_unpacklo_epi64(a[b], a[b + 4]), _mm256_unpackhi_epi64(a[b], a[b + 4]));
    LANES_UNROLL
    for (int b = 0; b < 2; b++) {
        __m256 x = _mm256_castsi256_ps(a[b]), y = _mm256_castsi256_ps(a[b + 2]);
        a[b] = _mm256_max_epu32(_mm256_castps_si256(_mm256_shuffle_ps(x, y, 0x88)),
                                _mm256_castps_si256(_mm256_shuffle_ps(x, y, 0xDD)));
    }
    a[0] = _mm256_max_epu32(_mm256_permute2x128_si256(a[0], a[1], 0x20), _mm256_permute2x128_si256(a[0], a[1], 0x31));
    return _mm256_permutevar8x32_epi32(a[0], _mm256_setr_epi32(0, 4, 2, 6, 1, 5, 3, 7));
}

#endif
