/* ModelOpt's recipe files in every form their grammar has, against rules that were worked out by hand from its documentation
 * (docs/source/guides/10_recipes.rst and _quant_cfg.rst of the project); and what is refused, with file and line. */
#include "plan/recipe_foreign.h"
#include "tests/checks.h"

#include "core/file.h"
#include "core/text.h"

#include <sys/stat.h>

static const char *dir;

static int setup(void **state)
{
    (void)state;
    dir = check_folder();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_folder_remove(dir);
    return 0;
}

/* Writes `name` below the folder, with the folders it needs. */
static void put(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    for (char *p = path + strlen(dir) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        if (mkdir(path, 0777) != 0 && access(path, F_OK) != 0) fail_msg("cannot make %s", path);
        *p = '/';
    }
    CHECK_OK(file_save(path, bytes_text(text), 0666, e_));
}

static bool translate(const char *name, const char *text, json_t **out, struct error *err)
{
    char path[512];
    CLEANUP(yaml) struct yaml *docs = NULL;
    *out = NULL;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (text) put(name, text);
    CLEANUP_BUFFER struct buffer b = {0};
    return file_load(-100 /* AT_FDCWD */, path, 1u << 20, &b, err) &&
           yaml_parse_documents(buffer_view(&b), path, &docs, err) &&
           modelopt_is_recipe(json_array_get(yaml_root(docs), 0)) && modelopt_recipe(docs, NULL, path, out, err);
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
    CHECK_OK(text_take(&t, &out, NULL, e_));
    return out;
}

static void expect(const char *name, const char *text, const char *want)
{
    CLEANUP(json) json_t *got = NULL;
    struct error e = ERROR_INIT;
    if (!translate(name, text, &got, &e)) fail_msg("%s: %s", text ? text : name, e.text);
    char *rules = rules_text(got);
    assert_string_equal(rules, want);
    free(rules);
}

#define HEAD "metadata: {recipe_type: ptq, description: d}\n"
#define OFF "{\"quantizer\":\"*\",\"type\":\"off\"}\n"
#define W(more) "{\"quantizer\":\"*weight_quantizer\"" more "}\n"
#define I(more) "{\"quantizer\":\"*input_quantizer\"" more "}\n"
#define DISABLE "    - {quantizer_name: '*', enable: false}\n"

static void test_inline(void **state)
{
    (void)state;
    expect("r.yaml",
           HEAD "quantize:\n  algorithm: max\n  quant_cfg:\n" DISABLE
                "    - quantizer_name: '*weight_quantizer'\n      enable: true\n      cfg:\n"
                "        block_sizes:\n          -1: 16\n          type: dynamic\n          scale_bits: e4m3\n        num_bits: e2m1\n"
                "    - {quantizer_name: '*input_quantizer', cfg: {num_bits: E4M3, axis: }}\n"
                "    - {quantizer_name: '*.experts.*input_quantizer', cfg: {num_bits: [2, 1], block_sizes: {-1: 16, type: dynamic, "
                "scale_bits: [4, 3]}, constant_amax: 2688.0}}\n"
                "    - {quantizer_name: '*[kv]_bmm_quantizer', cfg: {num_bits: e4m3, use_constant_amax: true}}\n"
                "    - {parent_class: nn.Embedding, quantizer_name: '*', enable: false}\n"
                "    - {quantizer_name: '*lm_head*', enable: true}\n",
           OFF W(",\"type\":\"nvfp4\"") I(",\"type\":\"fp8\"")
           "{\"amax\":2688.0,\"quantizer\":\"*.experts.*input_quantizer\",\"type\":\"nvfp4\"}\n"
           "{\"constant\":true,\"quantizer\":\"*[kv]_bmm_quantizer\",\"type\":\"fp8\"}\n"
           "{\"class\":\"Embedding\",\"quantizer\":\"*\",\"type\":\"off\"}\n"
           "{\"enable\":true,\"quantizer\":\"*lm_head*\"}\n");
}

/* Every type, in the attributes of ModelOpt's presets. */
static void test_types(void **state)
{
    (void)state;
    static const struct { const char *cfg, *want; } rows[] = {
        {"num_bits: e4m3, axis: 0", ",\"type\":\"fp8_channel\""},
        {"num_bits: e4m3, block_sizes: {-1: 128, -2: 128}", ",\"type\":\"fp8_block\""},
        {"num_bits: e4m3, block_sizes: {-1: 32, type: dynamic, scale_bits: e8m0}", ",\"type\":\"mxfp8\""},
        {"num_bits: e2m1, block_sizes: {-1: 32, type: dynamic, scale_bits: e8m0}", ",\"type\":\"mxfp4\""},
        {"num_bits: 4, block_sizes: {-1: 128, type: static}", "{\"group\":128,\"quantizer\":\"*weight_quantizer\",\"type\":\"int4\"}"},
        {"num_bits: 4, block_sizes: {-1: 64}", "\"group\":64,"},
        {"num_bits: 8, axis: 0", "INT8 per channel is no type"},
        {"num_bits: e3m2, block_sizes: {-1: 32, type: dynamic, scale_bits: e8m0}", "E3M2 in blocks of 32 with E8M0 scales is no type"},
        {"num_bits: e2m1, block_sizes: {-1: 32, type: dynamic, scale_bits: e4m3}", "E2M1 in blocks of 32 with E4M3 scales is no type"},
        {"num_bits: e5m2", "E5M2 is no type"},
        {"num_bits: e4m3, rotate: true", "'rotate' of a quantizer is not supported"},
        {"num_bits: e4m3, bias: {-2: , type: static}", "'bias' of a quantizer is not supported"},
        {"num_bits: e4m3, calibrator: histogram", "calibrators other than max"},
        {"fake_quant: false", "INT8 is no type"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        CLEANUP(json) json_t *got = NULL;
        snprintf(text, sizeof text, HEAD "quantize:\n  quant_cfg:\n" DISABLE "    - {quantizer_name: '*weight_quantizer', cfg: {%s}}\n",
                 rows[i].cfg);
        CHECK_OK(translate("t.yaml", text, &got, e_));
        char *rules = rules_text(got);
        if (!strstr(rules, rows[i].want)) fail_msg("%s: %s has no %s", rows[i].cfg, rules, rows[i].want);
        free(rules);
    }
    expect("t.yaml", HEAD "quantize:\n  quant_cfg:\n" DISABLE
           "    - {quantizer_name: '*input_quantizer', cfg: {num_bits: e4m3, type: dynamic, block_sizes: {-1: }}}\n"
           "    - {quantizer_name: '*input_quantizer', cfg: {num_bits: e4m3, block_sizes: {-1: 128, type: dynamic}}}\n"
           "    - {quantizer_name: '*weight_quantizer', cfg: [{num_bits: 4, block_sizes: {-1: 128}}, {num_bits: e4m3}]}\n"
           "    - {quantizer_name: '*weight_quantizer', cfg: [{num_bits: e4m3}]}\n"
           "    - {quantizer_name: '*weight_quantizer', cfg: {num_bits: e4m3, axis: 0}, enable: false}\n"
           "    - {quantizer_name: '*q_bmm_quantizer', cfg: {}, enable: false}\n",
           OFF I(",\"type\":\"fp8_token\"") I(",\"type\":\"fp8_group\"")
           "{\"quantizer\":\"*weight_quantizer\",\"refuse\":\"one type after another is not supported\"}\n"
           W(",\"type\":\"fp8\"") W(",\"type\":\"fp8_channel\"") W(",\"type\":\"off\"") "{\"quantizer\":\"*q_bmm_quantizer\",\"type\":\"off\"}\n");
}

#define NVFP4(type) "{num_bits: e2m1, block_sizes: {-1: 16, type: " type ", scale_bits: e4m3}}"
#define LINES "  quant_cfg:\n" DISABLE "    - {quantizer_name: '*weight_quantizer', cfg: " NVFP4("static") "}\n" \
              "    - {quantizer_name: '*dyn*weight_quantizer', cfg: " NVFP4("dynamic") "}\n" \
              "    - {quantizer_name: '*fp8*weight_quantizer', cfg: {num_bits: e4m3}}\n" \
              "    - {quantizer_name: '*input_quantizer', cfg: " NVFP4("dynamic") "}\n"
#define NV ",\"type\":\"nvfp4\"}\n"

/* Which of static NVFP4, dynamic NVFP4, FP8 and inputs an algorithm touches. */
static void test_algorithms(void **state)
{
    (void)state;
#define RANGE(a, b, c) "\"scales\":{\"method\":\"mse\",\"start\":" a ",\"step\":" c ",\"stop\":" b "}"
#define SOLVE(x) ",\"solve\":" x
#define DYN "{\"quantizer\":\"*dyn*weight_quantizer\""
#define FP8 "{\"quantizer\":\"*fp8*weight_quantizer\""
#define TAIL "{\"quantizer\":\"*input_quantizer\"" NV
    static const struct { const char *algorithm, *want; } rows[] = {
        {"max", OFF "{\"quantizer\":\"*weight_quantizer\"" NV DYN NV FP8 ",\"type\":\"fp8\"}\n" TAIL},
        {"", OFF "{\"quantizer\":\"*weight_quantizer\"" NV DYN NV FP8 ",\"type\":\"fp8\"}\n" TAIL},
        {"{method: max, layerwise: {enable: false}, skip_forward_without_activation_calib: true}",
         OFF "{\"quantizer\":\"*weight_quantizer\"" NV DYN NV FP8 ",\"type\":\"fp8\"}\n" TAIL},
        {"{method: mse, fp8_scale_sweep: true, layerwise: false}",
         OFF "{\"quantizer\":\"*weight_quantizer\",\"scales\":\"mse\"" NV DYN NV FP8 ",\"type\":\"fp8\"}\n" TAIL},
        {"{method: local_hessian}", OFF "{\"quantizer\":\"*weight_quantizer\",\"scales\":\"local_hessian\"" NV DYN NV FP8 ",\"type\":\"fp8\"}\n" TAIL},
        {"[mse]", OFF "{\"quantizer\":\"*weight_quantizer\"," RANGE("0.25", "4.0", "0.10000000000000001") NV DYN NV FP8 "," RANGE("0.25", "4.0", "0.10000000000000001") ",\"type\":\"fp8\"}\n" TAIL},
        {"{method: mse, start_multiplier: 1.0, stop_multiplier: 2.0, step_size: 0.5}",
         OFF "{\"quantizer\":\"*weight_quantizer\"," RANGE("1.0", "2.0", "0.5") NV DYN NV FP8 "," RANGE("1.0", "2.0", "0.5") ",\"type\":\"fp8\"}\n" TAIL},
        {"{method: gptq, perc_damp: 0.05, block_size: 64}",
         OFF "{\"quantizer\":\"*weight_quantizer\"" SOLVE("{\"block\":64,\"damp\":0.050000000000000003,\"method\":\"gptq\"}") NV
         DYN SOLVE("{\"block\":64,\"damp\":0.050000000000000003,\"method\":\"gptq\"}") NV
         FP8 SOLVE("{\"block\":64,\"damp\":0.050000000000000003,\"method\":\"gptq\"}") ",\"type\":\"fp8\"}\n" TAIL},
        {"awq_lite", OFF "{\"quantizer\":\"*weight_quantizer\"" SOLVE("\"awq\"") NV DYN SOLVE("\"awq\"") NV FP8 SOLVE("\"awq\"") ",\"type\":\"fp8\"}\n" TAIL},
        {"awq_full", OFF "{\"quantizer\":\"*weight_quantizer\"" SOLVE("{\"clip\":true,\"method\":\"awq\"}") NV DYN SOLVE("{\"clip\":true,\"method\":\"awq\"}") NV FP8 SOLVE("{\"clip\":true,\"method\":\"awq\"}") ",\"type\":\"fp8\"}\n" TAIL},
        {"awq_clip", OFF "{\"quantizer\":\"*weight_quantizer\"" SOLVE("\"awq_clip\"") NV DYN SOLVE("\"awq_clip\"") NV FP8 SOLVE("\"awq_clip\"") ",\"type\":\"fp8\"}\n" TAIL},
        {"{method: svdquant, lowrank: 32}",
         OFF W(",\"refuse\":\"algorithm svdquant is not supported\"")
         DYN ",\"refuse\":\"algorithm svdquant is not supported\"}\n" FP8 ",\"refuse\":\"algorithm svdquant is not supported\"}\n" TAIL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024];
        snprintf(text, sizeof text, HEAD "quantize:\n  algorithm: %s\n" LINES, rows[i].algorithm);
        expect("a.yaml", text, rows[i].want);
    }
    expect("a.yaml",
           HEAD "quantize:\n  algorithm: {method: mse, fp8_scale_sweep: false, start_multiplier: 1.0, stop_multiplier: 1.5, step_size: 0.5}\n"
                "  quant_cfg:\n" DISABLE "    - {quantizer_name: '*weight_quantizer', cfg: {num_bits: e2m1, block_sizes: {-1: 16, type: static, "
                "scale_bits: e4m3, four_over_six: true}}}\n",
           OFF W(",\"scales\":\"four_over_six\",\"type\":\"nvfp4\""));
}

static void test_imports(void **state)
{
    (void)state;
    /* A dict value with an inline key over it; several names, later over earlier; a list's elements and one entry. */
    expect("i.yaml",
           "imports:\n  nvfp4: configs/numerics/nvfp4\n  fp8: configs/numerics/fp8\n  off: configs/ptq/units/base_disable_all\n"
           "  kv: configs/ptq/units/kv_fp8_cast.yaml\n" HEAD
           "quantize:\n  quant_cfg:\n    - $import: off\n"
           "    - quantizer_name: '*weight_quantizer'\n      cfg:\n        $import: nvfp4\n        block_sizes: {-1: 32, type: dynamic, scale_bits: e8m0}\n"
           "    - {quantizer_name: '*input_quantizer', cfg: {$import: [nvfp4, fp8], block_sizes: }}\n    - $import: kv\n",
           OFF W(",\"type\":\"mxfp4\"") I(",\"type\":\"fp8\"")
           "{\"constant\":true,\"quantizer\":\"*[kv]_bmm_quantizer\",\"type\":\"fp8\"}\n");
    /* Snippets of the recipe's own, as files beside it and in the folder above, with imports of their own. */
    put("lib/units/list.yaml", "# modelopt-schema: x\nimports: {n: lib/units/num}\n---\n- {quantizer_name: '*weight_quantizer', cfg: {$import: n}}\n"
                               "- {quantizer_name: '*lm_head*', enable: false}\n");
    put("lib/units/num.yml", "imports: {base: configs/numerics/nvfp4}\n$import: base\nconstant_amax:\n");
    put("ptq/near.yaml", "quantizer_name: '*input_quantizer'\ncfg: {num_bits: e4m3}\n");
    expect("ptq/r.yaml",
           "imports: {l: lib/units/list, near: near}\n" HEAD "quantize:\n  quant_cfg:\n" DISABLE "    - $import: l\n    - $import: near\n",
           OFF W(",\"type\":\"nvfp4\"") "{\"quantizer\":\"*lm_head*\",\"type\":\"off\"}\n" I(",\"type\":\"fp8\""));
    /* A whole preset, and one with its algorithm replaced. */
    expect("p.yaml", "imports: {preset: configs/ptq/presets/kv/nvfp4_cast}\n" HEAD "quantize:\n  $import: preset\n  quant_cfg:\n" DISABLE, OFF);
    CLEANUP(json) json_t *preset = NULL;
    CHECK_OK(translate("p.yaml", "imports: {preset: configs/ptq/presets/model/mxfp4_mlp_weight_only}\n" HEAD "quantize:\n  $import: preset\n", &preset, e_));
    assert_int_equal(json_array_size(json_object_get(preset, "rules")), 3 + 24);
    /* A preset by itself, and the folder above's file before the standard unit of that name. */
    put("configs/numerics/fp8.yaml", "num_bits: e4m3\naxis: 0\n");
    expect("q.yaml", "imports: {fp8: configs/numerics/fp8}\nalgorithm: max\nquant_cfg:\n" "- {quantizer_name: '*', enable: false}\n"
                     "- {quantizer_name: '*weight_quantizer', cfg: {$import: fp8}}\n",
           OFF W(",\"type\":\"fp8_channel\""));
    char path[512];
    snprintf(path, sizeof path, "%s/configs/numerics/fp8.yaml", dir);
    assert_int_equal(unlink(path), 0);
    /* Anchors and aliases. */
    expect("k.yaml", HEAD "quantize:\n  quant_cfg:\n" DISABLE "    - {quantizer_name: '*weight_quantizer', cfg: &a {num_bits: e4m3, axis: 0}}\n"
                          "    - {quantizer_name: '*input_quantizer', cfg: *a}\n",
           OFF W(",\"type\":\"fp8_channel\"") I(",\"type\":\"fp8_channel\""));
}

/* `ptq_cfg` with a mapping, as the first published revision had it: "default" counts before all others. */
static void test_older_forms(void **state)
{
    (void)state;
    expect("o.yml",
           HEAD "ptq_cfg:\n  algorithm: max\n  quant_cfg:\n    '*weight_quantizer':\n      num_bits: e4m3\n      axis:\n"
                "    '*input_quantizer': {num_bits: e4m3, axis: , enable: true}\n    default:\n      enable: false\n"
                "    '*lm_head*':\n      enable: false\n    nn.LeakyReLU:\n      '*':\n        enable: false\n"
                "    '*[kv]_bmm_quantizer':\n      num_bits: e4m3\n      enable: true\n",
           OFF W(",\"type\":\"fp8\"") I(",\"type\":\"fp8\"") "{\"quantizer\":\"*lm_head*\",\"type\":\"off\"}\n"
           "{\"class\":\"LeakyReLU\",\"quantizer\":\"*\",\"type\":\"off\"}\n{\"quantizer\":\"*[kv]_bmm_quantizer\",\"type\":\"fp8\"}\n");
    expect("o.yml", HEAD "quantize:\n  quant_cfg:\n    - default: {enable: false}\n    - '*weight_quantizer': {num_bits: e4m3}\n"
                         "    - nn.Linear: {'*input_quantizer': {num_bits: e4m3, enable: true}}\n",
           OFF W(",\"type\":\"fp8\"") "{\"class\":\"Linear\",\"quantizer\":\"*input_quantizer\",\"type\":\"fp8\"}\n");
    /* Without a first entry that switches all off, what no entry names is INT8. */
    CLEANUP(json) json_t *got = NULL;
    CHECK_OK(translate("o.yaml", HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*mlp*', cfg: {num_bits: e4m3}}\n", &got, e_));
    char *rules = rules_text(got);
    assert_non_null(strstr(rules, "ModelOpt's default is INT8"));
    free(rules);
}

/* A folder of metadata.yaml and quantize.yaml; names, notes and what else a recipe of ours has. */
static void test_folder_and_names(void **state)
{
    (void)state;
    char path[512];
    struct recipe *r;
    put("mine-fp8/metadata.yaml", "recipe_type: ptq\ndescription: what it does\n");
    put("mine-fp8/quantize.yml", "imports: {fp8: configs/ptq/units/w8a8_fp8_fp8}\nquant_cfg:\n  - {quantizer_name: '*', enable: false}\n  - $import: fp8\n");
    snprintf(path, sizeof path, "%s/mine-fp8", dir);
    CHECK_OK(recipe_load(&r, path, e_));
    assert_string_equal(r->name, "mine-fp8");
    assert_string_equal(r->summary, "what it does");
    assert_true(r->published && r->rounding == FP8_MODELOPT_CPU && r->unseen == UNSEEN_LAYER_MAX);
    assert_int_equal(r->n_lines, 3);
    assert_string_equal(r->lines[0].note, "quantize.yml: line 3");
    assert_string_equal(r->lines[2].note, "w8a8_fp8_fp8");
    recipe_free(r);
    put("named.yaml", HEAD "quantize:\n  quant_cfg:\n" DISABLE "    - {quantizer_name: '*weight_quantizer', cfg: {num_bits: e4m3}}\n");
    snprintf(path, sizeof path, "%s/named.yaml", dir);
    CHECK_OK(recipe_load(&r, path, e_));
    assert_string_equal(r->name, "named");
    recipe_free(r);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct { const char *text; enum error_code code; const char *why; } rows[] = {
        {HEAD, ERR_FORMAT, "x.yaml: key 'quantize' is missing"},
        {"metadata: {recipe_type: auto_quantize}\nauto_quantize: {}\n", ERR_UNSUPPORTED, "line 1: recipe_type 'auto_quantize'"},
        {HEAD "quantize: {algorithm: max}\n", ERR_FORMAT, "line 2: key 'quant_cfg' is missing"},
        {HEAD "quantize: {quant_cfg: 3}\n", ERR_FORMAT, "expected a list, found 3"},
        {HEAD "quantize: {quant_cfg: [], algorithms: max}\n", ERR_FORMAT, "unknown key 'algorithms'"},
        {HEAD "quantise: {}\nquantize: {quant_cfg: []}\n", ERR_FORMAT, "unknown key 'quantise'"},
        {HEAD "quantize:\n  algorithm: best\n  quant_cfg: []\n", ERR_FORMAT, "line 3: algorithm 'best' is not known"},
        {HEAD "quantize:\n  algorithm: {method: mse, fp8_sweep: true}\n  quant_cfg: []\n", ERR_FORMAT, "line 3: algorithm mse: unknown key 'fp8_sweep'"},
        {HEAD "quantize:\n  algorithm: {method: mse, step_size: 0}\n  quant_cfg: []\n", ERR_FORMAT, "are no range"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*'}\n", ERR_FORMAT, "line 4: quantizer '*': expected cfg, enable or both"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {}}\n", ERR_FORMAT, "line 4: quantizer '*': cfg is empty"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: 3, enable: false}\n", ERR_FORMAT, "line 4: key 'quantizer_name'"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', enable: off}\n", ERR_FORMAT, "line 4: key 'enable'"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {num_bits: e4m4}}\n", ERR_FORMAT, "line 4: key 'num_bits': E4M4 is no type of ModelOpt's"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {num_bits: four}}\n", ERR_FORMAT, "line 4: key 'num_bits': expected a number of bits"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {num_bits: 0}}\n", ERR_FORMAT, "key 'num_bits'"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {bits: 4}}\n", ERR_FORMAT, "line 4: unknown key 'bits'"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {num_bits: 4, block_sizes: {-1: 0}}}\n", ERR_FORMAT, "expected a positive number"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {num_bits: 4, block_sizes: {last: 1}}}\n", ERR_FORMAT, "block_sizes: unknown key 'last'"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {num_bits: 4, axis: 0, block_sizes: {-1: 16}}}\n", ERR_FORMAT, "exclude each other"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {num_bits: e4m3, constant_amax: -1}}\n", ERR_FORMAT, "expected a positive number"},
        {HEAD "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {num_bits: e4m3, block_sizes: {-1: 16, four_over_six: true}}}\n", ERR_FORMAT, "only for NVFP4 of type static"},
        {HEAD "quantize:\n  quant_cfg:\n    - $import: x\n", ERR_FORMAT, "line 4: $import 'x': `imports` of this file declares no such name"},
        {"imports: {x: configs/numerics/fp9}\n" HEAD "quantize: {quant_cfg: []}\n", ERR_FORMAT, "line 1: import 'configs/numerics/fp9' is neither a file"},
        {"imports: {x: /etc/passwd}\n" HEAD "quantize: {quant_cfg: []}\n", ERR_UNSUPPORTED, "without '..'"},
        {"imports: {x: ../other}\n" HEAD "quantize: {quant_cfg: []}\n", ERR_UNSUPPORTED, "without '..'"},
        {"imports: {x: x}\n" HEAD "quantize: {quant_cfg: []}\n", ERR_FORMAT, "imports itself"},
        {"imports: {x: b}\n" HEAD "quantize: {quant_cfg: []}\n", ERR_FORMAT, "imports itself"},
        {"imports: {x: }\n" HEAD "quantize: {quant_cfg: []}\n", ERR_FORMAT, "import 'x': expected a path"},
        {"imports: [x]\n" HEAD "quantize: {quant_cfg: []}\n", ERR_FORMAT, "key 'imports': expected names"},
        {"imports: {x: configs/ptq/units/kv_fp8}\n" HEAD "quantize: {$import: x}\n", ERR_FORMAT, "line 3: $import 'x' is a list"},
        {HEAD "quantize: &a {quant_cfg: [*a]}\n", ERR_FORMAT, "line 2: an alias inside what it stands for"},
        {HEAD "quantize: *b\n", ERR_FORMAT, "line 2: an alias without an anchor"},
        {HEAD "quantize: {}\n---\na: 1\n---\nb: 2\n", ERR_FORMAT, "found 3"},
    };
    json_t *got;
    put("b.yaml", "imports: {c: c}\nnum_bits: 4\n");
    put("c.yaml", "imports: {b: b}\nnum_bits: 4\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) CHECK_FAILS(translate("x.yaml", rows[i].text, &got, e_), rows[i].code, rows[i].why);
}

/* Small files that would be large when written out: each ends in an error, at once. */
static void test_bombs(void **state)
{
    (void)state;
    struct text t = TEXT_INIT;
    json_t *got;
    char *text;
    text_add(&t, HEAD "quantize:\n  quant_cfg:\n    - &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 20; i++)
        text_add(&t, "    - &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    CHECK_OK(text_take(&t, &text, NULL, e_));
    CHECK_FAILS(translate("bomb.yaml", text, &got, e_), ERR_FORMAT, "has more than 1000000 values");
    free(text);
    /* Lists that import a list twice, forty times over. */
    put("u0.yaml", "- {quantizer_name: '*', enable: false}\n");
    for (int i = 1; i <= 40; i++) {
        char name[32], body[160];
        snprintf(name, sizeof name, "u%d.yaml", i);
        snprintf(body, sizeof body, "imports: {a: u%d}\n---\n- $import: a\n- $import: a\n", i - 1);
        put(name, body);
    }
    CHECK_FAILS(translate("deep.yaml", "imports: {a: u40}\n" HEAD "quantize: {quant_cfg: [{$import: a}]}\n", &got, e_), ERR_FORMAT, "nested deeper than 16");
    struct text wide = TEXT_INIT;
    text_add(&wide, "imports: {a: u14}\n" HEAD "quantize:\n  quant_cfg:\n");
    for (int i = 0; i < 100; i++) text_add(&wide, "    - $import: a\n");
    CHECK_OK(text_take(&wide, &text, NULL, e_));
    CHECK_FAILS(translate("wide.yaml", text, &got, e_), ERR_FORMAT, "has more than 1000000 values");
    free(text);
}

/* Words that our grammar does not have become refusals of their rules, not of the file. */
static void test_settle(void **state)
{
    (void)state;
    json_t *r = json_pack("{s:s,s:[{s:s,s:s},{s:s,s:s,s:s},{s:s,s:s,s:{s:s},s:s}]}", "name", "t", "rules", "quantizer", "*", "type", "off",
                          "quantizer", "*a", "type", "no-such-type", "note", "here", "quantizer", "*b", "type", "fp8", "scales", "method",
                          "no-such-search", "note", "there");
    CHECK_OK(foreign_settle(r, e_));
    char *rules = rules_text(r);
    assert_true(strncmp(rules, OFF "{\"quantizer\":\"*a\",\"refuse\":\"key 'type': expected one of none, ", strlen(OFF) + 60) == 0);
    assert_non_null(strstr(rules, "\n{\"quantizer\":\"*b\",\"type\":\"fp8\"}\n"));
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(r, "rules"), 2), "note")),
                        "there; its search over multiples of the maximum is left out");
    free(rules);
    json_decref(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inline),  cmocka_unit_test(test_types), cmocka_unit_test(test_algorithms), cmocka_unit_test(test_imports),
        cmocka_unit_test(test_older_forms), cmocka_unit_test(test_folder_and_names), cmocka_unit_test(test_refused), cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_settle),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
