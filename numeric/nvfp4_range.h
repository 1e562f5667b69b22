/* Choosing NVFP4 block maxima among multiples of the block's own: n multipliers from `start` to `stop`, evenly spaced,
 * each tried with the scale that the static order makes of it (m = 448). Its error is the sweep's (nvfp4_block_error);
 * the first smallest wins. A block of zeros keeps 0. A NaN in the block gives F32_NAN_BITS.
 *
 * The sweep (nvfp4_sweep.h) tries every scale there is and is never worse; this is for recipes that say a range.
 *
 * Source: ModelOpt 0.47.0, mse with start_multiplier 0.25, stop_multiplier 4.0, step_size 0.1: 39 multipliers, spaced
 * as torch.linspace spaces them, from both ends towards the middle. */
#ifndef NUMERIC_NVFP4_RANGE_H
#define NUMERIC_NVFP4_RANGE_H

#include "numeric/nvfp4_sweep.h"

/* Multiplier i of n. */
NUM_FN float range_multiplier(float start, float stop, uint32_t n, uint32_t i)
{
    if (n < 2u) return start;
    float step = (stop - start) / (float)(n - 1u);
    float lower = start + step * (float)i;
    float upper = stop - step * (float)(n - 1u - i);
    return i < n / 2u ? lower : upper;
}

NUM_FN float nvfp4_range_block(const float w[16], float g, float start, float stop, uint32_t n)
{
    float own = nvfp4_block_amax(w), s2 = nvfp4_static_tensor_scale(g, NVFP4_STATIC_MAX);
    float best = own, best_error = f32_from_bits(F32_INFINITY_BITS);
    if (f32_is_nan(own)) return f32_from_bits(F32_NAN_BITS);
    for (uint32_t i = 0; i < n; i++) {
        float amax = own * range_multiplier(start, stop, n, i);
        float e = nvfp4_block_scale(nvfp4_scale_static(amax, g, NVFP4_STATIC_MAX), s2);
        float error = nvfp4_block_error(w, e);
        if (error < best_error) {
            best_error = error;
            best = amax;
        }
    }
    return best;
}

#endif
