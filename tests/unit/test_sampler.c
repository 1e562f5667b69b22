/* The sampler's distributions against transformers' logits processors (5.x, fp32: RepetitionPenalty, Temperature, TopK,
 * TopP, MinP in this order, then softmax), and that draws follow them. */
#include "engine/sampler.h"
#include "tests/checks.h"

#include <math.h>

static const float logits[] = {
    -0.1532885879278183f, 0.7197630405426025f,   -1.5640336275100708f, 0.14305546879768372f, 1.3296787738800049f,
    1.2225992679595947f,  3.2411015033721924f,   -3.193416118621826f,  0.8092142939567566f,  1.2225992679595947f,
    1.5207808017730713f,  -0.06728652119636536f, -0.6896906495094299f, 0.9873071312904358f,  -0.15516149997711182f,
    -3.6107289791107178f, 0.9702280163764954f,   0.4104687571525574f,  0.6768563985824585f,  2.70550799369812f,
    0.7472707629203796f,  0.026832958683371544f, 1.5473463535308838f,  -0.21848703920841217f};
#define VOCAB (sizeof logits / sizeof *logits)
static const uint32_t seen[] = {1, 5, 5, 7};

struct expected {
    struct sampler_config config;
    uint32_t n, ids[9];
    float p[9];
};

static const struct expected cases[] = {
    {{.temperature = 1, .top_p = 1, .repetition_penalty = 1},
     24,
     {6, 19, 22, 10, 4, 5, 9, 13, 16},
     {0.3117591f, 0.1824794f, 0.05731f, 0.0558076f, 0.0460998f, 0.0414185f, 0.0414185f, 0.0327347f, 0.0321804f}},
    {{.temperature = 0.7, .top_p = 0.9, .repetition_penalty = 1.3},
     9,
     {6, 19, 22, 10, 4, 9, 13, 16, 5},
     {0.5326716f, 0.2478371f, 0.0473826f, 0.0456181f, 0.0347195f, 0.0297947f, 0.0212892f, 0.020776f, 0.0199111f}},
    {{.temperature = 1.5, .top_k = 10, .top_p = 0.8, .min_p = 0.1, .repetition_penalty = 1},
     7,
     {6, 19, 22, 10, 4, 5, 9},
     {0.318368f, 0.2227712f, 0.1029288f, 0.101122f, 0.0890258f, 0.0828921f, 0.0828921f}},
    {{.temperature = 0.5, .top_k = 6, .top_p = 1, .min_p = 0.05, .repetition_penalty = 1.2},
     2,
     {6, 19},
     {0.7448226f, 0.2551774f}},
    {{.temperature = 1, .top_p = 0.01, .repetition_penalty = 1}, 1, {6}, {1}},
};

static void test_distributions(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct error e = ERROR_INIT;
        struct sampler *s;
        const uint32_t *ids;
        const float *p;
        assert_true(sampler_open(&s, &cases[c].config, math_for(0), VOCAB, &e));
        sampler_next(s, logits, seen, 4);
        assert_int_equal(sampler_candidates(s, &ids, &p), cases[c].n);
        for (uint32_t i = 0; i < cases[c].n && i < 9; i++) {
            assert_int_equal(ids[i], cases[c].ids[i]);
            assert_true(fabsf(p[i] - cases[c].p[i]) < 2e-6f);
        }
        sampler_close(s);
    }
}

/* 20,000 draws of two candidates: the share lies within five standard deviations of the probability. */
static void test_draws(void **state)
{
    (void)state;
    struct error e = ERROR_INIT;
    struct sampler_config config = cases[3].config;
    uint32_t n = 20000, first = 0, other[8] = {0}, again[8];
    for (int run = 0; run < 3; run++) {
        struct sampler *s;
        config.seed = run == 2 ? 8 : 7;
        assert_true(sampler_open(&s, &config, math_for(0), VOCAB, &e));
        first = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t id = sampler_next(s, logits, seen, 4);
            assert_true(id == 6 || id == 19);
            first += id == 6;
            if (i < 8) (run == 1 ? again : other)[i] = id;
        }
        double p = 0.7448226, off = fabs(first / (double)n - p);
        assert_true(off < 5 * sqrt(p * (1 - p) / n));
        if (run == 1) assert_memory_equal(other, again, sizeof other);
        sampler_close(s);
    }
}

static void test_greedy_and_errors(void **state)
{
    (void)state;
    struct error e = ERROR_INIT;
    struct sampler *s;
    struct sampler_config greedy = SAMPLER_GREEDY;
    const float tied[] = {1, 3, 3, -1};
    assert_true(sampler_open(&s, &greedy, math_for(0), 4, &e));
    assert_int_equal(sampler_next(s, tied, NULL, 0), 1);
    sampler_close(s);
    struct sampler_config bad[] = {{.temperature = -1, .top_p = 1, .repetition_penalty = 1},
                                   {.temperature = (double)NAN, .top_p = 1, .repetition_penalty = 1},
                                   {.temperature = 1, .top_p = 0, .repetition_penalty = 1},
                                   {.temperature = 1, .top_p = 1, .min_p = 1.5, .repetition_penalty = 1},
                                   {.temperature = 1, .top_p = 1, .repetition_penalty = 0}};
    const char *words[] = {"temperature", "temperature", "top-p", "min-p", "repetition penalty"};
    for (size_t i = 0; i < 5; i++) CHECK_FAILS(sampler_open(&s, &bad[i], math_for(0), 4, e_), ERR_USAGE, words[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distributions), cmocka_unit_test(test_draws),
                                       cmocka_unit_test(test_greedy_and_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
