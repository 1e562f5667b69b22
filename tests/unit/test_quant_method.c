/* Quantization configurations of DeepSeek's fp8 and of compressed-tensors: what they make of modules, what is refused,
 * and that tensors which do not fit them are. */
#include "backends/cpu/kernel.h"
#include "core/file.h"
#include "engine/engine.h"
#include "formats/checkpoint.h"
#include "formats/quant_config.h"
#include "models/inventory.h"
#include "tests/checks.h"

static json_t *parse(const char *text)
{
    char copy[4096];
    json_t *j = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *p = copy; *p; p++)
        if (*p == '\'') *p = '"';
    CHECK_OK(json_parse(bytes_text(copy), JSON_DIALECT_HF, "doc", &j, e_));
    return j;
}

static bool open_rules(struct quant_rules **r, const char *config, struct error *err)
{
    CLEANUP(json) json_t *doc = parse(config);
    return quant_rules_open(r, &(struct hf_config){.config = doc}, err);
}

#define CONFIG(q) "{'quantization_config':" q "}"
#define FP8(more) CONFIG("{'quant_method':'fp8','fmt':'e4m3','activation_scheme':'dynamic'" more "}")
#define BLOCK ",'weight_block_size':[128,128]"
#define WEIGHTS(bits, type, strategy, more)                                                                            \
    "'weights':{'num_bits':" bits ",'type':'" type "','strategy':'" strategy "'" more "}"
#define INT4 WEIGHTS("4", "int", "group", ",'group_size':32,'symmetric':true")
#define GROUP(targets, body) "'config_groups':{'group_0':{'targets':[" targets "]," body "}}"
#define CT(body) CONFIG("{'quant_method':'compressed-tensors'," body "}")

static void test_resolve(void **state)
{
    (void)state;
    static const struct {
        const char *config, *module, *want;
    } rows[] = {
        {FP8(BLOCK), "m.0.q", "fp8_block"},
        {FP8(BLOCK ",'modules_to_not_convert':['m.0','lm_head']"), "m.0.q", NULL},
        {FP8(BLOCK ",'modules_to_not_convert':['m.0','lm_head']"), "m.1.q", "fp8_block"},
        {CT(GROUP("'Linear'", INT4)), "anything", "int4_g32"},
        {CT(GROUP("'Linear'", WEIGHTS("4", "int", "group", ",'group_size':128"))), "m", "int4_g128"},
        {CT(GROUP("'Linear'", WEIGHTS("8", "float", "block", ",'block_structure':[128,128]"))), "m", "w8a16_fp8_block_ct"},
        {CT(GROUP("'Linear'", WEIGHTS("8", "float", "block", ",'block_structure':[128,128]")
                                 ",'input_activations':{'num_bits':8,'type':'float','dynamic':true}")),
         "m", "fp8_block_ct"},
        {CT(GROUP("'Linear'", INT4) ",'format':'pack-quantized'"), "m", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'format':'mixed-precision'"), "m", "int4_g32"},
        /* Names are whole, patterns begin at the first letter and may end anywhere. */
        {CT(GROUP("'Linear'", INT4) ",'ignore':['lm_head']"), "lm_head", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['lm_head']"), "x.lm_head", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:.*self_attn.*']"), "m.1.self_attn.q", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:self_attn']"), "m.1.self_attn.q", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.1']"), "m.1.q", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.1']"), "mx1.q", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:.*q$']"), "m.q", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:.*q$']"), "m.q.r", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:.*mlp\\\\.(gate|up|gate_up|down)_proj.*']"), "m.mlp.up_proj", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:.*mlp\\\\.(gate|up|gate_up|down)_proj.*']"),
         "m.mlp.experts.0.up_proj", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.\\\\d+\\\\.(?:a|b)$']"), "m.12.b", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.\\\\d+\\\\.(?:a|b)$']"), "m.x.b", "int4_g32"},
        /* What Python's re.match says. */
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.[\\\\d]+\\\\.q']"), "m.12.q", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.[\\\\d]+\\\\.q']"), "m.5].q", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.[^\\\\d.]+\\\\.q$']"), "m.ab.q", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.[^\\\\d.]+\\\\.q$']"), "m.1.q", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.\\\\w+_proj$']"), "m.up_proj", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.\\\\w+_proj$']"), "m.0.up_proj", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\W\\\\D+$']"), "m.up", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\W\\\\D+$']"), "m.u1", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:[\\\\w.]+\\\\.(q|k)$']"), "m.0.k", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:[\\\\w.]+\\\\.(q|k)$']"), "m.0-k", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\<q']"), "m.q", "int4_g32"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m\\\\.[](q]']"), "m.(q", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m[*?.]q']"), "m?q", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:m[*?.]q']"), "m*q", NULL},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:a|b']"), "b.c", NULL},
        {CT(GROUP("'re:.*experts.*','m.3'", INT4)), "m.1.experts.0.up", "int4_g32"},
        {CT(GROUP("'re:.*experts.*','m.3'", INT4)), "m.3", "int4_g32"},
        {CT(GROUP("'re:.*experts.*','m.3'", INT4)), "m.3.q", NULL},
        /* Names before patterns, patterns before "Linear", in whatever order the groups stand. */
        {CONFIG("{'quant_method':'compressed-tensors','config_groups':{'a':{'targets':['Linear']," INT4 "},'b':{'targets':["
                "'re:.*up','m.x'],'weights':{'num_bits':4,'type':'int','group_size':64}},'c':{'targets':['m.up'],'weights':"
                "{'num_bits':4,'type':'int','group_size':128}}}}"), "m.up", "int4_g128"},
        {CONFIG("{'quant_method':'compressed-tensors','config_groups':{'a':{'targets':['Linear']," INT4 "},'b':{'targets':["
                "'re:.*up','m.x'],'weights':{'num_bits':4,'type':'int','group_size':64}}}}"), "m.0.up", "int4_g64"},
#define AWQ(more) CONFIG("{'quant_method':'awq','bits':4,'group_size':64,'zero_point':true,'version':'gemm'" more "}")
#define GPTQ(more) CONFIG("{'quant_method':'gptq','bits':4,'group_size':64,'desc_act':true" more "}")
        {AWQ(""), "m.0.q", "awq_g64"},
        {AWQ(",'modules_to_not_convert':['0.q','gate']"), "m.0.qkv", NULL},
        {AWQ(",'modules_to_not_convert':['0.q','gate']"), "m.1.q", "awq_g64"},
        {AWQ(",'modules_to_not_convert':['0.q','gate']"), "m.1.experts.0.gate_proj", "awq_g64"},
        {AWQ(",'modules_to_not_convert':['m.1.experts']"), "m.1.experts.0.gate_proj", NULL},
        {GPTQ(""), "m.0.q", "gptq_g64"},
        {GPTQ(",'sym':false"), "m.0.q", "gptq_zero_g64"},
        {GPTQ(",'dynamic':{'-:.*\\\\.0\\\\.':{}}"), "m.0.q", NULL},
        {GPTQ(",'dynamic':{'-:.*\\\\.0\\\\.':{}}"), "m.1.q", "gptq_g64"},
        {GPTQ(",'modules_in_block_to_quantize':[['a.q','a.k'],['b.up']]"), "m.1.a.k", "gptq_g64"},
        {GPTQ(",'modules_in_block_to_quantize':[['a.q','a.k'],['b.up']]"), "m.1.a.v", NULL},
        {"{'text_config':{'quantization_config':{'quant_method':'fp8','weight_block_size':[128,128]}}}", "m", "fp8_block"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(quant_rules) struct quant_rules *r = NULL;
        CHECK_OK(open_rules(&r, rows[i].config, e_));
        const struct quant_format *f = quant_rules_resolve(r, rows[i].module);
        if (f != (rows[i].want ? quant_format_find(rows[i].want) : NULL))
            fail_msg("%s: '%s' is %s", rows[i].config, rows[i].module, f ? f->name : "plain");
        assert_true(quant_rules_linears_only(r));
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        enum error_code code;
        const char *says;
    } rows[] = {
        {FP8(""), ERR_UNSUPPORTED, "weight_block_size is missing"},
        {FP8(",'weight_block_size':[64,128]"), ERR_UNSUPPORTED, "[128, 128] is"},
        {FP8(",'weight_block_size':[128]"), ERR_UNSUPPORTED, "[128, 128] is"},
        {CONFIG("{'quant_method':'fp8','activation_scheme':'static','weight_block_size':[128,128]}"), ERR_UNSUPPORTED,
         "activation_scheme 'static' is not read here"},
        {CONFIG("{'quant_method':'fp8','fmt':'e5m2','weight_block_size':[128,128]}"), ERR_UNSUPPORTED, "fmt 'e5m2'"},
        {FP8(BLOCK ",'modules_to_not_convert':[1]"), ERR_FORMAT, "expected strings, found 1"},
        {FP8(BLOCK ",'modules_to_not_convert':'x'"), ERR_FORMAT, "expected a list"},
        {CT("'ignore':[]"), ERR_FORMAT, "config_groups"},
        {CT("'config_groups':{}"), ERR_FORMAT, "select nothing"},
        {CT(GROUP("", INT4)), ERR_FORMAT, "select nothing"},
        {CT(GROUP("'Linear'", "'x':1")), ERR_FORMAT, "weights"},
        {CT(GROUP("'Linear'", WEIGHTS("4", "int", "group", ",'group_size':16"))), ERR_UNSUPPORTED, "4-bit int by group of 16 with"},
        {CT(GROUP("'Linear'", WEIGHTS("4", "int", "group", ",'group_size':32,'actorder':'group'"))), ERR_UNSUPPORTED,
         "actorder"},
        {CT(GROUP("'Linear'", WEIGHTS("4", "int", "channel", ""))), ERR_UNSUPPORTED, "4-bit int by channel"},
        {CT(GROUP("'Linear'", WEIGHTS("8", "int", "group", ""))), ERR_UNSUPPORTED, "8-bit int by group"},
        {CT(GROUP("'Linear'", INT4 ",'input_activations':{'num_bits':8}")), ERR_UNSUPPORTED, "with activations 8-bit int by tensor"},
        {CT(GROUP("'Linear'", INT4 ",'format':'marlin-24'")), ERR_UNSUPPORTED, "format 'marlin-24'"},
        {CT(GROUP("'Linear'", INT4) ",'format':'float-quantized'"), ERR_FORMAT, "format 'float-quantized' does not fit its config_groups; expected pack-quantized"},
        {CT(GROUP("'Linear'", INT4) ",'quantization_status':'frozen'"), ERR_UNSUPPORTED, "quantization_status 'frozen'"},
        {CT(GROUP("'Linear'", INT4) ",'kv_cache_scheme':{'num_bits':8}"), ERR_UNSUPPORTED, "kv_cache_scheme"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:(x)\\\\1']"), ERR_UNSUPPORTED, "references to groups"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:[b-a]']"), ERR_UNSUPPORTED, "no regular expression"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:(?>a)']"), ERR_UNSUPPORTED, "atomic groups are not read here"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:a\\\\yc']"), ERR_UNSUPPORTED, "escaped punctuation"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:a{10000}']"), ERR_UNSUPPORTED, "its repeats make it too long"},
        {CT(GROUP("'Linear'", INT4) ",'ignore':['re:(a']"), ERR_UNSUPPORTED, "no regular expression"},
        {CT(GROUP("'Linear'", INT4) ",'kv_cache_scheme':{'num_bits':4,'type':'float'}"), ERR_UNSUPPORTED, "kv_cache_scheme"},
        {CT(GROUP("'Linear'", INT4 ",'output_activations':{'num_bits':8}")), ERR_UNSUPPORTED, "output_activations"},
        {CT(GROUP("'Linear'", WEIGHTS("4", "float", "tensor_group", ",'group_size':16,'dynamic':'far'"))), ERR_UNSUPPORTED, "dynamic \"far\""},
        {CT(GROUP("'Linear'", WEIGHTS("8", "float", "block", ",'block_structure':[64,64]"))), ERR_UNSUPPORTED, "[128, 128] is"},
        {CONFIG("{'quant_method':'hqq'}"), ERR_UNSUPPORTED, "quant_method 'hqq' is not read here"},
        {CONFIG("{'quant_method':'awq'}"), ERR_FORMAT, "'bits'"},
        {CONFIG("{'quant_method':'awq','bits':8,'group_size':128}"), ERR_UNSUPPORTED, "bits 8 of awq"},
        {CONFIG("{'quant_method':'awq','bits':4,'group_size':128,'version':'gemv'}"), ERR_UNSUPPORTED, "version 'gemv'"},
        {CONFIG("{'quant_method':'awq','bits':4,'group_size':128,'zero_point':false}"), ERR_UNSUPPORTED, "zero_point"},
        {CONFIG("{'quant_method':'awq','bits':4,'group_size':128,'modules_to_not_convert':['a*']}"), ERR_FORMAT, "expected names"},
        {CONFIG("{'quant_method':'awq','bits':4,'group_size':48}"), ERR_UNSUPPORTED, "group_size 48"},
        {CONFIG("{'quant_method':'gptq','bits':4,'group_size':-1}"), ERR_UNSUPPORTED, "group_size -1"},
        {CONFIG("{'quant_method':'gptq','bits':4,'group_size':32,'checkpoint_format':'gptq_v2'}"), ERR_UNSUPPORTED, "gptq_v2"},
        {CONFIG("{'quant_method':'gptq','bits':4,'group_size':32,'dynamic':{'+:x':{'bits':8}}}"), ERR_UNSUPPORTED, "dynamic pattern"},
        {CONFIG("{'quant_method':'gptq','bits':4,'group_size':32,'dynamic':[]}"), ERR_FORMAT, "expected an object"},
        {CONFIG("{'quant_method':'gptq','bits':4,'group_size':32,'modules_in_block_to_quantize':[]}"), ERR_UNSUPPORTED, "too few"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct quant_rules *r = NULL;
        struct error err = ERROR_INIT;
        if (open_rules(&r, rows[i].config, &err) || err.code != rows[i].code || !strstr(err.text, rows[i].says))
            fail_msg("%s: expected '%s', found '%s'", rows[i].config, rows[i].says, err.text);
        assert_null(r);
    }
}

/* ---- a checkpoint that is spoilt in one place (tests/vectors/engine/kimi_int4, packed by compressed-tensors) ---- */

#define SOURCE "tests/vectors/engine/kimi_int4"

/* A copy with `n` bytes of one tensor overwritten from `offset`, or with `from` replaced by `to` in config.json. */
struct spoil {
    const char *tensor;
    uint64_t offset;
    const void *bytes;
    size_t n;
    const char *from, *to;
};

static const char *spoilt(const struct spoil *s)
{
    const char *dir = check_folder();
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    CLEANUP_BUFFER struct buffer weights = {0}, config = {0};
    char path[512], text[8192];
    CHECK_OK(folder_open(&f, SOURCE, e_));
    CHECK_OK(checkpoint_open(&ck, f, e_));
    CHECK_OK(folder_load(f, "model.safetensors", 1 << 20, &weights, e_));
    CHECK_OK(folder_load(f, "config.json", 1 << 20, &config, e_));
    if (s->tensor) {
        uint32_t i = checkpoint_find(ck, s->tensor);
        assert_true(i != NAME_NONE);
        memcpy(weights.data + checkpoint_tensor(ck, i)->offset + s->offset, s->bytes, s->n);
    }
    snprintf(text, sizeof text, "%.*s", (int)config.size, (const char *)config.data);
    if (s->from) {
        char *at = strstr(text, s->from), rest[8192];
        assert_non_null(at);
        snprintf(rest, sizeof rest, "%s", at + strlen(s->from));
        snprintf(at, sizeof text - (size_t)(at - text), "%s%s", s->to, rest);
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    CHECK_OK(file_save(path, buffer_view(&weights), 0666, e_));
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK_OK(file_save(path, bytes_text(text), 0666, e_));
    return dir;
}

/* Opens the folder and runs a text through it. */
static bool run(const char *dir, struct error *err)
{
    static const uint32_t ids[] = {1, 2, 3, 40, 50, 60, 7, 8, 9};
    struct model m = {0};
    CLEANUP(engine) struct engine *e = NULL;
    CLEANUP(stream) struct stream *s = NULL;
    struct engine_options o = {.isa = isa_detected(), .quantize_inputs = true};
    bool ok = model_open(&m, dir, err) && engine_open(&e, m.inventory, &o, err) &&
              stream_open(&s, e, &(struct text_ids){ids, 9}, 1, NULL, err);
    for (uint32_t b = 0; ok && b < engine_config(e)->n_blocks; b++) ok = stream_block(s, b, NULL, NULL, err);
    stream_close(take_ptr(&s));
    engine_close(take_ptr(&e));
    model_close(&m);
    return ok;
}

static void test_spoilt(void **state)
{
    (void)state;
    static const uint8_t nan[] = {0xc0, 0x7f}, negative[] = {0x80, 0xbf}, rows[] = {65, 0, 0, 0};
#define UP "model.layers.1.mlp.experts.0.up_proj"
    static const struct {
        struct spoil spoil;
        const char *says; /* NULL: it runs */
    } cases[] = {
        {{0}, NULL},
        {{.tensor = UP ".weight_scale", .offset = 6, .bytes = nan, .n = 2}, UP ".weight_scale' holds nan in row 1"},
        {{.tensor = UP ".weight_scale", .offset = 6, .bytes = negative, .n = 2}, "holds -1 in row 1"},
        {{.tensor = UP ".weight_shape", .bytes = rows, .n = 4}, UP ".weight_shape' says [65, 64], expected [64, 64]"},
        {{.from = "\"group_size\": 32", .to = "\"group_size\": 64"}, "says INT4_G64, the tensors are stored as INT4_G32"},
        {{.from = "\"re:.*self_attn.*\",", .to = ""}, "says INT4_G32, the tensors are stored as plain numbers"},
        {{.from = "\"lm_head\",", .to = "\"re:.*experts.*\","}, "says not quantized, the tensors are stored as INT4_G32"},
        {{.from = "\"quantization_config\"", .to = "\"nothing\""}, "neither config.json nor hf_quant_config.json says so"},
        {{.from = "\"moe_intermediate_size\": 64", .to = "\"moe_intermediate_size\": 48"}, "expected shape [48, 8]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *dir = spoilt(&cases[i].spoil);
        struct error err = ERROR_INIT;
        bool ok = run(dir, &err);
        if (ok != !cases[i].says || (!ok && !strstr(err.text, cases[i].says)))
            fail_msg("case %zu: expected '%s', found '%s'", i, cases[i].says ? cases[i].says : "success", err.text);
        check_folder_remove(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_resolve), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_spoilt)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
