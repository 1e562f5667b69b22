/* Q8_0 of ggml: blocks of 32 consecutive elements of a row, 34 bytes: a binary16 d (little-endian), then 32 signed
 * bytes q; value = d * q.
 *
 * With a the largest magnitude of the block: s = a / 127, r = 1 / s (0 when s is 0), q = w * r rounded to the nearest
 * integer, ties away from zero; stored is d = f16(s), while the codes come from the unrounded s. Two fp32 divisions and
 * one fp32 product per element, in this order.
 *
 * Callers refuse NaN and infinities, and an a beyond 127 * 65504, where d is an infinity. A block whose 1 / s overflows
 * (a below 2^-121) has d = 0; there, and for what callers should have refused, a code whose product is not below 128 in
 * magnitude is 0, which is what the conversion of x86 makes of it in ggml's own code.
 *
 * Source: the description of the format in ggml's documentation and its quantize_row_q8_0_ref, whose bytes
 * tests/vectors/q8_0 holds. */
#ifndef NUMERIC_Q8_0_H
#define NUMERIC_Q8_0_H

#include "numeric/half.h"

#define Q8_0_BLOCK 32u
#define Q8_0_BLOCK_BYTES 34u

NUM_FN int8_t q8_0_round(float x)
{
    float a = f32_abs(x);
    if (!(a < 128.0f)) return 0;
    int n = (int)a;
    if (a - (float)n >= 0.5f) n++;                     /* the difference is exact */
    n = f32_bits(x) & F32_SIGN_BIT ? -n : n;
    return (int8_t)(n > 127 ? 127 : n);                /* 127.5 cannot come from a block's own maximum */
}

NUM_FN void q8_0_encode_block(const float w[32], uint8_t out[34])
{
    float a = 0.0f;
    for (uint32_t i = 0; i < Q8_0_BLOCK; i++) a = f32_amax(a, w[i]);
    float s = a / 127.0f, r = s != 0.0f ? 1.0f / s : 0.0f;
    uint16_t d = f16_encode(s);
    out[0] = (uint8_t)d;
    out[1] = (uint8_t)(d >> 8);
    for (uint32_t i = 0; i < Q8_0_BLOCK; i++) out[2 + i] = (uint8_t)q8_0_round(w[i] * r);
}

/* One fp32 product, exact (11 and 7 bits). A d that is NaN, or an infinity times 0, gives F32_NAN_BITS. */
NUM_FN void q8_0_decode_block(const uint8_t in[34], float out[32])
{
    float d = f16_decode((uint16_t)(in[0] | in[1] << 8));
    for (uint32_t i = 0; i < Q8_0_BLOCK; i++) {
        float x = d * (float)(int8_t)in[2 + i];
        out[i] = f32_is_nan(x) ? f32_from_bits(F32_NAN_BITS) : x;
    }
}

#endif
