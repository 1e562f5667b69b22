/* INPUT_NVFP4 and INPUT_FP8 on AVX2. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx2.h"

void input_fp8_avx2(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols, i = 0;
    __m256 scale = _mm256_set1_ps(a->scale);
    for (; i + 8 <= n; i += 8) {
        __m256 q = _mm256_div_ps(lanes_load(a->src, DTYPE_F32, i), scale);
        lanes_store(a->dst_f32, i, _mm256_mul_ps(lanes_through_e4m3(q), scale));
    }
    for (; i < n; i++) element_store_f32(a->dst_f32, i, fp8_input(element_f32(a->src, i), a->scale));
}

/* 8 blocks whose halves are in v: scales of all of them at once, then the elements block by block. */
LANES_FN void input_blocks(const __m256 v[16], float input_scale, float *dst, uint64_t first)
{
    __m256 amax = _mm256_castsi256_ps(lanes_block_amax(v));
    __m256 p = _mm256_div_ps(amax, _mm256_set1_ps(6.0f * input_scale));
    __m256 s = _mm256_mul_ps(lanes_through_e4m3(p), _mm256_set1_ps(input_scale));
    unsigned used = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(s, _mm256_setzero_ps(), _CMP_GT_OQ));
    unsigned nan = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(lanes_is_nan(amax)));
    float scale[8];
    lanes_store(scale, 0, s);
    LANES_UNROLL
    for (unsigned b = 0; b < 8; b++) {
        __m256 e = _mm256_set1_ps(scale[b]), y[2];
        y[0] = y[1] = nan >> b & 1u ? _mm256_castsi256_ps(lanes_u32(F32_NAN_BITS)) : _mm256_setzero_ps();
        if (used >> b & 1u) {
            y[0] = _mm256_mul_ps(lanes_through_nvfp4(_mm256_div_ps(v[2 * b], e)), e);
            y[1] = _mm256_mul_ps(lanes_through_nvfp4(_mm256_div_ps(v[2 * b + 1], e)), e);
        }
        lanes_store(dst, first + b * NVFP4_BLOCK, y[0]);
        lanes_store(dst, first + b * NVFP4_BLOCK + 8, y[1]);
    }
}

void input_nvfp4_avx2(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK), b = 0;
    for (; b + 8 <= n_blocks; b += 8) {
        __m256 v[16];
        LANES_UNROLL
        for (uint64_t k = 0; k < 16; k++) v[k] = lanes_load(a->src, DTYPE_F32, b * NVFP4_BLOCK + 8 * k);
        input_blocks(v, a->scale, a->dst_f32, b * NVFP4_BLOCK);
    }
    for (; b < n_blocks; b++) {
        float x[NVFP4_BLOCK];
        element_widen_block(a->src, DTYPE_F32, b * NVFP4_BLOCK, x);
        nvfp4_input_block(x, a->scale, x);
        memcpy((uint8_t *)a->dst_f32 + b * sizeof x, x, sizeof x);
    }
}
