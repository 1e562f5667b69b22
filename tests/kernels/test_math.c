/* Every table of backends/cpu/math against loops written from the text of its header, bit for bit: each element rounded as
 * it says, each sum in the order it says, nothing read or written outside. What is made of exp is compared with the scalar
 * table, whose error test_math_error bounds. */
#include "tests/kernels/math_fence.h"

static const size_t sizes[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 100, 1000};
#define N_SIZES (sizeof sizes / sizeof *sizes)
enum { SIZE_MAX_TESTED = 1000 };

/* ---- the header's words as loops -------------------------------------------------------------------------------- */

static float said_sum(const float *x, size_t n)
{
    float lane[16] = {0};
    for (size_t i = 0; i < n; i++) lane[i % 16] += x[i];
    return said_total(lane);
}

static float said_max(const float *x, size_t n)
{
    float m = -INFINITY;
    for (size_t i = 0; i < n; i++) m = x[i] > m ? x[i] : m;
    return m == 0 ? 0.0f : m;
}

static float said_amax(const float *x, size_t n)
{
    float m = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i])) return NAN;
        m = fabsf(x[i]) > m ? fabsf(x[i]) : m;
    }
    return m;
}

/* ---- sums ------------------------------------------------------------------------------------------------------- */

static void check_sum(const char *name, float got, float want, size_t n, int kind)
{
    if (!same_float(got, want))
        fail_msg("%s %s of %zu numbers of kind %d is %a, expected %a", ops->name, name, n, kind, (double)got, (double)want);
}

static void check_sums(void)
{
    struct fence fx = fence_new(SIZE_MAX_TESTED + 128), fy = fence_new(SIZE_MAX_TESTED + 128);
    for (size_t s = 0; s < N_SIZES; s++)
        for (size_t slack = 0; slack < 4; slack++)
            for (int kind = 0; kind < NUMBERS_COUNT; kind++) {
                size_t n = sizes[s];
                float *x = fence_place(&fx, n, slack), *y = fence_place(&fy, n, 3 - slack);
                numbers_fill(x, n, (enum numbers)kind, 1 + n);
                numbers_fill(y, n, (enum numbers)kind, 2 + n);
                check_sum("dot", ops->dot(x, y, n), said_dot(x, y, n), n, kind);
                check_sum("sum_squares", ops->sum_squares(x, n), said_dot(x, x, n), n, kind);
                check_sum("sum", ops->sum(x, n), said_sum(x, n), n, kind);
                check_sum("amax", ops->amax(x, n), said_amax(x, n), n, kind);
                if (kind != NUMBERS_NAN) check_sum("max", ops->max(x, n), said_max(x, n), n, kind);
            }
    static const float zeros[17] = {-0.0f, -0.0f, 0.0f, -0.0f};
    check_sum("max", ops->max(zeros, 1), 0.0f, 1, 0);
    check_sum("max", ops->max(zeros, 2), 0.0f, 2, 0);
    check_sum("max", ops->max(zeros, 17), 0.0f, 17, 0);
    fence_free(&fx);
    fence_free(&fy);
}

/* Numbers chosen so that any other order, or a fused product, shows: by hand, not by a loop. */
static void check_order(void)
{
    float x[40] = {0}, one40[40];
    for (int i = 0; i < 40; i++) one40[i] = 1.0f;
    x[0] = 0x1p24f, x[16] = 1.0f, x[32] = 1.0f;         /* lane 0: 2^24 + 1 + 1 = 2^24, each 1 is lost */
    x[8] = -0x1p24f;                                    /* meets lane 0 first: 0 */
    x[4] = 0x1p24f, x[12] = 1.0f;                       /* 4 and 12 first: 2^24 */
    x[2] = -0x1p24f;                                    /* then 2 with (0 and 4): 0 */
    x[1] = 3.0f;                                        /* last */
    check_sum("dot", ops->dot(x, one40, 40), 3.0f, 40, 0);
    check_sum("sum", ops->sum(x, 40), 3.0f, 40, 0);
    float a[17] = {0}, b[17] = {0};                     /* (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24: kept by fmaf alone */
    a[0] = -(1.0f + 0x1p-11f), b[0] = 1.0f, a[16] = b[16] = 1.0f + 0x1p-12f;
    check_sum("dot", ops->dot(a, b, 17), 0.0f, 17, 0);
    float panel[2 * GEMM_PANEL] = {0}, pair[2] = {-(1.0f + 0x1p-11f), 1.0f + 0x1p-12f}, y = 7.0f;
    panel[0] = 1.0f, panel[GEMM_PANEL] = 1.0f + 0x1p-12f;
    ops->gemm_panel(pair, 2, 1, panel, 2, &y, 1, 1);
    check_sum("gemm_panel", y, 0x1p-24f, 2, 0);
}

/* ---- element by element ----------------------------------------------------------------------------------------- */

enum each { EACH_SCALE, EACH_MULTIPLY, EACH_ADD, EACH_MULTIPLY_ADD, EACH_EXP, EACH_SOFTPLUS, EACH_SIGMOID, EACH_SILU, EACH_RELU2, EACH_COUNT };
static const char *const each_names[EACH_COUNT] = {"scale", "multiply", "add", "multiply_add", "exp", "softplus", "sigmoid", "silu", "relu2"};

static void each_run(enum each e, float *y, const float *x, const float *w, float s, size_t n)
{
    switch (e) {
    case EACH_SCALE: ops->scale(y, x, s, n); break;
    case EACH_MULTIPLY: ops->multiply(y, x, w, n); break;
    case EACH_ADD: ops->add(y, x, w, n); break;
    case EACH_MULTIPLY_ADD: ops->multiply_add(y, x, s, n); break;
    case EACH_EXP: ops->exp(y, x, n); break;
    case EACH_SOFTPLUS: ops->softplus(y, x, n); break;
    case EACH_SIGMOID: ops->sigmoid(y, x, n); break;
    case EACH_SILU: ops->silu(y, x, n); break;
    case EACH_RELU2: ops->relu2(y, x, n); break;
    case EACH_COUNT: break;
    }
}

static float each_said(enum each e, float y, float x, float w, float s)
{
    volatile float product = x * s;                     /* rounded before it is added */
    switch (e) {
    case EACH_SCALE: return product;
    case EACH_MULTIPLY: return x * w;
    case EACH_ADD: return x + w;
    case EACH_MULTIPLY_ADD: return y + product;
    case EACH_EXP: return one(math_tables[0]->exp, x);
    case EACH_SOFTPLUS: return one(math_tables[0]->softplus, x);
    case EACH_SIGMOID: return one(math_tables[0]->sigmoid, x);
    case EACH_SILU: return one(math_tables[0]->silu, x);
    case EACH_RELU2: return x < 0 ? 0 : x * x;
    case EACH_COUNT: break;
    }
    return NAN;
}

static void check_each(void)
{
    struct fence fx = fence_new(SIZE_MAX_TESTED + 128), fw = fence_new(SIZE_MAX_TESTED + 128), fy = fence_new(SIZE_MAX_TESTED + 128);
    static float want[SIZE_MAX_TESTED];
    for (int e = 0; e < EACH_COUNT; e++)
        for (size_t s = 0; s < N_SIZES; s++)
            for (int kind = 0; kind < NUMBERS_COUNT; kind++)
                for (size_t place = 0; place < 6; place++) {     /* 0..3: apart, 4: y is x, 5: y is w */
                    const float factor = kind == NUMBERS_PLAIN ? 0x1.234566p+1f : 0x1.9p-3f;
                    size_t n = sizes[s];
                    float *x = fence_place(&fx, n, place % 4), *w = fence_place(&fw, n, 1), *y = fence_place(&fy, n, 3 - place % 4);
                    numbers_fill(x, n, (enum numbers)kind, 3 + n);
                    numbers_fill(w, n, (enum numbers)kind, 4 + n);
                    numbers_fill(y, n, (enum numbers)kind, 5 + n);
                    if (place >= 4) y = place == 4 ? x : w;
                    for (size_t i = 0; i < n; i++) want[i] = each_said((enum each)e, y[i], x[i], w[i], factor);
                    each_run((enum each)e, y, x, w, factor, n);
                    char what[80];
                    snprintf(what, sizeof what, "%s %s (numbers %d, place %zu)", ops->name, each_names[e], kind, place);
                    check_floats(y, want, n, what);
                    fence_check(place < 4 ? &fy : place == 4 ? &fx : &fw, y, n, what);
                }
    fence_free(&fx);
    fence_free(&fw);
    fence_free(&fy);
}

/* The functions made of exp on every 997th float, against the scalar table. */
static void check_functions_everywhere(void)
{
    enum { BLOCK = 1000 };
    static float x[BLOCK], want[BLOCK], got[BLOCK];
    for (int e = EACH_EXP; e <= EACH_SILU; e++)
        for (uint64_t bits = 0; bits <= UINT32_MAX;) {
            size_t n = 0;
            for (; n < BLOCK && bits <= UINT32_MAX; bits += 997, n++) {
                uint32_t u = (uint32_t)bits;
                memcpy(x + n, &u, sizeof u);
            }
            const struct math_ops *tested = ops;
            each_run((enum each)e, got, x, NULL, 0, n);
            ops = math_tables[0];
            each_run((enum each)e, want, x, NULL, 0, n);
            ops = tested;
            check_floats(got, want, n, each_names[e]);
        }
}

/* ---- matrix product --------------------------------------------------------------------------------------------- */

static void check_gemm(size_t m, size_t k, size_t n, enum numbers kind, size_t slack)
{
    static struct fence fx, fw, fy, fp;
    enum { GEMM_M = 40, GEMM_K = 600 };
    if (!fx.base) {
        fx = fence_new(GEMM_M * (GEMM_K + 3) + 128), fw = fence_new(GEMM_PANEL * (GEMM_K + 1) + 128);
        fp = fence_new(GEMM_PANEL * GEMM_K + 128), fy = fence_new(GEMM_M * (GEMM_PANEL + 2) + 128);
    }
    /* Rows are apart by 3, 1 and 2 floats that nobody may touch; the last row has none behind it. */
    size_t ldx = k + 3, ldw = k + 1, ldy = n + 2;
    size_t x_size = m ? (m - 1) * ldx + k : 0, w_size = (n - 1) * ldw + k, y_size = m ? (m - 1) * ldy + n : 0;
    float *x = fence_place(&fx, x_size, slack), *w = fence_place(&fw, w_size, slack), *y = fence_place(&fy, y_size, slack);
    float *panel = fence_place(&fp, k * GEMM_PANEL, slack);
    uint64_t seed = m + 41 * k + 700 * n;
    numbers_fill(x, x_size, kind, seed);
    numbers_fill(w, w_size, kind, seed + 1);
    const uint32_t between = FENCE_BITS;
    for (size_t i = 0; i < y_size; i++) memcpy(y + i, &between, sizeof between);
    gemm_pack(w, ldw, (uint32_t)n, k, panel);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < GEMM_PANEL; j++)
            if (!same_float(panel[i * GEMM_PANEL + j], j < n ? w[j * ldw + i] : 0.0f)) fail_msg("gemm_pack: row %zu, column %zu of %zu", i, j, n);
    fence_check(&fp, panel, k * GEMM_PANEL, "gemm_pack");
    ops->gemm_panel(x, ldx, m, panel, k, y, ldy, (uint32_t)n);
    char what[80];
    snprintf(what, sizeof what, "%s gemm_panel m %zu k %zu n %zu", ops->name, m, k, n);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            float want = 0;
            for (size_t l = 0; l < k; l++) want = fmaf(x[i * ldx + l], w[j * ldw + l], want);
            if (!same_float(y[i * ldy + j], want))
                fail_msg("%s: y[%zu, %zu] is %a, expected %a", what, i, j, (double)y[i * ldy + j], (double)want);
        }
        for (size_t j = n; j < ldy && i + 1 < m; j++)
            if (bits_of(y + i * ldy + j) != FENCE_BITS) fail_msg("%s: wrote column %zu of row %zu", what, j, i);
    }
    fence_check(&fy, y, y_size, what);
}

static void check_gemms(void)
{
    static const size_t deep[] = {255, 256, 257, 511, 512, 513, 600}, wide[] = {1, 7, 8, 9, 15, 16, 17, 31, 32};
    for (size_t m = 0; m <= 40; m++)
        for (size_t n = 1; n <= GEMM_PANEL; n++)
            for (size_t k = 0; k <= 5; k++) check_gemm(m, k, n, (enum numbers)(m % NUMBERS_COUNT), n % 4);
    for (size_t d = 0; d < sizeof deep / sizeof *deep; d++)
        for (size_t m = 0; m <= 40; m += d % 2 ? 1 : 13)
            for (size_t i = m % 3; i < sizeof wide / sizeof *wide; i += 3) check_gemm(m, deep[d], wide[i], NUMBERS_PLAIN, m % 4);
}

/* ---- the tests -------------------------------------------------------------------------------------------------- */

static void test_sums(void **state) { (void)state; each_table(check_sums); }
static void test_order(void **state) { (void)state; each_table(check_order); }
static void test_each(void **state) { (void)state; each_table(check_each); }
static void test_functions_everywhere(void **state) { (void)state; each_table(check_functions_everywhere); }
static void test_gemm(void **state) { (void)state; each_table(check_gemms); }

static void test_tables(void **state)
{
    (void)state;
    static const struct { uint64_t isa; const char *name; } rows[] = {
#if !defined(__x86_64__)
        {~(uint64_t)0, "scalar"},
#else
        {0, "scalar"}, {ISA_AVX2, "avx2"}, {ISA_AVX512, "scalar"}, {ISA_AVX2 | ISA_AVX512, "avx512"}, {~(uint64_t)0, "avx512"},
#endif
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_string_equal(math_for(rows[i].isa)->name, rows[i].name);
    for (const struct math_ops *const *t = math_tables; *t; t++) {
        const void *members[sizeof **t / sizeof(void *)];      /* a member that a table forgets is NULL */
        memcpy(members, *t, sizeof **t);
        for (size_t i = 2; i < sizeof members / sizeof *members; i++)
            if (!members[i]) fail_msg("table %s: function %zu is missing", (*t)->name, i - 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables), cmocka_unit_test(test_sums), cmocka_unit_test(test_order), cmocka_unit_test(test_each),
        cmocka_unit_test(test_functions_everywhere), cmocka_unit_test(test_gemm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
