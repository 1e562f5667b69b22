/* ENCODE_NVFP4, ENCODE_NVFP4_STATIC and ENCODE_FP8 on AVX-512. */
#include "backends/cpu/fast_avx512.h"
#include "backends/cpu/kernel_list.h"

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
    if (dtype == DTYPE_BF16 && s >= FAST_SCALE_MIN && s <= FAST_SCALE_MAX) {
        __m512 inverse = _mm512_set1_ps(1.0f / s);
        for (; i + 32 <= n; i += 32) {
            __m512i x = _mm512_loadu_si512((const uint8_t *)a->src + 2 * i);
            if (fast_fp8(x, scale, inverse, !single, a->dst + i)) continue;
            for (uint64_t k = i; k < i + 32; k += 16)
                _mm_storeu_si128((__m128i *)(a->dst + k),
                                 _mm512_cvtepi32_epi8(fp8_codes(a, dtype, single, scale, k, 0xFFFF)));
        }
    }
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

LANES_FN __m512i block_scales(const struct kernel_args *a, bool is_static, __m512 amax, uint64_t b)
{
    if (!is_static) return lanes_scale_dynamic(amax, a->scale);
    return lanes_scale_static(_mm512_loadu_ps((const uint8_t *)a->block_amax + 4 * b), a->amax, a->static_max);
}

/* 16 blocks by dividing. */
LANES_FN void encode_blocks(const struct kernel_args *a, enum dtype dtype, bool is_static, float s2, uint64_t b)
{
    __m512 v[16];
    LANES_UNROLL
    for (uint64_t k = 0; k < 16; k++) v[k] = lanes_load(a->src, dtype, (b + k) * NVFP4_BLOCK, 0xFFFF);
    __m512i scale = block_scales(a, is_static, _mm512_castsi512_ps(lanes_block_amax(v)), b);
    pack_blocks(v, scale, s2, a->dst_scale + b, a->dst + b * NVFP4_BLOCK_BYTES);
}

/* 16 blocks of bf16 without dividing; false, with nothing written, when their scales or elements are not for that. */
LANES_FN bool multiply_blocks(const struct kernel_args *a, bool is_static, float s2, uint64_t b)
{
    __m512i x[8];
    LANES_UNROLL
    for (uint64_t k = 0; k < 8; k++) x[k] = _mm512_loadu_si512((const uint8_t *)a->src + 32 * b + 64 * k);
    __m512 amax = fast_block_amax(x);
    __m512i scale = block_scales(a, is_static, amax, b);
    __m512 e = _mm512_mul_ps(lanes_e4m3_decode(scale), _mm512_set1_ps(s2));
    __mmask16 fits = _mm512_cmp_ps_mask(e, _mm512_set1_ps(FAST_SCALE_MIN), _CMP_GE_OQ);
    fits = _mm512_mask_cmp_ps_mask(fits, e, _mm512_set1_ps(FAST_SCALE_MAX), _CMP_LE_OQ);
    fits = _mm512_mask_cmp_ps_mask(fits, amax, _mm512_set1_ps(FAST_AMAX_MAX), _CMP_LE_OQ);
    if (fits != 0xFFFF) return false;
    __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1.0f), e);
    __m512i pair = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    _mm_storeu_si128((__m128i *)(a->dst_scale + b), _mm512_cvtepi32_epi8(scale));
    LANES_UNROLL
    for (unsigned k = 0; k < 8; k++) {
        __m512i lane = _mm512_add_epi32(pair, lanes_u32(2 * k));
        fast_nvfp4(x[k], _mm512_permutexvar_ps(lane, e), _mm512_permutexvar_ps(lane, inverse),
                   a->dst + (b + 2 * k) * NVFP4_BLOCK_BYTES);
    }
    return true;
}

LANES_FN void encode_nvfp4(const struct kernel_args *a, enum dtype dtype, bool is_static)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK), b = 0;
    float s2 = is_static ? nvfp4_static_tensor_scale(a->amax, a->static_max) : a->scale;
    for (; b + 16 <= n_blocks; b += 16)
        if (dtype != DTYPE_BF16 || !multiply_blocks(a, is_static, s2, b)) encode_blocks(a, dtype, is_static, s2, b);
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
