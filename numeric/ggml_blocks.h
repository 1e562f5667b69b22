/* ggml's blocks of 32 elements of a row, beside Q8_0: a binary16 scale (MXFP4: an E8M0 byte) and codes of 4 or 5 bits.
 * Code k of a block is the low nibble of byte k for k < 16, the high nibble of byte k - 16 for the others; the fifth
 * bit of code k is bit k of a little-endian word.
 *
 *   Q4_0    d, 16 bytes                    d * (q - 8)
 *   Q4_1    d, m, 16 bytes                 d * q + m, two roundings
 *   Q5_0    d, 4 bytes of high bits, 16    d * (q - 16)
 *   Q5_1    d, m, 4 bytes, 16              d * q + m
 *   IQ4_NL  d, 16 bytes                    d * table[q]
 *   MXFP4   e, 16 bytes                    2^(e - 128) * twice the E2M1 value; 255 is no NaN but 2^127 here
 *
 * Encoding, as ggml's reference functions do it: Q4_0 and Q5_0 put the element of the largest magnitude (the first of
 * several) on the code 0, so d = it / -8 or / -16; Q5_1 spans smallest and largest; codes come from the unrounded d, by
 * one product with 1 / d and a cut of what is half a step too large. Where 1 / d overflows, codes are 0. MXFP4's
 * exponent is that of the largest magnitude less two, by its bits: ggml asks log2f, which rounds up for fp32 numbers
 * within a few units below a power of two, and for no bf16 or f16 one. Its codes go to the nearest, ties towards zero,
 * and zero is code 0.
 *
 * Callers refuse NaN and infinities, and what binary16 cannot hold. Sources: ggml's documentation of the types and its
 * functions quantize_row_*_ref and dequantize_row_*, whose bytes tests/vectors/ggml holds. */
#ifndef NUMERIC_GGML_BLOCKS_H
#define NUMERIC_GGML_BLOCKS_H

#include "numeric/e2m1.h"
#include "numeric/e8m0.h"
#include "numeric/half.h"

#define GGML_SMALL 32u /* elements of a block */

NUM_FN float ggml_f16(const uint8_t *p)
{
    return f16_decode((uint16_t)(p[0] | p[1] << 8));
}

NUM_FN void ggml_put_f16(uint8_t *p, float x)
{
    uint16_t h = f16_encode(x);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

/* One NaN, so that results do not depend on which operand of a product an instruction set keeps. */
NUM_FN float ggml_one_nan(float x)
{
    return f32_is_nan(x) ? f32_from_bits(F32_NAN_BITS) : x;
}

NUM_FN uint32_t ggml_nibble(const uint8_t *codes, uint32_t i)
{
    return i < 16u ? codes[i] & 15u : (uint32_t)codes[i - 16u] >> 4;
}

NUM_FN uint32_t ggml_word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- decoding ---- */

NUM_FN void q4_0_decode_block(const uint8_t in[18], float out[32])
{
    float d = ggml_f16(in);
    for (uint32_t i = 0; i < GGML_SMALL; i++) out[i] = ggml_one_nan((float)((int)ggml_nibble(in + 2, i) - 8) * d);
}

NUM_FN void q4_1_decode_block(const uint8_t in[20], float out[32])
{
    float d = ggml_f16(in), m = ggml_f16(in + 2);
    for (uint32_t i = 0; i < GGML_SMALL; i++) out[i] = ggml_one_nan((float)ggml_nibble(in + 4, i) * d + m);
}

NUM_FN void q5_0_decode_block(const uint8_t in[22], float out[32])
{
    float d = ggml_f16(in);
    uint32_t high = ggml_word(in + 2);
    for (uint32_t i = 0; i < GGML_SMALL; i++) {
        int q = (int)(ggml_nibble(in + 6, i) | (high >> i & 1u) << 4);
        out[i] = ggml_one_nan((float)(q - 16) * d);
    }
}

NUM_FN void q5_1_decode_block(const uint8_t in[24], float out[32])
{
    float d = ggml_f16(in), m = ggml_f16(in + 2);
    uint32_t high = ggml_word(in + 4);
    for (uint32_t i = 0; i < GGML_SMALL; i++) {
        uint32_t q = ggml_nibble(in + 8, i) | (high >> i & 1u) << 4;
        out[i] = ggml_one_nan((float)q * d + m);
    }
}

/* The sixteen values of IQ4_NL and IQ4_XS, over 127 or so: ggml's kvalues_iq4nl, denser around zero. */
NUM_FN float iq4_value(uint32_t code)
{
    const int8_t table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return (float)table[code & 15u];
}

NUM_FN void iq4_nl_decode_block(const uint8_t in[18], float out[32])
{
    float d = ggml_f16(in);
    for (uint32_t i = 0; i < GGML_SMALL; i++) out[i] = ggml_one_nan(d * iq4_value(ggml_nibble(in + 2, i)));
}

/* 2^(e - 128): half of the E8M0 value, because codes count halves. */
NUM_FN float ggml_e8m0_half(uint8_t e)
{
    return f32_from_bits(e < 2u ? 0x00200000u << e : (uint32_t)(e - 1u) << 23);
}

/* Code 8 gives +0, as the product with an integer does. */
NUM_FN float ggml_e2m1_twice(uint32_t code)
{
    const int8_t table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    return (float)table[code & 15u];
}

NUM_FN void ggml_mxfp4_decode_block(const uint8_t in[17], float out[32])
{
    float d = ggml_e8m0_half(in[0]);
    for (uint32_t i = 0; i < GGML_SMALL; i++) out[i] = ggml_e2m1_twice(ggml_nibble(in + 1, i)) * d;
}

/* ---- encoding ---- */

/* The element of the largest magnitude, with its sign; the first of several. */
NUM_FN float ggml_signed_max(const float *w, uint32_t n)
{
    float amax = 0.0f, max = 0.0f;
    for (uint32_t i = 0; i < n; i++)
        if (amax < f32_abs(w[i])) {
            amax = f32_abs(w[i]);
            max = w[i];
        }
    return max;
}

/* x cut to an integer from 0 to `top`; 0 for what is no number below 2^31. */
NUM_FN uint8_t ggml_cut(float x, int top)
{
    if (!(x < 0x1p31f) || !(x > 0.0f)) return 0u;
    int n = (int)x;
    return (uint8_t)(n < top ? n : top);
}

NUM_FN void q4_0_encode_block(const float w[32], uint8_t out[18])
{
    float d = ggml_signed_max(w, GGML_SMALL) / -8.0f, id = d != 0.0f ? 1.0f / d : 0.0f;
    ggml_put_f16(out, d);
    for (uint32_t k = 0; k < 16u; k++)
        out[2u + k] = (uint8_t)(ggml_cut(w[k] * id + 8.5f, 15) | ggml_cut(w[k + 16u] * id + 8.5f, 15) << 4);
}

/* 16 bytes of low bits, and the fifth bits in front of them. */
NUM_FN void ggml_put_five(const uint8_t q[32], uint8_t high[4], uint8_t low[16])
{
    uint32_t word = 0;
    for (uint32_t i = 0; i < GGML_SMALL; i++) word |= (uint32_t)(q[i] >> 4 & 1u) << i;
    for (uint32_t k = 0; k < 4u; k++) high[k] = (uint8_t)(word >> 8u * k);
    for (uint32_t k = 0; k < 16u; k++) low[k] = (uint8_t)((q[k] & 15u) | (q[k + 16u] & 15u) << 4);
}

NUM_FN void q5_0_encode_block(const float w[32], uint8_t out[22])
{
    float d = ggml_signed_max(w, GGML_SMALL) / -16.0f, id = d != 0.0f ? 1.0f / d : 0.0f;
    uint8_t q[32];
    ggml_put_f16(out, d);
    for (uint32_t i = 0; i < GGML_SMALL; i++) q[i] = ggml_cut(w[i] * id + 16.5f, 31);
    ggml_put_five(q, out + 2, out + 6);
}

NUM_FN void q5_1_encode_block(const float w[32], uint8_t out[24])
{
    float min = w[0], max = w[0];
    uint8_t q[32];
    for (uint32_t i = 1; i < GGML_SMALL; i++) {
        if (w[i] < min) min = w[i];
        if (w[i] > max) max = w[i];
    }
    float d = (max - min) / 31.0f, id = d != 0.0f ? 1.0f / d : 0.0f;
    ggml_put_f16(out, d);
    ggml_put_f16(out + 2, min);
    for (uint32_t i = 0; i < GGML_SMALL; i++) q[i] = ggml_cut((w[i] - min) * id + 0.5f, 31);
    ggml_put_five(q, out + 4, out + 8);
}

/* The exponent byte of a block whose largest magnitude is a; 0 for a zero block and below 2^-125. */
NUM_FN uint8_t ggml_mxfp4_scale(float a)
{
    uint8_t b = e8m0_encode_down(a);
    return (uint8_t)(b > 2u ? b - 2u : 0u);
}

/* Code of x over the scale s, E2M1's 1.0: nearest, ties towards zero, never code 8. Products with s are exact. */
NUM_FN uint8_t ggml_e2m1_code(float x, float s)
{
    float a = f32_abs(x);
    uint8_t magnitude = (uint8_t)((a > 0.25f * s) + (a > 0.75f * s) + (a > 1.25f * s) + (a > 1.75f * s) +
                                  (a > 2.5f * s) + (a > 3.5f * s) + (a > 5.0f * s));
    return (uint8_t)(magnitude | (x < 0.0f && magnitude ? E2M1_SIGN : 0u));
}

NUM_FN void ggml_mxfp4_encode_block(const float w[32], uint8_t out[17])
{
    float a = 0.0f;
    for (uint32_t i = 0; i < GGML_SMALL; i++) a = f32_amax(a, w[i]);
    out[0] = ggml_mxfp4_scale(a);
    float s = e8m0_decode(out[0]);
    for (uint32_t k = 0; k < 16u; k++)
        out[1u + k] = (uint8_t)(ggml_e2m1_code(w[k], s) | ggml_e2m1_code(w[k + 16u], s) << 4);
}

#endif
