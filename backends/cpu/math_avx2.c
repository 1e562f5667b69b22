/* The arithmetic of math.h with eight lanes (AVX2 and FMA). */
#define LANES 8u
#include "backends/cpu/math_vector_body.h"

#include <immintrin.h>

/* All bits in the first n lanes, n <= LANES. */
INLINE ivec lanes_below(uint64_t n)
{
    return (ivec){0, 1, 2, 3, 4, 5, 6, 7} < (int32_t)n;
}

/* The first n < LANES floats; zeros beyond. */
INLINE vec vec_load_part(const float *p, uint64_t n)
{
    return (vec)_mm256_maskload_ps(p, (__m256i)lanes_below(n));
}

INLINE void vec_store_part(float *p, vec v, uint64_t n)
{
    _mm256_maskstore_ps(p, (__m256i)lanes_below(n), (__m256)v);
}

/* The first n < LANES lanes of v; zeros beyond. */
INLINE vec vec_keep(vec v, uint64_t n)
{
    return (vec)((ivec)v & lanes_below(n));
}

/* a < b ? yes : no */
INLINE vec vec_pick_less(vec a, vec b, vec yes, vec no)
{
    return (vec)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)(a < b));
}

/* a > b ? a : b, so b when either is a NaN */
INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
}

/* a < b ? a : b */
INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
}

INLINE ivec ivec_max(ivec a, ivec b)
{
    return (ivec)_mm256_max_epi32((__m256i)a, (__m256i)b);
}

/* Lanes j and j + 8, then j and j + 4. */
INLINE quad group_fold(const vec g[PARTS])
{
    vec h = g[0] + g[1];
    return (quad)_mm256_castps256_ps128((__m256)h) + (quad)_mm256_extractf128_ps((__m256)h, 1);
}

/* 6 rows x 16 columns fill 12 of the 16 registers; a panel is two such tiles. */
#define TILE_ROWS 6u

INLINE void gemm_half(const uint32_t rows, const struct tile *t, uint32_t column)
{
    const float *x = t->x, *w = t->panel + column;
    float *y = t->y + column;
    uint64_t ldx = t->ldx, ldy = t->ldy, depth = t->depth;
    uint32_t n = t->n - column;
    __m256i left = (__m256i)lanes_below(n < 8 ? n : 8), right = (__m256i)lanes_below(n < 8 ? 0 : n - 8);
    __m256 sum[TILE_ROWS][2];
#pragma GCC unroll 6
    for (uint32_t r = 0; r < rows; r++) {
        sum[r][0] = t->first ? _mm256_setzero_ps() : _mm256_maskload_ps(y + r * ldy, left);
        sum[r][1] = t->first ? _mm256_setzero_ps() : _mm256_maskload_ps(y + r * ldy + 8, right);
    }
    for (uint64_t k = 0; k < depth; k++, w += GEMM_PANEL) {
        __m256 w0 = _mm256_loadu_ps(w), w1 = _mm256_loadu_ps(w + 8);
#pragma GCC unroll 6
        for (uint32_t r = 0; r < rows; r++) {
            __m256 v = _mm256_broadcast_ss(x + r * ldx + k);
            sum[r][0] = _mm256_fmadd_ps(v, w0, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(v, w1, sum[r][1]);
        }
    }
#pragma GCC unroll 6
    for (uint32_t r = 0; r < rows; r++) {
        _mm256_maskstore_ps(y + r * ldy, left, sum[r][0]);
        _mm256_maskstore_ps(y + r * ldy + 8, right, sum[r][1]);
    }
}

INLINE void gemm_tile(const uint32_t rows, const struct tile *t)
{
    gemm_half(rows, t, 0);
    if (t->n > 16) gemm_half(rows, t, 16);
}

#include "backends/cpu/math_body.h"

const struct math_ops math_avx2 = MATH_OPS("avx2", ISA_AVX2);
