/* Several rows of x and groups of few columns: sum and total stay in registers. */
#include "backends/cpu/tiles_avx512bf16.h"

/* Short groups: the tile holds several, and their scales. */
struct short_run {
    const uint32_t *w;   /* [n_groups][group / 2][32] */
    const float *scales; /* [n_groups][32] */
    const uint16_t *x;
    uint64_t x_stride, n_groups, pairs; /* pairs of a group */
    float *y;
    uint64_t ldy;
    bool first;
    __mmask16 lanes[HALVES];
};

#define SHORT_ROWS 6u

LANES_FN void short_tile(const uint32_t rows, const struct short_run *t)
{
    __m512 total[SHORT_ROWS][HALVES], sum[SHORT_ROWS][HALVES];
    const uint8_t *x = (const uint8_t *)t->x;
    const uint32_t *w = t->w;
    uint64_t stride = t->x_stride;
#pragma GCC unroll 6
    for (uint32_t r = 0; r < rows; r++) UNROLL
    for (int h = 0; h < HALVES; h++)
        total[r][h] = t->first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(t->lanes[h], t->y + r * t->ldy + 16 * h);
    for (uint64_t g = 0; g < t->n_groups; g++) {
#pragma GCC unroll 6
        for (uint32_t r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
        for (uint64_t k = 0; k < t->pairs; k++, w += PANEL_ROWS, x += 4) {
            __m512bh w0 = (__m512bh)_mm512_load_si512(w), w1 = (__m512bh)_mm512_load_si512(w + 16);
#pragma GCC unroll 6
            for (uint32_t r = 0; r < rows; r++) {
                uint32_t two;
                memcpy(&two, x + r * stride, sizeof two);
                __m512bh v = (__m512bh)_mm512_set1_epi32((int)two);
                sum[r][0] = _mm512_dpbf16_ps(sum[r][0], v, w0);
                sum[r][1] = _mm512_dpbf16_ps(sum[r][1], v, w1);
            }
        }
        __m512 s0 = _mm512_load_ps(t->scales + g * PANEL_ROWS), s1 = _mm512_load_ps(t->scales + g * PANEL_ROWS + 16);
#pragma GCC unroll 6
        for (uint32_t r = 0; r < rows; r++) {
            total[r][0] = _mm512_fmadd_ps(sum[r][0], s0, total[r][0]);
            total[r][1] = _mm512_fmadd_ps(sum[r][1], s1, total[r][1]);
        }
    }
#pragma GCC unroll 6
    for (uint32_t r = 0; r < rows; r++) UNROLL
    for (int h = 0; h < HALVES; h++) _mm512_mask_storeu_ps(t->y + r * t->ldy + 16 * h, t->lanes[h], total[r][h]);
}

static void short_rows(const struct short_run *all, uint64_t m)
{
    for (uint64_t i = 0; i < m; i += SHORT_ROWS) {
        struct short_run t = *all;
        t.x = (const uint16_t *)(const void *)((const uint8_t *)t.x + i * t.x_stride);
        t.y += i * t.ldy;
        switch (m - i) {
        case 1: short_tile(1, &t); break;
        case 2: short_tile(2, &t); break;
        case 3: short_tile(3, &t); break;
        case 4: short_tile(4, &t); break;
        case 5: short_tile(5, &t); break;
        default: short_tile(SHORT_ROWS, &t); break;
        }
    }
}

/* Groups [g, g + n) of `cols` columns each. */
static void one_run_short(const struct gemm_call *c, uint64_t g, uint64_t n, uint64_t cols)
{
    const struct packed *p = c->w;
    _Alignas(64) uint32_t tile[RUN / 2 * PANEL_ROWS];
    _Alignas(64) float scales[RUN / 2 * PANEL_ROWS];
    for (uint64_t i = 0; i < n; i++) {
        take_bf16(p, c->panels, (g + i) * p->group, cols, tile + i * ((cols + 1) / 2) * PANEL_ROWS);
        for (int h = 0; h < HALVES; h++)
            _mm512_store_ps(scales + i * PANEL_ROWS + 16 * h, scale_lanes(p, scales_of(p, c->panels), g + i, h));
    }
    short_rows(&(struct short_run){.w = tile,
                                   .scales = scales,
                                   .x = (const uint16_t *)c->x + g * p->group,
                                   .x_stride = c->x_stride,
                                   .n_groups = n,
                                   .pairs = (cols + 1) / 2,
                                   .y = c->y,
                                   .ldy = c->ldy,
                                   .first = g == 0,
                                   .lanes = {lanes_of(c->n, 0), lanes_of(c->n, 1)}},
               c->m);
}

void gemm_short_bf16(const struct gemm_call *c)
{
    const struct packed *p = c->w;
    for (uint64_t g = 0, n; g < p->n_groups; g += n) {
        uint64_t left = p->cols - g * p->group, cols = least(p->group, left);
        n = least(RUN / p->group, left / cols); /* a last group may be shorter: it goes alone */
        for (uint32_t i = 0; i < n_panels(c); i++) {
            struct gemm_call one = panel_of(c, i);
            one_run_short(&one, g, n, cols);
        }
    }
}
