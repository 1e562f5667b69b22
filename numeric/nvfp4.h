/* NVFP4: blocks of 16 consecutive elements of a row; value = e2m1 * (e4m3 block scale * fp32 tensor scale s2), the
 * product of the two scales first, each product rounded once.
 *
 * Two orders of arithmetic make the block scales, and they disagree on about one block in a thousand, so both exist:
 *   dynamic  s2 = g / 2688, from each block's own maximum        (ModelOpt's max calibration)
 *   static   s2 = g / (6*m), from a maximum that somebody chose  (sweep, GPTQ; m = 448; four-over-six: m = 256)
 * with g the largest magnitude of the tensor or of the group that must share s2. Each line of code here is one fp32
 * operation and their order matters: a / (6*s2) is not (a*448) / g, dividing by e is not multiplying by 1/e.
 *
 * Zero tensors: a g for which s2 would be zero (0, or an fp32 value up to 1.9e-42) counts as 1.0, so that no scale that
 * a reader inverts is zero; ModelOpt writes 0/0 there. NaN and infinities in weights are refused by callers before;
 * should one come here, the scale byte is still a number and the nibble is 7 (or 15 for -infinity).
 *
 * Source of the arithmetic: ModelOpt 0.47.0, checked byte for byte against its exports
 * (tests/unit/test_numeric_nvfp4.c). */
#ifndef NUMERIC_NVFP4_H
#define NUMERIC_NVFP4_H

#include "numeric/e2m1.h"
#include "numeric/e4m3.h"
#include "numeric/half.h"

#define NVFP4_BLOCK 16u
#define NVFP4_BLOCK_BYTES 8u
#define NVFP4_STATIC_MAX 448.0f        /* largest E4M3: the block that holds g gets the top scale */
#define NVFP4_FOUR_OVER_SIX_MAX 256.0f /* leaves room for scales 1.5 times larger; 4/6, arXiv 2512.02010 */

/* s2 of the dynamic order, also input_scale of NVFP4 activations: g / 2688 (= 6 * 448), one division. Never zero. */
NUM_FN float nvfp4_tensor_scale(float g)
{
    float s2 = g / 2688.0f;
    return s2 == 0.0f ? 1.0f / 2688.0f : s2;
}

/* s2 of the static order: g / (6*m). Never zero. For m = 448 the same bits as nvfp4_tensor_scale. */
NUM_FN float nvfp4_static_tensor_scale(float g, float m)
{
    float s2 = g / (6.0f * m);
    return s2 == 0.0f ? 1.0f / (6.0f * m) : s2;
}

/* From a quotient to the scale byte: 0 counts as 1.0, the rest is kept between the smallest and the largest positive
 * E4M3, so that the byte is never 0 and never NaN. NaN (a block with a NaN, a zero s2) gives 448. */
NUM_FN float nvfp4_scale_clamp(float p)
{
    p = p < E4M3_MAX ? p : E4M3_MAX;
    return p > E4M3_MIN ? p : E4M3_MIN;
}

/* Scale byte of the dynamic order; block_amax is the largest magnitude of the block, s2 is positive. A zero block gets
 * 0x38 (1.0). */
NUM_FN uint8_t nvfp4_scale_dynamic(float block_amax, float s2)
{
    float d = 6.0f * s2;
    float p = block_amax / d;
    if (p == 0.0f) p = 1.0f;
    return e4m3_encode(nvfp4_scale_clamp(p));
}

/* Scale byte of the static order; block_amax is the chosen maximum, g and m as above. A zero block gets the byte of
 * min(m / (g/6), 448), as ModelOpt's; in a tensor that counts as zero every block gets 0x38. */
NUM_FN uint8_t nvfp4_scale_static(float block_amax, float g, float m)
{
    if (g / (6.0f * m) == 0.0f) return E4M3_ONE;
    float p = block_amax / 6.0f;
    if (p == 0.0f) p = 1.0f;
    p = p * m;
    p = p / (g / 6.0f);
    return e4m3_encode(nvfp4_scale_clamp(p));
}

/* The divisor and multiplier of a block's elements. Zero only when s2 is below 2^-140. */
NUM_FN float nvfp4_block_scale(uint8_t scale, float s2)
{
    return e4m3_decode(scale) * s2;
}

/* Nibble of a quotient q = w / e. The sign is that of q < 0, not the sign bit: -0 is code 0 (ModelOpt's rule; the
 * hardware instruction gives 8, so a device path must clear the sign of -0 first). A negative that rounds to zero is
 * code 8. */
NUM_FN uint8_t nvfp4_code(float q)
{
    return (uint8_t)(e2m1_magnitude(f32_abs(q)) | (q < 0.0f ? E2M1_SIGN : 0u));
}

NUM_FN float nvfp4_block_amax(const float w[16])
{
    float a = 0.0f;
    for (uint32_t i = 0; i < NVFP4_BLOCK; i++) a = f32_amax(a, w[i]);
    return a;
}

/* Packs a block with a given scale byte. Byte k holds element 2k in its low nibble and 2k+1 in its high one. */
NUM_FN void nvfp4_pack_block(const float w[16], uint8_t scale, float s2, uint8_t out[8])
{
    float e = nvfp4_block_scale(scale, s2);
    for (uint32_t k = 0; k < NVFP4_BLOCK_BYTES; k++)
        out[k] = (uint8_t)(nvfp4_code(w[2u * k] / e) | nvfp4_code(w[2u * k + 1u] / e) << 4);
}

/* A block in the dynamic order. */
NUM_FN void nvfp4_encode_block(const float w[16], float s2, uint8_t *scale, uint8_t out[8])
{
    *scale = nvfp4_scale_dynamic(nvfp4_block_amax(w), s2);
    nvfp4_pack_block(w, *scale, s2, out);
}

/* A block in the static order. */
NUM_FN void nvfp4_encode_block_static(const float w[16], float block_amax, float g, float m, uint8_t *scale,
                                      uint8_t out[8])
{
    *scale = nvfp4_scale_static(block_amax, g, m);
    nvfp4_pack_block(w, *scale, nvfp4_static_tensor_scale(g, m), out);
}

/* Code 8 gives -0; a scale byte 0x7F or 0xFF (never written by us) gives NaN. */
NUM_FN void nvfp4_decode_block(const uint8_t in[8], uint8_t scale, float s2, float out[16])
{
    float e = nvfp4_block_scale(scale, s2);
    for (uint32_t k = 0; k < NVFP4_BLOCK_BYTES; k++) {
        out[2u * k] = e2m1_decode(in[k] & 15u) * e;
        out[2u * k + 1u] = e2m1_decode(in[k] >> 4) * e;
    }
}

/* Compressed-tensors stores 1 / s2 ("weight_global_scale", "input_global_scale"): one fp32 division. Not every s2 can
 * be told from its reciprocal: where its mantissa lies above sqrt(2), two neighbours may share one. */
NUM_FN float nvfp4_global_scale(float s2)
{
    return 1.0f / s2;
}

/* s2 of a stored reciprocal, and what a quotient amax / 2688 or amax / 1536 (four-over-six) was when amax is a bf16 or
 * f16 number, as the maximum of such weights is: if exactly that s2 has the stored reciprocal, it is s2; any other is
 * 1 / global, as engines compute it, at most one unit in the last place away. Zero, negative and NaN come back as such
 * or infinite: callers refuse them. */
NUM_FN float nvfp4_scale_of_global(float global)
{
    float s2 = 1.0f / global;
    for (int k = 0; k < 4; k++) {
        float steps = k < 2 ? 2688.0f : 1536.0f;
        float g = s2 * steps;
        g = k % 2 == 0 ? bf16_decode(bf16_encode(g)) : f16_decode(f16_encode(g));
        float exact = g / steps;
        if (1.0f / exact == global) return exact;
    }
    return s2;
}

/* What a W4A4 engine computes with in place of 16 activations: scale e4m3(amax / (6 * input_scale)) * input_scale,
 * elements e2m1(x / scale) * scale. Unlike weights there is no smallest scale: a block whose scale rounds to zero, or
 * is all zero, becomes +0. An infinity saturates; a block that holds a NaN becomes all NaN (F32_NAN_BITS), so that it
 * is seen. input_scale is positive. `out` may be `x`. Serving kernels use approximate reciprocals and may differ in the
 * last place; this is the exact-division form that calibration tools and our parity figures use. */
NUM_FN void nvfp4_input_block(const float x[16], float input_scale, float out[16])
{
    float amax = nvfp4_block_amax(x);
    float d = 6.0f * input_scale;
    float s = e4m3_decode(e4m3_encode(amax / d)) * input_scale;
    for (uint32_t i = 0; i < NVFP4_BLOCK; i++) {
        if (s > 0.0f) out[i] = e2m1_decode(nvfp4_code(x[i] / s)) * s;
        else out[i] = f32_is_nan(amax) ? f32_from_bits(F32_NAN_BITS) : 0.0f;
    }
}

#endif
