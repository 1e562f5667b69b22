/* FP8 and NVFP4 codes of bf16 elements without a division each, on AVX-512: 32 elements at a time. The bytes are those
 * of the division that numeric/ has.
 *
 * With r = 1/e, q = w*r is off by a little, w - q*e is what it is off by, and fma(w - q*e, r, q) is w/e correctly
 * rounded. That it is for every w of bf16 and every fp32 e is not taken from a theorem (which asks more of q): all
 * 128 * 2^23 pairs of significands were tried, and make check-numeric tries them again. Powers of two do not matter as
 * long as nothing underflows or overflows: FAST_SCALE_MIN and the others.
 *
 * Once an element is rounded, or moved off its tie, the upper half of it holds all that decides, and 32 of them fill
 * one register. */
#ifndef BACKENDS_CPU_FAST_AVX512_H
#define BACKENDS_CPU_FAST_AVX512_H

#include "backends/cpu/lanes_avx512.h"

/* Sizes of e, and of w, with which no quotient that matters underflows, nor what it is off by, for any bf16 w; with the
 * last one none overflows. */
#define FAST_SCALE_MIN 0x1p-60f
#define FAST_SCALE_MAX 0x1p16f
#define FAST_AMAX_MAX 0x1p60f

/* Elements 0, 2, 4 .. 30 of 32, and 1, 3 .. 31. */
LANES_FN __m512 fast_even(__m512i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}

LANES_FN __m512 fast_odd(__m512i x)
{
    return _mm512_castsi512_ps(_mm512_and_si512(x, lanes_u32(0xFFFF0000u)));
}

/* The upper halves of two vectors' lanes, in the order of the elements. */
LANES_FN __m512i fast_merge(__m512i even, __m512i odd)
{
    return _mm512_mask_blend_epi16(0xAAAAAAAAu, _mm512_srli_epi32(even, 16), odd);
}

/* The bits of w / e, rounded once; of a NaN where w or the quotient is infinite. */
LANES_FN __m512i fast_quotient(__m512 w, __m512 e, __m512 inverse)
{
    __m512 q = _mm512_mul_ps(w, inverse);
    return _mm512_castps_si512(_mm512_fmadd_ps(_mm512_fnmadd_ps(q, e, w), inverse, q));
}

/* The lower `bits` bits rounded away, ties to even; they hold anything afterwards. */
LANES_FN __m512i fast_round(__m512i u, unsigned bits)
{
    __mmask16 is_odd = _mm512_test_epi32_mask(u, lanes_u32(1u << bits));
    u = _mm512_add_epi32(u, lanes_u32((1u << (bits - 1)) - 1u));
    return _mm512_mask_sub_epi32(u, is_odd, u, lanes_u32(0xFFFFFFFFu));
}

/* 32 E4M3 codes of w / e. `twice`: of the quotient rounded to bf16. False where an element has to be divided: its code
 * is a denormal, or it is a NaN. */
LANES_FN bool fast_fp8(__m512i x, __m512 e, __m512 inverse, bool twice, uint8_t *dst)
{
    const __m512i zero_below = _mm512_set1_epi16(0x3A00); /* 2^-11, as the upper half of a float */
    __m512i even = fast_round(fast_quotient(fast_even(x), e, inverse), twice ? 16 : 20);
    __m512i odd = fast_round(fast_quotient(fast_odd(x), e, inverse), twice ? 16 : 20);
    __m512i h = _mm512_and_si512(fast_merge(even, odd), _mm512_set1_epi16(0x7FFF));
    __mmask32 denormal = _mm512_cmplt_epu16_mask(_mm512_sub_epi16(h, zero_below), _mm512_set1_epi16(0x3C80 - 0x3A00));
    __mmask32 nan = _mm512_cmpgt_epu16_mask(_mm512_slli_epi16(x, 1), _mm512_set1_epi16((short)0xFF00));
    __m512i code = _mm512_subs_epu16(_mm512_min_epu16(h, _mm512_set1_epi16(0x43E0)), _mm512_set1_epi16(120 << 7));
    if (twice) { /* now an exact bf16 number: to the nearest, ties to even */
        __m512i up = _mm512_and_si512(_mm512_srli_epi16(code, 4), _mm512_set1_epi16(1));
        code = _mm512_add_epi16(_mm512_add_epi16(code, _mm512_set1_epi16(7)), up);
    }
    code = _mm512_srli_epi16(code, 4);
    code = _mm512_ternarylogic_epi32(code, _mm512_srli_epi16(x, 8), _mm512_set1_epi16(0x80), 0xF8);
    _mm256_storeu_si256((__m256i *)(void *)dst, _mm512_cvtepi16_epi8(code));
    return (denormal | nan) == 0;
}

/* The blocks' largest magnitudes, as floats in the order of the blocks, of 16 blocks of bf16. */
LANES_FN __m512 fast_block_amax(const __m512i x[8])
{
    const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
    __m512i a[8];
    LANES_UNROLL
    for (int k = 0; k < 8; k++) a[k] = _mm512_and_si512(x[k], magnitude);
    LANES_UNROLL
    for (int k = 0; k < 4; k++) /* lanes of 64 bits: vector k, k + 4 */
        a[k] = _mm512_max_epu16(_mm512_unpacklo_epi64(a[k], a[k + 4]), _mm512_unpackhi_epi64(a[k], a[k + 4]));
    LANES_UNROLL
    for (int k = 0; k < 2; k++) { /* of 32: k, k + 4, k + 2, k + 6 */
        __m512 p = _mm512_castsi512_ps(a[k]), q = _mm512_castsi512_ps(a[k + 2]);
        a[k] = _mm512_max_epu16(_mm512_castps_si512(_mm512_shuffle_ps(p, q, 0x88)),
                                _mm512_castps_si512(_mm512_shuffle_ps(p, q, 0xDD)));
    }
    /* of 16: 0, 1, 4, 5, 2, 3, 6, 7; a block has two 128-bit lanes of them */
    __m512i low = _mm512_mask_blend_epi16(0xAAAAAAAAu, a[0], _mm512_slli_epi32(a[1], 16));
    __m512i most = _mm512_max_epu16(low, fast_merge(a[0], a[1]));
    most = _mm512_max_epu16(most, _mm512_shuffle_i64x2(most, most, 0xB1));
    /* Block 2k is in the lower half of vector k, 2k + 1 in the upper; each value becomes the upper half of a float. */
    const __m512i from =
        _mm512_slli_epi32(_mm512_setr_epi32(0, 16, 1, 17, 4, 20, 5, 21, 2, 18, 3, 19, 6, 22, 7, 23), 16);
    return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xAAAAAAAAu, from, most));
}

/* max(|w / e|, 0.2), moved so that a decision point and what is above it have another upper half than what is below:
 * down by one unit, unless bit 22 is set. Points with that bit (0.75, 1.75, 3.5) go up to an even code, the others go
 * down to one. Below 0.2 every code is 0. */
LANES_FN __m512i fast_e2m1(__m512 w, __m512 e, __m512 inverse)
{
    __m512 q = _mm512_castsi512_ps(fast_quotient(w, e, inverse));
    __m512i u = _mm512_castps_si512(_mm512_range_ps(q, _mm512_set1_ps(0.2f), 0x0B)); /* the larger magnitude */
    return _mm512_mask_sub_epi32(u, _mm512_testn_epi32_mask(u, lanes_u32(1u << 22)), u, lanes_u32(1));
}

/* The E2M1 codes of two blocks, 16 bytes; lanes 0..7 of e and 1/e belong to the first. */
LANES_FN void fast_nvfp4(__m512i x, __m512 e, __m512 inverse, uint8_t *dst)
{
    /* By the lower 5 of the upper 11 bits, from 7 down to 2, then from 1.75 down to 0.1875: all decision points begin
     * such a step. */
    const __m512i codes = _mm512_set_epi16(4, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7,
                                           7, 6, 6, 5, 5, 4);
    __m512i h = fast_merge(fast_e2m1(fast_even(x), e, inverse), fast_e2m1(fast_odd(x), e, inverse));
    h = _mm512_srli_epi16(_mm512_min_epu16(h, _mm512_set1_epi16(0x40FF)), 5); /* below 8 */
    __m512i code = _mm512_permutexvar_epi16(h, codes);
    __mmask32 negative = _mm512_cmpgt_epu16_mask(x, _mm512_set1_epi16((short)0x8000)); /* -0 is not */
    code = _mm512_mask_add_epi16(code, negative, code, _mm512_set1_epi16(E2M1_SIGN));
    code = _mm512_madd_epi16(code, lanes_u32(16u << 16 | 1u)); /* even | odd << 4 */
    _mm_storeu_si128((__m128i *)(void *)dst, _mm512_cvtepi32_epi8(code));
}

#endif
