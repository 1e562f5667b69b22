/* ENCODE_NVFP4, ENCODE_NVFP4_STATIC and ENCODE_FP8 on AVX-512. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx512.h"

/* 16 quotients of an FP8 source, `scale` already rounded where the rounding asks for it. */
LANES_FN __m512i fp8_codes(const struct kernel_args *a, enum dtype dtype, bool single, __m512 scale, uint64_t i,
                           __mmask16 m)
{
    __m512 q = _mm512_div_ps(lanes_load(a->src, dtype, i, m), scale);
    if (single || dtype == DTYPE_F32) return lanes_e4m3_encode(q);
    return lanes_e4m3_encode(dtype == DTYPE_BF16 ? lanes_through_bf16(q) : lanes_through_f16(q));
}

LANES_FN void encode_fp8(const struct kernel_args *a, enum dtype dtype, bool single)
{
    uint64_t n = a->n_rows * a->n_cols, i = 0;
    float s = a->scale;
    if (!single && a->rounding == FP8_MODELOPT_CUDA && dtype == DTYPE_BF16) s = bf16_decode(bf16_encode(s));
    if (!single && a->rounding == FP8_MODELOPT_CUDA && dtype == DTYPE_F16) s = f16_decode(f16_encode(s));
    __m512 scale = _mm512_set1_ps(s);
    for (; i + 16 <= n; i += 16)
        _mm_storeu_si128((__m128i *)(a->dst + i), _mm512_cvtepi32_epi8(fp8_codes(a, dtype, single, scale, i, 0xFFFF)));
    if (i < n) {
        __mmask16 m = lanes_first(n - i);
        _mm512_mask_cvtepi32_storeu_epi8(a->dst + i, m, fp8_codes(a, dtype, single, scale, i, m));
    }
}

void encode_fp8_avx512(const struct kernel_args *a)
{
    bool single = a->rounding == FP8_SINGLE;
    if (a->dtype == DTYPE_F32) encode_fp8(a, DTYPE_F32, true);
    else if (a->dtype == DTYPE_BF16 && single) encode_fp8(a, DTYPE_BF16, true);
    else if (a->dtype == DTYPE_BF16) encode_fp8(a, DTYPE_BF16, false);
    else if (single) encode_fp8(a, DTYPE_F16, true);
    else encode_fp8(a, DTYPE_F16, false);
}

/* Packs 16 blocks with these scale bytes (one per 32-bit lane). */
LANES_FN void pack_blocks(const __m512 v[16], __m512i scale, float s2, uint8_t *dst_scale, uint8_t *dst)
{
    float e[16];
    _mm_storeu_si128((__m128i *)dst_scale, _mm512_cvtepi32_epi8(scale));
    _mm512_storeu_ps(e, _mm512_mul_ps(lanes_e4m3_decode(scale), _mm512_set1_ps(s2)));
    LANES_UNROLL
    for (unsigned b = 0; b < 16; b++) {
        __m512i code = lanes_nvfp4_code(_mm512_div_ps(v[b], _mm512_set1_ps(e[b])));
        code = _mm512_or_si512(code, _mm512_srli_epi64(code, 28)); /* low byte of each pair: even | odd << 4 */
        _mm_storel_epi64((__m128i *)(dst + 8 * b), _mm512_cvtepi64_epi8(code));
    }
}

LANES_FN void encode_nvfp4(const struct kernel_args *a, enum dtype dtype, bool is_static)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK), b = 0;
    float s2 = is_static ? nvfp4_static_tensor_scale(a->amax, a->static_max) : a->scale;
    for (; b + 16 <= n_blocks; b += 16) {
        __m512 v[16];
        LANES_UNROLL
        for (uint64_t k = 0; k < 16; k++) v[k] = lanes_load(a->src, dtype, (b + k) * NVFP4_BLOCK, 0xFFFF);
        __m512i scale;
        if (is_static)
            scale = lanes_scale_static(_mm512_loadu_ps((const uint8_t *)a->block_amax + 4 * b), a->amax, a->static_max);
        else scale = lanes_scale_dynamic(_mm512_castsi512_ps(lanes_block_amax(v)), s2);
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

void encode_nvfp4_avx512(const struct kernel_args *a)
{
    if (a->dtype == DTYPE_F32) encode_nvfp4(a, DTYPE_F32, false);
    else if (a->dtype == DTYPE_BF16) encode_nvfp4(a, DTYPE_BF16, false);
    else encode_nvfp4(a, DTYPE_F16, false);
}

void encode_nvfp4_static_avx512(const struct kernel_args *a)
{
    if (a->amax / (6.0f * a->static_max) == 0.0f) encode_nvfp4_static_scalar(a); /* counts as zero: scales 1.0 */
    else if (a->dtype == DTYPE_F32) encode_nvfp4(a, DTYPE_F32, true);
    else if (a->dtype == DTYPE_BF16) encode_nvfp4(a, DTYPE_BF16, true);
    else encode_nvfp4(a, DTYPE_F16, true);
}
