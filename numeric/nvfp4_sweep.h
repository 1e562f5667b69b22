/* Choosing NVFP4 block maxima by least squared error: every scale byte that E4M3 has is tried on every block.
 *
 * Candidate c = 1..126 (all positive finite E4M3 codes, ascending) stands for the block maximum
 *     amax_c = g * (e4m3(c) / m)            two fp32 operations
 * with g and m as in nvfp4.h, and is tried with the block scale
 *     e_c = amax_c / 6, or 1.0 when that is zero
 * which is what the static order recovers when it is given amax_c: nvfp4_scale_static(amax_c, g, m) == c (tested for
 * all c).
 *
 * The error of a candidate is defined to the last bit, because it decides ties: for i = 0, 1, .. 15 in this order
 *     q = |w_i| / e_c rounded to E2M1;  t = q * e_c;  d = |w_i| - t;  error = error + d*d
 * starting from 0, each operation rounded to fp32 on its own. The first candidate with the smallest error wins (strict
 * `<`, so a tie takes the smaller scale); a zero block takes candidate 1. Vector kernels put blocks side by side and
 * keep this order inside each block. ModelOpt's own kernel sums in the order of its reduction tree, so near ties may
 * fall differently there.
 *
 * Source of the candidates and the tie rule: ModelOpt 0.47.0, mse with fp8_scale_sweep. */
#ifndef NUMERIC_NVFP4_SWEEP_H
#define NUMERIC_NVFP4_SWEEP_H

#include "numeric/nvfp4.h"

#define NVFP4_CANDIDATES 126u

/* The block maximum that scale byte `code` (1..126) stands for. */
NUM_FN float nvfp4_candidate_amax(uint8_t code, float g, float m)
{
    float c = e4m3_decode(code) / m;
    return g * c;
}

/* The block scale tried with it; never zero. */
NUM_FN float nvfp4_candidate_scale(float candidate_amax)
{
    float e = candidate_amax / 6.0f;
    return e == 0.0f ? 1.0f : e;
}

/* Squared error of a block quantized with block scale e, summed as the head of this file says. */
NUM_FN float nvfp4_block_error(const float w[16], float e)
{
    float error = 0.0f;
    for (uint32_t i = 0; i < NVFP4_BLOCK; i++) {
        float a = f32_abs(w[i]);
        float t = e2m1_decode(e2m1_magnitude(a / e)) * e;
        float d = a - t;
        float d2 = d * d;
        error = error + d2;
    }
    return error;
}

/* The chosen maximum: amax_c of the first candidate with the smallest error; candidate 1 when no error is a finite
 * number. */
NUM_FN float nvfp4_sweep_block(const float w[16], float g, float m)
{
    float best_error = f32_from_bits(F32_INFINITY_BITS);
    float best_amax = nvfp4_candidate_amax(1u, g, m);
    for (uint32_t c = 1u; c <= NVFP4_CANDIDATES; c++) {
        float amax = nvfp4_candidate_amax((uint8_t)c, g, m);
        float error = nvfp4_block_error(w, nvfp4_candidate_scale(amax));
        if (error < best_error) {
            best_error = error;
            best_amax = amax;
        }
    }
    return best_amax;
}

#endif
