/* The products of gemm.h with AVX-512, VBMI and VDPBF16PS: which of the two ways a call goes, and its input. */
#include "backends/cpu/kernel.h"
#include "backends/cpu/words_avx512bf16.h"

/* From more rows on a tile is worth its making. */
#define FEW_ROWS 2u

static void by_row(const struct gemm_call *c, void (*rows)(const struct gemm_call *, uint64_t, uint32_t))
{
    for (uint32_t i = 0; i < c->n; i += 2 * PANEL_ROWS)
        for (uint64_t r = 0; r < c->m; r++) rows(c, r, i);
}

static void fp32(const struct gemm_call *c)
{
    if (c->m <= FEW_ROWS && c->w->code != CODE_F32) by_row(c, gemm_rows_fp32);
    else gemm_tiles_fp32(c);
}

static void bf16(const struct gemm_call *c)
{
    if (c->m <= FEW_ROWS) by_row(c, gemm_rows_bf16);
    else gemm_tiles_bf16(c);
}

static uint64_t input_bytes(uint64_t cols)
{
    return (cols + 1) / 2 * 2 * sizeof(uint16_t);
}

/* By integer arithmetic, as bf16_encode; VCVTNEPS2BF16 would flush denormals, some of which round to 2^-126. */
static void input(const float *x, uint64_t cols, void *out)
{
    uint16_t *to = out;
    for (uint64_t k = 0; k < cols; k += 16) {
        __mmask16 m = lanes_first(cols - k);
        __m512i u = _mm512_maskz_loadu_epi32(m, x + k);
        __mmask16 nan = lanes_is_nan(_mm512_castsi512_ps(u));
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), lanes_u32(1));
        u = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, lanes_u32(0x7FFF)), odd), 16);
        u = _mm512_mask_mov_epi32(u, nan, lanes_u32(HALF_NAN));
        _mm512_mask_cvtepi32_storeu_epi16(to + k, m, u);
    }
    if (cols % 2) to[cols] = 0;
}

const struct gemm_ops gemm_avx512bf16 = {"avx512bf16", ISA_AVX2 | ISA_AVX512 | ISA_BF16, fp32, bf16, input,
                                         input_bytes};
