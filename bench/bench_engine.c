/* Tokens per second of a checkpoint: a prompt, then one token after the other, as `ingot generate` runs them.
 * usage: bench_engine DIR [PROMPT TOKENS [NEW TOKENS [THREADS [fp32|bf16]]]]; without DIR it says so and ends. The
 * ratio to other programs on the same machine: bench/race.py. */
#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "engine/footprint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct bench {
    struct model model;
    struct pool *pool;
    uint32_t *ids, n_prompt, n_new;
    float *logits;
    uint8_t *read_from; /* READS * READ_BYTES */
    uint32_t n_reads;
    double *gbs, *read_gbs, *ratio; /* [n_new] */
};

#define WARM_UP 16u

/* What memory gives: each thread reads its half from one end to the other. In turn with the tokens, since machines that
 * are shared change from second to second. */
#define READ_BYTES (512u << 20)
#define READ_CHUNK (1u << 20)
#define READS 4u /* stretches of that size, in turn: more than caches of any kind hold */
static volatile uint64_t sink;

typedef uint64_t lanes __attribute__((vector_size(64)));

static inline __attribute__((always_inline)) void read_all(const lanes *p)
{
    lanes s = {0}, t = {0};
    for (uint64_t k = 0; k < READ_CHUNK / sizeof *p; k += 4) s |= p[k] | p[k + 2], t |= p[k + 1] | p[k + 3];
    s |= t;
    sink = s[0] | s[7];
}

#if defined(__x86_64__)
/* Loads of whole lines: more of them are on their way at a time. */
static __attribute__((target("avx512f"))) void read_wide(const lanes *p)
{
    read_all(p);
}
#else
#define read_wide read_all
#endif

static bool wide; /* asking the CPU takes as long as reading the chunk, under a hypervisor */

static void read_chunk(void *ctx, uint64_t i, uint32_t worker)
{
    (void)worker;
    const lanes *p = (const lanes *)(const void *)((const uint8_t *)ctx + i * READ_CHUNK);
    if (wide) read_wide(p);
    else read_all(p);
}

static double read_s(struct bench *b)
{
    const uint8_t *from = b->read_from + b->n_reads++ % READS * READ_BYTES;
    double s = now_s();
    pool_for_near(b->pool, READ_BYTES / READ_CHUNK, read_chunk, (void *)(uintptr_t)from);
    return now_s() - s;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *v, uint32_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

/* A few tokens to warm up, the prompt, then token by token. */
static bool measure(struct bench *b, enum compute compute, struct error *err)
{
    CLEANUP(engine) struct engine *e = NULL;
    CLEANUP(session) struct session *s = NULL;
    struct engine_options o = {.pool = b->pool, .isa = isa_detected(), .compute = compute, .quantize_inputs = true};
    double load = now_s();
    if (!engine_open(&e, b->model.inventory, &o, err) || !session_open(&s, e, err)) return false;
    load = now_s() - load;
    if (!session_feed(s, b->ids, WARM_UP, b->logits, err)) return false;
    double prefill = now_s();
    if (!session_feed(s, b->ids, b->n_prompt, b->logits, err)) return false;
    prefill = now_s() - prefill;
    struct session_footprint f;
    if (!session_footprint(&f, e, 1, err)) return false;
    double decode = 0, before = read_s(b);
    for (uint32_t i = 0; i < b->n_new; i++) {
        double t = now_s();
        if (!session_feed(s, b->ids + i, 1, b->logits, err)) return false;
        t = now_s() - t;
        double after = read_s(b);
        decode += t;
        b->gbs[i] = 1e-9 * (double)f.weights / t;
        b->read_gbs[i] = 2e-9 * READ_BYTES / (before + after);
        b->ratio[i] = b->gbs[i] / b->read_gbs[i];
        before = after;
    }
    printf("%s prefill %.1f tokens/s, decode %.2f tokens/s, load %.2f s, peak memory %.0f MiB\n",
           compute == COMPUTE_BF16 ? "bf16" : "fp32", b->n_prompt / prefill, b->n_new / decode, load,
           (double)memory_peak() / (1 << 20));
    double gbs = median(b->gbs, b->n_new), plain = median(b->read_gbs, b->n_new), ratio = median(b->ratio, b->n_new);
    printf("  weights %.3f GB; medians: %.1f GB/s, a plain read %.1f GB/s, ratio %.2f; best %.1f and %.1f GB/s\n",
           1e-9 * (double)f.weights, gbs, plain, ratio, b->gbs[b->n_new - 1], b->read_gbs[b->n_new - 1]);
    fflush(stdout);
    return true;
}

static uint32_t number(int argc, char **argv, int i, uint32_t otherwise)
{
    return argc > i ? (uint32_t)strtoul(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        puts("skip bench_engine needs the folder of a checkpoint");
        return 0;
    }
    struct error err = ERROR_INIT;
    wide = isa_detected() & ISA_AVX512;
    struct bench b = {.n_prompt = number(argc, argv, 2, 512), .n_new = number(argc, argv, 3, 32)};
    bool ok = pool_open(&b.pool, number(argc, argv, 4, 0), &err) && model_open(&b.model, argv[1], &err);
    uint64_t vocab = ok ? b.model.inventory->config.dims[DIM_VOCAB] : 0;
    ok = ok && memory_alloc(&b.ids, (uint64_t)b.n_prompt + b.n_new + WARM_UP, sizeof *b.ids, &err) &&
         memory_alloc(&b.logits, vocab, sizeof *b.logits, &err) &&
         memory_alloc_stream(&b.read_from, READS, READ_BYTES, &err) &&
         memory_alloc(&b.gbs, 3 * ((uint64_t)b.n_new + 1), sizeof *b.gbs, &err);
    if (ok) {
        memset(b.read_from, 1, (size_t)READS * READ_BYTES);
        b.read_gbs = b.gbs + b.n_new;
        b.ratio = b.read_gbs + b.n_new;
    }
    for (uint32_t i = 0; ok && i < b.n_prompt + b.n_new + WARM_UP; i++) b.ids[i] = (uint32_t)((i * 37u + 5u) % vocab);
    const char *only = argc > 5 ? argv[5] : "";
    ok = ok && (strcmp(only, "bf16") == 0 || measure(&b, COMPUTE_FP32, &err)) &&
         (strcmp(only, "fp32") == 0 || measure(&b, COMPUTE_BF16, &err));
    if (!ok) fprintf(stderr, "%s\n", err.text);
    free(b.ids);
    free(b.logits);
    free(b.read_from);
    free(b.gbs);
    model_close(&b.model);
    pool_close(b.pool);
    return !ok;
}
