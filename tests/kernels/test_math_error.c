/* The scalar table against slow references in double and long double, with the error bounds that backends/cpu/math.h states.
 * MATH_STRIDE=1 in the environment tries every float (five minutes, one thread) and prints the largest errors. */
#include "tests/checks.h"

#include "backends/cpu/math.h"

#include <float.h>
#include <math.h>

static float from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Distance in units of the last place that a float of the true value's size has; denormal ones included. */
static double error_ulp(float got, double want)
{
    if (isnan(want)) return isnan(got) ? 0 : INFINITY;
    if (isinf(want) || fabs(want) >= 0x1.ffffffp127) return isinf(got) && (got > 0) == (want > 0) ? 0 : INFINITY;
    if (isnan(got) || isinf(got)) return INFINITY;
    int exponent;
    frexp(want, &exponent);
    int last = exponent - 24 < -149 ? -149 : exponent - 24;
    return fabs((double)got - want) / ldexp(1, last);
}

static double true_exp(double x)
{
    return exp(x);
}

static double true_softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x))) + (isnan(x) ? x : 0);
}

static double true_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double true_silu(double x)
{
    return x / (1 + exp(-x));
}

typedef void (*each_fn)(float *y, const float *x, uint64_t n);

/* Random floats from -2 to 2. */
static void fill(float *p, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) p[i] = (float)((double)(check_random(&seed) >> 40) * 0x1p-22 - 2);
}

/* |got - want| may be `roundings` half units of the last place of `size`, the sum of the magnitudes that were added. */
static void check_near(const char *what, float got, long double want, double roundings, long double size)
{
    long double allowed = roundings * 0x1p-24L * size + 0x1p-149L;
    if (!(fabsl((long double)got - want) <= allowed))
        fail_msg("%s is %.9g, true is %.12Lg, allowed difference %.3Lg", what, (double)got, want, allowed);
}

static void test_functions(void **state)
{
    (void)state;
    const char *env = getenv("MATH_STRIDE");
    const uint64_t stride = env ? strtoull(env, NULL, 10) : 1021;
    assert_true(stride > 0);
    const struct math_ops *ops = math_tables[0];
    const struct { const char *name; each_fn fn; double (*want)(double); double bound_ulp; } rows[] = {
        {"exp", ops->exp, true_exp, MATH_EXP_ULP},
        {"softplus", ops->softplus, true_softplus, MATH_SOFTPLUS_ULP},
        {"sigmoid", ops->sigmoid, true_sigmoid, MATH_SIGMOID_ULP},
        {"silu", ops->silu, true_silu, MATH_SILU_ULP},
    };
    enum { BLOCK = 4096 };
    static float x[BLOCK], y[BLOCK];
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        double worst = 0;
        float worst_x = 0;
        for (uint64_t bits = 0; bits <= UINT32_MAX;) {
            uint64_t n = 0;
            for (; n < BLOCK && bits <= UINT32_MAX; bits += stride) x[n++] = from_bits((uint32_t)bits);
            rows[r].fn(y, x, n);
            for (uint64_t i = 0; i < n; i++) {
                double e = error_ulp(y[i], rows[r].want((double)x[i]));
                if (e > worst) worst = e, worst_x = x[i];
            }
        }
        if (env) printf("# %s: %.3f ulp at %a (bound %.1f)\n", rows[r].name, worst, (double)worst_x, rows[r].bound_ulp);
        if (!(worst <= rows[r].bound_ulp))
            fail_msg("%s(%a): %.2f ulp from the true value, allowed are %.1f", rows[r].name, (double)worst_x, worst, rows[r].bound_ulp);
    }
}

/* Where a formula would meet inf - inf, 0 * inf or inf / inf. */
static void test_edges(void **state)
{
    (void)state;
    const struct math_ops *ops = math_tables[0];
    const struct { const char *name; each_fn fn; float x, want; } rows[] = {
        {"exp", ops->exp, -INFINITY, 0}, {"exp", ops->exp, INFINITY, INFINITY}, {"exp", ops->exp, NAN, NAN}, {"exp", ops->exp, 0, 1},
        {"exp", ops->exp, -0.0f, 1}, {"exp", ops->exp, 88.8f, INFINITY}, {"exp", ops->exp, FLT_MAX, INFINITY}, {"exp", ops->exp, -104, 0},
        {"exp", ops->exp, -FLT_MAX, 0}, {"exp", ops->exp, -103.5f, 0x1p-149f},
        {"softplus", ops->softplus, -INFINITY, 0}, {"softplus", ops->softplus, INFINITY, INFINITY}, {"softplus", ops->softplus, NAN, NAN},
        {"softplus", ops->softplus, 200, 200}, {"softplus", ops->softplus, -200, 0}, {"softplus", ops->softplus, FLT_MAX, FLT_MAX},
        {"sigmoid", ops->sigmoid, -INFINITY, 0}, {"sigmoid", ops->sigmoid, INFINITY, 1}, {"sigmoid", ops->sigmoid, NAN, NAN},
        {"sigmoid", ops->sigmoid, 0, 0.5f}, {"sigmoid", ops->sigmoid, -FLT_MAX, 0}, {"sigmoid", ops->sigmoid, FLT_MAX, 1},
        {"silu", ops->silu, -INFINITY, NAN}, {"silu", ops->silu, INFINITY, INFINITY}, {"silu", ops->silu, NAN, NAN}, {"silu", ops->silu, 0, 0},
        {"silu", ops->silu, -0.0f, -0.0f}, {"silu", ops->silu, -FLT_MAX, -0.0f}, {"silu", ops->silu, FLT_MAX, FLT_MAX},
        {"relu2", ops->relu2, NAN, NAN}, {"relu2", ops->relu2, -INFINITY, 0}, {"relu2", ops->relu2, -0.0f, 0}, {"relu2", ops->relu2, INFINITY, INFINITY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float y;
        rows[i].fn(&y, &rows[i].x, 1);
        if (isnan(rows[i].want) ? !isnan(y) : y != rows[i].want || signbit(y) != signbit(rows[i].want))
            fail_msg("%s(%a) is %a, expected %a", rows[i].name, (double)rows[i].x, (double)y, (double)rows[i].want);
    }
}

/* An element passes its product, the additions of its lane and the four of the fold. */
static void test_sums(void **state)
{
    (void)state;
    enum { N = 3000 };
    static float x[N], y[N];
    fill(x, N, 1);
    fill(y, N, 2);
    for (size_t n = 0; n <= N; n += n < 40 ? 1 : 211) {
        long double dot = 0, squares = 0, sum = 0, dot_size = 0, sum_size = 0;
        for (size_t i = n; i-- > 0;) {
            dot += (long double)x[i] * y[i], dot_size += fabsl((long double)x[i] * y[i]);
            squares += (long double)x[i] * x[i];
            sum += x[i], sum_size += fabsl((long double)x[i]);
        }
        double roundings = (double)n / 16 + 6;
        check_near("dot", math_tables[0]->dot(x, y, n), dot, roundings, dot_size);
        check_near("sum_squares", math_tables[0]->sum_squares(x, n), squares, roundings, squares);
        check_near("sum", math_tables[0]->sum(x, n), sum, roundings, sum_size);
    }
}

static void test_gemm(void **state)
{
    (void)state;
    enum { M = 5, K = 700, N = 19 };
    static float x[M * K], w[N * K], panel[K * GEMM_PANEL], y[M * N];
    fill(x, M * K, 3);
    fill(w, N * K, 4);
    gemm_pack(w, K, N, K, panel);
    math_tables[0]->gemm_panel(x, K, M, panel, K, y, N, N);
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            long double want = 0, size = 0;
            for (size_t k = K; k-- > 0;) {
                long double product = (long double)x[i * K + k] * w[j * K + k];
                want += product, size += fabsl(product);
            }
            check_near("gemm_panel", y[i * N + j], want, K, size);
        }
}

static void test_conv(void **state)
{
    (void)state;
    enum { TAPS = 4, CHANNELS = 37, TOKENS = 9 };
    static float in[(TAPS - 1 + TOKENS) * CHANNELS], w[CHANNELS * TAPS], bias[CHANNELS], y[TOKENS * CHANNELS];
    fill(in, sizeof in / sizeof *in, 5);
    fill(w, CHANNELS * TAPS, 6);
    fill(bias, CHANNELS, 7);
    math_tables[0]->conv_silu(y, CHANNELS, in, CHANNELS, w, bias, TAPS, CHANNELS, TOKENS);
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t c = 0; c < CHANNELS; c++) {
            long double sum = bias[c], size = fabsl((long double)bias[c]);
            for (size_t back = 0; back < TAPS; back++) {       /* the newest input meets the last tap */
                long double product = (long double)w[c * TAPS + TAPS - 1 - back] * in[(t + TAPS - 1 - back) * CHANNELS + c];
                sum += product, size += fabsl(product);
            }
            long double want = sum / (1 + expl(-sum));         /* the slope of silu is at most 1.1 */
            check_near("conv_silu", y[t * CHANNELS + c], want, 1.1 * (TAPS + 2) + 2 * MATH_SILU_ULP, size);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_functions), cmocka_unit_test(test_edges), cmocka_unit_test(test_sums),
                                       cmocka_unit_test(test_gemm), cmocka_unit_test(test_conv)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
