/* SWEEP_NVFP4 for a vector unit: LANES blocks side by side, one per lane, so that each block's error is summed in the
 * order that numeric/nvfp4_sweep.h defines. Written in the words of words_*.h.
 *
 * The choice is exactly that of all 126 candidates, but most are never computed. All terms of an error are >= 0 and
 * rounding is monotone, so the fp32 sum of some of the terms never exceeds the fp32 sum of all. Hence:
 *   - eight elements in, a candidate that is already no better than the best is left;
 *   - upwards from the candidate of the block's own maximum, elements that round to 0 stay at 0 for every larger scale:
 *     when they alone are no better than the best, nothing above can be; and when all of them do, the error stays what
 *     it is, and of equals the smallest scale wins;
 *   - downwards the clipping of the largest element only grows: when it alone is worse than the best, all below is.
 * A comparison with NaN is false, which here always means "go on and compute". Scales grow with their codes except for
 * a g below 2^-129, where the first ones are zero and tried as 1.0; then every scale is so small that |w| - 6*e is |w|
 * again, or all squares are zero, and the same arguments hold. */

#include "numeric/nvfp4_sweep.h"

struct sweep_table { float amax[128], scale[128]; };     /* by E4M3 code; 1..126 are used */

struct sweep_sums { vf error, zeros; };                  /* over all terms; over those of elements that round to 0 */

/* Terms of elements first..first+7 of every lane's block. */
LANES_FN struct sweep_sums sweep_add(struct sweep_sums s, const vf a[16], vf e, int first)
{
    LANES_UNROLL
    for (int i = 0; i < 8; i++) {
        vf q = v_e2m1_magnitude(v_div(a[first + i], e));
        vf d = v_sub(a[first + i], v_mul(q, e));
        vf d2 = v_mul(d, d);
        s.error = v_add(s.error, d2);
        s.zeros = v_add_where(m_equal(q, v_set(0.0f)), s.zeros, d2);
    }
    return s;
}

struct sweep_best { vf error; vi code; };

/* Candidates start, start + 1, ... of the lanes in `active`. */
LANES_FN void sweep_up(const struct sweep_table *t, const vf a[16], vf amax, vi start, struct sweep_best *best)
{
    vi code = start;
    vm active = m_all();
    while (m_any(active)) {
        vf e = v_gather(t->scale, code);
        struct sweep_sums s = sweep_add((struct sweep_sums){v_set(0.0f), v_set(0.0f)}, a, e, 0);
        vm open = m_and_not(active, m_at_least(s.error, best->error));
        if (m_any(open)) {
            s = sweep_add(s, a, e, 8);
            vm better = m_and(open, m_less(s.error, best->error));
            best->error = v_select(best->error, better, s.error);
            best->code = v_select_int(best->code, better, code);
        }
        active = m_and_not(active, m_at_least(s.zeros, best->error));
        active = m_and_not(active, m_at_least(v_set(0.25f), v_div(amax, e)));
        active = m_and(active, m_int_less(code, v_set_int((int)NVFP4_CANDIDATES)));
        code = v_min_int(v_add_int(code, v_set_int(1)), v_set_int((int)NVFP4_CANDIDATES));
    }
}

/* Candidates start - 1, start - 2, ...; here a tie is a win, the scale being smaller. Where every error is infinite
 * that leads down to candidate 1, as it should. */
LANES_FN void sweep_down(const struct sweep_table *t, const vf a[16], vf amax, vi start, struct sweep_best *best)
{
    vi code = start;
    vm active = m_int_less(v_set_int(1), code);
    while (m_any(active)) {
        code = v_select_int(code, active, v_add_int(code, v_set_int(-1)));
        vf e = v_gather(t->scale, code);
        vf clip = v_sub(amax, v_mul(v_set(6.0f), e));
        vm worse = m_and(m_less(v_set(0.0f), clip), m_less(best->error, v_mul(clip, clip)));
        active = m_and_not(active, worse);
        if (!m_any(active)) return;
        struct sweep_sums s = sweep_add((struct sweep_sums){v_set(0.0f), v_set(0.0f)}, a, e, 0);
        vm open = m_and_not(active, m_less(best->error, s.error));
        if (m_any(open)) {
            s = sweep_add(s, a, e, 8);
            vm better = m_and(open, m_at_least(best->error, s.error));
            best->error = v_select(best->error, better, s.error);
            best->code = v_select_int(best->code, better, code);
        }
        active = m_and(active, m_int_less(v_set_int(1), code));
    }
}

/* LANES blocks, rows[lane][element]; writes the chosen codes. */
LANES_FN vi sweep_lanes(const struct sweep_table *t, const float rows[LANES][16], float g, float m)
{
    vf a[16], amax = v_set(0.0f);
    LANES_UNROLL
    for (int i = 0; i < 16; i++) {
        a[i] = v_abs(v_column(&rows[0][i]));
        amax = v_amax(amax, a[i]);
    }
    vi start = v_select_int(lanes_scale_static(amax, g, m), m_equal(amax, v_set(0.0f)), v_set_int(1));
    struct sweep_best best = {v_set(f32_from_bits(F32_INFINITY_BITS)), v_set_int(1)};
    sweep_up(t, a, amax, start, &best);
    sweep_down(t, a, amax, start, &best);
    return best.code;
}

static void sweep(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    struct sweep_table t;
    for (uint32_t c = 1; c <= NVFP4_CANDIDATES; c++) {
        t.amax[c] = nvfp4_candidate_amax((uint8_t)c, a->amax, a->static_max);
        t.scale[c] = nvfp4_candidate_scale(t.amax[c]);
    }
    for (uint64_t b = 0; b < n_blocks; b += LANES) {
        uint64_t n = n_blocks - b < LANES ? n_blocks - b : LANES;
        float rows[LANES][16];
        int code[LANES];
        for (uint64_t k = 0; k < n; k++) element_widen_block(a->src, a->dtype, (b + k) * NVFP4_BLOCK, rows[k]);
        for (uint64_t k = n; k < LANES; k++) memset(rows[k], 0, sizeof rows[k]);
        v_store_int(code, sweep_lanes(&t, (const float (*)[16])rows, a->amax, a->static_max));
        for (uint64_t k = 0; k < n; k++) element_store_f32(a->dst_f32, b + k, t.amax[code[k]]);
    }
}
