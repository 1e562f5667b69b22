/* MXFP4: blocks of 32 consecutive elements of a row; value = e2m1 * 2^(b - 127) with b the block's E8M0 byte. Two ways
 * of writing it; reading is the same for both.
 *
 *   MXFP4_MODELOPT  scale 2^ceil(log2(a / 6)), so that the maximum a is never clipped; elements to the nearest, ties
 *                   always towards zero; the sign bit is set for everything that is not positive, so zeros are code 8
 *   MXFP4_OCP       scale 2^(floor(log2 a) - 2), so that a lies in [4, 8) scales and is clipped to 6 above; elements to
 *                   the nearest, ties to even, sign bit kept, as the hardware's conversion does (e2m1_encode)
 *
 * log2 is exponent arithmetic (e8m0.h), not a library's: ModelOpt's own log2 gives the same for bf16 and f16 sources;
 * for fp32 sources it may differ where a / 6 is within a few units above a power of two. The quotient w / 2^(b-127) is
 * one fp32 division, exact unless it is a denormal. Scales stop at 2^-127 (b = 0), which a zero block gets too; b = 255
 * is never written but for a NaN.
 *
 * NaN and infinities are refused by callers before. Should one come here: a block with a NaN has b = 255 and every code
 * 7 (MODELOPT: 15, since a NaN is not positive); a block with an infinity has the scale of 2^127 (MODELOPT) or 2^125
 * (OCP), the infinity is 7 or 15.
 *
 * Element 2k is the low nibble of byte k, 2k+1 the high one. Sources: OCP Microscaling Formats 1.0, sections 5.3 and
 * 6.3; ModelOpt 0.47.0's exporter, byte for byte (tests/kernels/test_modelopt.c). */
#ifndef NUMERIC_MXFP4_H
#define NUMERIC_MXFP4_H

#include "numeric/e2m1.h"
#include "numeric/e8m0.h"
#include "numeric/op.h"

#define MXFP4_BLOCK 32u
#define MXFP4_BLOCK_BYTES 16u

NUM_FN float mxfp4_block_amax(const float w[32])
{
    float a = 0.0f;
    for (uint32_t i = 0; i < MXFP4_BLOCK; i++) a = f32_amax(a, w[i]);
    return a;
}

/* The block's byte. OCP: the largest power of two up to a is 4 scales, 4 = 2^2 being the largest power of two that E2M1
 * has; a below 2^-125 gives 0. */
NUM_FN uint8_t mxfp4_scale(float block_amax, enum mxfp4_rule rule)
{
    if (rule == MXFP4_MODELOPT) return e8m0_encode_up(block_amax / 6.0f);
    uint8_t b = e8m0_encode_down(block_amax);
    if (b == E8M0_NAN) return b;
    return (uint8_t)(b > 2u ? b - 2u : 0u);
}

/* Nibble of a quotient. */
NUM_FN uint8_t mxfp4_code(float q, enum mxfp4_rule rule)
{
    if (rule == MXFP4_OCP) return e2m1_encode(q);
    float a = f32_abs(q);
    uint8_t magnitude = (uint8_t)((a > 0.25f) + (a > 0.75f) + (a > 1.25f) + (a > 1.75f) + (a > 2.5f) + (a > 3.5f) +
                                  (a > 5.0f));
    if (f32_is_nan(q)) magnitude = 7u;
    return (uint8_t)(magnitude | (q > 0.0f ? 0u : E2M1_SIGN));
}

NUM_FN void mxfp4_encode_block(const float w[32], enum mxfp4_rule rule, uint8_t *scale, uint8_t out[16])
{
    *scale = mxfp4_scale(mxfp4_block_amax(w), rule);
    float e = e8m0_decode(*scale);
    for (uint32_t k = 0; k < MXFP4_BLOCK_BYTES; k++)
        out[k] = (uint8_t)(mxfp4_code(w[2u * k] / e, rule) | mxfp4_code(w[2u * k + 1u] / e, rule) << 4);
}

/* Exact but for denormals; beyond the largest fp32 number an infinity. Code 8 gives -0; b = 255 makes every element
 * F32_NAN_BITS. */
NUM_FN void mxfp4_decode_block(const uint8_t in[16], uint8_t scale, float out[32])
{
    float e = e8m0_decode(scale);
    for (uint32_t i = 0; i < MXFP4_BLOCK; i++) {
        uint8_t code = (uint8_t)(i % 2u ? in[i / 2u] >> 4 : in[i / 2u] & 15u);
        out[i] = scale == E8M0_NAN ? f32_from_bits(F32_NAN_BITS) : e2m1_decode(code) * e;
    }
}

#endif
