/* From MXFP4 to NVFP4 without searching: each block of 32 becomes two of 16 in the static order of nvfp4.h (m = 448),
 * with scales that are powers of two, so that every number comes back as it was.
 *
 *   k      exponent of a block's scale, b - 127; k_max the largest one among blocks that are not all zero
 *   g      10.5 * 2^k_max, that is 2688 * 2^(k_max - 8), whatever the largest magnitude is: weight_scale_2 is
 *          2^(k_max - 8)
 *   block  maximum 6 * 2^k for both halves while k_max - k <= 17: the scale byte is E4M3's 2^(k - k_max + 8), which it
 *          has down to 2^-9, and every quotient is an E2M1 number. Further down each half counts with its own largest
 *          magnitude and may be rounded. A block of zeros has the maximum 0 (nvfp4_scale_static)
 *
 * Code 8, -0, becomes 0, as everywhere in NVFP4. All that share a weight_scale_2 share k_max; a tensor of zeros has
 * g = 0 and is what nvfp4.h makes of it. Callers refuse b = 255, and sources whose g is not finite (b from 252 on).
 *
 * Source: ModelOpt 0.47.0, cast_mxfp4_to_nvfp4 (read, not run). */
#ifndef NUMERIC_NVFP4_CAST_H
#define NUMERIC_NVFP4_CAST_H

#include "numeric/mxfp4.h"
#include "numeric/nvfp4.h"

#define NVFP4_CAST_G 10.5f        /* 2688 / 2^8 */
#define NVFP4_CAST_REACH 131072.0f /* 2^17: from 2^8 down to 2^-9 */

/* What a block adds to g: the largest over all blocks is g. */
NUM_FN float nvfp4_cast_g(const uint8_t in[16], uint8_t scale)
{
    uint8_t any = 0u;
    for (uint32_t i = 0; i < MXFP4_BLOCK_BYTES; i++) any = (uint8_t)(any | (in[i] & 0x77u));
    return any ? NVFP4_CAST_G * e8m0_decode(scale) : 0.0f;
}

/* scales, out: of the two halves, one behind the other. */
NUM_FN void nvfp4_cast_block(const uint8_t in[16], uint8_t scale, float g, uint8_t scales[2], uint8_t out[16])
{
    float w[32], e = e8m0_decode(scale);
    int zero = nvfp4_cast_g(in, scale) == 0.0f, exact = NVFP4_CAST_G * e * NVFP4_CAST_REACH >= g;
    mxfp4_decode_block(in, scale, w);
    for (uint32_t h = 0; h < 2u; h++) {
        float amax = zero ? 0.0f : exact ? 6.0f * e : nvfp4_block_amax(w + 16u * h);
        nvfp4_encode_block_static(w + 16u * h, amax, g, 448.0f, scales + h, out + 8u * h);
    }
}

#endif
