/* The searches of nvfp4_search.h in vectors of the compiler's own, SEARCH_LANES rows side by side; the including file
 * is compiled for its instruction set. Lanes never meet, so the width does not show in the bits. */
#include "backends/cpu/nvfp4_search.h"
#include "numeric/nvfp4_local.h"

#include <stdbool.h>

#define INLINE static inline __attribute__((always_inline))
typedef float vf __attribute__((vector_size(4 * SEARCH_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * SEARCH_LANES)));

INLINE vf v_where(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

INLINE bool v_any(vi mask)
{
    int32_t any = 0;
    for (uint32_t l = 0; l < SEARCH_LANES; l++) any |= mask[l];
    return any != 0;
}

/* `step` where the mask holds, else +0. */
INLINE vf v_step(vi mask, float step)
{
    return (vf)(mask & (vi)((vf){0} + step));
}

/* nvfp4_round_to. The magnitudes are sums of the steps between them, exact in any order. */
INLINE vf v_round_to(vf x, vf e)
{
    vi sign = (vi)x & INT32_MIN;
    vf a = (vf)((vi)x & INT32_MAX) / e;
    vf v = v_step(a > 0.25f, 0.5f) + v_step(a >= 0.75f, 0.5f) + v_step(a > 1.25f, 0.5f) + v_step(a >= 1.75f, 0.5f) +
           v_step(a > 2.5f, 1.0f) + v_step(a >= 3.5f, 1.0f) + v_step(a > 5.0f, 2.0f);
    vf r = v * e;
    return (vf)((vi)r | (sign & (x < 0.0f)));
}

/* Column i of up to SEARCH_LANES rows; the first row again where there are fewer. */
INLINE void load_block(const float *p, uint64_t stride, uint64_t n, vf out[16])
{
    for (uint32_t l = 0; l < SEARCH_LANES; l++) {
        const float *row = p + (l < n ? l * stride : 0);
        for (uint32_t i = 0; i < NVFP4_BLOCK; i++) out[i][l] = row[i];
    }
}

INLINE vf local_error(const vf w[16], vf e, const float h[256])
{
    vf d[NVFP4_BLOCK], error = {0};
    for (uint32_t i = 0; i < NVFP4_BLOCK; i++) {
        vf t = {0};
        d[i] = w[i] - v_round_to(w[i], e);
        for (uint32_t j = 0; j < i; j++) t = t + h[16u * i + j] * d[j];
        t = t + t;
        t = t + h[16u * i + i] * d[i];
        error = error + t * d[i];
    }
    return error;
}

static void sweep(const float *w, uint64_t stride, uint64_t n, const float h[256], float s2, uint8_t *codes,
                  uint64_t code_stride)
{
    for (uint64_t row = 0; row < n; row += SEARCH_LANES) {
        uint64_t n_lanes = n - row < SEARCH_LANES ? n - row : SEARCH_LANES;
        vf block[NVFP4_BLOCK], best_error = (vf){0} + f32_from_bits(F32_INFINITY_BITS);
        vi best = (vi){0} + 1;
        load_block(w + row * stride, stride, n_lanes, block);
        for (uint32_t c = 1u; c <= NVFP4_LOCAL_CODES; c++) {
            vf error = local_error(block, (vf){0} + nvfp4_block_scale((uint8_t)c, s2), h);
            vi better = error < best_error;
            best_error = v_where(better, error, best_error);
            best = (better & (int32_t)c) | (~better & best);
        }
        for (uint64_t l = 0; l < n_lanes; l++) codes[(row + l) * code_stride] = (uint8_t)best[l];
    }
}

INLINE vf descend_codes(vf q[16], vf hd[16], vf e, const float h[256])
{
    vf sum = {0};
    for (uint32_t round = 0; round < NVFP4_DESCENT_SWEEPS; round++) {
        vi changed = {0};
        for (uint32_t i = 0; i < NVFP4_BLOCK; i++) {
            vf t = hd[i] / h[17u * i];
            vf to = v_round_to(q[i] + t, e);
            vf step = q[i] - to;
            vf twice = hd[i] + hd[i];
            vf gain = step * (twice + step * h[17u * i]);
            vi better = gain < 0.0f;
            if (!v_any(better)) continue;
            for (uint32_t j = 0; j < NVFP4_BLOCK; j++) hd[j] = v_where(better, hd[j] + h[16u * i + j] * step, hd[j]);
            q[i] = v_where(better, to, q[i]);
            sum = v_where(better, sum + gain, sum);
            changed |= better;
        }
        if (!v_any(changed)) break;
    }
    return sum;
}

/* One candidate: `by` scale bytes from where each lane stands. Lanes where there is none gain nothing. */
INLINE vf try_scale(const vf q[16], const vf hd[16], const uint8_t scale[SEARCH_LANES], int by, float s2,
                    const float h[256], vf v[16])
{
    vf e, u[NVFP4_BLOCK], sum = {0};
    vi valid;
    for (uint32_t l = 0; l < SEARCH_LANES; l++) {
        int c = (int)scale[l] + by;
        valid[l] = c < 1 || c > (int)NVFP4_LOCAL_CODES ? 0 : -1;
        e[l] = nvfp4_block_scale(valid[l] ? (uint8_t)c : scale[l], s2);
    }
    for (uint32_t i = 0; i < NVFP4_BLOCK; i++) {
        v[i] = by ? v_round_to(q[i], e) : q[i];
        u[i] = hd[i];
    }
    for (uint32_t i = 0; by && i < NVFP4_BLOCK; i++) {
        vf t = {0};
        for (uint32_t j = 0; j < NVFP4_BLOCK; j++) t = t + h[16u * i + j] * (q[j] - v[j]);
        u[i] = hd[i] + t;
        sum = sum + (q[i] - v[i]) * (hd[i] + u[i]);
    }
    sum = sum + descend_codes(v, u, e, h);
    return v_where(valid, sum, (vf){0});
}

static void descend(float *rows, uint64_t stride, const float *rows_hd, uint64_t hd_stride, uint64_t n,
                    const float h[256], float s2, uint8_t *codes, uint64_t code_stride)
{
    for (uint64_t row = 0; row < n; row += SEARCH_LANES) {
        uint64_t n_lanes = n - row < SEARCH_LANES ? n - row : SEARCH_LANES;
        vf q[NVFP4_BLOCK], hd[NVFP4_BLOCK], best_q[NVFP4_BLOCK], v[NVFP4_BLOCK], best = {0};
        vi best_by = {0};
        uint8_t scale[SEARCH_LANES];
        load_block(rows + row * stride, stride, n_lanes, q);
        load_block(rows_hd + row * hd_stride, hd_stride, n_lanes, hd);
        for (uint32_t l = 0; l < SEARCH_LANES; l++) scale[l] = codes[(row + (l < n_lanes ? l : 0)) * code_stride];
        for (uint32_t i = 0; i < NVFP4_BLOCK; i++) best_q[i] = q[i];
        for (int k = 0; k <= 2 * NVFP4_DESCENT_REACH; k++) {
            int by = k % 2 ? -(k + 1) / 2 : k / 2;
            vf sum = try_scale(q, hd, scale, by, s2, h, v);
            vi better = sum < best;
            best = v_where(better, sum, best);
            best_by = (better & by) | (~better & best_by);
            for (uint32_t i = 0; i < NVFP4_BLOCK; i++) best_q[i] = v_where(better, v[i], best_q[i]);
        }
        for (uint64_t l = 0; l < n_lanes; l++) {
            codes[(row + l) * code_stride] = (uint8_t)(scale[l] + best_by[l]);
            for (uint32_t i = 0; i < NVFP4_BLOCK; i++) rows[(row + l) * stride + i] = best_q[i][l];
        }
    }
}
