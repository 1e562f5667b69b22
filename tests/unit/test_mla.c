/* Latent attention gives the same bits however it is run; taking tokens back leaves no trace; drafting changes nothing
 * but the number of steps. A hybrid with recurrent layers and a DeepSeek-V3, both with a drafting head. (That the bits
 * are right: tests/golden/engine.py.) */
#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "engine/mtp.h"
#include "engine/speculate.h"
#include "tests/tiny_model.h"

#define VOCAB 64u
#define N_IDS 150u

/* %s: what the case puts in. */
#define DEEPSEEK(q_rank, more)                                                                                         \
    "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"deepseek_v3\",\"hidden_size\":32,"                  \
    "\"vocab_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":3,\"q_lora_rank\":" q_rank                         \
    ",\"kv_lora_rank\":40,\"qk_nope_head_dim\":12,\"qk_rope_head_dim\":8,\"v_head_dim\":20,\"intermediate_size\":48,"    \
    "\"first_k_dense_replace\":1,\"n_routed_experts\":8,\"num_experts_per_tok\":2,\"n_group\":4,\"topk_group\":2,"       \
    "\"n_shared_experts\":2,\"moe_intermediate_size\":16,\"norm_topk_prob\":true,\"routed_scaling_factor\":2.5,"         \
    "\"scoring_func\":\"sigmoid\",\"topk_method\":\"noaux_tc\",\"max_position_embeddings\":4096,\"rope_theta\":10000,"  \
    "\"rms_norm_eps\":1e-06,\"hidden_act\":\"silu\",\"tie_word_embeddings\":false" more "}"
#define WITH_HEAD ",\"num_nextn_predict_layers\":1"

static const struct {
    const char *name, *config;
} kinds[] = {{"hybrid", TINY_CONFIG},
             {"latent", DEEPSEEK("16", WITH_HEAD)},
             {"latent, queries direct", DEEPSEEK("null", WITH_HEAD)},
             {"wrapped", "{\"architectures\":[\"KimiK25ForConditionalGeneration\"],\"model_type\":\"kimi_k25\","
                         "\"text_config\":" DEEPSEEK("16", WITH_HEAD) "}"}};

#define LARGE3(more)                                                                                                   \
    "{\"dim\":32,\"n_layers\":2,\"hidden_dim\":48,\"n_heads\":3,\"rope_theta\":10000.0,\"norm_eps\":1e-06,"                 \
    "\"vocab_size\":64,\"tied_embeddings\":false,\"max_seq_len\":256,\"q_lora_rank\":16,\"kv_lora_rank\":40,"            \
    "\"qk_nope_head_dim\":12,\"qk_rope_head_dim\":8,\"v_head_dim\":20,"                                                 \
    "\"llama_4_scaling\":{\"original_max_position_embeddings\":16,\"beta\":0.1},"                                      \
    "\"yarn\":{\"original_max_position_embeddings\":16,\"factor\":16.0,\"apply_scale\":false,\"beta\":32.0,"            \
    "\"alpha\":1.0},\"moe\":{\"first_k_dense_replace\":1,\"num_experts\":4,\"num_experts_per_tok\":2,"                 \
    "\"routed_scale\":1.0,\"expert_hidden_dim\":16,\"num_shared_experts\":1}" more "}"
#define N_KINDS (sizeof kinds / sizeof *kinds)

struct subject {
    const char *dir;
    struct model model;
    struct engine *engine;
};
static uint32_t ids[N_IDS];

static void subject_open(struct subject *s, const char *config, struct pool *pool)
{
    s->dir = check_folder();
    tiny_model_write(s->dir, config, (struct tiny_edit){.shapes = config});
    CHECK_OK(model_open(&s->model, s->dir, e_));
    struct engine_options o = {.pool = pool, .isa = isa_detected(), .quantize_inputs = true};
    CHECK_OK(engine_open(&s->engine, s->model.inventory, &o, e_));
}

static void subject_close(struct subject *s)
{
    engine_close(s->engine);
    model_close(&s->model);
    check_folder_remove(s->dir);
}

/* Logits [n, VOCAB] of a text as part of a batch; caller frees. */
static float *batch_logits(const struct subject *s, const struct text_ids *texts, uint32_t n_texts, uint32_t which)
{
    struct stream *st;
    float *out;
    CHECK_OK(stream_open(&st, s->engine, texts, n_texts, NULL, e_));
    for (uint32_t b = 0; b < engine_config(s->engine)->n_blocks; b++) CHECK_OK(stream_block(st, b, NULL, NULL, e_));
    CHECK_OK(memory_alloc(&out, (uint64_t)texts[which].n * VOCAB, sizeof *out, e_));
    CHECK_OK(stream_logits(st, stream_first_row(st, which), texts[which].n, NULL, out, e_));
    stream_close(st);
    return out;
}

static void same_bits(const float *a, const float *b, size_t n, const char *kind, const char *what, unsigned number)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s, %s %u: value %zu is %.9g, expected %.9g", kind, what, number, i, (double)a[i], (double)b[i]);
}

static void test_same_bits(void **state)
{
    (void)state;
    static const uint32_t steps[] = {1, 7, 33, 64, N_IDS};
    for (size_t k = 0; k < N_KINDS; k++) {
        struct subject one;
        struct pool *pool;
        CHECK_OK(pool_open(&pool, 3, e_));
        struct subject many;
        subject_open(&one, kinds[k].config, NULL);
        subject_open(&many, kinds[k].config, pool);
        const struct text_ids texts[] = {{ids + 3, 70}, {ids, N_IDS}, {ids + 40, 1}};
        float *alone = batch_logits(&one, texts + 1, 1, 0), *among = batch_logits(&many, texts, 3, 1), logits[VOCAB];
        same_bits(among, alone, N_IDS * VOCAB, kinds[k].name, "batch and threads", 3);
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            struct session *s;
            CHECK_OK(session_open(&s, many.engine, e_));
            for (uint32_t at = 0; at < N_IDS; at += steps[i]) {
                uint32_t m = N_IDS - at < steps[i] ? N_IDS - at : steps[i];
                CHECK_OK(session_feed(s, ids + at, m, logits, e_));
                same_bits(logits, alone + (size_t)(at + m - 1) * VOCAB, VOCAB, kinds[k].name, "steps of", steps[i]);
            }
            session_close(s);
        }
        free(alone);
        free(among);
        subject_close(&one);
        subject_close(&many);
        pool_close(pool);
    }
}

/* Right up to `at`, then five tokens of which the first `keep` are right; taken back; then on with the right ones. */
static void test_rewind(void **state)
{
    (void)state;
    static const uint32_t places[] = {1, 3, 61, 63, 64, 65, 127};
    for (size_t k = 0; k < N_KINDS; k++) {
        struct subject s;
        subject_open(&s, kinds[k].config, NULL);
        const struct text_ids text = {ids, N_IDS};
        float *want = batch_logits(&s, &text, 1, 0), logits[VOCAB];
        for (size_t p = 0; p < sizeof places / sizeof *places; p++)
            for (uint32_t keep = 0; keep <= 5; keep++) {
                struct session *d;
                uint32_t at = places[p], wrong[5];
                for (uint32_t i = 0; i < 5; i++) wrong[i] = i < keep ? ids[at + i] : (ids[at + i] + 1) % VOCAB;
                CHECK_OK(session_open(&d, s.engine, e_));
                CHECK_OK(session_feed(d, ids, at, logits, e_));
                CHECK_OK(session_mark(d, e_));
                CHECK_OK(session_feed(d, wrong, 5, logits, e_));
                CHECK_OK(session_rewind(d, wrong, keep, e_));
                for (uint32_t i = at + keep; i < at + 12; i++) {
                    CHECK_OK(session_feed(d, ids + i, 1, logits, e_));
                    same_bits(logits, want + (size_t)i * VOCAB, VOCAB, kinds[k].name, "taken back at", at);
                }
                session_close(d);
            }
        free(want);
        subject_close(&s);
    }
}

static uint32_t best(const float *logits, uint32_t vocab)
{
    uint32_t b = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[b]) b = i;
    return b;
}

#define N_NEW 90u
#define FEW 6u

static void greedy(const struct subject *s, uint32_t n_prompt, uint32_t *out)
{
    struct session *d;
    float logits[VOCAB];
    uint32_t vocab = (uint32_t)engine_config(s->engine)->dims[DIM_VOCAB];
    CHECK_OK(session_open(&d, s->engine, e_));
    CHECK_OK(session_feed(d, ids, n_prompt, logits, e_));
    for (uint32_t i = 0; i < N_NEW; i++) {
        out[i] = best(logits, vocab);
        CHECK_OK(session_feed(d, &out[i], 1, logits, e_));
    }
    session_close(d);
}

static struct speculation_counts drafted(const struct subject *s, uint32_t n_prompt, uint32_t n_drafts,
                                         const uint32_t *want, const char *kind)
{
    struct speculation *sp;
    uint32_t got[SPECULATE_DRAFTS_MAX + 1], n = 1;
    CHECK_OK(speculation_open(&sp, s->engine, n_drafts, e_));
    CHECK_OK(speculation_start(sp, ids, n_prompt, got, e_));
    for (uint32_t at = 0;;) {
        for (uint32_t i = 0; i < n && at < N_NEW; i++, at++)
            if (got[i] != want[at])
                fail_msg("%s, %u drafted: token %u is %u, expected %u", kind, n_drafts, at, got[i], want[at]);
        if (at == N_NEW) break;
        CHECK_OK(speculation_next(sp, got, &n, e_));
        assert_true(n >= 1 && n <= n_drafts + 1);
    }
    struct speculation_counts c = speculation_counted(sp);
    speculation_close(sp);
    return c;
}

/* Of few tokens a head with random weights guesses some right. */
static void few_words(const char *config, char *out, size_t size)
{
    const char *key = "\"vocab_size\":64", *at = strstr(config, key);
    assert_non_null(at);
    snprintf(out, size, "%.*s\"vocab_size\":%u%s", (int)(at - config), config, FEW, at + strlen(key));
}

static void test_drafts(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        struct subject s;
        struct speculation_counts sum = {0};
        char config[2048];
        few_words(kinds[k].config, config, sizeof config);
        subject_open(&s, config, NULL);
        for (uint32_t prompt = 1; prompt < 80; prompt += 31) {
            uint32_t want[N_NEW];
            for (uint32_t i = 0; i < prompt; i++) ids[i] %= FEW;
            greedy(&s, prompt, want);
            for (uint32_t n = 1; n <= 4; n++) {
                struct speculation_counts c = drafted(&s, prompt, n, want, kinds[k].name);
                sum.drafted += c.drafted;
                sum.accepted += c.accepted;
            }
        }
        print_message("# %s: %llu of %llu accepted\n", kinds[k].name, (unsigned long long)sum.accepted,
                      (unsigned long long)sum.drafted);
        assert_true(sum.accepted > 0 && sum.accepted < sum.drafted); /* both ways are taken */
        subject_close(&s);
    }
}

/* Where all logits are equal both choose token 0: every draft is accepted. */
static void test_all_accepted(void **state)
{
    (void)state;
    struct subject s = {.dir = check_folder()};
    uint32_t want[N_NEW] = {0};
    tiny_model_write(s.dir, TINY_CONFIG, (struct tiny_edit){.zero = "lm_head.weight"});
    CHECK_OK(model_open(&s.model, s.dir, e_));
    CHECK_OK(engine_open(&s.engine, s.model.inventory, &(struct engine_options){.isa = isa_detected()}, e_));
    struct speculation_counts c = drafted(&s, 5, 4, want, "equal logits");
    assert_int_equal(c.drafted, c.accepted);
    assert_int_equal(c.drafted, 18 * 4); /* 1 + 18 * 5 >= 90 tokens */
    subject_close(&s);
}

static void test_no_head(void **state)
{
    (void)state;
    struct subject s;
    struct mtp *m;
    struct speculation *sp;
    subject_open(&s, DEEPSEEK("16", ""), NULL);
    CHECK_FAILS(mtp_open(&m, s.engine, false, e_), ERR_UNSUPPORTED, "no multi-token-prediction head");
    CHECK_FAILS(speculation_open(&sp, s.engine, 1, e_), ERR_UNSUPPORTED, "no multi-token-prediction head");
    CHECK_FAILS(speculation_open(&sp, s.engine, 9, e_), ERR_USAGE, "expected 1 to 8");
    subject_close(&s);
}

/* What a configuration must not say. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } rows[] = {
        {"\"kv_lora_rank\":40", "\"x\":1", "key 'kv_lora_rank' is missing"},
        {"\"kv_lora_rank\":40", "\"kv_lora_rank\":0", "key 'kv_lora_rank': expected an integer from 1"},
        {"\"qk_rope_head_dim\":8", "\"qk_rope_head_dim\":7", "'qk_rope_head_dim': expected an even number, found 7"},
        {"\"v_head_dim\":20", "\"v_head_dim\":null", "key 'v_head_dim' is missing"},
        {"\"q_lora_rank\":16", "\"q_lora_rank\":-1", "q_lora_rank"},
        {"\"n_group\":4", "\"n_group\":3", "8 experts are not a multiple of n_group 3"},
        {"\"n_group\":4", "\"n_group\":8", "fewer than two experts per group"},
        {"\"num_experts_per_tok\":2", "\"num_experts_per_tok\":5", "more than the 4 experts of topk_group groups"},
        {"\"sigmoid\"", "\"softmax\"", "key 'scoring_func': 'softmax' is not known"},
        {"\"noaux_tc\"", "\"greedy\"", "key 'topk_method': 'greedy' is not known"},
        {"\"rope_theta\":10000", "\"rope_scaling\":{\"type\":\"ntk\"}", "rope type 'ntk' is not known"},
        {"\"rope_theta\":10000", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":-4}", "key 'factor'"},
        {"\"num_nextn_predict_layers\":1", "\"num_nextn_predict_layers\":2", "only 0 and 1 are known"},
        {"\"num_attention_heads\":3", "\"num_attention_heads\":4", "expected shape [80, 16]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *whole = DEEPSEEK("16", WITH_HEAD), *at = strstr(whole, rows[i].from), *dir = check_folder();
        char config[2048];
        struct model m;
        assert_non_null(at);
        snprintf(config, sizeof config, "%.*s%s%s", (int)(at - whole), whole, rows[i].to, at + strlen(rows[i].from));
        tiny_model_write(dir, config, (struct tiny_edit){.shapes = whole});
        struct error err = ERROR_INIT;
        if (model_open(&m, dir, &err) || !strstr(err.text, rows[i].says))
            fail_msg("%s: expected '%s', found '%s'", rows[i].to, rows[i].says, err.text);
        check_folder_remove(dir);
    }
}

/* Mistral's own files: one, several, one of several missing, keys that are not known. */
static void test_native(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *drop, *says;
        uint64_t shard_bytes;
    } rows[] = {
        {.shard_bytes = 0},
        {.shard_bytes = 20000},
        {.shard_bytes = 20000, .drop = "consolidated-00001-of-", .says = "consolidated files are there"},
        {.from = "\"kv_lora_rank\":40", .to = "\"x\":1", .says = "key 'q_lora_rank' is not known"},
        {.from = "\"apply_scale\":false", .to = "\"apply_scale\":true", .says = "apply_scale true is not known"},
        {.from = "\"factor\":16.0", .to = "\"factor\":null", .says = "factor"},
        {.from = "\"beta\":0.1", .to = "\"beta\":-1", .says = "expected a positive beta, found -1"},
        {.from = "\"num_experts_per_tok\":2", .to = "\"num_experts_per_tok\":5", .says = "params.json: key 'moe'"},
        {.from = "\"n_layers\":2", .to = "\"n_layers\":3", .says = "layers.2."},
        {.from = "\"norm_eps\":1e-06", .to = "\"norm_eps\":2", .says = "norm_eps 2 is not"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *whole = LARGE3(""), *at = rows[i].from ? strstr(whole, rows[i].from) : NULL;
        struct subject s = {.dir = check_folder()};
        char config[2048], command[1024];
        snprintf(config, sizeof config, "%s", whole);
        if (at)
            snprintf(config, sizeof config, "%.*s%s%s", (int)(at - whole), whole, rows[i].to, at + strlen(rows[i].from));
        tiny_model_write(s.dir, config,
                         (struct tiny_edit){.shapes = whole, .native = true, .shard_bytes = rows[i].shard_bytes});
        if (rows[i].drop) {
            snprintf(command, sizeof command, "rm %s/%s*", s.dir, rows[i].drop);
            assert_int_equal(system(command), 0);
        }
        struct error err = ERROR_INIT;
        bool ok = model_open(&s.model, s.dir, &err);
        if (ok != !rows[i].says || (!ok && !strstr(err.text, rows[i].says)))
            fail_msg("row %zu: expected '%s', found '%s'", i, rows[i].says ? rows[i].says : "success", err.text);
        if (ok) {
            struct engine_options o = {.isa = isa_detected()};
            const struct text_ids text = {ids, 40};
            CHECK_OK(engine_open(&s.engine, s.model.inventory, &o, e_));
            assert_string_equal(s.model.inventory->config.arch->name, "mistral_large3");
            free(batch_logits(&s, &text, 1, 0));
        }
        subject_close(&s);
    }
}

static int setup(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (size_t i = 0; i < N_IDS; i++) ids[i] = (uint32_t)(check_random(&seed) % VOCAB);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),    cmocka_unit_test(test_rewind),  cmocka_unit_test(test_drafts),
        cmocka_unit_test(test_all_accepted), cmocka_unit_test(test_no_head), cmocka_unit_test(test_refused), cmocka_unit_test(test_native),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
