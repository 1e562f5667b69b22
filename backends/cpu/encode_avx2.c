/* ENCODE_NVFP4, ENCODE_NVFP4_STATIC and ENCODE_FP8 on AVX2. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx2.h"

LANES_FN void encode_fp8(const struct kernel_args *a, enum dtype dtype, bool single)
{
    uint64_t n = a->n_rows * a->n_cols, i = 0;
    float s = a->scale;
    if (!single && a->rounding == FP8_MODELOPT_CUDA)
        s = dtype == DTYPE_BF16 ? bf16_decode(bf16_encode(s)) : f16_decode(f16_encode(s));
    __m256 scale = _mm256_set1_ps(s);
    for (; i + 8 <= n; i += 8) {
        __m256 q = _mm256_div_ps(lanes_load(a->src, dtype, i), scale);
        if (!single) q = dtype == DTYPE_BF16 ? lanes_through_bf16(q) : lanes_through_f16(q);
        lanes_store_bytes(a->dst + i, lanes_e4m3_encode(q));
    }
    for (; i < n; i++) {
        if (dtype == DTYPE_F32) a->dst[i] = fp8_encode_f32(element_f32(a->src, i), a->scale);
        else if (dtype == DTYPE_BF16) a->dst[i] = fp8_encode_bf16(element_u16(a->src, i), a->scale, a->rounding);
        else a->dst[i] = fp8_encode_f16(element_u16(a->src, i), a->scale, a->rounding);
    }
}

void encode_fp8_avx2(const struct kernel_args *a)
{
    bool single = a->rounding == FP8_SINGLE;
    if (a->dtype == DTYPE_F32) encode_fp8(a, DTYPE_F32, true);
    else if (a->dtype == DTYPE_BF16 && single) encode_fp8(a, DTYPE_BF16, true);
    else if (a->dtype == DTYPE_BF16) encode_fp8(a, DTYPE_BF16, false);
    else if (single) encode_fp8(a, DTYPE_F16, true);
    else encode_fp8(a, DTYPE_F16, false);
}

/* Packs 8 blocks with these scale bytes (one per 32-bit lane). */
LANES_FN void pack_blocks(const __m256 v[16], __m256i scale, float s2, uint8_t *dst_scale, uint8_t *dst)
{
    const __m128i order = _mm_setr_epi8(0, 2, 8, 10, 4, 6, 12, 14, -1, -1, -1, -1, -1, -1, -1, -1);
    float e[8];
    lanes_store_bytes(dst_scale, scale);
    lanes_store(e, 0, _mm256_mul_ps(lanes_e4m3_decode(scale), _mm256_set1_ps(s2)));
    LANES_UNROLL
    for (unsigned b = 0; b < 8; b++) {
        __m256 d = _mm256_set1_ps(e[b]);
        __m256i low = lanes_nvfp4_code(_mm256_div_ps(v[2 * b], d));
        __m256i high = lanes_nvfp4_code(_mm256_div_ps(v[2 * b + 1], d));
        low = _mm256_or_si256(low, _mm256_srli_epi64(low, 28)); /* low byte of each pair: even | odd << 4 */
        high = _mm256_or_si256(high, _mm256_srli_epi64(high, 28));
        /* The lower halves of the pairs, per 128-bit lane two of `low`, two of `high`; then words; then bytes in order.
         */
        __m256 pairs = _mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), 0x88);
        __m256i u = _mm256_castps_si256(pairs);
        __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1));
        _mm_storel_epi64((__m128i *)(void *)(dst + 8 * b), _mm_shuffle_epi8(words, order));
    }
}

LANES_FN void encode_nvfp4(const struct kernel_args *a, enum dtype dtype, bool is_static)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK), b = 0;
    float s2 = is_static ? nvfp4_static_tensor_scale(a->amax, a->static_max) : a->scale;
    for (; b + 8 <= n_blocks; b += 8) {
        __m256 v[16];
        LANES_UNROLL
        for (uint64_t k = 0; k < 16; k++) v[k] = lanes_load(a->src, dtype, b * NVFP4_BLOCK + 8 * k);
        __m256i scale;
        if (is_static) scale = lanes_scale_static(lanes_load(a->block_amax, DTYPE_F32, b), a->amax, a->static_max);
        else scale = lanes_scale_dynamic(_mm256_castsi256_ps(lanes_block_amax(v)), s2);
        pack_blocks(v, scale, s2, a->dst_scale + b, a->dst + b * NVFP4_BLOCK_BYTES);
    }
    for (; b < n_blocks; b++) {
        float w[NVFP4_BLOCK];
        uint8_t *dst = a->dst + b * NVFP4_BLOCK_BYTES;
        element_widen_block(a->src, dtype, b * NVFP4_BLOCK, w);
        if (is_static)
            nvfp4_encode_block_static(w, element_f32(a->block_amax, b), a->amax, a->static_max, a->dst_scale + b, dst);
        else nvfp4_encode_block(w, s2, a->dst_scale + b, dst);
    }
}

void encode_nvfp4_avx2(const struct kernel_args *a)
{
    if (a->dtype == DTYPE_F32) encode_nvfp4(a, DTYPE_F32, false);
    else if (a->dtype == DTYPE_BF16) encode_nvfp4(a, DTYPE_BF16, false);
    else encode_nvfp4(a, DTYPE_F16, false);
}

void encode_nvfp4_static_avx2(const struct kernel_args *a)
{
    if (a->amax / (6.0f * a->static_max) == 0.0f) encode_nvfp4_static_scalar(a); /* counts as zero: scales 1.0 */
    else if (a->dtype == DTYPE_F32) encode_nvfp4(a, DTYPE_F32, true);
    else if (a->dtype == DTYPE_BF16) encode_nvfp4(a, DTYPE_BF16, true);
    else encode_nvfp4(a, DTYPE_F16, true);
}
