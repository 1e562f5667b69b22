/* The arithmetic itself, the same text for every instruction set: sums, element by element, matrix product.
 * Included at the end of math_<isa>.c; exp and its relatives, the convolution and the scan are in files of their own.
 */
#include "backends/cpu/math_exp_body.h"
#include "backends/cpu/math_scan_body.h"

#include <math.h>

static float dot(const float *x, const float *y, uint64_t n)
{
    return lane_sum(x, y, true, n);
}

static float sum_squares(const float *x, uint64_t n)
{
    return lane_sum(x, x, true, n);
}

static float sum(const float *x, uint64_t n)
{
    return lane_sum(x, NULL, false, n);
}

/* In any order the same, but for the sign of a zero: the last addition makes it positive. */
static float max(const float *x, uint64_t n)
{
    vec most = vec_fill(-INFINITY);
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES) most = vec_max(most, vec_load(x + i));
    float result = -INFINITY;
    for (uint32_t j = 0; j < LANES; j++) result = result < most[j] ? most[j] : result;
    for (; i < n; i++) result = result < x[i] ? x[i] : result;
    return result + 0.0f;
}

/* Magnitudes compared as integers: the same order, with every NaN above infinity. */
static float amax(const float *x, uint64_t n)
{
    const ivec magnitude = (ivec){0} + INT32_MAX;
    ivec most = {0};
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES) most = ivec_max(most, (ivec)vec_load(x + i) & magnitude);
    if (i < n) most = ivec_max(most, (ivec)vec_load_part(x + i, n - i) & magnitude);
    int32_t bits = 0;
    for (uint32_t j = 0; j < LANES; j++) bits = bits < most[j] ? most[j] : bits;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* ---- element by element ---------------------------------------------------------------------------------------- */

/* Defines a function whose body is one expression in vectors; x, w and y are read before y is written. */
#define EACH(arguments, expression)                                                                                    \
    arguments                                                                                                          \
    {                                                                                                                  \
        for (uint64_t i = 0; i < n; i += LANES) vec_store_upto(y + i, expression, n - i);                              \
    }
#define AT(p) vec_load_upto((p) + i, n - i)

EACH(static void scale(float *y, const float *x, float s, uint64_t n), AT(x) * vec_fill(s))
EACH(static void multiply(float *y, const float *x, const float *w, uint64_t n), AT(x) * AT(w))
EACH(static void add(float *y, const float *x, const float *w, uint64_t n), AT(x) + AT(w))
EACH(static void multiply_add(float *y, const float *x, float s, uint64_t n), AT(y) + AT(x) * vec_fill(s))
EACH(static void softplus(float *y, const float *x, uint64_t n), vec_softplus(AT(x)))
EACH(static void sigmoid(float *y, const float *x, uint64_t n), vec_sigmoid(AT(x)))
EACH(static void silu(float *y, const float *x, uint64_t n), vec_silu(AT(x)))
EACH(static void relu2(float *y, const float *x, uint64_t n), vec_relu(AT(x)) * vec_relu(AT(x)))

/* ---- matrix product -------------------------------------------------------------------------------------------- */

/* 512 rows of a panel are 64 KiB, which the second-level cache delivers as fast as a tile eats them; shorter runs would
 * reload the sums more often (512 against 256 is worth 1 % on Zen 5, 1024 nothing). */
#define TILE_DEPTH 512u

/* Tiles of every height, so that the last rows of a matrix run in registers too. */
static void gemm_rows(uint64_t rows, const struct tile *t)
{
#define HEIGHT(r)                                                                                                      \
    case r:                                                                                                            \
        if (r <= TILE_ROWS) gemm_tile(r, t);                                                                           \
        break
    switch (rows) {
        HEIGHT(1);
        HEIGHT(2);
        HEIGHT(3);
        HEIGHT(4);
        HEIGHT(5);
        HEIGHT(6);
        HEIGHT(7);
        HEIGHT(8);
        HEIGHT(9);
        HEIGHT(10);
        HEIGHT(11);
        HEIGHT(12);
    }
#undef HEIGHT
}

INLINE void gemm_run(const struct tile *all, uint64_t m, uint64_t k)
{
    uint64_t done = 0;
    do { /* once even when k is 0: y becomes 0 */
        uint64_t depth = k - done < TILE_DEPTH ? k - done : TILE_DEPTH;
        for (uint64_t i = 0; i < m; i += TILE_ROWS) {
            struct tile t = *all;
            t.x += i * t.ldx + done;
            t.panel += done * GEMM_PANEL;
            t.y += i * t.ldy;
            t.depth = depth;
            t.first = all->first && done == 0;
            gemm_rows(m - i < TILE_ROWS ? m - i : TILE_ROWS, &t);
        }
        done += depth;
    } while (done < k);
}

static void gemm_panel(const float *x, uint64_t ldx, uint64_t m, const float *panel, uint64_t k, float *y, uint64_t ldy,
                       uint32_t n)
{
    gemm_run(&(struct tile){.x = x, .panel = panel, .y = y, .ldx = ldx, .ldy = ldy, .n = n, .first = true}, m, k);
}

static void gemm_panel_more(const float *x, uint64_t ldx, uint64_t m, const float *panel, uint64_t k, float *y,
                            uint64_t ldy, uint32_t n)
{
    gemm_run(&(struct tile){.x = x, .panel = panel, .y = y, .ldx = ldx, .ldy = ldy, .n = n, .first = false}, m, k);
}

#define MATH_OPS(table_name, needs)                                                                                    \
    {                                                                                                                  \
        .name = table_name, .isa = needs, .gemm_panel = gemm_panel, .gemm_panel_more = gemm_panel_more, .dot = dot,    \
        .sum_squares = sum_squares, .sum = sum, .max = max, .amax = amax, .scale = scale, .multiply = multiply,        \
        .add = add, .multiply_add = multiply_add, .exp = exp_each, .softplus = softplus, .sigmoid = sigmoid,           \
        .silu = silu, .relu2 = relu2, .conv_silu = conv_silu, .decay_rows = decay_rows,                                \
    }
