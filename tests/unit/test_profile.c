#include "tests/unit/test_profile_model.h"

#include "core/yaml.h"
#include "pack/profile.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TEMPLATE                                                                                                       \
    "{% if enable_thinking %}<think>{% else %}<think></think>{% endif %}<tool_call>\n<function=f>\n<parameter=p>\n"

struct scene {
    char root[64], model_dir[96], out[96];
    struct model m;
    struct profile_result r;
};

static void make_folders(struct scene *s)
{
    *s = (struct scene){0};
    snprintf(s->root, sizeof s->root, "%s", check_folder());
    snprintf(s->model_dir, sizeof s->model_dir, "%s/model", s->root);
    snprintf(s->out, sizeof s->out, "%s/profiles", s->root);
    assert_int_equal(mkdir(s->model_dir, 0777), 0);
}

static void begin(struct scene *s, const struct geometry *g, enum precision experts, enum precision linears, bool kv,
                  const char *ssm, const char *more)
{
    make_folders(s);
    if (!make_model(s->model_dir, g, experts, linears, kv, ssm, more)) {
        check_folder_remove(s->root);
        skip();
    }
}

static void finish(struct scene *s)
{
    profile_result_close(&s->r);
    model_close(&s->m);
    check_folder_remove(s->root);
}

static bool make(struct scene *s, const struct profile_request *req, struct error *err)
{
    profile_result_close(&s->r);
    return profile_make(&s->m, req, &s->r, err);
}

static bool save(struct scene *s, const struct profile_request *req, struct error *err)
{
    profile_result_close(&s->r);
    return profile_build(&s->m, req, s->out, NULL, &s->r, err);
}

static const char *file_text(const struct profile_result *r, const char *name)
{
    for (uint32_t i = 0; i < r->n_files; i++)
        if (strcmp(r->files[i].name, name) == 0) return r->files[i].text;
    fail_msg("no file %s", name);
    return NULL;
}

static uint64_t number_at(const json_t *j, const char *a, const char *b)
{
    json_t *v = json_object_get(json_object_get(j, a), b);
    if (!json_is_integer(v)) fail_msg("%s.%s is no number", a, b);
    return (uint64_t)json_integer_value(v);
}

static void has_note(const struct profile_result *r, const char *part, bool want)
{
    bool met = false;
    for (uint32_t i = 0; i < r->n_notes; i++) met |= strstr(r->notes[i], part) != NULL;
    if (met != want) fail_msg("note '%s' is %sthere", part, met ? "" : "not ");
}

static void has_finding(const struct profile_result *r, const char *id, bool want)
{
    bool met = false;
    for (uint32_t i = 0; i < r->lint.n; i++) met |= strcmp(r->lint.findings[i].rule->id, id) == 0;
    if (met != want) fail_msg("%s is %sfound", id, met ? "" : "not ");
}

/* The published NVFP4 Nano 30B on one RTX 5090 (32 GB, small overhead): every file in full. */
static void test_files(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, &nano, AS_NVFP4, AS_FP8, true, "float32",
          ",\"auto_map\":{\"AutoConfig\":\"configuration_nemotron_h.NemotronHConfig\"}");
    save_text(s.model_dir, "configuration_nemotron_h.py", "pass\n");
    save_text(s.model_dir, "chat_template.jinja", TEMPLATE);
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    struct profile_request req = {.engine = "vllm@0.17.1", .gpu = "b200:2", .context = 131072, .sequences = 32};
    CHECK_OK(save(&s, &req, e_));
    assert_string_equal(s.r.name, "vllm-0.17.1-b200x2-nvfp4-tp2");
    assert_string_equal(file_text(&s.r, "vllm.yaml"), "# vllm 0.17.1 on 2 b200. vllm serve MODEL --config vllm.yaml\n"
                                                      "trust-remote-code: true\n"
                                                      "tensor-parallel-size: 2\n"
                                                      "enable-expert-parallel: true\n"
                                                      "gpu-memory-utilization: 0.9\n"
                                                      "max-model-len: 131072\n"
                                                      "max-num-seqs: 32\n"
                                                      "kv-cache-dtype: fp8\n"
                                                      "mamba-ssm-cache-dtype: float32\n"
                                                      "no-enable-prefix-caching: true\n"
                                                      "reasoning-parser: nemotron_v3\n"
                                                      "enable-auto-tool-choice: true\n"
                                                      "tool-call-parser: qwen3_coder\n");
    assert_string_equal(file_text(&s.r, "env"),
                        "# vllm 0.17.1 on 2 b200. Environment of the server\nVLLM_USE_FLASHINFER_MOE_FP4=1\n");
    assert_string_equal(
        file_text(&s.r, "command.sh"),
        "#!/bin/sh\n"
        "# vllm 0.17.1 on 2 b200. The same as vllm.yaml and env; MODEL is the folder, more options may follow\n"
        "set -eu\n"
        "export VLLM_USE_FLASHINFER_MOE_FP4=1\n"
        "exec vllm serve \"${MODEL:-/models}\" \\\n"
        "    --trust-remote-code \\\n"
        "    --tensor-parallel-size 2 \\\n"
        "    --enable-expert-parallel \\\n"
        "    --gpu-memory-utilization 0.9 \\\n"
        "    --max-model-len 131072 \\\n"
        "    --max-num-seqs 32 \\\n"
        "    --kv-cache-dtype fp8 \\\n"
        "    --mamba-ssm-cache-dtype float32 \\\n"
        "    --no-enable-prefix-caching \\\n"
        "    --reasoning-parser nemotron_v3 \\\n"
        "    --enable-auto-tool-choice \\\n"
        "    --tool-call-parser qwen3_coder \\\n"
        "    \"$@\"\n");
    const json_t *j = s.r.json;
    assert_string_equal(json_string_value(json_object_get(j, "schema")), "ingot.profile/1");
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "ssm_state"), "config_json")), "float32");
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "ssm_state"), "engine")), "float32");
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "precision"), "quant_algo")),
                        "MIXED_PRECISION");
    assert_int_equal(number_at(j, "kv_cache", "scales"), 12);
    assert_int_equal(number_at(j, "fit", "kv_token_bytes"), 2 * 128 * 6); /* one of two heads per GPU */
    assert_int_equal(number_at(j, "fit", "ssm_slot_bytes"), 46u << 19);   /* 46 MiB over two GPUs */
    has_finding(&s.r, "SEC-01", true);
    finish(&s);
}

/* Bytes on one GPU against the published sizes of the files: 63.2, 32.4 and 19.6 GB. */
static void test_weights(void **state)
{
    (void)state;
    static const struct {
        enum precision experts, linears;
        double gb;
    } rows[] = {{AS_BF16, AS_BF16, 63.2}, {AS_FP8, AS_FP8, 32.4}, {AS_NVFP4, AS_FP8, 19.6}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scene s;
        begin(&s, &nano, rows[i].experts, rows[i].linears, rows[i].experts != AS_BF16, "float32", "");
        CHECK_OK(model_open(&s.m, s.model_dir, e_));
        double one = (double)fit_weights(s.m.inventory, 1, false), two = (double)fit_weights(s.m.inventory, 2, false);
        if (one / 1e9 < rows[i].gb - 0.06 || one / 1e9 > rows[i].gb + 0.06)
            fail_msg("%.3f GB, published %.1f", one / 1e9, rows[i].gb);
        assert_true(one == (double)checkpoint_bytes(s.m.checkpoint));
        assert_true(two > one / 2 && two < one * 0.505); /* router and norms are on both */
        finish(&s);
    }
}

/* The MTP head is on the GPU only when it is used. */
static void test_draft_weights(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, &tiny, AS_NVFP4, AS_FP8, true, "float32", "");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    /* Two blocks: norms, attention, experts, router, latents; enorm, hnorm, eh_proj, final norm; all bf16 but the
     * router's bias. */
    uint64_t attention = 2 * (512 * 512) + 2 * (128 * 512), experts = 8 * 2 * (256 * 128), shared = 2 * (512 * 512),
             rest = 8 * 512 + 2 * (128 * 512) + 512 * 1024 + 5 * 512;
    assert_int_equal(fit_weights(s.m.inventory, 1, true) - fit_weights(s.m.inventory, 1, false),
                     2 * (attention + experts + shared + rest) + 4 * 8);
    finish(&s);
}

/* The figure of the capacity table, from files: NVFP4 on one RTX 5090, 64 sequences of 28 k; FP8 on one L40S, 16 k. */
static void test_capacity(void **state)
{
    (void)state;
    static const struct {
        enum precision experts;
        const char *gpu, *name;
        double k;
        const char *others;
    } rows[] = {
        /* KV heads are copied from two GPUs on: 64 * 262144 tokens take 24 GiB on each, and eight cards keep 24.0 */
        {AS_NVFP4, "rtx5090", "vllm-0.17.1-rtx5090x1-nvfp4-tp1", 28, "no number of these GPUs"},
        {AS_FP8, "l40s:1", "vllm-0.17.1-l40sx1-fp8-tp1", 16, "; 4 of these GPUs would hold it"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scene s;
        begin(&s, &nano, rows[i].experts, AS_FP8, true, "float32", "");
        CHECK_OK(model_open(&s.m, s.model_dir, e_));
        struct profile_request req = {.engine = "vllm@0.17.1", .gpu = rows[i].gpu, .sequences = 64};
        CHECK_OK(make(&s, &req, e_));
        assert_string_equal(s.r.name, rows[i].name);
        double k = (double)s.r.facts->fit.max_context / 1000;
        if (k < rows[i].k - 1.1 || k > rows[i].k + 1.1) fail_msg("%.1f k, published %.0f", k, rows[i].k);
        has_note(&s.r, "instead of the default 262144", true);
        assert_true(s.r.facts->context % 1024 == 0 && s.r.facts->fit.fits &&
                    s.r.facts->context <= s.r.facts->fit.max_context);
        /* Nobody said how many: the context stays, the sequences give way. */
        req.sequences = 0;
        CHECK_OK(make(&s, &req, e_));
        assert_int_equal(s.r.facts->context, 262144);
        assert_true(s.r.facts->sequences >= 1 && s.r.facts->sequences < 64 && s.r.facts->fit.fits);
        has_note(&s.r, "sequences instead of the default 64", true);
        /* Both said: no. */
        req = (struct profile_request){.engine = "vllm@0.17.1", .gpu = rows[i].gpu, .context = 262144, .sequences = 64};
        CHECK_FAILS(make(&s, &req, e_), ERR_UNSUPPORTED, "CTX-02: 64 sequences of 262144 tokens need");
        CHECK_FAILS(make(&s, &req, e_), ERR_UNSUPPORTED, rows[i].others);
        req.force = true;
        CHECK_OK(make(&s, &req, e_));
        assert_true(json_is_true(json_object_get(s.r.json, "forced")) && s.r.lint.n_errors == 1);
        assert_int_equal(s.r.facts->sequences, 64);
        finish(&s);
    }
}

static void test_too_heavy(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, &nano, AS_BF16, AS_BF16, false, "float32", "");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    struct profile_request req = {.engine = "vllm@0.17.1", .gpu = "rtx5090"};
    /* 58.8 GiB and 2 against 31.4 * 0.9 = 28.3; two hold 56.5 less two overheads: four do. */
    CHECK_FAILS(
        make(&s, &req, e_), ERR_UNSUPPORTED,
        "CTX-02: 58.8 GiB of weights and 2.0 GiB overhead are 32.6 GiB more than the 28.3 GiB that each rtx5090");
    CHECK_FAILS(make(&s, &req, e_), ERR_UNSUPPORTED, "4 of these GPUs would hold it");
    /* What was not asked for may be small: two cards have 0.6 GiB left, enough for one sequence and not for 64 states.
     */
    struct profile_request small = {.engine = "vllm@0.17.1", .gpu = "orin-64", .utilisation = 0.62};
    CHECK_FAILS(make(&s, &small, e_), ERR_UNSUPPORTED, "; 2 of these GPUs would hold it");
    req.gpu = "rtx5090:4";
    CHECK_OK(make(&s, &req, e_));
    assert_string_equal(s.r.name, "vllm-0.17.1-rtx5090x4-bf16-tp4");
    assert_non_null(strstr(file_text(&s.r, "vllm.yaml"), "kv-cache-dtype: auto\n"));
    finish(&s);
}

static void test_targets(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, &tiny, AS_NVFP4, AS_FP8, true, "float32", "");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    static const struct {
        const char *engine, *gpu;
        enum error_code code;
        const char *why;
    } rows[] = {
        {"vllm", "b200", ERR_USAGE, "expected NAME@VERSION, as in vllm@0.17.1"},
        {"@0.17.1", "b200", ERR_USAGE, "expected NAME@VERSION"},
        {"vllm@", "b200", ERR_USAGE, "expected NAME@VERSION"},
        {"", "b200", ERR_USAGE, "expected NAME@VERSION"},
        {NULL, "b200", ERR_USAGE, "expected NAME@VERSION"},
        {"tgi@2.0", "b200", ERR_UNSUPPORTED, "engine 'tgi' is not known"},
        {"vllm@9.9.9", "b200", ERR_UNSUPPORTED, "version '9.9.9' of vllm is not known"},
        {"vllm@0.28.0", "b200", ERR_UNSUPPORTED, "of vllm 0.28.0 only single facts are known"},
        {"vllm@latest", "b200", ERR_UNSUPPORTED, "VER-01: 'vllm@latest' is not one release"},
        {"vllm@nightly", "b200", ERR_UNSUPPORTED, "VER-01"},
        {"vllm@0.17.1@sha256:12", "b200", ERR_USAGE, "64 lower-case hex digits"},
        {"vllm@0.17.1@", "b200", ERR_USAGE, "64 lower-case hex digits"},
        {"vllm@0.17.1", NULL, ERR_USAGE, "expected NAME:COUNT"},
        {"vllm@0.17.1", "", ERR_USAGE, "expected NAME:COUNT"},
        {"vllm@0.17.1", ":2", ERR_USAGE, "expected NAME:COUNT"},
        {"vllm@0.17.1", "b200:", ERR_USAGE, "a count from 1 to 4096"},
        {"vllm@0.17.1", "b200:0", ERR_USAGE, "a count from 1"},
        {"vllm@0.17.1", "b200:-1", ERR_USAGE, "a count from 1"},
        {"vllm@0.17.1", "b200:2x", ERR_USAGE, "a count from 1"},
        {"vllm@0.17.1", "b200:99999999999999999999", ERR_USAGE, "a count from 1"},
        {"vllm@0.17.1", "b200:2:2", ERR_USAGE, "a count from 1"},
        {"vllm@0.17.1", "h300", ERR_UNSUPPORTED, "GPU 'h300' is not known"},
        {"vllm@0.17.1", "rubin:8", ERR_UNSUPPORTED, "GPU 'rubin' (NVIDIA Rubin): its memory is not known"},
        {"vllm@0.17.1", "b200:3", ERR_UNSUPPORTED, "TP-01: 16 Mamba heads do not divide among 3 GPUs"},
        {"vllm@0.17.1", "b200:8", ERR_UNSUPPORTED, "TP-01: 4 Mamba groups do not divide among 8 GPUs"},
        {"vllm@0.17.1", "a100:2", ERR_UNSUPPORTED, "Q-04: vllm 0.17.1 cannot multiply FP8 weights on a100-80"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct profile_request req = {.engine = rows[i].engine, .gpu = rows[i].gpu};
        CHECK_FAILS(save(&s, &req, e_), rows[i].code, rows[i].why);
        assert_null(s.r.arena);
        assert_int_not_equal(access(s.out, F_OK), 0); /* nothing, not even the folder */
    }
    struct profile_request req = {.engine = "vllm@0.17.1", .gpu = "b200", .utilisation = 1.5};
    CHECK_FAILS(make(&s, &req, e_), ERR_USAGE, "memory utilisation 1.5");
    req.utilisation = 0.90005;
    CHECK_FAILS(make(&s, &req, e_), ERR_USAGE, "at most three decimals");
    req.utilisation = 0.855;
    CHECK_OK(make(&s, &req, e_));
    assert_non_null(strstr(file_text(&s.r, "vllm.yaml"), "gpu-memory-utilization: 0.855\n"));
    req.kv_dtype = "nvfp4";
    CHECK_FAILS(make(&s, &req, e_), ERR_USAGE, "KV cache type 'nvfp4' is not known to vllm 0.17.1");
    req.kv_dtype = "bfloat16";
    CHECK_OK(make(&s, &req, e_));
    assert_int_equal(number_at(s.r.json, "fit", "kv_token_bytes"), 2 * 64 * 2 * 2);
    req = (struct profile_request){.engine = "vllm@0.17.1", .gpu = "b200", .context = 8193};
    CHECK_FAILS(make(&s, &req, e_), ERR_UNSUPPORTED,
                "CTX-01: a context of 8193 tokens is more than max_position_embeddings 8192");
    req.long_context = true;
    CHECK_OK(make(&s, &req, e_));
    assert_non_null(strstr(file_text(&s.r, "env"), "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1\n"));
    assert_non_null(strstr(file_text(&s.r, "command.sh"), "export VLLM_ALLOW_LONG_MAX_MODEL_LEN=1\n"));
    req = (struct profile_request){
        .engine = "vllm@0.17.1@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", .gpu = "b200"};
    CHECK_OK(make(&s, &req, e_));
    has_finding(&s.r, "VER-01", false);
    assert_non_null(strstr(file_text(&s.r, "profile.json"), "\"image\": \"sha256:0011"));
    finish(&s);
}

static void read_file(const char *folder, const char *name, struct buffer *out)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_OK(file_load(AT_FDCWD, path, 1 << 20, out, e_));
}

static uint32_t entries(const char *folder)
{
    DIR *d = opendir(folder);
    uint32_t n = 0;
    if (!d) return 0;
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void test_writing(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, &tiny, AS_NVFP4, AS_FP8, true, "float32", "");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    struct profile_request req = {.engine = "vllm@0.17.1", .gpu = "b200:2", .sequences = 8};
    CHECK_OK(save(&s, &req, e_));
    assert_false(s.r.unchanged);
    assert_int_equal(entries(s.r.path), 4);
    struct stat st;
    char path[512];
    snprintf(path, sizeof path, "%s/command.sh", s.r.path);
    assert_true(stat(path, &st) == 0 && (st.st_mode & 0100));
    for (uint32_t i = 0; i < s.r.n_files; i++) {
        CLEANUP_BUFFER struct buffer b = {0};
        read_file(s.r.path, s.r.files[i].name, &b);
        assert_int_equal(b.size, s.r.files[i].size);
        check_bytes(b.data, s.r.files[i].text, b.size, s.r.files[i].name);
        /* Nothing of this machine or this moment. */
        assert_null(strstr((const char *)b.data, s.root));
    }
    /* Again: the same bytes, left alone; elsewhere: the same bytes. */
    CLEANUP(free) char *first = strdup(file_text(&s.r, "profile.json"));
    CHECK_OK(save(&s, &req, e_));
    assert_true(s.r.unchanged);
    assert_string_equal(file_text(&s.r, "profile.json"), first);
    /* Other bytes under the same name. */
    req.sequences = 9;
    CHECK_FAILS(save(&s, &req, e_), ERR_USAGE, "exists already");
    assert_int_equal(entries(s.out), 1);
    req.replace = true;
    CHECK_OK(save(&s, &req, e_));
    assert_false(s.r.unchanged);
    assert_int_equal(entries(s.out), 1);
    CLEANUP_BUFFER struct buffer yaml = {0};
    read_file(s.r.path, "vllm.yaml", &yaml);
    assert_non_null(strstr((const char *)yaml.data, "max-num-seqs: 9\n"));
    /* A file more, or a changed one, is not the same. */
    save_text(s.r.path, "extra", "x");
    req.replace = false;
    CHECK_FAILS(save(&s, &req, e_), ERR_USAGE, "exists already");
    finish(&s);
}

/* The list of options reads back from YAML as the command line has it: a stand-in for vllm prints its arguments. */
static void test_command(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, &tiny, AS_NVFP4, AS_NVFP4, true, "float32", "");
    save_text(s.model_dir, "chat_template.jinja", TEMPLATE);
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    struct profile_request req = {.engine = "vllm@0.17.1", .gpu = "gb10", .draft_tokens = 3, .sequences = 4};
    CHECK_OK(save(&s, &req, e_));
    assert_string_equal(s.r.name, "vllm-0.17.1-gb10x1-nvfp4-w4a16-tp1-mtp3");
    save_text(s.root, "vllm",
              "#!/bin/sh\nfor a in \"$@\"; do printf '%s\\n' \"$a\"; done\n"
              "printf 'env %s %s\\n' \"$VLLM_USE_FLASHINFER_MOE_FP4\" \"${VLLM_NVFP4_GEMM_BACKEND-unset}\"\n");
    char command[1024], line[512];
    snprintf(command, sizeof command, "chmod +x %s/vllm && PATH=%s:$PATH MODEL='/a b' sh %s/command.sh --port 1",
             s.root, s.root, s.r.path);
    struct text got = TEXT_INIT, want = TEXT_INIT;
    FILE *p = popen(command, "r");
    while (fgets(line, sizeof line, p)) text_add(&got, "%s", line);
    assert_int_equal(pclose(p), 0);
    CLEANUP(yaml) struct yaml *doc = NULL;
    CHECK_OK(yaml_parse(bytes_text(file_text(&s.r, "vllm.yaml")), "vllm.yaml", &doc, e_));
    text_add(&want, "serve\n/a b\n");
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)yaml_root(doc), key, v)
    {
        text_add(&want, "--%s\n", key);
        CLEANUP(free) char *dump = json_is_object(v) ? json_dumps(v, 0) : NULL;
        if (json_is_string(v)) text_add(&want, "%s\n", json_string_value(v));
        else if (json_is_integer(v)) text_add(&want, "%lld\n", (long long)json_integer_value(v));
        else if (json_is_real(v)) text_add(&want, "%g\n", json_real_value(v));
        else if (dump) text_add(&want, "%s\n", dump);
        else assert_true(json_is_true(v));
    }
    text_add(&want, "--port\n1\nenv 0 marlin\n");
    assert_string_equal(got.data, want.data);
    assert_non_null(strstr(want.data, "--speculative-config\n{\"method\": \"mtp\", \"num_speculative_tokens\": 3}\n"));
    assert_non_null(strstr(want.data, "--moe-backend\nmarlin\n"));
    assert_non_null(strstr(want.data, "--gpu-memory-utilization\n0.85\n"));
    assert_int_equal(number_at(s.r.json, "fit", "slots_per_sequence"), 4);
    assert_int_equal(number_at(s.r.json, "fit", "attention_layers"), 2);
    has_note(&s.r, "CPU and GPU of gb10 share the memory", true);
    has_finding(&s.r, "Q-02", true);
    text_free(&got);
    text_free(&want);
    finish(&s);
}

static void test_parsers(void **state)
{
    (void)state;
    static const struct {
        const char *jinja, *config;
        const char *reasoning, *tool;
    } rows[] = {
        {TEMPLATE, NULL, "nemotron_v3", "qwen3_coder"},
        {"{{ enable_thinking }} <think> </think> /no_think", NULL, NULL, NULL}, /* Nano v2's */
        {"<tool_call>{\"name\"", NULL, NULL, NULL},                             /* other calls */
        {"plain", NULL, NULL, NULL},
        {NULL, "{\"chat_template\": \"enable_thinking <think></think>\"}", "nemotron_v3", NULL},
        {NULL,
         "{\"chat_template\": [{\"name\": \"x\", \"template\": \"t\"}, "
         "{\"name\": \"default\", \"template\": \"<tool_call><function=<parameter=\"}]}",
         NULL, "qwen3_coder"},
        {NULL, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scene s;
        begin(&s, &tiny, AS_NVFP4, AS_FP8, true, "float32", "");
        if (rows[i].jinja) save_text(s.model_dir, "chat_template.jinja", rows[i].jinja);
        if (rows[i].config) save_text(s.model_dir, "tokenizer_config.json", rows[i].config);
        CHECK_OK(model_open(&s.m, s.model_dir, e_));
        struct profile_request req = {.engine = "vllm@0.17.1", .gpu = "b200"};
        CHECK_OK(make(&s, &req, e_));
        const char *yaml = file_text(&s.r, "vllm.yaml");
        assert_int_equal(strstr(yaml, "reasoning-parser: nemotron_v3\n") != NULL, rows[i].reasoning != NULL);
        assert_int_equal(strstr(yaml, "tool-call-parser: qwen3_coder\n") != NULL, rows[i].tool != NULL);
        assert_int_equal(strstr(yaml, "enable-auto-tool-choice: true\n") != NULL, rows[i].tool != NULL);
        has_note(&s.r, "no reasoning", !rows[i].reasoning);
        has_note(&s.r, rows[i].jinja || rows[i].config ? "no tool parser" : "no chat template", !rows[i].tool);
        finish(&s);
    }
}

/* What other folders get. */
static void test_variants(void **state)
{
    (void)state;
    struct scene s;
    /* A silent config.json: refused, with the reason; forced, the profile still says float32. */
    begin(&s, &tiny, AS_NVFP4, AS_FP8, true, NULL, "");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    struct profile_request req = {.engine = "vllm@0.17.1", .gpu = "b200"};
    CHECK_FAILS(make(&s, &req, e_), ERR_UNSUPPORTED, "SSM-04: config.json has no key 'mamba_ssm_cache_dtype'");
    req.force = true;
    CHECK_OK(make(&s, &req, e_));
    assert_non_null(strstr(file_text(&s.r, "vllm.yaml"), "mamba-ssm-cache-dtype: float32\n"));
    assert_true(json_is_null(json_object_get(json_object_get(s.r.json, "ssm_state"), "config_json")));
    finish(&s);
    /* Weight-only NVFP4 is not known to this version. */
    begin(&s, &tiny, AS_W4A16, AS_BF16, false, "float32", "");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    req.force = false;
    CHECK_FAILS(make(&s, &req, e_), ERR_UNSUPPORTED, "Q-01: vllm 0.17.1 does not take quant_algo W4A16_NVFP4");
    finish(&s);
    /* NVFP4 alone runs on an A100, weight-only; its FP8 cache does not, so it is bfloat16. */
    begin(&s, &tiny, AS_NVFP4, AS_BF16, true, "float32", "");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    req.gpu = "a100";
    CHECK_OK(make(&s, &req, e_));
    assert_string_equal(s.r.name, "vllm-0.17.1-a100-80x1-nvfp4-w4a16-tp1");
    assert_non_null(strstr(file_text(&s.r, "vllm.yaml"), "kv-cache-dtype: bfloat16\n"));
    has_note(&s.r, "declares an FP8 KV cache", true);
    req.kv_dtype = "auto"; /* the engine would take the declared one */
    CHECK_FAILS(make(&s, &req, e_), ERR_UNSUPPORTED, "Q-04: an FP8 KV cache on a100-80");
    finish(&s);
    /* Code that is named and not there. */
    begin(&s, &tiny, AS_NVFP4, AS_FP8, true, "float32",
          ",\"auto_map\":{\"AutoConfig\":\"configuration_nemotron_h.NemotronHConfig\"}");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    req = (struct profile_request){.engine = "vllm@0.17.1", .gpu = "b200"};
    CHECK_OK(make(&s, &req, e_));
    has_finding(&s.r, "SEC-01", true);
    assert_null(strstr(file_text(&s.r, "vllm.yaml"), "trust-remote-code"));
    finish(&s);
    /* Drafts without a head for them. */
    struct geometry headless = tiny;
    headless.mtp = NULL;
    begin(&s, &headless, AS_NVFP4, AS_FP8, true, "float32", "");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    req.draft_tokens = 3;
    CHECK_FAILS(make(&s, &req, e_), ERR_UNSUPPORTED,
                "MTP-01: draft tokens are asked for, but config.json has no num_nextn_predict_layers (and 1 more)");
    finish(&s);
    /* No recurrent layer: nothing is said about a state. */
    struct geometry dense = tiny;
    dense.pattern = "*-*E";
    begin(&s, &dense, AS_NVFP4, AS_FP8, true, NULL, "");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    req.draft_tokens = 0;
    CHECK_OK(make(&s, &req, e_));
    assert_null(strstr(file_text(&s.r, "vllm.yaml"), "mamba"));
    assert_true(json_is_null(json_object_get(s.r.json, "ssm_state")));
    finish(&s);
}

/* Another version is another row: what it takes, its share of the memory, its default for the state. */
static void test_later_version(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, &tiny, AS_W4A16, AS_BF16, false, NULL,
          ",\"auto_map\":{\"AutoConfig\":\"configuration_nemotron_h.NemotronHConfig\"}");
    CHECK_OK(model_open(&s.m, s.model_dir, e_));
    struct profile_request req = {.engine = "vllm@0.22.0", .gpu = "h100:2"};
    CHECK_OK(make(&s, &req, e_));
    assert_string_equal(s.r.name, "vllm-0.22.0-h100-80x2-nvfp4-w4a16-tp2");
    const char *yaml = file_text(&s.r, "vllm.yaml");
    assert_non_null(strstr(yaml, "gpu-memory-utilization: 0.92\n"));
    assert_non_null(strstr(yaml, "mamba-ssm-cache-dtype: float32\n"));
    assert_null(strstr(yaml, "trust-remote-code"));
    has_finding(&s.r, "SEC-01", false);
    has_finding(&s.r, "SSM-04", true);
    assert_int_equal(s.r.lint.n_errors, 0);
    finish(&s);
}

static void test_lists(void **state)
{
    (void)state;
    CLEANUP(json) json_t *gpus = json_array(), *engines = json_array();
    size_t i;
    json_t *row;
    bool met = false;
    CHECK_OK(profile_list_gpus(gpus, e_));
    json_array_foreach(gpus, i, row)
    {
        const char *what = json_string_value(json_object_get(row, "what"));
        if (strcmp(json_string_value(json_object_get(row, "name")), "b200") == 0)
            met = strstr(what, "178.0 GiB") && strstr(what, "compute capability 10.0") && strstr(what, "NVFP4");
    }
    assert_true(met && json_array_size(gpus) >= 20);
    CHECK_OK(profile_list_engines(engines, e_));
    row = json_array_get(engines, 0);
    assert_string_equal(json_string_value(json_object_get(row, "name")), "vllm@0.17.1");
    assert_string_equal(json_string_value(json_object_get(row, "what")), "profiles are written for it");
    assert_non_null(
        strstr(json_string_value(json_object_get(json_array_get(engines, 1), "what")), "Nano NVFP4 fails on RTX 5090"));
    assert_non_null(strstr(json_string_value(json_object_get(json_array_get(engines, 2), "what")), "facts only; "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),    cmocka_unit_test(test_weights),       cmocka_unit_test(test_draft_weights),
        cmocka_unit_test(test_capacity), cmocka_unit_test(test_too_heavy),     cmocka_unit_test(test_targets),
        cmocka_unit_test(test_writing),  cmocka_unit_test(test_command),       cmocka_unit_test(test_parsers),
        cmocka_unit_test(test_variants), cmocka_unit_test(test_later_version), cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
