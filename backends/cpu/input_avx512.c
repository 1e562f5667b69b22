/* INPUT_NVFP4 and INPUT_FP8 on AVX-512. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx512.h"

void input_fp8_avx512(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    __m512 scale = _mm512_set1_ps(a->scale);
    for (uint64_t i = 0; i < n; i += 16) {
        __mmask16 m = lanes_first(n - i);
        __m512 x = lanes_load(a->src, DTYPE_F32, i, m);
        __m512 y = _mm512_mul_ps(lanes_through_e4m3(_mm512_div_ps(x, scale)), scale);
        _mm512_mask_storeu_ps((uint8_t *)a->dst_f32 + 4 * i, m, y);
    }
}

/* 16 blocks whose elements are in v: scales of all of them at once, then the elements block by block. */
LANES_FN void input_blocks(const __m512 v[16], float input_scale, uint8_t *dst)
{
    __m512i amax = lanes_block_amax(v);
    __m512 d = _mm512_set1_ps(6.0f * input_scale);
    __m512 p = _mm512_div_ps(_mm512_castsi512_ps(amax), d);
    __m512 s = _mm512_mul_ps(lanes_through_e4m3(p), _mm512_set1_ps(input_scale));
    unsigned used = _mm512_cmp_ps_mask(s, _mm512_setzero_ps(), _CMP_GT_OQ);
    unsigned nan = _mm512_cmpgt_epu32_mask(amax, lanes_u32(F32_INFINITY_BITS));
    float scale[16];
    _mm512_storeu_ps(scale, s);
    LANES_UNROLL
    for (unsigned b = 0; b < 16; b++) {
        __m512 e = _mm512_set1_ps(scale[b]), y;
        if (used >> b & 1u) y = _mm512_mul_ps(lanes_through_nvfp4(_mm512_div_ps(v[b], e)), e);
        else y = nan >> b & 1u ? _mm512_castsi512_ps(lanes_u32(F32_NAN_BITS)) : _mm512_setzero_ps();
        _mm512_storeu_ps(dst + b * (4 * NVFP4_BLOCK), y);
    }
}

void input_nvfp4_avx512(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK), b = 0;
    uint8_t *dst = (uint8_t *)a->dst_f32;
    for (; b + 16 <= n_blocks; b += 16) {
        __m512 v[16];
        LANES_UNROLL
        for (uint64_t k = 0; k < 16; k++) v[k] = lanes_load(a->src, DTYPE_F32, (b + k) * NVFP4_BLOCK, 0xFFFF);
        input_blocks(v, a->scale, dst + b * (4 * NVFP4_BLOCK));
    }
    for (; b < n_blocks; b++) {
        float x[NVFP4_BLOCK];
        element_widen_block(a->src, DTYPE_F32, b * NVFP4_BLOCK, x);
        nvfp4_input_block(x, a->scale, x);
        memcpy(dst + b * sizeof x, x, sizeof x);
    }
}
