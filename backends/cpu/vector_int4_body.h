/* INT4 for a vector unit, in the words of words_*.h. Groups have any even length: what a group leaves over is done as
 * numeric/int4.h says it, an element at a time. */
#include "backends/cpu/element.h"
#include "numeric/int4.h"

/* numeric/int4.h: floats near 1.5 * 2^23 lie 1 apart, and these bits, whose low four are 0, stand for 0. */
#define INT4_COUNTER 12582912.0f
#define INT4_COUNTER_BITS 0x4B400000

LANES_FN void nibble_put(uint8_t *dst, uint64_t i, uint8_t code)
{
    if (i % 2 == 0) dst[i / 2] = code;
    else dst[i / 2] = (uint8_t)(dst[i / 2] | code << 4);
}

LANES_FN uint8_t nibble_at(const uint8_t *src, uint64_t i)
{
    return i % 2 == 0 ? src[i / 2] & 15u : src[i / 2] >> 4;
}

LANES_FN void encode_int4_groups(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_groups = a->n_rows * (a->n_cols / a->group);
    for (uint64_t g = 0; g < n_groups; g++) {
        uint64_t i = g * a->group, end = i + a->group;
        float scale = int4_scale(span_amax(a->src, dtype, i, a->group), a->int4_scale);
        element_store_f32(a->dst_f32, g, scale);
        for (; i + LANES <= end; i += LANES) {
            vf q = v_div(v_load(a->src, dtype, i), v_set(scale));
            q = v_max(v_min(q, v_set(7.0f)), v_set(-8.0f));
            v_store_nibbles(a->dst + i / 2, v_and(v_bits(v_add(q, v_set(INT4_COUNTER))), v_set_int(15)));
        }
        for (; i < end; i++) nibble_put(a->dst, i, int4_code(element_widen(a->src, dtype, i), scale));
    }
}

/* The range of a group, from 0 on; both NaN when it holds one. */
LANES_FN void group_range(const struct kernel_args *a, enum dtype dtype, uint64_t i, uint64_t end, float *lo, float *hi)
{
    vf low = v_set(0.0f), high = low;
    vm nan = m_none();
    float lows[LANES], highs[LANES];
    for (; i + LANES <= end; i += LANES) {
        vf w = v_load(a->src, dtype, i);
        low = v_min(w, low), high = v_max(w, high);
        nan = m_or(nan, m_nan(w));
    }
    v_store(lows, 0, low), v_store(highs, 0, high);
    *lo = *hi = m_any(nan) ? f32_from_bits(F32_NAN_BITS) : 0.0f;
    for (uint32_t k = 0; k < LANES; k++) *lo = int4_low(*lo, lows[k]), *hi = int4_high(*hi, highs[k]);
    for (; i < end; i++) {
        float w = element_widen(a->src, dtype, i);
        *lo = int4_low(*lo, w), *hi = int4_high(*hi, w);
    }
}

LANES_FN void encode_int4_zero_groups(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_groups = a->n_rows * (a->n_cols / a->group);
    for (uint64_t g = 0; g < n_groups; g++) {
        uint64_t i = g * a->group, end = i + a->group;
        float lo, hi;
        group_range(a, dtype, i, end, &lo, &hi);
        float scale = int4_zero_scale(lo, hi, a->int4_scale);
        uint8_t zero = int4_zero(lo, scale);
        element_store_f32(a->dst_f32, g, scale);
        a->dst_scale[g] = zero;
        for (; i + LANES <= end; i += LANES) {
            vf q = v_div(v_load(a->src, dtype, i), v_set(scale));
            vm nan = m_nan(q);
            q = v_max(v_min(q, v_set(15.0f)), v_set(-15.0f));
            vi c = v_sub_int(v_bits(v_add(q, v_set(INT4_COUNTER))), v_set_int(INT4_COUNTER_BITS - (int)zero));
            c = v_min_int(v_max_int(c, v_set_int(0)), v_set_int(15));
            v_store_nibbles(a->dst + i / 2, v_select_int(c, nan, v_set_int(15)));
        }
        for (; i < end; i++) nibble_put(a->dst, i, int4_zero_code(element_widen(a->src, dtype, i), scale, zero));
    }
}

/* Symmetric codes are two's complement: (code ^ 8) - 8, so unsigned codes with a zero of 8 after the flip of bit 3. */
LANES_FN void decode_int4_groups(const struct kernel_args *a, bool has_zero)
{
    uint64_t n_groups = a->n_rows * (a->n_cols / a->group);
    const uint8_t *src = a->src;
    for (uint64_t g = 0; g < n_groups; g++) {
        uint64_t i = g * a->group, end = i + a->group;
        float scale = element_f32(a->src_scale_f32, g);
        int zero = has_zero ? a->src_scale[g] : 8;
        for (; i + LANES <= end; i += LANES) {
            vi code = v_and(v_load_nibbles(src + i / 2), v_set_int(15));
            if (!has_zero) code = v_and(v_add_int(code, v_set_int(8)), v_set_int(15));
            v_store(a->dst_f32, i, v_one_nan(v_mul(v_float(v_sub_int(code, v_set_int(zero))), v_set(scale))));
        }
        for (; i < end; i++)
            element_store_f32(a->dst_f32, i,
                              has_zero ? int4_zero_decode(nibble_at(src, i), scale, (uint8_t)zero)
                                       : int4_decode(nibble_at(src, i), scale));
    }
}
