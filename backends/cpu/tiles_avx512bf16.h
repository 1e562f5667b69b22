/* Between gemm_tiles_avx512bf16.c, gemm_short_avx512bf16.c (groups of few columns) and gemm_take_avx512bf16.c (from
 * codes to tiles): a run of a panel's codes is taken apart into a small tile (in the first two caches), which all rows
 * are multiplied with. */
#ifndef BACKENDS_CPU_TILES_AVX512BF16_H
#define BACKENDS_CPU_TILES_AVX512BF16_H

#include "backends/cpu/words_avx512bf16.h"

#define RUN 256u         /* columns in a tile: 32 KiB of fp32, 16 KiB of words */
#define SHORT_GROUP 128u /* up to here a group's sum and the total stay in registers together, six rows at a time */

/* Columns first .. first + n of a panel, in one group, as fp32 values [n][32]; the same as words, [n / 2][32] dwords.
 */
void take_fp32(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, float *tile);
void take_bf16(const struct packed *p, const uint8_t *panel, uint64_t first, uint64_t n, uint32_t *tile);

/* Every panel of a call whose groups have SHORT_GROUP columns at most. */
void gemm_short_bf16(const struct gemm_call *c);

/* Panel number i of a call, alone. */
static inline struct gemm_call panel_of(const struct gemm_call *c, uint32_t i)
{
    struct gemm_call one = *c;
    uint32_t from = i * PANEL_ROWS;
    one.panels += i * c->w->panel_bytes;
    one.n = c->n - from < PANEL_ROWS ? c->n - from : PANEL_ROWS;
    one.y += from;
    return one;
}

static inline uint32_t n_panels(const struct gemm_call *c)
{
    return (c->n + PANEL_ROWS - 1) / PANEL_ROWS;
}

#endif
