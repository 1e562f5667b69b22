/* The products for CPUs without an instruction for bf16, and their list: a run of columns is taken apart into fp32 and
 * multiplied by math.h's gemm_panel. The bf16 chain is that of fp32 with the columns of each pair swapped and denormals
 * flushed; the CPU's own flushing is meant by dot_bf16.h's words, and the scalar table spells it out. */
#include "backends/cpu/gemm.h"

#include "backends/cpu/dot_bf16.h"
#include "backends/cpu/kernel.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

const struct gemm_ops *const gemm_tables[] = {&gemm_scalar,
#if defined(__x86_64__)
                                              &gemm_avx2, &gemm_avx512, &gemm_avx512bf16,
#endif
                                              NULL};

const struct gemm_ops *gemm_for(uint64_t isa)
{
    const struct gemm_ops *best = gemm_tables[0];
    for (const struct gemm_ops *const *t = gemm_tables; *t; t++)
        if (((*t)->isa & ~isa) == 0) best = *t;
    return best;
}

#define RUN 128u /* columns taken apart at a time: 16 KiB of fp32 */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The call of one panel out of several. */
static struct gemm_call panel_call(const struct gemm_call *c, uint32_t first)
{
    struct gemm_call one = *c;
    one.panels += first / PANEL_ROWS * c->w->panel_bytes;
    one.n = c->n - first < PANEL_ROWS ? c->n - first : PANEL_ROWS;
    one.y += first;
    return one;
}

static void panel_fp32(const struct gemm_call *c, const struct math_ops *math)
{
    const struct packed *p = c->w;
    const float *x = c->x;
    uint64_t ldx = c->x_stride / sizeof *x, run;
    float tile[RUN * PANEL_ROWS], scale[PANEL_ROWS];
    if (p->code == CODE_F32) {
        math->gemm_panel(x, ldx, c->m, (const float *)(const void *)c->panels, p->cols, c->y, c->ldy, c->n);
        return;
    }
    for (uint64_t k = 0; k < p->cols; k += run) {
        run = least(least(RUN, p->group - k % p->group), p->cols - k);
        packed_codes(p, c->panels, k, run, tile);
        if (p->scale != SCALE_NONE) {
            packed_scales(p, c->panels, k / p->group, scale);
            for (uint64_t i = 0; i < run; i++)
                for (uint32_t r = 0; r < PANEL_ROWS; r++) tile[i * PANEL_ROWS + r] *= scale[r];
        }
        (k ? math->gemm_panel_more : math->gemm_panel)(x + k, ldx, c->m, tile, run, c->y, c->ldy, c->n);
    }
}

static void each_panel(const struct gemm_call *c, const struct math_ops *math,
                       void (*panel)(const struct gemm_call *, const struct math_ops *))
{
    for (uint32_t i = 0; i < c->n; i += PANEL_ROWS) {
        struct gemm_call one = panel_call(c, i);
        panel(&one, math);
    }
}

/* ---- bf16 ---- */

static uint64_t plain_input_bytes(uint64_t cols)
{
    return (cols + 1) / 2 * 2 * sizeof(float);
}

/* fp32, the columns of a pair swapped, without denormals. */
static void plain_input(const float *x, uint64_t cols, void *out)
{
    float *to = out;
    for (uint64_t k = 0; k < cols; k++) to[k ^ 1] = flush_input(bf16_decode(bf16_encode(x[k])));
    if (cols % 2) to[cols - 1] = 0;
}

/* Swaps rows 2i and 2i + 1 of a tile and flushes it. */
static void swap_pairs(float *tile, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += 2)
        for (uint32_t r = 0; r < PANEL_ROWS; r++) {
            float even = tile[i * PANEL_ROWS + r];
            tile[i * PANEL_ROWS + r] = flush_input(tile[(i + 1) * PANEL_ROWS + r]);
            tile[(i + 1) * PANEL_ROWS + r] = flush_input(even);
        }
}

/* sum[i, j] continues over `depth` swapped columns. */
static void chain_scalar(const float *x, uint64_t ldx, uint64_t m, const float *tile, uint64_t depth, float *sum,
                         uint64_t ldsum, uint32_t n)
{
    for (uint64_t i = 0; i < m; i++)
        for (uint64_t k = 0; k < depth; k++)
            for (uint32_t j = 0; j < n; j++)
                sum[i * ldsum + j] = dot_step(sum[i * ldsum + j], x[i * ldx + k], tile[k * PANEL_ROWS + j]);
}

static void chain(const struct math_ops *math, const float *x, uint64_t ldx, uint64_t m, const float *tile,
                  uint64_t depth, float *sum, uint64_t ldsum, uint32_t n)
{
#if defined(__x86_64__)
    if (math->isa) {
        unsigned modes = _mm_getcsr();
        _mm_setcsr(modes | 0x8040u); /* flush results, read denormals as zeros */
        math->gemm_panel_more(x, ldx, m, tile, depth, sum, ldsum, n);
        _mm_setcsr(modes);
        return;
    }
#endif
    (void)math;
    chain_scalar(x, ldx, m, tile, depth, sum, ldsum, n);
}

static void panel_bf16(const struct gemm_call *c, const struct math_ops *math)
{
    const struct packed *p = c->w;
    uint64_t ldx = c->x_stride / sizeof(float), run;
    float tile[RUN * PANEL_ROWS], scale[PANEL_ROWS];
    float sum[GEMM_ROWS_MAX * PANEL_ROWS];
    for (uint64_t g = 0; g < p->n_groups; g++) {
        uint64_t end = least((g + 1) * p->group, p->cols);
        for (uint64_t i = 0; i < c->m * PANEL_ROWS; i++) sum[i] = 0;
        for (uint64_t k = g * p->group; k < end; k += run) {
            run = least(RUN, (end - k + 1) / 2 * 2);
            packed_codes(p, c->panels, k, run, tile);
            swap_pairs(tile, run);
            chain(math, (const float *)c->x + k, ldx, c->m, tile, run, sum, PANEL_ROWS, c->n);
        }
        packed_scales(p, c->panels, g, scale);
        for (uint64_t i = 0; i < c->m; i++)
            for (uint32_t j = 0; j < c->n; j++) {
                float *y = c->y + i * c->ldy + j, s = sum[i * PANEL_ROWS + j];
                *y = p->scale == SCALE_NONE ? s : __builtin_fmaf(s, scale[j], g ? *y : 0.0f);
            }
    }
}

#define PLAIN(level, needs)                                                                                            \
    static void level##_fp32(const struct gemm_call *c)                                                                \
    {                                                                                                                  \
        each_panel(c, &math_##level, panel_fp32);                                                                      \
    }                                                                                                                  \
    static void level##_bf16(const struct gemm_call *c)                                                                \
    {                                                                                                                  \
        each_panel(c, &math_##level, panel_bf16);                                                                      \
    }                                                                                                                  \
    const struct gemm_ops gemm_##level = {#level, needs, level##_fp32, level##_bf16, plain_input, plain_input_bytes};

PLAIN(scalar, 0)
#if defined(__x86_64__)
PLAIN(avx2, ISA_AVX2)
PLAIN(avx512, ISA_AVX2 | ISA_AVX512)
#endif
