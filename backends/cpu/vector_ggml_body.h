/* ggml's blocks for a vector unit, in the words of words_*.h, and ENCODE_GGML(isa), which defines the kernel. The
 * searches of Q4_K, Q5_K and Q6_K run on as many groups at once as a vector has lanes: element i of each lies in one
 * vector, so that every sum adds in the scalar kernel's order and the bytes are the same. */
#include "backends/cpu/element.h"
#include "backends/cpu/ggml_kernel.h"
#include "numeric/ggml_search.h"

#define K4_BLOCKS (LANES > 8u ? LANES / 8u : 1u) /* side by side */
#define K4_PARTS (8u * K4_BLOCKS / LANES)        /* vectors that hold one element of all their groups */
#define Q6_PARTS (16u / LANES)

/* Element i of groups [0, n_groups) of `n` elements each, from element `first` on; zeros in the lanes behind them. */
LANES_FN void ggml_turn(const void *src, enum dtype dtype, uint64_t first, uint64_t n_groups, uint32_t n, float *out)
{
    float row[32];
    for (uint32_t g = 0; g < LANES; g++) {
        for (uint32_t i = 0; i < n; i += LANES)
            v_store(row, i, g < n_groups ? v_load(src, dtype, first + g * n + i) : v_set(0.0f));
        for (uint32_t i = 0; i < n; i++) out[i * LANES + g] = row[i];
    }
}

LANES_FN vf k_at(const float *x, uint32_t i)
{
    return v_load(x, DTYPE_F32, i * LANES);
}

LANES_FN vf k_rounded(vf x)
{
    return v_sub(v_add(x, v_set(GGML_ROUND)), v_set(GGML_ROUND));
}

LANES_FN vf k_codes(vf x, vf top)
{
    return v_min(v_max(k_rounded(x), v_set(0.0f)), top);
}

struct k_lanes {
    vf scale, min, inverse, start;
};

struct k_sums {
    vf w, x, min, max;
};

/* k_weights, and what k_search sums of them. */
LANES_FN struct k_sums k_weights_lanes(const float *x, float *w)
{
    vf squares = v_set(0.0f), x0 = k_at(x, 0);
    struct k_sums s = {.min = x0, .max = x0};
    for (uint32_t i = 0; i < 32u; i++) squares = v_add(squares, v_mul(k_at(x, i), k_at(x, i)));
    vf mean = v_sqrt(v_div(squares, v_set(32.0f)));
    s.w = v_add(mean, v_abs(x0));
    s.x = v_mul(s.w, x0);
    v_store(w, 0, s.w);
    for (uint32_t i = 1; i < 32u; i++) {
        vf xi = k_at(x, i), wi = v_add(mean, v_abs(xi));
        s.min = v_select(s.min, m_less(xi, s.min), xi);
        s.max = v_select(s.max, m_less(s.max, xi), xi);
        s.w = v_add(s.w, wi);
        s.x = v_add(s.x, v_mul(wi, xi));
        v_store(w, i * LANES, wi);
    }
    s.min = v_select(s.min, m_less(v_set(0.0f), s.min), v_set(0.0f));
    return s;
}

LANES_FN vf k_error_lanes(const float *x, const float *w, const float *code, vf scale, vf min)
{
    vf error = v_set(0.0f);
    for (uint32_t i = 0; i < 32u; i++) {
        vf off = v_sub(v_add(v_mul(scale, k_at(code, i)), min), k_at(x, i));
        error = v_add(error, v_mul(k_at(w, i), v_mul(off, off)));
    }
    return error;
}

static __attribute__((noinline)) struct k_lanes k_search_lanes(const float *x, float top_code, float first,
                                                               uint32_t steps)
{
    float w[32 * LANES], code[32 * LANES];
    const vf top = v_set(top_code), zero = v_set(0.0f);
    struct k_sums s = k_weights_lanes(x, w);
    vm flat = m_equal(s.max, s.min);
    vf low0 = s.min;
    struct k_lanes f = {.min = s.min, .start = s.min, .inverse = v_div(top, v_sub(s.max, s.min))};
    f.scale = v_div(v_set(1.0f), f.inverse);
    for (uint32_t i = 0; i < 32u; i++)
        v_store(code, i * LANES, k_codes(v_mul(f.inverse, v_sub(k_at(x, i), f.min)), top));
    vf best = k_error_lanes(x, w, code, f.scale, f.min);
    for (uint32_t k = 0; k < steps; k++) {
        vf inverse = v_div(v_set(first + 0.1f * (float)k + top_code), v_sub(s.max, f.min));
        vf sum_l = zero, sum_l2 = zero, sum_xl = zero;
        for (uint32_t i = 0; i < 32u; i++) {
            vf xi = k_at(x, i), l = k_codes(v_mul(inverse, v_sub(xi, f.min)), top), wl = v_mul(k_at(w, i), l);
            v_store(code, i * LANES, l);
            sum_l = v_add(sum_l, wl);
            sum_l2 = v_add(sum_l2, v_mul(wl, l));
            sum_xl = v_add(sum_xl, v_mul(wl, xi));
        }
        vf det = v_sub(v_mul(s.w, sum_l2), v_mul(sum_l, sum_l));
        vf scale = v_div(v_sub(v_mul(s.w, sum_xl), v_mul(s.x, sum_l)), det);
        vf low = v_div(v_sub(v_mul(sum_l2, s.x), v_mul(sum_l, sum_xl)), det);
        vm above = m_less(zero, low);
        scale = v_select(scale, above, v_div(sum_xl, sum_l2));
        low = v_select(low, above, zero);
        vf error = k_error_lanes(x, w, code, scale, low);
        vm better = m_and(m_less(zero, det), m_less(error, best));
        best = v_select(best, better, error);
        f.inverse = v_select(f.inverse, better, inverse);
        f.start = v_select(f.start, better, f.min);
        f.scale = v_select(f.scale, better, scale);
        f.min = v_select(f.min, better, low);
    }
    f.scale = v_select(f.scale, flat, zero);
    f.inverse = v_select(f.inverse, flat, zero);
    f.min = v_select(f.min, flat, low0);
    f.start = v_select(f.start, flat, low0);
    return f;
}

/* Q4_K or Q5_K: those of a few blocks at once. */
LANES_FN void encode_k4_blocks(const struct kernel_args *a, enum dtype dtype, bool five)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / GGML_SUPER), bytes = five ? 176 : 144;
    const float top = five ? 31.0f : 15.0f;
    for (uint64_t b = 0; b < n_blocks; b += K4_BLOCKS) {
        uint64_t n = n_blocks - b < K4_BLOCKS ? n_blocks - b : K4_BLOCKS;
        float x[K4_PARTS][32 * LANES], scale[16] = {0}, below[16] = {0}, step[16] = {0}, add[16] = {0};
        uint8_t code[512];
        struct k_lanes f[K4_PARTS];
        for (uint32_t p = 0; p < K4_PARTS; p++) {
            ggml_turn(a->src, dtype, b * GGML_SUPER + (uint64_t)p * LANES * 32, 8 * n - p * LANES, 32, x[p]);
            f[p] = k_search_lanes(x[p], top, five ? Q5_K_START : Q4_K_START, five ? Q5_K_STEPS : Q4_K_STEPS);
            v_store(scale, p * LANES, f[p].scale);
            v_store(below, p * LANES, f[p].min);
        }
        for (uint32_t g = 0; g < 16u; g++) below[g] = -below[g];
        for (uint64_t k = 0; k < n; k++)
            k4_put_scales(scale + 8 * k, below + 8 * k, a->dst + (b + k) * bytes, step + 8 * k, add + 8 * k);
        for (uint32_t p = 0; p < K4_PARTS; p++) {
            vf by = v_load(step, DTYPE_F32, p * LANES), up = v_load(add, DTYPE_F32, p * LANES);
            vm none = m_equal(by, v_set(0.0f));
            for (uint32_t i = 0; i < 32u; i++) {
                uint8_t lane[LANES];
                vf xi = k_at(x[p], i), l = k_codes(v_div(v_add(xi, up), by), v_set(top));
                if (m_any(none)) l = v_select(l, none, k_codes(v_mul(f[p].inverse, v_sub(xi, f[p].start)), v_set(top)));
                v_store_bytes(lane, v_truncate(l));
                for (uint32_t g = 0; g < LANES; g++) code[32 * (p * LANES + g) + i] = lane[g];
            }
        }
        for (uint64_t k = 0; k < n; k++)
            (five ? q5_k_put_codes : q4_k_put_codes)(code + 256 * k, a->dst + (b + k) * bytes);
    }
}

LANES_FN vf q6_codes(vf x)
{
    return v_max(v_min(k_rounded(x), v_set(31.0f)), v_set(-32.0f));
}

/* q6_search; *inverse as there. */
static __attribute__((noinline)) vf q6_search_lanes(const float *x, vf *inverse)
{
    float w[16 * LANES], wx[16 * LANES];
    const vf zero = v_set(0.0f);
    vf amax = zero, max = zero, best = zero, scale = zero;
    for (uint32_t i = 0; i < 16u; i++) {
        vf xi = k_at(x, i);
        vm more = m_less(amax, v_abs(xi));
        amax = v_select(amax, more, v_abs(xi));
        max = v_select(max, more, xi);
        v_store(w, i * LANES, v_mul(xi, xi));
        v_store(wx, i * LANES, v_mul(v_mul(xi, xi), xi));
    }
    for (uint32_t k = 0; k < 19u; k++) {
        vf by = v_div(v_set(q6_inverse(k, 1.0f)), max), sum_xl = zero, sum_l2 = zero;
        for (uint32_t i = 0; i < 16u; i++) {
            vf l = q6_codes(v_mul(by, k_at(x, i)));
            sum_xl = v_add(sum_xl, v_mul(k_at(wx, i), l));
            sum_l2 = v_add(sum_l2, v_mul(v_mul(k_at(w, i), l), l));
        }
        vm better = m_and(m_less(zero, sum_l2), m_less(v_mul(best, sum_l2), v_mul(sum_xl, sum_xl)));
        if (k == 0) better = m_all();
        vf fit = v_select(v_div(sum_xl, sum_l2), m_equal(sum_l2, zero), zero);
        scale = v_select(scale, better, fit);
        best = v_select(best, better, v_mul(fit, sum_xl));
        *inverse = v_select(k ? *inverse : by, better, by);
    }
    vm nothing = m_less(v_abs(max), v_set(GGML_NOTHING));
    *inverse = v_select(*inverse, nothing, zero);
    return v_select(scale, nothing, zero);
}

LANES_FN void encode_q6_blocks(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / GGML_SUPER);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float x[Q6_PARTS][16 * LANES], scale[16], step[16];
        uint8_t code[256], *out = a->dst + b * 210;
        vf inverse[Q6_PARTS];
        for (uint32_t p = 0; p < Q6_PARTS; p++) {
            ggml_turn(a->src, dtype, b * GGML_SUPER + (uint64_t)p * LANES * 16, LANES, 16, x[p]);
            v_store(scale, p * LANES, q6_search_lanes(x[p], &inverse[p]));
        }
        if (!q6_put_scales(scale, out, step)) {
            memset(out, 0, 210);
            continue;
        }
        for (uint32_t p = 0; p < Q6_PARTS; p++) {
            vf by = v_load(step, DTYPE_F32, p * LANES);
            vm none = m_equal(by, v_set(0.0f)), zeros = m_equal(inverse[p], v_set(0.0f));
            for (uint32_t i = 0; i < 16u; i++) {
                uint8_t lane[LANES];
                vf xi = k_at(x[p], i), l = v_add(q6_codes(v_div(xi, by)), v_set(32.0f));
                vf searched = v_add(q6_codes(v_mul(inverse[p], xi)), v_set(32.0f));
                l = v_select(l, none, v_select(searched, zeros, v_set(0.0f)));
                v_store_bytes(lane, v_truncate(l));
                for (uint32_t g = 0; g < LANES; g++) code[16 * (p * LANES + g) + i] = lane[g];
            }
        }
        q6_k_put_codes(code, out);
    }
}

/* ---- blocks of 32 ---- */

#define SMALL_VECTORS (32u / LANES)

/* Codes k and k + 16 share byte k. */
LANES_FN void ggml_store_codes(uint8_t *p, const vi code[SMALL_VECTORS])
{
    for (uint32_t k = 0; k < SMALL_VECTORS / 2u; k++)
        v_store_bytes(p + k * LANES, v_or(code[k], v_shift_left(code[k + SMALL_VECTORS / 2u], 4)));
}

LANES_FN void encode_q4_0_blocks(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / GGML_SMALL);
    for (uint64_t b = 0; b < n_blocks; b++) {
        uint8_t *out = a->dst + b * 18;
        float w[32];
        vi code[SMALL_VECTORS];
        for (uint32_t k = 0; k < SMALL_VECTORS; k++) v_store(w, k * LANES, v_load(a->src, dtype, b * 32 + k * LANES));
        float d = ggml_signed_max(w, GGML_SMALL) / -8.0f, id = d != 0.0f ? 1.0f / d : 0.0f;
        ggml_put_f16(out, d);
        for (uint32_t k = 0; k < SMALL_VECTORS; k++) {
            vf x = v_add(v_mul(k_at(w, k), v_set(id)), v_set(8.5f));
            vm number = m_and(m_less(x, v_set(0x1p31f)), m_less(v_set(0.0f), x));
            code[k] = v_select_int(v_set_int(0), number, v_min_int(v_truncate(x), v_set_int(15)));
        }
        ggml_store_codes(out + 2, code);
    }
}

LANES_FN vi ggml_e2m1_codes(vf x, float s)
{
    static const float mids[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
    vf a = v_abs(x);
    vi n = v_set_int(0);
    LANES_UNROLL
    for (uint32_t k = 0; k < 7u; k++) n = v_select_int(n, m_less(v_set(mids[k] * s), a), v_set_int((int)k + 1));
    vm minus = m_and(m_less(x, v_set(0.0f)), m_int_less(v_set_int(0), n));
    return v_select_int(n, minus, v_or(n, v_set_int((int)E2M1_SIGN)));
}

LANES_FN void encode_gguf_mxfp4_blocks(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / GGML_SMALL);
    for (uint64_t b = 0; b < n_blocks; b++) {
        uint8_t *out = a->dst + b * 17;
        vf v[SMALL_VECTORS], amax = v_set(0.0f);
        vi code[SMALL_VECTORS];
        for (uint32_t k = 0; k < SMALL_VECTORS; k++) {
            v[k] = v_load(a->src, dtype, b * 32 + k * LANES);
            amax = v_amax(amax, v_abs(v[k]));
        }
        out[0] = ggml_mxfp4_scale(f32_from_bits(v_largest_u32(v_bits(amax))));
        for (uint32_t k = 0; k < SMALL_VECTORS; k++) code[k] = ggml_e2m1_codes(v[k], e8m0_decode(out[0]));
        ggml_store_codes(out + 1, code);
    }
}

/* fn(a, the type as a constant, what follows). */
#define GGML_BY_DTYPE(fn, a, ...)                                                                                      \
    do {                                                                                                               \
        if ((a)->dtype == DTYPE_F32) fn((a), DTYPE_F32 __VA_ARGS__);                                                   \
        else if ((a)->dtype == DTYPE_BF16) fn((a), DTYPE_BF16 __VA_ARGS__);                                            \
        else fn((a), DTYPE_F16 __VA_ARGS__);                                                                           \
    } while (0)
#define GGML_AND(x) , x

#define ENCODE_GGML(isa)                                                                                               \
    void encode_ggml_##isa(const struct kernel_args *a)                                                                \
    {                                                                                                                  \
        switch (a->blocks) {                                                                                           \
        case DTYPE_Q4_K: GGML_BY_DTYPE(encode_k4_blocks, a, GGML_AND(false)); break;                                   \
        case DTYPE_Q5_K: GGML_BY_DTYPE(encode_k4_blocks, a, GGML_AND(true)); break;                                    \
        case DTYPE_Q6_K: GGML_BY_DTYPE(encode_q6_blocks, a, ); break;                                                  \
        case DTYPE_Q4_0: GGML_BY_DTYPE(encode_q4_0_blocks, a, ); break;                                                \
        case DTYPE_GGML_MXFP4: GGML_BY_DTYPE(encode_gguf_mxfp4_blocks, a, ); break;                                    \
        default: encode_ggml_scalar(a); /* what only odd rows become */                                                \
        }                                                                                                              \
    }
