/* config.json of Mistral's params.json. The numbers are those that the source's own reader checked; which key means
 * which is transformers' converters' (mistral, ministral3, mistral4), but for `apply_scale` false of Large 3, which
 * means that the softmax is not multiplied. */
#include "convert/native_hf.h"
#include "convert/other_files.h"

/* What transformers' converter of Mistral writes where params.json says no length: nothing computes with it. */
#define DEFAULT_POSITIONS 32768u

static const json_t *yarn_of(const struct model *m)
{
    const json_t *yarn = json_object_get(m->hf.config, "yarn");
    return json_is_object(yarn) ? yarn : NULL;
}

static double yarn_number(const json_t *yarn, const char *key, double fallback)
{
    const json_t *v = json_object_get(yarn, key);
    return json_is_number(v) ? json_number_value(v) : fallback;
}

bool native_assumes_length(const struct model *m)
{
    return !m->inventory->config.max_position && !yarn_of(m);
}

static uint64_t positions(const struct model *m)
{
    const json_t *yarn = yarn_of(m);
    if (m->inventory->config.max_position) return m->inventory->config.max_position;
    double n = yarn_number(yarn, "factor", 1) * yarn_number(yarn, "original_max_position_embeddings", 0);
    return n >= 1 && n <= UINT32_MAX ? (uint64_t)n : DEFAULT_POSITIONS;
}

static bool no_class(const char *what, struct error *err)
{
    return error_set(err, ERR_UNSUPPORTED, "params.json: %s: transformers' class has no key for that", what);
}

/* transformers has one original length for both, an integer. */
static bool one_original(const struct model *m, struct error *err)
{
    const struct attention_config *a = &m->inventory->config.attention;
    double own = yarn_number(yarn_of(m), "original_max_position_embeddings", 0);
    if (yarn_of(m) && !(own >= 1 && own <= UINT32_MAX && own == (double)(uint32_t)own))
        return error_set(err, ERR_FORMAT,
                         "params.json: key 'yarn': original_max_position_embeddings: expected a length, found %g", own);
    if (!yarn_of(m) || !(a->query_beta > 0) || own == (double)a->query_original) return true;
    return no_class("original_max_position_embeddings of 'yarn' and of 'llama_4_scaling' differ", err);
}

/* What multiplies nothing: both the same, as Ministral 3 is published; mscale_all_dim would raise the scores of latent
 * attention. */
static bool put_factor(json_t *rope, bool latent, struct error *err)
{
    if (latent) return json_put(rope, "attention_factor", json_real(1), err);
    return json_put(rope, "mscale", json_real(1), err) && json_put(rope, "mscale_all_dim", json_real(1), err);
}

static bool put_rope(const struct model *m, json_t *config, bool latent, struct error *err)
{
    const struct attention_config *a = &m->inventory->config.attention;
    const json_t *yarn = yarn_of(m);
    double theta = 10000;
    if (!json_opt_number(m->hf.config, "rope_theta", "params", &theta, err) || !one_original(m, err)) return false;
    bool scaled = a->query_beta > 0 || latent;
    if (!yarn && !scaled) return json_put(config, "rope_theta", json_real(theta), err);
    CLEANUP(json) json_t *rope = json_pack("{s:s,s:f}", "rope_type", yarn ? "yarn" : "default", "rope_theta", theta);
    uint64_t original = yarn ? (uint64_t)yarn_number(yarn, "original_max_position_embeddings", 0) : a->query_original;
    if (!rope || !json_put(rope, "original_max_position_embeddings", json_integer((json_int_t)original), err))
        return rope ? false : error_memory(err, 0);
    if (scaled && !json_put(rope, "llama_4_scaling_beta", json_real(a->query_beta), err)) return false;
    if (yarn &&
        (!json_put(rope, "factor", json_real(yarn_number(yarn, "factor", 1)), err) ||
         !json_put(rope, "beta_fast", json_real(yarn_number(yarn, "beta", 32)), err) ||
         !json_put(rope, "beta_slow", json_real(yarn_number(yarn, "alpha", 1)), err) || !put_factor(rope, latent, err)))
        return false;
    return json_put(config, "rope_parameters", json_incref(rope), err);
}

static bool put_count(json_t *config, const char *key, uint64_t n, struct error *err)
{
    return json_put(config, key, json_integer((json_int_t)n), err);
}

static bool put_dense(const struct model_config *cfg, json_t *config, struct error *err)
{
    const struct attention_config *a = &cfg->attention;
    return put_count(config, "num_key_value_heads", a->n_kv_heads, err) &&
           put_count(config, "head_dim", a->head_dim, err) &&
           json_put(config, "sliding_window", a->window ? json_integer(a->window) : json_null(), err);
}

/* Layers with experts from one on, which is all that the class can say. */
static bool first_sparse(const struct model_config *cfg, uint64_t *out, struct error *err)
{
    uint32_t first = 0;
    while (first < cfg->n_layers && cfg->blocks[2 * first + 1].kind != BLOCK_MOE) first++;
    for (uint32_t i = first; i < cfg->n_layers; i++)
        if (cfg->blocks[2 * i + 1].kind != BLOCK_MOE) return no_class("key 'moe': 'route_every_n' above 1", err);
    *out = first;
    return cfg->moe.n_experts || no_class("key 'moe' is missing beside 'kv_lora_rank'", err);
}

static bool put_latent(const struct model_config *cfg, json_t *config, struct error *err)
{
    uint64_t dense = 0;
    if (!first_sparse(cfg, &dense, err)) return false;
    if (!cfg->moe.has_shared) return no_class("key 'moe': 'num_shared_experts' 0", err);
    return put_count(config, "num_key_value_heads", cfg->attention.n_heads, err) &&
           json_put(config, "q_lora_rank", cfg->mla.q_rank ? json_integer(cfg->mla.q_rank) : json_null(), err) &&
           put_count(config, "kv_lora_rank", cfg->mla.kv_rank, err) &&
           put_count(config, "qk_nope_head_dim", cfg->mla.nope_dim, err) &&
           put_count(config, "qk_rope_head_dim", cfg->mla.rope_dim, err) &&
           put_count(config, "v_head_dim", cfg->mla.v_dim, err) &&
           json_put(config, "rope_interleave", json_true(), err) &&
           put_count(config, "first_k_dense_replace", dense, err) &&
           put_count(config, "n_routed_experts", cfg->moe.n_experts, err) &&
           put_count(config, "num_experts_per_tok", cfg->moe.top_k, err) &&
           put_count(config, "n_group", cfg->moe.n_groups, err) &&
           put_count(config, "topk_group", cfg->moe.top_k_groups, err) &&
           json_put(config, "norm_topk_prob", json_true(), err) &&
           json_put(config, "routed_scaling_factor", json_real(cfg->moe.scale), err) &&
           put_count(config, "moe_intermediate_size", cfg->dims[DIM_EXPERT_MLP], err) &&
           put_count(config, "n_shared_experts", cfg->dims[DIM_SHARED_MLP] / cfg->dims[DIM_EXPERT_MLP], err);
}

/* Begin and end of a text are 1 and 2 in every tokenizer of Mistral's. */
static json_t *common(const struct model *m, enum dtype type, const char *name, const char *model_type)
{
    const struct model_config *cfg = &m->inventory->config;
    return json_pack(
        "{s:[s],s:s,s:s,s:i,s:i,s:s,s:I,s:I,s:I,s:I,s:I,s:f,s:b,s:I}", "architectures", name, "model_type", model_type,
        strcmp(model_type, "mistral") == 0 ? "torch_dtype" : "dtype", torch_dtype_name(type), "bos_token_id", 1,
        "eos_token_id", 2, "hidden_act", "silu", "hidden_size", (json_int_t)cfg->dims[DIM_HIDDEN], "intermediate_size",
        (json_int_t)cfg->dims[DIM_MLP], "num_hidden_layers", (json_int_t)cfg->n_layers, "num_attention_heads",
        (json_int_t)cfg->attention.n_heads, "vocab_size", (json_int_t)cfg->dims[DIM_VOCAB], "rms_norm_eps",
        cfg->norm_eps, "tie_word_embeddings", cfg->tied_head, "max_position_embeddings", (json_int_t)positions(m));
}

bool native_make_config(const struct model *m, enum dtype type, json_t **out, struct error *err)
{
    const struct model_config *cfg = &m->inventory->config;
    bool latent = cfg->mla.kv_rank > 0, raised = cfg->attention.query_beta > 0;
    if (latent && !yarn_of(m)) return no_class("key 'yarn' is missing beside 'kv_lora_rank'", err);
    CLEANUP(json)
    json_t *config = latent   ? common(m, type, "Mistral4ForCausalLM", "mistral4")
                     : raised ? common(m, type, "Ministral3ForCausalLM", "ministral3")
                              : common(m, type, "MistralForCausalLM", "mistral");
    if (!config) return error_memory(err, 0);
    if (!put_rope(m, config, latent, err) || !(latent ? put_latent : put_dense)(cfg, config, err)) return false;
    *out = take_ptr(&config);
    return true;
}
