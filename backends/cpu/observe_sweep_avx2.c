/* SWEEP_NVFP4 on AVX2: the words that observe_sweep_body.h is written in. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx2.h"
#include "numeric/nvfp4_sweep.h"

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

#include "backends/cpu/observe_sweep_body.h"

void sweep_nvfp4_avx2(const struct kernel_args *a)
{
    sweep(a);
}
