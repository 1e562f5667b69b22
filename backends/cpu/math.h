/* The fp32 arithmetic of the forward pass, once per instruction set, with one promise: every table gives the same bits.
 *
 * Calibration and parity figures must not depend on the machine that computed them, so every operation here has a fixed
 * order and fixed roundings, and vector units only do many of the same scalar operations side by side:
 *   - matrix products: each output element is one chain over k = 0, 1, 2 ... of fused multiply-adds beginning at 0
 *     (fmaf, correctly rounded everywhere);
 *   - other sums ("lane sums"): element i is added to lane i % 16 in order of i, with a multiply and an add rounded
 *     separately; at the end lanes j and j + 8 are added for j < 8, then j and j + 4, j + 2, j + 1;
 *   - exp, log1p and what is made of them: our own polynomials below, no libm (glibc picks variants by CPU).
 * No fast-math, no contraction, no flush-to-zero. tests/kernels/test_math compares all tables on the same inputs.
 * The one exception is the sign and payload of a NaN: where one table gives a NaN, every table gives some NaN.
 *
 * Pointers need no more alignment than a float; n is in elements; an output may be exactly an input where a comment
 * says so, else arrays do not overlap. Nothing outside the named elements is read or written. */
#ifndef BACKENDS_CPU_MATH_H
#define BACKENDS_CPU_MATH_H

#include <stdint.h>

#define GEMM_PANEL 32u /* columns of a packed panel */

/* Largest distance from the true value, in units of the last place of a float of its size (denormals included), for
 * every argument: results fade through the denormals to 0 and grow to +inf where the true value does. */
#define MATH_EXP_ULP 1.0      /* measured over all floats, tests/kernels/test_math_error: 0.99 */
#define MATH_SOFTPLUS_ULP 3.0 /* 2.80 */
#define MATH_SIGMOID_ULP 2.5  /* 2.41 */
#define MATH_SILU_ULP 3.5     /* 3.40 */

/* A decay that has fallen below this counts as 0, so that no denormal numbers slow the products down. */
#define MATH_DECAY_SMALLEST 0x1p-110f

/* How much each token of a chunk still counts at a later one. */
struct decay_rows {
    uint32_t from, to;   /* tokens of the chunk; those before `from` are in w and total already */
    const float *decay;  /* [to - from], 0 .. 1 */
    const float *fresh;  /* [to - from], the weight of a token at itself, not negative */
    float *w;            /* [to]: weights at token from - 1, zeros from `from` on; at token to - 1 afterwards */
    float *total;        /* what is left at token from - 1 of what was there before token 0; likewise */
    float *through;      /* [to - from], written: what is left of it at each token */
    uint32_t n_products; /* 0 .. 2 */
    const float *s[2];   /* [to - from, to], finite; row stride s_stride */
    float *m[2];         /* written, row i - from, column j: s * (weight of token j at i); zeros for j > i */
    uint64_t s_stride, m_stride;
};

struct math_ops {
    const char *name; /* "scalar", "avx2", "avx512" */
    uint64_t isa;     /* bits of backends/cpu/kernel.h that this table needs */

    /* y[i, j] = sum over k of x[i, k] * panel[k][j], for j < n (n <= GEMM_PANEL). x: [m, K] with row stride ldx; panel:
     * [K][GEMM_PANEL], zero beyond column n; y: [m, n] with row stride ldy. */
    void (*gemm_panel)(const float *x, uint64_t ldx, uint64_t m, const float *panel, uint64_t k, float *y, uint64_t ldy,
                       uint32_t n);
    /* The same chains, going on from what y holds: a matrix product in several runs of k. */
    void (*gemm_panel_more)(const float *x, uint64_t ldx, uint64_t m, const float *panel, uint64_t k, float *y,
                            uint64_t ldy, uint32_t n);

    /* Lane sums. */
    float (*dot)(const float *x, const float *y, uint64_t n);
    float (*sum_squares)(const float *x, uint64_t n);
    float (*sum)(const float *x, uint64_t n);
    float (*max)(const float *x, uint64_t n);  /* largest value, +0 for any zero; -inf for n == 0; no NaN inside */
    float (*amax)(const float *x, uint64_t n); /* largest magnitude; NaN if there is one; 0 for n == 0 */

    /* Element by element; y may be x or w. */
    void (*scale)(float *y, const float *x, float s, uint64_t n);           /* y = x * s */
    void (*multiply)(float *y, const float *x, const float *w, uint64_t n); /* y = x * w */
    void (*add)(float *y, const float *x, const float *w, uint64_t n);      /* y = x + w */
    void (*multiply_add)(float *y, const float *x, float s, uint64_t n);    /* y = y + x * s, two roundings */
    void (*exp)(float *y, const float *x, uint64_t n);                      /* 0 below -104, +inf above 88.8 */
    void (*softplus)(float *y, const float *x, uint64_t n); /* log(1 + e^x) = max(x, 0) + log1p(e^-|x|) */
    void (*sigmoid)(float *y, const float *x, uint64_t n);  /* 1 / (1 + e^-x) */
    void (*silu)(float *y, const float *x, uint64_t n);     /* x / (1 + e^-x); NaN for -inf */
    void (*relu2)(float *y, const float *x, uint64_t n);    /* max(x, 0)^2; NaN for NaN */

    /* Depthwise causal convolution and silu: y[t, c] = silu(bias[c] + sum over j < taps of w[c*taps + j] * in[t - taps
     * + 1 + j, c]), the sum from j = 0 up, multiply and add rounded separately, bias first. `in` is [taps - 1 +
     * n_tokens, n_channels]: the last taps - 1 inputs before the run, then the run; row stride `in_stride`, of y
     * `y_stride`. bias may be NULL (0). */
    void (*conv_silu)(float *y, uint64_t y_stride, const float *in, uint64_t in_stride, const float *w,
                      const float *bias, uint32_t taps, uint64_t n_channels, uint64_t n_tokens);

    /* For i = from .. to - 1 in order: w[j] = w[j]*decay[i] for j < i, then 0 if below MATH_DECAY_SMALLEST; w[i] =
     * fresh[i]; m[i, j] = s[i, j]*w[j]; total = total*decay[i], flushed likewise. */
    void (*decay_rows)(const struct decay_rows *d);
};

extern const struct math_ops math_scalar, math_avx2, math_avx512; /* callers ask math_for */
extern const struct math_ops *const math_tables[];                /* from plain C to the widest; NULL-terminated */
const struct math_ops *math_for(uint64_t isa);                    /* the widest table that `isa` allows */

/* Packs rows of a weight matrix for gemm_panel: w is [n, K] row-major with n <= GEMM_PANEL; panel is [K][GEMM_PANEL].
 */
void gemm_pack(const float *w, uint64_t ldw, uint32_t n, uint64_t k, float *panel);

#endif
