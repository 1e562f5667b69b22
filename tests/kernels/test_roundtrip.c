/* Encode, decode, compare: for every quantization type the error stays below the bound that its row of quant_formats[]
 * states, over normal and nasty weights, with every instruction set of this machine; and the bounds are tight. */
#include "tests/checks.h"

#include "backends/cpu/kernel.h"
#include "formats/quant_format.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <math.h>

#define ROWS 8u
#define COLS 1024u
#define N (ROWS * COLS)

enum { W_NORMAL, W_OUTLIERS, W_UNIFORM, W_WIDE, W_EQUAL, W_STEPS, W_ZERO_BLOCKS, W_COUNT };
static const char *const w_names[W_COUNT] = {"normal", "outliers", "uniform", "wide", "equal", "steps", "zero blocks"};

static float draw(int kind, uint32_t i, uint64_t *seed)
{
    uint64_t r = check_random(seed);
    float u = (float)(r >> 40) * 0x1p-24f * 2 - 1, s = u;                 /* -1 .. 1 */
    for (int k = 0; k < 3; k++) s += (float)(check_random(seed) >> 40) * 0x1p-24f * 2 - 1;
    switch (kind) {
    case W_NORMAL: return s * 0.01f;
    case W_OUTLIERS: return r % 61 == 0 ? s : s * 0.01f;
    case W_UNIFORM: return u * 3;
    case W_WIDE: return ldexpf(u, (int)(r % 60) - 40);
    case W_EQUAL: return r % 2 ? 0.7f : -0.7f;
    case W_STEPS: return (float)(1 + i % 16) * (1 + (float)(i / 16) / 64) * 0.01f;     /* scales all over a binade */
    default: return i / 16 % 2 ? 0 : s * 0.3f;
    }
}

static void put(uint8_t *p, enum dtype dtype, uint32_t i, float x)
{
    uint16_t h = dtype == DTYPE_BF16 ? bf16_encode(x) : f16_encode(x);
    if (dtype == DTYPE_F32) memcpy(p + 4 * i, &x, 4);
    else memcpy(p + 2 * i, &h, 2);
}

static uint8_t source[4 * N], packed[2 * N], scales[N / 16];
static float weight[N], decoded[N];

/* Largest error in units of the bound; fails above 1. `g_factor`: the tensor shares its scale with a larger one. */
static double check_bound(const struct quant_format *f, uint64_t isa, enum dtype dtype, int kind, int rounding,
                          float g_factor)
{
    uint64_t seed = (uint64_t)kind * 10 + (uint64_t)rounding;
    float g = 0;
    for (uint32_t i = 0; i < N; i++) put(source, dtype, i, draw(kind, i, &seed));
    struct kernel_args a = {.n_rows = ROWS, .n_cols = COLS, .src = source, .dtype = dtype, .dst_f32 = weight};
    kernel_for(OP_WIDEN, isa)(&a);
    for (uint32_t i = 0; i < N; i++) g = f32_amax(g, weight[i]);
    g *= g_factor;
    bool blocks = f->block_cols == NVFP4_BLOCK;
    a.scale = blocks ? nvfp4_tensor_scale(g) : fp8_scale(g);
    a.rounding = (enum fp8_rounding)rounding;
    a.dst = packed, a.dst_scale = scales;
    kernel_for(f->encode_op, isa)(&a);
    struct kernel_args d = {.n_rows = ROWS, .n_cols = COLS, .src = packed, .src_scale = scales, .scale = a.scale,
                            .dst_f32 = decoded};
    kernel_for(f->decode_op, isa)(&d);

    double worst = 0;
    for (uint32_t i = 0; i < N; i++) {
        double amax = (double)g, error = fabs((double)decoded[i] - (double)weight[i]);
        double bound = f->max_relative_step * amax;
        if (blocks) {
            amax = (double)nvfp4_block_amax(weight + i / 16 * 16);
            bound = f->max_relative_step * amax;
            /* A denormal scale is off by up to 2^-10 either way, or lifted to 2^-9. */
            if (amax < 6 * (double)a.scale * 0x1p-6)
                bound = fmax(amax / 6 + 0x1p-9 * (double)a.scale, 6 * 0x1p-10 * (double)a.scale);
        }
        if (f->block_cols == 32) {                               /* Q8_0; a denormal binary16 is off by up to 2^-25 */
            amax = 0;
            for (uint32_t k = i / 32 * 32; k < i / 32 * 32 + 32; k++) amax = fmax(amax, fabs((double)weight[k]));
            bound = amax < 127 * 0x1p-14 ? amax / 254 + 127 * 0x1p-25 : f->max_relative_step * amax;
        }
        bound *= 1 + 0x1p-20;                                    /* the fp32 roundings of scales and products */
        if (error > bound)
            fail_msg("%s, %s, %s, %s, rounding %d: %a comes back as %a, amax %a: %.4f of amax, allowed %.4f", f->name,
                     isa_name(isa), dtype_name(dtype), w_names[kind], rounding, (double)weight[i], (double)decoded[i],
                     amax, error / amax, bound / amax);
        if (amax > 0 && bound > 0 && error / bound > worst) worst = error / bound;
    }
    return worst;
}

static void test_error_bounds(void **state)
{
    (void)state;
    static const uint64_t isas[] = {0, ISA_AVX2, ISA_AVX2 | ISA_AVX512};
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    for (const struct quant_format *const *f = quant_formats; *f; f++) {
        double worst = 0;
        /* Types without a scale of the tensor have their operations below, against the same bounds. */
        if (!quant_format_has_tensor_scale(*f) && (*f)->encode_op != OP_ENCODE_Q8_0) continue;
        for (size_t i = 0; i < 3; i++) {
            if (isas[i] & ~isa_detected()) continue;
            for (size_t d = 0; d < 3; d++)
                for (int kind = 0; kind < W_COUNT; kind++)
                    for (int rounding = 0; rounding < ((*f)->encode_op == OP_ENCODE_FP8 ? 3 : 1); rounding++) {
                        worst = fmax(worst, check_bound(*f, isas[i], dtypes[d], kind, rounding, 1));
                        worst = fmax(worst, check_bound(*f, isas[i], dtypes[d], kind, rounding, 37.7f));
                    }
        }
        print_message("# %s: largest error %.4f of amax, stated bound %.4f\n", (*f)->name,
                      worst * (*f)->max_relative_step, (*f)->max_relative_step);
        assert_true(worst > 0.9);                                /* a bound that is never approached says nothing */
    }
}

/* ---- types whose scales follow from their own rows, blocks and groups ---- */

static double bound_of(const char *format)
{
    const struct quant_format *f = quant_format_find(format);
    assert_non_null(f);
    return f->max_relative_step;
}

struct type_case {
    const char *name;
    /* Encodes and decodes the whole matrix; fills bound[] with the largest error that each element may have. */
    void (*run)(const struct kernel_args *a, uint64_t isa, int variant, double *bound);
    unsigned variants;
    double tight;                  /* how much of its bound the worst element must use */
};

static double bounds[N];

static float block_max(uint32_t first, uint32_t n)
{
    float amax = 0;
    for (uint32_t i = 0; i < n; i++) amax = f32_amax(amax, weight[first + i]);
    return amax;
}

/* Both candidates keep the bound of NVFP4 (formats/quant_format.c): with M=4 the widest steps are not used. */
static void run_four_six(const struct kernel_args *a, uint64_t isa, int variant, double *bound)
{
    static float chosen[N / 16];
    float g = block_max(0, N);
    (void)variant;
    struct kernel_args e = *a;
    e.amax = g, e.static_max = NVFP4_FOUR_OVER_SIX_MAX, e.dst_f32 = chosen;
    kernel_for(OP_FOUR_SIX_NVFP4, isa)(&e);
    e.block_amax = chosen, e.dst = packed, e.dst_scale = scales;
    kernel_for(OP_ENCODE_NVFP4_STATIC, isa)(&e);
    e.src = packed, e.src_scale = scales, e.dst_f32 = decoded, e.scale = nvfp4_static_tensor_scale(g, 256);
    kernel_for(OP_DECODE_NVFP4, isa)(&e);
    for (uint32_t i = 0; i < N; i++) {
        double amax = (double)block_max(i / 16 * 16, 16), s2 = (double)e.scale;
        bound[i] = 1.0 / 6 * 18 / 17 * amax;
        if (amax < 6 * s2 * 0x1p-6) bound[i] = amax / 6 + 1.5 * 0x1p-9 * s2;        /* a denormal scale */
    }
}

static float f32_scales[N / 16];

/* FP8: half the widest step is 16 of 448 scales; with a power of two as scale the maximum lies anywhere in (224, 448],
 * and the widest step relative to it is that of 272: 16 / 272. */
static void run_fp8_scaled(const struct kernel_args *a, uint64_t isa, int variant, double *bound)
{
    bool block = variant > 0;
    struct kernel_args e = *a;
    e.form = variant == 2 ? FP8_SCALE_UE8M0 : FP8_SCALE_F32;
    e.dst = packed, e.dst_f32 = f32_scales;
    kernel_for(block ? OP_ENCODE_FP8_BLOCK : OP_ENCODE_FP8_CHANNEL, isa)(&e);
    e.src = packed, e.src_scale_f32 = f32_scales, e.dst_f32 = decoded;
    kernel_for(block ? OP_DECODE_FP8_BLOCK : OP_DECODE_FP8_CHANNEL, isa)(&e);
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t c = 0; c < COLS; c += 128) {
            float amax = 0;
            if (!block) amax = block_max(r * COLS, COLS);
            for (uint32_t k = 0; block && k < ROWS; k++) amax = f32_amax(amax, block_max(k * COLS + c, 128));
            for (uint32_t i = 0; i < 128; i++)
                bound[r * COLS + c + i] = (double)amax * (variant == 2 ? 1.0 / 17 : bound_of(block ? "fp8_pb_wo" : "fp8_channel"));
        }
}

/* MXFP4: half the widest step is 1 scale, next to 5 (ModelOpt: the maximum is never below 5 scales there) or clipped
 * from just below 8 to 6 (OCP). MXFP8: as FP8 with powers of two. */
static void run_mx(const struct kernel_args *a, uint64_t isa, int variant, double *bound)
{
    const double steps[] = {bound_of("w4a16_mxfp4"), 1.0 / 4, bound_of("mxfp8")};
    struct kernel_args e = *a;
    e.mxfp4_rule = variant == 0 ? MXFP4_MODELOPT : MXFP4_OCP;
    e.dst = packed, e.dst_scale = scales;
    kernel_for(variant == 2 ? OP_ENCODE_MXFP8 : OP_ENCODE_MXFP4, isa)(&e);
    e.src = packed, e.src_scale = scales, e.dst_f32 = decoded;
    kernel_for(variant == 2 ? OP_DECODE_MXFP8 : OP_DECODE_MXFP4, isa)(&e);
    for (uint32_t i = 0; i < N; i++) bound[i] = (double)block_max(i / 32 * 32, 32) * steps[variant];
}

/* INT4: half a scale, and what a scale that was rounded down leaves beyond the last code. Variants: groups of 32, 64
 * and 128, each with the three types of scales; symmetric, then with zero points. */
static void run_int4(const struct kernel_args *a, uint64_t isa, int variant, double *bound)
{
    bool symmetric = variant < 9;
    struct kernel_args e = *a;
    e.group = 32u << variant / 3 % 3, e.int4_scale = (enum int4_scale_type)(variant % 3);
    e.dst = packed, e.dst_f32 = f32_scales, e.dst_scale = scales;
    kernel_for(symmetric ? OP_ENCODE_INT4 : OP_ENCODE_INT4_ZERO, isa)(&e);
    e.src = packed, e.src_scale = scales, e.src_scale_f32 = f32_scales, e.dst_f32 = decoded;
    kernel_for(symmetric ? OP_DECODE_INT4 : OP_DECODE_INT4_ZERO, isa)(&e);
    for (uint32_t i = 0; i < N; i += e.group) {
        double s = (double)f32_scales[i / e.group], lo = 0, hi = 0;
        for (uint32_t k = 0; k < e.group; k++)
            lo = fmin(lo, (double)weight[i + k]), hi = fmax(hi, (double)weight[i + k]);
        double beyond = symmetric ? hi - 7.5 * s : hi - lo - 15 * s;
        if (isinf(lo) || isinf(hi)) beyond = (double)INFINITY;           /* overflow of binary16 in the draw */
        for (uint32_t k = 0; k < e.group; k++) bound[i + k] = s / 2 + fmax(beyond, 0);
    }
}

static const struct type_case type_cases[] = {
    {"nvfp4 four-over-six", run_four_six, 1, 0.8},
    {"fp8 per channel and block", run_fp8_scaled, 3, 0.95},
    {"mxfp4, mxfp8", run_mx, 3, 0.95},
    {"int4", run_int4, 18, 0.95},
};

static void test_type_bounds(void **state)
{
    (void)state;
    static const uint64_t isas[] = {0, ISA_AVX2, ISA_AVX2 | ISA_AVX512};
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    for (size_t t = 0; t < sizeof type_cases / sizeof *type_cases; t++) {
        const struct type_case *c = &type_cases[t];
        double worst[18] = {0};
        for (size_t k = 0; k < 9u * W_COUNT * c->variants; k++) {
            uint64_t isa = isas[k % 3], seed = k / 9;
            enum dtype dtype = dtypes[k / 3 % 3];
            int kind = (int)(k / 9 % W_COUNT), variant = (int)(k / 9 / W_COUNT);
            if (isa & ~isa_detected()) continue;
            for (uint32_t i = 0; i < N; i++) put(source, dtype, i, draw(kind, i, &seed));
            struct kernel_args a = {.n_rows = ROWS, .n_cols = COLS, .src = source, .dtype = dtype, .dst_f32 = weight};
            kernel_for(OP_WIDEN, isa)(&a);
            c->run(&a, isa, variant, bounds);
            for (uint32_t i = 0; i < N; i++) {
                double error = fabs((double)decoded[i] - (double)weight[i]), bound = bounds[i] * (1 + 0x1p-16);
                if (error > bound)
                    fail_msg("%s, variant %d, %s, %s, %s: %a comes back as %a, off by %.4f of what is allowed", c->name,
                             variant, isa_name(isa), dtype_name(dtype), w_names[kind], (double)weight[i],
                             (double)decoded[i], error / bound);
                if (bound > 0) worst[variant] = fmax(worst[variant], error / bound);
            }
        }
        for (unsigned v = 0; v < c->variants; v++) {
            print_message("# %s, variant %u: the worst element uses %.3f of its bound\n", c->name, v, worst[v]);
            assert_true(worst[v] > c->tight);
        }
    }
}

/* Where each bound comes from, in numbers: the worst block of NVFP4, the worst element of FP8. */
static void test_worst_cases(void **state)
{
    (void)state;
    float w[16] = {0}, back[16];
    uint8_t scale, out[8];
    /* p just above 1 + 1/16: the scale rounds up to 1.125, 5 * 1.125 = 5.625 */
    w[0] = 6 * 1.0625001f, w[1] = 5.62f;
    nvfp4_encode_block(w, 1, &scale, out);
    nvfp4_decode_block(out, scale, 1, back);
    assert_true(back[1] == 4.5f && (w[1] - back[1]) / w[0] > 0.175f);
    /* 431 rounds to 432 in bf16 and then to 448, although 416 is nearer. */
    assert_int_equal(fp8_encode_bf16(bf16_encode(430), 430.0f / 431.0f, FP8_MODELOPT_CPU), 0x7E);
    assert_int_equal(fp8_encode_bf16(bf16_encode(430), 430.0f / 431.0f, FP8_SINGLE), 0x7D);
}

/* Bytes of FP8 come back from their own values, whatever the scale. */
static void test_fp8_is_stable(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int n = 0; n < 2000; n++) {
        float s = ldexpf(1 + (float)(check_random(&seed) >> 40) * 0x1p-24f, (int)(check_random(&seed) % 60) - 50);
        for (unsigned c = 0; c < 256; c++)
            if ((c & 0x7F) != 0x7F) assert_int_equal(fp8_encode_f32(fp8_decode((uint8_t)c, s), s), c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_bounds), cmocka_unit_test(test_type_bounds),
        cmocka_unit_test(test_worst_cases), cmocka_unit_test(test_fp8_is_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
