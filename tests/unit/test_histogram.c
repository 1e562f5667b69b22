/* Histograms of inputs and what observers choose from them: against values that were sorted or tried one by one, by hand,
 * and that order and pieces do not matter. */
#include "tests/checks.h"

#include "calibrate/histogram.h"
#include "numeric/e4m3.h"

#include <math.h>

#define N 20000u

static float values[N];

static void draw(uint64_t seed, float outlier)
{
    for (uint32_t i = 0; i < N; i++) {
        float s = 0;
        for (int k = 0; k < 6; k++) s += (float)((double)(check_random(&seed) >> 11) * 0x1p-53 - 0.5);
        values[i] = s * (i % 997 == 0 ? outlier : 1);
    }
}

static int by_size(const void *a, const void *b)
{
    float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return x < y ? -1 : x > y;
}

static void test_order_does_not_matter(void **state)
{
    (void)state;
    static struct histogram all, parts;
    memset(&all, 0, sizeof all);
    memset(&parts, 0, sizeof parts);
    draw(1, 40);
    values[3] = 0, values[4] = -0.0f;
    histogram_add(&all, values, N);
    for (uint32_t i = N; i > 0;) {
        uint32_t n = i % 7 + 1 < i ? i % 7 + 1 : i;
        histogram_add(&parts, values + (i -= n), n);
    }
    check_bytes(&parts, &all, sizeof all, "histogram");
    uint64_t sum = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++) sum += all.count[i];
    assert_int_equal(sum, N);
    assert_true(all.top < ldexpf(2048, all.exponent) && all.top >= ldexpf(1024, all.exponent));
}

/* The left edge of the bin in which the value stands that sorting finds. */
static void test_percentile(void **state)
{
    (void)state;
    static const double shares[] = {50, 90, 99, 99.9, 99.99};
    for (uint64_t seed = 2; seed < 6; seed++) {
        static struct histogram h;
        memset(&h, 0, sizeof h);
        draw(seed, 30);
        histogram_add(&h, values, N);
        qsort(values, N, sizeof *values, by_size);
        for (size_t k = 0; k < sizeof shares / sizeof *shares; k++) {
            struct input_observer o = {OBSERVER_PERCENTILE, shares[k]};
            uint32_t rank = (uint32_t)ceil(shares[k] / 100 * N - 1e-9) - 1;
            float width = ldexpf(1, h.exponent), want = floorf(fabsf(values[rank]) / width) * width;
            float got = histogram_choose(&h, &o);
            if (want == 0) want = width;
            if (got != want) fail_msg("seed %u, %g %%: %g, expected %g", (unsigned)seed, shares[k], (double)got, (double)want);
        }
        struct input_observer o = {OBSERVER_PERCENTILE, 100};
        assert_true(histogram_choose(&h, &o) == fabsf(values[N - 1]));
    }
}

static double fp8_error(float amax)
{
    double sum = 0;
    for (uint32_t i = 0; i < N; i++) {
        float s = amax / 448.0f;
        double d = (double)values[i] - (double)e4m3_decode(e4m3_encode(values[i] / s)) * (double)s;
        sum += d * d;
    }
    return sum;
}

/* The errors that the histogram tells are those of the values, nearly; mse finds a maximum that is about as good as any. */
static void test_mse(void **state)
{
    (void)state;
    static struct histogram h;
    draw(9, 1);
    for (int i = 0; i < 4; i++) values[i] = 900; /* so far out that clipping them pays */
    for (uint32_t i = 4; i < N; i++) values[i] *= 30;
    memset(&h, 0, sizeof h);
    histogram_add(&h, values, N);
    struct input_observer o = {OBSERVER_MSE, 0};
    float chosen = histogram_choose(&h, &o);
    double got = fp8_error(chosen), best = 1e300;
    for (int k = 1; k <= 400; k++) best = fmin(best, fp8_error(900.0f * (float)k / 400));
    if (got > 1.1 * best) fail_msg("error %g with %g, the best found is %g", got, (double)chosen, best);
    double told = histogram_fp8_error(&h, chosen);
    if (fabs(told / got - 1) > 0.25) fail_msg("the histogram says %g, the values %g", told, got);
}

/* A flat distribution with a thin tail: what is kept ends between them; a flat one alone is kept whole. */
static void test_entropy(void **state)
{
    (void)state;
    static struct histogram h;
    struct input_observer o = {OBSERVER_ENTROPY, 0};
    memset(&h, 0, sizeof h);
    for (uint32_t i = 0; i < N; i++) values[i] = (float)(i % 2000) / 2000;
    histogram_add(&h, values, N);
    assert_true(histogram_choose(&h, &o) > 0.95f);
    for (uint32_t i = 0; i < 8; i++) values[i] = 8;
    memset(&h, 0, sizeof h);
    histogram_add(&h, values, N);
    float chosen = histogram_choose(&h, &o);
    if (!(chosen > 0.7f && chosen < 4)) fail_msg("chose %g of values up to 1 and eight times 8", (double)chosen);
}

/* By hand: blocks of 1, with one block in a thousand at 0.01: 1 % of the blocks lie at or below 1, so the anchor is 1's
 * bin, and 16384 times it lies above all. Bins are 2^(5/32) wide, their middles at most 5.6 % away. */
static void test_headroom(void **state)
{
    (void)state;
    static struct histogram h;
    struct input_observer o = {OBSERVER_HEADROOM, 0};
    for (uint32_t i = 0; i < N; i++) values[i] = i / 16 % 1000 == 0 ? 0.01f : i % 16 == 5 ? -1 : 0.2f;
    memset(&h, 0, sizeof h);
    histogram_add_blocks(&h, values, N);
    float got = histogram_choose(&h, &o);
    if (fabs((double)got / 16384 - 1) > 0.057) fail_msg("%g, expected about 16384", (double)got);
    /* a range so wide that the largest blocks decide: small ones at 1e-5, the upper 0.1 % at 1000 */
    for (uint32_t i = 0; i < N; i++) values[i] = i / 16 % 500 == 3 ? 1000 : 1e-5f * (i / 16 % 40 ? 100 : 1) * 30;
    memset(&h, 0, sizeof h);
    histogram_add_blocks(&h, values, N);
    got = histogram_choose(&h, &o);
    if (fabs((double)got / 1000 - 1) > 0.057) fail_msg("%g, expected about 1000", (double)got);
    /* zeros and nothing else: there is nothing to choose */
    memset(values, 0, sizeof values);
    memset(&h, 0, sizeof h);
    histogram_add_blocks(&h, values, N);
    assert_true(histogram_choose(&h, &o) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_does_not_matter), cmocka_unit_test(test_percentile), cmocka_unit_test(test_mse),
        cmocka_unit_test(test_entropy),               cmocka_unit_test(test_headroom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
