/* The arithmetic of math.h with sixteen lanes (AVX-512 F, BW, VL, DQ). */
#define LANES 16u
#include "backends/cpu/math_vector_body.h"

#include <immintrin.h>

/* Bits of the first n lanes, n <= LANES. */
INLINE __mmask16 lanes_below(uint64_t n)
{
    return (__mmask16)((1u << n) - 1);
}

/* The first n < LANES floats; zeros beyond. */
INLINE vec vec_load_part(const float *p, uint64_t n)
{
    return (vec)_mm512_maskz_loadu_ps(lanes_below(n), p);
}

INLINE void vec_store_part(float *p, vec v, uint64_t n)
{
    _mm512_mask_storeu_ps(p, lanes_below(n), (__m512)v);
}

/* The first n < LANES lanes of v; zeros beyond. */
INLINE vec vec_keep(vec v, uint64_t n)
{
    return (vec)_mm512_maskz_mov_ps(lanes_below(n), (__m512)v);
}

/* a < b ? yes : no */
INLINE vec vec_pick_less(vec a, vec b, vec yes, vec no)
{
    return (vec)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ), (__m512)no, (__m512)yes);
}

/* a > b ? a : b, so b when either is a NaN */
INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
}

/* a < b ? a : b */
INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
}

INLINE ivec ivec_max(ivec a, ivec b)
{
    return (ivec)_mm512_max_epi32((__m512i)a, (__m512i)b);
}

/* Lanes j and j + 8, then j and j + 4. */
INLINE quad group_fold(const vec g[PARTS])
{
    __m256 h = _mm512_castps512_ps256((__m512)g[0]) + _mm512_extractf32x8_ps((__m512)g[0], 1);
    return (quad)_mm256_castps256_ps128(h) + (quad)_mm256_extractf128_ps(h, 1);
}

/* 12 rows x 32 columns fill 24 of the 32 registers. */
#define TILE_ROWS 12u

INLINE void gemm_tile(const uint32_t rows, const struct tile *t)
{
    const float *x = t->x, *w = t->panel;
    float *y = t->y;
    uint64_t ldx = t->ldx, ldy = t->ldy, depth = t->depth;
    __mmask16 left = lanes_below(t->n < 16 ? t->n : 16), right = lanes_below(t->n < 16 ? 0 : t->n - 16);
    __m512 sum[TILE_ROWS][2];
#pragma GCC unroll 12
    for (uint32_t r = 0; r < rows; r++) {
        sum[r][0] = t->first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(left, y + r * ldy);
        sum[r][1] = t->first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(right, y + r * ldy + 16);
    }
    for (uint64_t k = 0; k < depth; k++, w += GEMM_PANEL) {
        __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + 16);
#pragma GCC unroll 12
        for (uint32_t r = 0; r < rows; r++) {
            __m512 v = _mm512_set1_ps(x[r * ldx + k]);
            sum[r][0] = _mm512_fmadd_ps(v, w0, sum[r][0]);
            sum[r][1] = _mm512_fmadd_ps(v, w1, sum[r][1]);
        }
    }
#pragma GCC unroll 12
    for (uint32_t r = 0; r < rows; r++) {
        _mm512_mask_storeu_ps(y + r * ldy, left, sum[r][0]);
        _mm512_mask_storeu_ps(y + r * ldy + 16, right, sum[r][1]);
    }
}

#include "backends/cpu/math_body.h"

const struct math_ops math_avx512 = MATH_OPS("avx512", ISA_AVX2 | ISA_AVX512);
