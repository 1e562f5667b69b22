/* Several rows of x: twelve at a time in 24 registers of sums. */
#include "backends/cpu/tiles_avx512bf16.h"

#define TILE_ROWS 12u

/* Columns from k on that a tile takes: whole groups, or a part of one. */
static uint64_t run_fp32(const struct packed *p, uint64_t k)
{
    uint64_t run = 0, left = p->cols - k;
    do run += least(least(RUN - run, p->group - (k + run) % p->group), left - run);
    while (run < left && RUN - run >= least(p->group, RUN));
    return run;
}

static void one_run_fp32(const struct gemm_call *c, uint64_t k, uint64_t run)
{
    const struct packed *p = c->w;
    _Alignas(64) float space[(RUN + 1) * PANEL_ROWS];
    const float *tile = space, *x = c->x;
    if (p->code == CODE_F32) tile = (const float *)(const void *)c->panels + k * PANEL_ROWS;
    for (uint64_t i = 0, n; p->code != CODE_F32 && i < run; i += n) {
        n = least(run - i, p->group - (k + i) % p->group);
        take_fp32(p, c->panels, k + i, n, space + i * PANEL_ROWS);
    }
    (k ? math_avx512.gemm_panel_more : math_avx512.gemm_panel)(x + k, c->x_stride / sizeof *x, c->m, tile, run, c->y,
                                                               c->ldy, c->n);
}

/* A run of columns with every panel before the next run: the rows of x stay in the second-level cache. */
void gemm_tiles_fp32(const struct gemm_call *c)
{
    for (uint64_t k = 0, run; k < c->w->cols; k += run) {
        run = run_fp32(c->w, k);
        for (uint32_t i = 0; i < n_panels(c); i++) {
            struct gemm_call one = panel_of(c, i);
            one_run_fp32(&one, k, run);
        }
    }
}

/* The words of a run of a group, and what is multiplied with them. */
struct words {
    const uint32_t *w; /* [n_pairs][32] */
    const uint16_t *x; /* [rows]: x_stride apart */
    uint64_t x_stride, n_pairs;
    float *sum; /* [rows, 32]: sum_stride floats apart; goes on from there unless `first` */
    uint64_t sum_stride;
    bool first;
    __mmask16 lanes[HALVES];
};

LANES_FN void words_tile(const uint32_t rows, const struct words *t)
{
    __m512 sum[TILE_ROWS][HALVES];
    const uint8_t *x = (const uint8_t *)t->x;
    const uint32_t *w = t->w;
    uint64_t stride = t->x_stride;
#pragma GCC unroll 12
    for (uint32_t r = 0; r < rows; r++) UNROLL
    for (int h = 0; h < HALVES; h++)
        sum[r][h] =
            t->first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(t->lanes[h], t->sum + r * t->sum_stride + 16 * h);
    for (uint64_t k = 0; k < t->n_pairs; k++, w += PANEL_ROWS) {
        __m512bh w0 = (__m512bh)_mm512_load_si512(w), w1 = (__m512bh)_mm512_load_si512(w + 16);
#pragma GCC unroll 12
        for (uint32_t r = 0; r < rows; r++) {
            uint32_t two;
            memcpy(&two, x + r * stride + 4 * k, sizeof two);
            __m512bh v = (__m512bh)_mm512_set1_epi32((int)two);
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], v, w0);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], v, w1);
        }
    }
#pragma GCC unroll 12
    for (uint32_t r = 0; r < rows; r++) UNROLL
    for (int h = 0; h < HALVES; h++) _mm512_mask_storeu_ps(t->sum + r * t->sum_stride + 16 * h, t->lanes[h], sum[r][h]);
}

#define HEIGHT(r)                                                                                                      \
    case r: words_tile(r, &t); break;

static void words_rows(const struct words *all, uint64_t m)
{
    for (uint64_t i = 0; i < m; i += TILE_ROWS) {
        struct words t = *all;
        t.x = (const uint16_t *)(const void *)((const uint8_t *)t.x + i * t.x_stride);
        t.sum += i * t.sum_stride;
        switch (m - i) {
            HEIGHT(1)
            HEIGHT(2)
            HEIGHT(3)
            HEIGHT(4)
            HEIGHT(5)
            HEIGHT(6)
            HEIGHT(7)
            HEIGHT(8)
            HEIGHT(9)
            HEIGHT(10)
            HEIGHT(11)
        default: words_tile(TILE_ROWS, &t); break;
        }
    }
}
#undef HEIGHT

/* One chain over all columns, in y: BF16, whose panel is the tile, and codes with one scale per row. */
#define CHAIN_RUN 1024u

static void one_run_chain(const struct gemm_call *c, uint64_t k, uint64_t end)
{
    const struct packed *p = c->w;
    _Alignas(64) uint32_t space[RUN / 2 * PANEL_ROWS];
    for (uint64_t run; k < end; k += run) {
        const uint32_t *tile = (const uint32_t *)(const void *)c->panels + k / 2 * PANEL_ROWS;
        run = least(p->code == CODE_BF16 ? CHAIN_RUN : RUN, end - k);
        if (p->code != CODE_BF16) {
            take_bf16(p, c->panels, k, run, space);
            tile = space;
        }
        words_rows(&(struct words){.w = tile,
                                   .x = (const uint16_t *)c->x + k,
                                   .x_stride = c->x_stride,
                                   .n_pairs = (run + 1) / 2,
                                   .sum = c->y,
                                   .sum_stride = c->ldy,
                                   .first = k == 0,
                                   .lanes = {lanes_of(c->n, 0), lanes_of(c->n, 1)}},
                   c->m);
    }
}

/* y = sum * scale of group g (+ y), for sums that lie in `sum`. */
static void add_scaled(const struct gemm_call *c, uint64_t g, const float *sum, uint64_t sum_stride)
{
    for (int h = 0; h < HALVES; h++) {
        __m512 scale = scale_lanes(c->w, scales_of(c->w, c->panels), g, h);
        __mmask16 lanes = lanes_of(c->n, h);
        for (uint64_t i = 0; i < c->m; i++) {
            float *y = c->y + i * c->ldy + 16 * h;
            __m512 s = _mm512_maskz_loadu_ps(lanes, sum + i * sum_stride + 16 * h);
            __m512 before = g ? _mm512_maskz_loadu_ps(lanes, y) : _mm512_setzero_ps();
            _mm512_mask_storeu_ps(y, lanes, _mm512_fmadd_ps(s, scale, before));
        }
    }
}

static void panels_chain(const struct gemm_call *c)
{
    const struct packed *p = c->w;
    for (uint64_t k = 0; k < p->cols; k += CHAIN_RUN)
        for (uint32_t i = 0; i < n_panels(c); i++) {
            struct gemm_call one = panel_of(c, i);
            one_run_chain(&one, k, least(k + CHAIN_RUN, p->cols));
        }
    for (uint32_t i = 0; p->scale != SCALE_NONE && i < n_panels(c); i++) {
        struct gemm_call one = panel_of(c, i);
        add_scaled(&one, 0, one.y, one.ldy);
    }
}

/* Long groups: each one's sum is made apart, then added to the total. */
static void one_group_long(const struct gemm_call *c, uint64_t g)
{
    const struct packed *p = c->w;
    _Alignas(64) uint32_t tile[RUN / 2 * PANEL_ROWS];
    _Alignas(64) float sum[GEMM_ROWS_MAX * PANEL_ROWS];
    uint64_t from = g * p->group, end = least(from + p->group, p->cols), run;
    for (uint64_t k = from; k < end; k += run) {
        run = least(RUN, end - k);
        take_bf16(p, c->panels, k, run, tile);
        words_rows(&(struct words){.w = tile,
                                   .x = (const uint16_t *)c->x + k,
                                   .x_stride = c->x_stride,
                                   .n_pairs = (run + 1) / 2,
                                   .sum = sum,
                                   .sum_stride = PANEL_ROWS,
                                   .first = k == from,
                                   .lanes = {0xFFFF, 0xFFFF}},
                   c->m);
    }
    add_scaled(c, g, sum, PANEL_ROWS);
}

static void panels_long(const struct gemm_call *c)
{
    for (uint64_t g = 0; g < c->w->n_groups; g++)
        for (uint32_t i = 0; i < n_panels(c); i++) {
            struct gemm_call one = panel_of(c, i);
            one_group_long(&one, g);
        }
}

void gemm_tiles_bf16(const struct gemm_call *c)
{
    if (c->w->n_groups == 1) panels_chain(c);
    else if (c->w->group <= SHORT_GROUP) gemm_short_bf16(c);
    else panels_long(c);
}
