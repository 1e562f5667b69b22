/* Speed of engine/scan on published shapes, and of one block of a checkpoint: time per token of a text of 2048 and of
 * 16384 tokens, and token by token.
 *     build/release/bench/bench_scan [-t THREADS] [CHECKPOINT [bf16]]
 * bench/peer_scan.py runs it beside transformers on the same weights. */
#include "backends/cpu/kernel.h"
#include "core/cleanup.h"
#include "core/memory.h"
#include "engine/engine.h"
#include "engine/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHORT 2048u
#define LONG 16384u

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct arrays {
    float *k, *q, *v, *decay, *weight, *o;
};

static bool arrays_fill(struct arrays *a, const struct scan *s, uint64_t n, struct error *err)
{
    uint64_t keys = n * s->n_groups * s->key_dim, values = n * s->n_heads * s->value_dim, heads = n * s->n_heads;
    if (!memory_alloc(&a->k, keys, sizeof(float), err) || !memory_alloc(&a->q, keys, sizeof(float), err) ||
        !memory_alloc(&a->v, values, sizeof(float), err) || !memory_alloc(&a->o, values, sizeof(float), err) ||
        !memory_alloc(&a->decay, heads, sizeof(float), err) || !memory_alloc(&a->weight, heads, sizeof(float), err))
        return false;
    uint32_t r = 1;
    for (uint64_t i = 0; i < keys; i++) {
        a->k[i] = (float)((r = r * 1664525u + 1013904223u) >> 8) * 0x1p-27f; /* of length below 1 */
        a->q[i] = (float)((r = r * 1664525u + 1013904223u) >> 8) * 0x1p-24f - 0.5f;
    }
    for (uint64_t i = 0; i < values; i++) a->v[i] = (float)((r = r * 1664525u + 1013904223u) >> 8) * 0x1p-24f - 0.5f;
    for (uint64_t i = 0; i < heads; i++) {
        a->decay[i] = 1 - (float)(i % s->n_heads + 1) / (float)(s->n_heads + 1) * 0.5f;
        a->weight[i] = 0.1f;
    }
    return true;
}

/* Seconds for n tokens in pieces. */
static double run_s(const struct scan *s, const struct arrays *a, uint32_t n, uint32_t piece, struct error *err)
{
    struct scan_state state = {0};
    uint64_t keys = (uint64_t)s->n_groups * s->key_dim, values = (uint64_t)s->n_heads * s->value_dim;
    double start = now_s();
    for (uint32_t t = 0; t < n; t += piece) {
        uint32_t m = n - t < piece ? n - t : piece;
        struct scan_piece p = {.n = m,
                               .first = t,
                               .keep = t + m < n,
                               .k = a->k + t * keys,
                               .q = a->q + t * keys,
                               .v = a->v + t * values,
                               .decay = a->decay + (uint64_t)t * s->n_heads,
                               .weight = a->weight + (uint64_t)t * s->n_heads,
                               .o = a->o + t * values,
                               .k_stride = keys,
                               .q_stride = keys,
                               .v_stride = values,
                               .decay_stride = s->n_heads,
                               .weight_stride = s->n_heads,
                               .o_stride = values,
                               .state = &state};
        if (!scan_run(s, &p, 1, err)) exit(1);
    }
    double seconds = now_s() - start;
    scan_state_close(&state);
    return seconds;
}

static void keep_best(double *best, double us)
{
    if (us < *best) *best = us;
}

static void bench(const char *name, struct scan s, struct error *err)
{
    struct arrays a = {0};
    if (!arrays_fill(&a, &s, LONG, err)) exit(1);
    double small = 1e9, large = 1e9, one = 1e9;
    for (int i = 0; i < 5; i++) { /* in turn, because other jobs come and go */
        for (int k = 0; k < 4; k++) keep_best(&small, run_s(&s, &a, SHORT, SHORT, err) / SHORT * 1e6);
        keep_best(&large, run_s(&s, &a, LONG, SHORT, err) / LONG * 1e6);
        keep_best(&one, run_s(&s, &a, 512, 1, err) / 512 * 1e6);
    }
    printf("%-12s scan: %7.2f us/token at 2048, %7.2f at 16384 (x %.2f), %7.2f one by one\n", name, small, large,
           large / small, one);
    float *all[] = {a.k, a.q, a.v, a.decay, a.weight, a.o};
    for (int i = 0; i < 6; i++) free(all[i]);
}

/* Block 0 of a checkpoint on one text of n tokens: microseconds per token. */
static double block_us(struct engine *e, const uint32_t *ids, uint32_t n, struct error *err)
{
    struct stream *s;
    if (!stream_open(&s, e, &(struct text_ids){ids, n}, 1, NULL, err)) return -1;
    double start = now_s();
    bool ok = stream_block(s, 0, NULL, NULL, err);
    double us = (now_s() - start) / n * 1e6;
    stream_close(s);
    return ok ? us : -1;
}

static int bench_checkpoint(const char *path, enum compute compute, struct pool *pool, struct error *err)
{
    struct model m;
    struct engine *e;
    const struct engine_options o = {.pool = pool, .isa = isa_detected(), .compute = compute};
    if (!model_open(&m, path, err) || !engine_open(&e, m.inventory, &o, err)) {
        fprintf(stderr, "%s\n", err->text);
        return 1;
    }
    double small = 1e9, large = 1e9;
    static uint32_t ids[LONG];
    for (uint32_t i = 0; i < LONG; i++) ids[i] = i * 7919u % 251;
    for (int i = 0; i < 3 && large > 0; i++) {
        keep_best(&small, block_us(e, ids, SHORT, err));
        keep_best(&small, block_us(e, ids, SHORT, err));
        keep_best(&large, block_us(e, ids, LONG, err));
    }
    if (large < 0) fprintf(stderr, "%s\n", err->text);
    else printf("block: %.2f us/token at 2048, %.2f at 16384\n", small, large);
    engine_close(e);
    model_close(&m);
    return large < 0;
}

int main(int argc, char **argv)
{
    uint32_t threads = 0;
    if (argc > 2 && strcmp(argv[1], "-t") == 0) {
        threads = (uint32_t)atoi(argv[2]);
        argc -= 2, argv += 2;
    }
    struct error err = ERROR_INIT;
    struct pool *pool;
    if (!pool_open(&pool, threads, &err)) return 1;
    const struct math_ops *math = math_for(isa_detected());
    if (argc > 1) {
        enum compute compute = argc > 2 && strcmp(argv[2], "bf16") == 0 ? COMPUTE_BF16 : COMPUTE_FP32;
        int status = bench_checkpoint(argv[1], compute, pool, &err);
        pool_close(pool);
        return status;
    }
    printf("%s, %u threads\n", math->name, pool_threads(pool));
    static float skip[64];
    /* Nemotron 3 Nano 30B; Qwen3-Next. */
    bench("nemotron_h",
          (struct scan){math, pool, .n_heads = 64, .n_groups = 8, .key_dim = 128, .value_dim = 64, .skip = skip}, &err);
    bench("qwen3_next",
          (struct scan){math, pool, .n_heads = 32, .n_groups = 16, .key_dim = 128, .value_dim = 128, .delta = true},
          &err);
    pool_close(pool);
    return 0;
}
