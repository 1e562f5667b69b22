/* The words of words_avx2.h on AVX-512. */
#ifndef BACKENDS_CPU_WORDS_AVX512_H
#define BACKENDS_CPU_WORDS_AVX512_H

#include "backends/cpu/lanes_avx512.h"

#define LANES 16u
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

LANES_FN vf v_set(float x) { return _mm512_set1_ps(x); }
LANES_FN vi v_set_int(int x) { return _mm512_set1_epi32(x); }
LANES_FN vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
LANES_FN vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
LANES_FN vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
LANES_FN vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
LANES_FN vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
LANES_FN vf v_abs(vf a) { return _mm512_castsi512_ps(lanes_magnitude_bits(a)); }
LANES_FN vi v_bits(vf a) { return _mm512_castps_si512(a); }
LANES_FN vf v_amax(vf a, vf b) { return _mm512_castsi512_ps(_mm512_max_epu32(v_bits(a), v_bits(b))); }
LANES_FN vf v_e2m1_magnitude(vf q) { return lanes_rounded_value(lanes_e2m1_round(q)); }
LANES_FN vi v_add_int(vi a, vi b) { return _mm512_add_epi32(a, b); }
LANES_FN vi v_min_int(vi a, vi b) { return _mm512_min_epi32(a, b); }
LANES_FN vf v_gather(const float *table, vi index) { return _mm512_i32gather_ps(index, table, 4); }
LANES_FN void v_store_int(int *dst, vi a) { _mm512_storeu_si512(dst, a); }
LANES_FN vm m_all(void) { return 0xFFFF; }
LANES_FN bool m_any(vm m) { return m != 0; }
LANES_FN vm m_and(vm a, vm b) { return (vm)(a & b); }
LANES_FN vm m_and_not(vm a, vm b) { return (vm)(a & ~b); }
LANES_FN vm m_less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
LANES_FN vm m_at_least(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
LANES_FN vm m_equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
LANES_FN vm m_int_less(vi a, vi b) { return _mm512_cmplt_epi32_mask(a, b); }
LANES_FN vf v_select(vf a, vm m, vf b) { return _mm512_mask_mov_ps(a, m, b); }
LANES_FN vi v_select_int(vi a, vm m, vi b) { return _mm512_mask_mov_epi32(a, m, b); }
LANES_FN vf v_add_where(vm m, vf a, vf b) { return _mm512_mask_add_ps(a, m, a, b); }

/* x[0], x[16], x[32], ...: one element of each of 16 rows. */
LANES_FN vf v_column(const float *x)
{
    const vi row = _mm512_setr_epi32(0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240);
    return _mm512_i32gather_ps(row, x, 4);
}

LANES_FN vf v_load(const void *src, enum dtype dtype, uint64_t i) { return lanes_load(src, dtype, i, 0xFFFF); }
LANES_FN vi v_load_raw(const void *p) { return _mm512_loadu_si512(p); }
LANES_FN void v_store(void *dst, uint64_t i, vf x) { _mm512_storeu_ps((uint8_t *)dst + 4 * i, x); }
LANES_FN vi v_load_bytes(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
LANES_FN vi v_load_signed_bytes(const uint8_t *p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)); }
LANES_FN void v_store_bytes(uint8_t *p, vi a) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a)); }

LANES_FN vi v_load_nibbles(const uint8_t *p)
{
    __m512i pair = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)p));
    return _mm512_or_si512(pair, _mm512_slli_epi64(pair, 28));
}

LANES_FN void v_store_nibbles(uint8_t *p, vi a)
{
    a = _mm512_or_si512(a, _mm512_srli_epi64(a, 28));
    _mm_storel_epi64((__m128i *)p, _mm512_cvtepi64_epi8(a));
}

LANES_FN vf v_from_bits(vi a) { return _mm512_castsi512_ps(a); }
LANES_FN vi v_and(vi a, vi b) { return _mm512_and_si512(a, b); }
LANES_FN vi v_or(vi a, vi b) { return _mm512_or_si512(a, b); }
LANES_FN vi v_sub_int(vi a, vi b) { return _mm512_sub_epi32(a, b); }
LANES_FN vi v_max_int(vi a, vi b) { return _mm512_max_epi32(a, b); }
LANES_FN vi v_max_u32(vi a, vi b) { return _mm512_max_epu32(a, b); }
LANES_FN vi v_max_u16(vi a, vi b) { return _mm512_max_epu16(a, b); }
LANES_FN vi v_shift_left(vi a, unsigned n) { return _mm512_slli_epi32(a, n); }
LANES_FN vi v_shift_right(vi a, unsigned n) { return _mm512_srli_epi32(a, n); }
LANES_FN vi v_truncate(vf a) { return _mm512_cvttps_epi32(a); }
LANES_FN vf v_float(vi a) { return _mm512_cvtepi32_ps(a); }
LANES_FN vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
LANES_FN vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
LANES_FN vm m_none(void) { return 0; }
LANES_FN vm m_or(vm a, vm b) { return (vm)(a | b); }
LANES_FN vm m_nan(vf a) { return lanes_is_nan(a); }
LANES_FN vi v_e4m3_encode(vf a) { return lanes_e4m3_encode(a); }
LANES_FN vf v_e4m3_decode(vi code) { return lanes_e4m3_decode(code); }
LANES_FN vf v_through_e4m3(vf a) { return lanes_through_e4m3(a); }
LANES_FN uint32_t v_largest_u32(vi a) { return _mm512_reduce_max_epu32(a); }

LANES_FN vi v_e2m1_code(vf q, vm *up)
{
    struct lanes_rounded r = lanes_e2m1_round(q);
    __m512 a = _mm512_min_ps(_mm512_castsi512_ps(lanes_magnitude_bits(q)), _mm512_set1_ps(E2M1_MAX));
    __m512 half = _mm512_castsi512_ps(_mm512_sub_epi32(r.power, lanes_u32(24u << 23)));
    *up = m_equal(_mm512_sub_ps(lanes_rounded_value(r), a), half);
    return lanes_rounded_code(r, E2M1_MIN_EXPONENT, E2M1_SHIFT);
}

#endif
