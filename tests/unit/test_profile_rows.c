#include "tests/checks.h"

#include "core/embed.h"
#include "core/text.h"
#include "pack/profile_rows.h"

static void test_built_in(void **state)
{
    (void)state;
    CLEANUP(profile_rows) struct profile_rows *rows = NULL;
    CHECK_OK(profile_rows_open(&rows, e_));
    /* Compute capabilities of the vendor's list; usable memory stays below what NVML reports for the card (MiB, a
     * public table). */
    static const struct {
        const char *id;
        uint32_t capability;
        bool fp8, nvfp4, unified;
        const char *arch;
        uint64_t nvml_mib;
    } gpus[] = {
        {"a100-40", 80, false, false, false, "x86_64", 40960},
        {"a100", 80, false, false, false, "x86_64", 81920},
        {"a10g", 86, false, false, false, "x86_64", 23028},
        {"orin-64", 87, false, false, true, "aarch64", 65536},
        {"l40s", 89, true, false, false, "x86_64", 46068},
        {"rtx4090", 89, true, false, false, "x86_64", 24564},
        {"h100", 90, true, false, false, "x86_64", 81559},
        {"h200", 90, true, false, false, "x86_64", 143771},
        {"b200", 100, true, true, false, "x86_64", 183359},
        {"gb200", 100, true, true, false, "aarch64", 190000},
        {"b300", 103, true, true, false, "x86_64", 288 * 1024},
        {"thor", 110, true, true, true, "aarch64", 131072},
        {"rtxpro6000", 120, true, true, false, "x86_64", 97887},
        {"rtx5090", 120, true, true, false, "x86_64", 32607},
        {"gb10", 121, true, true, true, "aarch64", 131072},
        {"dgx-spark", 121, true, true, true, "aarch64", 131072},
    };
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) {
        const struct gpu_row *g = gpu_row_find(rows, gpus[i].id);
        if (!g) fail_msg("no GPU %s", gpus[i].id);
        assert_int_equal(g->capability, gpus[i].capability);
        assert_true(g->fp8 == gpus[i].fp8 && g->nvfp4 == gpus[i].nvfp4 && g->unified == gpus[i].unified);
        assert_string_equal(g->arch, gpus[i].arch);
        if (g->memory_bytes >> 20 > gpus[i].nvml_mib || g->memory_bytes >> 20 < gpus[i].nvml_mib * 8 / 10)
            fail_msg("%s: %llu MiB against %llu", g->id, (unsigned long long)(g->memory_bytes >> 20),
                     (unsigned long long)gpus[i].nvml_mib);
        assert_true(g->bandwidth_gb_s > 0 && (g->utilisation_max_permille == 850) == g->unified);
    }
    assert_ptr_equal(gpu_row_find(rows, "spark"), gpu_row_find(rows, "gb10"));
    assert_null(gpu_row_find(rows, "h300"));
    assert_int_equal(gpu_row_find(rows, "rubin")->memory_bytes, 0);

    const struct engine_row *e = engine_row_find(rows, "vllm", "0.17.1");
    assert_non_null(e);
    assert_int_equal(e->utilisation_permille, 900);
    assert_string_equal(e->writer, "vllm");
    assert_true(row_lists(e->quant_algos, "MIXED_PRECISION") && !row_lists(e->quant_algos, "W4A16_NVFP4"));
    assert_true(row_lists(e->flags, "mamba-ssm-cache-dtype") && !row_lists(e->flags, "mamba-backend"));
    assert_true(row_lists(e->reasoning_parsers, "nemotron_v3") && !row_lists(e->reasoning_parsers, "nano_v3"));
    static const struct {
        const char *algo, *gpu, *path;
    } paths[] = {{"NVFP4", "b200", "w4a4"},  {"NVFP4", "h100", "w4a16"},   {"NVFP4", "a100", "w4a16"},
                 {"NVFP4", "gb10", "w4a16"}, {"NVFP4", "rtx5090", "w4a4"}, {"FP8", "a100", NULL},
                 {"FP8", "l40s", "w8a8"},    {"FP8", "gb10", "w8a8"},      {"MXFP8", "b200", NULL}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const struct compute_row *c = engine_compute(e, paths[i].algo, gpu_row_find(rows, paths[i].gpu));
        if (!paths[i].path) assert_null(c);
        else assert_string_equal(c->path, paths[i].path);
    }
    assert_int_equal(e->kv_group_stretch_percent, 125);
    assert_null(engine_row_find(rows, "vllm", "0.28.0")->writer);
    const struct engine_row *later = engine_row_find(rows, "vllm", "0.22.0");
    assert_true(later->utilisation_permille == 920 && later->kv_group_stretch_percent == 150 && later->ssm_rounding);
    assert_true(row_lists(later->quant_algos, "W4A16_NVFP4") && !*later->remote_code);
    assert_string_equal(later->ssm_fallback, "float32");
    assert_null(engine_row_find(rows, "vllm", "0.17"));
}

#define GRADES "grades: {a: 'x'}\ngpus:\n"
#define ENGINE(more) "engines:\n  - {engine: e, version: '1'" more "}\n"

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *gpus, *engines, *why;
    } rows[] = {
        {GRADES "  - {id: g, name: G, memory_gib: 8}\n", ENGINE(""), "no grade for key 'memory_gib'"},
        {GRADES "  - {id: g, name: G, memory_gib: 8, grade: {memory_gib: b}}\n", ENGINE(""),
         "not in the grades map: 'b'"},
        {GRADES "  - {id: g, name: G, memory_gib: -1, grade: {memory_gib: a}}\n", ENGINE(""),
         "out of range: key 'memory_gib'"},
        {GRADES "  - {id: g, name: G, memory_gib: x, grade: {memory_gib: a}}\n", ENGINE(""), "memory_gib"},
        {GRADES "  - {id: g, name: G, capability: 9.0, grade: {capability: a}}\n", ENGINE(""), "expected a string"},
        {GRADES "  - {id: g, name: G, capability: '9', grade: {capability: a}}\n", ENGINE(""),
         "expected a capability like"},
        {GRADES "  - {id: g, name: G, vram: 8}\n", ENGINE(""), "unknown key 'vram'"},
        {GRADES "  - {id: g}\n", ENGINE(""), "key 'name' is missing"},
        {GRADES "  - {id: g, name: G}\n  - {id: h, name: H, aliases: [g]}\n", ENGINE(""), "there twice: 'g'"},
        {GRADES "  - {id: g, name: G, aliases: [1]}\n", ENGINE(""), "a list of words"},
        {"gpus: []\n", ENGINE(""), "key 'grades' is missing"},
        {GRADES "  []\n", "engines:\n  - {engine: e, version: '1'}\n  - {engine: e, version: '1'}\n",
         "there twice: '1'"},
        {GRADES "  []\n", ENGINE(", writer: vllm"), "no fact 'utilisation'"},
        {GRADES "  []\n", ENGINE(", writer: vllm, utilisation: {is: 0.9}"),
         "expected {is: ..., from: ...} for key 'utilisation'"},
        {GRADES "  []\n", ENGINE(", color: red"), "unknown key 'color'"},
        {GRADES "  []\n", "", "profiles/engines.yaml"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(profile_rows) struct profile_rows *out = NULL;
        CHECK_FAILS(profile_rows_read(&out, bytes_text(rows[i].gpus), bytes_text(rows[i].engines), e_), ERR_FORMAT,
                    rows[i].why);
        assert_null(out);
    }
}

/* The built-in engines with one text replaced by another. */
static bool read_changed(const char *from, const char *to, struct error *err)
{
    const struct embedded_file *f = embedded_files;
    while (strcmp(f->path, "profiles/engines.yaml") != 0) f++;
    const char *text = (const char *)f->data, *at = strstr(text, from);
    if (!at) fail_msg("the table has no '%s'", from);
    struct text t = TEXT_INIT;
    text_put(&t, text, (size_t)(at - text));
    text_add(&t, "%s", to);
    text_put(&t, at + strlen(from), f->size - (size_t)(at - text) - strlen(from));
    CLEANUP(profile_rows) struct profile_rows *out = NULL;
    bool ok = profile_rows_read(&out, bytes_text(GRADES "  []\n"), bytes_of(t.data, t.size), err);
    text_free(&t);
    return ok;
}

static void test_changed(void **state)
{
    (void)state;
    CHECK_OK(read_changed("0.9,", "0.91,", e_));
    static const struct {
        const char *from, *to, *why;
    } rows[] = {
        {"moe-backend: marlin", "moe-back-end: marlin", "not a flag of this version: 'moe-back-end'"},
        {"moe-backend: marlin", "moe-backend: \"no\"", "not a plain word: 'no'"},
        {"moe-backend: marlin", "moe-backend: \"a b\"", "not a plain word: 'a b'"},
        {"moe-backend: marlin", "moe-backend: 1", "expected a text for 'moe-backend'"},
        {"VLLM_USE_FLASHINFER_MOE_FP4: \"1\"", "VLLM_USE_FLASHINFER_MOE_FP4: \"$1\"", "not a plain word: '$1'"},
        {"reasoning: nemotron_v3", "reasoning: nano_v3", "not a parser of this version: 'nano_v3'"},
        {"reasoning: nemotron_v3", "reasonings: nemotron_v3", "unknown key 'reasonings'"},
        {"template_has: [enable_thinking, \"<think>\", \"</think>\"]", "template_has: []",
         "any template would justify"},
        {"kv_dtypes: {is: [auto,", "kv_dtypes: {is: [\"on\",", "not a plain word: 'on'"},
        {"capability: \"7.5\", path", "capability: 7.5, path", "expected a string"},
        {"mtp_layers_max: {is: 1,", "mtp_layers_max: {is: 0,", "from 1 to"},
        {"quantized_tables: {is: false,", "quantized_tables: {is: 0,", "expected true or false"},
        {"ssm_rounding: {is: false, from: \"no", "ssm_rounding: {is: false, form: \"no",
         "expected {is: ..., from: ...}"},
        {"by: Marlin, from: \"marlin_utils_fp4.py", "by: Marlin, form: \"marlin_utils_fp4.py", "unknown key 'form'"},
        {"when: {experts: NVFP4, gpus", "when: {expert: NVFP4, gpus", "unknown key 'expert'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_FAILS(read_changed(rows[i].from, rows[i].to, e_), ERR_FORMAT, rows[i].why);
}

static void test_words(void **state)
{
    (void)state;
    static const char *const plain[] = {"fp8", "float32", "qwen3_coder", "granite-20b-fc"}, *const other[] = {
                                                                                                "",     "1",  "no",
                                                                                                "true", "A",  "a b",
                                                                                                "a:",   "-a", "~",
                                                                                                "null"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) assert_true(row_word_is_plain(plain[i]));
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) assert_false(row_word_is_plain(other[i]));
}

static void test_versions(void **state)
{
    (void)state;
    static const char *const rising[] = {"0.5.9",    "0.12",      "0.15.1", "0.17.1",  "0.22.0", "1.3.0rc4",
                                         "1.3.0rc9", "1.3.0rc14", "1.3.0",  "1.3.0.1", "1.4"};
    for (size_t i = 0; i < sizeof rising / sizeof *rising; i++)
        for (size_t k = 0; k < sizeof rising / sizeof *rising; k++) {
            int want = i < k ? -1 : i > k;
            if (version_compare(rising[i], rising[k]) != want) fail_msg("%s against %s", rising[i], rising[k]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_built_in), cmocka_unit_test(test_refuses),
                                       cmocka_unit_test(test_changed), cmocka_unit_test(test_words),
                                       cmocka_unit_test(test_versions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
