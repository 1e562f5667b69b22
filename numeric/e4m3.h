/* E4M3FN: 1-4-3 bits, bias 7, no infinity, NaN 0x7F and 0xFF, largest 448 (0x7E), smallest normal 2^-6 (0x08), smallest
 * denormal 2^-9 (0x01). Source: OCP 8-bit Floating Point Specification 1.0, table 1. */
#ifndef NUMERIC_E4M3_H
#define NUMERIC_E4M3_H

#include "numeric/numeric.h"

#define E4M3_MAX 448.0f
#define E4M3_MIN 0x1p-9f       /* smallest positive */
#define E4M3_NAN 0x7Fu
#define E4M3_ONE 0x38u

/* Nearest, ties to even; |x| <= 2^-10 is zero with the sign of x; everything from 448 up, infinity too, is 448 with the
 * sign of x (the same as clamping to [-448, 448] in fp32 first); NaN is 0x7F. Producers differ on overflow: PyTorch's
 * CPU cast and CUDA's satfinite do as we do, CUDA's nosat and older PyTorch give NaN. */
NUM_FN uint8_t e4m3_encode(float x)
{
    uint32_t sign = f32_bits(x) >> 24 & 0x80u, a = f32_magnitude_bits(x);
    if (a > F32_INFINITY_BITS) return E4M3_NAN;
    if (a >= 0x43E00000u) return (uint8_t)(sign | 0x7Eu);                                /* 448 */
    /* Below 2^-6: floats near 2^14 lie 2^-9 apart, so the addition rounds to a count of the smallest denormal. */
    if (a < 0x3C800000u) return (uint8_t)(sign | (f32_bits(f32_from_bits(a) + 0x1p14f) - 0x46800000u));
    return (uint8_t)(sign | u32_round_shift(a - (120u << 23), 20));                      /* exponent bias 127 - 7 */
}

/* Exact; 0x7F and 0xFF give F32_NAN_BITS. */
NUM_FN float e4m3_decode(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80u) << 24, a = code & 0x7Fu;
    if (a == E4M3_NAN) return f32_from_bits(F32_NAN_BITS);
    if (a >= 8u) return f32_from_bits(sign | ((a << 20) + (120u << 23)));
    return f32_from_bits(sign | f32_bits((float)a * E4M3_MIN));
}

#endif
