/* WIDEN and AMAX on AVX2. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx2.h"

LANES_FN void widen(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = a->n_rows * a->n_cols, i = 0;
    for (; i + 8 <= n; i += 8) lanes_store(a->dst_f32, i, lanes_load(a->src, dtype, i));
    for (; i < n; i++) element_store_f32(a->dst_f32, i, element_widen(a->src, dtype, i));
}

void widen_avx2(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    if (a->dtype == DTYPE_BF16) widen(a, DTYPE_BF16);
    else if (a->dtype == DTYPE_F16) widen(a, DTYPE_F16);
    else if (n) memcpy(a->dst_f32, a->src, 4 * n);
}

/* Magnitudes are compared as bits; NaN is settled at the end of a row. */
LANES_FN float amax_row(const void *src, enum dtype dtype, uint64_t first, uint64_t n)
{
    __m256i best = _mm256_setzero_si256();
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) best = _mm256_max_epu32(best, lanes_magnitude_bits(lanes_load(src, dtype, first + i)));
    float lane[8], amax = 0.0f;
    lanes_store(lane, 0, _mm256_castsi256_ps(best));
    for (int k = 0; k < 8; k++) amax = f32_amax(amax, lane[k]);
    for (; i < n; i++) amax = f32_amax(amax, element_widen(src, dtype, first + i));
    return f32_is_nan(amax) ? f32_from_bits(F32_NAN_BITS) : amax;
}

void amax_avx2(const struct kernel_args *a)
{
    for (uint64_t r = 0; r < a->n_rows; r++) {
        float amax;
        if (a->dtype == DTYPE_F32) amax = amax_row(a->src, DTYPE_F32, r * a->n_cols, a->n_cols);
        else if (a->dtype == DTYPE_BF16) amax = amax_row(a->src, DTYPE_BF16, r * a->n_cols, a->n_cols);
        else amax = amax_row(a->src, DTYPE_F16, r * a->n_cols, a->n_cols);
        element_store_f32(a->dst_f32, r, amax);
    }
}
