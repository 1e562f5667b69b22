/* Qwen3-Next and Qwen3.5: configurations, and a forward pass that gives the same bits however it is cut. (That the bits
 * are right: tests/golden/engine.py.) */
#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "engine/engine.h"
#include "tests/checks.h"

#define NEXT                                                                                                              \
    "{\"architectures\":[\"Qwen3NextForCausalLM\"],\"hidden_size\":64,\"vocab_size\":512,\"num_hidden_layers\":4,"       \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32,\"hidden_act\":\"silu\",\"linear_key_head_dim\":16," \
    "\"linear_value_head_dim\":8,\"linear_num_key_heads\":2,\"linear_num_value_heads\":6,\"linear_conv_kernel_dim\":4,"  \
    "\"full_attention_interval\":2,\"num_experts\":8,\"num_experts_per_tok\":3,\"moe_intermediate_size\":48,"            \
    "\"shared_expert_intermediate_size\":40,\"partial_rotary_factor\":0.25,\"mlp_only_layers\":[1],\"intermediate_size\":96}"

static const char *config_with(const char *from, const char *to)
{
    static char out[4096];
    const char *at = strstr(NEXT, from);
    assert_non_null(at);
    snprintf(out, sizeof out, "%.*s%s%s", (int)(at - NEXT), NEXT, to, at + strlen(from));
    return out;
}

static bool read_config(const char *text, struct model_config *cfg, struct arena *arena, struct error *err)
{
    struct hf_config hf = {0};
    if (!json_parse(bytes_text(text), JSON_DIALECT_HF, "config.json", &hf.config, err)) return false;
    bool ok = model_config_read(cfg, &hf, arena, err);
    json_decref(hf.config);
    return ok;
}

static void test_config(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    struct model_config c;
    CHECK_OK(read_config(NEXT, &c, arena, e_));
    static const enum block_kind want[] = {BLOCK_DELTA, BLOCK_MOE, BLOCK_ATTENTION, BLOCK_MLP, BLOCK_DELTA, BLOCK_MOE, BLOCK_ATTENTION, BLOCK_MOE};
    assert_int_equal(c.n_blocks, 8);
    for (int i = 0; i < 8; i++) assert_int_equal(c.blocks[i].kind, want[i]);
    assert_int_equal(c.dims[DIM_SSM_CONV], 2 * 2 * 16 + 6 * 8);
    assert_int_equal(c.dims[DIM_DELTA_QKVZ], 2 * 2 * 16 + 2 * 6 * 8);
    assert_int_equal(c.dims[DIM_DELTA_BA], 12);
    assert_int_equal(c.dims[DIM_ATTN_Q_GATE], 2 * 4 * 32);
    assert_int_equal(c.attention.rope.dim, 8);
    assert_true(c.ssm.delta_by_key_head && c.attention.gate && c.attention.qk_norm && c.moe.has_shared_mix && c.norm == NORM_RMS_ONE);
    CHECK_OK(read_config(config_with("Qwen3NextForCausalLM", "Qwen3_5MoeForCausalLM"), &c, arena, e_));
    assert_true(!c.ssm.delta_by_key_head && c.moe.normalize);
    CHECK_OK(read_config(config_with("\"full_attention_interval\":2",
                                     "\"mamba_ssm_dtype\":\"float32\",\"layer_types\":[\"full_attention\",\"linear_attention\",\"linear_attention\",\"full_attention\"]"),
                         &c, arena, e_));
    assert_int_equal(c.blocks[0].kind, BLOCK_ATTENTION);
    assert_int_equal(c.blocks[2].kind, BLOCK_DELTA);
    assert_string_equal(c.ssm_cache_dtype, "float32");
    arena_free(arena);
}

static void test_config_refused(void **state)
{
    (void)state;
    static const struct { const char *from, *to; enum error_code code; const char *why; } rows[] = {
        {"\"linear_num_key_heads\":2", "\"linear_num_key_heads\":4", ERR_FORMAT, "linear_num_value_heads 6 is not a multiple of linear_num_key_heads 4"},
        {"\"linear_num_key_heads\":2", "\"linear_num_key_heads\":0", ERR_FORMAT, "key 'linear_num_key_heads': expected an integer from 1"},
        {"\"linear_key_head_dim\":16", "\"linear_key_head_dim\":1e9", ERR_FORMAT, "key 'linear_key_head_dim'"},
        {"\"linear_conv_kernel_dim\":4", "\"linear_conv_kernel_dim\":65", ERR_FORMAT, "key 'linear_conv_kernel_dim'"},
        {"\"full_attention_interval\":2", "\"full_attention_interval\":0", ERR_FORMAT, "full_attention_interval"},
        {"\"full_attention_interval\":2", "\"layer_types\":[\"full_attention\"]", ERR_FORMAT, "key 'layer_types': expected a list of 4 words"},
        {"\"full_attention_interval\":2", "\"layer_types\":[\"mamba\",1,2,3]", ERR_FORMAT, "layer 0: expected linear_attention or full_attention, found"},
        {"\"silu\"", "\"gelu\"", ERR_UNSUPPORTED, "'gelu' is not known"},
        {"\"shared_expert_intermediate_size\":40,", "", ERR_FORMAT, "shared_expert_intermediate_size"},
        {",\"intermediate_size\":96", "", ERR_FORMAT, "key 'intermediate_size' is missing"},
        {"\"num_experts_per_tok\":3", "\"num_experts_per_tok\":9", ERR_FORMAT, "num_experts_per_tok"},
        {"\"mlp_only_layers\":[1]", "\"mlp_only_layers\":[4]", ERR_FORMAT, "mlp_only_layers"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena *arena = arena_new();
        struct model_config cfg;
        CHECK_FAILS(read_config(config_with(rows[i].from, rows[i].to), &cfg, arena, e_), rows[i].code, rows[i].why);
        arena_free(arena);
    }
}

#define VOCAB 512u
#define TOKENS 200u /* three whole chunks and an open one */

static float *prefill(const struct model *m, const uint32_t *ids, uint32_t threads, uint64_t isa)
{
    struct engine *e;
    struct stream *s;
    struct pool *pool;
    float *out;
    CHECK_OK(pool_open(&pool, threads, e_));
    struct engine_options o = {.pool = pool, .isa = isa};
    const struct text_ids texts[] = {{ids, TOKENS}, {ids + 3, 70}};
    CHECK_OK(engine_open(&e, m->inventory, &o, e_));
    CHECK_OK(stream_open(&s, e, texts, 2, NULL, e_));
    for (uint32_t b = 0; b < engine_config(e)->n_blocks; b++) CHECK_OK(stream_block(s, b, NULL, NULL, e_));
    CHECK_OK(memory_alloc(&out, TOKENS * VOCAB, sizeof *out, e_));
    CHECK_OK(stream_logits(s, 0, TOKENS, NULL, out, e_));
    stream_close(s);
    engine_close(e);
    pool_close(pool);
    return out;
}

static void check_fixture(const char *shared, const char *name)
{
    char path[600];
    struct model m;
    uint64_t seed = 5;
    uint32_t ids[TOKENS];
    float logits[VOCAB];
    for (uint32_t i = 0; i < TOKENS; i++) ids[i] = (uint32_t)(check_random(&seed) % VOCAB);
    snprintf(path, sizeof path, "%s/fixtures/%s", shared, name);
    CHECK_OK(model_open(&m, path, e_));
    float *want = prefill(&m, ids, 1, 0), *got = prefill(&m, ids, 2, isa_detected());
    check_bytes(got, want, TOKENS * VOCAB * sizeof *got, "2 threads");
    static const uint32_t steps[] = {1, 7, 64, 130};
    struct engine *e;
    CHECK_OK(engine_open(&e, m.inventory, &(struct engine_options){.isa = isa_detected()}, e_));
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
        struct session *s;
        CHECK_OK(session_open(&s, e, e_));
        for (uint32_t i = 0; i < TOKENS; i += steps[k]) {
            uint32_t n = TOKENS - i < steps[k] ? TOKENS - i : steps[k];
            CHECK_OK(session_feed(s, ids + i, n, logits, e_));
            check_bytes(logits, want + (size_t)(i + n - 1) * VOCAB, sizeof logits, "decode");
        }
        session_close(s);
    }
    engine_close(e);
    free(want), free(got);
    model_close(&m);
}

static void test_decode_is_prefill(void **state)
{
    (void)state;
    const char *shared = check_shared();
    if (!shared) {
        print_message("skip: the shared fixtures are not here\n");
        skip();
    }
    check_fixture(shared, "qwen3_next");
    check_fixture(shared, "qwen3_5");
    check_fixture(shared, "nemotron_h_groups"); /* a convolution of 3 taps, several groups */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_config), cmocka_unit_test(test_config_refused), cmocka_unit_test(test_decode_is_prefill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
