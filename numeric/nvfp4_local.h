/* Choosing NVFP4 block scales, and codes, by what a block's error does to the linear's outputs. H is the block's part
 * of the second moments of the inputs (16 x 16, row-major, symmetric, its diagonal positive), d = w - q the error of
 * the block's weights: the outputs' squared error is d' H d when the other blocks of the row are exact.
 *
 * Two choices. The sweep takes the scale byte c = 1..126 with the smallest d' H d, codes by rounding to nearest; it is
 * numeric/nvfp4_sweep.h with another error (and with the scale that the reader multiplies by, e4m3(c) * s2). The
 * descent starts from codes and a scale and lowers d' H d + 2 d' g, where g is what the errors of the row's other
 * blocks add, one code at a time, under the scale and its neighbours.
 *
 * Each line is one fp32 operation, so that any vector unit gives the same bits (backends/cpu/nvfp4_search.h).
 *
 * Sources: the sweep is ModelOpt 0.47.0's local_hessian, whose sums have the order of its GPU reduction and therefore
 * differ in near ties. Descent: coordinate descent on the rounding problem is CDQuant's (arXiv 2406.17542); letting the
 * scale of the reader follow the codes is what SOAR (arXiv 2605.12245) does for plain squared error. */
#ifndef NUMERIC_NVFP4_LOCAL_H
#define NUMERIC_NVFP4_LOCAL_H

#include "numeric/nvfp4.h"

#define NVFP4_LOCAL_CODES 126u
#define NVFP4_DESCENT_SWEEPS 8u  /* over the codes of a block, at most */
#define NVFP4_DESCENT_REACH 4    /* scale bytes on either side that are tried */

/* x to the nearest number of the grid e * E2M1. */
NUM_FN float nvfp4_round_to(float x, float e)
{
    float a = f32_abs(x) / e;
    float v = e2m1_decode(e2m1_magnitude(a)) * e;
    return x < 0.0f ? -v : v;
}

/* d' H d: the rows' parts below the diagonal in order of j, doubled, then the diagonal; rows in order of i. */
NUM_FN float nvfp4_local_error(const float w[16], float e, const float h[256])
{
    float d[NVFP4_BLOCK], error = 0.0f;
    for (uint32_t i = 0; i < NVFP4_BLOCK; i++) {
        float t = 0.0f;
        d[i] = w[i] - nvfp4_round_to(w[i], e);
        for (uint32_t j = 0; j < i; j++) t = t + h[16u * i + j] * d[j];
        t = t + t;
        t = t + h[16u * i + i] * d[i];
        error = error + t * d[i];
    }
    return error;
}

/* The first scale byte with the smallest error; 1 when no error is a finite number, and for a block of zeros. */
NUM_FN uint8_t nvfp4_local_scale(const float w[16], float s2, const float h[256])
{
    float best_error = f32_from_bits(F32_INFINITY_BITS);
    uint8_t best = 1u;
    for (uint32_t c = 1u; c <= NVFP4_LOCAL_CODES; c++) {
        float error = nvfp4_local_error(w, nvfp4_block_scale((uint8_t)c, s2), h);
        if (error < best_error) {
            best_error = error;
            best = (uint8_t)c;
        }
    }
    return best;
}

/* Lowers the objective one code at a time, each code in turn to its best value given the others, until nothing changes.
 * q: the weights as they are read; hd: H d + g. Returns what the objective gained, at most 0. */
NUM_FN float nvfp4_descend_codes(float q[16], float hd[16], float e, const float h[256])
{
    float sum = 0.0f;
    for (uint32_t sweep = 0; sweep < NVFP4_DESCENT_SWEEPS; sweep++) {
        uint32_t changed = 0;
        for (uint32_t i = 0; i < NVFP4_BLOCK; i++) {
            float t = hd[i] / h[17u * i];
            float to = nvfp4_round_to(q[i] + t, e);
            float step = q[i] - to;
            float twice = hd[i] + hd[i];
            float gain = step * (twice + step * h[17u * i]);
            if (!(gain < 0.0f)) continue;
            for (uint32_t j = 0; j < NVFP4_BLOCK; j++) hd[j] = hd[j] + h[16u * i + j] * step;
            q[i] = to;
            sum = sum + gain;
            changed = 1u;
        }
        if (!changed) break;
    }
    return sum;
}

/* q, *scale: in and out. hd: H d + g of the block as it comes in. Scales are tried in the order 0, -1, +1, -2, +2, ...
 * from where they stand, codes rounded over to the new grid first; the first smallest objective wins. False when
 * nothing is better than what came in. */
NUM_FN int nvfp4_descend_block(float q[16], uint8_t *scale, const float hd[16], float s2, const float h[256])
{
    float best = 0.0f, best_q[NVFP4_BLOCK];
    int best_scale = 0;
    for (int k = 0; k <= 2 * NVFP4_DESCENT_REACH; k++) {
        int c = (int)*scale + (k % 2 ? -(k + 1) / 2 : k / 2);
        if (c < 1 || c > (int)NVFP4_LOCAL_CODES) continue;
        float e = nvfp4_block_scale((uint8_t)c, s2), v[NVFP4_BLOCK], u[NVFP4_BLOCK], sum = 0.0f;
        for (uint32_t i = 0; i < NVFP4_BLOCK; i++) {
            v[i] = k ? nvfp4_round_to(q[i], e) : q[i];
            u[i] = hd[i];
        }
        for (uint32_t i = 0; k && i < NVFP4_BLOCK; i++) {
            float t = 0.0f;
            for (uint32_t j = 0; j < NVFP4_BLOCK; j++) t = t + h[16u * i + j] * (q[j] - v[j]);
            u[i] = hd[i] + t;
            sum = sum + (q[i] - v[i]) * (hd[i] + u[i]);
        }
        sum = sum + nvfp4_descend_codes(v, u, e, h);
        if (!(sum < best)) continue;
        best = sum;
        best_scale = c;
        for (uint32_t i = 0; i < NVFP4_BLOCK; i++) best_q[i] = v[i];
    }
    if (!best_scale) return 0;
    *scale = (uint8_t)best_scale;
    for (uint32_t i = 0; i < NVFP4_BLOCK; i++) q[i] = best_q[i];
    return 1;
}

#endif
