/* Second moments, their factor and GPTQ against the published algorithm in double precision, unblocked and by way of the
 * inverse: H^-1, its upper Cholesky factor U, column by column with the update of all columns that follow. */
#include "tests/checks.h"
#include "tests/numeric/slow.h"

#include "backends/cpu/kernel.h"
#include "calibrate/factor.h"
#include "calibrate/gptq.h"

#include <math.h>

struct shape { uint32_t rows, cols, tokens; bool act_order, dead; uint32_t seed; };

static const struct shape shapes[] = {
    {5, 16, 40, false, false, 1},   {130, 64, 300, false, false, 2}, {64, 160, 100, false, false, 3},
    {33, 288, 700, true, false, 4}, {129, 96, 300, true, true, 5},   {40, 320, 90, true, false, 6},
    {16, 80, 333, false, true, 7},  {20, 272, 1, false, false, 8},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

static uint64_t state;
static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) / (double)(1ull << 53);
}
static double normal(void) { return sqrt(-2 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform()); }

/* Inputs that depend on each other, some columns much larger than others; weights around 0.05. */
struct sample { float *x, *w; double *h; };

static struct sample make_sample(const struct shape *s)
{
    struct sample m = {malloc(s->tokens * s->cols * 4), malloc(s->rows * s->cols * 4), calloc(s->cols * s->cols, 8)};
    state = s->seed * 77u + 1;
    double *mix = malloc(s->cols * 8 * 8);
    for (uint32_t i = 0; i < s->cols * 8; i++) mix[i] = normal();
    for (uint32_t t = 0; t < s->tokens; t++) {
        double z[8];
        for (int k = 0; k < 8; k++) z[k] = normal();
        for (uint32_t c = 0; c < s->cols; c++) {
            double v = 0.3 * normal();
            for (uint32_t i = 0; i < 8; i++) v += mix[c * 8 + i] * z[i];
            m.x[t * s->cols + c] = s->dead && c % 13 == 5 ? 0 : (float)(v * (c % 11 == 3 ? 8 : 1));
        }
    }
    for (uint32_t i = 0; i < s->rows * s->cols; i++) m.w[i] = (float)(0.05 * normal());
    double *row = malloc(s->cols * 8);
    for (uint32_t t = 0; t < s->tokens; t++) {
        for (uint32_t i = 0; i < s->cols; i++) row[i] = slow_decode(&slow_bf16, slow_encode(&slow_bf16, (double)m.x[t * s->cols + i]));
        for (uint32_t i = 0; i < s->cols; i++)
            for (uint32_t j = 0; j < s->cols; j++) m.h[i * s->cols + j] += row[i] * row[j];
    }
    free(row);
    free(mix);
    return m;
}

static void drop_sample(struct sample *m) { free(m->x), free(m->w), free(m->h); }

/* ---- moments ---- */

static struct moments sum_moments(const struct shape *s, const float *x, uint32_t cut, struct pool *pool, uint64_t isa)
{
    struct moments m;
    struct moments_env env = {.gemm = gemm_for(isa), .math = math_for(isa), .pool = pool};
    CHECK_OK(moments_open(&m, s->cols, false, e_));
    for (uint32_t t = 0; t < s->tokens; t += cut)
        CHECK_OK(moments_add(&m, &env, x + t * s->cols, NULL, s->tokens - t < cut ? s->tokens - t : cut, s->cols, e_));
    CHECK_OK(moments_finish(&m, &env, e_));
    return m;
}

static void same_lower(const struct moments *a, const struct moments *b, const char *what)
{
    for (uint64_t i = 0; i < a->cols; i++) check_bytes(a->sum + i * a->cols, b->sum + i * a->cols, (i + 1) * 4, what);
}

static void moments_are_the_sum(void **unused)
{
    (void)unused;
    for (size_t k = 0; k < N_SHAPES; k++) {
        struct sample d = make_sample(&shapes[k]);
        struct moments m = sum_moments(&shapes[k], d.x, 100, NULL, isa_detected());
        assert_int_equal(m.n_rows, shapes[k].tokens);
        for (uint64_t i = 0; i < m.cols; i++)
            for (uint64_t j = 0; j <= i; j++) {
                double scale = sqrt(d.h[i * m.cols + i] * d.h[j * m.cols + j]);
                if (fabs((double)m.sum[i * m.cols + j] - d.h[i * m.cols + j]) > 1e-5 * scale + 1e-30)
                    fail_msg("shape %zu: [%u, %u] is %g, expected %g", k, (unsigned)i, (unsigned)j, (double)m.sum[i * m.cols + j], d.h[i * m.cols + j]);
            }
        moments_close(&m);
        drop_sample(&d);
    }
}

static void moments_do_not_depend_on_the_cut(void **unused)
{
    (void)unused;
    struct pool *pool;
    CHECK_OK(pool_open(&pool, 3, e_));
    for (size_t k = 0; k < 4; k++) {
        struct sample d = make_sample(&shapes[k]);
        struct moments a = sum_moments(&shapes[k], d.x, shapes[k].tokens, NULL, isa_detected());
        struct moments b = sum_moments(&shapes[k], d.x, 7, pool, isa_detected());
        struct moments c = sum_moments(&shapes[k], d.x, 64, NULL, 0);
        same_lower(&a, &b, "rows in sevens, by three threads");
        same_lower(&a, &c, "rows in sixty-fours, in plain C");
        moments_close(&a), moments_close(&b), moments_close(&c);
        drop_sample(&d);
    }
    pool_close(pool);
}

/* ---- the published algorithm ---- */

/* Gauss-Jordan, then the Cholesky factor of the inverse: u upper with u^T u = h^-1. */
static double *upper_of_inverse(const double *h, uint32_t n)
{
    double *a = malloc(n * n * 8), *inv = calloc(n * n, 8), *u = calloc(n * n, 8);
    memcpy(a, h, n * n * 8);
    for (uint32_t i = 0; i < n; i++) inv[i * n + i] = 1;
    for (uint32_t c = 0; c < n; c++) {
        double p = a[c * n + c];
        assert_true(p > 0);
        for (uint32_t j = 0; j < n; j++) a[c * n + j] /= p, inv[c * n + j] /= p;
        for (uint32_t r = 0; r < n; r++) {
            double f = a[r * n + c];
            if (r == c || f == 0) continue;
            for (uint32_t j = 0; j < n; j++) a[r * n + j] -= f * a[c * n + j], inv[r * n + j] -= f * inv[c * n + j];
        }
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i; j < n; j++) {
            double s = inv[i * n + j];
            for (uint32_t k = 0; k < i; k++) s -= u[k * n + i] * u[k * n + j];
            u[i * n + j] = i == j ? sqrt(s) : s / u[i * n + i];
        }
    free(a), free(inv);
    return u;
}

static double e2m1_value(unsigned code) { return (code & 8u ? -1 : 1) * slow_decode(&slow_e2m1, code & 7u); }

static unsigned e2m1_nearest(double t)
{
    return slow_nearest(&slow_e2m1, fabs(t) > 6 ? 6 : fabs(t)) | (t < 0 ? 8u : 0u);
}

/* e h e^T of one row, in the order of h. */
static double weighted(const double *h, const double *e, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) sum += e[i] * h[i * n + j] * e[j];
    return sum;
}

struct solved { uint8_t *codes, *scales; struct solve_gain gain; };

struct rows_ctx { const float *w; uint32_t cols; };

static bool give_rows(void *ctx, uint64_t first, uint64_t n, float *out, struct error *err)
{
    (void)err;
    const struct rows_ctx *r = ctx;
    memcpy(out, r->w + first * r->cols, n * r->cols * 4);
    return true;
}

static struct solved solve(const struct shape *s, const float *w, struct moments *m, struct pool *pool, uint64_t isa)
{
    struct solved out = {malloc(s->rows * s->cols / 2), malloc(s->rows * s->cols / 16), {.module = "m"}};
    struct gptq_env env = {.math = math_for(isa), .pool = pool, .isa = isa};
    struct solve_choice choice = {.method = SOLVE_GPTQ, .damp = 0.01, .act_order = s->act_order};
    struct gptq_factor f;
    struct rows_ctx ctx = {w, s->cols};
    float amax = 0;
    for (uint32_t i = 0; i < s->rows * s->cols; i++) amax = fmaxf(amax, fabsf(w[i]));
    struct gptq_weights weights = {&ctx, give_rows, s->rows, s->cols, {quant_format_find("nvfp4"), OP_ENCODE_NVFP4, OP_DECODE_NVFP4, SCALES_MAX, {0, 0, 0}, amax, amax / 2688.0f, isa}, SOLVE_GPTQ, 0, NULL};
    struct gptq_result result = {.codes = out.codes, .bytes = out.scales};
    CHECK_OK(gptq_factor_make(&f, m, &choice, &env, e_));
    CHECK_OK(gptq_solve(&weights, &f, &env, &result, &out.gain, e_));
    gptq_factor_close(&f);
    return out;
}

static void drop_solved(struct solved *s) { free(s->codes), free(s->scales); }

static unsigned code_of(const uint8_t *codes, uint64_t i) { return codes[i / 2] >> (i % 2 * 4) & 15u; }

/* What the reference would have before column by column, given the codes that were chosen before: each must be the
 * nearest to it, unless that lies so near a tie that single precision may decide otherwise. Returns the sums of weighted
 * errors of ours, of the reference's own codes and of plain rounding. */
struct sums { double ours, reference, plain; unsigned differ, codes; };

static struct sums compare(const struct shape *s, const struct sample *d, const struct solved *got, size_t number)
{
    uint32_t n = s->cols;
    uint32_t *order = malloc(n * 4);
    double *h = malloc(n * n * 8), *damped = malloc(n * n * 8), mean = 0;
    unsigned live = 0;
    for (uint32_t c = 0; c < n; c++) order[c] = c, mean += d->h[c * n + c], live += d->h[c * n + c] > 0;
    mean /= live;
    for (uint32_t i = 0; s->act_order && i < n; i++) /* by insertion: largest first, ties as they stand */
        for (uint32_t j = i; j > 0; j--) {
            double a = d->h[order[j] * n + order[j]], b = d->h[order[j - 1] * n + order[j - 1]];
            if ((a > 0 ? a : 0) <= b) break;
            uint32_t t = order[j];
            order[j] = order[j - 1], order[j - 1] = t;
        }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            h[i * n + j] = d->h[order[i] * n + order[j]];
            if (i == j && h[i * n + j] == 0) h[i * n + j] = mean;
            damped[i * n + j] = h[i * n + j] + (i == j ? 0.01 * mean : 0);
            if (i == j && d->h[order[i] * n + order[i]] == 0) h[i * n + j] = 0;
        }
    double *u = upper_of_inverse(damped, n), *follow = malloc(n * 8), *own = malloc(n * 8), *e = malloc(n * 8);
    struct sums sums = {0};
    float amax = 0;
    for (uint32_t i = 0; i < s->rows * n; i++) amax = fmaxf(amax, fabsf(d->w[i]));
    for (uint32_t r = 0; r < s->rows; r++) {
        double *e_ours = malloc(n * 8), *e_plain = malloc(n * 8);
        for (uint32_t c = 0; c < n; c++) follow[c] = own[c] = (double)d->w[r * n + order[c]];
        for (uint32_t c = 0; c < n; c++) {
            uint32_t at = order[c];
            struct slow_block b;
            slow_nvfp4_dynamic(&b, d->w + r * n + at / 16 * 16, slow_div(amax, 2688));
            assert_int_equal(got->scales[(r * n + at) / 16], b.scale);
            double step = (double)slow_mul((float)slow_decode(&slow_e4m3, b.scale), slow_div(amax, 2688));
            double w = (double)d->w[r * n + at], t = follow[c] / step;
            unsigned code = code_of(got->codes, r * n + at), nearest = e2m1_nearest(t);
            double low = fabs(e2m1_value(code) - t), best = fabs(e2m1_value(nearest) - t);
            if (low > best + 2e-3) fail_msg("shape %zu, row %u, column %u: code %u for %g", number, r, at, code, t);
            sums.codes++;
            double err = (follow[c] - e2m1_value(code) * step) / u[c * n + c];
            for (uint32_t j = c + 1; j < n; j++) follow[j] -= err * u[c * n + j];
            double q = e2m1_value(e2m1_nearest(own[c] / step)) * step;
            err = (own[c] - q) / u[c * n + c];
            for (uint32_t j = c + 1; j < n; j++) own[j] -= err * u[c * n + j];
            sums.differ += e2m1_nearest(own[c] / step) != code;
            e[c] = w - q;
            e_ours[c] = w - e2m1_value(code) * step;
            e_plain[c] = w - e2m1_value(e2m1_nearest(w / step)) * step;
        }
        sums.ours += weighted(h, e_ours, n), sums.reference += weighted(h, e, n), sums.plain += weighted(h, e_plain, n);
        free(e_ours), free(e_plain);
    }
    free(order), free(h), free(damped), free(u), free(follow), free(own), free(e);
    return sums;
}

static void codes_are_those_of_the_reference(void **unused)
{
    (void)unused;
    for (size_t k = 0; k < N_SHAPES; k++) {
        const struct shape *s = &shapes[k];
        struct sample d = make_sample(s);
        struct moments m = sum_moments(s, d.x, 100, NULL, isa_detected());
        struct solved got = solve(s, d.w, &m, NULL, isa_detected());
        struct sums sums = compare(s, &d, &got, k);
        double n = s->tokens;
        print_message("# %u x %u, %u tokens%s: error %.3f of plain rounding's, reference %.3f; %u of %u codes differ\n", s->rows,
                      s->cols, s->tokens, s->act_order ? ", act_order" : "", sums.ours / sums.plain, sums.reference / sums.plain,
                      sums.differ, sums.codes);
        assert_true(sums.ours <= sums.plain);
        assert_true(sums.ours <= 1.03 * sums.reference);
        if (fabs(got.gain.before * n - sums.plain) > 0.01 * sums.plain + 1e-9 || fabs(got.gain.after * n - sums.ours) > 0.01 * sums.plain)
            fail_msg("shape %zu: reported %g and %g, expected %g and %g", k, got.gain.before, got.gain.after, sums.plain / n, sums.ours / n);
        assert_true(got.gain.damp == 0.01);
        drop_solved(&got);
        moments_close(&m);
        drop_sample(&d);
    }
}

static void threads_and_cpu_do_not_show(void **unused)
{
    (void)unused;
    struct pool *pool;
    CHECK_OK(pool_open(&pool, 3, e_));
    for (size_t k = 1; k < 5; k++) {
        const struct shape *s = &shapes[k];
        struct sample d = make_sample(s);
        struct moments m = sum_moments(s, d.x, 100, NULL, isa_detected());
        struct solved a = solve(s, d.w, &m, NULL, isa_detected()), b = solve(s, d.w, &m, pool, isa_detected()), c = solve(s, d.w, &m, NULL, 0);
        check_bytes(b.codes, a.codes, s->rows * s->cols / 2, "three threads");
        check_bytes(c.codes, a.codes, s->rows * s->cols / 2, "plain C");
        if (a.gain.after != b.gain.after || a.gain.after != c.gain.after || a.gain.before != c.gain.before)
            fail_msg("shape %zu: %.17g %.17g, %.17g %.17g, %.17g %.17g", k, a.gain.before, a.gain.after, b.gain.before, b.gain.after, c.gain.before, c.gain.after);
        assert_true(a.gain.after == b.gain.after && a.gain.after == c.gain.after && a.gain.before == c.gain.before);
        drop_solved(&a), drop_solved(&b), drop_solved(&c);
        moments_close(&m);
        drop_sample(&d);
    }
    pool_close(pool);
}

/* ---- INT4 ---- */

/* In the columns' own order: every code is the nearest to what the published update leaves, near ties aside. */
static void int4_codes_follow(bool zero)
{
    const struct shape s = {9, 96, 400, false, false, 21};
    enum { GROUP = 32 };
    struct sample d = make_sample(&s);
    struct moments m = sum_moments(&s, d.x, 100, NULL, isa_detected());
    struct quant_format format = {.name = "int4", .block_cols = GROUP, .encode_op = zero ? OP_ENCODE_INT4_ZERO : OP_ENCODE_INT4,
                                  .decode_op = zero ? OP_DECODE_INT4_ZERO : OP_DECODE_INT4};
    uint8_t codes[9 * 48], zeros[9 * 3];
    float scales[9 * 3];
    struct gptq_result result = {.codes = codes, .bytes = zero ? zeros : NULL, .floats = scales};
    struct gptq_env env = {.math = math_for(isa_detected()), .isa = isa_detected()};
    struct solve_choice choice = {.method = SOLVE_GPTQ, .damp = 0.01};
    struct gptq_factor f;
    struct solve_gain gain = {.module = "m"};
    struct rows_ctx ctx = {d.w, 96};
    struct gptq_weights w = {&ctx, give_rows, 9, 96, {&format, format.encode_op, format.decode_op, SCALES_MAX, {0, 0, 0}, 1, 0, isa_detected()}, SOLVE_GPTQ, 0, NULL};
    CHECK_OK(gptq_factor_make(&f, &m, &choice, &env, e_));
    CHECK_OK(gptq_solve(&w, &f, &env, &result, &gain, e_));
    assert_true(gain.after < 0.5 * gain.before);
    double mean = 0, *h = malloc(96 * 96 * 8), follow[96];
    for (int c = 0; c < 96; c++) mean += d.h[c * 97] / 96;
    memcpy(h, d.h, 96 * 96 * 8);
    for (int c = 0; c < 96; c++) h[c * 97] += 0.01 * mean;
    double *u = upper_of_inverse(h, 96);
    for (uint32_t r = 0; r < 9; r++) {
        for (uint32_t c = 0; c < 96; c++) follow[c] = (double)d.w[r * 96 + c];
        for (uint32_t c = 0; c < 96; c++) {
            struct slow_int4 g = slow_int4_group(d.w + r * 96 + c / GROUP * GROUP, GROUP, !zero, NULL);
            assert_int_equal(slow_to_bits(scales[r * 3 + c / GROUP]), slow_to_bits(g.scale));
            if (zero) assert_int_equal(zeros[r * 3 + c / GROUP], g.zero);
            int code = (int)code_of(codes, r * 96 + c), low = zero ? -g.zero : -8, high = zero ? 15 - g.zero : 7;
            int is = zero ? code - g.zero : code - (code & 8 ? 16 : 0);
            double t = follow[c] / (double)g.scale;
            if (fabs(is - t) > fabs(slow_integer(t, low, high) - t) + 2e-3) fail_msg("row %u, column %u: %d for %g", r, c, is, t);
            double err = (follow[c] - is * (double)g.scale) / u[c * 97];
            for (uint32_t j = c + 1; j < 96; j++) follow[j] -= err * u[c * 96 + j];
        }
    }
    free(h), free(u);
    gptq_factor_close(&f);
    moments_close(&m);
    drop_sample(&d);
}

static void int4_symmetric(void **unused) { (void)unused; int4_codes_follow(false); }
static void int4_with_zero_points(void **unused) { (void)unused; int4_codes_follow(true); }

/* ---- inputs as they are rounded ---- */

/* W* = W + W D (H + add)^-1 by way of the inverse, in double precision. */
static void target_is_the_least_squares_one(void **unused)
{
    (void)unused;
    const struct shape s = {5, 80, 500, false, false, 31};
    struct sample d = make_sample(&s);
    float *z = malloc(500 * 80 * 4), *got = malloc(5 * 80 * 4);
    for (uint32_t i = 0; i < 500 * 80; i++) { /* both are bf16 numbers, and so is their difference nearly */
        d.x[i] = (float)slow_decode(&slow_bf16, slow_encode(&slow_bf16, (double)d.x[i]));
        z[i] = (float)(round((double)d.x[i] * 2) / 2);
    }
    struct moments m;
    struct moments_env env = {.gemm = gemm_for(isa_detected()), .math = math_for(isa_detected())};
    CHECK_OK(moments_open(&m, 80, true, e_));
    for (uint32_t t = 0; t < 500; t += 50) CHECK_OK(moments_add(&m, &env, d.x + t * 80, z + t * 80, 50, 80, e_));
    CHECK_OK(moments_finish(&m, &env, e_));
    double *h = calloc(80 * 80, 8), *off = calloc(80 * 80, 8), mean = 0;
    for (uint32_t t = 0; t < 500; t++)
        for (uint32_t i = 0; i < 80; i++)
            for (uint32_t j = 0; j < 80; j++) {
                h[i * 80 + j] += (double)z[t * 80 + i] * (double)z[t * 80 + j];
                off[i * 80 + j] += ((double)d.x[t * 80 + i] - (double)z[t * 80 + i]) * (double)z[t * 80 + j];
            }
    for (uint32_t c = 0; c < 80; c++) mean += h[c * 81] / 80;
    for (uint32_t c = 0; c < 80; c++) h[c * 81] += 0.01 * mean;
    struct solve_choice choice = {.method = SOLVE_GPTQ, .damp = 0.01, .act_order = true, .rounded_inputs = true};
    struct gptq_env ge = {.math = math_for(isa_detected()), .isa = isa_detected()};
    struct gptq_factor f;
    CHECK_OK(gptq_factor_make(&f, &m, &choice, &ge, e_));
    assert_non_null(f.target.off);
    float *room[4];
    for (int i = 0; i < 4; i++) room[i] = malloc(128 * 96 * 4);
    struct target_room tr = {room[0], room[1], room[2], room[3], 128, 96};
    memcpy(got, d.w, 5 * 80 * 4);
    target_rows(&f.target, math_for(isa_detected()), got, 5, &tr);
    double *u = upper_of_inverse(h, 80), moved = 0;
    for (uint32_t r = 0; r < 5; r++) {
        double v[80], x[80];
        for (uint32_t c = 0; c < 80; c++) {
            v[c] = 0;
            for (uint32_t k = 0; k < 80; k++) v[c] += (double)d.w[r * 80 + k] * off[k * 80 + c];
        }
        for (uint32_t i = 0; i < 80; i++) { /* u v^T, then u^T of that: the inverse is u^T u */
            x[i] = 0;
            for (uint32_t k = i; k < 80; k++) x[i] += u[i * 80 + k] * v[k];
        }
        for (uint32_t c = 0; c < 80; c++) {
            double want = 0;
            for (uint32_t i = 0; i <= c; i++) want += x[i] * u[i * 80 + c];
            double is = (double)got[r * 80 + c] - (double)d.w[r * 80 + c];
            if (fabs(is - want) > 2e-5 + 0.01 * fabs(want)) fail_msg("[%u, %u] moved by %g, expected %g", r, c, is, want);
            moved += fabs(want);
        }
    }
    assert_true(moved / 400 > 1e-4);
    free(u), free(h), free(off), free(z), free(got);
    for (int i = 0; i < 4; i++) free(room[i]);
    gptq_factor_close(&f);
    moments_close(&m);
    drop_sample(&d);
}

/* ---- moments of no use ---- */

static void plain_when_nothing_was_seen(void **unused)
{
    (void)unused;
    const struct shape s = {3, 32, 0, false, false, 9};
    struct sample d = make_sample(&(struct shape){3, 32, 1, false, false, 9});
    struct moments m = sum_moments(&s, d.x, 1, NULL, isa_detected());
    struct solved got = solve(&s, d.w, &m, NULL, isa_detected());
    float amax = 0;
    for (int i = 0; i < 96; i++) amax = fmaxf(amax, fabsf(d.w[i]));
    assert_true(got.gain.damp == 0);
    for (int b = 0; b < 6; b++) {
        struct slow_block want;
        slow_nvfp4_dynamic(&want, d.w + 16 * b, slow_div(amax, 2688));
        assert_int_equal(got.scales[b], want.scale);
        check_bytes(got.codes + 8 * b, want.packed, 8, "plain rounding");
    }
    drop_solved(&got);
    moments_close(&m);
    drop_sample(&d);
}

/* Pairs of columns whose product is a little larger than it can be: no sum of squares, but rounding errors are alike. */
static double damp_for(float off)
{
    const struct shape s = {2, 16, 0, false, false, 3};
    struct sample d = make_sample(&(struct shape){2, 16, 1, false, false, 3});
    struct moments m = sum_moments(&s, d.x, 1, NULL, isa_detected());
    m.n_rows = 1;
    for (int i = 0; i < 16; i++) m.sum[i * 16 + i] = 1;
    for (int i = 1; i < 16; i += 2) m.sum[i * 16 + i - 1] = off;
    struct solved got = solve(&s, d.w, &m, NULL, isa_detected());
    double damp = got.gain.damp;
    drop_solved(&got);
    moments_close(&m);
    drop_sample(&d);
    return damp;
}

static void damping_rises_until_it_helps(void **unused)
{
    (void)unused;
    assert_true(fabs(damp_for(0.5f) - 0.01) < 1e-12);
    assert_true(fabs(damp_for(1.05f) - 0.1) < 1e-12);
    assert_true(fabs(damp_for(1.5f) - 1) < 1e-12);
    assert_true(damp_for(3) == 0); /* and then weights are rounded */
}

/* R R^T is the matrix, in its order and with what was added. */
static void factor_multiplies_back(void **unused)
{
    (void)unused;
    const struct shape s = {1, 304, 500, false, false, 11};
    struct sample d = make_sample(&s);
    struct moments m = sum_moments(&s, d.x, 500, NULL, isa_detected());
    uint32_t order[304];
    for (uint32_t i = 0; i < 304; i++) order[i] = (i * 7 + 3) % 304;
    struct factor f;
    bool definite;
    double add = 0.5 * d.h[0], *r = calloc(304 * 304, 8), worst = 0;
    CHECK_OK(factor_make(&f, m.sum, 304, order, add, math_for(isa_detected()), NULL, &definite, e_));
    assert_true(definite);
    for (uint32_t c = 0; c < 304; c++) {
        for (uint32_t k = 0; k < c; k++)
            r[k * 304 + c] = (double)factor_panel(&f, c / 32 * 32)[k * 32 + c % 32] * (double)f.diagonal[c];
        r[c * 304 + c] = (double)f.diagonal[c];
    }
    for (uint32_t i = 0; i < 304; i++)
        for (uint32_t j = 0; j < 304; j++) {
            double sum = 0, want = d.h[order[i] * 304 + order[j]] + (i == j ? add : 0);
            for (uint32_t k = 0; k < 304; k++) sum += r[i * 304 + k] * r[j * 304 + k];
            double off = fabs(sum - want) / sqrt(d.h[order[i] * 305] * d.h[order[j] * 305]);
            if (off > worst) worst = off;
        }
    if (worst > 1e-5) fail_msg("R R^T is off by %g of its diagonal", worst);
    factor_close(&f);
    free(r);
    moments_close(&m);
    drop_sample(&d);
}

int main(void)
{
    slow_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_the_sum),        cmocka_unit_test(moments_do_not_depend_on_the_cut),
        cmocka_unit_test(factor_multiplies_back),     cmocka_unit_test(codes_are_those_of_the_reference),
        cmocka_unit_test(threads_and_cpu_do_not_show), cmocka_unit_test(plain_when_nothing_was_seen),
        cmocka_unit_test(damping_rises_until_it_helps),
        cmocka_unit_test(int4_symmetric),              cmocka_unit_test(int4_with_zero_points),
        cmocka_unit_test(target_is_the_least_squares_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
