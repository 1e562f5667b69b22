/* Speed of backends/cpu/math on one thread, every table that this CPU can run: best of several runs.
 * Run `build/release/bench/bench_math`. The peak is a loop of independent fused multiply-adds in registers. */
#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"

#include <immintrin.h>
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

static volatile float sink;

#define CHAINS 12 /* more than latency x units of any CPU we know, fewer than its registers */
#define PEAK(name, isa, type, fma, set)                                                                                \
    __attribute__((target(isa), noinline)) static double name(uint64_t n)                                              \
    {                                                                                                                  \
        type a[CHAINS], half = set(0.5f), one = set(1.0f);                                                             \
        for (int i = 0; i < CHAINS; i++) a[i] = set((float)i);                                                         \
        double start = now_s();                                                                                        \
        for (uint64_t k = 0; k < n; k++)                                                                               \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) a[i] = fma(a[i], half, one);                     \
        double s = now_s() - start;                                                                                    \
        for (int i = 1; i < CHAINS; i++) a[0] += a[i];                                                                 \
        sink = a[0][0];                                                                                                \
        return s / (double)(n * CHAINS * sizeof(type) / sizeof(float) * 2) * 1e9; /* ns per flop */                    \
    }
PEAK(peak_avx2, "avx2,fma", __m256, _mm256_fmadd_ps, _mm256_set1_ps)
PEAK(peak_avx512, "avx512f", __m512, _mm512_fmadd_ps, _mm512_set1_ps)

struct bench {
    const struct math_ops *ops;
    float *x, *w, *y;
    uint64_t m, k, n;
};

enum { BUFFER = 1 << 23 }; /* floats in each of x, w, y */

/* Best time of one call in seconds, over about a quarter of a second. */
static double best_s(void (*run)(const struct bench *), const struct bench *b)
{
    double best = 1e9, end = now_s() + 0.25;
    uint64_t repeats = 1;
    do {
        double start = now_s();
        for (uint64_t i = 0; i < repeats; i++) run(b);
        double s = now_s() - start;
        if (s / (double)repeats < best) best = s / (double)repeats;
        if (s < 0.002) repeats *= 2;
    } while (now_s() < end);
    return best;
}

static void run_gemm(const struct bench *b)
{
    b->ops->gemm_panel(b->x, b->k, b->m, b->w, b->k, b->y, 64, (uint32_t)b->n);
}
static void run_pack(const struct bench *b)
{
    gemm_pack(b->x, b->k, (uint32_t)b->n, b->k, b->y);
}
static void run_dot(const struct bench *b)
{
    sink = b->ops->dot(b->x, b->w, b->n);
}
static void run_sum_squares(const struct bench *b)
{
    sink = b->ops->sum_squares(b->x, b->n);
}
static void run_sum(const struct bench *b)
{
    sink = b->ops->sum(b->x, b->n);
}
static void run_max(const struct bench *b)
{
    sink = b->ops->max(b->x, b->n);
}
static void run_amax(const struct bench *b)
{
    sink = b->ops->amax(b->x, b->n);
}
static void run_scale(const struct bench *b)
{
    b->ops->scale(b->y, b->x, 0.5f, b->n);
}
static void run_multiply(const struct bench *b)
{
    b->ops->multiply(b->y, b->x, b->w, b->n);
}
static void run_add(const struct bench *b)
{
    b->ops->add(b->y, b->x, b->w, b->n);
}
static void run_multiply_add(const struct bench *b)
{
    b->ops->multiply_add(b->y, b->x, 0.0f, b->n);
}
static void run_exp(const struct bench *b)
{
    b->ops->exp(b->y, b->x, b->n);
}
static void run_softplus(const struct bench *b)
{
    b->ops->softplus(b->y, b->x, b->n);
}
static void run_sigmoid(const struct bench *b)
{
    b->ops->sigmoid(b->y, b->x, b->n);
}
static void run_silu(const struct bench *b)
{
    b->ops->silu(b->y, b->x, b->n);
}
static void run_relu2(const struct bench *b)
{
    b->ops->relu2(b->y, b->x, b->n);
}

static void run_conv(const struct bench *b) /* n channels, m tokens, 4 taps */
{
    b->ops->conv_silu(b->y, b->n, b->x, b->n, b->w, b->w, 4, b->n, b->m);
}

static void run_rows(const struct bench *b) /* a chunk of 64 tokens */
{
    float w[64] = {0}, total = 1, through[64];
    struct decay_rows d = {.to = 64,
                           .decay = b->w,
                           .fresh = b->w + 64,
                           .w = w,
                           .total = &total,
                           .through = through,
                           .n_products = 1,
                           .s = {b->x},
                           .m = {b->y},
                           .s_stride = 64,
                           .m_stride = 64};
    b->ops->decay_rows(&d);
}

static void bench_gemm(struct bench *b, double peak)
{
    static const struct {
        uint64_t m, k, n;
    } shapes[] = {{512, 1024, 32}, {512, 4096, 32}, {2048, 2048, 32}, {512, 1024, 16},
                  {32, 4096, 32},  {8, 4096, 32},   {4, 4096, 32},    {1, 4096, 32}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        b->m = shapes[i].m, b->k = shapes[i].k, b->n = shapes[i].n;
        double gflops = 2e-9 * (double)(b->m * b->k * b->n) / best_s(run_gemm, b);
        printf("  gemm_panel m %4llu k %4llu n %2llu  %7.1f GFLOP/s", (unsigned long long)b->m,
               (unsigned long long)b->k, (unsigned long long)b->n, gflops);
        if (peak > 0) printf("  %3.0f %% of peak", 100 * gflops / peak);
        putchar('\n');
    }
}

static void bench_vectors(struct bench *b)
{
    static const struct {
        const char *name;
        void (*run)(const struct bench *);
    } rows[] = {
        {"dot", run_dot},
        {"sum_squares", run_sum_squares},
        {"sum", run_sum},
        {"max", run_max},
        {"amax", run_amax},
        {"scale", run_scale},
        {"multiply", run_multiply},
        {"add", run_add},
        {"multiply_add", run_multiply_add},
        {"exp", run_exp},
        {"softplus", run_softplus},
        {"sigmoid", run_sigmoid},
        {"silu", run_silu},
        {"relu2", run_relu2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        b->n = 3072; /* three arrays in a first-level cache of 48 KiB */
        double small = 1e-9 * (double)b->n / best_s(rows[i].run, b);
        b->n = BUFFER;
        double large = 1e-9 * (double)b->n / best_s(rows[i].run, b);
        printf("  %-12s %7.2f Gelem/s in cache, %6.2f from memory\n", rows[i].name, small, large);
    }
}

static void bench_mamba(struct bench *b)
{
    b->n = 6144, b->m = 512;
    printf("  conv_silu    %7.2f Gelem/s (6144 channels, 512 tokens, 4 taps)\n",
           1e-9 * (double)(b->n * b->m) / best_s(run_conv, b));
    printf("  decay_rows   %7.2f ns per token of a chunk of 64\n", 1e9 * best_s(run_rows, b) / 64);
}

static bool can_run(const struct math_ops *ops)
{
    if (ops->isa & ISA_AVX512 && !(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")))
        return false;
    return !(ops->isa & ISA_AVX2) || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    float **buffers[] = {&b.x, &b.w, &b.y};
    for (int i = 0; i < 3; i++) {
        *buffers[i] = aligned_alloc(64, BUFFER * sizeof(float));
        if (!*buffers[i]) return 1;
        for (uint32_t j = 0; j < BUFFER; j++)
            (*buffers[i])[j] = (float)(j * 2654435761u >> 8) * 0x1p-23f - (i == 1 ? 0.0f : 1.0f);
    }
    for (const struct math_ops *const *t = math_tables; *t; t++) {
        if ((argc > 1 && strcmp(argv[1], (*t)->name) != 0) || !can_run(*t)) continue;
        double peak = (*t)->isa & ISA_AVX512 ? 1 / peak_avx512(20000000)
                      : (*t)->isa & ISA_AVX2 ? 1 / peak_avx2(20000000)
                                             : 0;
        printf("%s", (*t)->name);
        if (peak > 0) printf(": peak %.1f GFLOP/s", peak);
        putchar('\n');
        b.ops = *t;
        bench_gemm(&b, peak);
        bench_vectors(&b);
        bench_mamba(&b);
    }
    b.n = 32, b.k = 4096;
    printf("gemm_pack    %7.2f Gelem/s\n", 1e-9 * 32 * 4096 / best_s(run_pack, &b));
    for (int i = 0; i < 3; i++) free(*buffers[i]);
    return 0;
}
