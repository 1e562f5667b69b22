/* Choosing NVFP4 block maxima by four-over-six: the largest magnitude a of a block is mapped to 6, as always, or to 4,
 * which makes the steps near the top of the block finer; the one with the smaller squared error wins.
 *
 * The choice is the chosen maximum of the static order with m = NVFP4_FOUR_OVER_SIX_MAX (256): a, or 1.5 * a. Scale
 * bytes, nibbles and weight_scale_2 are then those of nvfp4_encode_block_static. With m = 256 the block that holds g
 * has the scale 256 for M=6 and 384 for M=4, both of them E4M3 numbers.
 *
 * What each candidate is tried with, in this order, every line one fp32 operation, g as in nvfp4.h:
 *     A = g * 1.75;  A = A / 6;  n = 448 / A;  v = 1 / n          once per tensor; 1.75 = 448 / 256
 *     t = a_c / 6;  t = t * n;  e = e4m3(t) * v                   a_c = a or 1.5 * a; e4m3 saturates, 2^-10 gives 0
 * and its error is that of the sweep (nvfp4_block_error): elements in order of i, each operation rounded. Differs from
 * the encoder's scale in the last bits, and in small blocks: there is no smallest scale here, so a block whose scale
 * rounds to zero is tried as zeros. M=4 wins only with a smaller error (strict `<`), so a tie, a zero block and a zero
 * tensor keep a; so does a tensor for which n is zero, infinite or NaN (g below 4.5e-36 or above 1.9e38) and a block
 * with an infinity. A block with a NaN gives F32_NAN_BITS.
 *
 * Source: ModelOpt 0.47.0, mse from 1.0 to 1.5 in steps of 0.5 with four_over_six; arXiv 2512.02010. ModelOpt sums the
 * errors in the order of a GPU reduction that it does not fix, so near ties may fall otherwise there, and it counts an
 * A of at most 2^-24 as 1 (every block of such a tensor then ties). */
#ifndef NUMERIC_NVFP4_FOUR_SIX_H
#define NUMERIC_NVFP4_FOUR_SIX_H

#include "numeric/nvfp4_sweep.h"

#define NVFP4_FOUR_SIX_FACTOR 1.5f        /* 6 / 4 */

/* n: what brings a_c / 6 into the range of E4M3. The same for all blocks of a tensor. */
NUM_FN float nvfp4_four_six_normal(float g)
{
    float a = g * 1.75f;
    a = a / 6.0f;
    return E4M3_MAX / a;
}

/* e: the scale that a candidate is tried with; may be zero. */
NUM_FN float nvfp4_four_six_scale(float candidate_amax, float normal)
{
    float t = candidate_amax / 6.0f;
    t = t * normal;
    float v = 1.0f / normal;
    return e4m3_decode(e4m3_encode(t)) * v;
}

/* The chosen maximum of a block; normal is nvfp4_four_six_normal(g). */
NUM_FN float nvfp4_four_six_block(const float w[16], float normal)
{
    float six = nvfp4_block_amax(w);
    if (f32_is_nan(six)) return f32_from_bits(F32_NAN_BITS);
    float four = six * NVFP4_FOUR_SIX_FACTOR;
    float error6 = nvfp4_block_error(w, nvfp4_four_six_scale(six, normal));
    float error4 = nvfp4_block_error(w, nvfp4_four_six_scale(four, normal));
    return error4 < error6 ? four : six;
}

#endif
