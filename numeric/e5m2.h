/* E5M2: 1-5-2 bits, bias 15, infinities 0x7C and 0xFC, NaN above them, largest 57344 (0x7B), smallest denormal 2^-16.
 * It is the upper byte of binary16. Source: OCP 8-bit Floating Point Specification 1.0, table 1. */
#ifndef NUMERIC_E5M2_H
#define NUMERIC_E5M2_H

#include "numeric/half.h"

#define E5M2_MAX 57344.0f
#define E5M2_NAN 0x7Fu

/* Nearest, ties to even; |x| <= 2^-17 is zero with the sign of x; everything from 57344 up, infinity too, is 57344 with
 * the sign of x (CUDA's satfinite); NaN is 0x7F. The infinity codes are never written. */
NUM_FN uint8_t e5m2_encode(float x)
{
    uint32_t sign = f32_bits(x) >> 24 & 0x80u, a = f32_magnitude_bits(x);
    if (a > F32_INFINITY_BITS) return E5M2_NAN;
    if (a >= 0x47600000u) return (uint8_t)(sign | 0x7Bu);                                /* 57344 */
    /* Below 2^-14: floats near 2^7 lie 2^-16 apart, so the addition rounds to a count of the smallest denormal. */
    if (a < 0x38800000u) return (uint8_t)(sign | (f32_bits(f32_from_bits(a) + 0x1p7f) - 0x43000000u));
    return (uint8_t)(sign | u32_round_shift(a - (112u << 23), 21));                      /* exponent bias 127 - 15 */
}

/* Exact; infinities and NaN as in binary16. */
NUM_FN float e5m2_decode(uint8_t code)
{
    return f16_decode((uint16_t)((uint32_t)code << 8));
}

#endif
