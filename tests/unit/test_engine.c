/* The forward pass gives the same bits however it is run: batch or one by one, whole or token by token, any number of
 * threads, any instruction set, activations in memory or in a file. (That the bits are right: tests/golden/engine.py.)
 */
#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"
#include "core/memory.h"
#include "engine/engine.h"
#include "engine/route.h"
#include "tests/tiny_model.h"

#include <math.h>

#define VOCAB 64u

static const char *dir;
static enum compute compute; /* of logits_of and test_decode_is_prefill */
static struct model model;
static uint32_t long_ids[4500]; /* longer than two calls of a stream */

static int setup(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof long_ids / sizeof *long_ids; i++)
        long_ids[i] = (uint32_t)(check_random(&seed) % VOCAB);
    dir = check_folder();
    tiny_model_write(dir, TINY_CONFIG, (struct tiny_edit){0});
    return model_open(&model, dir, check_error()) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    model_close(&model);
    check_folder_remove(dir);
    return 0;
}

/* All logits of the texts, one after the other; caller frees. */
static float *logits_of(const struct text_ids *texts, uint32_t n, uint32_t threads, uint64_t isa, const char *spill)
{
    struct engine *e;
    struct stream *s;
    struct pool *pool;
    float *out;
    CHECK_OK(pool_open(&pool, threads, e_));
    struct engine_options o = {.pool = pool, .isa = isa, .compute = compute, .quantize_inputs = true, .residual_bytes = spill ? 1 : 0};
    CHECK_OK(engine_open(&e, model.inventory, &o, e_));
    CHECK_OK(stream_open(&s, e, texts, n, spill, e_));
    for (uint32_t b = 0; b < engine_config(e)->n_blocks; b++) CHECK_OK(stream_block(s, b, NULL, NULL, e_));
    CHECK_OK(memory_alloc(&out, stream_rows(s) * VOCAB, sizeof *out, e_));
    for (uint64_t row = 0; row < stream_rows(s); row += 100) {
        uint64_t m = stream_rows(s) - row < 100 ? stream_rows(s) - row : 100;
        CHECK_OK(stream_logits(s, row, m, NULL, out + row * VOCAB, e_));
    }
    stream_close(s);
    engine_close(e);
    pool_close(pool);
    return out;
}

static void same_bits(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: value %zu of %zu is %.9g, expected %.9g", what, i, n, (double)a[i], (double)b[i]);
}

static void test_batch_is_one_by_one(void **state)
{
    (void)state;
    const struct text_ids texts[] = {
        {long_ids, 1}, {long_ids + 50, 77}, {long_ids, 4500}, {long_ids + 9, 3}, {long_ids + 300, 130}};
    float *all = logits_of(texts, 5, 2, isa_detected(), NULL);
    size_t row = 0;
    for (int i = 0; i < 5; i++) {
        float *one = logits_of(&texts[i], 1, 1, isa_detected(), NULL);
        same_bits(all + row * VOCAB, one, (size_t)texts[i].n * VOCAB, "batch");
        row += texts[i].n;
        free(one);
    }
    for (size_t i = 0; i < row * VOCAB; i++) assert_true(isfinite(all[i]));
    free(all);
}

static void test_threads_isa_spill(void **state)
{
    (void)state;
    const struct text_ids texts[] = {{long_ids, 200}, {long_ids + 200, 65}};
    float *want = logits_of(texts, 2, 1, 0, NULL);
    static const uint64_t isas[] = {0, ISA_AVX2, ISA_AVX2 | ISA_AVX512, ISA_AVX2 | ISA_AVX512 | ISA_BF16};
    for (int i = 0; i < 4; i++) {
        if ((isas[i] & isa_detected()) != isas[i]) continue;
        for (uint32_t threads = 1; threads <= 4; threads++) {
            float *got = logits_of(texts, 2, threads, isas[i], NULL);
            same_bits(got, want, 265 * VOCAB, isa_name(isas[i]));
            free(got);
        }
    }
    float *spilled = logits_of(texts, 2, 2, isa_detected(), dir);
    same_bits(spilled, want, 265 * VOCAB, "spill file");
    free(spilled);
    free(want);
}

static void test_decode_is_prefill(void **state)
{
    (void)state;
    const uint32_t n = 150;
    const struct text_ids text = {long_ids, n};
    float *want = logits_of(&text, 1, 2, isa_detected(), NULL), logits[VOCAB];
    static const uint32_t steps[] = {1, 7, 64, 150};
    struct engine *e;
    struct engine_options o = {.isa = isa_detected(), .compute = compute, .quantize_inputs = true};
    CHECK_OK(engine_open(&e, model.inventory, &o, e_));
    for (int k = 0; k < 4; k++) {
        struct session *s;
        CHECK_OK(session_open(&s, e, e_));
        for (uint32_t i = 0; i < n; i += steps[k]) {
            uint32_t m = n - i < steps[k] ? n - i : steps[k];
            CHECK_OK(session_feed(s, long_ids + i, m, logits, e_));
            same_bits(logits, want + (size_t)(i + m - 1) * VOCAB, VOCAB, "decode");
        }
        session_close(s);
    }
    engine_close(e);
    free(want);
}

/* All of that again with products in bf16; and these are other numbers, though not by much. */
static void test_bf16(void **state)
{
    const struct text_ids text = {long_ids, 100};
    float *exact = logits_of(&text, 1, 2, isa_detected(), NULL);
    compute = COMPUTE_BF16;
    test_batch_is_one_by_one(state);
    test_threads_isa_spill(state);
    test_decode_is_prefill(state);
    float *rounded = logits_of(&text, 1, 2, isa_detected(), NULL);
    compute = COMPUTE_FP32;
    double error = 0, size = 0;
    for (size_t i = 0; i < 100 * VOCAB; i++) {
        error += pow((double)exact[i] - (double)rounded[i], 2);
        size += pow((double)exact[i], 2);
    }
    assert_true(error > 0 && error < 1e-4 * size); /* a rounding to bf16 is 2^-9 at most, 1.5e-5 squared and halved */
    free(exact);
    free(rounded);
}

static void test_refuses(void **state)
{
    (void)state;
    struct engine *e;
    struct stream *s;
    struct session *d;
    float logits[VOCAB];
    uint32_t bad[] = {1, 2, VOCAB};
    struct engine_options o = {.isa = isa_detected()};
    CHECK_OK(engine_open(&e, model.inventory, &o, e_));
    CHECK_FAILS(stream_open(&s, e, &(struct text_ids){bad, 3}, 1, NULL, e_), ERR_FORMAT,
                "text 1, token 3: id 64 is outside the vocabulary of 64");
    CHECK_FAILS(stream_open(&s, e, &(struct text_ids){bad, 0}, 1, NULL, e_), ERR_FORMAT, "text 1 is empty");
    CHECK_FAILS(stream_open(&s, e, NULL, 0, NULL, e_), ERR_FORMAT, "no texts");
    CHECK_OK(session_open(&d, e, e_));
    CHECK_FAILS(session_feed(d, bad, 3, logits, e_), ERR_FORMAT, "token 3: id 64");
    CHECK_FAILS(session_feed(d, bad, 0, logits, e_), ERR_FORMAT, "prompt is empty");
    session_close(d);
    engine_close(e);
}

static bool run_poisoned(const char *tensor, uint16_t bits, struct error *err)
{
    const char *folder = check_folder();
    char copy[64];
    strcpy(copy, folder);
    struct model m;
    struct engine *e = NULL;
    struct stream *s = NULL;
    struct error local = ERROR_INIT;
    tiny_model_write(copy, TINY_CONFIG, (struct tiny_edit){.poison = tensor, .bits = bits});
    struct engine_options o = {.isa = isa_detected()};
    const struct text_ids text = {long_ids, 40};
    bool ok = model_open(&m, copy, &local) && engine_open(&e, m.inventory, &o, &local) &&
              stream_open(&s, e, &text, 1, NULL, &local);
    for (uint32_t b = 0; ok && b < 4; b++) ok = stream_block(s, b, NULL, NULL, &local);
    stream_close(s);
    engine_close(e);
    model_close(&m);
    check_folder_remove(copy);
    if (err) *err = local;
    return ok;
}

static void test_non_finite_weights(void **state)
{
    (void)state;
    static const char *const names[] = {"backbone.layers.0.mixer.in_proj.weight",
                                        "backbone.layers.1.mixer.shared_experts.up_proj.weight",
                                        "backbone.layers.2.norm.weight", "backbone.norm_f.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK_FAILS(run_poisoned(names[i], 0x7fc0, e_), ERR_FORMAT, names[i]);     /* NaN */
        CHECK_FAILS(run_poisoned(names[i], 0xff80, e_), ERR_FORMAT, "not finite"); /* -infinity */
    }
}

/* Hand-worked choices. */
static void test_route(void **state)
{
    (void)state;
    struct moe_config m = {.n_experts = 6, .top_k = 2, .n_groups = 1, .top_k_groups = 1, .normalize = true, .scale = 2};
    const float scores[] = {0.5f, 0.25f, 0.75f, 0.5f, 0.125f, 0.5f}, none[6] = {0};
    float scratch[6], w[2];
    uint32_t e[2];
    route_token(&m, math_for(0), scores, none, scratch, e, w);
    assert_int_equal(e[0], 0); /* 2 is best; of the three 0.5 the lowest number wins */
    assert_int_equal(e[1], 2);
    assert_true(fabsf(w[0] - 2 * 0.5f / 1.25f) < 1e-6f && fabsf(w[1] - 2 * 0.75f / 1.25f) < 1e-6f);
    const float bias[] = {0, 0.6f, 0, 0, 0.7f, 0}; /* changes the choice (0.85, 0.825), not the weights */
    m.normalize = false;
    route_token(&m, math_for(0), scores, bias, scratch, e, w);
    assert_int_equal(e[0], 1);
    assert_int_equal(e[1], 4);
    assert_true(w[0] == 0.5f && w[1] == 0.25f);
    /* Groups {0,1,2}, {3,4,5}: sums of the best two 1.25 and 1.0: only the first is kept. */
    m.n_groups = 2;
    route_token(&m, math_for(0), scores, none, scratch, e, w);
    assert_int_equal(e[0], 0);
    assert_int_equal(e[1], 2);
    /* All choices negative: the other group is out, not at zero. */
    const float down[] = {-2, -2, -2, -3, -3, -3};
    route_token(&m, math_for(0), scores, down, scratch, e, w);
    assert_true(e[0] < 3 && e[1] < 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_is_one_by_one), cmocka_unit_test(test_threads_isa_spill),
        cmocka_unit_test(test_decode_is_prefill),   cmocka_unit_test(test_bf16), cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_non_finite_weights),  cmocka_unit_test(test_route),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
