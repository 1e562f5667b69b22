/* INT4 in groups of consecutive elements of a row (32, 64 or 128; here any even number), one fp32 scale each.
 *
 *   symmetric   scale = a / 7, a the largest magnitude of the group; code = w / scale to the nearest integer, ties to
 *               even, kept in -8..7, as a two's complement nibble; value = code * scale
 *   asymmetric  lo = the smallest element or 0, hi = the largest or 0; scale = (hi - lo) / 15; zero = -lo / scale to
 *               the nearest integer, kept in 0..15; code = (w / scale to the nearest integer) + zero, kept in 0..15;
 *               value = (code - zero) * scale
 *
 * Every line is fp32 operations with one rounding each; the sum with zero is one of integers. A scale is rounded to the
 * type that the checkpoint stores (enum int4_scale_type) before anything is divided by it, and is returned as fp32.
 * Where it is zero then (a group of zeros, or too small for the type), it is 1; where it is infinite, the largest
 * finite number of its type.
 *
 * NaN and infinities are refused by callers before. Should one come here: with a NaN the scale is F32_NAN_BITS, zero 0,
 * and every code of the group the largest (7 or 15); an infinity has the largest or smallest code. Readers: a scale
 * that makes the product NaN gives F32_NAN_BITS; zero may be any byte.
 *
 * Order: element 2k of a row is the low nibble of byte k, 2k+1 the high one; zeros are one byte per group. No
 * checkpoint format stores exactly that: ModelOpt pairs rows, GPTQ, AWQ and compressed-tensors fill 32-bit words in
 * orders of their own, GPTQ stores zero - 1, compressed-tensors stores symmetric codes plus 8 (to be read as asymmetric
 * ones with zero 8). Which nibble goes where is the layout's matter (docs/numerics.md).
 *
 * Sources: symmetric, ModelOpt 0.47.0's W4A16_AWQ export (a / 7, a zero group's scale is 1); asymmetric, the
 * min-max grid of GPTQ's quantizer (arXiv 2210.17323 and its code; read, not run), which widens the range to hold 0;
 * for a group of zeros it has scale 2/15 and zero 8, and it does not round the scale first. Its symmetric form and that
 * of compressed-tensors divide by 7.5; such weights are read here (zero 8) but not written. */
#ifndef NUMERIC_INT4_H
#define NUMERIC_INT4_H

#include "numeric/half.h"
#include "numeric/op.h"

#define INT4_MAX 7.0f         /* symmetric: what a is mapped to */
#define INT4_STEPS 15.0f      /* asymmetric: from lo to hi */

/* x to the nearest integer, ties to even; x in [-15, 15]. Floats near 1.5 * 2^23 (0x4B400000)
 * lie 1 apart, so their bits count the integers; 64 keeps the difference positive. */
NUM_FN int32_t int4_round(float x)
{
    return (int32_t)(f32_bits(x + 12582912.0f) - 0x4B400000u + 64u) - 64;
}

/* A scale as its type stores it; never zero, never infinite. */
NUM_FN float int4_stored_scale(float s, enum int4_scale_type type)
{
    float largest = f32_from_bits(F32_INFINITY_BITS - 1u);
    if (f32_is_nan(s)) return f32_from_bits(F32_NAN_BITS);
    if (type == INT4_SCALE_F16) {
        s = f16_decode(f16_encode(s));
        largest = 65504.0f;
    }
    if (type == INT4_SCALE_BF16) {
        s = bf16_decode(bf16_encode(s));
        largest = bf16_decode(0x7F7Fu);
    }
    if (s > largest) s = largest;
    return s == 0.0f ? 1.0f : s;
}

NUM_FN float int4_scale(float group_amax, enum int4_scale_type type)
{
    return int4_stored_scale(group_amax / INT4_MAX, type);
}

/* The low four bits hold the number. */
NUM_FN uint8_t int4_code(float w, float scale)
{
    float q = w / scale;
    q = q < 7.0f ? q : 7.0f;                             /* NaN too */
    q = q > -8.0f ? q : -8.0f;
    return (uint8_t)(int4_round(q) & 15);
}

/* Only the low four bits of the code count. */
NUM_FN float int4_decode(uint8_t code, float scale)
{
    float x = (float)((int32_t)(code & 15u) - ((code & 8u) != 0u ? 16 : 0)) * scale;
    return f32_is_nan(x) ? f32_from_bits(F32_NAN_BITS) : x;
}

/* The range of a group, from 0 on; a NaN stays. Exact in any order of elements. */
NUM_FN float int4_low(float lo, float x)
{
    if (f32_is_nan(lo) || f32_is_nan(x)) return f32_from_bits(F32_NAN_BITS);
    return x < lo ? x : lo;
}

NUM_FN float int4_high(float hi, float x)
{
    if (f32_is_nan(hi) || f32_is_nan(x)) return f32_from_bits(F32_NAN_BITS);
    return x > hi ? x : hi;
}

NUM_FN float int4_zero_scale(float lo, float hi, enum int4_scale_type type)
{
    float range = hi - lo;
    return int4_stored_scale(range / INT4_STEPS, type);
}

NUM_FN uint8_t int4_zero(float lo, float scale)
{
    float z = (0.0f - lo) / scale;
    z = z > 0.0f ? z : 0.0f;                             /* NaN too */
    z = z < 15.0f ? z : 15.0f;
    return (uint8_t)int4_round(z);
}

NUM_FN uint8_t int4_zero_code(float w, float scale, uint8_t zero)
{
    float q = w / scale;
    if (f32_is_nan(q)) return 15u;
    q = q < 15.0f ? q : 15.0f;
    q = q > -15.0f ? q : -15.0f;
    int32_t c = int4_round(q) + (int32_t)zero;
    return (uint8_t)(c < 0 ? 0 : c > 15 ? 15 : c);
}

NUM_FN float int4_zero_decode(uint8_t code, float scale, uint8_t zero)
{
    float x = (float)((int32_t)(code & 15u) - (int32_t)zero) * scale;
    return f32_is_nan(x) ? f32_from_bits(F32_NAN_BITS) : x;
}

#endif
