/* SWEEP_NVFP4 on AVX-512: the words that observe_sweep_body.h is written in. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/lanes_avx512.h"
#include "numeric/nvfp4_sweep.h"

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

#include "backends/cpu/observe_sweep_body.h"

void sweep_nvfp4_avx512(const struct kernel_args *a)
{
    sweep(a);
}
