/* One row of x: codes go from memory through registers into the chains, two panels at a time, so that 64 chains hide
 * the latency of the fused multiply-adds. */
#include "backends/cpu/words_avx512bf16.h"

#define PREFETCH                                                                                                       \
    2048u /* bytes ahead: two streams of codes are more than some prefetchers follow (worth 10 % on Zen 4) */

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
                _mm_prefetch((const char *)unit + PREFETCH, _MM_HINT_T0);
                if (UNIT_BYTES(code) > 64) _mm_prefetch((const char *)unit + PREFETCH + 64, _MM_HINT_T0);
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
                _mm_prefetch((const char *)unit + PREFETCH, _MM_HINT_T0);
                if (UNIT_BYTES(code) > 64) _mm_prefetch((const char *)unit + PREFETCH + 64, _MM_HINT_T0);
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

/* All panels with one row of x, two at a time. */
#define ROWS_OF(kind, type)                                                                                            \
    void gemm_rows_##kind(const struct gemm_call *c, uint64_t i, uint32_t from)                                        \
    {                                                                                                                  \
        const type *x = (const type *)(const void *)((const uint8_t *)c->x + i * c->x_stride);                         \
        const uint8_t *panel = c->panels + from / PANEL_ROWS * c->w->panel_bytes;                                      \
        float *y = c->y + i * c->ldy + from;                                                                           \
        bool two = c->n - from > PANEL_ROWS;                                                                           \
        switch (c->w->code) {                                                                                          \
            EACH_CODE(ROW_##kind)                                                                                      \
        default: OTHER_##kind break;                                                                                   \
        }                                                                                                              \
    }
/* F16: [cols][32], widened by an instruction of its own. */
LANES_FN void row_f16(int wide, const struct packed *p, const uint8_t *panel, const float *x, float *y, uint32_t n)
{
    __m512 sum[WIDE][HALVES];
    UNROLL
    for (int i = 0; i < wide; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (uint64_t k = 0; k < p->cols; k++) {
        __m512 v = _mm512_set1_ps(x[k]);
        UNROLL
        for (int i = 0; i < wide; i++) {
            const uint8_t *at = panel + (uint64_t)i * p->panel_bytes + 64 * k;
            _mm_prefetch((const char *)at + PREFETCH, _MM_HINT_T0);
            __m512i both = _mm512_load_si512(at);
            sum[i][0] = _mm512_fmadd_ps(v, _mm512_cvtph_ps(_mm512_castsi512_si256(both)), sum[i][0]);
            sum[i][1] = _mm512_fmadd_ps(v, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(both, 1)), sum[i][1]);
        }
    }
    store_sums(wide, sum, y, n);
}

#define ROW_fp32(code)                                                                                                 \
    case code:                                                                                                         \
        if (two) row_fp32(code, 2, c->w, panel, x, y, c->n - from);                                                    \
        else row_fp32(code, 1, c->w, panel, x, y, c->n - from);                                                        \
        break;
#define ROW_bf16(code)                                                                                                 \
    case code:                                                                                                         \
        if (two) row_bf16(code, 2, c->w, panel, x, y, c->n - from);                                                    \
        else row_bf16(code, 1, c->w, panel, x, y, c->n - from);                                                        \
        break;
#define OTHER_fp32                                                                                                     \
    if (two) row_f16(2, c->w, panel, x, y, c->n - from);                                                               \
    else row_f16(1, c->w, panel, x, y, c->n - from);
#define OTHER_bf16
ROWS_OF(fp32, float)
ROWS_OF(bf16, uint16_t)
