/* A panel's codes become a tile. */
#include "backends/cpu/tiles_avx512bf16.h"

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

void take_fp32(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, float *tile)
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

void take_bf16(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, uint32_t *tile)
{
    switch (p->code) {
        EACH_CODE(TILE_bf16)
    default: break;
    }
}
