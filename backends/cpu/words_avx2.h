/* The words that the *_body.h files are written in, on AVX2: vf, vi and vm are vectors of LANES floats, integers and
 * truths. words_avx512.h and words_neon.h have the same words; a comment here holds for all three. */
#ifndef BACKENDS_CPU_WORDS_AVX2_H
#define BACKENDS_CPU_WORDS_AVX2_H

#include "backends/cpu/lanes_avx2.h"

#define LANES 8u
typedef __m256 vf;
typedef __m256i vi;
typedef __m256i vm;      /* all bits of a lane or none */

LANES_FN vf v_set(float x) { return _mm256_set1_ps(x); }
LANES_FN vi v_set_int(int x) { return _mm256_set1_epi32(x); }
LANES_FN vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
LANES_FN vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
LANES_FN vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
LANES_FN vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
LANES_FN vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
LANES_FN vf v_abs(vf a) { return _mm256_castsi256_ps(lanes_magnitude_bits(a)); }
LANES_FN vi v_bits(vf a) { return _mm256_castps_si256(a); }
LANES_FN vf v_amax(vf a, vf b) { return _mm256_castsi256_ps(_mm256_max_epu32(v_bits(a), v_bits(b))); }
LANES_FN vf v_e2m1_magnitude(vf q) { return lanes_rounded_value(lanes_e2m1_round(q)); }
LANES_FN vi v_add_int(vi a, vi b) { return _mm256_add_epi32(a, b); }
LANES_FN vi v_min_int(vi a, vi b) { return _mm256_min_epi32(a, b); }
LANES_FN vf v_gather(const float *table, vi index) { return _mm256_i32gather_ps(table, index, 4); }
LANES_FN void v_store_int(int *dst, vi a) { _mm256_storeu_si256((__m256i *)(void *)dst, a); }
LANES_FN vm m_all(void) { return _mm256_set1_epi32(-1); }
LANES_FN bool m_any(vm m) { return !_mm256_testz_si256(m, m); }
LANES_FN vm m_and(vm a, vm b) { return _mm256_and_si256(a, b); }
LANES_FN vm m_and_not(vm a, vm b) { return _mm256_andnot_si256(b, a); }
LANES_FN vm m_less(vf a, vf b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
LANES_FN vm m_at_least(vf a, vf b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GE_OQ)); }
LANES_FN vm m_equal(vf a, vf b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }
LANES_FN vm m_int_less(vi a, vi b) { return _mm256_cmpgt_epi32(b, a); }
LANES_FN vf v_select(vf a, vm m, vf b) { return _mm256_blendv_ps(a, b, _mm256_castsi256_ps(m)); }
LANES_FN vi v_select_int(vi a, vm m, vi b) { return _mm256_blendv_epi8(a, b, m); }
LANES_FN vf v_add_where(vm m, vf a, vf b) { return _mm256_add_ps(a, _mm256_and_ps(_mm256_castsi256_ps(m), b)); }

/* x[0], x[16], x[32], ...: one element of each of 8 rows. */
LANES_FN vf v_column(const float *x)
{
    return _mm256_i32gather_ps(x, _mm256_setr_epi32(0, 16, 32, 48, 64, 80, 96, 112), 4);
}

LANES_FN vf v_load(const void *src, enum dtype dtype, uint64_t i) { return lanes_load(src, dtype, i); }
LANES_FN vi v_load_raw(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
LANES_FN void v_store(void *dst, uint64_t i, vf x) { lanes_store(dst, i, x); }
LANES_FN vi v_load_bytes(const uint8_t *p) { return lanes_load_bytes(p); }
LANES_FN vi v_load_signed_bytes(const uint8_t *p)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
LANES_FN void v_store_bytes(uint8_t *p, vi a) { lanes_store_bytes(p, a); }

/* LANES codes from LANES / 2 bytes, the low nibble first; bits above the code are not cleared. */
LANES_FN vi v_load_nibbles(const uint8_t *p)
{
    int32_t u;
    memcpy(&u, p, sizeof u);
    return _mm256_srlv_epi32(_mm256_set1_epi32(u), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
}

/* Codes of 0..15. */
LANES_FN void v_store_nibbles(uint8_t *p, vi a)
{
    const __m256i low_bytes = _mm256_setr_epi8(0, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 8, -1,
                                               -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i pairs = _mm256_shuffle_epi8(_mm256_or_si256(a, _mm256_srli_epi64(a, 28)), low_bytes);
    uint16_t half[2] = {(uint16_t)_mm256_extract_epi16(pairs, 0), (uint16_t)_mm256_extract_epi16(pairs, 8)};
    memcpy(p, half, sizeof half);
}

LANES_FN vf v_from_bits(vi a) { return _mm256_castsi256_ps(a); }
LANES_FN vi v_and(vi a, vi b) { return _mm256_and_si256(a, b); }
LANES_FN vi v_or(vi a, vi b) { return _mm256_or_si256(a, b); }
LANES_FN vi v_sub_int(vi a, vi b) { return _mm256_sub_epi32(a, b); }
LANES_FN vi v_max_int(vi a, vi b) { return _mm256_max_epi32(a, b); }
LANES_FN vi v_max_u32(vi a, vi b) { return _mm256_max_epu32(a, b); }
LANES_FN vi v_max_u16(vi a, vi b) { return _mm256_max_epu16(a, b); }
LANES_FN vi v_shift_left(vi a, int n) { return _mm256_slli_epi32(a, n); }
LANES_FN vi v_shift_right(vi a, int n) { return _mm256_srli_epi32(a, n); }
LANES_FN vi v_truncate(vf a) { return _mm256_cvttps_epi32(a); }
LANES_FN vf v_float(vi a) { return _mm256_cvtepi32_ps(a); }
LANES_FN vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }         /* a < b ? a : b */
LANES_FN vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }         /* a > b ? a : b */
LANES_FN vm m_none(void) { return _mm256_setzero_si256(); }
LANES_FN vm m_or(vm a, vm b) { return _mm256_or_si256(a, b); }
LANES_FN vm m_nan(vf a) { return lanes_is_nan(a); }
LANES_FN vi v_e4m3_encode(vf a) { return lanes_e4m3_encode(a); }
LANES_FN vf v_e4m3_decode(vi code) { return lanes_e4m3_decode(code); }
LANES_FN vf v_through_e4m3(vf a) { return lanes_through_e4m3(a); }

/* The largest lane, unsigned. */
LANES_FN uint32_t v_largest_u32(vi a)
{
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* A magnitude rounded to E2M1, ties to even: its code; where a tie was rounded up, all bits in *up. */
LANES_FN vi v_e2m1_code(vf q, vm *up)
{
    struct lanes_rounded r = lanes_e2m1_round(q);
    __m256 a = _mm256_min_ps(_mm256_castsi256_ps(lanes_magnitude_bits(q)), _mm256_set1_ps(E2M1_MAX));
    __m256 half = _mm256_castsi256_ps(_mm256_sub_epi32(r.power, lanes_u32(24u << 23)));
    *up = m_equal(_mm256_sub_ps(lanes_rounded_value(r), a), half);
    return lanes_rounded_code(r, E2M1_MIN_EXPONENT, E2M1_SHIFT);
}

#endif
