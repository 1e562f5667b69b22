/* FP8 per tensor: the published vector, all 16-bit inputs in the three roundings, and what an engine does to
 * activations. */
#include "tests/checks.h"
#include "tests/numeric/slow.h"

#include "numeric/fp8.h"

/* w_i = (-1)^i (i + 1) / 32 in bf16, as ModelOpt 0.47.0 wrote it on the CPU (reference/quantize.md 1.4). */
static void test_published_vector(void **state)
{
    (void)state;
    static const uint8_t want[32] = {
        0x56, 0xde, 0x62, 0xe6, 0x69, 0xea, 0x6c, 0xee, 0x70, 0xf1, 0x72, 0xf2, 0x73, 0xf4, 0x75, 0xf6,
        0x77, 0xf8, 0x78, 0xf9, 0x79, 0xfa, 0x7a, 0xfa, 0x7b, 0xfb, 0x7c, 0xfc, 0x7d, 0xfd, 0x7e, 0xfe,
    };
    float scale = fp8_scale(1.0f);
    assert_int_equal(slow_to_bits(scale), 0x3b124925);
    uint8_t got[32];
    for (int i = 0; i < 32; i++)
        got[i] = fp8_encode_bf16(bf16_encode((i % 2 ? -1.0f : 1.0f) * (float)(i + 1) / 32.0f), scale, FP8_MODELOPT_CPU);
    check_bytes(got, want, 32, "FP8");
}

static void test_scale(void **state)
{
    (void)state;
    static const float ones[] = {0, 1e-45f, 3.1e-43f};              /* would be zero: count as 1.0 */
    for (size_t i = 0; i < 3; i++) assert_int_equal(slow_to_bits(fp8_scale(ones[i])), 0x3b124925);
    assert_true(fp8_scale(3.2e-43f) > 0 && fp8_scale(3.2e-43f) < 1e-40f);
    uint64_t seed = 5;
    for (int i = 0; i < 100000; i++) {
        float g = slow_from_bits(((uint32_t)check_random(&seed) & 0x7F7FFFFFu) | 0x00800000u);
        assert_int_equal(slow_to_bits(fp8_scale(g)), slow_to_bits(slow_div(g, 448)));
    }
}

/* Scales around those of real tensors, and the edges of the types. */
static const float scales[] = {0x1.24924ap-9f, 7.3e-5f, 1.1e-4f, 0.9999f, 1.0f, 3.3f, 1e-7f, 1e-30f, 1e-41f, 0x1p-25f,
                               1e38f};

static void test_all_16_bit_inputs(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (unsigned h = 0; h < 65536; h++)
            for (int r = 0; r < 3; r++) {
                float b = bf16_decode((uint16_t)h), f = f16_decode((uint16_t)h);
                uint8_t got = fp8_encode_bf16((uint16_t)h, scales[s], (enum fp8_rounding)r);
                uint8_t want = slow_fp8(&slow_bf16, b, scales[s], r);
                if (got != want)
                    fail_msg("bf16 %04x / %a, rounding %d: %02x, expected %02x", h, (double)scales[s], r, got, want);
                got = fp8_encode_f16((uint16_t)h, scales[s], (enum fp8_rounding)r);
                want = slow_fp8(&slow_f16, f, scales[s], r);
                if (got != want)
                    fail_msg("f16 %04x / %a, rounding %d: %02x, expected %02x", h, (double)scales[s], r, got, want);
            }
}

static void test_random_bits(void **state)
{
    (void)state;
    uint64_t seed = 6;
    for (int i = 0; i < 2000000; i++) {
        uint64_t r = check_random(&seed);
        float w = slow_from_bits((uint32_t)r), scale = slow_from_bits((uint32_t)(r >> 32) & 0x7FFFFFFFu);
        if (i % 2) {
            w = slow_from_bits(((uint32_t)r & 0x807FFFFFu) | (118u + (uint32_t)(r >> 55) % 12u) << 23);
            scale = scales[(size_t)(r >> 40) % 7];
        }
        if (isnan(scale) || isinf(scale) || scale == 0) continue;
        uint8_t got = fp8_encode_f32(w, scale), want = slow_fp8(NULL, w, scale, 0);
        if (got != want) fail_msg("%a / %a: %02x, expected %02x", (double)w, (double)scale, got, want);
        float back = fp8_decode(got, scale), in = fp8_input(w, scale);
        float expected = slow_mul((float)slow_decode(&slow_e4m3, want), scale);
        if (want == 0x7F) expected = slow_from_bits(0x7FC00000);
        if (slow_to_bits(back) != slow_to_bits(expected) || slow_to_bits(in) != slow_to_bits(expected))
            fail_msg("%a / %a: decodes to %a, input %a, expected %a", (double)w, (double)scale, (double)back,
                     (double)in, (double)expected);
    }
}

/* Rounding through bf16 changes about 3 % of the bytes of bf16 weights; it must not be lost, nor applied to fp32. */
static void test_roundings_differ(void **state)
{
    (void)state;
    int differ = 0, n = 0;
    for (unsigned h = 0x3C00; h < 0x3F80; h++, n++)                 /* all bf16 from 2^-7 to 1 */
        differ += fp8_encode_bf16((uint16_t)h, 0.0021f, FP8_SINGLE) !=
                  fp8_encode_bf16((uint16_t)h, 0.0021f, FP8_MODELOPT_CPU);
    if (differ * 100 < n || differ * 12 > n) fail_msg("%d of %d bytes differ", differ, n);
    print_message("# %d of %d bytes differ between one rounding and two\n", differ, n);
}

static void test_limits(void **state)
{
    (void)state;
    float inf = slow_from_bits(0x7F800000), nan = slow_from_bits(0x7FC00000);
    assert_int_equal(fp8_encode_f32(500, 1), 0x7E);
    assert_int_equal(fp8_encode_f32(-inf, 1), 0xFE);
    assert_int_equal(fp8_encode_f32(nan, 1), 0x7F);
    assert_int_equal(fp8_encode_bf16(0xFFC1, 1, FP8_MODELOPT_CPU), 0x7F);
    assert_int_equal(fp8_encode_bf16(0x8000, 1, FP8_MODELOPT_CPU), 0x80);
    assert_int_equal(fp8_encode_f16(0x7BFF, 1e-9f, FP8_MODELOPT_CPU), 0x7E);       /* infinity of binary16 on the way */
    /* a scale that is zero in binary16 */
    assert_int_equal(fp8_encode_f16(0x3C00, 1e-9f, FP8_MODELOPT_CUDA), 0x7E);
    assert_true(fp8_input(1000, 2) == 896 && fp8_input(-inf, 2) == -896);
    assert_int_equal(slow_to_bits(fp8_input(-nan, 2)), 0x7FC00000);
    assert_int_equal(slow_to_bits(fp8_input(-0.0f, 2)), 0x80000000);
}

int main(void)
{
    slow_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_vector), cmocka_unit_test(test_scale), cmocka_unit_test(test_all_16_bit_inputs),
        cmocka_unit_test(test_random_bits), cmocka_unit_test(test_roundings_differ), cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
