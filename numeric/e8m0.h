/* E8M0, the block scale of the MX formats: one exponent byte, value 2^(code - 127), 255 is NaN. No zero, no sign. Code
 * 0 is 2^-127, a denormal in fp32. Source: OCP Microscaling Formats 1.0, section 5.4.1.
 *
 * Encoders look at |x|. They saturate: what would exceed 2^127, infinity too, is 254; zero and what lies below 2^-127
 * is 0; NaN is 255. Which of the three a format wants is the format's matter: MXFP8 and ModelOpt's MXFP4 round up (the
 * block maximum is then never clipped), the OCP text and ggml round down. */
#ifndef NUMERIC_E8M0_H
#define NUMERIC_E8M0_H

#include "numeric/numeric.h"

#define E8M0_NAN 0xFFu
#define E8M0_MAX 0xFEu

/* The largest power of two that is not above |x|: floor(log2 |x|) + 127. */
NUM_FN uint8_t e8m0_encode_down(float x)
{
    uint32_t a = f32_magnitude_bits(x);
    if (a > F32_INFINITY_BITS) return E8M0_NAN;
    return (uint8_t)(a >= F32_INFINITY_BITS ? E8M0_MAX : a >> 23);
}

/* The smallest power of two that is not below |x|: ceil(log2 |x|) + 127, by exponent arithmetic and not by log2, whose
 * last bit differs between libraries. */
NUM_FN uint8_t e8m0_encode_up(float x)
{
    uint32_t a = f32_magnitude_bits(x);
    if (a > F32_INFINITY_BITS) return E8M0_NAN;
    if (a <= 0x00400000u) return 0u;                                                     /* 2^-127 and below */
    uint32_t code = (a + 0x007FFFFFu) >> 23;
    return (uint8_t)(code > E8M0_MAX ? E8M0_MAX : code);
}

/* The nearest power of two on the linear scale; a tie (1.5 * 2^n) goes up, as in CUDA 13. */
NUM_FN uint8_t e8m0_encode_nearest(float x)
{
    uint32_t a = f32_magnitude_bits(x);
    if (a > F32_INFINITY_BITS) return E8M0_NAN;
    /* between 2^-127 and 2^-126 the middle is 1.5 * 2^-127 */
    if (a < 0x00800000u) return a >= 0x00600000u ? 1u : 0u;
    uint32_t code = (a + 0x00400000u) >> 23;
    return (uint8_t)(code > E8M0_MAX ? E8M0_MAX : code);
}

/* Exact; 255 gives F32_NAN_BITS. */
NUM_FN float e8m0_decode(uint8_t code)
{
    if (code == E8M0_NAN) return f32_from_bits(F32_NAN_BITS);
    return f32_from_bits(code == 0u ? 0x00400000u : (uint32_t)code << 23);
}

#endif
