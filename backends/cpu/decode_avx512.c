/* DECODE_NVFP4 and DECODE_FP8 on AVX-512. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx512.h"

void decode_fp8_avx512(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    const uint8_t *src = a->src;
    __m512 scale = _mm512_set1_ps(a->scale);
    for (uint64_t i = 0; i < n; i += 16) {
        __mmask16 m = lanes_first(n - i);
        __m512i code = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, src + i));
        _mm512_mask_storeu_ps((uint8_t *)a->dst_f32 + 4 * i, m, _mm512_mul_ps(lanes_e4m3_decode(code), scale));
    }
}

void decode_nvfp4_avx512(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    const uint8_t *src = a->src;
    uint8_t *dst = (uint8_t *)a->dst_f32;
    const __m512 values = _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f,
                                         -2.0f, -3.0f, -4.0f, -6.0f);
    __m512 scale = _mm512_set1_ps(a->scale);
    for (uint64_t b = 0; b < n_blocks; b += 16) {
        uint64_t n = n_blocks - b < 16 ? n_blocks - b : 16;
        float e[16];
        __m512i byte = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes_first(n), a->src_scale + b));
        _mm512_storeu_ps(e, _mm512_mul_ps(lanes_e4m3_decode(byte), scale));
        for (uint64_t k = 0; k < n; k++) {
            /* One byte per 64 bits; the low nibble is the lower half's index, the high one, moved by 28, the upper's */
            __m512i pair = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(src + (b + k) * NVFP4_BLOCK_BYTES)));
            __m512i index = _mm512_or_si512(pair, _mm512_slli_epi64(pair, 28));
            __m512 w = _mm512_mul_ps(_mm512_permutexvar_ps(index, values), _mm512_set1_ps(e[k]));
            _mm512_storeu_ps(dst + (b + k) * (4 * NVFP4_BLOCK), w);
        }
    }
}
