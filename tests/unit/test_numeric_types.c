/* The small types: every code, every midpoint and its neighbours, all 16-bit inputs, random fp32 bits; expected values
 * from tests/numeric/slow.h, and those that quantize's specification names are written out. */
#include "tests/checks.h"
#include "tests/numeric/slow.h"

#include "numeric/e2m1.h"
#include "numeric/e4m3.h"
#include "numeric/e5m2.h"
#include "numeric/e8m0.h"
#include "numeric/half.h"

/* One shape for all of them. */
static unsigned encode_e2m1(float x) { return e2m1_encode(x); }
static unsigned encode_e4m3(float x) { return e4m3_encode(x); }
static unsigned encode_e5m2(float x) { return e5m2_encode(x); }
static unsigned encode_f16(float x) { return f16_encode(x); }
static unsigned encode_bf16(float x) { return bf16_encode(x); }
static float decode_e2m1(unsigned c) { return e2m1_decode((uint8_t)c); }
static float decode_e4m3(unsigned c) { return e4m3_decode((uint8_t)c); }
static float decode_e5m2(unsigned c) { return e5m2_decode((uint8_t)c); }
static float decode_f16(unsigned c) { return f16_decode((uint16_t)c); }
static float decode_bf16(unsigned c) { return bf16_decode((uint16_t)c); }

static const struct { const struct slow_type *slow; unsigned (*encode)(float); float (*decode)(unsigned); } types[] = {
    {&slow_e2m1, encode_e2m1, decode_e2m1}, {&slow_e4m3, encode_e4m3, decode_e4m3},
    {&slow_e5m2, encode_e5m2, decode_e5m2},
    {&slow_f16, encode_f16, decode_f16}, {&slow_bf16, encode_bf16, decode_bf16},
};
#define N_TYPES (sizeof types / sizeof *types)

static void check_encode(size_t k, float x)
{
    unsigned got = types[k].encode(x), want = slow_encode(types[k].slow, (double)x);
    if (got != want) fail_msg("%s of %a: %#x, expected %#x", types[k].slow->name, (double)x, got, want);
}

/* x, its neighbours and their negatives. */
static void check_around(size_t k, float x)
{
    uint32_t u = slow_to_bits(x);
    for (int d = -2; d <= 2; d++) {
        if (d < 0 && u < 2) continue;
        float near = slow_from_bits(u + (uint32_t)d);
        check_encode(k, near);
        check_encode(k, -near);
    }
}

static void test_every_code(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_TYPES; k++) {
        const struct slow_type *t = types[k].slow;
        for (unsigned c = 0; c < 2u << slow_bits(t); c++) {
            float got = types[k].decode(c);
            double want = slow_decode(t, c);
            if (isnan(want)) {
                if (!isnan(got)) fail_msg("%s code %#x: %a, expected NaN", t->name, c, (double)got);
                assert_int_equal(types[k].encode(got), t->nan_code);
                continue;
            }
            if ((double)got != want || !signbit(got) != !signbit(want))
                fail_msg("%s code %#x: %a, expected %a", t->name, c, (double)got, want);
            if (!isinf(want)) assert_int_equal(types[k].encode(got), c);      /* every finite code comes back, -0 too */
        }
    }
}

static void test_every_midpoint(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_TYPES; k++) {
        const struct slow_type *t = types[k].slow;
        for (unsigned c = 0; c < t->n_finite; c++) {
            check_around(k, (float)t->value[c]);
            if (t->mid[c] <= 3.4028234e38) check_around(k, (float)t->mid[c]);
        }
        static const uint32_t edges[] = {0, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000,
                                         0x7FFFFFFF};
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
            check_encode(k, slow_from_bits(edges[i]));
            check_encode(k, slow_from_bits(edges[i] | 0x80000000u));
        }
    }
}

/* The search of slow.h against trying all codes. */
static void test_slow_reference(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (size_t k = 0; k < 3; k++) {
        const struct slow_type *t = types[k].slow;
        for (unsigned c = 0; c < t->n_finite; c++)
            for (int d = -1; d <= 1; d++) {
                double a = t->mid[c] * (1 + d * 0x1p-40);
                assert_int_equal(slow_nearest(t, a), slow_nearest_of_all(t, a));
            }
        for (int i = 0; i < 20000; i++) {
            double a = ldexp((double)(check_random(&seed) >> 40), (int)(check_random(&seed) % 80) - 60);
            assert_int_equal(slow_nearest(t, a), slow_nearest_of_all(t, a));
        }
        assert_int_equal(slow_nearest(t, (double)INFINITY), slow_nearest_of_all(t, (double)INFINITY));
    }
}

static void test_all_16_bit_inputs(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++)
        for (size_t k = 0; k < 3; k++) {
            check_encode(k, bf16_decode((uint16_t)h));
            check_encode(k, f16_decode((uint16_t)h));
        }
}

static void test_random_bits(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (int i = 0; i < 2000000; i++) {
        uint64_t r = check_random(&seed);
        check_encode((size_t)i % N_TYPES, slow_from_bits((uint32_t)r));
        /* and in the range where the small types have their codes: 2^-30 .. 2^17 */
        check_encode((size_t)(i / 5) % N_TYPES,
                     slow_from_bits((uint32_t)((r >> 32 & 0x807FFFFFu) | (97u + (r >> 58) % 48u) << 23)));
    }
}

/* Values that the formats' own documents name. */
static void test_named_values(void **state)
{
    (void)state;
    static const struct { float x; unsigned code; } e4m3[] = {
        {1.0f, 0x38}, {0x1p-9f, 0x01}, {448, 0x7E}, {256, 0x78}, {384, 0x7C}, {0.125f, 0x20}, {0x1p-10f, 0},
        {0x1.000002p-10f, 1},
        {464, 0x7E}, {480, 0x7E}, {1e30f, 0x7E}, {-1e30f, 0xFE}, {-0.0f, 0x80}, {-0x1p-11f, 0x80}, {0x1p-6f, 0x08},
    };
    for (size_t i = 0; i < sizeof e4m3 / sizeof *e4m3; i++) assert_int_equal(e4m3_encode(e4m3[i].x), e4m3[i].code);
    assert_int_equal(e4m3_encode(slow_from_bits(0x7F800000)), 0x7E);
    assert_int_equal(e4m3_encode(slow_from_bits(0xFF800000)), 0xFE);
    assert_int_equal(e4m3_encode(slow_from_bits(0xFFC00000)), 0x7F);
    assert_int_equal(slow_to_bits(e4m3_decode(0xFF)), 0x7FC00000);

    static const struct { float x; unsigned code; } e2m1[] = {
        {0.25f, 0}, {0.75f, 2}, {1.25f, 2}, {1.75f, 4}, {2.5f, 4}, {3.5f, 6}, {5.0f, 6}, {5.000001f, 7}, {6, 7},
        {1e30f, 7},
        {-0.0f, 8}, {-0.1f, 8}, {-0.5f, 9}, {-6, 15},
    };
    for (size_t i = 0; i < sizeof e2m1 / sizeof *e2m1; i++) assert_int_equal(e2m1_encode(e2m1[i].x), e2m1[i].code);
    assert_int_equal(e2m1_encode(slow_from_bits(0xFFC00000)), 7);
    assert_int_equal(e2m1_magnitude(slow_from_bits(0x7FC00000)), 7);

    assert_int_equal(bf16_encode(slow_from_bits(0x3F808000)), 0x3F80);        /* ties to even */
    assert_int_equal(bf16_encode(slow_from_bits(0x3F818000)), 0x3F82);
    assert_int_equal(bf16_encode(slow_from_bits(0x7F7F8000)), 0x7F80);        /* overflow */
    assert_int_equal(bf16_encode(slow_from_bits(0x7F7F7FFF)), 0x7F7F);
    assert_int_equal(f16_encode(65504), 0x7BFF);
    assert_int_equal(f16_encode(65519.996f), 0x7BFF);
    assert_int_equal(f16_encode(65520), 0x7C00);
    assert_int_equal(f16_encode(0x1p-25f), 0);
    assert_int_equal(f16_encode(0x1.8p-24f), 2);
    assert_int_equal(e5m2_encode(57344), 0x7B);
    assert_int_equal(e5m2_encode(1e9f), 0x7B);
}

static void test_e8m0(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 255; c++) {
        float x = e8m0_decode((uint8_t)c);
        if ((double)x != ldexp(1.0, (int)c - 127)) fail_msg("e8m0 code %u: %a", c, (double)x);
    }
    assert_true(isnan(e8m0_decode(255)));
    uint64_t seed = 3;
    static const uint32_t fixed[] = {
        0, 1, 0x003FFFFF, 0x00400000, 0x00400001, 0x005FFFFF, 0x00600000, 0x007FFFFF, 0x00800000, 0x00800001, 0x00BFFFFF,
        0x00C00000, 0x7EFFFFFF, 0x7F000000, 0x7F000001, 0x7F3FFFFF, 0x7F400000, 0x7F7FFFFF, 0x7F800000, 0x7F800001,
        0x7FFFFFFF, 0x3F800000, 0x3FBFFFFF, 0x3FC00000,
    };
    for (size_t i = 0; i < 200000; i++) {
        size_t n = sizeof fixed / sizeof *fixed;
        uint32_t u = i < n ? fixed[i] : i < 2 * n ? fixed[i - n] | 0x80000000u : (uint32_t)check_random(&seed);
        /* around 1.5 * 2^n */
        if (i >= 2 * n && i % 3 == 0) u = (u & 0xFF800000u) | (0x3FFFFFu + (uint32_t)(check_random(&seed) % 3));
        float x = slow_from_bits(u);
        unsigned got[3] = {e8m0_encode_down(x), e8m0_encode_nearest(x), e8m0_encode_up(x)};
        for (int how = -1; how <= 1; how++)
            if (got[how + 1] != slow_e8m0(x, how))
                fail_msg("e8m0 of %a, direction %d: %u, expected %u", (double)x, how, got[how + 1], slow_e8m0(x, how));
    }
}

static void test_amax_bits(void **state)
{
    (void)state;
    float inf = slow_from_bits(0x7F800000), nan = slow_from_bits(0xFFC00001);
    assert_true(f32_amax(0, -3) == 3.0f && f32_amax(3, 2) == 3.0f);
    assert_true(f32_amax(1e38f, -inf) == inf);
    assert_true(f32_is_nan(f32_amax(inf, nan)) && f32_is_nan(f32_amax(slow_from_bits(0x7FC00000), inf)));
    assert_int_equal(slow_to_bits(f32_amax(0, -0.0f)), 0);
}

int main(void)
{
    slow_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code), cmocka_unit_test(test_every_midpoint), cmocka_unit_test(test_slow_reference),
        cmocka_unit_test(test_all_16_bit_inputs), cmocka_unit_test(test_random_bits),
        cmocka_unit_test(test_named_values),
        cmocka_unit_test(test_e8m0), cmocka_unit_test(test_amax_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
