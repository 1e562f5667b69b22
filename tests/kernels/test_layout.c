/* Where the scalar kernels of the newer types put things: every code and scale computed one by one from its place in
 * the matrix with tests/numeric/slow.h, and compared with what the kernels wrote. (The kernels' arithmetic is that of
 * numeric/, tested in tests/unit; other instruction sets are compared with scalar in test_kernels.c.) */
#include "tests/checks.h"
#include "tests/numeric/slow.h"

#include "backends/cpu/kernel.h"
#include "numeric/half.h"

#define MAX_ELEMENTS (300u * 520u)

static uint16_t source[MAX_ELEMENTS];
static uint8_t codes[MAX_ELEMENTS];
static float scales[MAX_ELEMENTS], back[MAX_ELEMENTS];

/* A bf16 matrix whose rows, and stretches of rows, have different sizes. */
static struct kernel_args draw(uint64_t rows, uint64_t cols, uint64_t seed)
{
    for (uint64_t i = 0; i < rows * cols; i++) {
        float x = (float)((double)(check_random(&seed) >> 11) * 0x1p-53 - 0.45);
        source[i] = bf16_encode(ldexpf(x, (int)(i / cols % 7) - (int)(i % cols / 32 % 5)));
    }
    memset(codes, 0xA5, sizeof codes);
    memset(scales, 0xA5, sizeof scales);
    return (struct kernel_args){.n_rows = rows, .n_cols = cols, .src = source, .dtype = DTYPE_BF16, .dst = codes,
                                .dst_f32 = scales};
}

static float at(uint64_t cols, uint64_t r, uint64_t c)
{
    return bf16_decode(source[r * cols + c]);
}

/* Largest magnitude of rows [r0, r1) and columns [c0, c1), cut off at the matrix. */
static float amax_of(const struct kernel_args *a, uint64_t r0, uint64_t r1, uint64_t c0, uint64_t c1)
{
    float amax = 0;
    for (uint64_t r = r0; r < r1 && r < a->n_rows; r++)
        for (uint64_t c = c0; c < c1 && c < a->n_cols; c++) amax = fmaxf(amax, fabsf(at(a->n_cols, r, c)));
    return amax;
}

static void check_float(float got, float want, const char *what, uint64_t r, uint64_t c)
{
    if (slow_to_bits(got) != slow_to_bits(want))
        fail_msg("%s of row %u, column %u is %a, expected %a", what, (unsigned)r, (unsigned)c, (double)got,
                 (double)want);
}

static void check_fp8(uint64_t rows, uint64_t cols, bool block, bool ue8m0)
{
    struct kernel_args a = draw(rows, cols, rows + cols), d = a;
    uint64_t tall = block ? 128 : 1, wide = block ? 128 : cols, across = block ? (cols + 127) / 128 : 1;
    float amax = 0;
    a.form = ue8m0 ? FP8_SCALE_UE8M0 : FP8_SCALE_F32;
    kernel_for(block ? OP_ENCODE_FP8_BLOCK : OP_ENCODE_FP8_CHANNEL, 0)(&a);
    d.src = codes, d.src_scale_f32 = scales, d.dst_f32 = back;
    kernel_for(block ? OP_DECODE_FP8_BLOCK : OP_DECODE_FP8_CHANNEL, 0)(&d);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++) {
            uint64_t r0 = r / tall * tall, c0 = c / wide * wide;
            if (c == c0) amax = amax_of(&a, r0, r0 + tall, c0, c0 + wide);
            float s = slow_fp8_scale(amax, ue8m0);
            uint8_t want = slow_fp8(NULL, at(cols, r, c), s, 0);
            check_float(scales[r / tall * across + c / wide], s, "scale", r, c);
            if (codes[r * cols + c] != want)
                fail_msg("code of row %u, column %u is %02x, expected %02x", (unsigned)r, (unsigned)c,
                         codes[r * cols + c], want);
            check_float(back[r * cols + c], slow_fp8_back(want, s), "value", r, c);
        }
    uint64_t n_scales = (rows + tall - 1) / tall * across;
    assert_int_equal(slow_to_bits(scales[n_scales]), 0xA5A5A5A5);       /* and no more of them */
}

static void test_fp8(void **state)
{
    (void)state;
    check_fp8(5, 37, false, false);
    check_fp8(1, 1, true, false);
    check_fp8(130, 140, true, false);
    check_fp8(140, 130, true, true);
    check_fp8(128, 256, true, false);
}

static void check_mx(uint64_t rows, uint64_t cols, int which)
{
    static uint8_t bytes[MAX_ELEMENTS / 32 + 1];
    struct kernel_args a = draw(rows, cols, rows * cols), d = a;
    memset(bytes, 0xA5, sizeof bytes);
    a.dst_scale = bytes, a.mxfp4_rule = which == 0 ? MXFP4_MODELOPT : MXFP4_OCP;
    kernel_for(which == 2 ? OP_ENCODE_MXFP8 : OP_ENCODE_MXFP4, 0)(&a);
    d.src = codes, d.src_scale = bytes, d.dst_f32 = back;
    kernel_for(which == 2 ? OP_DECODE_MXFP8 : OP_DECODE_MXFP4, 0)(&d);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c += 32) {
            struct slow_mx want;
            float w[32];
            for (uint64_t k = 0; k < 32; k++) w[k] = at(cols, r, c + k);
            if (which == 2) slow_mxfp8(&want, w);
            else slow_mxfp4(&want, w, which == 0);
            assert_int_equal(bytes[r * (cols / 32) + c / 32], want.scale);
            for (uint64_t k = 0; k < 32; k++) {
                uint64_t i = r * cols + c + k;
                unsigned got = which == 2 ? codes[i] : codes[i / 2] >> (i % 2 ? 4 : 0) & 15;
                assert_int_equal(got, want.code[k]);
                check_float(back[i], want.decoded[k], "value", r, c + k);
            }
        }
    assert_int_equal(codes[rows * cols / (which == 2 ? 1 : 2)], 0xA5);
    assert_int_equal(bytes[rows * cols / 32], 0xA5);
}

static void test_mx(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        check_mx(1, 32, which);
        check_mx(7, 96, which);
        check_mx(16, 320, which);
    }
}

static void check_int4(uint64_t rows, uint64_t cols, uint32_t group, bool symmetric, int type)
{
    static const struct slow_type *const stored[] = {NULL, &slow_f16, &slow_bf16};
    static uint8_t zeros[MAX_ELEMENTS / 2];
    struct kernel_args a = draw(rows, cols, rows * cols + group), d;
    memset(zeros, 0xA5, sizeof zeros);
    a.group = group, a.int4_scale = (enum int4_scale_type)type, a.dst_scale = zeros;
    kernel_for(symmetric ? OP_ENCODE_INT4 : OP_ENCODE_INT4_ZERO, 0)(&a);
    d = a, d.src = codes, d.src_scale = zeros, d.src_scale_f32 = scales, d.dst_f32 = back;
    kernel_for(symmetric ? OP_DECODE_INT4 : OP_DECODE_INT4_ZERO, 0)(&d);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c += group) {
            float w[520], value;
            uint64_t g = r * (cols / group) + c / group;
            for (uint64_t k = 0; k < group; k++) w[k] = at(cols, r, c + k);
            struct slow_int4 want = slow_int4_group(w, (int)group, symmetric, stored[type]);
            check_float(scales[g], want.scale, "scale", r, c);
            assert_int_equal(zeros[g], symmetric ? 0xA5 : want.zero);
            for (uint64_t k = 0; k < group; k++) {
                uint64_t i = r * cols + c + k;
                assert_int_equal(codes[i / 2] >> (i % 2 ? 4 : 0) & 15, slow_int4(want, w[k], &value) & 15);
                check_float(back[i], value, "value", r, c + k);
            }
        }
    assert_int_equal(codes[rows * cols / 2], 0xA5);
    assert_int_equal(slow_to_bits(scales[rows * cols / group]), 0xA5A5A5A5);
}

static void test_int4(void **state)
{
    (void)state;
    for (int type = 0; type < 3; type++)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            check_int4(3, 256, 32, symmetric, type);
            check_int4(7, 192, 64, symmetric, type);
            check_int4(5, 384, 128, symmetric, type);
            check_int4(2, 6, 6, symmetric, type);             /* a whole row */
        }
}

int main(void)
{
    slow_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fp8), cmocka_unit_test(test_mx),
                                       cmocka_unit_test(test_int4)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
