/* plan/: recipes in their words and errors, and what they make of a checkpoint. */
#include "plan/plan.h"
#include "tests/tiny_model.h"

#include "core/yaml.h"

static const char *dir;
static struct model model;

static int setup(void **state)
{
    (void)state;
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

static bool recipe_of(const char *yaml, struct recipe **out, struct error *err)
{
    char path[256];
    snprintf(path, sizeof path, "%s/r.yaml", dir);
    *out = NULL;
    bool ok = file_save(path, bytes_text(yaml), 0666, err) && recipe_load(out, path, err);
    unlink(path);
    return ok;
}

/* Loads and plans; *plan and *recipe are the caller's when true. */
static bool plan_of(const char *yaml, struct recipe **recipe, struct plan **plan, struct error *err)
{
    *plan = NULL;
    if (!recipe_of(yaml, recipe, err)) return false;
    if (plan_build(plan, model.inventory, *recipe, err)) return true;
    recipe_free(*recipe);
    return false;
}

static bool plan_fails(const char *yaml, struct error *err)
{
    struct recipe *r;
    struct plan *p;
    if (!plan_of(yaml, &r, &p, err)) return false;
    plan_free(p);
    recipe_free(r);
    return true;
}

static const struct plan_item *item_named(const struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->n_items; i++)
        if (strcmp(p->items[i].tensor->name, name) == 0) return &p->items[i];
    fail_msg("no item '%s'", name);
    return NULL;
}

#define R(rules) "name: t\nrules:\n" rules

static void test_recipe_refused(void **state)
{
    (void)state;
    static const struct { const char *yaml, *why; } rows[] = {
        {"name: t\n", "no rules: nothing would be quantized"},
        {"rules: []\n", "key 'name' is missing"},
        {"name: t\nrulez: []\n", "unknown key 'rulez'"},
        {R("  - {role: routed_expert, weights: nvfp4}\n"), "line 3: role 'routed_expert' is not known"},
        {R("  - {role: mlp, weights: nvfp5}\n"), "line 3: key 'weights': expected one of none, nvfp4, fp8, fp8_channel, fp8_block, mxfp8, mxfp4, mxfp4_ocp, int4, found 'nvfp5'"},
        {R("  - {role: ssm_conv, weights: fp8}\n"), "the SSM state path stays as it is"},
        {R("  - {role: router, weights: fp8}\n"), "role 'router' is never quantized"},
        {R("  - {role: norm, weights: fp8}\n"), "role 'norm' is never quantized"},
        {R("  - {weights: fp8}\n"), "expected one of 'role', 'module', 'quantizer'"},
        {R("  - {role: mlp, module: x, weights: fp8}\n"), "expected one of"},
        {R("  - {role: mlp}\n"), "says neither 'weights' nor 'inputs'"},
        {R("  - {role: mlp, weigths: fp8}\n"), "unknown key 'weigths'"},
        {R("  - {quantizer: \"*\"}\n"), "key 'type' is missing"},
        {R("  - {quantizer: \"*\", type: fp8, weights: fp8}\n"), "a quantizer line has 'type'"},
        {R("  - {role: mlp, weights: fp8, scales: mse}\n"), "scales: mse needs weights: nvfp4"},
        {R("  - {role: mlp, weights: nvfp4, inputs: {type: nvfp4, amax: 0}}\n"), "expected a positive number"},
        {R("  - {role: mlp, weights: nvfp4, layers: 3}\n"), "expected a list of layer numbers"},
        {R("  - {role: mlp, weights: nvfp4, layers: [-1]}\n"), "expected layer numbers, found -1"},
        {R("  - {role: [], weights: nvfp4}\n"), "the list is empty"},
        {"name: t\nkv_cache: fp9\nrules: [{role: mlp, weights: nvfp4}]\n", "key 'kv_cache': expected one of none, fp8, fp8_cast"},
        {"name: t\nunseen_experts: ignore\nrules: [{role: mlp, weights: nvfp4}]\n", "expected one of error, layer_max"},
        {"name: t\ncopy: true\nrules: [{role: mlp, weights: nvfp4}]\n", "'copy: true' quantizes nothing, but there are rules"},
        {"name: [t\n", "line 2"},
    };
    struct recipe *r;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) CHECK_FAILS(recipe_of(rows[i].yaml, &r, e_), ERR_FORMAT, rows[i].why);
    CHECK_FAILS(recipe_load(&r, "no-such-recipe", e_), ERR_USAGE, "neither built in");
    CHECK_FAILS(recipe_load(&r, "no/such/file.yaml", e_), ERR_FORMAT, "does not exist");
}

static void test_builtin(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    struct recipe_listing *list;
    uint32_t n;
    CHECK_OK(recipe_list(&list, &n, arena, e_));
    assert_true(n >= 14);
    for (uint32_t i = 0; i < n; i++) {
        struct recipe *r;
        CHECK_OK(recipe_load(&r, list[i].name, e_));
        assert_string_equal(r->name, list[i].name);
        recipe_free(r);
    }
    struct recipe *r;
    CHECK_OK(recipe_load(&r, "nvfp4-super", e_));
    assert_string_equal(r->name, "super-nvfp4-max-calib");
    assert_int_equal(r->rounding, FP8_MODELOPT_CPU);
    assert_int_equal(r->unseen, UNSEEN_LAYER_MAX);
    recipe_free(r);
    arena_free(arena);
}

static void test_plan_refused(void **state)
{
    (void)state;
    static const struct { const char *yaml; enum error_code code; const char *why; } rows[] = {
        {R("  - {module: \"*no_such*\", weights: nvfp4}\n"), ERR_FORMAT, "rule 1: *no_such* (line 3) matches nothing"},
        {R("  - {role: mlp, weights: none}\n"), ERR_FORMAT, "quantizes nothing"},
        {R("  - {role: mlp, weights: fp8}\n"), ERR_UNSUPPORTED, "weights fp8 with inputs none is no format"},
        {R("  - {role: mlp, weights: none, inputs: fp8}\n"), ERR_UNSUPPORTED, "weights none with inputs fp8"},
        {R("  - {role: attn_q, weights: nvfp4}\n"), ERR_UNSUPPORTED, "engines fuse them and need one format"},
        {R("  - {module: \"*experts.0.*\", weights: nvfp4}\n"), ERR_UNSUPPORTED, "engines need one for all experts of a layer"},
        {R("  - {role: mlp, layers: [7], weights: nvfp4}\n"), ERR_FORMAT, "matches nothing"},
        {R("  - {role: routed_experts, mtp: true, weights: nvfp4, inputs: nvfp4}\n"), ERR_UNSUPPORTED, "'mtp.layers.1.mixer.experts.0.up_proj.weight': calibration does not run"},
        {"name: t\npublished: true\nrules:\n  - {quantizer: \"*nope*\", type: nvfp4}\n", ERR_FORMAT, "quantizes nothing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) CHECK_FAILS(plan_fails(rows[i].yaml, e_), rows[i].code, rows[i].why);
}

static void test_later_lines_win(void **state)
{
    (void)state;
    struct recipe *r;
    struct plan *p;
    CHECK_OK(plan_of(R("  - {role: [routed_experts, shared_experts, mlp], weights: nvfp4, inputs: nvfp4}\n"
                       "  - {role: shared_experts, weights: fp8, inputs: fp8}\n"
                       "  - {module: \"backbone.layers.3.*\", weights: none, inputs: none}\n"),
                     &r, &p, e_));
    const struct plan_item *i = item_named(p, "backbone.layers.1.mixer.experts.2.up_proj.weight");
    assert_string_equal(i->format->name, "nvfp4");
    assert_string_equal(i->reason, "rule 1: role routed_experts, ...");
    assert_true(i->observe_input);
    i = item_named(p, "backbone.layers.1.mixer.shared_experts.up_proj.weight");
    assert_string_equal(i->format->name, "fp8");
    assert_string_equal(i->reason, "rule 2: role shared_experts");
    i = item_named(p, "backbone.layers.3.mixer.up_proj.weight");
    assert_int_equal(i->action, ACTION_COPY);
    assert_string_equal(i->reason, "rule 3: backbone.layers.3.*");
    /* The prediction head has experts of its own; nobody asked for them. */
    i = item_named(p, "mtp.layers.1.mixer.experts.2.up_proj.weight");
    assert_int_equal(i->action, ACTION_COPY);
    assert_true(p->needs_data);
    plan_free(p);
    recipe_free(r);
    CHECK_OK(plan_of(R("  - {role: routed_experts, mtp: true, weights: nvfp4, inputs: {type: nvfp4, amax: 2688}}\n"), &r, &p, e_));
    assert_int_equal(item_named(p, "mtp.layers.1.mixer.experts.2.up_proj.weight")->action, ACTION_QUANTIZE);
    assert_false(p->needs_data);
    plan_free(p);
    recipe_free(r);
}

static void test_groups_and_outputs(void **state)
{
    (void)state;
    struct recipe *r;
    struct plan *p;
    CHECK_OK(plan_of("name: t\nkv_cache: fp8\nrules:\n  - {role: attention, weights: nvfp4, inputs: nvfp4}\n", &r, &p, e_));
    const struct plan_item *q = item_named(p, "backbone.layers.2.mixer.q_proj.weight"),
                           *k = item_named(p, "backbone.layers.2.mixer.k_proj.weight"),
                           *o = item_named(p, "backbone.layers.2.mixer.o_proj.weight");
    assert_int_equal(q->group, k->group);
    assert_true(o->group != k->group);
    assert_true(k->kv_scale && !q->kv_scale);
    static const char *const names[] = {"weight", "weight_scale", "weight_scale_2", "input_scale", "k_scale"};
    assert_int_equal(k->n_outputs, 5);
    for (uint32_t i = 0; i < 5; i++) {
        const struct tensor_spec *s = &p->specs[k->first_output + i];
        char want[96];
        snprintf(want, sizeof want, "backbone.layers.2.mixer.k_proj.%s", names[i]);
        assert_string_equal(s->name, want);
    }
    const struct tensor_spec *w = &p->specs[k->first_output];
    assert_true(w->dtype == DTYPE_U8 && w->dims[0] == 16 && w->dims[1] == 16);      /* [16, 32 / 2] */
    assert_true(w[1].dtype == DTYPE_F8_E4M3 && w[1].dims[1] == 2 && w[2].n_dims == 0);
    assert_false(item_named(p, "mtp.layers.0.mixer.k_proj.weight")->kv_scale);
    plan_free(p);
    recipe_free(r);
    /* FP8 scales of q, k and v stay apart. */
    CHECK_OK(plan_of(R("  - {role: attention, weights: fp8, inputs: fp8}\n"), &r, &p, e_));
    assert_true(item_named(p, "backbone.layers.2.mixer.q_proj.weight")->group != item_named(p, "backbone.layers.2.mixer.k_proj.weight")->group);
    plan_free(p);
    recipe_free(r);
}

static void test_published_lines_are_listed(void **state)
{
    (void)state;
    struct recipe *r;
    struct plan *p;
    CHECK_OK(recipe_load(&r, "super-nvfp4-max-calib", e_));
    CHECK_OK(plan_build(&p, model.inventory, r, e_));
    assert_int_equal(p->n_unmatched, 4);
    assert_non_null(strstr(p->unmatched[0], "*mlp.experts*weight_quantizer"));
    assert_int_equal(p->kv, KV_FP8);
    plan_free(p);
    recipe_free(r);
}

/* The digest survives the way through the recipe's JSON, and moves with anything that changes the result. */
static void test_digests(void **state)
{
    (void)state;
    static const char *const yaml = "# a comment\nname: t\nrules:\n  - {role: mlp, weights: nvfp4, inputs: nvfp4}\n";
    struct recipe *r, *again;
    struct plan *p, *same, *other;
    CHECK_OK(plan_of(yaml, &r, &p, e_));
    CHECK_OK(recipe_from_json(&again, r->json, "again", e_));
    CHECK_OK(plan_build(&same, model.inventory, again, e_));
    assert_true(digest_equal(&p->digest, &same->digest));
    plan_free(same);
    recipe_free(again);
    static const char *const others[] = {
        "name: t\nrules:\n  - {role: mlp, weights: nvfp4, inputs: nvfp4, scales: mse}\n",
        "name: t\nrules:\n  - {role: mlp, weights: nvfp4, inputs: none}\n",
        "name: t\nfp8_rounding: modelopt-cpu\nrules:\n  - {role: mlp, weights: fp8, inputs: fp8}\n",
        "name: t\nkv_cache: fp8_cast\nrules:\n  - {role: mlp, weights: nvfp4, inputs: nvfp4}\n",
        "name: t\nunseen_experts: layer_max\nrules:\n  - {role: mlp, weights: nvfp4, inputs: nvfp4}\n",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK_OK(plan_of(others[i], &again, &other, e_));
        assert_false(digest_equal(&p->digest, &other->digest));
        plan_free(other);
        recipe_free(again);
    }
    json_t *j;
    CHECK_OK(plan_json(p, &j, e_));
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&p->digest, hex);
    assert_string_equal(json_string_value(json_object_get(j, "sha256")), hex);
    json_decref(j);
    plan_free(p);
    recipe_free(r);
}

static void test_copy(void **state)
{
    (void)state;
    struct recipe *r;
    struct plan *p;
    CHECK_OK(recipe_load(&r, "copy", e_));
    CHECK_OK(plan_build(&p, model.inventory, r, e_));
    assert_int_equal(p->n_outputs, model.inventory->n_tensors);
    assert_true(p->read_bytes == p->write_bytes && p->write_bytes == checkpoint_bytes(model.checkpoint));
    plan_free(p);
    recipe_free(r);
}

/* The tiny model's blocks are mamba, experts, attention, MLP. */
static void test_selectors(void **state)
{
    (void)state;
    struct recipe *r;
    struct plan *p;
    /* `before`: what stands in front of a block of that kind; `except`; a regular expression fits from the first letter on. */
    CHECK_OK(plan_of(R("  - {role: [routed_experts, mlp], weights: nvfp4, inputs: none}\n"
                       "  - {role: routed_experts, before: attention, weights: none}\n"), &r, &p, e_));
    assert_int_equal(item_named(p, "backbone.layers.1.mixer.experts.0.up_proj.weight")->action, ACTION_COPY);
    assert_int_equal(item_named(p, "backbone.layers.3.mixer.up_proj.weight")->action, ACTION_QUANTIZE);
    plan_free(p);
    recipe_free(r);
    CHECK_OK(plan_of(R("  - {module: \"re:backbone.*mixer\\\\.(up|down)_proj$\", except: [\"*.3.*.down_proj\", \"re:.*nothing\"], weights: nvfp4, inputs: none}\n"),
                     &r, &p, e_));
    assert_int_equal(item_named(p, "backbone.layers.3.mixer.up_proj.weight")->action, ACTION_QUANTIZE);
    assert_int_equal(item_named(p, "backbone.layers.3.mixer.down_proj.weight")->action, ACTION_COPY);
    assert_int_equal(item_named(p, "backbone.layers.1.mixer.shared_experts.up_proj.weight")->action, ACTION_COPY);
    plan_free(p);
    recipe_free(r);
    /* Switched off, and on again as it was. */
    CHECK_OK(plan_of(R("  - {quantizer: \"*mixer.up_proj.weight*\", type: nvfp4, scales: mse}\n  - {quantizer: \"*weight_quantizer\", type: off}\n"
                       "  - {quantizer: \"*layers.3*up_proj*weight_quantizer\", enable: true, note: here}\n"), &r, &p, e_));
    const struct plan_item *i = item_named(p, "backbone.layers.3.mixer.up_proj.weight");
    assert_string_equal(i->format->name, "w4a16_nvfp4");
    assert_int_equal(i->scales, SCALES_MSE);
    plan_free(p);
    recipe_free(r);
    static const struct { const char *yaml; enum error_code code; const char *why; } rows[] = {
        {R("  - {role: mlp, before: lstm, weights: nvfp4}\n"), ERR_FORMAT, "line 3: key 'before': 'lstm' is no kind of block"},
        {R("  - {module: \"re:(\", weights: nvfp4}\n"), ERR_UNSUPPORTED, "line 3: pattern 're:(': it is no regular expression"},
        {R("  - {module: \"re:(?i)x\", weights: nvfp4}\n"), ERR_UNSUPPORTED, "line 3: pattern 're:(?i)x': flags are not read here"},
        {R("  - {module: \"*\", except: 3, weights: nvfp4}\n"), ERR_FORMAT, "line 3: expected a name or a list of names, found 3"},
        {R("  - {quantizer: \"*\", type: nvfp4, enable: true}\n"), ERR_FORMAT, "exclude each other"},
        {R("  - {quantizer: \"*up_proj*\", enable: true}\n"), ERR_UNSUPPORTED, "it is switched on, but no rule says as what"},
        {R("  - {quantizer: \"*mixer.up_proj*\", refuse: because, note: \"x.yaml: line 9\"}\n"), ERR_UNSUPPORTED,
         "rule 1: *mixer.up_proj* (x.yaml: line 9): the weights of tensor 'backbone.layers.3.mixer.up_proj.weight': because"},
        {"name: t\npublished: true\nrules:\n  - {quantizer: \"*\", type: off}\n  - {quantizer: \"*weight_quantizer\", type: nvfp4}\n"
         "  - {quantizer: \"*up_proj.output_quantizer\", type: fp8}\n", ERR_UNSUPPORTED, "quantized outputs of linears are not supported"},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) CHECK_FAILS(plan_fails(rows[k].yaml, e_), rows[k].code, rows[k].why);
}

static void test_state_path(void **state)
{
    (void)state;
    static const struct { const char *yaml, *why; enum error_code code; } rows[] = {
        {R("  - {quantizer: \"*mixer.conv1d*weight_quantizer\", type: fp8}\n"), "rule 1: *mixer.conv1d*weight_quantizer (line 3): it names 'backbone.layers.0.mixer.conv1d", ERR_FORMAT},
        {R("  - {module: \"*.A_log\", weights: fp8}\n"), "'backbone.layers.0.mixer.A_log', and the state path of recurrent layers is never quantized: no engine loads", ERR_FORMAT},
        {R("  - {module: \"*.dt_bias\", weights: fp8}\n"), "dt_bias", ERR_FORMAT}, {R("  - {module: \"*mixer.D\", weights: fp8}\n"), "mixer.D", ERR_FORMAT},
        {R("  - {module: \"*conv*\", weights: fp8}\n"), "conv1d", ERR_FORMAT},
        {R("  - {module: \"re:.*(conv1d|in_proj)$\", weights: nvfp4, inputs: none}\n"), "it names 'backbone.layers.0.mixer.conv1d", ERR_FORMAT},
        {R("  - {module: \"re:.*\\\\.(in_proj|A_log)\", weights: nvfp4, inputs: none}\n"), "it names 'backbone.layers.0.mixer.A_log", ERR_FORMAT},
        {"name: t\nallow_ssm: true\nrules:\n  - {module: \"*conv1d\", weights: fp8}\n", "with allow_ssm: true neither", ERR_FORMAT},
        {R("  - {module: \"*mixer.gate\", weights: fp8}\n"), "routers are never quantized", ERR_FORMAT},
        {R("  - {module: \"*norm*\", weights: fp8}\n"), "norms and biases are never quantized", ERR_FORMAT},
        {R("  - {role: mamba_linears, weights: nvfp4, inputs: nvfp4, scales: four_over_six}\n"), "cost Nemotron 3 Ultra 14 points of recovery", ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_FAILS(plan_fails(rows[i].yaml, e_), rows[i].code, rows[i].why);
    struct recipe *r;
    struct plan *p;
    /* Weights alone may, and so may who accepts the cost, which the plan then says. */
    CHECK_OK(plan_of(R("  - {role: mamba_linears, weights: nvfp4, inputs: none, scales: four_over_six}\n"), &r, &p, e_));
    assert_int_equal(p->n_notes, 0);
    plan_free(p);
    recipe_free(r);
    CHECK_OK(plan_of("name: t\nallow_ssm: true\nrules:\n  - {role: mamba_linears, weights: nvfp4, inputs: nvfp4, scales: four_over_six}\n", &r, &p, e_));
    assert_int_equal(p->n_notes, 1);
    assert_non_null(strstr(p->notes[0], "2 Mamba projections get 4/6 scales"));
    plan_free(p);
    recipe_free(r);
    /* Wildcards pass over the state path, and lines that switch off may name it. */
    CHECK_OK(plan_of(R("  - {quantizer: \"*weight_quantizer\", type: nvfp4}\n  - {quantizer: \"*embed*\", type: off}\n"
                       "  - {quantizer: \"*conv1d*\", type: off, optional: true}\n"), &r, &p, e_));
    assert_int_equal(item_named(p, "backbone.layers.0.mixer.A_log")->action, ACTION_COPY);
    plan_free(p);
    recipe_free(r);
}

static void test_explain(void **state)
{
    (void)state;
    struct recipe *r;
    struct plan *p;
    json_t *j;
    char *text;
    CHECK_OK(plan_of("name: t\nkv_cache: fp8\nrules:\n  - {role: attention, weights: nvfp4, inputs: {type: nvfp4, amax: 2688}}\n"
                     "  - {module: \"*k_proj\", weights: nvfp4, scales: mse, note: \"mine: line 7\"}\n"
                     "  - {module: \"*.q_proj\", weights: nvfp4, scales: mse}\n  - {module: \"*.v_proj\", weights: nvfp4, scales: mse}\n", &r, &p, e_));
    CHECK_OK(plan_explain(p, "backbone.layers.2.mixer.k_proj.weight_scale_2", &j, e_));
    const json_t *w = json_object_get(j, "weights"), *in = json_object_get(j, "inputs");
    assert_string_equal(json_string_value(json_object_get(j, "tensor")), "backbone.layers.2.mixer.k_proj.weight");
    assert_int_equal(json_array_size(w), 2);
    assert_null(json_object_get(json_array_get(w, 0), "decides"));
    assert_true(json_is_true(json_object_get(json_array_get(w, 1), "decides")));
    assert_string_equal(json_string_value(json_object_get(json_array_get(w, 1), "note")), "mine: line 7");
    assert_int_equal(json_array_size(in), 1);
    assert_int_equal(json_array_size(json_object_get(j, "cache")), 1);
    assert_int_equal(json_array_size(json_object_get(j, "shares_weight_scale_with")), 2);
    assert_int_equal(json_array_size(json_object_get(j, "written")), 5);
    CHECK_OK(plan_explain_text(j, &text, e_));
    static const char *const lines[] = {
        "attn_k (attention), layer 2, BF16 ", "    rule 1: role attention (line 4): type nvfp4\n", "  > rule 2: *k_proj (mine: line 7): type nvfp4, scales mse\n",
        "  > kv_cache: type fp8\n", "of the fixed maximum 2688", "shares its scale with:\n    backbone.layers.2.mixer.q_proj.weight\n    backbone.layers.2.mixer.v_proj.weight\n",
        "    backbone.layers.2.mixer.k_proj.k_scale  F32 ",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(text, lines[i])) fail_msg("'%s' is not in\n%s", lines[i], text);
    free(text);
    json_decref(j);
    CHECK_OK(plan_explain(p, "backbone.layers.0.mixer.A_log", &j, e_));
    assert_null(json_object_get(j, "weights"));
    assert_string_equal(json_string_value(json_object_get(j, "reason")), "the SSM state path stays as it is");
    json_decref(j);
    CHECK_FAILS(plan_explain(p, "backbone.nope", &j, e_), ERR_USAGE, "no tensor or module 'backbone.nope'");
    plan_free(p);
    recipe_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipe_refused), cmocka_unit_test(test_builtin), cmocka_unit_test(test_plan_refused),
        cmocka_unit_test(test_later_lines_win), cmocka_unit_test(test_groups_and_outputs),
        cmocka_unit_test(test_published_lines_are_listed), cmocka_unit_test(test_digests), cmocka_unit_test(test_copy),
        cmocka_unit_test(test_selectors), cmocka_unit_test(test_state_path), cmocka_unit_test(test_explain),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
