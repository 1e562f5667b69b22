#include "tests/checks.h"

#include "formats/quant_config.h"

#include <time.h>

static json_t *parse(const char *text)
{
    char copy[4096];
    json_t *j = NULL;
    if (!text) return NULL;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *p = copy; *p; p++)
        if (*p == '\'') *p = '"';
    CHECK_OK(json_parse(bytes_text(copy), JSON_DIALECT_HF, "doc", &j, e_));
    return j;
}

/* `in_config` is the value of quantization_config. */
static bool open_rules(struct quant_rules **r, const char *in_config, const char *file, struct error *err)
{
    CLEANUP(json) json_t *config = parse("{'model_type':'x'}");
    CLEANUP(json) json_t *quant = parse(file);
    if (in_config) json_object_set_new(config, "quantization_config", parse(in_config));
    struct hf_config c = {.config = config, .quant = quant};
    return quant_rules_open(r, &c, err);          /* and must not need the documents afterwards */
}

#define FLAT(algo, more) "{'quant_method':'modelopt','quant_algo':'" algo "'" more "}"
#define NESTED(algo, more) "{'producer':{'name':'modelopt'},'quantization':{'quant_algo':'" algo "'" more "}}"

static void test_resolve(void **state)
{
    (void)state;
#define EX(list) ",'exclude_modules':[" list "]"
#define LAYERS ",'quantized_layers':{'m.0.in':{'quant_algo':'FP8'},'m.1.mixer.experts':{'quant_algo':'NVFP4','group_size':16}," \
               "'m.2.mixer.experts.0.up':{'quant_algo':'NVFP4'},'m.2.mixer.experts.1.up':{'quant_algo':'nvfp4'}," \
               "'m.3.a-b':{'quant_algo':'FP8'},'m.3.a.q':{'quant_algo':'W4A16_NVFP4','group_size':16}}"
    static const struct { const char *doc, *module, *want; } rows[] = {
        {NESTED("FP8", ""), "m.0.x", "fp8"}, {NESTED("fp8", ""), "m.0.x", "fp8"}, {NESTED("NVFP4", ""), "anything", "nvfp4"},
        {NESTED("W4A16_NVFP4", ",'group_size':16"), "m", "w4a16_nvfp4"},
        {NESTED("FP8", EX("'lm_head'")), "lm_head", NULL}, {NESTED("FP8", EX("'lm_head'")), "m.0", "fp8"},
        /* an older list names parts of names */
        {NESTED("FP8", EX("'lm_head'")), "language_model.lm_head", NULL}, {NESTED("FP8", EX("'mlp.gate'")), "m.0.mlp.gate", NULL},
        {NESTED("FP8", EX("'m.0.gate'")), "m.0.gate_proj", NULL},              /* the trap: this is what vLLM makes of it */
        {NESTED("FP8", EX("'m.0.gat[e]'")), "m.0.gate", NULL}, {NESTED("FP8", EX("'m.0.gat[e]'")), "m.0.gate_proj", "fp8"},
        {NESTED("FP8", EX("'m.1*'")), "m.1", NULL}, {NESTED("FP8", EX("'m.1*'")), "m.10.x", NULL},
        {NESTED("FP8", EX("'m.1*'")), "x.m.1", "fp8"},
        {NESTED("FP8", EX("'m.1.*'")), "m.1.x", NULL}, {NESTED("FP8", EX("'m.1.*'")), "m.1", "fp8"},
        {NESTED("FP8", EX("'m.1.*'")), "m.10.x", "fp8"},
        {NESTED("FP8", EX("'*.gate'")), "m.1.gate", NULL}, {NESTED("FP8", EX("'*.gate'")), "m.1.gates", "fp8"},
        {NESTED("FP8", EX("'*'")), "m", NULL}, {NESTED("FP8", EX("''")), "m", NULL}, {NESTED("FP8", EX("'M'")), "m", "fp8"},
        /* routed experts are asked for once */
        {NESTED("FP8", EX("'m.1.experts*'")), "m.1.experts.7.up", NULL}, {NESTED("FP8", EX("'m.1.experts'")), "m.1.experts.7.up", NULL},
        {NESTED("FP8", EX("'m.1.experts.0.up'")), "m.1.experts.7.up", NULL}, {NESTED("FP8", EX("'m.1.experts.*'")), "m.1.experts", NULL},
        {NESTED("FP8", EX("'*.experts'")), "m.1.experts.7.up", NULL}, {NESTED("FP8", EX("'*.experts'")), "m.1.experts", NULL},
        {NESTED("FP8", EX("'m.1.shared_experts*'")), "m.1.experts.7.up", "fp8"},
        {NESTED("FP8", EX("'m.1.experts*'")), "m.11.experts.7.up", "fp8"},
        {NESTED("FP8", EX("'m.1.experts*'")), "m.1.shared_experts.up", "fp8"},
        {NESTED("FP8", EX("'m.1.expertsx'")), "m.1.experts.0.up", "fp8"},
        /* layer by layer */
        {NESTED("MIXED_PRECISION", LAYERS), "m.0.in", "fp8"}, {NESTED("MIXED_PRECISION", LAYERS), "m.0.in.x", NULL},
        {NESTED("MIXED_PRECISION", LAYERS), "m.0", "fp8"},
        {NESTED("MIXED_PRECISION", LAYERS), "m.0.i", NULL}, {NESTED("MIXED_PRECISION", LAYERS), "m.0.inn", NULL},
        {NESTED("MIXED_PRECISION", LAYERS), "m.1.mixer.experts.5.down", "nvfp4"},
        {NESTED("MIXED_PRECISION", LAYERS), "m.1.mixer.experts", "nvfp4"},
        {NESTED("MIXED_PRECISION", LAYERS), "m.2.mixer.experts", "nvfp4"},
        {NESTED("MIXED_PRECISION", LAYERS), "m.2.mixer.experts.9.up", "nvfp4"},
        {NESTED("MIXED_PRECISION", LAYERS), "m.2.mixer.shared_experts.up", NULL},
        {NESTED("MIXED_PRECISION", LAYERS), "m.3.a", "w4a16_nvfp4"},
        {NESTED("mixed_precision", LAYERS EX("'m.0*'")), "m.0.in", NULL},
        {NESTED("MIXED_PRECISION", LAYERS EX("'m.1.mixer.experts*'")), "m.1.mixer.experts.0.up", NULL},
        {"{'quantization':{'quant_algo':null,'kv_cache_quant_algo':'FP8'}}", "m", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(quant_rules) struct quant_rules *file = NULL;
        CLEANUP(quant_rules) struct quant_rules *inl = NULL;
        CHECK_OK(open_rules(&file, NULL, rows[i].doc, e_));
        CHECK_OK(open_rules(&inl, rows[i].doc, NULL, e_));        /* older config.json files hold the nested form */
        const struct quant_format *f = quant_rules_resolve(file, rows[i].module);
        if (f != (rows[i].want ? quant_format_find(rows[i].want) : NULL))
            fail_msg("%s: '%s' is %s", rows[i].doc, rows[i].module, f ? f->name : "plain");
        assert_ptr_equal(quant_rules_resolve(inl, rows[i].module), f);
    }
}

static void test_flat(void **state)
{
    (void)state;
    static const struct { const char *doc, *kv; } rows[] = {
        {FLAT("FP8", ""), NULL}, {FLAT("FP8", ",'kv_cache_scheme':null"), NULL}, {FLAT("FP8", ",'kv_cache_scheme':'FP8'"), "FP8"},
        {FLAT("FP8", ",'kv_cache_scheme':{'type':'float','num_bits':8}"), "FP8"},
        {FLAT("FP8", ",'kv_cache_scheme':'NVFP4'"), "NVFP4"}, {NESTED("FP8", ",'kv_cache_quant_algo':'nvfp4'"), "NVFP4"},
        {FLAT("FP8", ",'kv_cache_scheme':{'type':'float','num_bits':4}"), "NVFP4"},
        {FLAT("NVFP4",
              ",'kv_cache_scheme':{'dynamic':false,'type':'float','num_bits':8},'config_groups':{'group_0':{'weights':{'group_size':16}}}"),
                  "FP8"},
        {"{'quant_method':'MODELOPT_fp4','quant_algo':'NVFP4','group_size':16,'ignore':['a']}", NULL}, {"{'quant_algo':'FP8'}", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(quant_rules) struct quant_rules *r = NULL;
        CHECK_OK(open_rules(&r, rows[i].doc, NULL, e_));
        const char *kv = quant_rules_kv_algo(r);
        assert_true(rows[i].kv ? kv && strcmp(kv, rows[i].kv) == 0 : !kv);
    }
    struct quant_rules *r;
    CHECK_OK(open_rules(&r, NULL, NULL, e_));
    assert_null(r);
    CHECK_OK(open_rules(&r, "null", NULL, e_));
    assert_null(r);
    quant_rules_close(NULL);
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct { const char *doc; enum error_code code; const char *why; } rows[] = {
        {"[]", ERR_FORMAT, "expected an object, found an array"}, {"{}", ERR_UNSUPPORTED, "says neither quant_method nor quant_algo"},
        {"{'quant_method':'hqq','bits':4}", ERR_UNSUPPORTED, "quant_method 'hqq' is not read here"},
        {"{'quant_method':'compressed-tensors'}", ERR_FORMAT, "key 'config_groups' is missing"},
        {"{'quant_method':3}", ERR_FORMAT, "expected a string"},
        {FLAT("W4A8_AWQ", ""), ERR_UNSUPPORTED, "quant_algo 'W4A8_AWQ' is not known"},
        {NESTED("MXFP6", ""), ERR_UNSUPPORTED, "quant_algo 'MXFP6'"},
        {"{'quantization':{'quant_algo':3}}", ERR_FORMAT, "key 'quant_algo': expected a string"},
        {"{'quantization':3,'quant_algo':'FP8'}", ERR_FORMAT, "expected an object"},
        {NESTED("FP8", ",'kv_cache_quant_algo':'INT8'"), ERR_UNSUPPORTED, "only FP8 and NVFP4 caches"},
        {NESTED("FP8", ",'kv_cache_quant_algo':8"), ERR_FORMAT, "found 8"},
        {FLAT("FP8", ",'kv_cache_scheme':{'type':'int','num_bits':8}"), ERR_UNSUPPORTED, "only FP8 and NVFP4 caches"},
        {FLAT("FP8", ",'kv_cache_scheme':{'type':'float','num_bits':2}"), ERR_UNSUPPORTED, "only FP8 and NVFP4 caches"},
        {FLAT("FP8", ",'ignore':'lm_head'"), ERR_FORMAT, "key 'ignore': expected an array"},
        {FLAT("FP8", ",'ignore':['a',1]"), ERR_FORMAT, "expected strings, found 1"},
        {NESTED("NVFP4", ",'group_size':32"), ERR_UNSUPPORTED, "group_size 32 of NVFP4"},
        {NESTED("NVFP4", ",'group_size':-1"), ERR_FORMAT, "found -1"},
        {NESTED("NVFP4_AWQ", ",'pre_quant_scale':3"), ERR_FORMAT, "key 'pre_quant_scale'"},
        {NESTED("NVFP4_AWQ", ",'group_size':32"), ERR_UNSUPPORTED, "group_size 32 of NVFP4"},
        {NESTED("NVFP4", ",'group_size':1.5"), ERR_FORMAT, "found 1.5"},
        {FLAT("NVFP4", ",'config_groups':{'group_0':{'weights':{'group_size':32}}}"), ERR_UNSUPPORTED, "group_size 32"},
        {FLAT("NVFP4", ",'config_groups':{'group_0':{'weights':{'num_bits':8}}}"), ERR_FORMAT, "group_0: weights of NVFP4 have 4 bits (float), found 8"},
        {FLAT("NVFP4", ",'config_groups':{'group_0':{'weights':{'num_bits':4,'type':'int'}}}"), ERR_FORMAT, "found 4 (int)"},
        {FLAT("NVFP4", ",'config_groups':{'group_0':{'input_activations':{'num_bits':8}}}"), ERR_FORMAT, "input_activations of NVFP4 have 4 bits"},
        {FLAT("NVFP4", ",'config_groups':[]"), ERR_FORMAT, "key 'config_groups': expected an object"},
        {NESTED("MIXED_PRECISION", ""), ERR_FORMAT, "key 'quantized_layers' is missing"},
        {NESTED("MIXED_PRECISION", ",'quantized_layers':{}"), ERR_FORMAT, "with no quantized_layers"},
        {NESTED("MIXED_PRECISION", ",'quantized_layers':{'a':{}}"), ERR_FORMAT, "layer 'a'"},
        {NESTED("MIXED_PRECISION", ",'quantized_layers':{'a':1}"), ERR_FORMAT, "layer 'a'"},
        {NESTED("MIXED_PRECISION", ",'quantized_layers':{'a':{'quant_algo':'INT4'}}"), ERR_UNSUPPORTED, "layer 'a': quant_algo 'INT4'"},
        {NESTED("MIXED_PRECISION", ",'quantized_layers':{'a':{'quant_algo':'NVFP4','group_size':8}}"), ERR_UNSUPPORTED,
         "group_size 8 of NVFP4"},
        {NESTED("MIXED_PRECISION", ",'quantized_layers':{'m.experts.0.a':{'quant_algo':'NVFP4'},'m.experts.1.a':{'quant_algo':'FP8'}}"),
         ERR_UNSUPPORTED,
         "'m.experts.0.a' is NVFP4 and 'm.experts.1.a' is FP8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct quant_rules *r;
        struct error e = ERROR_INIT, f = ERROR_INIT;
        if (open_rules(&r, rows[i].doc, NULL, &e) || open_rules(&r, NULL, rows[i].doc, &f)) fail_msg("%s: taken", rows[i].doc);
        assert_null(r);
        if (e.code != rows[i].code || !strstr(e.text, rows[i].why)) fail_msg("%s: %s", rows[i].doc, e.text);
        if (f.code != rows[i].code || !strstr(f.text, rows[i].why)) fail_msg("%s: %s", rows[i].doc, f.text);
        assert_non_null(strstr(e.text, "config.json: quantization_config"));
        assert_non_null(strstr(f.text, "hf_quant_config.json"));
    }
}

/* TensorRT-LLM believes the file, vLLM the inline form. */
static void test_disagreement(void **state)
{
    (void)state;
#define A ",'quantized_layers':{'a':{'quant_algo':'FP8'},'b':{'quant_algo':'NVFP4'}}"
    static const struct { const char *in_config, *file, *why; } rows[] = {
        {FLAT("FP8", ""), NESTED("FP8", ""), NULL}, {FLAT("FP8", ",'ignore':['b','a','a']"), NESTED("FP8", EX("'a','b'")), NULL},
        {FLAT("NVFP4", ""), NESTED("NVFP4", ",'group_size':16"), NULL},
        {FLAT("MIXED_PRECISION", A ",'ignore':[]"), NESTED("MIXED_PRECISION", A), NULL},
        {FLAT("FP8", ""), NESTED("NVFP4", ""), "key 'quant_algo' is FP8 in one and NVFP4 in the other"},
        {FLAT("FP8", ""), NESTED("MIXED_PRECISION", A), "key 'quant_algo' is FP8 in one and MIXED_PRECISION in the other"},
        {FLAT("FP8", ""), "{'quantization':{'quant_algo':null}}", "key 'quant_algo' is FP8 in one and absent in the other"},
        {FLAT("FP8", ",'kv_cache_scheme':'FP8'"), NESTED("FP8", ",'kv_cache_quant_algo':'NVFP4'"), "is FP8 in one and NVFP4 in the other"},
        {FLAT("FP8", ",'kv_cache_scheme':'FP8'"), NESTED("FP8", ""), "key 'kv_cache_quant_algo' is FP8 in one and absent"},
        {FLAT("FP8", ",'ignore':['a','c']"), NESTED("FP8", EX("'a','b','c'")), "only the second excludes 'b'"},
        {FLAT("FP8", ",'ignore':['a','b']"), NESTED("FP8", ""), "only the first excludes 'a'"},
        {FLAT("FP8", ",'ignore':['a','z']"), NESTED("FP8", EX("'a'")), "only the first excludes 'z'"},
        {FLAT("MIXED_PRECISION", A), NESTED("MIXED_PRECISION", ",'quantized_layers':{'a':{'quant_algo':'FP8'},'b':{'quant_algo':'FP8'}}"),
         "layer 'b' is NVFP4 in one and FP8 in the other"},
        {FLAT("MIXED_PRECISION", A), NESTED("MIXED_PRECISION", ",'quantized_layers':{'a':{'quant_algo':'FP8'}}"),
         "layer 'b' is NVFP4 in one and absent"},
        {FLAT("MIXED_PRECISION", ",'quantized_layers':{'b':{'quant_algo':'NVFP4'}}"), NESTED("MIXED_PRECISION", A),
         "layer 'a' is absent in one and FP8"},
        {FLAT("FP8", ""), NESTED("INT4", ""), "hf_quant_config.json: quant_algo 'INT4'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct quant_rules *r;
        struct error e = ERROR_INIT;
        bool ok = open_rules(&r, rows[i].in_config, rows[i].file, &e);
        if (ok != !rows[i].why || (!ok && !strstr(e.text, rows[i].why))) fail_msg("row %zu: %s", i, ok ? "taken" : e.text);
        if (!ok) assert_true(e.code == ERR_FORMAT || e.code == ERR_UNSUPPORTED);
        quant_rules_close(r);
    }
}

/* Many exclusions and many modules: neither multiplies with the other. */
static void test_many(void **state)
{
    (void)state;
    enum { N = 20000 };
    CLEANUP(json) json_t *config = json_object();
    json_t *ignore = json_array();
    for (int i = 0; i < N; i++) json_array_append_new(ignore, json_sprintf("m.layers.%d.%s", i, i % 2 ? "gate" : "mixer.q_proj*"));
    json_object_set_new(config, "quantization_config", json_pack("{s:s,s:s,s:o}", "quant_method", "modelopt", "quant_algo", "FP8", "ignore",
                                                                 ignore));
    struct hf_config c = {.config = config};
    CLEANUP(quant_rules) struct quant_rules *r = NULL;
    CHECK_OK(quant_rules_open(&r, &c, e_));
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 5 * N; i++) {
        char name[64];
        snprintf(name, sizeof name, "m.layers.%d.%s", i, i % 2 ? "gate" : "mixer.q_proj");
        bool excluded = !quant_rules_resolve(r, name);
        assert_int_equal(excluded, i < N);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    print_message("%d modules against %d exclusions: %.2f s\n", 5 * N, N,
                  (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec));
    assert_true(b.tv_sec - a.tv_sec < 10);
    json_t *globs = json_array();
    for (int i = 0; i < 257; i++) json_array_append_new(globs, json_sprintf("*.%d.x", i));
    json_object_set_new(json_object_get(config, "quantization_config"), "ignore", globs);
    struct quant_rules *none;
    CHECK_FAILS(quant_rules_open(&none, &c, e_), ERR_UNSUPPORTED, "more than 256 patterns");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_resolve), cmocka_unit_test(test_flat), cmocka_unit_test(test_refuses),
                                       cmocka_unit_test(test_disagreement), cmocka_unit_test(test_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
