/* bfloat16 (1-8-7) and IEEE binary16 (1-5-10), the storage types of weights before quantization.
 *
 * Decoding is exact. Encoding rounds to nearest, ties to even; what rounds beyond the largest finite value becomes an
 * infinity, infinities stay, -0 stays, NaN becomes 0x7FFF. Source: IEEE 754-2019; the NaN is that of the
 * cvt.rn.bf16.f32 and cvt.rn.f16.f32 instructions. */
#ifndef NUMERIC_HALF_H
#define NUMERIC_HALF_H

#include "numeric/numeric.h"

#define HALF_NAN 0x7FFFu

/* Exact for all 65,536 codes; a NaN keeps its bits. */
NUM_FN float bf16_decode(uint16_t h)
{
    return f32_from_bits((uint32_t)h << 16);
}

/* Overflow to infinity begins at 0x7F7F8000, half a step above the largest bf16 (3.39e38); bf16 has the exponents of
 * f32, so denormals need no case of their own. */
NUM_FN uint16_t bf16_encode(float x)
{
    if (f32_is_nan(x)) return HALF_NAN;
    return (uint16_t)u32_round_shift(f32_bits(x), 16);
}

/* Exact for all 65,536 codes. A NaN keeps sign and payload and becomes quiet, as VCVTPH2PS does. */
NUM_FN float f16_decode(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, a = h & 0x7FFFu;
    if (a > 0x7C00u) return f32_from_bits(sign | F32_NAN_BITS | a << 13);
    if (a == 0x7C00u) return f32_from_bits(sign | F32_INFINITY_BITS);
    if (a >= 0x0400u) return f32_from_bits(sign | ((a << 13) + (112u << 23)));          /* exponent bias 127 - 15 */
    return f32_from_bits(sign | f32_bits((float)a * 0x1p-24f));                          /* denormals count in 2^-24 */
}

/* Overflow to infinity begins at 65520, half a step above 65504; the smallest denormal is 2^-24, 2^-25 ties to 0. */
NUM_FN uint16_t f16_encode(float x)
{
    uint32_t sign = f32_bits(x) >> 16 & 0x8000u, a = f32_magnitude_bits(x);
    if (a > F32_INFINITY_BITS) return HALF_NAN;
    if (a >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u);
    /* Below 2^-14: floats near 0.5 lie 2^-24 apart, so the addition rounds to a count of the smallest denormal. */
    if (a < 0x38800000u) return (uint16_t)(sign | (f32_bits(f32_from_bits(a) + 0.5f) - 0x3F000000u));
    return (uint16_t)(sign | u32_round_shift(a - (112u << 23), 13));
}

#endif
