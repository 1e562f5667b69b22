/* The words of words_avx2.h on NEON of 64-bit ARM, which every such CPU has: correctly rounded division, conversions of
 * binary16, denormals as they are. vi and vm are unsigned; where a sign counts, the word says so. */
#ifndef BACKENDS_CPU_WORDS_NEON_H
#define BACKENDS_CPU_WORDS_NEON_H

#include "backends/cpu/element.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <arm_neon.h>

#define LANES_FN static inline __attribute__((always_inline))
#define LANES_UNROLL _Pragma("GCC unroll 16")

#define LANES 4u
typedef float32x4_t vf;
typedef uint32x4_t vi;
typedef uint32x4_t vm;      /* all bits of a lane or none */

LANES_FN vf v_set(float x) { return vdupq_n_f32(x); }
LANES_FN vi v_set_int(int x) { return vdupq_n_u32((uint32_t)x); }
LANES_FN vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
LANES_FN vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
LANES_FN vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
LANES_FN vf v_sqrt(vf a) { return vsqrtq_f32(a); }
LANES_FN vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
LANES_FN vi v_bits(vf a) { return vreinterpretq_u32_f32(a); }
LANES_FN vf v_from_bits(vi a) { return vreinterpretq_f32_u32(a); }
LANES_FN vi v_and(vi a, vi b) { return vandq_u32(a, b); }
LANES_FN vi v_or(vi a, vi b) { return vorrq_u32(a, b); }
LANES_FN vi v_add_int(vi a, vi b) { return vaddq_u32(a, b); }
LANES_FN vi v_sub_int(vi a, vi b) { return vsubq_u32(a, b); }
LANES_FN int32x4_t v_signed(vi a) { return vreinterpretq_s32_u32(a); }
LANES_FN vi v_min_int(vi a, vi b) { return vreinterpretq_u32_s32(vminq_s32(v_signed(a), v_signed(b))); }
LANES_FN vi v_max_int(vi a, vi b) { return vreinterpretq_u32_s32(vmaxq_s32(v_signed(a), v_signed(b))); }
LANES_FN vi v_max_u32(vi a, vi b) { return vmaxq_u32(a, b); }
LANES_FN vi v_max_u16(vi a, vi b)
{
    return vreinterpretq_u32_u16(vmaxq_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b)));
}
LANES_FN vi v_shift_left(vi a, int n) { return vshlq_u32(a, vdupq_n_s32(n)); }
LANES_FN vi v_shift_right(vi a, int n) { return vshlq_u32(a, vdupq_n_s32(-n)); }
LANES_FN vi v_truncate(vf a) { return vreinterpretq_u32_s32(vcvtq_s32_f32(a)); }
LANES_FN vf v_float(vi a) { return vcvtq_f32_s32(v_signed(a)); }
LANES_FN vf v_abs(vf a) { return v_from_bits(vbicq_u32(v_bits(a), vdupq_n_u32(F32_SIGN_BIT))); }
LANES_FN vf v_amax(vf a, vf b) { return v_from_bits(vmaxq_u32(v_bits(a), v_bits(b))); }

LANES_FN vm m_all(void) { return vdupq_n_u32(0xFFFFFFFFu); }
LANES_FN vm m_none(void) { return vdupq_n_u32(0); }
LANES_FN bool m_any(vm m) { return vmaxvq_u32(m) != 0; }
LANES_FN vm m_and(vm a, vm b) { return vandq_u32(a, b); }
LANES_FN vm m_or(vm a, vm b) { return vorrq_u32(a, b); }
LANES_FN vm m_and_not(vm a, vm b) { return vbicq_u32(a, b); }
LANES_FN vm m_less(vf a, vf b) { return vcltq_f32(a, b); }
LANES_FN vm m_at_least(vf a, vf b) { return vcgeq_f32(a, b); }
LANES_FN vm m_equal(vf a, vf b) { return vceqq_f32(a, b); }
LANES_FN vm m_nan(vf a) { return vmvnq_u32(vceqq_f32(a, a)); }
LANES_FN vm m_int_less(vi a, vi b) { return vcltq_s32(v_signed(a), v_signed(b)); }
LANES_FN vf v_select(vf a, vm m, vf b) { return vbslq_f32(m, b, a); }
LANES_FN vi v_select_int(vi a, vm m, vi b) { return vbslq_u32(m, b, a); }
LANES_FN vf v_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
LANES_FN vf v_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
LANES_FN vf v_add_where(vm m, vf a, vf b) { return vaddq_f32(a, v_from_bits(vandq_u32(m, v_bits(b)))); }
LANES_FN uint32_t v_largest_u32(vi a) { return vmaxvq_u32(a); }

/* ---- memory; no address needs to be aligned ---- */

LANES_FN vi v_load_raw(const void *p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }
LANES_FN void v_store(void *dst, uint64_t i, vf x) { vst1q_u8((uint8_t *)dst + 4 * i, vreinterpretq_u8_f32(x)); }
LANES_FN void v_store_int(int *dst, vi a) { vst1q_s32(dst, v_signed(a)); }

LANES_FN vf v_load(const void *src, enum dtype dtype, uint64_t i)
{
    const uint8_t *p = src;
    if (dtype == DTYPE_F32) return vreinterpretq_f32_u8(vld1q_u8(p + 4 * i));
    uint16x4_t h = vreinterpret_u16_u8(vld1_u8(p + 2 * i));
    if (dtype == DTYPE_F16) return vcvt_f32_f16(vreinterpret_f16_u16(h));
    return v_from_bits(vshll_n_u16(h, 16));
}

LANES_FN vi v_load_bytes(const uint8_t *p)
{
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(u))));
}

LANES_FN vi v_load_signed_bytes(const uint8_t *p)
{
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return vreinterpretq_u32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(u)))));
}

LANES_FN void v_store_bytes(uint8_t *p, vi a)
{
    uint8x8_t bytes = vmovn_u16(vcombine_u16(vmovn_u32(a), vdup_n_u16(0)));
    uint32_t u = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
    memcpy(p, &u, sizeof u);
}

LANES_FN vi v_load_nibbles(const uint8_t *p)
{
    const int32x4_t right = {0, -4, -8, -12};
    uint16_t u;
    memcpy(&u, p, sizeof u);
    return vshlq_u32(vdupq_n_u32(u), right);
}

LANES_FN void v_store_nibbles(uint8_t *p, vi a)
{
    const int32x4_t left = {0, 4, 8, 12};
    uint16_t u = (uint16_t)vaddvq_u32(vshlq_u32(a, left));
    memcpy(p, &u, sizeof u);
}

LANES_FN vf v_gather(const float *table, vi index)
{
    vf x = vdupq_n_f32(table[vgetq_lane_u32(index, 0)]);
    x = vsetq_lane_f32(table[vgetq_lane_u32(index, 1)], x, 1);
    x = vsetq_lane_f32(table[vgetq_lane_u32(index, 2)], x, 2);
    return vsetq_lane_f32(table[vgetq_lane_u32(index, 3)], x, 3);
}

LANES_FN vf v_column(const float *x)
{
    return (vf){x[0], x[16], x[32], x[48]};
}

/* ---- rounding to small floats, as lanes_avx512.h explains it ---- */

struct lanes_rounded {
    vf sum;
    vi power, exponent;
};

LANES_FN struct lanes_rounded lanes_round(vi a, uint32_t min_exponent, uint32_t shift)
{
    struct lanes_rounded r;
    r.exponent = vmaxq_u32(vandq_u32(a, vdupq_n_u32(F32_INFINITY_BITS)), vdupq_n_u32(min_exponent));
    r.power = vaddq_u32(r.exponent, vdupq_n_u32(shift << 23));
    r.sum = vaddq_f32(v_from_bits(a), v_from_bits(r.power));
    return r;
}

LANES_FN vf lanes_rounded_value(struct lanes_rounded r)
{
    return vsubq_f32(r.sum, v_from_bits(r.power));
}

LANES_FN vi lanes_rounded_code(struct lanes_rounded r, uint32_t min_exponent, int shift)
{
    vi below = v_shift_right(vsubq_u32(r.exponent, vdupq_n_u32(min_exponent)), shift);
    return vaddq_u32(vsubq_u32(v_bits(r.sum), r.power), below);
}

#define E4M3_MIN_EXPONENT 0x3C800000u /* 2^-6 */
#define E4M3_SHIFT 20
#define E2M1_MIN_EXPONENT 0x3F800000u /* 1.0 */
#define E2M1_SHIFT 22

LANES_FN vi v_sign(vf a) { return vandq_u32(v_bits(a), vdupq_n_u32(F32_SIGN_BIT)); }

LANES_FN struct lanes_rounded lanes_e4m3_round(vf x)
{
    return lanes_round(vminq_u32(v_bits(v_abs(x)), vdupq_n_u32(0x43E00000u)), E4M3_MIN_EXPONENT, E4M3_SHIFT);
}

LANES_FN vi v_e4m3_encode(vf x)
{
    vi code = lanes_rounded_code(lanes_e4m3_round(x), E4M3_MIN_EXPONENT, E4M3_SHIFT);
    return vbslq_u32(m_nan(x), vdupq_n_u32(E4M3_NAN), vorrq_u32(code, v_shift_right(v_sign(x), 24)));
}

LANES_FN vf v_through_e4m3(vf x)
{
    vi v = vorrq_u32(v_bits(lanes_rounded_value(lanes_e4m3_round(x))), v_sign(x));
    return v_from_bits(vbslq_u32(m_nan(x), vdupq_n_u32(F32_NAN_BITS), v));
}

LANES_FN vf v_e4m3_decode(vi code)
{
    vi a = vandq_u32(code, vdupq_n_u32(0x7F));
    vf v = vmulq_f32(v_from_bits(v_shift_left(a, 20)), vdupq_n_f32(0x1p120f));
    vi sign = vandq_u32(v_shift_left(code, 24), vdupq_n_u32(F32_SIGN_BIT));
    vm nan = vceqq_u32(a, vdupq_n_u32(E4M3_NAN));
    return v_from_bits(vbslq_u32(nan, vdupq_n_u32(F32_NAN_BITS), vorrq_u32(v_bits(v), sign)));
}

LANES_FN struct lanes_rounded lanes_e2m1_round(vf q)
{
    return lanes_round(v_bits(v_min(v_abs(q), vdupq_n_f32(E2M1_MAX))), E2M1_MIN_EXPONENT, E2M1_SHIFT);
}

LANES_FN vf v_e2m1_magnitude(vf q) { return lanes_rounded_value(lanes_e2m1_round(q)); }

LANES_FN vi v_e2m1_code(vf q, vm *up)
{
    struct lanes_rounded r = lanes_e2m1_round(q);
    vf a = v_min(v_abs(q), vdupq_n_f32(E2M1_MAX));
    vf half = v_from_bits(vsubq_u32(r.power, vdupq_n_u32(24u << 23)));
    *up = m_equal(vsubq_f32(lanes_rounded_value(r), a), half);
    return lanes_rounded_code(r, E2M1_MIN_EXPONENT, E2M1_SHIFT);
}

LANES_FN vf lanes_scale_clamp(vf p)
{
    return v_max(v_min(p, v_set(E4M3_MAX)), v_set(E4M3_MIN));
}

LANES_FN vf lanes_zero_to_one(vf p)
{
    return v_select(p, m_equal(p, v_set(0.0f)), v_set(1.0f));
}

/* For a tensor that does not count as zero. */
LANES_FN vi lanes_scale_static(vf amax, float g, float m)
{
    vf p = lanes_zero_to_one(v_div(amax, v_set(6.0f)));
    p = v_div(v_mul(p, v_set(m)), v_set(g / 6.0f));
    return v_e4m3_encode(lanes_scale_clamp(p));
}

#endif
