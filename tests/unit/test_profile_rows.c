#include "tests/checks.h"

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
    static const struct { const char *algo, *gpu, *path;
    } paths[] = {{"NVFP4", "b200", "w4a4"},  {"NVFP4", "h100", "w4a16"},   {"NVFP4", "a100", "w4a16"},
                 {"NVFP4", "gb10", "w4a16"}, {"NVFP4", "rtx5090", "w4a4"}, {"FP8", "a100", NULL},
                 {"FP8", "l40s", "w8a8"},    {"FP8", "gb10", "w8a8"},      {"MXFP8", "b200", NULL}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const struct compute_row *c = engine_compute(e, paths[i].algo, gpu_row_find(rows, paths[i].gpu));
        if (!paths[i].path) assert_null(c);
        else assert_string_equal(c->path, paths[i].path);
    }
    assert_null(engine_row_find(rows, "vllm", "0.22.0")->writer);
    assert_null(engine_row_find(rows, "vllm", "0.17"));
}

#define GRADES "grades: {a: 'x'}\ngpus:\n"
#define ENGINE(more) "engines:\n  - {engine: e, version: '1'" more "}\n"

static void test_refuses(void **state)
{
    (void)state;
    static const struct { const char *gpus, *engines, *why; } rows[] = {
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
                                       cmocka_unit_test(test_versions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
