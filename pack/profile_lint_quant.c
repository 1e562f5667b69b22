/* The rules about how tensors are quantized, and the list of all rules. */
#include "pack/profile_lint_rules.h"

/* How many tensors a case met, and the first of them. */
struct tally {
    uint32_t n;
    const struct model_tensor *first;
};

static void tally_add(struct tally *t, const struct model_tensor *tensor)
{
    if (t->n++ == 0) t->first = tensor;
}

/* " (and 3 more)", or nothing. */
static const char *more(const struct tally *t, char out[32])
{
    *out = '\0';
    if (t->n > 1) snprintf(out, 32, " (and %u more)", t->n - 1);
    return out;
}

static bool uses(const struct profile_facts *f, const char *algo)
{
    for (uint32_t i = 0; i < f->inv->n_tensors; i++)
        if (f->inv->tensors[i].format && strcmp(f->inv->tensors[i].format->algo, algo) == 0) return true;
    return false;
}

static void q_01(const struct profile_facts *f, struct lint_run *run)
{
    const struct engine_row *e = f->engine;
    const char *kv = f->inv->kv_algo;
    if (f->algo && !row_lists(e->quant_algos, f->algo))
        lint_say(run, LINT_ERROR, "%s %s does not take quant_algo %s", e->name, e->version, f->algo);
    if (f->algo && strcmp(f->algo, ALGO_MIXED) == 0)
        for (const struct quant_format *const *q = quant_formats; *q; q++)
            if (uses(f, (*q)->algo) && !row_lists(e->mixed_algos, (*q)->algo))
                lint_say(run, LINT_ERROR, "%s %s does not take %s among the layers of a %s checkpoint", e->name,
                         e->version, (*q)->algo, ALGO_MIXED);
    if (kv && !row_lists(e->kv_algos, kv))
        lint_say(run, LINT_ERROR, "%s %s does not take kv_cache_quant_algo %s", e->name, e->version, kv);
}

static void q_02(const struct profile_facts *f, struct lint_run *run)
{
    if (!uses(f, "NVFP4")) return;
    const struct compute_row *c = engine_compute(f->engine, "NVFP4", f->gpu);
    if (!c)
        lint_say(run, LINT_ERROR, "%s %s cannot multiply NVFP4 weights on %s", f->engine->name, f->engine->version,
                 f->gpu->id);
    else if (!f->nvfp4_path || strcmp(f->nvfp4_path, c->path) != 0)
        lint_say(run, LINT_ERROR, "NVFP4 weights run as %s on %s (%s), but the profile says %s", c->path, f->gpu->id,
                 c->by, f->nvfp4_path ? f->nvfp4_path : "nothing");
    else if (strcmp(c->path, "w4a4") != 0)
        lint_say(run, LINT_WARNING,
                 "NVFP4 W4A4 weights run as %s on %s (%s): memory is saved, speed is that of 16-bit activations, and "
                 "results differ from those measured with 4-bit activations",
                 c->path, f->gpu->id, c->by);
}

static void q_04(const struct profile_facts *f, struct lint_run *run)
{
    const struct engine_row *e = f->engine;
    uint32_t have = f->gpu->capability;
    if (uses(f, "FP8") && !engine_compute(e, "FP8", f->gpu))
        lint_say(run, LINT_ERROR, "%s %s cannot multiply FP8 weights on %s (compute capability %u.%u)", e->name,
                 e->version, f->gpu->id, have / 10, have % 10);
    if (f->algo && strcmp(f->algo, ALGO_MIXED) == 0 && have < e->mixed_capability)
        lint_say(run, LINT_ERROR, "%s %s takes %s checkpoints from compute capability %u.%u on, %s has %u.%u", e->name,
                 e->version, ALGO_MIXED, e->mixed_capability / 10, e->mixed_capability % 10, f->gpu->id, have / 10,
                 have % 10);
    if (facts_kv_fp8(f) && !f->gpu->fp8)
        lint_say(run, LINT_ERROR, "an FP8 KV cache on %s, which has no FP8 arithmetic", f->gpu->id);
}

bool role_input_is_cut(enum tensor_role role, bool expert_parallel)
{
    return role == ROLE_ATTN_O || role == ROLE_MLP_DOWN || role == ROLE_SHARED_DOWN || role == ROLE_SSM_OUT ||
           (role == ROLE_EXPERT_DOWN && !expert_parallel);
}

static void q_05(const struct profile_facts *f, struct lint_run *run)
{
    struct tally bad = {0};
    char rest[32];
    for (uint32_t i = 0; i < f->inv->n_tensors; i++) {
        const struct model_tensor *t = &f->inv->tensors[i];
        if (!t->format || t->format->block_cols <= 1 || t->n_dims != 2) continue;
        uint32_t ranks = role_input_is_cut(t->place.role, f->expert_parallel) ? f->tp : 1;
        if (t->dims[1] % ((uint64_t)t->format->block_cols * ranks) != 0) tally_add(&bad, t);
    }
    if (bad.n)
        lint_say(run, LINT_ERROR, "tensor '%.256s': %llu columns are not a multiple of %u for each of %u GPUs%s",
                 bad.first->name, (unsigned long long)bad.first->dims[1], bad.first->format->block_cols, f->tp,
                 more(&bad, rest));
}

static void q_06(const struct profile_facts *f, struct lint_run *run)
{
    struct tally bad = {0};
    const struct model_tensor *q = NULL;
    char rest[32];
    for (uint32_t i = 0; i < f->inv->n_tensors; i++) {
        const struct model_tensor *t = &f->inv->tensors[i];
        if (t->place.role == ROLE_ATTN_Q) q = t;
        if (t->place.role != ROLE_ATTN_K && t->place.role != ROLE_ATTN_V) continue;
        if (q && q->place.layer == t->place.layer && q->place.mtp == t->place.mtp && q->format != t->format)
            tally_add(&bad, t);
    }
    if (bad.n)
        lint_say(run, LINT_ERROR,
                 "tensor '%.256s' is not quantized as q_proj beside it, and engines multiply q, k and v as one%s",
                 bad.first->name, more(&bad, rest));
}

static void q_07(const struct profile_facts *f, struct lint_run *run)
{
    for (int part = PART_WEIGHT + 1; part < PART_COUNT; part++) {
        struct tally missing = {0};
        char rest[32];
        for (uint32_t i = 0; i < f->inv->n_tensors; i++) {
            const struct model_tensor *t = &f->inv->tensors[i];
            for (uint32_t k = 0; t->format && k < t->format->n_parts; k++)
                if ((int)t->format->parts[k].part == part && t->parts[part] == NAME_NONE) tally_add(&missing, t);
        }
        if (missing.n)
            lint_say(run, LINT_ERROR, "tensor '%.256s' is %s and has no %s%s", missing.first->name,
                     missing.first->format->algo, tensor_part_suffix((enum tensor_part)part), more(&missing, rest));
    }
}

static void q_09(const struct profile_facts *f, struct lint_run *run)
{
    struct tally never = {0}, seldom = {0};
    char rest[32];
    for (uint32_t i = 0; i < f->inv->n_tensors; i++) {
        const struct model_tensor *t = &f->inv->tensors[i];
        enum role_kind kind = role_info(t->place.role)->kind;
        if (!t->format) continue;
        if (kind == KIND_ROUTER || kind == KIND_SSM || kind == KIND_SMALL) tally_add(&never, t);
        else if (kind == KIND_TABLE || t->place.role == ROLE_LATENT_IN || t->place.role == ROLE_LATENT_OUT)
            tally_add(&seldom, t);
    }
    if (never.n)
        lint_say(run, LINT_ERROR, "tensor '%.256s' (%s) is quantized; it never should be%s", never.first->name,
                 role_info(never.first->place.role)->name, more(&never, rest));
    if (seldom.n)
        lint_say(run, LINT_WARNING,
                 "tensor '%.256s' (%s) is quantized, which published recipes leave alone: the recipe should name it%s",
                 seldom.first->name, role_info(seldom.first->place.role)->name, more(&seldom, rest));
}

static void q_11(const struct profile_facts *f, struct lint_run *run)
{
    struct tally bad = {0};
    char rest[32];
    for (uint32_t i = 0; i < f->inv->n_tensors; i++)
        if (f->inv->tensors[i].format && role_info(f->inv->tensors[i].place.role)->kind == KIND_TABLE)
            tally_add(&bad, &f->inv->tensors[i]);
    if (bad.n && !f->engine->quantized_tables)
        lint_say(run, LINT_ERROR, "tensor '%.256s' is quantized, and %s %s loads it only as plain numbers%s",
                 bad.first->name, f->engine->name, f->engine->version, more(&bad, rest));
}

/* Above this nothing worth the name was quantized: a recipe whose patterns matched nothing, or next to nothing. */
#define PLAIN_BITS 15.5

static void q_12(const struct profile_facts *f, struct lint_run *run)
{
    double bits = 0, elems = 0;
    if (!f->declares_quant) return;
    for (uint32_t i = 0; i < f->inv->n_tensors; i++) {
        const struct model_tensor *t = &f->inv->tensors[i];
        if (role_info(t->place.role)->kind != KIND_LINEAR || t->place.mtp) continue;
        elems += (double)t->n_elems;
        bits += (double)t->n_elems * (t->format ? t->format->weight_bits : 16);
    }
    if (elems > 0 && bits / elems > PLAIN_BITS)
        lint_say(run, LINT_ERROR,
                 "the configuration says the model is quantized, but its linears have %.2f bits per weight",
                 bits / elems);
}

static LINT_RULE(q_01, "Q-01", LINT_ERROR, "the engine knows the quantization", "vllm#37854, dgx-spark-playbooks#77");
static LINT_RULE(q_02, "Q-02", LINT_ERROR, "how NVFP4 runs on this GPU is said", "vllm nvfp4_utils.py");
static LINT_RULE(q_04, "Q-04", LINT_ERROR, "FP8 needs FP8 arithmetic", "vllm modelopt.py, get_min_capability");
static LINT_RULE(q_05, "Q-05", LINT_ERROR, "blocks divide among the GPUs", "vllm modelopt.py, create_weights");
static LINT_RULE(q_06, "Q-06", LINT_ERROR, "fused linears share one algorithm", "vllm modelopt.py");
static LINT_RULE(q_07, "Q-07", LINT_ERROR, "every scale is there", "vllm#45212, #54444, Model-Optimizer#1382");
static LINT_RULE(q_09, "Q-09", LINT_ERROR, "what is never quantized is not", "ModelOpt's default-disabled list");
static LINT_RULE(q_11, "Q-11", LINT_ERROR, "the engine can load a quantized embedding or head", "vllm#45102");
static LINT_RULE(q_12, "Q-12", LINT_ERROR, "something was quantized", "Model-Optimizer#1255");

const struct lint_rule *const lint_rules[] = {
    &rule_ver_01, &rule_ssm_01, &rule_ssm_02, &rule_ssm_04, &rule_ssm_05, &rule_q_01,   &rule_q_02,
    &rule_q_04,   &rule_q_05,   &rule_q_06,   &rule_q_07,   &rule_q_09,   &rule_q_11,   &rule_q_12,
    &rule_tp_01,  &rule_tp_02,  &rule_tp_03,  &rule_ctx_01, &rule_ctx_02, &rule_mtp_01, &rule_mtp_02,
    &rule_kv_01,  &rule_sec_01, &rule_hw_02,  NULL,
};
