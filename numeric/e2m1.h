/* E2M1, the FP4 of NVFP4 and MXFP4: sign in bit 3, magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6. No infinity, no NaN.
 * Source: OCP Microscaling Formats 1.0, table 5; the same values in CUDA's cuda_fp4.hpp and ModelOpt. */
#ifndef NUMERIC_E2M1_H
#define NUMERIC_E2M1_H

#include "numeric/numeric.h"

#define E2M1_MAX 6.0f
#define E2M1_SIGN 0x8u

/* Code 0..7 of the magnitude nearest to a (not negative), ties to the even code; above 5, infinity and NaN: 7 (6.0).
 * Each line is one midpoint; `>` where a tie goes down to an even code, `>=` where it goes up to one. */
NUM_FN uint8_t e2m1_magnitude(float a)
{
    if (f32_is_nan(a)) return 7u;
    return (uint8_t)((a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) + (a > 5.0f));
}

/* As cvt.rn.satfinite.e2m1x2.f32: the sign bit of x is kept, also of -0 (code 8) and of a negative that rounds to zero;
 * NaN is 7. NVFP4 weights use nvfp4_code instead, which differs at -0 only. */
NUM_FN uint8_t e2m1_encode(float x)
{
    if (f32_is_nan(x)) return 7u;
    return (uint8_t)(e2m1_magnitude(f32_abs(x)) | (f32_bits(x) >> 28 & E2M1_SIGN));
}

/* Exact; only the low four bits of the code count; code 8 is -0. */
NUM_FN float e2m1_decode(uint8_t code)
{
    uint32_t c = code & 7u, sign = (uint32_t)(code & E2M1_SIGN) << 28;
    /* Codes 2..7 are floats 1.0 (0x3F800000) upward in steps of the first mantissa bit; 0 and 1 are denormal. */
    uint32_t magnitude = c >= 2u ? (c + 252u) << 22 : c == 1u ? 0x3F000000u : 0u;
    return f32_from_bits(sign | magnitude);
}

#endif
