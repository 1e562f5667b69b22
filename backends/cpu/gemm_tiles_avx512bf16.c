/* Several rows of x: a run of a panel's codes is taken apart into a small tile (in the first two caches), which all
 * rows are multiplied with, twelve at a time in 24 registers of sums. */
#include "backends/cpu/words_avx512bf16.h"

#define TILE_ROWS 12u
#define RUN 256u         /* columns in a tile: 32 KiB of fp32, 16 KiB of words */
#define SHORT_GROUP 128u /* up to here a group's sum and the total stay in registers together, six rows at a time */

/* Columns first .. first + n of a panel, in one group, as fp32 values [n][32]. */
LANES_FN void tile_fp32(enum packed_code code, const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n,
                        float *tile)
{
    const struct tables t = tables_of(code);
    struct group group;
    if (code != CODE_BF16) group_load(code, p, 1, panel, first / p->group, &group);
    for (uint64_t k = 0; k < n; k += UNIT_COLS(code)) {
        __m512i w[4][HALVES];
        unit_words(code, &t, group.zero[0], panel + (first + k) / UNIT_COLS(code) * UNIT_BYTES(code), w);
        UNROLL
        for (unsigned q = 0; q < 4; q++) {
            if (q == UNIT_PAIRS(code)) break;
            UNROLL
            for (int h = 0; h < HALVES; h++) {
                __m512 even = words_even(w[q][h]), odd = words_odd(w[q][h]);
                if (code != CODE_BF16) {
                    even = _mm512_mul_ps(even, group.scale[0][h]);
                    odd = _mm512_mul_ps(odd, group.scale[0][h]);
                }
                float *to = tile + (k + 2 * q) * PANEL_ROWS + 16u * (unsigned)h;
                _mm512_store_ps(to, even);
                _mm512_store_ps(to + PANEL_ROWS, odd); /* of an odd last column: unused, there is room */
            }
        }
    }
}

/* The same as words, [n / 2][32] dwords. */
LANES_FN void tile_bf16(enum packed_code code, const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n,
                        uint32_t *tile)
{
    const struct tables t = tables_of(code);
    struct group group;
    if (code == CODE_I4_ZERO) group_load(code, p, 1, panel, first / p->group, &group);
    for (uint64_t k = 0; k < n; k += UNIT_COLS(code)) {
        __m512i w[4][HALVES];
        unit_words(code, &t, group.zero[0], panel + (first + k) / UNIT_COLS(code) * UNIT_BYTES(code), w);
        UNROLL
        for (unsigned q = 0; q < 4; q++) {
            if (q == UNIT_PAIRS(code)) break;
            _mm512_store_si512(tile + (k / 2 + q) * PANEL_ROWS, w[q][0]);
            _mm512_store_si512(tile + (k / 2 + q) * PANEL_ROWS + 16, w[q][1]);
        }
    }
}

#define TILE_fp32(code)                                                                                                \
    case code:                                                                                                         \
        tile_fp32(code, p, panel, first, n, tile);                                                                     \
        break;
#define TILE_bf16(code)                                                                                                \
    case code: tile_bf16(code, p, panel, first, n, tile); break;

static void take_fp32(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, float *tile)
{
    switch (p->code) {
        EACH_CODE(TILE_fp32)
    default: /* F16 */
        for (uint64_t i = 0; i < n * HALVES; i++) {
            const uint8_t *at = panel + (first * HALVES + i) * 32;
            _mm512_store_ps(tile + 16 * i, _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)at)));
        }
    }
}

static void take_bf16(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, uint32_t *tile)
{
    switch (p->code) {
        EACH_CODE(TILE_bf16)
    default: break;
    }
}

/* ---- several rows ---- */

/* Panel number i of a call, alone. */
static struct gemm_call panel_of(const struct gemm_call *c, uint32_t i)
{
    struct gemm_call one = *c;
    uint32_t from = i * PANEL_ROWS;
    one.panels += i * c->w->panel_bytes;
    one.n = c->n - from < PANEL_ROWS ? c->n - from : PANEL_ROWS;
    one.y += from;
    return one;
}

static uint32_t n_panels(const struct gemm_call *c)
{
    return (c->n + PANEL_ROWS - 1) / PANEL_ROWS;
}

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

static void panels_short(const struct gemm_call *c)
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

void gemm_tiles_bf16(const struct gemm_call *c)
{
    if (c->w->n_groups == 1) panels_chain(c);
    else if (c->w->group <= SHORT_GROUP) panels_short(c);
    else panels_long(c);
}
