/* models/: configurations in every spelling, and checkpoints held against them. */
#include "tests/tiny_model.h"

/* TINY_CONFIG with one piece of text replaced. */
static const char *config_with(const char *from, const char *to)
{
    static char out[4096];
    const char *at = strstr(TINY_CONFIG, from);
    assert_non_null(at);
    snprintf(out, sizeof out, "%.*s%s%s", (int)(at - TINY_CONFIG), TINY_CONFIG, to, at + strlen(from));
    return out;
}

static bool open_with(const char *config, struct tiny_edit edit, struct error *err)
{
    const char *dir = check_folder();
    struct model m;
    tiny_model_write(dir, config, edit);
    struct error e = ERROR_INIT;
    bool ok = model_open(&m, dir, &e);
    if (ok) model_close(&m);
    check_folder_remove(dir);
    if (err) *err = e;
    return ok;
}

static bool read_config(const char *text, struct model_config *cfg, struct arena *arena, struct error *err)
{
    struct hf_config hf = {0};
    if (!json_parse(bytes_text(text), JSON_DIALECT_HF, "config.json", &hf.config, err)) return false;
    bool ok = model_config_read(cfg, &hf, arena, err);
    json_decref(hf.config);
    return ok;
}

static void test_pattern_spellings(void **state)
{
    (void)state;
    static const char *const spellings[] = {
        "\"hybrid_override_pattern\":\"ME*-\"",
        "\"layers_block_type\":[\"mamba\",\"moe\",\"attention\",\"mlp\"]",
        "\"layers_block_type\":[\"linear_attention\",\"moe\",\"full_attention\",\"mlp\"]",
        "\"layer_types\":[\"M\",\"E\",\"*\",\"-\"]",
        "\"hybrid_override_pattern\":\"ME*-\",\"layers_block_type\":[\"mamba\",\"moe\",\"attention\",\"mlp\"]",
        "\"hybrid_override_pattern\":\"ME*-\",\"num_hidden_layers\":9",
    };
    static const enum block_kind want[] = {BLOCK_MAMBA2, BLOCK_MOE, BLOCK_ATTENTION, BLOCK_MLP};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct arena *arena = arena_new();
        struct model_config cfg;
        CHECK_OK(read_config(config_with("\"hybrid_override_pattern\":\"ME*-\"", spellings[i]), &cfg, arena, e_));
        assert_int_equal(cfg.n_blocks, 4);
        for (int k = 0; k < 4; k++) assert_int_equal(cfg.blocks[k].kind, want[k]);
        assert_int_equal(cfg.n_mtp_blocks, 2);
        arena_free(arena);
    }
}

static void test_config_values(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    struct model_config cfg;
    CHECK_OK(read_config(TINY_CONFIG, &cfg, arena, e_));
    assert_int_equal(cfg.dims[DIM_SSM_INNER], 32);                 /* heads * head_dim */
    assert_int_equal(cfg.dims[DIM_SSM_CONV], 32 + 2 * 2 * 16);     /* inner + 2 groups * state */
    assert_int_equal(cfg.dims[DIM_SSM_PROJ], 2 * 32 + 2 * 2 * 16 + 4);
    assert_int_equal(cfg.dims[DIM_EXPERT_IN], 16);                 /* latent */
    assert_true(cfg.ssm.dt_min == 0 && cfg.ssm.dt_max > 1e300);
    CHECK_OK(read_config(config_with("[0.0,Infinity]", "[0.001,{\"__float__\":\"Infinity\"}]"), &cfg, arena, e_));
    assert_true(cfg.ssm.dt_min == 0.001);
    CHECK_OK(read_config(config_with("\"n_groups\":2", "\"mamba_n_groups\":2"), &cfg, arena, e_));
    CHECK_OK(read_config(config_with("\"head_dim\":8,\"int", "\"attention_head_dim\":8,\"int"), &cfg, arena, e_));
    arena_free(arena);
}

/* What absent keys mean: NemotronHConfig(hybrid_override_pattern="M*", num_attention_heads=16) of transformers 5.23 has 8
 * key and value heads of 128 numbers. Null is what the older published class allowed: as many as heads. */
static void test_config_defaults(void **state)
{
    (void)state;
    static const struct { const char *heads; uint32_t n_heads, n_kv_heads, head_dim; } rows[] = {
        {"\"num_attention_heads\":16", 16, 8, 128},
        {"\"num_attention_heads\":16,\"head_dim\":null", 16, 8, 128},
        {"\"num_attention_heads\":8,\"head_dim\":4", 8, 8, 4},
        {"\"num_attention_heads\":16,\"num_key_value_heads\":null", 16, 16, 128},
        {"\"num_attention_heads\":4,\"num_key_value_heads\":2", 4, 2, 128},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena *arena = arena_new();
        struct model_config cfg;
        CHECK_OK(read_config(config_with("\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8", rows[i].heads),
                             &cfg, arena, e_));
        assert_int_equal(cfg.attention.n_heads, rows[i].n_heads);
        assert_int_equal(cfg.attention.n_kv_heads, rows[i].n_kv_heads);
        assert_int_equal(cfg.attention.head_dim, rows[i].head_dim);
        assert_int_equal(cfg.dims[DIM_ATTN_KV], rows[i].n_kv_heads * rows[i].head_dim);
        arena_free(arena);
    }
    struct arena *arena = arena_new();
    struct model_config cfg;
    CHECK_FAILS(read_config(config_with("\"num_key_value_heads\":2,", ""), &cfg, arena, e_), ERR_FORMAT,
                "num_attention_heads 4 is not a multiple of num_key_value_heads 8");
    arena_free(arena);
}

static void test_config_refused(void **state)
{
    (void)state;
    static const struct { const char *from, *to; enum error_code code; const char *why; } rows[] = {
        {"NemotronHForCausalLM", "GptForCausalLM", ERR_UNSUPPORTED, "architecture 'GptForCausalLM'"},
        {"\"hidden_size\":32", "\"hidden_size\":0", ERR_FORMAT, "key 'hidden_size': expected an integer from 1"},
        {"\"hidden_size\":32,", "", ERR_FORMAT, "key 'hidden_size' is missing"},
        {"\"hidden_size\":32", "\"hidden_size\":Infinity", ERR_FORMAT, "key 'hidden_size'"},
        {"\"hidden_size\":32", "\"hidden_size\":-32", ERR_FORMAT, "found -32"},
        {"\"hidden_size\":32", "\"hidden_size\":99999999999", ERR_FORMAT, "key 'hidden_size'"},
        {"\"ME*-\"}", "\"MEX\"}", ERR_FORMAT, "layer 2: expected one of M * - E, found 'X'"},
        {"\"ME*-\"}", "\"\"}", ERR_FORMAT, "'hybrid_override_pattern' is missing"},
        {"\"ME*-\"}", "7}", ERR_FORMAT, "expected a pattern or a list"},
        {"\"ME*-\"}", "\"ME*-\",\"layers_block_type\":[\"mamba\"]}", ERR_FORMAT, "describe different layers"},
        {"\"num_key_value_heads\":2", "\"num_key_value_heads\":3", ERR_FORMAT, "not a multiple of num_key_value_heads"},
        {"\"n_groups\":2", "\"n_groups\":3", ERR_FORMAT, "not a multiple of n_groups"},
        {"\"num_experts_per_tok\":2", "\"num_experts_per_tok\":5", ERR_FORMAT, "num_experts_per_tok"},
        {"\"n_group\":1", "\"n_group\":3", ERR_FORMAT, "not a multiple of n_group"},
        {"\"n_group\":1", "\"n_group\":4", ERR_FORMAT, "fewer than two experts per group"},
        {"[0.0,Infinity]", "[0.5,0.1]", ERR_FORMAT, "0 <= low < high"},
        {"[0.0,Infinity]", "[NaN,1]", ERR_FORMAT, "0 <= low < high"},
        {"\"relu2\"", "\"gelu\"", ERR_UNSUPPORTED, "'gelu' is not known"},
        {"1e-05", "NaN", ERR_FORMAT, "layer_norm_epsilon"},
        {"\"mtp_hybrid_override_pattern\":\"*E\",", "", ERR_FORMAT, "mtp_hybrid_override_pattern"},
        {"\"routed_scaling_factor\":2.5", "\"routed_scaling_factor\":Infinity", ERR_FORMAT, "not finite"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena *arena = arena_new();
        struct model_config cfg;
        CHECK_FAILS(read_config(config_with(rows[i].from, rows[i].to), &cfg, arena, e_), rows[i].code, rows[i].why);
        arena_free(arena);
    }
}

static void test_complete(void **state)
{
    (void)state;
    const char *dir = check_folder();
    struct model m;
    tiny_model_write(dir, TINY_CONFIG, (struct tiny_edit){.shard_bytes = 4000});
    CHECK_OK(model_open(&m, dir, e_));
    const struct inventory *inv = m.inventory;
    assert_int_equal(inv->n_tensors, checkpoint_count(m.checkpoint));
    assert_string_equal(inv->tensors[0].name, "backbone.embeddings.weight");
    assert_true(inv->tensors[inv->n_tensors - 1].place.mtp);
    const struct model_tensor *t = inventory_find(inv, ROLE_EXPERT_DOWN, 1, 3, false);
    assert_non_null(t);
    assert_string_equal(t->name, "backbone.layers.1.mixer.experts.3.down_proj.weight");
    assert_string_equal(t->module, "backbone.layers.1.mixer.experts.3.down_proj");
    assert_string_equal(t->container, "backbone.layers.1.mixer.experts");
    t = inventory_find(inv, ROLE_EXPERT_UP, 1, 0, true);
    assert_string_equal(t->name, "mtp.layers.1.mixer.experts.0.up_proj.weight");
    assert_null(inventory_find(inv, ROLE_EXPERT_UP, 1, 4, false));
    assert_null(inventory_find(inv, ROLE_SSM_IN, 1, -1, false));
    assert_non_null(inventory_find_name(inv, "backbone.layers.0.mixer.conv1d.bias"));
    model_close(&m);
    check_folder_remove(dir);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct { struct tiny_edit edit; const char *why; } rows[] = {
        {{.drop = "backbone.layers.0.mixer.D"}, "tensor 'backbone.layers.0.mixer.D' [4] is missing: config.json makes layer 0 of kind mamba2"},
        {{.drop = "lm_head.weight"}, "tensor 'lm_head.weight' [64, 32] is missing"},
        {{.drop = "mtp.layers.0.eh_proj.weight"}, "'mtp.layers.0.eh_proj.weight' [32, 64] is missing"},
        {{.drop = "backbone.layers.1.mixer.experts.2.up_proj.weight"}, "experts.2.up_proj.weight' [16, 16] is missing"},
        {{.add = "backbone.layers.0.mixer.extra"}, "tensor 'backbone.layers.0.mixer.extra' [3] is not part of nemotron_h"},
        {{.misshape = "backbone.layers.2.mixer.q_proj.weight"}, "expected shape [32, 32] (from config.json), found [33, 32]"},
        {{.retype = "backbone.norm_f.weight"}, "expected F32, BF16 or F16, found I32"},
        {{.retype = "backbone.layers.3.mixer.up_proj.weight"}, "no quantization type is stored as I32 with no scales"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_FAILS(open_with(TINY_CONFIG, rows[i].edit, e_), ERR_FORMAT, rows[i].why);
    /* Two unknown tensors would be named as one and more; a head may be absent only when it is tied. */
    CHECK_OK(open_with(config_with("\"tie_word_embeddings\":false", "\"tie_word_embeddings\":true"),
                       (struct tiny_edit){.drop = "lm_head.weight"}, e_));
    CHECK_FAILS(open_with(config_with("\"ME*-\"", "\"ME**\""), (struct tiny_edit){0}, e_), ERR_FORMAT, "makes layer 3 of kind attention");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pattern_spellings), cmocka_unit_test(test_config_values), cmocka_unit_test(test_config_defaults), cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_complete), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
