/* MXFP4 by both rules and MXFP8: rows that ModelOpt 0.47.0 wrote, every code and midpoint in every position of a block,
 * scales of every 16-bit maximum, the ends of the range, and what callers should have refused. */
#include "tests/checks.h"
#include "tests/numeric/slow.h"

#include "numeric/half.h"
#include "numeric/mxfp4.h"
#include "numeric/mxfp8.h"

enum { MODELOPT, OCP, MXFP8, KINDS };
static const char *const names[KINDS] = {"mxfp4 modelopt", "mxfp4 ocp", "mxfp8"};

struct coded { uint8_t scale, code[32]; float back[32]; };

static void encode(int kind, const float w[32], struct coded *c)
{
    uint8_t packed[16];
    if (kind == MXFP8) {
        mxfp8_encode_block(w, &c->scale, c->code);
        mxfp8_decode_block(c->code, c->scale, c->back);
        return;
    }
    mxfp4_encode_block(w, kind == MODELOPT ? MXFP4_MODELOPT : MXFP4_OCP, &c->scale, packed);
    mxfp4_decode_block(packed, c->scale, c->back);
    for (int i = 0; i < 32; i++) c->code[i] = i % 2 ? packed[i / 2] >> 4 : packed[i / 2] & 15;
}

static void check_block(int kind, const float w[32])
{
    struct coded got;
    struct slow_mx want;
    encode(kind, w, &got);
    if (kind == MXFP8) slow_mxfp8(&want, w);
    else slow_mxfp4(&want, w, kind == MODELOPT);
    if (got.scale != want.scale)
        fail_msg("%s: scale of a block of maximum %a is %u, expected %u", names[kind], (double)slow_amax_of(w, 32),
                 got.scale, want.scale);
    for (int i = 0; i < 32; i++)
        if (got.code[i] != want.code[i] || slow_to_bits(got.back[i]) != slow_to_bits(want.decoded[i]))
            fail_msg("%s: %a with scale %u is %#x, %a, expected %#x, %a", names[kind], (double)w[i], got.scale,
                     got.code[i], (double)got.back[i], want.code[i], (double)want.decoded[i]);
}

/* w_i = (-1)^i (i + 1) / 32 in bf16 (reference/quantize.md 1.4). */
static void test_published_rows(void **state)
{
    (void)state;
    static const uint8_t mxfp4[16] = {0x80, 0x91, 0x91, 0xa2, 0xa2, 0xb3, 0xb3, 0xc4,
                                      0xc4, 0xc4, 0xd5, 0xd5, 0xd5, 0xd5, 0xe6, 0xe6};
    static const uint8_t mxfp8[32] = {
        0x50, 0xd8, 0x5c, 0xe0, 0x62, 0xe4, 0x66, 0xe8, 0x69, 0xea, 0x6b, 0xec, 0x6d, 0xee, 0x6f, 0xf0,
        0x70, 0xf1, 0x72, 0xf2, 0x72, 0xf3, 0x74, 0xf4, 0x74, 0xf5, 0x76, 0xf6, 0x76, 0xf7, 0x78, 0xf8,
    };
    float w[32];
    uint8_t scale, packed[16], codes[32];
    for (int i = 0; i < 32; i++) w[i] = (i % 2 ? -1.0f : 1.0f) * (float)(i + 1) / 32.0f;
    mxfp4_encode_block(w, MXFP4_MODELOPT, &scale, packed);
    assert_int_equal(scale, 0x7d);
    check_bytes(packed, mxfp4, 16, "MXFP4");
    mxfp8_encode_block(w, &scale, codes);
    assert_int_equal(scale, 0x77);
    check_bytes(codes, mxfp8, 32, "MXFP8");
}

/* Every midpoint and code value with its neighbours, both signs, at every place of the block, under many scales; one
 * element holds the maximum that sets the scale. */
static void test_every_midpoint(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        const struct slow_type *t = kind == MXFP8 ? &slow_e4m3 : &slow_e2m1;
        float top = kind == MXFP8 ? 448 : kind == MODELOPT ? 6 : 7.9f;
        for (int e = -126; e <= 118; e += kind == MXFP8 ? 61 : 7)
            for (unsigned c = 0; c < t->n_finite * 10u; c++) {
                float w[32] = {0}, size = ldexpf(1, e), v = (float)(c % 2 ? t->mid[c / 10] : t->value[c / 10]);
                uint32_t u = slow_to_bits(slow_mul(v, size));
                int place = (int)(c % 31);
                w[31] = top * size;
                if (fabsf(slow_mul(v, size)) <= w[31]) w[place] = slow_from_bits(u + c / 2 % 5 - (u > 2 ? 2u : 0u));
                w[(place + 7) % 31] = -w[place];
                check_block(kind, w);
            }
    }
    /* the tie rules in words */
    static const float mids[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
    static const uint8_t even[7] = {0, 2, 2, 4, 4, 6, 6};
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(mxfp4_code(mids[i], MXFP4_MODELOPT), i);
        assert_int_equal(mxfp4_code(-mids[i], MXFP4_MODELOPT), i + 8);
        assert_int_equal(mxfp4_code(mids[i], MXFP4_OCP), even[i]);
        assert_int_equal(mxfp4_code(-mids[i], MXFP4_OCP), even[i] + 8);
    }
}

/* Every code decodes as its definition says, under every scale. */
static void test_every_code(void **state)
{
    (void)state;
    for (unsigned s = 0; s < 256; s++)
        for (unsigned c = 0; c < 256; c++) {
            uint8_t in[32];
            float out4[32], out8[32];
            memset(in, (int)c, sizeof in);
            mxfp4_decode_block(in, (uint8_t)s, out4);
            mxfp8_decode_block(in, (uint8_t)s, out8);
            for (int i = 0; i < 4; i++) {
                unsigned nibble = i % 2 ? c >> 4 : c & 15;
                double scale = s == 255 ? (double)NAN : ldexp(1, (int)s - 127);
                float want4 = (float)(slow_decode(&slow_e2m1, nibble) * scale);
                float want8 = (float)(slow_decode(&slow_e4m3, c) * scale);
                if (isnan(want4)) want4 = slow_from_bits(0x7FC00000);
                if (isnan(want8)) want8 = slow_from_bits(0x7FC00000);
                assert_int_equal(slow_to_bits(out4[i]), slow_to_bits(want4));
                assert_int_equal(slow_to_bits(out8[i]), slow_to_bits(want8));
            }
        }
}

/* For 16-bit maxima exponent arithmetic is what ModelOpt computes with a library's log2 in fp32 (here libm's). */
static void test_scales(void **state)
{
    (void)state;
    for (unsigned h = 1; h < 0x7F80; h++)
        for (int half = 0; half < 2; half++) {
            float a = half ? f16_decode((uint16_t)h) : bf16_decode((uint16_t)h);
            if (isnan(a) || isinf(a)) continue;
            int up6 = (int)fmaxf(ceilf(log2f(a / 6.0f)), -127) + 127;
            int up448 = (int)fmaxf(ceilf(log2f(a / 448.0f)), -127) + 127;
            int down = (int)fmaxf(floorf(log2f(a)) - 2, -127) + 127;
            if (mxfp4_scale(a, MXFP4_MODELOPT) != up6 || mxfp4_scale(a, MXFP4_OCP) != down ||
                e8m0_encode_up(a / 448.0f) != up448)
                fail_msg("scales of %a: %u, %u, %u, expected %d, %d, %d", (double)a, mxfp4_scale(a, MXFP4_MODELOPT),
                         mxfp4_scale(a, MXFP4_OCP), e8m0_encode_up(a / 448.0f), up6, down, up448);
        }
    static const struct { float a; uint8_t modelopt, ocp; } named[] = {
        {6, 127, 127}, {0x1.800002p2f, 128, 127}, {4, 127, 127}, {0x1.fffffep1f, 127, 126}, {3, 126, 126},
        {8, 128, 128}, {7.9f, 128, 127}, {0, 0, 0}, {0x1p-149f, 0, 0}, {0x1p-125f, 0, 0}, {0x1p-124f, 1, 1},
        {0x1.fffffep127f, 253, 252},
    };
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        uint8_t m = mxfp4_scale(named[i].a, MXFP4_MODELOPT), o = mxfp4_scale(named[i].a, MXFP4_OCP);
        if (m != named[i].modelopt || o != named[i].ocp) fail_msg("scales of %a: %u and %u", (double)named[i].a, m, o);
    }
}

static void test_random_blocks(void **state)
{
    (void)state;
    uint64_t seed = 51;
    for (int n = 0; n < 60000; n++) {
        float w[32];
        for (int i = 0; i < 32; i++) {
            uint64_t r = check_random(&seed);
            uint32_t u = (uint32_t)r;
            if (n % 4 == 1) u = (u & 0x807F0000u) | (118u + (uint32_t)(r >> 40) % 8u) << 23;         /* bf16 weights */
            if (n % 4 == 2) u = (u & 0x807FFFFFu) | (uint32_t)(r >> 40) % 6u << 23;                  /* denormals */
            if (n % 4 == 3) u = (u & 0x807FFFFFu) | (248u + (uint32_t)(r >> 40) % 7u) << 23;         /* the largest */
            if (n % 4 == 0 && n % 64 && (u & 0x7F800000u) == 0x7F800000u) u &= 0xBFFFFFFFu;
            w[i] = slow_from_bits(u);
        }
        for (int kind = 0; kind < KINDS; kind++) check_block(kind, w);
    }
}

static void test_special_blocks(void **state)
{
    (void)state;
    struct coded c;
    float inf = slow_from_bits(0x7F800000);
    /* zeros: scale 0; ModelOpt stores every zero as code 8, the others keep the sign */
    float w[32] = {0};
    w[1] = -0.0f;
    static const uint8_t zero[KINDS][2] = {{8, 8}, {0, 8}, {0, 0x80}};
    for (int kind = 0; kind < KINDS; kind++) {
        encode(kind, w, &c);
        assert_int_equal(c.scale, 0);
        assert_int_equal(c.code[0], zero[kind][0]);
        assert_int_equal(c.code[1], zero[kind][1]);
        assert_true(c.back[0] == 0 && c.back[1] == 0);
        check_block(kind, w);
    }
    /* what rounds to zero keeps its sign; in ModelOpt a positive one is code 0, unlike a zero */
    w[0] = 1, w[1] = 1e-9f, w[2] = -1e-9f, w[3] = 0;
    static const uint8_t tiny[KINDS][3] = {{0, 8, 8}, {0, 8, 0}, {0, 0x80, 0}};
    for (int kind = 0; kind < KINDS; kind++) {
        encode(kind, w, &c);
        check_bytes(c.code + 1, tiny[kind], 3, names[kind]);
    }
    /* OCP clips a maximum from 7 on (and from 6 to 7 rounds it down to 6) */
    w[0] = 7.75f;
    encode(OCP, w, &c);
    assert_true(c.back[0] == 6);
    encode(MODELOPT, w, &c);
    assert_true(c.back[0] == 8);
    /* what callers should have refused */
    static const uint8_t inf_scale[KINDS] = {254, 252, 254}, inf_code[KINDS] = {15, 15, 0xFE};
    static const uint8_t nan_code[KINDS] = {15, 7, 0x7F};
    for (int kind = 0; kind < KINDS; kind++) {
        w[0] = 1, w[9] = -inf;
        check_block(kind, w);
        encode(kind, w, &c);
        assert_int_equal(c.scale, inf_scale[kind]);
        assert_int_equal(c.code[9], inf_code[kind]);
        w[20] = slow_from_bits(0xFF812345);
        check_block(kind, w);
        encode(kind, w, &c);
        assert_int_equal(c.scale, 255);
        for (int i = 0; i < 32; i++) {
            assert_int_equal(c.code[i], nan_code[kind]);
            assert_int_equal(slow_to_bits(c.back[i]), 0x7FC00000);
        }
        w[20] = 0, w[9] = 0;
    }
}

int main(void)
{
    slow_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_rows), cmocka_unit_test(test_every_midpoint), cmocka_unit_test(test_every_code),
        cmocka_unit_test(test_scales), cmocka_unit_test(test_random_blocks), cmocka_unit_test(test_special_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
