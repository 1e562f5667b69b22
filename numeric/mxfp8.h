/* MXFP8: blocks of 32 consecutive elements of a row; value = e4m3 * 2^(b - 127) with b the block's E8M0 byte.
 *
 * b stands for 2^ceil(log2(a / 448)), a the largest magnitude of the block: one fp32 division, then exponent arithmetic
 * (e8m0_encode_up). The largest quotient is in (224, 448], so nothing is clipped. Scales stop at 2^-127 (b = 0), which
 * a zero block gets too. The codes are e4m3(w / 2^(b-127)), one fp32 division that is exact unless it is a denormal
 * (the same as multiplying by 2^(127-b)); -0 keeps its sign (0x80).
 *
 * NaN and infinities are refused by callers before. Should one come here: a block with a NaN has b = 255 and every code
 * 0x7F; a block with an infinity has b = 254, the infinity is 448.
 *
 * One byte per element, in order. Source: ModelOpt 0.47.0, MXFP8; OCP Microscaling Formats 1.0 (whose own scale rule
 * rounds down and clips; nobody writes that for E4M3 weights). */
#ifndef NUMERIC_MXFP8_H
#define NUMERIC_MXFP8_H

#include "numeric/e4m3.h"
#include "numeric/e8m0.h"

#define MXFP8_BLOCK 32u

NUM_FN void mxfp8_encode_block(const float w[32], uint8_t *scale, uint8_t out[32])
{
    float a = 0.0f;
    for (uint32_t i = 0; i < MXFP8_BLOCK; i++) a = f32_amax(a, w[i]);
    *scale = e8m0_encode_up(a / E4M3_MAX);
    float e = e8m0_decode(*scale);
    for (uint32_t i = 0; i < MXFP8_BLOCK; i++) out[i] = e4m3_encode(w[i] / e);
}

/* Exact but for denormals; beyond the largest fp32 number an infinity. NaN codes and b = 255 give F32_NAN_BITS. */
NUM_FN void mxfp8_decode_block(const uint8_t in[32], uint8_t scale, float out[32])
{
    float e = e8m0_decode(scale);
    for (uint32_t i = 0; i < MXFP8_BLOCK; i++) {
        float x = e4m3_decode(in[i]) * e;
        out[i] = f32_is_nan(x) ? f32_from_bits(F32_NAN_BITS) : x;
    }
}

#endif
