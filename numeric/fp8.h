/* FP8 per tensor: value = e4m3 * weight_scale, weight_scale = g / 448 with g the largest magnitude of the tensor.
 *
 * Three roundings of the weight bytes (enum fp8_rounding), because published checkpoints are not rounded once: ModelOpt
 * divides a bf16 weight by a 0-dim fp32 tensor and PyTorch keeps bf16 as the type of the quotient. For an fp32 source
 * all three are the same. Every step is one fp32 operation; a quotient beyond 448, infinity too, becomes 448; a NaN
 * becomes 0x7F (callers refuse NaN before). */
#ifndef NUMERIC_FP8_H
#define NUMERIC_FP8_H

#include "numeric/e4m3.h"
#include "numeric/half.h"
#include "numeric/op.h"

/* weight_scale or input_scale for a largest magnitude: amax / 448, one rounding. Never zero: an amax that would give
 * zero (0, or an fp32 value up to 448 * 2^-150 = 3.1e-43) counts as 1.0, and all its values then encode to zero. NaN
 * and infinity pass through. */
NUM_FN float fp8_scale(float amax)
{
    float s = amax / E4M3_MAX;
    return s == 0.0f ? 1.0f / E4M3_MAX : s;
}

/* e4m3(w / scale). scale is positive and finite. */
NUM_FN uint8_t fp8_encode_f32(float w, float scale)
{
    return e4m3_encode(w / scale);
}

/* FP8_SINGLE: as above. FP8_MODELOPT_CPU: e4m3(bf16(w / scale)). FP8_MODELOPT_CUDA: e4m3(bf16(w / bf16(scale))). */
NUM_FN uint8_t fp8_encode_bf16(uint16_t w, float scale, enum fp8_rounding rounding)
{
    if (rounding == FP8_MODELOPT_CUDA) scale = bf16_decode(bf16_encode(scale));
    float q = bf16_decode(w) / scale;
    if (rounding != FP8_SINGLE) q = bf16_decode(bf16_encode(q));
    return e4m3_encode(q);
}

/* The same with binary16. A scale below 2^-25 is zero after FP8_MODELOPT_CUDA's rounding: quotients are then infinite,
 * the bytes +-448 or NaN, as that producer's would be. */
NUM_FN uint8_t fp8_encode_f16(uint16_t w, float scale, enum fp8_rounding rounding)
{
    if (rounding == FP8_MODELOPT_CUDA) scale = f16_decode(f16_encode(scale));
    float q = f16_decode(w) / scale;
    if (rounding != FP8_SINGLE) q = f16_decode(f16_encode(q));
    return e4m3_encode(q);
}

/* e4m3 * scale, one rounding. NaN codes give NaN. */
NUM_FN float fp8_decode(uint8_t code, float scale)
{
    return e4m3_decode(code) * scale;
}

/* What a W8A8 engine computes with in place of the activation x: e4m3(x / scale) * scale. Also K and V of an FP8 cache.
 * A NaN stays a NaN (F32_NAN_BITS), an infinity becomes 448 * scale. */
NUM_FN float fp8_input(float x, float scale)
{
    return fp8_decode(fp8_encode_f32(x, scale), scale);
}

#endif
