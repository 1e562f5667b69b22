/* engine/scan: chunks of matrix products against the recurrence as it is written, token by token in double; the same bits
 * in any pieces, batch, threads and instruction set. */
#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "engine/scan.h"
#include "tests/checks.h"

#include <math.h>

/* How the heads of a case forget: between exp(-1e-5) and exp(-800) = 0 per token. */
enum memory { LONG, MIDDLE, QUICK, MIXED, MEMORY_COUNT };

struct shape { uint32_t n_heads, n_groups, key_dim, value_dim; };

struct problem {
    struct shape shape;
    bool delta;
    uint32_t n;
    uint64_t k_stride, v_stride, h_stride;      /* wider than the rows: what lies between must not matter */
    float *k, *q, *v, *decay, *weight, *skip;
};

static double uniform(uint64_t *seed) { return (double)(check_random(seed) >> 11) * 0x1p-53; }

static float *numbers(uint64_t n, uint64_t *seed)
{
    float *p = malloc((n + 1) * sizeof *p);
    if (!p) fail_msg("no memory");
    for (uint64_t i = 0; i < n; i++) p[i] = (float)(2 * uniform(seed) - 1);
    return p;
}

/* Rows of keys to length 1; every other key is close to the one before it, so that the triangular system matters. */
static void make_keys(const struct problem *p, float *k)
{
    for (uint32_t t = 0; t < p->n; t++)
        for (uint32_t g = 0; g < p->shape.n_groups; g++) {
            float *row = k + t * p->k_stride + g * p->shape.key_dim;
            double length = 1e-12;
            for (uint32_t i = 0; i < p->shape.key_dim; i++) {
                if (t % 2) row[i] = row[i] * 0.1f + *(row + i - p->k_stride);
                length += (double)row[i] * (double)row[i];
            }
            for (uint32_t i = 0; i < p->shape.key_dim; i++) row[i] = (float)((double)row[i] / sqrt(length));
        }
}

static struct problem problem_new(struct shape shape, bool delta, uint32_t n, enum memory memory, uint64_t seed)
{
    struct problem p = {.shape = shape, .delta = delta, .n = n, .k_stride = shape.n_groups * shape.key_dim + 3,
                        .v_stride = shape.n_heads * shape.value_dim + 5, .h_stride = shape.n_heads + 1};
    p.k = numbers(n * p.k_stride, &seed);
    p.q = numbers(n * p.k_stride, &seed);
    p.v = numbers(n * p.v_stride, &seed);
    p.decay = numbers(n * p.h_stride, &seed);
    p.weight = numbers(n * p.h_stride, &seed);
    p.skip = numbers(shape.n_heads, &seed);
    if (delta) make_keys(&p, p.k);
    for (uint64_t i = 0; i < n * p.h_stride; i++) {
        enum memory m = memory == MIXED ? (enum memory)(i % p.h_stride % 3) : memory;
        double dt = m == LONG ? 3e-4 : m == QUICK ? 50 * uniform(&seed) : pow(10, 4 * uniform(&seed) - 3);
        double a = m == LONG ? -0.05 : m == QUICK ? -16 : -1;
        p.decay[i] = (float)exp(dt * a);
        p.weight[i] = delta ? (float)uniform(&seed) : (float)dt;
    }
    return p;
}

static void problem_free(struct problem *p)
{
    free(p->k), free(p->q), free(p->v), free(p->decay), free(p->weight), free(p->skip);
}

static struct scan scan_of(const struct problem *p, const struct math_ops *math, struct pool *pool)
{
    return (struct scan){.math = math, .pool = pool, .n_heads = p->shape.n_heads, .n_groups = p->shape.n_groups,
                         .key_dim = p->shape.key_dim, .value_dim = p->shape.value_dim, .delta = p->delta,
                         .skip = p->delta ? NULL : p->skip};
}

static struct scan_piece piece_of(const struct problem *p, uint32_t first, uint32_t n, float *o, struct scan_state *state)
{
    return (struct scan_piece){.n = n, .first = first, .keep = true, .k = p->k + first * p->k_stride, .q = p->q + first * p->k_stride,
                               .v = p->v + first * p->v_stride, .decay = p->decay + first * p->h_stride,
                               .weight = p->weight + first * p->h_stride, .o = o + first * p->v_stride, .k_stride = p->k_stride,
                               .q_stride = p->k_stride, .v_stride = p->v_stride, .decay_stride = p->h_stride,
                               .weight_stride = p->h_stride, .o_stride = p->v_stride, .state = state};
}

static uint64_t state_floats(const struct problem *p) { return (uint64_t)p->shape.n_heads * p->shape.key_dim * p->shape.value_dim; }

/* The specification: one head, one token after the other. `size` and `size_state` follow the same recurrence with
 * magnitudes: what rounding errors are relative to. */
struct truth { double *state, *size_state, *o, *size; };

static void truth_head(const struct problem *p, uint32_t head, struct truth *r)
{
    uint64_t kd = p->shape.key_dim, vd = p->shape.value_dim, group = head / (p->shape.n_heads / p->shape.n_groups);
    const double skip = (double)p->skip[head];
    double *s = r->state + head * kd * vd, *z = r->size_state + head * kd * vd;
    for (uint64_t t = 0; t < p->n; t++) {
        const float *k = p->k + t * p->k_stride + group * kd, *q = p->q + t * p->k_stride + group * kd;
        const float *v = p->v + t * p->v_stride + head * vd;
        double d = (double)p->decay[t * p->h_stride + head], w = (double)p->weight[t * p->h_stride + head];
        for (uint64_t j = 0; j < vd; j++) {
            double u = (double)v[j], size_u = fabs(u), o = 0, size = 0;
            for (uint64_t i = 0; i < kd; i++) {
                const double ki = (double)k[i];
                s[i * vd + j] *= d;
                z[i * vd + j] *= d;
                if (p->delta) u -= s[i * vd + j] * ki, size_u += z[i * vd + j] * fabs(ki) / sqrt((double)kd);
            }
            for (uint64_t i = 0; i < kd; i++) {
                const double ki = (double)k[i], qi = (double)q[i];
                s[i * vd + j] += ki * w * u;
                z[i * vd + j] += fabs(ki) * w * (p->delta ? fmin(size_u, 4) : size_u);
                o += s[i * vd + j] * qi;
                size += z[i * vd + j] * fabs(qi);
            }
            if (!p->delta) o += skip * (double)v[j], size += fabs(skip * (double)v[j]);
            r->o[t * p->v_stride + head * vd + j] = o;
            r->size[t * p->v_stride + head * vd + j] = size;
        }
    }
}

static struct truth truth_of(const struct problem *p)
{
    struct truth r = {calloc(state_floats(p), sizeof(double)), calloc(state_floats(p), sizeof(double)),
                      calloc(p->n * p->v_stride, sizeof(double)), calloc(p->n * p->v_stride, sizeof(double))};
    if (!r.state || !r.size_state || !r.o || !r.size) fail_msg("no memory");
    for (uint32_t h = 0; h < p->shape.n_heads; h++) truth_head(p, h, &r);
    return r;
}

static void truth_free(struct truth *r) { free(r->state), free(r->size_state), free(r->o), free(r->size); }

/* Outputs [n, v_stride] and the last state. `cut` 0: one piece, else pieces of at most that many tokens. */
static void run(const struct problem *p, const struct math_ops *math, struct pool *pool, uint32_t cut, float *o, float *state)
{
    struct scan s = scan_of(p, math, pool);
    struct scan_state st = {0};
    uint64_t seed = cut;
    for (uint32_t at = 0; at < p->n;) {
        uint32_t n = cut == 0 ? p->n : cut == 1 ? 1 : 1 + (uint32_t)(check_random(&seed) % cut);
        if (n > p->n - at) n = p->n - at;
        struct scan_piece piece = piece_of(p, at, n, o, &st);
        CHECK_OK(scan_run(&s, &piece, 1, e_));
        at += n;
    }
    CHECK_OK(scan_export(&s, &st, p->n, state, e_));
    scan_state_close(&st);
}

static double worst;

static void near(double got, double want, double size, uint32_t n, const char *what, uint64_t at)
{
    /* A term goes through two chains of 64 products, one of key_dim, and two roundings per chunk, most of which cancel;
     * the worst of these cases uses 0.4 of the limit. */
    double limit = (64 + n / 64.0) * 0x1p-24 * size + 1e-30, error = fabs(got - want);
    if (size > 0 && error / limit > worst) worst = error / limit;
    if (!(error <= limit)) fail_msg("%s: value %llu is %.9g, expected %.9g, limit %.2g", what, (unsigned long long)at, got, want, limit);
}

static void check_truth(const struct problem *p, const char *what)
{
    struct truth r = truth_of(p);
    float *o = numbers(p->n * p->v_stride, &(uint64_t){1}), *state = numbers(state_floats(p), &(uint64_t){2});
    uint64_t width = (uint64_t)p->shape.n_heads * p->shape.value_dim, kd = p->shape.key_dim, vd = p->shape.value_dim;
    run(p, math_for(isa_detected()), NULL, 0, o, state);
    for (uint64_t t = 0; t < p->n; t++)
        for (uint64_t j = 0; j < width; j++)
            near((double)o[t * p->v_stride + j], r.o[t * p->v_stride + j], r.size[t * p->v_stride + j], p->n, what, t * width + j);
    for (uint64_t h = 0; h < p->shape.n_heads; h++)
        for (uint64_t i = 0; i < kd; i++)
            for (uint64_t j = 0; j < vd; j++)
                near((double)state[h * kd * vd + (p->delta ? i * vd + j : j * kd + i)], r.state[h * kd * vd + i * vd + j],
                     r.size_state[h * kd * vd + i * vd + j], p->n, "state", i * vd + j);
    free(o), free(state);
    truth_free(&r);
}

static const struct shape shapes[] = {{1, 1, 1, 1}, {2, 1, 16, 16}, {6, 2, 16, 40}, {4, 4, 33, 8}, {3, 1, 128, 64}, {4, 2, 24, 100}};
static const uint32_t lengths[] = {1, 2, 15, 17, 63, 64, 65, 128, 200, 321};

static void check_shapes(bool delta)
{
    uint64_t seed = delta ? 100 : 1;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++)
            for (int m = 0; m < MEMORY_COUNT; m++) {
                struct problem p = problem_new(shapes[i], delta, lengths[j], (enum memory)m, seed++);
                char what[120];
                snprintf(what, sizeof what, "delta %d shape %zu length %u memory %d", delta, i, lengths[j], m);
                check_truth(&p, what);
                problem_free(&p);
            }
    struct problem p = problem_new((struct shape){2, 1, 16, 8}, delta, 5000, LONG, seed);   /* 80 chunks of long memory */
    check_truth(&p, "a long text");
    problem_free(&p);
    p = problem_new((struct shape){8, 8, 128, 40}, delta, 1500, MIXED, seed); /* more than a round of scan_run */
    check_truth(&p, "several rounds");
    problem_free(&p);
    print_message("worst error: %.3f of its limit\n", worst);
}

static void test_mamba_truth(void **state) { (void)state; check_shapes(false); }
static void test_delta_truth(void **state) { (void)state; check_shapes(true); }

static void same_bits(const struct problem *p, const float *got, const float *want, const float *got_state, const float *want_state, const char *what)
{
    for (uint64_t t = 0; t < p->n; t++)
        check_bytes(got + t * p->v_stride, want + t * p->v_stride, p->shape.n_heads * p->shape.value_dim * sizeof *got, what);
    check_bytes(got_state, want_state, state_floats(p) * sizeof *got_state, "state");
}

static void check_pieces(bool delta)
{
    static const uint32_t cuts[] = {1, 2, 5, 40, 64, 100, 300};
    static const uint64_t isas[] = {0, ISA_AVX2, ISA_AVX2 | ISA_AVX512};
    for (size_t i = 1; i < sizeof shapes / sizeof *shapes; i++) {
        struct problem p = problem_new(shapes[i], delta, 333, MIXED, 50 + i);
        float *want = numbers(p.n * p.v_stride, &(uint64_t){1}), *got = numbers(p.n * p.v_stride, &(uint64_t){2});
        float *want_state = numbers(state_floats(&p), &(uint64_t){3}), *got_state = numbers(state_floats(&p), &(uint64_t){4});
        run(&p, math_tables[0], NULL, 0, want, want_state);
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
            run(&p, math_for(isa_detected()), NULL, cuts[c], got, got_state);
            same_bits(&p, got, want, got_state, want_state, "pieces");
        }
        for (uint32_t k = 0; k < 3; k++) {
            if ((isas[k] & isa_detected()) != isas[k]) continue;
            for (uint32_t threads = 1; threads <= 3; threads++) {
                struct pool *pool;
                CHECK_OK(pool_open(&pool, threads, e_));
                run(&p, math_for(isas[k]), pool, threads == 2 ? 90 : 0, got, got_state);
                same_bits(&p, got, want, got_state, want_state, isa_name(isas[k]));
                pool_close(pool);
            }
        }
        free(want), free(got), free(want_state), free(got_state);
        problem_free(&p);
    }
}

/* A call of several rounds against calls that fit into one. */
static void check_rounds(bool delta)
{
    struct problem p = problem_new((struct shape){8, 8, 128, 8}, delta, 1500, MIXED, 77);
    float *want = numbers(p.n * p.v_stride, &(uint64_t){1}), *got = numbers(p.n * p.v_stride, &(uint64_t){2});
    float *want_state = numbers(state_floats(&p), &(uint64_t){3}), *got_state = numbers(state_floats(&p), &(uint64_t){4});
    run(&p, math_for(isa_detected()), NULL, 300, want, want_state);
    run(&p, math_for(isa_detected()), NULL, 0, got, got_state);
    same_bits(&p, got, want, got_state, want_state, "rounds");
    free(want), free(got), free(want_state), free(got_state);
    problem_free(&p);
}

static void test_rounds(void **state)
{
    (void)state;
    check_rounds(false);
    check_rounds(true);
}

static void test_mamba_pieces(void **state) { (void)state; check_pieces(false); }
static void test_delta_pieces(void **state) { (void)state; check_pieces(true); }

/* Texts that end in the call keep nothing; texts of several lengths side by side. */
static void test_batch(void **state)
{
    (void)state;
    static const uint32_t first[] = {0, 100, 164, 170};
    for (int delta = 0; delta < 2; delta++) {
        struct problem p = problem_new(shapes[2], delta, 333, MIXED, 9);
        struct scan s = scan_of(&p, math_for(isa_detected()), NULL);
        float *want = numbers(p.n * p.v_stride, &(uint64_t){1}), *got = numbers(p.n * p.v_stride, &(uint64_t){2});
        struct scan_state alone[4] = {{0}}, together[4] = {{0}};
        struct scan_piece pieces[4];
        for (int i = 0; i < 4; i++) {
            uint32_t end = i == 3 ? p.n : first[i + 1];
            for (int k = 0; k < 2; k++) {
                struct scan_piece piece = piece_of(&p, first[i], end - first[i], k ? got : want, k ? &together[i] : &alone[i]);
                piece.first = 0;
                piece.keep = k == 0 || i == 2;
                if (k == 0) CHECK_OK(scan_run(&s, &piece, 1, e_));
                else pieces[i] = piece;
            }
        }
        CHECK_OK(scan_run(&s, pieces, 4, e_));
        for (uint64_t t = 0; t < p.n; t++)
            check_bytes(got + t * p.v_stride, want + t * p.v_stride, p.shape.n_heads * p.shape.value_dim * sizeof *got, "batch");
        assert_null(together[0].open);
        assert_non_null(together[2].open);
        CHECK_OK(scan_run(&s, NULL, 0, e_));
        for (int i = 0; i < 4; i++) scan_state_close(&alone[i]), scan_state_close(&together[i]);
        free(want), free(got);
        problem_free(&p);
    }
}

/* By hand: one head, one key, one value, q = k = 1. */
static void test_by_hand(void **state)
{
    (void)state;
    const float one[3] = {1, 1, 1}, v[3] = {1, 2, 4}, decay[3] = {0.5f, 0.5f, 0}, weight[3] = {1, 0.5f, 0.25f}, skip = 2;
    for (int delta = 0; delta < 2; delta++) {
        struct scan s = {.math = math_tables[0], .n_heads = 1, .n_groups = 1, .key_dim = 1, .value_dim = 1, .delta = delta,
                         .skip = delta ? NULL : &skip};
        struct scan_state st = {0};
        float o[3], end;
        struct scan_piece p = {.n = 3, .keep = true, .k = one, .q = one, .v = v, .decay = decay, .weight = weight, .o = o, .k_stride = 1,
                               .q_stride = 1, .v_stride = 1, .decay_stride = 1, .weight_stride = 1, .o_stride = 1, .state = &st};
        CHECK_OK(scan_run(&s, &p, 1, e_));
        CHECK_OK(scan_export(&s, &st, 3, &end, e_));
        /* Mamba: S = 1; 0.5 + 1 = 1.5; 0 + 1 = 1. Delta: S = 1; 0.5 + 0.5 (2 - 0.5) = 1.25; 0 + 0.25 * 4 = 1. */
        const float want[2][3] = {{1 + 2, 1.5f + 4, 1 + 8}, {1, 1.25f, 1}};
        for (int t = 0; t < 3; t++) assert_true(o[t] == want[delta][t]);
        assert_true(end == 1);
        scan_state_close(&st);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_hand), cmocka_unit_test(test_mamba_truth), cmocka_unit_test(test_delta_truth),
                                       cmocka_unit_test(test_mamba_pieces), cmocka_unit_test(test_delta_pieces), cmocka_unit_test(test_rounds),
                                       cmocka_unit_test(test_batch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
