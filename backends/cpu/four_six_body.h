/* FOUR_SIX_NVFP4 for a vector unit: LANES blocks side by side, one per lane, as observe_sweep_body.h has them (whose
 * columns it reads). Nothing is left out: the two errors are those of numeric/nvfp4_four_six.h. */
#include "numeric/nvfp4_four_six.h"

/* nvfp4_block_error of every lane's block with its own scale e. */
LANES_FN vf block_error(const vf a[16], vf e)
{
    vf error = v_set(0.0f);
    LANES_UNROLL
    for (int i = 0; i < 16; i++) {
        vf d = v_sub(a[i], v_mul(v_e2m1_magnitude(v_div(a[i], e)), e));
        error = v_add(error, v_mul(d, d));
    }
    return error;
}

LANES_FN vf four_six_scale(vf candidate_amax, float normal)
{
    vf t = v_mul(v_div(candidate_amax, v_set(6.0f)), v_set(normal));
    return v_mul(v_through_e4m3(t), v_set(1.0f / normal));
}

LANES_FN vf four_six_lanes(const float rows[LANES][16], float normal)
{
    vf a[16], six = v_set(0.0f);
    LANES_UNROLL
    for (int i = 0; i < 16; i++) {
        a[i] = v_abs(v_column(&rows[0][i]));
        six = v_amax(six, a[i]);
    }
    vf four = v_mul(six, v_set(NVFP4_FOUR_SIX_FACTOR));
    vf error6 = block_error(a, four_six_scale(six, normal)), error4 = block_error(a, four_six_scale(four, normal));
    vf chosen = v_select(six, m_less(error4, error6), four);
    return v_select(chosen, m_nan(six), v_set(f32_from_bits(F32_NAN_BITS)));
}

static void four_six(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    float normal = nvfp4_four_six_normal(a->amax);
    for (uint64_t b = 0; b < n_blocks; b += LANES) {
        uint64_t n = n_blocks - b < LANES ? n_blocks - b : LANES;
        float rows[LANES][16], chosen[LANES];
        for (uint64_t k = 0; k < n; k++) element_widen_block(a->src, a->dtype, (b + k) * NVFP4_BLOCK, rows[k]);
        for (uint64_t k = n; k < LANES; k++) memset(rows[k], 0, sizeof rows[k]);
        v_store(chosen, 0, four_six_lanes((const float(*)[16])rows, normal));
        memcpy((uint8_t *)a->dst_f32 + b * sizeof(float), chosen, n * sizeof(float));
    }
}
