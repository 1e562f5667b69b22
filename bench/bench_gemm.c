/* Linears: weights of every type in memory, all threads. Decoding (one row of x) in GB/s beside a plain streaming read
 * of the same run; prefill in GFLOP/s (bench_math prints the peak). usage: bench_gemm [THREADS [PART OF A TYPE'S NAME]]
 *
 * The lines "peer TYPE ARITHMETIC SECONDS SECONDS" (one row, many rows) are for bench/peer_linears.py. */
#include "backends/cpu/gemm.h"
#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "core/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct kind {
    const char *name;
    enum packed_code code;
    enum packed_scale scale;
    uint64_t group;
} kinds[] = {
    {"f32", CODE_F32, SCALE_NONE, 0},
    {"bf16", CODE_BF16, SCALE_NONE, 0},
    {"f16", CODE_F16, SCALE_NONE, 0},
    {"fp8", CODE_E4M3, SCALE_F32, UINT64_MAX},
    {"q8_0", CODE_I8, SCALE_F16, 32},
    {"nvfp4", CODE_E2M1, SCALE_E4M3, 16},
    {"mxfp4", CODE_E2M1, SCALE_E8M0, 32},
    {"int4", CODE_I4, SCALE_BF16, 128},
    {"int4 zero", CODE_I4_ZERO, SCALE_F16, 128},
};

/* The linears of one layer of a 1.1B Llama shape, [outputs, inputs]. */
static const uint64_t layer[][2] = {{2048, 2048}, {512, 2048}, {2048, 2048}, {11264, 2048}, {2048, 5632}};
#define N_LINEARS (sizeof layer / sizeof *layer)
#define LAYER_WEIGHTS (2048u * 2048u * 2u + 512u * 2048u + 11264u * 2048u + 2048u * 5632u)
#define LAYERS 8u /* of BF16 700 MB: no cache helps */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const struct gemm_ops *ops;
static struct pool *pool;

struct job {
    const struct packed *w;
    const uint8_t *panels;
    const void *x;
    uint64_t x_stride, m, run, n_row_items;
    float *y;
    bool bf16;
};

/* As engine/linear.c: a run of panels with one row, one panel with a run of rows. */
static void item(void *ctx, uint64_t i, uint32_t worker)
{
    (void)worker;
    const struct job *j = ctx;
    uint64_t panel = i / j->n_row_items * j->run, row = i % j->n_row_items * GEMM_ROWS_MAX, first = panel * PANEL_ROWS;
    uint64_t n = j->w->rows - first < j->run * PANEL_ROWS ? j->w->rows - first : j->run * PANEL_ROWS;
    struct gemm_call c = {.w = j->w,
                          .panels = j->panels + panel * j->w->panel_bytes,
                          .n = (uint32_t)n,
                          .m = j->m - row < GEMM_ROWS_MAX ? j->m - row : GEMM_ROWS_MAX,
                          .x = (const uint8_t *)j->x + row * j->x_stride,
                          .x_stride = j->x_stride,
                          .y = j->y + row * j->w->rows + first,
                          .ldy = j->w->rows};
    (j->bf16 ? ops->bf16 : ops->fp32)(&c);
}

static void linear(struct job *j)
{
    j->run = j->m == 1 ? 4 : 1;
    j->n_row_items = (j->m + GEMM_ROWS_MAX - 1) / GEMM_ROWS_MAX;
    pool_for(pool, (packed_panels(j->w) + j->run - 1) / j->run * j->n_row_items, item, j);
}

/* ---- the plain read ---- */

#define READ_CHUNK (1u << 20)
static volatile uint64_t sink;

struct reading {
    const uint8_t *data;
    uint32_t streams; /* places of a chunk that are read side by side: what the prefetchers like best, differs */
};

static void read_item(void *ctx, uint64_t i, uint32_t worker)
{
    (void)worker;
    typedef uint64_t lanes __attribute__((vector_size(64)));
    const struct reading *r = ctx;
    uint64_t apart = READ_CHUNK / sizeof(lanes) / r->streams;
    const lanes *p = (const lanes *)(const void *)(r->data + i * READ_CHUNK);
    lanes s = {0}, t = {0};
    for (uint64_t k = 0; k < apart; k += 2)
        for (uint32_t u = 0; u < r->streams; u++) s |= p[u * apart + k], t |= p[u * apart + k + 1];
    s |= t;
    sink = s[0] | s[7];
}

static double read_gbs(const uint8_t *data, uint64_t bytes)
{
    double best = 1e9;
    for (uint32_t i = 0; i < 9; i++) {
        struct reading r = {data, 1u << i % 3};
        double s = now_s();
        pool_for(pool, bytes / READ_CHUNK, read_item, &r);
        s = now_s() - s;
        if (s < best) best = s;
    }
    return (double)bytes / best * 1e-9;
}

/* ---- the weights of one type ---- */

static struct packed shapes[N_LINEARS];
static uint8_t *weights, *at[LAYERS][N_LINEARS];
static uint64_t weight_bytes;

/* Small finite numbers whatever the type: the time does not depend on them. */
static bool make_weights(const struct kind *k)
{
    weight_bytes = 0;
    for (size_t i = 0; i < N_LINEARS; i++) {
        if (!packed_shape(&shapes[i], k->code, k->scale, layer[i][0], layer[i][1], k->group, 1.0f)) return false;
        weight_bytes += packed_bytes(&shapes[i]) * LAYERS;
    }
    if (!memory_alloc_stream(&weights, weight_bytes, 1, NULL)) return false;
    memset(weights, 0x22, weight_bytes);
    uint8_t *p = weights;
    for (uint32_t l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < N_LINEARS; p += packed_bytes(&shapes[i++])) at[l][i] = p;
    return true;
}

static void run_layer(uint32_t l, uint64_t m, bool bf16, const float *x, uint8_t *rounded, float *y)
{
    for (size_t i = 0; i < N_LINEARS; i++) {
        uint64_t cols = layer[i][1], bytes = ops->input_bytes(cols);
        struct job j = {
            .w = &shapes[i], .panels = at[l][i], .m = m, .x = x, .x_stride = cols * 4, .y = y, .bf16 = bf16};
        if (bf16) {
            for (uint64_t r = 0; r < m; r++) ops->input(x + r * cols, cols, rounded + r * bytes);
            j.x = rounded;
            j.x_stride = bytes;
        }
        linear(&j);
    }
}

static double layers_s(uint32_t n_layers, uint64_t m, bool bf16, const float *x, uint8_t *rounded, float *y)
{
    double best = 1e9, end = now_s() + 0.8;
    do {
        double s = now_s();
        for (uint32_t l = 0; l < n_layers; l++) run_layer(l, m, bf16, x, rounded, y);
        s = (now_s() - s) / n_layers;
        if (s < best) best = s;
    } while (now_s() < end);
    return best;
}

#define PREFILL 512u

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    if (!pool_open(&pool, argc > 1 ? (uint32_t)atoi(argv[1]) : 0, &err)) return 1;
    ops = gemm_for(isa_detected());
    float *x = calloc(PREFILL * 5632u, 4), *y = calloc(PREFILL * 11264u, 4);
    uint8_t *rounded = malloc(PREFILL * 5632u * 8u);
    if (!x || !y || !rounded) return 1;
    for (uint32_t i = 0; i < PREFILL * 5632u; i++) x[i] = (float)(i * 2654435761u >> 8) * 0x1p-23f - 1.0f;
    printf("%s, %u threads, %u layers of a 1.1B Llama shape\n", ops->name, pool_threads(pool), LAYERS);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        if (argc > 2 && !strstr(kinds[k].name, argv[2])) continue;
        if (!make_weights(&kinds[k])) return 1;
        double read = read_gbs(weights, weight_bytes);
        for (int bf16 = 0; bf16 < (kinds[k].code <= CODE_F16 ? 1 : 2); bf16++) {
            double one = layers_s(LAYERS, 1, bf16, x, rounded, y), many = layers_s(1, PREFILL, bf16, x, rounded, y);
            double gbs = (double)weight_bytes / LAYERS / one * 1e-9;
            printf("%-9s %s  decode %6.2f GB/s, %3.0f %% of a plain read, %6.2f G weights/s   prefill %7.1f GFLOP/s\n",
                   kinds[k].name, bf16 ? "bf16" : "fp32", gbs, 100 * gbs / read, LAYER_WEIGHTS / one * 1e-9,
                   2e-9 * PREFILL * LAYER_WEIGHTS / many);
            printf("peer %s %s %.6f %.6f\n", kinds[k].name, bf16 ? "bf16" : "fp32", one, many);
        }
        free(weights);
    }
    pool_close(pool);
    free(x);
    free(y);
    free(rounded);
    return 0;
}
