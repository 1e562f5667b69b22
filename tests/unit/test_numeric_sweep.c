/* The choice of NVFP4 block maxima by least squared error, against a second implementation in double with one rounding
 * per operation (tests/numeric/slow.h), and the properties that the encoder relies on. */
#include "tests/checks.h"
#include "tests/numeric/slow.h"

#include "numeric/half.h"
#include "numeric/nvfp4_sweep.h"

/* All errors first, then the choice from the far end: the last of the smallest seen downwards is the first upwards. */
static int slow_choice(const float w[16], float g, float m, float error[127], float *amax)
{
    float amaxes[127];
    for (int c = 1; c <= 126; c++) {
        amaxes[c] = slow_mul(g, slow_div((float)slow_e4m3.value[c], m));
        float e = slow_div(amaxes[c], 6);
        if (e == 0) e = 1;
        error[c] = 0;
        for (int i = 0; i < 16; i++) {
            float q = slow_div(fabsf(w[i]), e);
            float v = isnan(q) ? 6.0f : (float)slow_e2m1.value[slow_nearest(&slow_e2m1, (double)q)];
            float d = slow_sub(fabsf(w[i]), slow_mul(v, e));
            error[c] = slow_add(error[c], slow_mul(d, d));
        }
    }
    int best = 1;
    for (int c = 126; c >= 1; c--)
        if (error[c] <= error[best] || (isnan(error[best]) && !isnan(error[c]))) best = c;
    if (isinf(error[best]) || isnan(error[best])) best = 1;
    *amax = amaxes[best];
    return best;
}

static void draw(float w[16], int kind, float size, uint64_t *seed)
{
    for (int i = 0; i < 16; i++) {
        float s = 0;
        for (int j = 0; j < 4; j++) s += (float)((double)(check_random(seed) >> 11) * 0x1p-53 - 0.5);
        w[i] = s * size;
        if (kind == 1) w[i] = bf16_decode(bf16_encode(w[i]));
        if (kind == 2) w[i] = (float)(int)(check_random(seed) % 13 - 6) * size / 8;          /* few values: many ties */
        if (kind == 3 && check_random(seed) % 8) w[i] = 0;
        if (kind == 4 && i == 5) w[i] *= 100;
    }
}

static void test_against_second_implementation(void **state)
{
    (void)state;
    uint64_t seed = 21;
    unsigned seen[127] = {0};
    for (int n = 0; n < 6000; n++) {
        float w[16], error[127], want, g = 1, m = n % 4 == 3 ? 256 : 448;
        draw(w, n % 5, n % 7 == 0 ? 1e-3f : n % 7 == 1 ? 1e-22f : 0.2f, &seed);
        if (n % 11 == 0) g = 37.5f;
        if (n % 11 == 1) g = slow_amax(w);
        if (n % 11 == 2) g = 1e-38f;
        seen[slow_choice(w, g, m, error, &want)]++;
        for (unsigned c = 1; c <= NVFP4_CANDIDATES; c++) {          /* every error to the last bit: it decides ties */
            float e = nvfp4_block_error(w, nvfp4_candidate_scale(nvfp4_candidate_amax((uint8_t)c, g, m)));
            if (slow_to_bits(e) != slow_to_bits(error[c]))
                fail_msg("block %d, candidate %u: error %a, expected %a", n, c, (double)e, (double)error[c]);
        }
        float got = nvfp4_sweep_block(w, g, m);
        if (slow_to_bits(got) != slow_to_bits(want))
            fail_msg("block %d: maximum %a, expected %a", n, (double)got, (double)want);
    }
    unsigned n_seen = 0;
    for (int c = 1; c <= 126; c++) n_seen += seen[c] != 0;
    assert_true(n_seen > 60);                       /* the draw reaches many candidates */
}

/* The encoder recovers each candidate from its maximum, for both normalizations and any g. */
static void test_static_order_recovers(void **state)
{
    (void)state;
    uint64_t seed = 22;
    for (int n = 0; n < 20000; n++) {
        uint64_t r = check_random(&seed);
        float g = slow_from_bits((30u + (uint32_t)(r >> 32) % 200u) << 23 | (uint32_t)(r & 0x7FFFFF));
        float m = n % 2 ? 448 : 256;
        for (unsigned c = 1; c <= NVFP4_CANDIDATES; c++) {
            unsigned got = nvfp4_scale_static(nvfp4_candidate_amax((uint8_t)c, g, m), g, m);
            if (got != c) fail_msg("g %a, m %g: candidate %u comes back as %u", (double)g, (double)m, c, got);
        }
    }
}

static void test_special_blocks(void **state)
{
    (void)state;
    float w[16] = {0}, inf = slow_from_bits(0x7F800000);
    /* A zero block takes the smallest candidate, byte 0x01. */
    assert_int_equal(nvfp4_scale_static(nvfp4_sweep_block(w, 1, 448), 1, 448), 0x01);
    /* A zero tensor: every candidate is zero, and the encoder then writes 1.0. */
    assert_int_equal(slow_to_bits(nvfp4_sweep_block(w, 0, 448)), 0);
    assert_int_equal(nvfp4_scale_static(0, 0, 448), 0x38);
    /* A block without error at several scales (6 = 6 * 1 = 4 * 1.5 = 3 * 2 ...; v / 256 is exact): the smallest
     * wins. */
    for (int i = 0; i < 16; i++) w[i] = 6;
    assert_int_equal(nvfp4_scale_static(nvfp4_sweep_block(w, 6 * 256, 256), 6 * 256, 256), 0x38);
    /* No finite error: candidate 1, never a NaN from an uninitialised choice. */
    w[0] = inf;
    assert_int_equal(slow_to_bits(nvfp4_sweep_block(w, 6, 448)), slow_to_bits(nvfp4_candidate_amax(1, 6, 448)));
    w[0] = slow_from_bits(0x7FC00000);
    assert_int_equal(slow_to_bits(nvfp4_sweep_block(w, 6, 448)), slow_to_bits(nvfp4_candidate_amax(1, 6, 448)));
}

/* The chosen maximum is never worse than the block's own, in the error that the encoder really leaves. */
static void test_never_worse_than_max(void **state)
{
    (void)state;
    uint64_t seed = 23;
    double sum_max = 0, sum_sweep = 0;
    for (int n = 0; n < 20000; n++) {
        float w[16], g = 0.5f, s2 = nvfp4_tensor_scale(g);
        draw(w, n % 2, 0.2f, &seed);
        uint8_t own = nvfp4_scale_static(nvfp4_block_amax(w), g, 448);
        float chosen = nvfp4_sweep_block(w, g, 448);
        uint8_t code = nvfp4_scale_static(chosen, g, 448);
        double a = (double)nvfp4_block_error(w, nvfp4_block_scale(own, s2));
        double b = (double)nvfp4_block_error(w, nvfp4_block_scale(code, s2));
        if (b > a * (1 + 1e-5) + 1e-12) fail_msg("block %d: error %g with the choice, %g with the maximum", n, b, a);
        sum_max += a, sum_sweep += b;
    }
    assert_true(sum_sweep < 0.95 * sum_max);        /* and on the whole clearly better */
    print_message("# squared error of the sweep: %.1f %% of the maximum rule's\n", 100 * sum_sweep / sum_max);
}

int main(void)
{
    slow_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_second_implementation), cmocka_unit_test(test_static_order_recovers),
        cmocka_unit_test(test_special_blocks), cmocka_unit_test(test_never_worse_than_max),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
