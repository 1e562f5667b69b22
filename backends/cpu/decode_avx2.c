/* DECODE_NVFP4 and DECODE_FP8 on AVX2. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx2.h"

void decode_fp8_avx2(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols, i = 0;
    const uint8_t *src = a->src;
    __m256 scale = _mm256_set1_ps(a->scale);
    for (; i + 8 <= n; i += 8)
        lanes_store(a->dst_f32, i, _mm256_mul_ps(lanes_e4m3_decode(lanes_load_bytes(src + i)), scale));
    for (; i < n; i++) element_store_f32(a->dst_f32, i, fp8_decode(src[i], a->scale));
}

/* Eight codes in 32-bit lanes (other bits are ignored) times e: the magnitude from a table, the sign from bit 3. */
LANES_FN __m256 e2m1_times(__m256i code, __m256 e)
{
    const __m256 values = _mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);
    __m256 magnitude = _mm256_permutevar8x32_ps(values, code);
    __m256i sign = _mm256_and_si256(_mm256_slli_epi32(code, 28), lanes_u32(F32_SIGN_BIT));
    return _mm256_mul_ps(_mm256_or_ps(magnitude, _mm256_castsi256_ps(sign)), e);
}

void decode_nvfp4_avx2(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    const uint8_t *src = a->src;
    for (uint64_t b = 0; b < n_blocks; b++) {
        __m256 e = _mm256_set1_ps(nvfp4_block_scale(a->src_scale[b], a->scale));
        /* Bytes 0..3 and 4..7, each in both halves of a 64-bit lane; the upper half then looks at the high nibble. */
        __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(src + b * NVFP4_BLOCK_BYTES));
        __m256i low = _mm256_cvtepu8_epi64(bytes), high = _mm256_cvtepu8_epi64(_mm_srli_si128(bytes, 4));
        low = _mm256_or_si256(low, _mm256_slli_epi64(low, 28));
        high = _mm256_or_si256(high, _mm256_slli_epi64(high, 28));
        lanes_store(a->dst_f32, b * NVFP4_BLOCK, e2m1_times(low, e));
        lanes_store(a->dst_f32, b * NVFP4_BLOCK + 8, e2m1_times(high, e));
    }
}
