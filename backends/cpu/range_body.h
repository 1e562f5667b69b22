/* RANGE_NVFP4 for a vector unit: LANES blocks side by side, one per lane, as four_six_body.h has them, whose
 * block_error it uses. Every multiplier is tried, in the operations of numeric/nvfp4_range.h. */
#include "numeric/nvfp4_range.h"

/* nvfp4_scale_static with m = 448, decoded and times s2; g_sixth: g / 6, not zero. */
LANES_FN vf range_scale(vf amax, vf g_sixth, vf s2)
{
    vf p = v_div(amax, v_set(6.0f));
    p = v_select(v_set(1.0f), m_less(v_set(0.0f), p), p);
    p = v_div(v_mul(p, v_set(NVFP4_STATIC_MAX)), g_sixth);
    p = v_max(v_min(p, v_set(E4M3_MAX)), v_set(E4M3_MIN));
    return v_mul(v_through_e4m3(p), s2);
}

LANES_FN vf range_lanes(const float rows[LANES][16], const struct kernel_args *args)
{
    float g = args->amax, s2 = nvfp4_static_tensor_scale(g, NVFP4_STATIC_MAX);
    bool one = g / (6.0f * NVFP4_STATIC_MAX) == 0.0f; /* a tensor that counts as zero: every scale is 1 */
    vf a[16], own = v_set(0.0f), least = v_set(f32_from_bits(F32_INFINITY_BITS));
    LANES_UNROLL
    for (int i = 0; i < 16; i++) {
        a[i] = v_abs(v_column(&rows[0][i]));
        own = v_amax(own, a[i]);
    }
    vf best = own;
    for (uint32_t i = 0; i < args->range_count; i++) {
        vf amax = v_mul(own, v_set(range_multiplier(args->range_start, args->range_stop, args->range_count, i)));
        vf error = block_error(a, one ? v_set(s2) : range_scale(amax, v_set(g / 6.0f), v_set(s2)));
        vm less = m_less(error, least);
        least = v_select(least, less, error);
        best = v_select(best, less, amax);
    }
    return v_select(best, m_nan(own), v_set(f32_from_bits(F32_NAN_BITS)));
}

static void range(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b += LANES) {
        uint64_t n = n_blocks - b < LANES ? n_blocks - b : LANES;
        float rows[LANES][16], chosen[LANES];
        for (uint64_t k = 0; k < n; k++) element_widen_block(a->src, a->dtype, (b + k) * NVFP4_BLOCK, rows[k]);
        for (uint64_t k = n; k < LANES; k++) memset(rows[k], 0, sizeof rows[k]);
        v_store(chosen, 0, range_lanes((const float(*)[16])rows, a));
        memcpy((uint8_t *)a->dst_f32 + b * sizeof(float), chosen, n * sizeof(float));
    }
}
