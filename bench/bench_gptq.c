/* GPTQ of one linear: second moments of its inputs, their factor, and the codes. Arguments: THREADS (default all), ROWS
 * COLS TOKENS (4096 4096 262144, which is 128 texts of 2048), and of these the share of tokens that is really run (8:
 * one in eight; their time is multiplied). bench/peer_gptq.py does the same with torch. */
#include "backends/cpu/kernel.h"
#include "calibrate/factor.h"
#include "calibrate/gptq.h"
#include "core/cleanup.h"
#include "core/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CALL_ROWS 2048u

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t state = 1;
static float uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(state >> 11) / (double)(1ull << 53) - 0.5);
}

struct rows_ctx {
    const float *w;
    uint64_t cols;
};

static bool give_rows(void *ctx, uint64_t first, uint64_t n, float *out, struct error *err)
{
    (void)err;
    const struct rows_ctx *r = ctx;
    memcpy(out, r->w + first * r->cols, n * r->cols * sizeof *out);
    return true;
}

static bool run(uint64_t rows, uint64_t cols, uint64_t tokens, uint64_t share, struct pool *pool, struct error *err)
{
    uint64_t isa = isa_detected();
    CLEANUP(free) float *x = NULL;
    CLEANUP(free) float *w = NULL;
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *scales = NULL;
    if (!memory_alloc(&x, CALL_ROWS * cols, sizeof *x, err) || !memory_alloc(&w, rows * cols, sizeof *w, err) ||
        !memory_alloc(&codes, rows * cols, 1, err) || !memory_alloc(&scales, rows * cols, 1, err))
        return false;
    /* Neighbours depend on each other. */
    for (uint64_t i = 0; i < CALL_ROWS * cols; i++) x[i] = uniform() + (i % cols ? 0.7f * x[i - 1] : 0);
    for (uint64_t i = 0; i < rows * cols; i++) w[i] = 0.1f * uniform();
    struct moments m;
    struct moments_env me = {.gemm = gemm_for(isa), .math = math_for(isa), .pool = pool};
    if (!moments_open(&m, cols, false, err)) return false;
    double t0 = seconds(), c0 = cpu_seconds();
    for (uint64_t t = 0; t < tokens / share; t += CALL_ROWS)
        if (!moments_add(&m, &me, x, NULL, CALL_ROWS, cols, err)) return false;
    if (!moments_finish(&m, &me, err)) return false;
    double t1 = seconds(), c1 = cpu_seconds();
    struct gptq_env env = {.math = math_for(isa), .pool = pool, .isa = isa};
    struct solve_choice choice = {.method = SOLVE_GPTQ, .damp = 0.01};
    struct gptq_factor f;
    if (!gptq_factor_make(&f, &m, &choice, &env, err)) return false;
    double t2 = seconds(), c2 = cpu_seconds();
    struct rows_ctx ctx = {w, cols};
    struct solve_gain gain = {.module = "bench"};
    const struct quant_format *format = quant_format_find("nvfp4");
    struct grid grid = {.format = format,
                        .encode = quant_format_encoder(format, false),
                        .decode = quant_format_decoder(format, false),
                        .scales = SCALES_MAX,
                        .group_amax = 0.05f,
                        .tensor_scale = 0.05f / 2688.0f,
                        .isa = isa};
    struct gptq_weights weights = {
        .ctx = &ctx, .rows = give_rows, .n_rows = rows, .cols = cols, .grid = grid, .method = SOLVE_GPTQ};
    struct gptq_result result = {.codes = codes, .bytes = scales};
    if (!gptq_solve(&weights, &f, &env, &result, &gain, err)) return false;
    double t3 = seconds(), c3 = cpu_seconds(), k = (double)share;
    double flops = (double)tokens * (double)cols * (double)cols; /* half of the full product's */
    printf("moments of %llu tokens  %7.2f s (cpu %7.2f), %.0f GFLOP/s of the triangle\n", (unsigned long long)tokens,
           k * (t1 - t0), k * (c1 - c0), flops / (k * (t1 - t0)) / 1e9);
    printf("factor                  %7.2f s (cpu %7.2f)\n", t2 - t1, c2 - c1);
    printf("codes                   %7.2f s (cpu %7.2f), error %.3f of max's\n", t3 - t2, c3 - c2,
           gain.after / gain.before);
    printf("all                     %7.2f s (cpu %7.2f)\n", k * (t1 - t0) + t3 - t1, k * (c1 - c0) + c3 - c1);
    gptq_factor_close(&f);
    moments_close(&m);
    return true;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct pool *pool;
    uint64_t v[5] = {0, 4096, 4096, 262144, 8};
    for (int i = 1; i < argc && i < 6; i++) v[i - 1] = strtoull(argv[i], NULL, 10);
    if (!pool_open(&pool, (uint32_t)v[0], &err) || !run(v[1], v[2], v[3], v[4] ? v[4] : 1, pool, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    pool_close(pool);
    return 0;
}
