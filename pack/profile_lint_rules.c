/* The rules that the layout of the profile decides: recurrent state, tensor parallelism, context, drafts, engine.
 * Those about how tensors are quantized are in profile_lint_quant.c. */
#include "pack/profile_lint_rules.h"

/* ---- the recurrent state ---- */

/* What the engine will keep the state in: "auto" is what config.json says, and the engine's own choice behind that. */
static const char *state_dtype(const struct profile_facts *f)
{
    if (!f->ssm_dtype || strcmp(f->ssm_dtype, "auto") != 0) return f->ssm_dtype;
    return f->inv->config.ssm_cache_dtype ? f->inv->config.ssm_cache_dtype : f->engine->ssm_fallback;
}

static void ssm_01(const struct profile_facts *f, struct lint_run *run)
{
    const char *dtype = state_dtype(f);
    if (!facts_have_mamba(f)) return;
    if (!f->ssm_dtype)
        lint_say(run, LINT_ERROR, "the profile does not say in which type the Mamba state is kept; set float32");
    else if (!row_lists(f->engine->ssm_dtypes, f->ssm_dtype))
        lint_say(run, LINT_ERROR, "the engine does not know the Mamba state type '%s'; set float32", f->ssm_dtype);
    else if (strcmp(f->ssm_dtype, "auto") == 0 && !f->inv->config.ssm_cache_dtype)
        lint_say(run, LINT_ERROR,
                 "the Mamba state type is left to the engine, and config.json is silent: it would be %s; set float32",
                 dtype);
    else if (strcmp(dtype, "bfloat16") == 0)
        lint_say(run, LINT_ERROR, "the Mamba state would be kept in bfloat16, which loses the answer; set float32");
}

static void ssm_02(const struct profile_facts *f, struct lint_run *run)
{
    const char *dtype = facts_have_mamba(f) ? state_dtype(f) : NULL;
    if (dtype && strcmp(dtype, "float16") == 0 && f->ssm_philox_rounds < 5)
        lint_say(run, LINT_ERROR, "the Mamba state would be kept in float16 with %s; set float32%s",
                 f->ssm_philox_rounds ? "fewer than 5 Philox rounds" : "no stochastic rounding",
                 f->engine->ssm_rounding ? ", or stochastic rounding with 5 rounds"
                                         : ": this version cannot round stochastically");
}

static void ssm_04(const struct profile_facts *f, struct lint_run *run)
{
    const char *said = f->inv->config.ssm_cache_dtype;
    if (!facts_have_mamba(f)) return;
    if (!said) /* an engine that falls back to float32 goes right anyway; others that meet the folder may not */
        lint_say(run, strcmp(f->engine->ssm_fallback, "float32") == 0 ? LINT_WARNING : LINT_ERROR,
                 "config.json has no key 'mamba_ssm_cache_dtype': unless told, the engine keeps the state in %s",
                 f->engine->ssm_fallback);
    else if (strcmp(said, "float16") == 0)
        lint_say(run, LINT_WARNING,
                 "config.json says mamba_ssm_cache_dtype float16, good only with stochastic rounding; here it is %s",
                 f->ssm_dtype ? f->ssm_dtype : "left at that");
    else if (strcmp(said, "float32") != 0)
        lint_say(run, LINT_ERROR, "config.json says mamba_ssm_cache_dtype '%s', expected float32", said);
}

static void ssm_05(const struct profile_facts *f, struct lint_run *run)
{
    uint32_t dim = f->inv->config.ssm.head_dim;
    if (facts_have_mamba(f) && dim != 64 && dim != 128)
        lint_say(run, LINT_WARNING,
                 "mamba_head_dim is %u: FlashInfer's state kernels take 64 or 128, the Triton kernels run instead",
                 dim);
}

/* ---- tensor parallelism ---- */

static void tp_01(const struct profile_facts *f, struct lint_run *run)
{
    const struct ssm_config *s = &f->inv->config.ssm;
    if (!facts_have_mamba(f)) return;
    if (s->n_heads % f->tp != 0)
        lint_say(run, LINT_ERROR, "%u Mamba heads do not divide among %u GPUs", s->n_heads, f->tp);
    if (s->n_groups % f->tp != 0 && s->n_groups != 1)
        lint_say(run, LINT_ERROR, "%u Mamba groups do not divide among %u GPUs", s->n_groups, f->tp);
}

static void tp_02(const struct profile_facts *f, struct lint_run *run)
{
    const struct attention_config *a = tp_hardest_attention(&f->inv->config, f->tp);
    if (!facts_have_attention(f)) return;
    if (a->n_heads % f->tp != 0)
        lint_say(run, LINT_ERROR, "%u query heads do not divide among %u GPUs", a->n_heads, f->tp);
    if (a->n_kv_heads >= f->tp ? a->n_kv_heads % f->tp != 0 : f->tp % a->n_kv_heads != 0)
        lint_say(run, LINT_ERROR, "%u key and value heads do not divide among %u GPUs, nor the other way",
                 a->n_kv_heads, f->tp);
    else if (a->n_kv_heads < f->tp)
        lint_say(run, LINT_INFO, "%u key and value heads on %u GPUs: each is held %u times, and so is the KV cache",
                 a->n_kv_heads, f->tp, f->tp / a->n_kv_heads);
}

static void tp_03(const struct profile_facts *f, struct lint_run *run)
{
    const struct model_config *c = &f->inv->config;
    static const struct {
        enum model_dim dim;
        const char *what;
    } widths[] = {{DIM_MLP, "MLP"}, {DIM_SHARED_MLP, "shared expert"}, {DIM_EXPERT_MLP, "expert"}};
    if (facts_have_experts(f) && f->expert_parallel && c->moe.n_experts % f->tp != 0)
        lint_say(run, LINT_ERROR, "%u experts do not divide among %u GPUs", c->moe.n_experts, f->tp);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        if (widths[i].dim == DIM_EXPERT_MLP && f->expert_parallel) continue;
        if (c->dims[widths[i].dim] % f->tp != 0)
            lint_say(run, LINT_ERROR, "%s width %llu does not divide among %u GPUs", widths[i].what,
                     (unsigned long long)c->dims[widths[i].dim], f->tp);
    }
}

/* ---- context and memory ---- */

static void ctx_01(const struct profile_facts *f, struct lint_run *run)
{
    uint64_t max = f->inv->config.max_position;
    if (max && f->context > max && !f->long_context)
        lint_say(run, LINT_ERROR,
                 "a context of %llu tokens is more than max_position_embeddings %llu: %s takes it only with %s=1",
                 (unsigned long long)f->context, (unsigned long long)max, f->engine->name, f->engine->context_env);
}

#define GIB(bytes) ((double)(bytes) / 1073741824.0)

static void ctx_02(const struct profile_facts *f, struct lint_run *run)
{
    const struct fit *t = &f->fit;
    char more[96] = "no number of these GPUs that the model divides among would hold it";
    if (t->fits) return;
    if (f->tp_that_fits) snprintf(more, sizeof more, "%u of these GPUs would hold it", f->tp_that_fits);
    if (t->budget_bytes < 0) {
        lint_say(run, LINT_ERROR,
                 "%.1f GiB of weights and %.1f GiB overhead are %.1f GiB more than the %.1f GiB that each %s gives; %s",
                 GIB(f->fit_model.weight_bytes), GIB(f->fit_request.overhead_bytes), -GIB(t->budget_bytes),
                 GIB(t->allowed_bytes), f->gpu->id, more);
        return;
    }
    double missing = GIB(t->state_bytes + t->kv_bytes) - GIB(t->budget_bytes);
    if (missing < 0) missing = 0; /* the formula fits, whole blocks do not */
    lint_say(
        run, LINT_ERROR,
        "%llu sequences of %llu tokens need %.2f GiB of caches, each %s has %.2f GiB left (%.2f GiB missing%s); what "
        "fits: %llu sequences of that length, or %llu tokens for each; %s",
        (unsigned long long)f->sequences, (unsigned long long)f->context, GIB(t->state_bytes + t->kv_bytes), f->gpu->id,
        GIB(t->budget_bytes), missing, t->blocks.group_layers ? ", and the engine hands out whole blocks" : "",
        (unsigned long long)fit_max_sequences(t), (unsigned long long)fit_max_context(t), more);
}

/* ---- drafts ---- */

static void mtp_01(const struct profile_facts *f, struct lint_run *run)
{
    if (!f->drafts) return;
    if (f->n_predict == 0)
        lint_say(run, LINT_ERROR, "draft tokens are asked for, but config.json has no num_nextn_predict_layers");
    bool has = false;
    for (uint32_t i = 0; i < f->inv->n_tensors; i++) has |= f->inv->tensors[i].place.mtp;
    if (!has) lint_say(run, LINT_ERROR, "draft tokens are asked for, but the checkpoint has no mtp tensors");
}

static void mtp_02(const struct profile_facts *f, struct lint_run *run)
{
    if (!f->drafts || !f->n_predict) return;
    if (f->drafts > f->n_predict && f->drafts % f->n_predict != 0)
        lint_say(run, LINT_ERROR, "%u draft tokens are not a multiple of num_nextn_predict_layers %llu", f->drafts,
                 (unsigned long long)f->n_predict);
    if (f->n_predict > f->engine->mtp_layers_max)
        lint_say(run, LINT_ERROR, "num_nextn_predict_layers is %llu, this version takes %u",
                 (unsigned long long)f->n_predict, f->engine->mtp_layers_max);
}

/* ---- KV cache, engine, host ---- */

static void kv_01(const struct profile_facts *f, struct lint_run *run)
{
    uint32_t n = 0, without = 0;
    if (!facts_kv_fp8(f)) return;
    for (uint32_t i = 0; i < f->inv->n_tensors; i++) {
        const struct model_tensor *t = &f->inv->tensors[i];
        if (t->place.mtp || (t->place.role != ROLE_ATTN_K && t->place.role != ROLE_ATTN_V)) continue;
        n++;
        without += t->parts[t->place.role == ROLE_ATTN_K ? PART_K_SCALE : PART_V_SCALE] == NAME_NONE;
    }
    if (without)
        lint_say(run, LINT_WARNING,
                 "the KV cache is FP8 and %u of %u k_scale and v_scale are missing: the engine uses 1.0 for them",
                 without, n);
}

static void ver_01(const struct profile_facts *f, struct lint_run *run)
{
    if (version_moves(f->engine->version))
        lint_say(run, LINT_ERROR, "'%s' is a tag that moves, not a version", f->engine->version);
    else if (!f->image)
        lint_say(run, LINT_INFO,
                 "the engine is named by version; add the digest of its image (%s@%s@sha256:...) to pin it",
                 f->engine->name, f->engine->version);
}

static void hw_02(const struct profile_facts *f, struct lint_run *run)
{
    if (f->gpu->unified && f->utilisation_permille > 850)
        lint_say(
            run, LINT_WARNING,
            "%.3g of the memory for the engine on a machine whose CPU lives in the same memory; 0.85 leaves it room",
            f->utilisation_permille / 1000.0);
}

static void sec_01(const struct profile_facts *f, struct lint_run *run)
{
    if (!row_lists(f->engine->remote_code, f->model_type)) return;
    if (!f->has_auto_map)
        lint_say(run, LINT_WARNING,
                 "this version has no configuration class for model_type %s, and config.json names none (auto_map): it "
                 "starts only with a newer transformers library",
                 f->model_type);
    else if (f->missing_code)
        lint_say(run, LINT_WARNING,
                 "config.json's auto_map names '%.128s', which is not in the folder, and this version has no class of "
                 "its own for model_type %s: it starts only with a newer transformers library",
                 f->missing_code, f->model_type);
    else lint_say(run, LINT_WARNING, "this version runs the Python that came with the checkpoint (trust-remote-code)");
}

LINT_RULE(ssm_01, "SSM-01", LINT_ERROR, "the Mamba state is kept in float32", "TensorRT-LLM#14448");
LINT_RULE(ssm_02, "SSM-02", LINT_ERROR, "a float16 Mamba state needs stochastic rounding", "Nemotron 3 Super report");
LINT_RULE(ssm_04, "SSM-04", LINT_ERROR, "config.json says in which type the state is kept", "released checkpoints");
LINT_RULE(ssm_05, "SSM-05", LINT_WARNING, "which state kernels the head size allows", "TensorRT-LLM#14448");
LINT_RULE(tp_01, "TP-01", LINT_ERROR, "Mamba heads and groups divide among the GPUs", "vllm mamba_mixer2.py");
LINT_RULE(tp_02, "TP-02", LINT_ERROR, "attention heads divide among the GPUs", "vllm nemotron_h.py");
LINT_RULE(tp_03, "TP-03", LINT_ERROR, "experts and MLP widths divide among the GPUs", "vllm nemotron_h.py");
LINT_RULE(ctx_01, "CTX-01", LINT_ERROR, "the context is within what the model was made for", "vllm config/model.py");
LINT_RULE(ctx_02, "CTX-02", LINT_ERROR, "weights, states and KV cache fit in the memory", "pack/fit.h");
LINT_RULE(mtp_01, "MTP-01", LINT_ERROR, "drafts need the checkpoint's MTP head", "Model-Optimizer#2312, #2141");
LINT_RULE(mtp_02, "MTP-02", LINT_ERROR, "the number of drafts suits the MTP head", "vllm config/speculative.py");
LINT_RULE(kv_01, "KV-01", LINT_WARNING, "an FP8 KV cache has its scales", "vllm#37554");
LINT_RULE(ver_01, "VER-01", LINT_ERROR, "the engine is pinned", "dgx-spark-playbooks#77");
LINT_RULE(hw_02, "HW-02", LINT_WARNING, "shared memory leaves room for the host", "vllm#38489");
LINT_RULE(sec_01, "SEC-01", LINT_WARNING, "Python that comes with the checkpoint is known", "vllm config.py");
