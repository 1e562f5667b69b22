/* INT4: rows worked out by hand from the definition, every code and midpoint, scales of every 16-bit maximum in the
 * three stored types, random groups against tests/numeric/slow.h, and the edges. No producer's vectors are at hand. */
#include "tests/checks.h"
#include "tests/numeric/slow.h"

#include "numeric/int4.h"

static const struct slow_type *const stored[] = {NULL, &slow_f16, &slow_bf16};

static void check_group(const float *w, int n, enum int4_scale_type type)
{
    float amax = 0, lo = 0, hi = 0;
    for (int i = 0; i < n; i++) amax = f32_amax(amax, w[i]), lo = int4_low(lo, w[i]), hi = int4_high(hi, w[i]);
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        struct slow_int4 want = slow_int4_group(w, n, symmetric, stored[type]);
        float scale = symmetric ? int4_scale(amax, type) : int4_zero_scale(lo, hi, type);
        uint8_t zero = symmetric ? 0 : int4_zero(lo, scale);
        if (slow_to_bits(scale) != slow_to_bits(want.scale) || (!symmetric && zero != want.zero))
            fail_msg("group of %a .. %a, type %d: scale %a, zero %d, expected %a, %d", (double)lo, (double)hi, type,
                     (double)scale, zero, (double)want.scale, want.zero);
        for (int i = 0; i < n; i++) {
            float expected;
            int code = slow_int4(want, w[i], &expected) & 15;
            int got = symmetric ? int4_code(w[i], scale) : int4_zero_code(w[i], scale, zero);
            float back = symmetric ? int4_decode((uint8_t)got, scale) : int4_zero_decode((uint8_t)got, scale, zero);
            if (got != code || slow_to_bits(back) != slow_to_bits(expected))
                fail_msg("%a / %a, zero %d: %d and %a, expected %d and %a", (double)w[i], (double)scale, zero, got,
                         (double)back, code, (double)expected);
        }
    }
}

/* 14, 7 .. : scale 2, so codes are halves of even numbers and ties of odd ones. */
static void test_by_hand(void **state)
{
    (void)state;
    static const struct { float w; uint8_t code; } symmetric[] = {
        {14, 7}, {-14, 9}, {0, 0}, {-0.0f, 0}, {1, 0}, {3, 2}, {5, 2}, {7, 4}, {13, 6}, {-1, 0}, {-3, 14}, {-13, 10},
        {1.01f, 1}, {-1.01f, 15}, {0.99f, 0}, {2.99f, 1}, {-7.01f, 12}, {-2, 15},
    };
    assert_true(int4_scale(14, INT4_SCALE_F32) == 2);
    for (size_t i = 0; i < sizeof symmetric / sizeof *symmetric; i++)
        if (int4_code(symmetric[i].w, 2) != symmetric[i].code)
            fail_msg("%g: code %u, expected %u", (double)symmetric[i].w, int4_code(symmetric[i].w, 2),
                     symmetric[i].code);
    /* -8 is reached when the stored scale is smaller than a / 7 */
    assert_int_equal(int4_code(-7.6f, 1), 8);
    assert_int_equal(int4_code(-100, 1), 8);
    assert_int_equal(int4_code(100, 1), 7);
    /* -5 .. 10: scale 1, zero 5 */
    assert_true(int4_zero_scale(-5, 10, INT4_SCALE_F32) == 1);
    assert_int_equal(int4_zero(-5, 1), 5);
    static const struct { float w; uint8_t code; } zeroed[] = {
        {-5, 0}, {10, 15}, {0, 5}, {-0.0f, 5}, {0.5f, 5}, {1.5f, 7}, {-0.5f, 5}, {-1.5f, 3}, {11, 15}, {-9, 0},
        {9.4f, 14},
    };
    for (size_t i = 0; i < sizeof zeroed / sizeof *zeroed; i++)
        if (int4_zero_code(zeroed[i].w, 1, 5) != zeroed[i].code)
            fail_msg("%g: code %u, expected %u", (double)zeroed[i].w, int4_zero_code(zeroed[i].w, 1, 5),
                     zeroed[i].code);
    /* a group on one side of 0 keeps 0 in its range: zero point 0, or 15 */
    assert_int_equal(int4_zero(0, int4_zero_scale(0, 30, INT4_SCALE_F32)), 0);
    assert_int_equal(int4_zero(-30, int4_zero_scale(-30, 0, INT4_SCALE_F32)), 15);
    assert_int_equal(int4_zero_code(-30, 2, 15), 0);
}

static void test_every_code(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        int low = (int)(c & 15), number = low < 8 ? low : low - 16;
        assert_true(int4_decode((uint8_t)c, 0.5f) == (float)number * 0.5f);
        assert_int_equal(int4_code((float)number * 0.37f, 0.37f), low);
        for (unsigned z = 0; z < 256; z++) {
            assert_true(int4_zero_decode((uint8_t)c, 0.5f, (uint8_t)z) == (float)(low - (int)z) * 0.5f);
            if (z < 16) assert_int_equal(int4_zero_code((float)(low - (int)z) * 0.37f, 0.37f, (uint8_t)z), low);
        }
    }
    assert_int_equal(slow_to_bits(int4_decode(0, 3)), 0);                       /* zero is +0 */
}

static void test_every_midpoint(void **state)
{
    (void)state;
    static const float scales[] = {1, 0.0371f, 3e-40f, 1e37f};
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (int half = -40; half <= 40; half++)
            for (int d = -2; d <= 2; d++) {
                uint32_t u = slow_to_bits(slow_mul((float)half * 0.5f, scales[s]));
                float w = slow_from_bits(half ? u + (uint32_t)d : u), back;
                struct slow_int4 g = {scales[s], -1};
                assert_int_equal(int4_code(w, scales[s]), slow_int4(g, w, &back) & 15);
                for (g.zero = 0; g.zero < 16; g.zero++)
                    assert_int_equal(int4_zero_code(w, scales[s], (uint8_t)g.zero), slow_int4(g, w, &back));
            }
}

static void test_scales(void **state)
{
    (void)state;
    float inf = slow_from_bits(0x7F800000), largest = 0x1.fffffep127f;
    for (int type = 0; type < 3; type++)
        for (unsigned h = 0; h < 0x8000; h++)
            for (int half = 0; half < 2; half++) {
                float a = half ? f16_decode((uint16_t)h) : bf16_decode((uint16_t)h);
                float got = int4_scale(a, (enum int4_scale_type)type);
                if (slow_to_bits(got) != slow_to_bits(slow_stored(slow_div(a, 7), stored[type])))
                    fail_msg("scale of %a, type %d: %a", (double)a, type, (double)got);
                assert_true(got > 0 || isnan(got));
            }
    assert_true(int4_scale(0, INT4_SCALE_F32) == 1 && int4_scale(0, INT4_SCALE_F16) == 1);
    assert_true(int4_scale(1e-7f, INT4_SCALE_F16) == 1 && int4_scale(1e-7f, INT4_SCALE_BF16) < 1e-7f);
    assert_true(int4_scale(inf, INT4_SCALE_F32) == largest && int4_scale(1e9f, INT4_SCALE_F16) == 65504);
    assert_true(int4_scale(inf, INT4_SCALE_BF16) == 0x1.fep127f);
    assert_true(int4_zero_scale(-3e38f, 3e38f, INT4_SCALE_F32) == largest);     /* the range is infinite in fp32 */
}

static void test_random_groups(void **state)
{
    (void)state;
    uint64_t seed = 61;
    for (int n = 0; n < 30000; n++) {
        float w[128];
        int length = 32 << n % 3;
        for (int i = 0; i < length; i++) {
            uint64_t r = check_random(&seed);
            uint32_t u = (uint32_t)r;
            if (n % 5 == 1) u = (u & 0x807F0000u) | (118u + (uint32_t)(r >> 40) % 8u) << 23;         /* bf16 weights */
            if (n % 5 == 2) u = (u & 0x807FFFFFu) | (uint32_t)(r >> 40) % 4u << 23;                  /* denormals */
            if (n % 5 == 3) u = slow_to_bits((float)((int)(r % 31) - 15) * 0.5f);                    /* ties */
            if (n % 5 == 4) u = (u & (n & 8 ? 0x007FFFFFu : 0x807FFFFFu)) | 0x3C000000u;             /* one sign */
            if (n % 5 == 0 && n % 100 && (u & 0x7F800000u) == 0x7F800000u) u &= 0xBFFFFFFFu;
            w[i] = slow_from_bits(u);
        }
        check_group(w, length, (enum int4_scale_type)(n / 3 % 3));
    }
}

static void test_special_groups(void **state)
{
    (void)state;
    float w[32] = {0}, inf = slow_from_bits(0x7F800000);
    w[5] = -0.0f;
    for (int type = 0; type < 3; type++) check_group(w, 32, (enum int4_scale_type)type);
    assert_int_equal(int4_zero(0, int4_zero_scale(0, 0, INT4_SCALE_F32)), 0);
    w[1] = 2, w[2] = -inf, w[3] = inf;
    for (int type = 0; type < 3; type++) check_group(w, 32, (enum int4_scale_type)type);
    assert_int_equal(int4_code(inf, int4_scale(inf, INT4_SCALE_F32)), 7);
    assert_int_equal(int4_code(-inf, int4_scale(inf, INT4_SCALE_F32)), 8);
    w[4] = slow_from_bits(0xFF812345);
    for (int type = 0; type < 3; type++) check_group(w, 32, (enum int4_scale_type)type);
    float s = int4_scale(w[4], INT4_SCALE_F32);
    assert_int_equal(slow_to_bits(s), 0x7FC00000);
    assert_int_equal(int4_code(1, s), 7);
    assert_int_equal(int4_zero_code(1, s, 0), 15);
    assert_int_equal(slow_to_bits(int4_low(w[4], 1)), 0x7FC00000);
    assert_int_equal(slow_to_bits(int4_high(1, w[4])), 0x7FC00000);
    assert_int_equal(slow_to_bits(int4_decode(0, inf)), 0x7FC00000);
    assert_int_equal(slow_to_bits(int4_zero_decode(3, s, 1)), 0x7FC00000);
}

int main(void)
{
    slow_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand), cmocka_unit_test(test_every_code), cmocka_unit_test(test_every_midpoint),
        cmocka_unit_test(test_scales), cmocka_unit_test(test_random_groups), cmocka_unit_test(test_special_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
