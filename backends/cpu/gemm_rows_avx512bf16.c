/* One row of x: codes go from memory through registers into the chains. Codes of few bits take two panels at a time, so
 * that 64 chains hide the latency of the fused multiply-adds; wide ones wait for memory alone, and one panel after the
 * other is what its prefetchers follow best. */
#include "backends/cpu/words_avx512bf16.h"

/* Bytes ahead: two streams of codes are more than some prefetchers follow (worth 10 % on Zen 4, and where there is one
 * stream, or the codes are BF16, it costs as much). */
#define PREFETCH 2048u

LANES_FN void fetch(int wide, const uint8_t *unit, uint32_t bytes)
{
    if (wide == 1) return;
    _mm_prefetch((const char *)unit + PREFETCH, _MM_HINT_T0);
    if (bytes > 64) _mm_prefetch((const char *)unit + PREFETCH + 64, _MM_HINT_T0);
}

LANES_FN void store_sums(int wide, __m512 sum[WIDE][HALVES], float *y, uint32_t n)
{
    UNROLL
    for (int i = 0; i < wide; i++) UNROLL
    for (int h = 0; h < HALVES; h++) _mm512_mask_storeu_ps(y + 32 * i + 16 * h, lanes_of(n, 2 * i + h), sum[i][h]);
}

/* Two columns of all panels in flight. `both` false: the second is beyond the matrix. */
LANES_FN void pair_fp32(bool scaled, int wide, __m512i w[WIDE][HALVES], const struct group *g, const float *x,
                        bool both, __m512 sum[WIDE][HALVES])
{
    __m512 x0 = _mm512_set1_ps(x[0]);
    UNROLL
    for (int i = 0; i < wide; i++) UNROLL
    for (int h = 0; h < HALVES; h++) {
        __m512 v = words_even(w[i][h]);
        if (scaled) v = _mm512_mul_ps(v, g->scale[i][h]);
        sum[i][h] = _mm512_fmadd_ps(x0, v, sum[i][h]);
    }
    if (!both) return;
    __m512 x1 = _mm512_set1_ps(x[1]);
    UNROLL
    for (int i = 0; i < wide; i++) UNROLL
    for (int h = 0; h < HALVES; h++) {
        __m512 v = words_odd(w[i][h]);
        if (scaled) v = _mm512_mul_ps(v, g->scale[i][h]);
        sum[i][h] = _mm512_fmadd_ps(x1, v, sum[i][h]);
    }
}

LANES_FN void row_fp32(enum packed_code code, int wide, const struct packed *p, const uint8_t *panel, const float *x,
                       float *y, uint32_t n)
{
    const struct tables t = tables_of(code);
    __m512 sum[WIDE][HALVES];
    UNROLL
    for (int i = 0; i < wide; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (uint64_t g = 0, k = 0; g < p->n_groups; g++) {
        struct group group;
        if (code != CODE_BF16) group_load(code, p, wide, panel, g, &group);
        uint64_t end = least(k + p->group, p->cols);
        for (; k < end; k += UNIT_COLS(code)) {
            __m512i w[WIDE][4][HALVES];
            UNROLL
            for (int i = 0; i < wide; i++) {
                const uint8_t *unit = panel + (uint64_t)i * p->panel_bytes + k / UNIT_COLS(code) * UNIT_BYTES(code);
                fetch(wide, unit, UNIT_BYTES(code));
                unit_words(code, &t, group.zero[i], unit, w[i]);
            }
            UNROLL
            for (unsigned q = 0; q < 4; q++) {
                if (q == UNIT_PAIRS(code)) break;
                __m512i pair[WIDE][HALVES];
                UNROLL
                for (int i = 0; i < wide; i++) pair[i][0] = w[i][q][0], pair[i][1] = w[i][q][1];
                pair_fp32(code != CODE_BF16, wide, pair, &group, x + k + 2 * q, k + 2 * q + 1 < p->cols, sum);
            }
        }
        k = end;
    }
    store_sums(wide, sum, y, n);
}

LANES_FN void row_bf16(enum packed_code code, int wide, const struct packed *p, const uint8_t *panel, const uint16_t *x,
                       float *y, uint32_t n)
{
    const struct tables t = tables_of(code);
    __m512 total[WIDE][HALVES], sum[WIDE][HALVES];
    UNROLL
    for (int i = 0; i < wide; i++) total[i][0] = total[i][1] = _mm512_setzero_ps();
    for (uint64_t g = 0, k = 0; g < p->n_groups; g++) {
        struct group group;
        if (code != CODE_BF16) group_load(code, p, wide, panel, g, &group);
        UNROLL
        for (int i = 0; i < wide; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
        uint64_t end = least(k + p->group, p->cols);
        for (; k < end; k += UNIT_COLS(code)) {
            __m512i w[WIDE][4][HALVES];
            UNROLL
            for (int i = 0; i < wide; i++) {
                const uint8_t *unit = panel + (uint64_t)i * p->panel_bytes + k / UNIT_COLS(code) * UNIT_BYTES(code);
                fetch(wide, unit, UNIT_BYTES(code));
                unit_words(code, &t, group.zero[i], unit, w[i]);
            }
            UNROLL
            for (unsigned q = 0; q < 4; q++) {
                if (q == UNIT_PAIRS(code)) break;
                uint32_t two;
                memcpy(&two, x + k + 2 * q, sizeof two);
                __m512bh v = (__m512bh)_mm512_set1_epi32((int)two);
                UNROLL
                for (int i = 0; i < wide; i++) UNROLL
                for (int h = 0; h < HALVES; h++) sum[i][h] = _mm512_dpbf16_ps(sum[i][h], v, (__m512bh)w[i][q][h]);
            }
        }
        k = end;
        UNROLL
        for (int i = 0; i < wide; i++) UNROLL
        for (int h = 0; h < HALVES; h++)
            total[i][h] = code == CODE_BF16 ? sum[i][h] : _mm512_fmadd_ps(sum[i][h], group.scale[i][h], total[i][h]);
    }
    store_sums(wide, total, y, n);
}

/* F16: [cols][32], widened by an instruction of its own. */
LANES_FN void row_f16(const struct packed *p, const uint8_t *panel, const float *x, float *y, uint32_t n)
{
    __m512 sum[WIDE][HALVES];
    sum[0][0] = sum[0][1] = _mm512_setzero_ps();
    for (uint64_t k = 0; k < p->cols; k++) {
        __m512 v = _mm512_set1_ps(x[k]);
        __m512i both = _mm512_load_si512(panel + 64 * k);
        sum[0][0] = _mm512_fmadd_ps(v, _mm512_cvtph_ps(_mm512_castsi512_si256(both)), sum[0][0]);
        sum[0][1] = _mm512_fmadd_ps(v, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(both, 1)), sum[0][1]);
    }
    store_sums(1, sum, y, n);
}

/* One or two panels with one row of x. */
#define BEGIN(type)                                                                                                    \
    struct packed w = *c->w;                                                                                           \
    const type *x = (const type *)(const void *)((const uint8_t *)c->x + i * c->x_stride);                             \
    const uint8_t *panel = c->panels + from / PANEL_ROWS * w.panel_bytes;                                              \
    float *y = c->y + i * c->ldy + from;                                                                               \
    uint32_t n = (uint32_t)least(c->n - from, 2 * PANEL_ROWS);
/* The type of scale is a constant where it is one of the frequent: a loop over groups then does not ask for it. */
#define SCALED(row, code, kind)                                                                                        \
    if (w.scale == kind) {                                                                                             \
        w.scale = kind;                                                                                                \
        PANELS(row, code)                                                                                              \
    } else PANELS(row, code)
#define PANELS(row, code)                                                                                              \
    {                                                                                                                  \
        if (n > PANEL_ROWS) row(code, 2, &w, panel, x, y, n);                                                          \
        else row(code, 1, &w, panel, x, y, n);                                                                         \
    }
#define PANEL_AFTER_PANEL(row, ...)                                                                                    \
    for (uint32_t at = 0; at < n; at += PANEL_ROWS, panel += w.panel_bytes) row(__VA_ARGS__, panel, x, y + at, n - at);
#define CASES(row)                                                                                                     \
    case CODE_BF16: PANEL_AFTER_PANEL(row, CODE_BF16, 1, &w) break;                                                    \
    case CODE_E4M3: PANELS(row, CODE_E4M3) break;                                                                      \
    case CODE_I8: SCALED(row, CODE_I8, SCALE_F16) break;                                                               \
    case CODE_E2M1: SCALED(row, CODE_E2M1, SCALE_E4M3) break;                                                          \
    case CODE_I4: PANELS(row, CODE_I4) break;                                                                          \
    case CODE_I4_ZERO: PANELS(row, CODE_I4_ZERO) break;

void gemm_rows_fp32(const struct gemm_call *c, uint64_t i, uint32_t from)
{
    BEGIN(float)
    switch (w.code) {
        CASES(row_fp32)
    default: PANEL_AFTER_PANEL(row_f16, &w) break;
    }
}

void gemm_rows_bf16(const struct gemm_call *c, uint64_t i, uint32_t from)
{
    BEGIN(uint16_t)
    switch (w.code) {
        CASES(row_bf16)
    default: break;
    }
}
