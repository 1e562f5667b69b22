/* MXFP4, MXFP8 and Q8_0 for a vector unit: blocks of 32, one after the other, in the words of words_*.h. A block's
 * scale is computed as numeric/ has it. Its elements are multiplied by 2^(127 - b) instead of divided by 2^(b - 127):
 * both are powers of two (2^-127 at worst, a denormal), so it is the same number rounded once. */
#include "backends/cpu/element.h"
#include "numeric/mxfp4.h"
#include "numeric/mxfp8.h"
#include "numeric/q8_0.h"

#define MX_VECTORS (32u / LANES)

LANES_FN float mx_load(vf v[MX_VECTORS], const void *src, enum dtype dtype, uint64_t first)
{
    vf amax = v_set(0.0f);
    LANES_UNROLL
    for (uint32_t k = 0; k < MX_VECTORS; k++) {
        v[k] = v_load(src, dtype, first + k * LANES);
        amax = v_amax(amax, v_abs(v[k]));
    }
    return f32_from_bits(v_largest_u32(v_bits(amax)));
}

/* 2^(127 - b); F32_NAN_BITS for b = 255, which makes every quotient a NaN. */
LANES_FN float mx_inverse(uint8_t b)
{
    if (b == E8M0_NAN) return f32_from_bits(F32_NAN_BITS);
    return f32_from_bits(b == 254u ? 0x00400000u : (254u - b) << 23);
}

LANES_FN void encode_mxfp8_blocks(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP8_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        vf v[MX_VECTORS];
        a->dst_scale[b] = e8m0_encode_up(mx_load(v, a->src, dtype, b * MXFP8_BLOCK) / E4M3_MAX);
        vf inverse = v_set(mx_inverse(a->dst_scale[b]));
        LANES_UNROLL
        for (uint32_t k = 0; k < MX_VECTORS; k++)
            v_store_bytes(a->dst + b * MXFP8_BLOCK + k * LANES, v_e4m3_encode(v_mul(v[k], inverse)));
    }
}

/* mxfp4_code. Ties to even, then back where modelopt's rule goes towards zero. */
LANES_FN vi mxfp4_codes(vf q, enum mxfp4_rule rule)
{
    const vi sign = v_set_int((int)E2M1_SIGN);
    vm up;
    vi code = v_e2m1_code(q, &up);
    if (rule == MXFP4_OCP) {
        vi kept = v_or(code, v_and(v_shift_right(v_bits(q), 28), sign));
        return v_select_int(kept, m_nan(q), v_set_int(7));
    }
    code = v_select_int(code, up, v_sub_int(code, v_set_int(1)));
    return v_select_int(v_or(code, sign), m_less(v_set(0.0f), q), code);
}

LANES_FN void encode_mxfp4_blocks(const struct kernel_args *a, enum dtype dtype, enum mxfp4_rule rule)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP4_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        vf v[MX_VECTORS];
        a->dst_scale[b] = mxfp4_scale(mx_load(v, a->src, dtype, b * MXFP4_BLOCK), rule);
        vf inverse = v_set(mx_inverse(a->dst_scale[b]));
        LANES_UNROLL
        for (uint32_t k = 0; k < MX_VECTORS; k++)
            v_store_nibbles(a->dst + b * MXFP4_BLOCK_BYTES + k * (LANES / 2), mxfp4_codes(v_mul(v[k], inverse), rule));
    }
}

/* Codes in the low four bits of the lanes: exponent and mantissa put into place, then an exact multiplication. */
LANES_FN vf v_e2m1_decode(vi code)
{
    vf magnitude = v_mul(v_from_bits(v_shift_left(v_and(code, v_set_int(7)), 22)), v_set(0x1p126f));
    return v_from_bits(v_or(v_bits(magnitude), v_shift_left(v_and(code, v_set_int(8)), 28)));
}

static void decode_mxfp4_blocks(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP4_BLOCK);
    const uint8_t *src = a->src;
    for (uint64_t b = 0; b < n_blocks; b++) {
        vf e = v_set(e8m0_decode(a->src_scale[b]));
        LANES_UNROLL
        for (uint32_t k = 0; k < MX_VECTORS; k++) {
            vf x = v_mul(v_e2m1_decode(v_load_nibbles(src + b * MXFP4_BLOCK_BYTES + k * (LANES / 2))), e);
            v_store(a->dst_f32, b * MXFP4_BLOCK + k * LANES, v_select(x, m_nan(e), e));
        }
    }
}

static void decode_mxfp8_blocks(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP8_BLOCK);
    const uint8_t *src = a->src;
    for (uint64_t b = 0; b < n_blocks; b++) {
        vf e = v_set(e8m0_decode(a->src_scale[b]));
        LANES_UNROLL
        for (uint32_t k = 0; k < MX_VECTORS; k++) {
            uint64_t i = b * MXFP8_BLOCK + k * LANES;
            v_store(a->dst_f32, i, v_one_nan(v_mul(v_e4m3_decode(v_load_bytes(src + i)), e)));
        }
    }
}

/* q8_0_round in the low byte of the lanes. */
LANES_FN vi q8_0_codes(vf x)
{
    vf magnitude = v_abs(x);
    vm small = m_less(magnitude, v_set(128.0f));
    vi n = v_truncate(v_select(v_set(0.0f), small, magnitude));
    vm half = m_at_least(v_sub(magnitude, v_float(n)), v_set(0.5f));
    n = v_min_int(v_select_int(n, half, v_add_int(n, v_set_int(1))), v_set_int(127));
    vi sign = v_shift_right(v_bits(x), 31); /* n or, where it is 1, -n */
    n = v_select_int(n, m_int_less(v_set_int(0), sign), v_sub_int(v_set_int(0), n));
    return v_and(v_select_int(v_set_int(0), small, n), v_set_int(0xFF));
}

LANES_FN void encode_q8_0_blocks(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / Q8_0_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        vf v[MX_VECTORS];
        uint8_t *out = a->dst + b * Q8_0_BLOCK_BYTES;
        float s = mx_load(v, a->src, dtype, b * Q8_0_BLOCK) / 127.0f, r = s != 0.0f ? 1.0f / s : 0.0f;
        uint16_t d = f16_encode(s);
        out[0] = (uint8_t)d;
        out[1] = (uint8_t)(d >> 8);
        LANES_UNROLL
        for (uint32_t k = 0; k < MX_VECTORS; k++) v_store_bytes(out + 2 + k * LANES, q8_0_codes(v_mul(v[k], v_set(r))));
    }
}

static void decode_q8_0_blocks(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / Q8_0_BLOCK);
    const uint8_t *src = a->src;
    for (uint64_t b = 0; b < n_blocks; b++) {
        const uint8_t *in = src + b * Q8_0_BLOCK_BYTES;
        vf d = v_set(f16_decode((uint16_t)(in[0] | in[1] << 8)));
        LANES_UNROLL
        for (uint32_t k = 0; k < MX_VECTORS; k++) {
            vf x = v_mul(d, v_float(v_load_signed_bytes(in + 2 + k * LANES)));
            v_store(a->dst_f32, b * Q8_0_BLOCK + k * LANES, v_one_nan(x));
        }
    }
}
