/* Every rule: a profile that is clean by all of them, and for each rule at least one change that trips it. */
#include "tests/checks.h"

#include "core/file.h"
#include "pack/profile_lint.h"

#include <fcntl.h>

/* A small hybrid with experts, quantized as the published Super is: experts NVFP4, Mamba and shared FP8, attention
 * plain with FP8 KV. */
enum {
    T_EMBED,
    T_NORM,
    T_SSM_IN,
    T_CONV,
    T_SSM_OUT,
    T_Q,
    T_K,
    T_V,
    T_O,
    T_ROUTER,
    T_LATENT,
    T_UP,
    T_DOWN,
    T_SHARED_UP,
    T_SHARED_DOWN,
    T_HEAD,
    T_MTP,
    T_COUNT
};

struct scene {
    struct gpu_row gpu;
    struct engine_row engine;
    struct block_config blocks[4], mtp[2];
    struct model_tensor tensors[T_COUNT];
    struct inventory inv;
    struct profile_facts facts;
    struct profile_rows *rows;
};

static void put(struct scene *s, int i, const char *name, enum tensor_role role, int32_t layer, int32_t expert,
                uint64_t rows, uint64_t cols, const char *format)
{
    struct model_tensor *t = &s->tensors[i];
    *t = (struct model_tensor){.name = name,
                               .module = name,
                               .place = {role, layer, expert, false},
                               .n_dims = 2,
                               .dims = {rows, cols},
                               .n_elems = rows * cols,
                               .format = format ? quant_format_find(format) : NULL};
    for (int p = 0; p < PART_COUNT; p++) t->parts[p] = NAME_NONE;
    t->parts[PART_WEIGHT] = (uint32_t)i;
    for (uint32_t p = 0; t->format && p < t->format->n_parts; p++)
        t->parts[t->format->parts[p].part] = (uint32_t)(100 + i);
}

static void build(struct scene *s)
{
    *s = (struct scene){.rows = s->rows};
    CHECK_OK(profile_rows_open(&s->rows, e_));
    s->gpu = *gpu_row_find(s->rows, "b200");
    s->engine = *engine_row_find(s->rows, "vllm", "0.17.1");
    static const enum block_kind kinds[] = {BLOCK_MAMBA2, BLOCK_ATTENTION, BLOCK_MOE, BLOCK_MLP};
    for (uint32_t i = 0; i < 4; i++) s->blocks[i] = (struct block_config){.kind = kinds[i], .layer = i};
    s->mtp[0] = (struct block_config){.kind = BLOCK_ATTENTION, .layer = 0, .mtp = true};
    s->mtp[1] = (struct block_config){.kind = BLOCK_MOE, .layer = 1, .mtp = true};
    put(s, T_EMBED, "embeddings.weight", ROLE_EMBED, -1, -1, 4096, 512, NULL);
    put(s, T_NORM, "layers.0.norm.weight", ROLE_BLOCK_NORM, 0, -1, 1, 512, NULL);
    put(s, T_SSM_IN, "layers.0.mixer.in_proj.weight", ROLE_SSM_IN, 0, -1, 4384, 512, "fp8");
    put(s, T_CONV, "layers.0.mixer.conv1d.weight", ROLE_SSM_CONV, 0, -1, 2304, 4, NULL);
    put(s, T_SSM_OUT, "layers.0.mixer.out_proj.weight", ROLE_SSM_OUT, 0, -1, 512, 2048, "fp8");
    put(s, T_Q, "layers.1.mixer.q_proj.weight", ROLE_ATTN_Q, 1, -1, 1024, 512, NULL);
    put(s, T_K, "layers.1.mixer.k_proj.weight", ROLE_ATTN_K, 1, -1, 256, 512, NULL);
    put(s, T_V, "layers.1.mixer.v_proj.weight", ROLE_ATTN_V, 1, -1, 256, 512, NULL);
    put(s, T_O, "layers.1.mixer.o_proj.weight", ROLE_ATTN_O, 1, -1, 512, 1024, NULL);
    s->tensors[T_K].parts[PART_K_SCALE] = s->tensors[T_V].parts[PART_V_SCALE] = 7;
    put(s, T_ROUTER, "layers.2.mixer.gate.weight", ROLE_ROUTER, 2, -1, 8, 512, NULL);
    put(s, T_LATENT, "layers.2.mixer.fc1_latent_proj.weight", ROLE_LATENT_IN, 2, -1, 256, 512, NULL);
    put(s, T_UP, "layers.2.mixer.experts.0.up_proj.weight", ROLE_EXPERT_UP, 2, 0, 512, 256, "nvfp4");
    put(s, T_DOWN, "layers.2.mixer.experts.0.down_proj.weight", ROLE_EXPERT_DOWN, 2, 0, 256, 512, "nvfp4");
    put(s, T_SHARED_UP, "layers.2.mixer.shared_experts.up_proj.weight", ROLE_SHARED_UP, 2, -1, 1024, 512, "fp8");
    put(s, T_SHARED_DOWN, "layers.2.mixer.shared_experts.down_proj.weight", ROLE_SHARED_DOWN, 2, -1, 512, 1024, "fp8");
    put(s, T_HEAD, "lm_head.weight", ROLE_LM_HEAD, -1, -1, 4096, 512, NULL);
    put(s, T_MTP, "mtp.layers.0.eh_proj.weight", ROLE_MTP_PROJ, 0, -1, 512, 1024, NULL);
    s->tensors[T_MTP].place.mtp = true;
    s->inv = (struct inventory){.tensors = s->tensors,
                                .n_tensors = T_COUNT,
                                .kv_algo = "FP8",
                                .is_quantized = true,
                                .config = {.blocks = s->blocks,
                                           .n_blocks = 4,
                                           .mtp_blocks = s->mtp,
                                           .n_mtp_blocks = 2,
                                           .max_position = 262144,
                                           .ssm_cache_dtype = "float32",
                                           .attention = {8, 2, 128},
                                           .ssm = {32, 64, 32, 8, 4, 0, 0},
                                           .moe = {.n_experts = 8, .top_k = 2}}};
    s->inv.config.dims[DIM_MLP] = 1024;
    s->inv.config.dims[DIM_SHARED_MLP] = 1024;
    s->inv.config.dims[DIM_EXPERT_MLP] = 512;
    s->facts = (struct profile_facts){.engine = &s->engine,
                                      .gpu = &s->gpu,
                                      .image = "sha256:",
                                      .tp = 2,
                                      .expert_parallel = true,
                                      .inv = &s->inv,
                                      .model_type = "nemotron_x",
                                      .n_predict = 1,
                                      .declares_quant = true,
                                      .algo = ALGO_MIXED,
                                      .nvfp4_path = "w4a4",
                                      .kv_dtype = "fp8",
                                      .ssm_dtype = "float32",
                                      .context = 8192,
                                      .sequences = 4,
                                      .drafts = 3,
                                      .utilisation_permille = 900};
    fit_model_from(&s->inv.config, &s->facts.fit_model);
}

/* The memory figure belongs to the facts that were decided; changes below may ask for another. */
static void refit(struct scene *s)
{
    struct profile_facts *f = &s->facts;
    f->fit_request = (struct fit_request){.memory_bytes = s->gpu.memory_bytes,
                                          .utilisation_permille = f->utilisation_permille,
                                          .overhead_bytes = FIT_OVERHEAD_BYTES,
                                          .tp = f->tp,
                                          .context = f->context,
                                          .sequences = f->sequences,
                                          .drafts = f->drafts,
                                          .kv_bits_x2 = 16,
                                          .ssm_bytes = 4,
                                          .conv_bytes = 2,
                                          .block_tokens = 16};
    CHECK_OK(fit_compute(&f->fit_model, &f->fit_request, &f->fit, e_));
}

#define CHANGE(name, ...)                                                                                              \
    static void name(struct scene *s)                                                                                  \
    {                                                                                                                  \
        __VA_ARGS__;                                                                                                   \
    }
#define GPU(id) s->gpu = *gpu_row_find(s->rows, id)

CHANGE(ssm_auto, s->facts.ssm_dtype = "auto"; s->inv.config.ssm_cache_dtype = NULL)
CHANGE(ssm_auto_bf16, s->facts.ssm_dtype = "auto"; s->inv.config.ssm_cache_dtype = "bfloat16")
CHANGE(ssm_bf16, s->facts.ssm_dtype = "bfloat16")
CHANGE(ssm_unsaid, s->facts.ssm_dtype = NULL)
CHANGE(ssm_f16, s->facts.ssm_dtype = "float16")
CHANGE(ssm_f16_few, s->facts.ssm_dtype = "float16"; s->facts.ssm_philox_rounds = 4)
CHANGE(config_silent, s->inv.config.ssm_cache_dtype = NULL)
CHANGE(config_silent_later, s->inv.config.ssm_cache_dtype = NULL;
       s->engine = *engine_row_find(s->rows, "vllm", "0.22.0"))
CHANGE(config_f16, s->inv.config.ssm_cache_dtype = "float16")
CHANGE(config_bf16, s->inv.config.ssm_cache_dtype = "bfloat16")
CHANGE(head_80, s->inv.config.ssm.head_dim = 80)
CHANGE(w4a16, s->facts.algo = "W4A16_NVFP4")
CHANGE(mixed_w4a16, s->tensors[T_UP].format = s->tensors[T_DOWN].format = quant_format_find("w4a16_nvfp4"))
CHANGE(kv_nvfp4, s->inv.kv_algo = "NVFP4")
CHANGE(h100_marked, GPU("h100"); s->facts.nvfp4_path = "w4a16")
CHANGE(h100_unmarked, GPU("h100"))
CHANGE(too_old, GPU("a100"); s->gpu.capability = 70)
CHANGE(a100, GPU("a100"); s->facts.nvfp4_path = "w4a16")
CHANGE(cols_240, s->tensors[T_DOWN].dims[1] = 248)
CHANGE(cols_cut, s->facts.expert_parallel = false; s->tensors[T_DOWN].dims[1] = 16 * 33)
CHANGE(q_alone, s->tensors[T_Q].format = quant_format_find("fp8"))
CHANGE(v_alone, s->tensors[T_V].format = quant_format_find("fp8"))
CHANGE(no_input_scale, s->tensors[T_UP].parts[PART_INPUT_SCALE] = NAME_NONE;
       s->tensors[T_DOWN].parts[PART_INPUT_SCALE] = NAME_NONE)
CHANGE(no_scale_2, s->tensors[T_DOWN].parts[PART_WEIGHT_SCALE_2] = NAME_NONE)
CHANGE(router_fp8, s->tensors[T_ROUTER].format = quant_format_find("fp8"))
CHANGE(conv_fp8, s->tensors[T_CONV].format = quant_format_find("fp8"))
CHANGE(norm_fp8, s->tensors[T_NORM].format = quant_format_find("fp8"))
CHANGE(latent_fp8, s->tensors[T_LATENT].format = quant_format_find("fp8"))
CHANGE(head_fp8, s->tensors[T_HEAD].format = quant_format_find("fp8"))
CHANGE(nothing_quantized, for (int i = 0; i < T_COUNT; i++) s->tensors[i].format = NULL)
CHANGE(little_quantized, for (int i = 0; i < T_COUNT; i++) if (i != T_SSM_OUT) s->tensors[i].format = NULL;
       s->tensors[T_Q].n_elems <<= 8)
CHANGE(tp_3, s->facts.tp = 3)
CHANGE(tp_16, s->facts.tp = 16; s->inv.config.ssm.n_groups = 8)
CHANGE(groups_only, s->inv.config.ssm.n_groups = 5)
CHANGE(kv_odd, s->inv.config.attention = (struct attention_config){.n_heads = 12, .n_kv_heads = 6, .head_dim = 128};
       s->facts.tp = 4)
CHANGE(kv_copied, s->facts.tp = 4)
CHANGE(experts_9, s->inv.config.moe.n_experts = 9)
CHANGE(expert_width, s->facts.expert_parallel = false; s->inv.config.dims[DIM_EXPERT_MLP] = 513)
CHANGE(shared_width, s->inv.config.dims[DIM_SHARED_MLP] = 1023)
CHANGE(context_long, s->facts.context = 262145)
CHANGE(too_many, s->facts.sequences = 1000000)
CHANGE(too_heavy, s->facts.fit_model.weight_bytes = (uint64_t)200 << 30; s->facts.tp_that_fits = 4)
CHANGE(no_mtp_key, s->facts.n_predict = 0)
CHANGE(no_mtp_tensor, s->tensors[T_MTP].place.mtp = false)
CHANGE(odd_drafts, s->facts.n_predict = 2)
CHANGE(two_layers, s->facts.n_predict = 3)
CHANGE(no_k_scale, s->tensors[T_K].parts[PART_K_SCALE] = NAME_NONE)
CHANGE(not_pinned, s->facts.image = NULL)
CHANGE(nightly, s->engine.version = "nightly")
CHANGE(spark_full, GPU("gb10"); s->facts.nvfp4_path = "w4a16")
CHANGE(no_class, s->facts.model_type = "nemotron_h")
CHANGE(own_class, s->facts.model_type = "nemotron_h"; s->facts.has_auto_map = true)
CHANGE(lost_class, s->facts.model_type = "nemotron_h"; s->facts.has_auto_map = true;
       s->facts.missing_code = "configuration_x.py")

static const struct {
    const char *id;
    void (*change)(struct scene *);
    enum lint_severity severity;
    const char *part;
} cases[] = {
    {"SSM-01", ssm_auto, LINT_ERROR, "it would be float16"},
    {"SSM-01", ssm_auto_bf16, LINT_ERROR, "kept in bfloat16"},
    {"SSM-01", ssm_bf16, LINT_ERROR, "does not know the Mamba state type 'bfloat16'"},
    {"SSM-01", ssm_unsaid, LINT_ERROR, "does not say"},
    {"SSM-02", ssm_f16, LINT_ERROR, "no stochastic rounding"},
    {"SSM-02", ssm_auto, LINT_ERROR, "cannot round stochastically"},
    {"SSM-02", ssm_f16_few, LINT_ERROR, "fewer than 5"},
    {"SSM-04", config_silent, LINT_ERROR, "unless told, the engine keeps the state in float16"},
    {"SSM-04", config_silent_later, LINT_WARNING, "unless told, the engine keeps the state in float32"},
    {"SSM-04", config_f16, LINT_WARNING, "good only with stochastic rounding; here it is float32"},
    {"SSM-04", config_bf16, LINT_ERROR, "expected float32"},
    {"SSM-05", head_80, LINT_WARNING, "mamba_head_dim is 80"},
    {"Q-01", w4a16, LINT_ERROR, "does not take quant_algo W4A16_NVFP4"},
    {"Q-01", mixed_w4a16, LINT_ERROR, "does not take W4A16_NVFP4 among the layers"},
    {"Q-01", kv_nvfp4, LINT_ERROR, "kv_cache_quant_algo NVFP4"},
    {"Q-02", h100_marked, LINT_WARNING, "run as w4a16 on h100-80 (Marlin)"},
    {"Q-02", h100_unmarked, LINT_ERROR, "but the profile says w4a4"},
    {"Q-02", too_old, LINT_ERROR, "cannot multiply NVFP4"},
    {"Q-04", a100, LINT_ERROR, "cannot multiply FP8 weights on a100-80 (compute capability 8.0)"},
    {"Q-04", a100, LINT_ERROR, "from compute capability 8.9 on"},
    {"Q-04", a100, LINT_ERROR, "no FP8 arithmetic"},
    {"Q-05", cols_240, LINT_ERROR, "experts.0.down_proj.weight': 248 columns"},
    {"Q-05", cols_cut, LINT_ERROR, "528 columns are not a multiple of 16 for each of 2 GPUs"},
    {"Q-06", q_alone, LINT_ERROR,
     "layers.1.mixer.k_proj.weight' is not quantized as q_proj beside it, and engines multiply q, k and v as one "
     "(and 1 more)"},
    {"Q-06", v_alone, LINT_ERROR, "layers.1.mixer.v_proj.weight'"},
    {"Q-07", no_input_scale, LINT_ERROR, "experts.0.up_proj.weight' is NVFP4 and has no input_scale (and 1 more)"},
    {"Q-07", no_scale_2, LINT_ERROR, "has no weight_scale_2"},
    {"Q-09", router_fp8, LINT_ERROR, "(router) is quantized; it never should be"},
    {"Q-09", conv_fp8, LINT_ERROR, "(ssm_conv)"},
    {"Q-09", norm_fp8, LINT_ERROR, "(block_norm)"},
    {"Q-09", latent_fp8, LINT_WARNING, "(latent_in) is quantized, which published recipes leave alone"},
    {"Q-11", head_fp8, LINT_ERROR, "lm_head.weight' is quantized, and vllm 0.17.1 loads it only as plain numbers"},
    {"Q-12", nothing_quantized, LINT_ERROR, "16.00 bits per weight"},
    {"Q-12", little_quantized, LINT_ERROR, "15.94 bits per weight"},
    {"TP-01", tp_3, LINT_ERROR, "32 Mamba heads do not divide among 3 GPUs"},
    {"TP-01", tp_16, LINT_ERROR, "8 Mamba groups do not divide among 16 GPUs"},
    {"TP-01", groups_only, LINT_ERROR, "5 Mamba groups do not divide among 2"},
    {"TP-02", tp_3, LINT_ERROR, "8 query heads do not divide among 3 GPUs"},
    {"TP-02", kv_odd, LINT_ERROR, "6 key and value heads do not divide among 4"},
    {"TP-02", kv_copied, LINT_INFO, "each is held 2 times"},
    {"TP-03", experts_9, LINT_ERROR, "9 experts do not divide among 2 GPUs"},
    {"TP-03", expert_width, LINT_ERROR, "expert width 513"},
    {"TP-03", shared_width, LINT_ERROR, "shared expert width 1023"},
    {"CTX-01", context_long, LINT_ERROR,
     "more than max_position_embeddings 262144: vllm takes it only with VLLM_ALLOW_LONG_MAX_MODEL_LEN=1"},
    {"CTX-02", too_many, LINT_ERROR, "1000000 sequences of 8192 tokens need"},
    {"CTX-02", too_heavy, LINT_ERROR,
     "200.0 GiB of weights and 4.0 GiB overhead are 43.8 GiB more than the 160.2 GiB that each b200 "
     "gives; 4 of these GPUs"},
    {"MTP-01", no_mtp_key, LINT_ERROR, "no num_nextn_predict_layers"},
    {"MTP-01", no_mtp_tensor, LINT_ERROR, "no mtp tensors"},
    {"MTP-02", odd_drafts, LINT_ERROR, "3 draft tokens are not a multiple of num_nextn_predict_layers 2"},
    {"MTP-02", two_layers, LINT_ERROR, "this version takes 1"},
    {"KV-01", no_k_scale, LINT_WARNING, "1 of 2 k_scale and v_scale are missing"},
    {"VER-01", not_pinned, LINT_INFO, "add the digest of its image"},
    {"VER-01", nightly, LINT_ERROR, "'nightly' is a tag that moves"},
    {"HW-02", spark_full, LINT_WARNING, "0.9 of the memory"},
    {"SEC-01", no_class, LINT_WARNING, "no configuration class for model_type nemotron_h"},
    {"SEC-01", own_class, LINT_WARNING, "trust-remote-code"},
    {"SEC-01", lost_class, LINT_WARNING, "'configuration_x.py', which is not in the folder"},
};

static void lint(struct scene *s, struct arena **arena, struct lint_report *report)
{
    *arena = arena_new();
    refit(s);
    CHECK_OK(profile_lint(&s->facts, *arena, report, e_));
}

static void test_clean(void **state)
{
    (void)state;
    struct scene s = {.rows = NULL};
    struct arena *arena;
    struct lint_report r;
    build(&s);
    lint(&s, &arena, &r);
    for (uint32_t i = 0; i < r.n; i++) print_error("%s %s\n", r.findings[i].rule->id, r.findings[i].text);
    assert_int_equal(r.n, 0);
    arena_free(arena);
    profile_rows_close(s.rows);
}

/* What a change of one thing must not do: trip rules that it does not touch. Boundaries on the right side of each
 * rule. */
CHANGE(f16_rounded, s->facts.ssm_dtype = "float16"; s->facts.ssm_philox_rounds = 5)
CHANGE(head_128, s->inv.config.ssm.head_dim = 128)
CHANGE(auto_config, s->facts.ssm_dtype = "auto")
CHANGE(one_group, s->inv.config.ssm.n_groups = 1)
CHANGE(context_full, s->facts.context = 262144; s->facts.sequences = 1)
CHANGE(context_allowed, s->facts.context = 262145; s->facts.sequences = 1; s->facts.long_context = true)
CHANGE(drafts_one, s->facts.drafts = 1)
CHANGE(drafts_below, s->engine.mtp_layers_max = 4; s->facts.n_predict = 4)
CHANGE(no_drafts, s->facts.drafts = 0; s->facts.n_predict = 0)
CHANGE(undeclared, for (int i = 0; i < T_COUNT; i++) s->tensors[i].format = NULL; s->facts.declares_quant = false;
       s->facts.algo = NULL)
CHANGE(all_qkv, s->tensors[T_Q].format = s->tensors[T_K].format = s->tensors[T_V].format = quant_format_find("fp8");
       for (int i = T_Q; i <= T_V; i++) for (int p = 0; p <= PART_INPUT_SCALE; p++) s->tensors[i].parts[p] = 9)
CHANGE(plain_kv, s->inv.kv_algo = NULL; s->facts.kv_dtype = "auto"; s->tensors[T_K].parts[PART_K_SCALE] = NAME_NONE)
CHANGE(spark_most, GPU("gb10"); s->facts.nvfp4_path = "w4a16"; s->facts.utilisation_permille = 850)
static const struct {
    const char *name;
    void (*change)(struct scene *);
    const char *only;
} fine[] = {
    {"f16_rounded", f16_rounded, ""},   {"head_128", head_128, ""},         {"auto_config", auto_config, ""},
    {"one_group", one_group, ""},       {"context_full", context_full, ""}, {"context_allowed", context_allowed, ""},
    {"drafts_one", drafts_one, ""},     {"drafts_below", drafts_below, ""}, {"no_drafts", no_drafts, ""},
    {"undeclared", undeclared, ""},     {"all_qkv", all_qkv, ""},           {"plain_kv", plain_kv, ""},
    {"spark_most", spark_most, "Q-02"},
};

static void test_fine(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        struct scene s = {.rows = NULL};
        struct arena *arena;
        struct lint_report r;
        build(&s);
        fine[i].change(&s);
        lint(&s, &arena, &r);
        for (uint32_t k = 0; k < r.n; k++)
            if (strcmp(r.findings[k].rule->id, fine[i].only) != 0)
                fail_msg("%s trips %s: %s", fine[i].name, r.findings[k].rule->id, r.findings[k].text);
        arena_free(arena);
        profile_rows_close(s.rows);
    }
}

static void test_trips(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene s = {.rows = NULL};
        struct arena *arena;
        struct lint_report r;
        bool met = false;
        build(&s);
        cases[i].change(&s);
        lint(&s, &arena, &r);
        for (uint32_t k = 0; k < r.n; k++) {
            const struct lint_finding *f = &r.findings[k];
            if (strcmp(f->rule->id, cases[i].id) == 0 && strstr(f->text, cases[i].part) &&
                f->severity == cases[i].severity)
                met = true;
            assert_true(f->severity <= f->rule->severity);
        }
        if (!met) {
            for (uint32_t k = 0; k < r.n; k++)
                print_error("  %s %s %s\n", r.findings[k].rule->id, lint_severity_name(r.findings[k].severity),
                            r.findings[k].text);
            fail_msg("case %zu: no %s with '%s'", i, cases[i].id, cases[i].part);
        }
        arena_free(arena);
        profile_rows_close(s.rows);
    }
}

/* A rule without a case here does not exist. */
static void test_every_rule(void **state)
{
    (void)state;
    CLEANUP_BUFFER struct buffer page = {0};
    CHECK_OK(file_load(AT_FDCWD, "docs/profiles.md", 1 << 20, &page, e_));
    for (const struct lint_rule *const *rule = lint_rules; *rule; rule++) {
        bool met = false;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) met |= strcmp(cases[i].id, (*rule)->id) == 0;
        if (!met) fail_msg("no case trips %s", (*rule)->id);
        assert_true((*rule)->about && (*rule)->evidence);
        if (!strstr((const char *)page.data, (*rule)->id)) fail_msg("docs/profiles.md does not have %s", (*rule)->id);
    }
}

static void test_versions(void **state)
{
    (void)state;
    static const char *const moving[] = {"latest", "nightly", "main", "nightly-cu130", "stable", "dev"},
                             *const fixed[] = {"0.17.1", "1.3.0rc9", "0.5"};
    for (size_t i = 0; i < sizeof moving / sizeof *moving; i++) assert_true(version_moves(moving[i]));
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) assert_false(version_moves(fixed[i]));
    struct engine_row e = {.name = "vllm", .version = "0.17.1"};
    struct lint_rule r = {.id = "X"};
    assert_true(lint_rule_applies(&r, &e));
    r.since = "0.17.1";
    assert_true(lint_rule_applies(&r, &e));
    r.before = "0.18.0";
    assert_true(lint_rule_applies(&r, &e));
    r.before = "0.17.1";
    assert_false(lint_rule_applies(&r, &e));
    r = (struct lint_rule){.id = "X", .since = "0.20.0"};
    assert_false(lint_rule_applies(&r, &e));
    r = (struct lint_rule){.id = "X", .engine = "sglang"};
    assert_false(lint_rule_applies(&r, &e));
}

/* A hostile tensor name cannot break out of its line. */
static void test_hostile_name(void **state)
{
    (void)state;
    struct scene s = {.rows = NULL};
    struct arena *arena;
    struct lint_report r;
    build(&s);
    s.tensors[T_ROUTER].format = quant_format_find("fp8");
    s.tensors[T_ROUTER].name = "a\nb\x1b[31m\xe2\x80\xae";
    lint(&s, &arena, &r);
    assert_true(r.n > 0);
    for (uint32_t i = 0; i < r.n; i++)
        for (const char *p = r.findings[i].text; *p; p++)
            assert_true((unsigned char)*p >= ' ' && (unsigned char)*p < 0x7f);
    arena_free(arena);
    profile_rows_close(s.rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_clean),    cmocka_unit_test(test_fine),
                                       cmocka_unit_test(test_trips),    cmocka_unit_test(test_every_rule),
                                       cmocka_unit_test(test_versions), cmocka_unit_test(test_hostile_name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
