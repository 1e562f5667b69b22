/* Tokens per second of a checkpoint: a prompt, then one token after the other, as `ingot generate` runs them.
 * usage: bench_engine DIR [PROMPT TOKENS [NEW TOKENS [THREADS [fp32|bf16]]]]; without DIR it says so and ends. The
 * ratio to other programs on the same machine: bench/race.py. */
#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "engine/engine.h"

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
};

#define WARM_UP 16u

/* A few tokens to warm up, the prompt, then token by token. */
static bool measure(const struct bench *b, enum compute compute, struct error *err)
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
    double decode = now_s();
    for (uint32_t i = 0; i < b->n_new; i++)
        if (!session_feed(s, b->ids + i, 1, b->logits, err)) return false;
    decode = now_s() - decode;
    printf("%s prefill %.1f tokens/s, decode %.2f tokens/s, load %.2f s, peak memory %.0f MiB\n",
           compute == COMPUTE_BF16 ? "bf16" : "fp32", b->n_prompt / prefill, b->n_new / decode, load,
           (double)memory_peak() / (1 << 20));
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
    struct bench b = {.n_prompt = number(argc, argv, 2, 512), .n_new = number(argc, argv, 3, 32)};
    bool ok = pool_open(&b.pool, number(argc, argv, 4, 0), &err) && model_open(&b.model, argv[1], &err);
    uint64_t vocab = ok ? b.model.inventory->config.dims[DIM_VOCAB] : 0;
    ok = ok && memory_alloc(&b.ids, (uint64_t)b.n_prompt + b.n_new + WARM_UP, sizeof *b.ids, &err) &&
         memory_alloc(&b.logits, vocab, sizeof *b.logits, &err);
    for (uint32_t i = 0; ok && i < b.n_prompt + b.n_new + WARM_UP; i++) b.ids[i] = (uint32_t)((i * 37u + 5u) % vocab);
    const char *only = argc > 5 ? argv[5] : "";
    ok = ok && (strcmp(only, "bf16") == 0 || measure(&b, COMPUTE_FP32, &err)) &&
         (strcmp(only, "fp32") == 0 || measure(&b, COMPUTE_BF16, &err));
    if (!ok) fprintf(stderr, "%s\n", err.text);
    free(b.ids);
    free(b.logits);
    model_close(&b.model);
    pool_close(b.pool);
    return !ok;
}
