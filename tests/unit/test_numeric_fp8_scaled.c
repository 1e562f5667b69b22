/* FP8 per row and per block: scales of every 16-bit maximum in both forms, bytes of all 16-bit inputs against
 * tests/numeric/slow.h, and the edges of the types. */
#include "tests/checks.h"
#include "tests/numeric/slow.h"

#include "numeric/fp8_scaled.h"

static void check_scale(float amax)
{
    for (int form = 0; form < 2; form++) {
        float got = fp8_scaled_scale(amax, (enum fp8_scale_form)form), want = slow_fp8_scale(amax, form == 1);
        if (slow_to_bits(got) != slow_to_bits(want))
            fail_msg("scale of %a, form %d: %a, expected %a", (double)amax, form, (double)got, (double)want);
    }
}

static void test_scales(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x8000; h++) {
        check_scale(bf16_decode((uint16_t)h));
        check_scale(f16_decode((uint16_t)h));
    }
    uint64_t seed = 41;
    for (int i = 0; i < 300000; i++) {
        uint32_t u = (uint32_t)check_random(&seed) & 0x7FFFFFFFu;
        if (i % 2) u = (u & 0x7F800000u) | (0x5FFFFFu + u % 4u);      /* 1.75 * 2^n, 448 times a power of two */
        check_scale(slow_from_bits(u));
    }
}

static void test_named_scales(void **state)
{
    (void)state;
    float inf = slow_from_bits(0x7F800000);
    static const struct { float amax, f32, ue8m0; } cases[] = {
        {448, 1, 1}, {224, 0.5f, 0.5f}, {0x1.c00002p8f, 0x1.000002p0f, 2}, {896, 2, 2}, {1, 0x1.24924ap-9f, 0x1p-8f},
        {0, 1, 1}, {0x1p-149f, 1, 1}, {0x1.bcp-142f, 1, 1},            /* the scale would be zero */
        {0x1.c4p-142f, 0x1p-149f, 0x1p-127f},
        {0x1p-140f, 0x1p-149f, 0x1p-127f},                             /* 2^9 denormals, 1.14 of them */
        {0x1.fffffep127f, 0x1.249248p119f, 0x1p120f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float s = fp8_scaled_scale(cases[i].amax, FP8_SCALE_F32), u = fp8_scaled_scale(cases[i].amax, FP8_SCALE_UE8M0);
        if (s != cases[i].f32 || u != cases[i].ue8m0)
            fail_msg("scales of %a: %a and %a", (double)cases[i].amax, (double)s, (double)u);
        assert_int_equal(slow_to_bits(e8m0_decode(e8m0_encode_down(u))), slow_to_bits(u));     /* an E8M0 number */
    }
    assert_true(fp8_scaled_scale(inf, FP8_SCALE_F32) == inf && fp8_scaled_scale(inf, FP8_SCALE_UE8M0) == 0x1p127f);
    for (int form = 0; form < 2; form++)
        assert_int_equal(slow_to_bits(fp8_scaled_scale(slow_from_bits(0x7F812345), (enum fp8_scale_form)form)),
                         0x7FC00000);
}

static void check_element(float w, float scale)
{
    unsigned got = fp8_scaled_encode(w, scale), want = slow_fp8(NULL, w, scale, 0);
    float back = fp8_scaled_decode((uint8_t)got, scale), expected = slow_fp8_back(want, scale);
    if (got != want) fail_msg("%a / %a: %02x, expected %02x", (double)w, (double)scale, got, want);
    if (slow_to_bits(back) != slow_to_bits(expected))
        fail_msg("%02x * %a: %a, expected %a", got, (double)scale, (double)back, (double)expected);
}

/* 16-bit sources are rounded once too: no rounding to the source type on the way, unlike the per-tensor scale. */
static void test_elements(void **state)
{
    (void)state;
    float inf = slow_from_bits(0x7F800000), nan = slow_from_bits(0x7FC00000);
    static const float amaxes[] = {1, 0.0371f, 448, 1e-30f, 1e-38f, 1e-41f, 0x1p-149f, 3e38f};
    for (size_t k = 0; k < sizeof amaxes / sizeof *amaxes; k++)
        for (int form = 0; form < 2; form++) {
            float scale = fp8_scaled_scale(amaxes[k], (enum fp8_scale_form)form);
            for (unsigned h = 0; h < 65536; h++) {
                check_element(bf16_decode((uint16_t)h), scale);
                check_element(f16_decode((uint16_t)h), scale);
            }
            for (unsigned c = 0; c < 126; c++) {                       /* on and beside every midpoint */
                uint32_t mid = slow_to_bits(slow_mul((float)slow_e4m3.mid[c], scale));
                for (uint32_t d = 0; d < 5 && mid > 2; d++)
                    check_element(slow_from_bits((mid - 2u + d) | c << 31), scale);
            }
        }
    /* what callers should have refused */
    assert_int_equal(fp8_scaled_encode(-3, inf), 0x80);
    assert_int_equal(fp8_scaled_encode(inf, inf), 0x7F);
    assert_int_equal(fp8_scaled_encode(-inf, 0x1p127f), 0xFE);
    assert_int_equal(fp8_scaled_encode(1, nan), 0x7F);
    assert_int_equal(slow_to_bits(fp8_scaled_decode(0, inf)), 0x7FC00000);
    assert_int_equal(slow_to_bits(fp8_scaled_decode(0xFF, 1)), 0x7FC00000);
    assert_int_equal(slow_to_bits(fp8_scaled_decode(0x38, slow_from_bits(0xFFC12345))), 0x7FC00000);
}

/* The largest magnitude is the code 448 in the plain form, and lies between 224 and 448 in the other. */
static void test_largest(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int i = 0; i < 200000; i++) {
        float a = slow_from_bits((uint32_t)(check_random(&seed) % 0x7E000000u) + 0x00C00000u);
        if (a < 0x1p-110f) a = 1 / a;                                  /* not where scales are denormal */
        assert_int_equal(fp8_scaled_encode(-a, fp8_scaled_scale(a, FP8_SCALE_F32)), 0xFE);
        uint8_t c = fp8_scaled_encode(a, fp8_scaled_scale(a, FP8_SCALE_UE8M0));
        if (c < 0x76 || c > 0x7E) fail_msg("%a: code %02x", (double)a, c);
    }
}

int main(void)
{
    slow_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales), cmocka_unit_test(test_named_scales), cmocka_unit_test(test_elements),
        cmocka_unit_test(test_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
