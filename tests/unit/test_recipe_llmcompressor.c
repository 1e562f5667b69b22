/* llm-compressor's recipe files against rules worked out by hand from its sources (QuantizationMixin, GPTQModifier, AWQModifier,
 * SmoothQuantModifier; compressed-tensors' presets and the order of its targets). */
#include "plan/recipe_foreign.h"
#include "tests/checks.h"

#include "core/text.h"

static bool translate(const char *text, json_t **out, struct error *err)
{
    CLEANUP(yaml) struct yaml *docs = NULL;
    *out = NULL;
    return yaml_parse_documents(bytes_text(text), "dir/lc.yaml", &docs, err) &&
           llmcompressor_is_recipe(json_array_get(yaml_root(docs), 0)) && llmcompressor_recipe(docs, "dir/lc.yaml", out, err);
}

/* Each rule as canonical JSON without its note, one a line. */
static char *rules_text(const json_t *recipe)
{
    struct text t = TEXT_INIT;
    char *out = NULL;
    size_t i;
    json_t *rule;
    json_array_foreach (json_object_get(recipe, "rules"), i, rule) {
        CLEANUP(free) char *line = NULL;
        json_t *bare = json_copy(rule);
        json_object_del(bare, "note");
        CHECK_OK(json_canonical(bare, &line, NULL, e_));
        json_decref(bare);
        text_add(&t, "%s\n", line);
    }
    text_add(&t, "%s", "");
    CHECK_OK(text_take(&t, &out, NULL, e_));
    return out;
}

static void expect(const char *text, const char *want)
{
    CLEANUP(json) json_t *got = NULL;
    struct error e = ERROR_INIT;
    if (!translate(text, &got, &e)) fail_msg("%s: %s", text, e.text);
    char *rules = rules_text(got);
    assert_string_equal(rules, want);
    free(rules);
    assert_string_equal(json_string_value(json_object_get(got, "layout")), "compressed-tensors");
    assert_string_equal(json_string_value(json_object_get(got, "name")), "lc");
}

#define Q "quant_stage:\n  quant_modifiers:\n    QuantizationModifier: "
#define LINEAR(more) "{\"class\":\"Linear\"," more "}\n"

static void test_presets(void **state)
{
    (void)state;
    static const struct { const char *scheme, *want; } rows[] = {
        {"NVFP4", "\"inputs\":\"nvfp4\",\"module\":\"*\",\"weights\":\"nvfp4\""},
        {"NVFP4A16", "\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"nvfp4\""},
        {"FP8", "\"inputs\":\"fp8\",\"module\":\"*\",\"weights\":\"fp8\""},
        {"FP8_DYNAMIC", "\"inputs\":\"fp8_token\",\"module\":\"*\",\"weights\":\"fp8_channel\""},
        {"FP8_BLOCK", "\"inputs\":\"fp8_group\",\"module\":\"*\",\"weights\":\"fp8_block\""},
        {"W4A16", "\"group\":128,\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"int4\""},
        {"w4a16_asym", "\"group\":128,\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"int4\",\"zero\":true"},
        {"MXFP4", "\"module\":\"*\",\"refuse\":\"weights mxfp4_ocp with inputs mxfp4_ocp are not supported\""},
        {"MXFP4A16", "\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"mxfp4_ocp\""},
        {"MXFP8", "\"inputs\":\"mxfp8\",\"module\":\"*\",\"weights\":\"mxfp8\""},
        {"W8A8", "\"module\":\"*\",\"refuse\":\"scheme W8A8 is no type that this program writes\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256], want[256];
        snprintf(text, sizeof text, Q "{scheme: %s, targets: Linear, ignore: [lm_head, 're:.*gate$']}\n", rows[i].scheme);
        snprintf(want, sizeof want, "{\"class\":\"Linear\",\"except\":[\"lm_head\",\"re:.*gate$\"],%s}\n", rows[i].want);
        expect(text, want);
    }
    expect(Q "{scheme: {FP8: ['re:.*mlp.*'], NVFP4A16: [Linear]}}\n",
           LINEAR("\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"nvfp4\"") LINEAR("\"inputs\":\"fp8\",\"module\":\"re:.*mlp.*\",\"weights\":\"fp8\""));
    expect("QuantizationModifier: {scheme: NVFP4A16}\n", LINEAR("\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"nvfp4\""));
    expect("quant_modifiers: {QuantizationModifier: {scheme: NVFP4A16}}\n", LINEAR("\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"nvfp4\""));
}

static void test_groups(void **state)
{
    (void)state;
    /* Classes come first, then patterns, then names: what wins comes last. Patterns: the alphabetically first wins. */
    expect("quant_stage_0:\n  run_type: oneshot\n  quant_modifiers:\n    QuantizationModifier:\n      config_groups:\n"
           "        g0:\n          targets: [model.layers.0.mlp.up_proj, 're:.*a_proj', Linear]\n"
           "          weights: {num_bits: 8, type: float, strategy: tensor, dynamic: false, symmetric: true}\n"
           "          input_activations: {num_bits: 8, type: float, strategy: tensor, dynamic: false, symmetric: true, observer: static_minmax}\n"
           "        g1:\n          targets: ['re:.*b_proj']\n          weights: {num_bits: 4, type: float, strategy: tensor_group, group_size: 16}\n"
           "          output_activations: null\n",
           LINEAR("\"inputs\":\"fp8\",\"module\":\"*\",\"weights\":\"fp8\"") LINEAR("\"inputs\":\"none\",\"module\":\"re:.*b_proj\",\"weights\":\"nvfp4\"")
           LINEAR("\"inputs\":\"fp8\",\"module\":\"re:.*a_proj\",\"weights\":\"fp8\"")
           LINEAR("\"inputs\":\"fp8\",\"module\":\"model.layers.0.mlp.up_proj\",\"weights\":\"fp8\""));
    static const struct { const char *args, *inputs, *want; } rows[] = {
        {"num_bits: 4, type: int, group_size: 32", "null", "\"group\":32,\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"int4\""},
        {"num_bits: 4, type: int, strategy: group, group_size: 64, symmetric: false", "null",
         "\"group\":64,\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"int4\",\"zero\":true"},
        {"num_bits: 8, type: float, group_size: -1", "{num_bits: 8, type: float, strategy: token, dynamic: true}",
         "\"inputs\":\"fp8_token\",\"module\":\"*\",\"weights\":\"fp8_channel\""},
        {"num_bits: 8, type: float, strategy: block, block_structure: [128, 128]", "{num_bits: 8, type: float, strategy: group, group_size: 128, dynamic: true}",
         "\"inputs\":\"fp8_group\",\"module\":\"*\",\"weights\":\"fp8_block\""},
        {"num_bits: 4, type: float, strategy: group, group_size: 32", "null", "\"inputs\":\"none\",\"module\":\"*\",\"weights\":\"mxfp4_ocp\""},
        {"num_bits: 8, type: int, strategy: channel", "null",
         "\"module\":\"*\",\"refuse\":\"weights of 8 bits (int, channel, symmetric) are no type that this program writes\""},
        {"num_bits: 4, type: int, strategy: channel", "null",
         "\"module\":\"*\",\"refuse\":\"weights of 4 bits (int, channel, symmetric) are no type that this program writes\""},
        {"num_bits: 8, type: float, strategy: tensor", "{num_bits: 8, type: float, strategy: tensor, dynamic: true}",
         "\"module\":\"*\",\"refuse\":\"activations of 8 bits (float, tensor, symmetric, dynamic) are no type that this program writes\""},
        {"num_bits: 4, type: float, strategy: tensor_group, group_size: 16, observer: memoryless_mse", "null",
         "\"inputs\":\"none\",\"module\":\"*\",\"scales\":{\"method\":\"mse\",\"start\":0.81000000000000005,\"step\":0.01,\"stop\":1.0},\"weights\":\"nvfp4\""},
        {"num_bits: 4, type: float, strategy: tensor_group, group_size: 16, observer: imatrix_mse", "null",
         "\"module\":\"*\",\"refuse\":\"observer imatrix_mse of weights is not supported\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512], want[512];
        snprintf(text, sizeof text, Q "{config_groups: {g: {targets: [Linear], weights: {%s}, input_activations: %s}}}\n", rows[i].args, rows[i].inputs);
        snprintf(want, sizeof want, LINEAR("%s"), rows[i].want);
        expect(text, want);
    }
}

static void test_modifiers(void **state)
{
    (void)state;
#define GPTQ(order) "\"solve\":{\"act_order\":" order ",\"block\":128,\"damp\":0.01,\"method\":\"gptq\"},"
    expect("s_stage:\n  m_modifiers:\n    GPTQModifier: {scheme: W4A16, ignore: lm_head, batched_quantization: auto}\n",
           "{\"class\":\"Linear\",\"except\":[\"lm_head\"],\"group\":128,\"inputs\":\"none\",\"module\":\"*\"," GPTQ("true") "\"weights\":\"int4\"}\n");
    expect("s_stage:\n  m_modifiers:\n    GPTQModifier: {scheme: NVFP4A16, actorder: null}\n",
           LINEAR("\"inputs\":\"none\",\"module\":\"*\"," GPTQ("false") "\"weights\":\"nvfp4\""));
    /* Of an earlier modifier's scheme. */
    expect("s_stage:\n  m_modifiers:\n    QuantizationModifier: {scheme: NVFP4A16}\n    GPTQModifier: {actorder: false}\n",
           LINEAR("\"inputs\":\"none\",\"module\":\"*\"," GPTQ("false") "\"weights\":\"nvfp4\""));
    expect("s_stage:\n  m_modifiers:\n    AWQModifier: {duo_scaling: both}\n    QuantizationModifier: {scheme: W4A16_ASYM}\n",
           LINEAR("\"group\":128,\"inputs\":\"none\",\"module\":\"*\",\"solve\":\"awq\",\"weights\":\"int4\",\"zero\":true"));
    expect("s_stage:\n  m_modifiers:\n    AWQModifier: {scheme: W4A16, targets: [Linear], ignore: []}\n",
           LINEAR("\"group\":128,\"inputs\":\"none\",\"module\":\"*\",\"solve\":\"awq\",\"weights\":\"int4\""));
    expect("s_stage:\n  m_modifiers:\n    AWQModifier: {scheme: W4A16, duo_scaling: false}\n",
           LINEAR("\"group\":128,\"inputs\":\"none\",\"module\":\"*\",\"solve\":{\"duo\":false,\"method\":\"awq\"},\"weights\":\"int4\""));
    expect("a_stage:\n  m_modifiers: {SmoothQuantModifier: {smoothing_strength: 0.75}}\nb_stage:\n  m_modifiers: {QuantizationModifier: {scheme: FP8}}\n",
           LINEAR("\"inputs\":\"fp8\",\"module\":\"*\",\"solve\":{\"alpha\":0.75,\"method\":\"smoothquant\"},\"weights\":\"fp8\""));
    CLEANUP(json) json_t *kv = NULL;
    CHECK_OK(translate(Q "{kv_cache_scheme: {num_bits: 8, type: float, symmetric: true, strategy: tensor}}\n", &kv, e_));
    assert_string_equal(json_string_value(json_object_get(kv, "kv_cache")), "fp8");
    assert_int_equal(json_array_size(json_object_get(kv, "rules")), 0);
    CLEANUP(json) json_t *note = NULL;
    CHECK_OK(translate(Q "{scheme: FP8}\n", &note, e_));
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(note, "rules"), 0), "note")),
                        "quant_stage.quant_modifiers.QuantizationModifier, line 3");
}

static void test_refused(void **state)
{
    (void)state;
    static const struct { const char *text; enum error_code code; const char *why; } rows[] = {
        {Q "{scheme: FP9}\n", ERR_FORMAT, "dir/lc.yaml: line 3: scheme 'FP9' is not known"},
        {Q "{scheme: FP8, config_groups: {}}\n", ERR_FORMAT, "exclude each other"},
        {Q "{shceme: FP8}\n", ERR_FORMAT, "line 3: unknown key 'shceme'"},
        {Q "{scheme: FP8, targets: [3]}\n", ERR_FORMAT, "key 'targets': expected names, found 3"},
        {Q "{scheme: FP8, ignore: [3]}\n", ERR_FORMAT, "key 'ignore': expected names"},
        {Q "{config_groups: {g: {weights: {num_bits: 8}}}}\n", ERR_FORMAT, "config_groups.g: key 'targets' is missing"},
        {Q "{config_groups: {g: {targets: [Linear], weights: {num_bits: 99}}}}\n", ERR_FORMAT, "key 'num_bits'"},
        {Q "{config_groups: {g: {targets: [Linear], weights: {type: posit}}}}\n", ERR_FORMAT, "expected int or float, found 'posit'"},
        {Q "{config_groups: {g: {targets: [Linear], weights: {dynamic: maybe}}}}\n", ERR_FORMAT, "expected true, false or local"},
        {Q "{config_groups: {g: {targets: [Linear], weights: 4}}}\n", ERR_FORMAT, "expected an object, found 4"},
        {Q "{kv_cache_scheme: {num_bits: 8, type: int}}\n", ERR_UNSUPPORTED, "line 3: kv_cache_scheme: only"},
        {Q "7\n", ERR_FORMAT, "QuantizationModifier: expected a mapping, found 7"},
        {"s_stage:\n  m_modifiers:\n    SparseGPTModifier: {sparsity: 0.5}\n", ERR_UNSUPPORTED, "line 3: modifier 'SparseGPTModifier' is not read here"},
        {"s_stage:\n  m_modifiers:\n    GPTQModifier: {scheme: W4A16, actorder: group}\n", ERR_UNSUPPORTED, "actorder group"},
        {"s_stage:\n  m_modifiers:\n    GPTQModifier: {scheme: W4A16, actorder: best}\n", ERR_FORMAT, "found 'best'"},
        {"s_stage:\n  m_modifiers: {SmoothQuantModifier: , GPTQModifier: {scheme: W4A16}}\n", ERR_UNSUPPORTED, "GPTQModifier behind a transform"},
        {"s_stage:\n  m_modifiers: {SmoothQuantModifier: , AWQModifier: }\n", ERR_UNSUPPORTED, "two transforms"},
        {"s_stage:\n  m_modifiers: {SmoothQuantModifier: {smoothing_strength: 2}}\n", ERR_FORMAT, "from 0 to 1, found 2"},
        {"s_stage: {m_modifiers: {}}\nother: 3\n", ERR_FORMAT, "unknown key 'other'"},
        {"s_stage: {m_modifiers: {}}\n---\na: 1\n", ERR_FORMAT, "a second document"},
    };
    json_t *got;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) CHECK_FAILS(translate(rows[i].text, &got, e_), rows[i].code, rows[i].why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets), cmocka_unit_test(test_groups), cmocka_unit_test(test_modifiers), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
