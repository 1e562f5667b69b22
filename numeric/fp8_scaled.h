/* FP8 with one scale per row ("channel" of a weight [out, in]) or per block of 128 x 128: value = e4m3 * scale.
 *
 * scale = a / 448, one division, with a the largest magnitude of the row or block; where that is zero (a row or block
 * of zeros, or of fp32 values up to 3.1e-43) it is 1, so that no scale is zero. The bytes are rounded once,
 * e4m3(w / scale), whatever the source type: ModelOpt broadcasts these scales as tensors, so PyTorch divides in fp32,
 * unlike with its per-tensor scale. Blocks begin at row 0 and column 0; those at the lower and right edge are smaller
 * and their scale counts only what is there. On disk the block scale is called scale_inv and is multiplied all the
 * same.
 *
 * The scale comes in two forms: F32 as it is; UE8M0, the next power of two that is not smaller (e8m0_encode_up), still
 * an fp32 number, whose E8M0 byte is its exponent field. The largest quotient is then in (224, 448].
 *
 * NaN and infinities are refused by callers before. Should one come here: the scale of a row or block with a NaN is
 * F32_NAN_BITS and all its bytes are 0x7F; that of one with an infinity is infinite (UE8M0: 2^127), finite elements
 * become 0 with their sign (UE8M0: are divided by 2^127), the infinity 0x7F (UE8M0: 448). A denormal row or block has
 * a denormal scale (UE8M0: at least 2^-127), whose relative error may be large.
 *
 * Source: ModelOpt 0.47.0, FP8_PER_CHANNEL_PER_TOKEN and fp8_pb_wo; DeepSeek-V3's weight_scale_inv with blocks of 128
 * and its later scale_fmt "ue8m0". The 1 of a zero row is ModelOpt's, whose zero maxima count as 448 (read in its
 * source, not run); the zero tensor of fp8.h, where g counts as 1, is our own rule. */
#ifndef NUMERIC_FP8_SCALED_H
#define NUMERIC_FP8_SCALED_H

#include "numeric/e8m0.h"
#include "numeric/fp8.h"

#define FP8_BLOCK 128u        /* rows and columns of a block: weight_block_size of DeepSeek-V3 */

/* Scale of a row or block whose largest magnitude is amax; never zero. */
NUM_FN float fp8_scaled_scale(float amax, enum fp8_scale_form form)
{
    if (f32_is_nan(amax)) return f32_from_bits(F32_NAN_BITS);
    float s = amax / E4M3_MAX;
    if (s == 0.0f) s = 1.0f;
    return form == FP8_SCALE_UE8M0 ? e8m0_decode(e8m0_encode_up(s)) : s;
}

/* e4m3(w / scale) */
NUM_FN uint8_t fp8_scaled_encode(float w, float scale)
{
    return fp8_encode_f32(w, scale);
}

/* e4m3 * scale, one rounding; what is not a number is F32_NAN_BITS. */
NUM_FN float fp8_scaled_decode(uint8_t code, float scale)
{
    float x = fp8_decode(code, scale);
    return f32_is_nan(x) ? f32_from_bits(F32_NAN_BITS) : x;
}

#endif
