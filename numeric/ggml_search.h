/* Writing Q4_K, Q5_K and Q6_K as ggml's reference functions do it: each group looks for the scale (and minimum) that
 * leaves the least weighted squared error among a few, then the groups' scales are rounded to what the block can hold,
 * and codes follow from the rounded ones. The same numbers in the same order, so the same bytes.
 *
 * Q4_K, Q5_K, groups of 32. Weight of an element: sqrt(mean of squares) + its magnitude. The range from the smallest
 * (at most 0) to the largest is tried with 21 (Q5_K: 16) inverse scales (start + 0.1 k + n) / range, each followed by
 * the scale and the minimum that fit the resulting codes best; a minimum above 0 becomes 0. A better fit moves the
 * minimum from which the next ones start.
 *
 * Q6_K, groups of 16. Weight: the square. The largest magnitude goes to -32, then to -(32 + 0.1 k) for k from -9 to 9,
 * each followed by the scale that fits best.
 *
 * Integers are rounded by adding and taking away 1.5 * 2^23 (nearest, ties to even) and cut to the codes there are; a
 * NaN from an inverse scale that overflowed (groups of denormals) is code 0, 31 in Q6_K. sqrt is IEEE's, correctly
 * rounded.
 *
 * Sources: ggml's quantize_row_q4_K_ref, _q5_K_ref, _q6_K_ref; tests/vectors/ggml holds their bytes. */
#ifndef NUMERIC_GGML_SEARCH_H
#define NUMERIC_GGML_SEARCH_H

#include "numeric/ggml_k.h"

#define GGML_ROUND 12582912.0f /* 1.5 * 2^23 */
#define GGML_NOTHING 1e-15f    /* Q6_K: groups below are zero */
#define Q4_K_START -1.0f
#define Q4_K_STEPS 21u
#define Q5_K_START -0.5f
#define Q5_K_STEPS 16u

NUM_FN float ggml_sqrt(float x)
{
#ifdef __CUDACC__
    return sqrtf(x); /* correctly rounded without fast-math */
#else
    return __builtin_sqrtf(x);
#endif
}

/* Rounded and cut to 0..top; NaN is 0. */
NUM_FN float k_code(float x, float top)
{
    float r = (x + GGML_ROUND) - GGML_ROUND;
    r = r > 0.0f ? r : 0.0f;
    return r < top ? r : top;
}

struct k_fit {
    float scale, min;     /* x is about scale * code + min, min at most 0 */
    float inverse, start; /* code = (x - start) * inverse */
};

/* Weights of a group, and what the search needs of them. */
NUM_FN void k_weights(const float x[32], float w[32])
{
    float squares = 0.0f;
    for (uint32_t i = 0; i < 32u; i++) squares += x[i] * x[i];
    float mean = ggml_sqrt(squares / 32.0f);
    for (uint32_t i = 0; i < 32u; i++) w[i] = mean + f32_abs(x[i]);
}

NUM_FN float k_error(const float x[32], const float w[32], float inverse, float start, float top, float scale,
                     float min)
{
    float error = 0.0f;
    for (uint32_t i = 0; i < 32u; i++) {
        float off = scale * k_code(inverse * (x[i] - start), top) + min - x[i];
        error += w[i] * (off * off);
    }
    return error;
}

NUM_FN struct k_fit k_search(const float x[32], float top, float first, uint32_t steps)
{
    float w[32], min = x[0], max = x[0], sum_w, sum_x;
    k_weights(x, w);
    sum_w = w[0];
    sum_x = w[0] * x[0];
    for (uint32_t i = 1; i < 32u; i++) {
        if (x[i] < min) min = x[i];
        if (x[i] > max) max = x[i];
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (min > 0.0f) min = 0.0f;
    struct k_fit f = {0.0f, min, 0.0f, min};
    if (max == min) return f;
    f.inverse = top / (max - min);
    f.scale = 1.0f / f.inverse;
    float best = k_error(x, w, f.inverse, min, top, f.scale, min);
    for (uint32_t k = 0; k < steps; k++) {
        float inverse = (first + 0.1f * (float)k + top) / (max - f.min), sum_l = 0.0f, sum_l2 = 0.0f, sum_xl = 0.0f;
        for (uint32_t i = 0; i < 32u; i++) {
            float l = k_code(inverse * (x[i] - f.min), top);
            sum_l += w[i] * l;
            sum_l2 += w[i] * l * l;
            sum_xl += w[i] * l * x[i];
        }
        float det = sum_w * sum_l2 - sum_l * sum_l;
        if (!(det > 0.0f)) continue;
        float scale = (sum_w * sum_xl - sum_x * sum_l) / det, low = (sum_l2 * sum_x - sum_l * sum_xl) / det;
        if (low > 0.0f) {
            low = 0.0f;
            scale = sum_xl / sum_l2;
        }
        float error = k_error(x, w, inverse, f.min, top, scale, low);
        if (!(error < best)) continue;
        best = error;
        f.inverse = inverse;
        f.start = f.min;
        f.scale = scale;
        f.min = low;
    }
    return f;
}

/* From the eight groups' scales and (negated) minima: d, dmin and the twelve bytes, out[0..15]; fills what a group's
 * codes are computed with. */
NUM_FN void k4_put_scales(const float scale[8], const float below[8], uint8_t out[16], float step[8], float add[8])
{
    float top_scale = 0.0f, top_min = 0.0f;
    for (uint32_t g = 0; g < 8u; g++) {
        if (scale[g] > top_scale) top_scale = scale[g];
        if (below[g] > top_min) top_min = below[g];
    }
    float inverse_scale = top_scale > 0.0f ? 63.0f / top_scale : 0.0f,
          inverse_min = top_min > 0.0f ? 63.0f / top_min : 0.0f;
    uint8_t s[8], m[8], *q = out + 4;
    for (uint32_t g = 0; g < 8u; g++) {
        s[g] = (uint8_t)k_code(inverse_scale * scale[g], 63.0f);
        m[g] = (uint8_t)k_code(inverse_min * below[g], 63.0f);
    }
    for (uint32_t g = 0; g < 4u; g++) {
        q[g] = (uint8_t)(s[g] | (s[g + 4u] >> 4) << 6);
        q[g + 4u] = (uint8_t)(m[g] | (m[g + 4u] >> 4) << 6);
        q[g + 8u] = (uint8_t)((s[g + 4u] & 15u) | (m[g + 4u] & 15u) << 4);
    }
    ggml_put_f16(out, top_scale / 63.0f);
    ggml_put_f16(out + 2, top_min / 63.0f);
    for (uint32_t g = 0; g < 8u; g++) {
        step[g] = ggml_f16(out) * (float)s[g];
        add[g] = ggml_f16(out + 2) * (float)m[g];
    }
}

/* The code of x in the end: by the rounded scale; by the search's where that became 0. */
NUM_FN uint8_t k4_final_code(float x, float step, float add, const struct k_fit *f, float top)
{
    return (uint8_t)(step != 0.0f ? k_code((x + add) / step, top) : k_code(f->inverse * (x - f->start), top));
}

NUM_FN void q4_k_put_codes(const uint8_t code[256], uint8_t out[144])
{
    for (uint32_t k = 0; k < 128u; k++) {
        const uint8_t *pair = code + 64u * (k / 32u) + k % 32u;
        out[16u + k] = (uint8_t)(pair[0] | pair[32] << 4);
    }
}

NUM_FN void q5_k_put_codes(const uint8_t code[256], uint8_t out[176])
{
    for (uint32_t k = 0; k < 128u; k++) {
        const uint8_t *pair = code + 64u * (k / 32u) + k % 32u;
        out[48u + k] = (uint8_t)((pair[0] & 15u) | (pair[32] & 15u) << 4);
    }
    for (uint32_t i = 0; i < 32u; i++) {
        uint32_t high = 0;
        for (uint32_t g = 0; g < 8u; g++) high |= (uint32_t)(code[32u * g + i] >> 4) << g;
        out[16u + i] = (uint8_t)high;
    }
}

/* Q4_K (top 15) and Q5_K (top 31) up to their codes. */
NUM_FN void k4_encode(const float x[256], float top, float first, uint32_t steps, uint8_t head[16], uint8_t code[256])
{
    struct k_fit f[8];
    float scale[8], below[8], step[8], add[8];
    for (uint32_t g = 0; g < 8u; g++) {
        f[g] = k_search(x + 32u * g, top, first, steps);
        scale[g] = f[g].scale;
        below[g] = -f[g].min;
    }
    k4_put_scales(scale, below, head, step, add);
    for (uint32_t i = 0; i < GGML_SUPER; i++)
        code[i] = k4_final_code(x[i], step[i / 32u], add[i / 32u], &f[i / 32u], top);
}

NUM_FN void q4_k_encode_block(const float x[256], uint8_t out[144])
{
    uint8_t code[256];
    k4_encode(x, 15.0f, Q4_K_START, Q4_K_STEPS, out, code);
    q4_k_put_codes(code, out);
}

NUM_FN void q5_k_encode_block(const float x[256], uint8_t out[176])
{
    uint8_t code[256];
    k4_encode(x, 31.0f, Q5_K_START, Q5_K_STEPS, out, code);
    q5_k_put_codes(code, out);
}

/* ---- Q6_K ---- */

/* Rounded and cut to -32..31; NaN is 31. */
NUM_FN float q6_code(float x)
{
    float r = (x + GGML_ROUND) - GGML_ROUND;
    r = r < 31.0f ? r : 31.0f;
    return r > -32.0f ? r : -32.0f;
}

/* The inverse scale number k of 19: 0 is the plain one. */
NUM_FN float q6_inverse(uint32_t k, float max)
{
    int by = k == 0u ? 0 : (int)k - (k < 10u ? 10 : 9);
    return k == 0u ? -32.0f / max : -(32.0f + 0.1f * (float)by) / max;
}

/* The scale of a group of 16; *inverse: what its codes were computed with, 0 for a group that counts as zero. */
NUM_FN float q6_search(const float x[16], float *inverse)
{
    float max = ggml_signed_max(x, 16u), best = 0.0f, scale = 0.0f;
    *inverse = 0.0f;
    if (f32_abs(max) < GGML_NOTHING) return 0.0f;
    for (uint32_t k = 0; k < 19u; k++) {
        float by = q6_inverse(k, max), sum_xl = 0.0f, sum_l2 = 0.0f;
        for (uint32_t i = 0; i < 16u; i++) {
            float l = q6_code(by * x[i]), w = x[i] * x[i];
            sum_xl += w * x[i] * l;
            sum_l2 += w * l * l;
        }
        if (k != 0u && !(sum_l2 > 0.0f && sum_xl * sum_xl > best * sum_l2)) continue;
        scale = sum_l2 != 0.0f ? sum_xl / sum_l2 : 0.0f;
        best = scale * sum_xl;
        *inverse = by;
    }
    return scale;
}

/* d and the sixteen scales, out[192..209]; fills what each group's codes are computed with. False: a block of zeros. */
NUM_FN int q6_put_scales(const float scale[16], uint8_t out[210], float step[16])
{
    float max = ggml_signed_max(scale, 16u);
    if (f32_abs(max) < GGML_NOTHING) return 0;
    float inverse = -128.0f / max;
    ggml_put_f16(out + 208, 1.0f / inverse);
    for (uint32_t g = 0; g < 16u; g++) {
        float r = (inverse * scale[g] + GGML_ROUND) - GGML_ROUND;
        int s = r < 127.0f ? (r > -128.0f ? (int)r : -128) : 127;
        out[192u + g] = (uint8_t)s;
        step[g] = ggml_f16(out + 208) * (float)s;
    }
    return 1;
}

/* As stored, 0..63. Where the rounded scale is 0 the search's codes stay, 0 of a group that counted as zero. */
NUM_FN uint8_t q6_final_code(float x, float step, float inverse)
{
    if (step != 0.0f) return (uint8_t)(q6_code(x / step) + 32.0f);
    return (uint8_t)(inverse != 0.0f ? q6_code(inverse * x) + 32.0f : 0.0f);
}

NUM_FN void q6_k_put_codes(const uint8_t code[256], uint8_t out[210])
{
    for (uint32_t half = 0; half < 2u; half++)
        for (uint32_t i = 0; i < 32u; i++) {
            const uint8_t *c = code + 128u * half + i;
            out[64u * half + i] = (uint8_t)((c[0] & 15u) | (c[64] & 15u) << 4);
            out[64u * half + 32u + i] = (uint8_t)((c[32] & 15u) | (c[96] & 15u) << 4);
            out[128u + 32u * half + i] =
                (uint8_t)(c[0] >> 4 | (c[32] >> 4) << 2 | (c[64] >> 4) << 4 | (c[96] >> 4) << 6);
        }
}

NUM_FN void q6_k_encode_block(const float x[256], uint8_t out[210])
{
    float scale[16], inverse[16], step[16];
    uint8_t code[256];
    for (uint32_t g = 0; g < 16u; g++) scale[g] = q6_search(x + 16u * g, &inverse[g]);
    if (!q6_put_scales(scale, out, step)) {
        for (uint32_t i = 0; i < 210u; i++) out[i] = 0u;
        return;
    }
    for (uint32_t i = 0; i < GGML_SUPER; i++) code[i] = q6_final_code(x[i], step[i / 16u], inverse[i / 16u]);
    q6_k_put_codes(code, out);
}

#endif
