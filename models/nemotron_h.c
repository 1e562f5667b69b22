/* Nemotron-H and what grew from it: Nano v2, Nemotron 3 Nano, Super (LatentMoE, MTP), Ultra, 3.5 Lightning.
 *
 * Each layer is one mixer with one norm before it; a pattern says which: Mamba-2, attention (no rotary embedding), MLP
 * (squared ReLU, no gate) or mixture of experts. Sources: the published configuration and modelling code; the facts are
 * gathered in docs/formats.md, nemotron_h. */
#include "models/decoder.h"

#include <math.h>

static bool block_from_char(char c, enum block_kind *out)
{
    switch (c) {
    case 'M': *out = BLOCK_MAMBA2; return true;
    case '*': *out = BLOCK_ATTENTION; return true;
    case '-': *out = BLOCK_MLP; return true;
    case 'E': *out = BLOCK_MOE; return true;
    default: return false;
    }
}

/* Three spellings are in use: the pattern's letters, the names of the published Ultra, those that newer transformers
 * saves. */
static bool block_from_word(const char *word, enum block_kind *out)
{
    static const struct {
        const char *word;
        enum block_kind kind;
    } words[] = {{"mamba", BLOCK_MAMBA2},
                 {"linear_attention", BLOCK_MAMBA2},
                 {"attention", BLOCK_ATTENTION},
                 {"full_attention", BLOCK_ATTENTION},
                 {"mlp", BLOCK_MLP},
                 {"moe", BLOCK_MOE}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].word, word) != 0) continue;
        *out = words[i].kind;
        return true;
    }
    return word[0] && !word[1] && block_from_char(word[0], out);
}

static bool pattern_from_text(const char *key, const char *text, struct block_config *blocks, uint32_t *n,
                              struct error *err)
{
    for (*n = 0; text[*n]; (*n)++) {
        if (*n == MODEL_LAYERS_MAX)
            return error_set(err, ERR_FORMAT, "key '%s': more than %u layers", key, MODEL_LAYERS_MAX);
        if (!block_from_char(text[*n], &blocks[*n].kind))
            return error_set(err, ERR_FORMAT, "key '%s': layer %u: expected one of M * - E, found '%c'", key, *n,
                             text[*n]);
    }
    return true;
}

static bool pattern_from_list(const char *key, const json_t *list, struct block_config *blocks, uint32_t *n,
                              struct error *err)
{
    *n = 0;
    if (json_array_size(list) > MODEL_LAYERS_MAX)
        return error_set(err, ERR_FORMAT, "key '%s': more than %u layers", key, MODEL_LAYERS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++, (*n)++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (!word || !block_from_word(word, &blocks[i].kind))
            return error_set(err, ERR_FORMAT, "key '%s': layer %zu: expected mamba, attention, mlp or moe, found %s",
                             key, i, json_brief(json_array_get(list, i)));
    }
    return true;
}

/* Any of the keys; when several are there they must say the same. */
static bool read_pattern(const json_t *json, const char *const *keys, struct arena *arena, struct block_config **out,
                         uint32_t *n_out, struct error *err)
{
    struct block_config *blocks = arena_alloc(arena, 2 * MODEL_LAYERS_MAX, sizeof *blocks), *next = blocks;
    if (!blocks) return error_memory(err, 0);
    const char *first_key = NULL;
    *n_out = 0;
    for (; *keys; keys++) {
        const json_t *v = json_object_get(json, *keys);
        if (!v || json_is_null(v)) continue;
        uint32_t n = 0;
        bool ok = json_is_string(v)  ? pattern_from_text(*keys, json_string_value(v), next, &n, err)
                  : json_is_array(v) ? pattern_from_list(*keys, v, next, &n, err)
                                     : error_set(err, ERR_FORMAT, "key '%s': expected a pattern or a list, found %s",
                                                 *keys, json_brief(v));
        if (!ok) return false;
        if (first_key) {
            bool same = n == *n_out;
            for (uint32_t i = 0; same && i < n; i++) same = blocks[i].kind == next[i].kind;
            if (!same)
                return error_set(err, ERR_FORMAT, "keys '%s' and '%s' describe different layers", first_key, *keys);
            continue;
        }
        first_key = *keys;
        *n_out = n;
        next = blocks + MODEL_LAYERS_MAX;
    }
    for (uint32_t i = 0; i < *n_out; i++) blocks[i].layer = i;
    *out = blocks;
    return true;
}

static bool has_kind(const struct model_config *cfg, enum block_kind kind)
{
    for (uint32_t i = 0; i < cfg->n_blocks; i++)
        if (cfg->blocks[i].kind == kind) return true;
    for (uint32_t i = 0; i < cfg->n_mtp_blocks; i++)
        if (cfg->mtp_blocks[i].kind == kind) return true;
    return false;
}

static bool read_layers(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    if (!read_pattern(json, NAMES("hybrid_override_pattern", "layers_block_type", "layer_types"), arena, &cfg->blocks,
                      &cfg->n_blocks, err))
        return false;
    if (cfg->n_blocks == 0)
        return error_set(err, ERR_FORMAT, "key 'hybrid_override_pattern' is missing (or 'layers_block_type')");
    uint64_t n_mtp = 0;
    if (!json_opt_u64(json, "num_nextn_predict_layers", "config", 0, 64, &n_mtp, err)) return false;
    if (n_mtp == 0) return true;
    /* One physical module serves every step; its layers are numbered from 0. */
    if (!read_pattern(json, NAMES("mtp_hybrid_override_pattern", "mtp_layers_block_type"), arena, &cfg->mtp_blocks,
                      &cfg->n_mtp_blocks, err))
        return false;
    if (cfg->n_mtp_blocks == 0)
        return error_set(err, ERR_FORMAT,
                         "key 'mtp_hybrid_override_pattern' is missing, but num_nextn_predict_layers is %llu",
                         (unsigned long long)n_mtp);
    for (uint32_t i = 0; i < cfg->n_mtp_blocks; i++) cfg->mtp_blocks[i].mtp = true;
    return true;
}

/* Defaults of the published configuration class; a null number of key and value heads means as many as there are
 * heads. */
#define KV_HEADS_DEFAULT 8u
#define HEAD_DIM_DEFAULT 128u

static bool read_attention(struct model_config *cfg, const json_t *json, struct error *err)
{
    struct attention_config *a = &cfg->attention;
    uint64_t heads, kv, dim;
    if (!config_count(json, NAMES("num_attention_heads"), MODEL_DIM_MAX, 0, &heads, err) ||
        !config_count(json, NAMES("num_key_value_heads"), heads,
                      json_object_get(json, "num_key_value_heads") ? heads : KV_HEADS_DEFAULT, &kv, err) ||
        !config_count(json, NAMES("head_dim", "attention_head_dim"), MODEL_DIM_MAX, HEAD_DIM_DEFAULT, &dim, err) ||
        !json_opt_bool(json, "attention_bias", "config", &cfg->attention_bias, err))
        return false;
    if (heads % kv != 0)
        return error_set(err, ERR_FORMAT, "num_attention_heads %llu is not a multiple of num_key_value_heads %llu",
                         (unsigned long long)heads, (unsigned long long)kv);
    *a = (struct attention_config){.n_heads = (uint32_t)heads, .n_kv_heads = (uint32_t)kv, .head_dim = (uint32_t)dim};
    cfg->dims[DIM_ATTN_Q] = heads * dim;
    cfg->dims[DIM_ATTN_KV] = kv * dim;
    return true;
}

static bool read_time_step_limit(struct ssm_config *s, const json_t *json, struct error *err)
{
    s->dt_min = 0;
    s->dt_max = INFINITY;
    const char *key = json_has(json, "time_step_limit") ? "time_step_limit" : "mamba_dt_limit";
    const json_t *v = json_object_get(json, key);
    if (!v || json_is_null(v)) return true;
    if (json_array_size(v) == 2 && json_number(json_array_get(v, 0), &s->dt_min) &&
        json_number(json_array_get(v, 1), &s->dt_max) && s->dt_min >= 0 && s->dt_max > s->dt_min && isfinite(s->dt_min))
        return true;
    return error_set(err, ERR_FORMAT, "key '%s': expected two numbers 0 <= low < high, found %s", key, json_brief(v));
}

static bool read_ssm(struct model_config *cfg, const json_t *json, struct error *err)
{
    struct ssm_config *s = &cfg->ssm;
    uint64_t heads, dim, state, groups, taps;
    if (!config_count(json, NAMES("mamba_num_heads"), MODEL_DIM_MAX, 0, &heads, err) ||
        !config_count(json, NAMES("mamba_head_dim"), MODEL_DIM_MAX, 0, &dim, err) ||
        !config_count(json, NAMES("ssm_state_size"), MODEL_DIM_MAX, 0, &state, err) ||
        !config_count(json, NAMES("n_groups", "mamba_n_groups"), heads, 0, &groups, err) ||
        !config_count(json, NAMES("conv_kernel", "mamba_d_conv"), 64, 0, &taps, err) ||
        !read_time_step_limit(s, json, err))
        return false;
    cfg->ssm_conv_bias = true; /* class default */
    if (!json_opt_bool(json, "mamba_conv_bias", "config", &cfg->ssm_conv_bias, err) ||
        !json_opt_bool(json, "use_conv_bias", "config", &cfg->ssm_conv_bias, err) ||
        !json_opt_bool(json, "mamba_proj_bias", "config", &cfg->ssm_proj_bias, err) ||
        !json_opt_bool(json, "use_bias", "config", &cfg->ssm_proj_bias, err) ||
        !json_opt_string(json, "mamba_ssm_cache_dtype", "config", &cfg->ssm_cache_dtype, err))
        return false;
    if (heads % groups != 0)
        return error_set(err, ERR_FORMAT, "mamba_num_heads %llu is not a multiple of n_groups %llu",
                         (unsigned long long)heads, (unsigned long long)groups);
    s->n_heads = (uint32_t)heads;
    s->head_dim = (uint32_t)dim;
    s->state_size = (uint32_t)state;
    s->n_groups = (uint32_t)groups;
    s->conv_taps = (uint32_t)taps;
    cfg->dims[DIM_SSM_HEADS] = heads;
    cfg->dims[DIM_SSM_INNER] = heads * dim; /* never expand * hidden */
    cfg->dims[DIM_SSM_CONV] = heads * dim + 2 * groups * state;
    cfg->dims[DIM_SSM_PROJ] = 2 * heads * dim + 2 * groups * state + heads;
    cfg->dims[DIM_CONV_TAPS] = taps;
    return true;
}

static bool read_moe(struct model_config *cfg, const json_t *json, struct error *err)
{
    struct moe_config *m = &cfg->moe;
    uint64_t experts, top_k, groups, top_groups, latent = 0, n_shared = 1;
    m->normalize = true;
    m->scale = 1;
    if (!config_count(json, NAMES("n_routed_experts"), MODEL_EXPERTS_MAX, 0, &experts, err) ||
        !config_count(json, NAMES("num_experts_per_tok"), experts, 0, &top_k, err) ||
        !config_count(json, NAMES("n_group"), experts, 1, &groups, err) ||
        !config_count(json, NAMES("topk_group"), groups, 1, &top_groups, err) ||
        !config_count(json, NAMES("moe_intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_EXPERT_MLP], err) ||
        !json_opt_u64(json, "moe_latent_size", "config", 0, MODEL_DIM_MAX, &latent, err) ||
        !json_opt_u64(json, "n_shared_experts", "config", 0, 64, &n_shared, err) ||
        !json_opt_bool(json, "norm_topk_prob", "config", &m->normalize, err) ||
        !json_opt_number(json, "routed_scaling_factor", "config", &m->scale, err))
        return false;
    if (n_shared > 1)
        return error_set(err, ERR_UNSUPPORTED, "n_shared_experts %llu: only 0 and 1 are known",
                         (unsigned long long)n_shared);
    if (n_shared && !config_count(json, NAMES("moe_shared_expert_intermediate_size"), MODEL_DIM_MAX, 0,
                                  &cfg->dims[DIM_SHARED_MLP], err))
        return false;
    if (experts % groups != 0)
        return error_set(err, ERR_FORMAT, "n_routed_experts %llu is not a multiple of n_group %llu",
                         (unsigned long long)experts, (unsigned long long)groups);
    if (groups > 1 && experts / groups < 2)
        return error_set(err, ERR_FORMAT,
                         "n_group %llu leaves fewer than two experts per group; a group is scored by its best two",
                         (unsigned long long)groups);
    if (top_k > experts / groups * top_groups)
        return error_set(err, ERR_FORMAT, "num_experts_per_tok %llu is more than the %llu experts of topk_group groups",
                         (unsigned long long)top_k, (unsigned long long)(experts / groups * top_groups));
    if (!isfinite(m->scale)) return error_set(err, ERR_FORMAT, "routed_scaling_factor is not finite");
    m->n_experts = (uint32_t)experts;
    m->top_k = (uint32_t)top_k;
    m->n_groups = (uint32_t)groups;
    m->top_k_groups = (uint32_t)top_groups;
    m->has_latent = latent > 0;
    m->has_shared = n_shared > 0;
    cfg->dims[DIM_EXPERTS] = experts;
    cfg->dims[DIM_LATENT] = latent;
    cfg->dims[DIM_EXPERT_IN] = latent ? latent : cfg->dims[DIM_HIDDEN];
    return true;
}

static bool read_config(struct model_config *cfg, const json_t *whole, struct arena *arena, struct error *err)
{
    const json_t *json = decoder_text_config(whole);
    if (!config_count(json, NAMES("hidden_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_HIDDEN], err) ||
        !config_count(json, NAMES("vocab_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_VOCAB], err) ||
        !read_layers(cfg, json, arena, err))
        return false;
    cfg->n_layers = cfg->n_blocks;
    cfg->mlp = cfg->moe.mlp = (struct mlp_config){.activation = ACT_RELU2};
    cfg->dims[DIM_TWO_HIDDEN] = 2 * cfg->dims[DIM_HIDDEN];
    cfg->norm_eps = 1e-5; /* class default */
    if (!json_opt_number(json, "rms_norm_eps", "config", &cfg->norm_eps, err) ||
        !json_opt_number(json, "norm_eps", "config", &cfg->norm_eps, err) ||
        !json_opt_number(json, "layer_norm_epsilon", "config", &cfg->norm_eps, err) ||
        !json_opt_bool(json, "tie_word_embeddings", "config", &cfg->tied_head, err) ||
        !json_opt_bool(json, "mlp_bias", "config", &cfg->mlp_bias, err) ||
        !json_opt_u64(json, "max_position_embeddings", "config", 0, UINT32_MAX, &cfg->max_position, err))
        return false;
    if (!(cfg->norm_eps >= 0 && cfg->norm_eps < 1))
        return error_set(err, ERR_FORMAT, "layer_norm_epsilon %g is not a small positive number", cfg->norm_eps);
    if (has_kind(cfg, BLOCK_ATTENTION) && !read_attention(cfg, json, err)) return false;
    if (has_kind(cfg, BLOCK_MAMBA2) &&
        (!read_ssm(cfg, json, err) || !config_expect_word(json, "mamba_hidden_act", "silu", err)))
        return false;
    if (has_kind(cfg, BLOCK_MOE) && !read_moe(cfg, json, err)) return false;
    if (has_kind(cfg, BLOCK_MLP) &&
        !config_count(json, NAMES("intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_MLP], err))
        return false;
    return config_expect_word(json, "mlp_hidden_act", "relu2", err);
}

/* ---- which tensors there are ---- */

WHEN(attention_bias, cfg->attention_bias)
WHEN(mlp_bias, cfg->mlp_bias)
WHEN(proj_bias, cfg->ssm_proj_bias)
WHEN(conv_bias, cfg->ssm_conv_bias)
WHEN(latent, cfg->moe.has_latent)
WHEN(shared, cfg->moe.has_shared)
WHEN(latent_bias, cfg->mlp_bias && cfg->moe.has_latent)
WHEN(shared_bias, cfg->mlp_bias && cfg->moe.has_shared)
WHEN(mtp_first, block->mtp && block->layer == 0)
WHEN(mtp_last, block->mtp && block->layer + 1 == cfg->n_mtp_blocks)

#define M (1u << BLOCK_MAMBA2)
#define A (1u << BLOCK_ATTENTION)
#define F (1u << BLOCK_MLP)
#define X (1u << BLOCK_MOE)

static const struct role_rule rules[] = {
    {"{R}embeddings.weight", ROLE_EMBED, SCOPE_MODEL, 0, "vocab,hidden", NULL},
    {"{B}.enorm.weight", ROLE_MTP_EMBED_NORM, SCOPE_BLOCK, 0, "hidden", mtp_first},
    {"{B}.hnorm.weight", ROLE_MTP_HIDDEN_NORM, SCOPE_BLOCK, 0, "hidden", mtp_first},
    {"{B}.eh_proj.weight", ROLE_MTP_PROJ, SCOPE_BLOCK, 0, "hidden,two_hidden", mtp_first},
    {"{B}.norm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, 0, "hidden", NULL},
    {"{B}.mixer.in_proj.weight", ROLE_SSM_IN, SCOPE_BLOCK, M, "ssm_proj,hidden", NULL},
    {"{B}.mixer.in_proj.bias", ROLE_SSM_PROJ_BIAS, SCOPE_BLOCK, M, "ssm_proj", proj_bias},
    {"{B}.mixer.conv1d.weight", ROLE_SSM_CONV, SCOPE_BLOCK, M, "ssm_conv,1,conv_taps", NULL},
    {"{B}.mixer.conv1d.bias", ROLE_SSM_CONV_BIAS, SCOPE_BLOCK, M, "ssm_conv", conv_bias},
    {"{B}.mixer.A_log", ROLE_SSM_A_LOG, SCOPE_BLOCK, M, "ssm_heads", NULL},
    {"{B}.mixer.D", ROLE_SSM_D, SCOPE_BLOCK, M, "ssm_heads", NULL},
    {"{B}.mixer.dt_bias", ROLE_SSM_DT_BIAS, SCOPE_BLOCK, M, "ssm_heads", NULL},
    {"{B}.mixer.norm.weight", ROLE_SSM_NORM, SCOPE_BLOCK, M, "ssm_inner", NULL},
    {"{B}.mixer.out_proj.weight", ROLE_SSM_OUT, SCOPE_BLOCK, M, "hidden,ssm_inner", NULL},
    {"{B}.mixer.out_proj.bias", ROLE_SSM_PROJ_BIAS, SCOPE_BLOCK, M, "hidden", proj_bias},
    {"{B}.mixer.q_proj.weight", ROLE_ATTN_Q, SCOPE_BLOCK, A, "attn_q,hidden", NULL},
    {"{B}.mixer.k_proj.weight", ROLE_ATTN_K, SCOPE_BLOCK, A, "attn_kv,hidden", NULL},
    {"{B}.mixer.v_proj.weight", ROLE_ATTN_V, SCOPE_BLOCK, A, "attn_kv,hidden", NULL},
    {"{B}.mixer.o_proj.weight", ROLE_ATTN_O, SCOPE_BLOCK, A, "hidden,attn_q", NULL},
    {"{B}.mixer.q_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, A, "attn_q", attention_bias},
    {"{B}.mixer.k_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, A, "attn_kv", attention_bias},
    {"{B}.mixer.v_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, A, "attn_kv", attention_bias},
    {"{B}.mixer.o_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, A, "hidden", attention_bias},
    {"{B}.mixer.up_proj.weight", ROLE_MLP_UP, SCOPE_BLOCK, F, "mlp,hidden", NULL},
    {"{B}.mixer.down_proj.weight", ROLE_MLP_DOWN, SCOPE_BLOCK, F, "hidden,mlp", NULL},
    {"{B}.mixer.up_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, F, "mlp", mlp_bias},
    {"{B}.mixer.down_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, F, "hidden", mlp_bias},
    {"{B}.mixer.gate.weight", ROLE_ROUTER, SCOPE_BLOCK, X, "experts,hidden", NULL},
    {"{B}.mixer.gate.e_score_correction_bias", ROLE_ROUTER_BIAS, SCOPE_BLOCK, X, "experts", NULL},
    {"{B}.mixer.fc1_latent_proj.weight", ROLE_LATENT_IN, SCOPE_BLOCK, X, "latent,hidden", latent},
    {"{B}.mixer.fc2_latent_proj.weight", ROLE_LATENT_OUT, SCOPE_BLOCK, X, "hidden,latent", latent},
    {"{B}.mixer.fc1_latent_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, X, "latent", latent_bias},
    {"{B}.mixer.fc2_latent_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, X, "hidden", latent_bias},
    {"{B}.mixer.experts.{E}.up_proj.weight", ROLE_EXPERT_UP, SCOPE_EXPERT, X, "expert_mlp,expert_in", NULL},
    {"{B}.mixer.experts.{E}.down_proj.weight", ROLE_EXPERT_DOWN, SCOPE_EXPERT, X, "expert_in,expert_mlp", NULL},
    {"{B}.mixer.shared_experts.up_proj.weight", ROLE_SHARED_UP, SCOPE_BLOCK, X, "shared_mlp,hidden", shared},
    {"{B}.mixer.shared_experts.down_proj.weight", ROLE_SHARED_DOWN, SCOPE_BLOCK, X, "hidden,shared_mlp", shared},
    {"{B}.mixer.shared_experts.up_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, X, "shared_mlp", shared_bias},
    {"{B}.mixer.shared_experts.down_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, X, "hidden", shared_bias},
    {"{B}.final_layernorm.weight", ROLE_MTP_FINAL_NORM, SCOPE_BLOCK, 0, "hidden", mtp_last},
    {"{R}norm_f.weight", ROLE_FINAL_NORM, SCOPE_MODEL, 0, "hidden", NULL},
    {"{H}lm_head.weight", ROLE_LM_HEAD, SCOPE_MODEL, 0, "vocab,hidden", NULL},
};

const struct model_arch model_nemotron_h = {
    .name = "nemotron_h",
    .hf_names = NAMES("NemotronHForCausalLM", "NemotronH_Nano_VL_V2", "NemotronH_Nano_Omni_Reasoning_V3",
                      "NemotronH_Omni_Reasoning_V3"),
    .model_types =
        NAMES("nemotron_h", "NemotronH_Nano_VL_V2", "NemotronH_Nano_Omni_Reasoning_V3", "NemotronH_Omni_Reasoning_V3"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"backbone.", ""}, {"language_model.backbone.", "language_model."}, {0}},
    .block_prefix = "{R}layers.%u",
    .mtp_prefix = "mtp.layers.%u",
    .mtp_root = "mtp",
    .carried = NAMES("vision_model", "mlp1", "sound_encoder", "sound_projection"),
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
