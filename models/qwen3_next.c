/* Qwen3-Next and Qwen3.5: three layers of gated DeltaNet, then one of attention with a gate on its result, and so on;
 * norms stored around zero; an MLP (Qwen3.5), or experts with a shared one that a gate mixes in. They differ in names
 * and in how DeltaNet's projections are stored. */
#include "models/decoder.h"

static bool read_delta(struct model_config *cfg, const json_t *json, struct error *err)
{
    struct ssm_config *s = &cfg->ssm;
    uint64_t taps, key, value, key_heads, heads;
    if (!config_count(json, NAMES("linear_conv_kernel_dim"), 64, 4, &taps, err) ||
        !config_count(json, NAMES("linear_key_head_dim"), 4096, 128, &key, err) ||
        !config_count(json, NAMES("linear_value_head_dim"), 4096, 128, &value, err) ||
        !config_count(json, NAMES("linear_num_key_heads"), 65536, 16, &key_heads, err) ||
        !config_count(json, NAMES("linear_num_value_heads"), 65536, 32, &heads, err) ||
        !json_opt_string(json, json_has(json, "mamba_ssm_dtype") ? "mamba_ssm_dtype" : "mamba_ssm_cache_dtype",
                         "config", &cfg->ssm_cache_dtype, err))
        return false;
    if (heads % key_heads != 0)
        return error_set(err, ERR_FORMAT, "linear_num_value_heads %llu is not a multiple of linear_num_key_heads %llu",
                         (unsigned long long)heads, (unsigned long long)key_heads);
    *s = (struct ssm_config){.n_heads = (uint32_t)heads,
                             .head_dim = (uint32_t)value,
                             .state_size = (uint32_t)key,
                             .n_groups = (uint32_t)key_heads,
                             .conv_taps = (uint32_t)taps};
    cfg->dims[DIM_SSM_INNER] = heads * value;
    cfg->dims[DIM_SSM_CONV] = 2 * key_heads * key + heads * value;
    cfg->dims[DIM_SSM_HEADS] = heads;
    cfg->dims[DIM_SSM_HEAD] = value;
    cfg->dims[DIM_CONV_TAPS] = taps;
    cfg->dims[DIM_DELTA_QKVZ] = cfg->dims[DIM_SSM_CONV] + heads * value;
    cfg->dims[DIM_DELTA_BA] = 2 * heads;
    return true;
}

static bool layer_word(const json_t *types, uint32_t layer, enum block_kind *kind, struct error *err)
{
    const json_t *v = json_array_get(types, layer);
    const char *word = json_string_value(v);
    if (word && strcmp(word, "linear_attention") == 0) *kind = BLOCK_DELTA;
    else if (word && strcmp(word, "full_attention") == 0) *kind = BLOCK_ATTENTION;
    else
        return error_set(err, ERR_FORMAT,
                         "key 'layer_types', layer %u: expected linear_attention or full_attention, found %s", layer,
                         json_brief(v));
    return true;
}

/* layer_types, or every full_attention_interval-th layer is one of attention. */
static bool place_attention(struct model_config *cfg, const json_t *json, struct error *err)
{
    const json_t *types = json_object_get(json, "layer_types");
    uint64_t interval = 4;
    if (json_is_null(types)) types = NULL;
    if (!json_opt_u64(json, "full_attention_interval", "config", 1, MODEL_LAYERS_MAX, &interval, err)) return false;
    if (types && (!json_is_array(types) || json_array_size(types) != cfg->n_layers))
        return error_set(err, ERR_FORMAT, "key 'layer_types': expected a list of %u words", cfg->n_layers);
    for (uint32_t i = 0; i < cfg->n_layers; i++) {
        enum block_kind *kind = &cfg->blocks[2 * i].kind;
        *kind = (i + 1) % interval == 0 ? BLOCK_ATTENTION : BLOCK_DELTA;
        if (types && !layer_word(types, i, kind, err)) return false;
    }
    return true;
}

static bool has_mlp(const struct model_config *cfg)
{
    for (uint32_t i = 0; i < cfg->n_blocks; i++)
        if (cfg->blocks[i].kind == BLOCK_MLP) return true;
    return false;
}

static bool read_experts(struct model_config *cfg, const json_t *json, struct error *err)
{
    cfg->moe.route = ROUTE_SOFTMAX;
    cfg->moe.normalize = true; /* class default; Qwen3.5 has no key for it */
    cfg->moe.has_shared = cfg->moe.has_shared_mix = true;
    return decoder_read_experts(cfg, json, NAMES("num_experts"), err) &&
           config_count(json, NAMES("moe_intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_EXPERT_MLP], err) &&
           config_count(json, NAMES("shared_expert_intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_SHARED_MLP],
                        err) &&
           decoder_place_experts(cfg, json, err);
}

static bool read_config(struct model_config *cfg, const json_t *whole, struct arena *arena, struct error *err)
{
    const json_t *json = decoder_text_config(whole);
    const struct decoder_defaults d = {.rotary_part = 0.25, .head_dim = 256};
    cfg->norm = NORM_RMS_ONE;
    cfg->mlp = (struct mlp_config){.gated = true, .activation = ACT_SILU};
    cfg->attention.qk_norm = true;
    cfg->attention.gate = true;
    if (!decoder_read_sizes(cfg, json, &d, err) || !decoder_read_heads(cfg, json, &d, err) ||
        !decoder_read_rope(cfg, json, &d, NULL, arena, &cfg->attention.rope, err) ||
        !config_expect_word(json, "hidden_act", "silu", err) || !config_expect_off(json, "use_sliding_window", err) ||
        !decoder_make_blocks(cfg, json, BLOCK_DELTA, BLOCK_MLP, arena, err) || !place_attention(cfg, json, err) ||
        !read_delta(cfg, json, err))
        return false;
    cfg->dims[DIM_ATTN_Q_GATE] = 2 * cfg->dims[DIM_ATTN_Q];
    if (json_has(json, "num_experts") && !read_experts(cfg, json, err)) return false;
    if (json != whole && !json_has(json, "tie_word_embeddings") &&
        !json_opt_bool(whole, "tie_word_embeddings", "config", &cfg->tied_head, err))
        return false;
    return !has_mlp(cfg) || config_count(json, NAMES("intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_MLP], err);
}

static bool read_next(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    if (!read_config(cfg, json, arena, err)) return false;
    cfg->ssm.delta_by_key_head = true;
    return true;
}

WHEN(by_key_head, cfg->ssm.delta_by_key_head)
WHEN(apart, !cfg->ssm.delta_by_key_head)

#define D KIND_BIT(BLOCK_DELTA)
#define A IN_ATTENTION
#define X IN_MOE

/* In the order of the model; the families choose between DeltaNet's two layouts. */
static const struct role_rule rules[] = {
    RULES_EMBED,
    {"{B}.input_layernorm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, A | D, "hidden", NULL},
    {"{B}.linear_attn.in_proj_qkvz.weight", ROLE_DELTA_QKVZ, SCOPE_BLOCK, D, "delta_qkvz,hidden", by_key_head},
    {"{B}.linear_attn.in_proj_ba.weight", ROLE_DELTA_BA, SCOPE_BLOCK, D, "delta_ba,hidden", by_key_head},
    {"{B}.linear_attn.in_proj_qkv.weight", ROLE_DELTA_QKV, SCOPE_BLOCK, D, "ssm_conv,hidden", apart},
    {"{B}.linear_attn.in_proj_z.weight", ROLE_DELTA_Z, SCOPE_BLOCK, D, "ssm_inner,hidden", apart},
    {"{B}.linear_attn.in_proj_b.weight", ROLE_DELTA_B, SCOPE_BLOCK, D, "ssm_heads,hidden", apart},
    {"{B}.linear_attn.in_proj_a.weight", ROLE_DELTA_A, SCOPE_BLOCK, D, "ssm_heads,hidden", apart},
    {"{B}.linear_attn.conv1d.weight", ROLE_SSM_CONV, SCOPE_BLOCK, D, "ssm_conv,1,conv_taps", NULL},
    {"{B}.linear_attn.A_log", ROLE_SSM_A_LOG, SCOPE_BLOCK, D, "ssm_heads", NULL},
    {"{B}.linear_attn.dt_bias", ROLE_SSM_DT_BIAS, SCOPE_BLOCK, D, "ssm_heads", NULL},
    {"{B}.linear_attn.norm.weight", ROLE_DELTA_NORM, SCOPE_BLOCK, D, "ssm_head", NULL},
    {"{B}.linear_attn.out_proj.weight", ROLE_DELTA_OUT, SCOPE_BLOCK, D, "hidden,ssm_inner", NULL},
    {"{B}.self_attn.q_proj.weight", ROLE_ATTN_Q, SCOPE_BLOCK, A, "attn_q_gate,hidden", NULL},
    {"{B}.self_attn.k_proj.weight", ROLE_ATTN_K, SCOPE_BLOCK, A, "attn_kv,hidden", NULL},
    {"{B}.self_attn.v_proj.weight", ROLE_ATTN_V, SCOPE_BLOCK, A, "attn_kv,hidden", NULL},
    {"{B}.self_attn.o_proj.weight", ROLE_ATTN_O, SCOPE_BLOCK, A, "hidden,attn_q", NULL},
    {"{B}.self_attn.q_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, A, "attn_q_gate", decoder_attention_bias},
    {"{B}.self_attn.k_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, A, "attn_kv", decoder_attention_bias},
    {"{B}.self_attn.v_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, A, "attn_kv", decoder_attention_bias},
    {"{B}.self_attn.o_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, A, "hidden", decoder_attention_bias},
    RULES_QK_NORM,
    RULES_MLP_NORM,
    RULES_GATED_MLP,
    {"{B}.mlp.gate.weight", ROLE_ROUTER, SCOPE_BLOCK, X, "experts,hidden", NULL},
    RULES_GATED_EXPERTS,
    {"{B}.mlp.shared_expert.gate_proj.weight", ROLE_SHARED_GATE, SCOPE_BLOCK, X, "shared_mlp,hidden", NULL},
    {"{B}.mlp.shared_expert.up_proj.weight", ROLE_SHARED_UP, SCOPE_BLOCK, X, "shared_mlp,hidden", NULL},
    {"{B}.mlp.shared_expert.down_proj.weight", ROLE_SHARED_DOWN, SCOPE_BLOCK, X, "hidden,shared_mlp", NULL},
    {"{B}.mlp.shared_expert_gate.weight", ROLE_SHARED_MIX, SCOPE_BLOCK, X, "1,hidden", NULL},
    RULES_FINAL,
};

/* Qwen3.5's experts may lie in stacks. */
#define EXPERTS "{B}.mlp.experts."
#define MEMBER "{B}.mlp.experts.{E}."
static const struct stack_rule stacks[] = {
    {EXPERTS "gate_up_proj", MEMBER "gate_proj.weight", "expert_mlp", "expert_in", STACK_OUT_IN, 2, 0, false},
    {EXPERTS "gate_up_proj", MEMBER "up_proj.weight", "expert_mlp", "expert_in", STACK_OUT_IN, 2, 1, false},
    {EXPERTS "down_proj", MEMBER "down_proj.weight", "expert_in", "expert_mlp", STACK_OUT_IN, 1, 0, false},
    {0},
};

const struct model_arch model_qwen3_next = {
    .name = "qwen3_next",
    .hf_names = NAMES("Qwen3NextForCausalLM"),
    .model_types = NAMES("qwen3_next"),
    .read_config = read_next,
    .roots = (const struct name_root[]){{"model.", ""}, {0}},
    .block_prefix = "{R}layers.%u",
    .carried = NAMES("mtp"),
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};

const struct model_arch model_qwen3_5 = {
    .name = "qwen3_5",
    .hf_names = NAMES("Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM", "Qwen3_5MoeForConditionalGeneration",
                      "Qwen3_5MoeForCausalLM"),
    .model_types = NAMES("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"model.language_model.", ""}, {"model.", ""}, {0}},
    .block_prefix = "{R}layers.%u",
    .carried = NAMES("model.visual", "mtp"),
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .stacks = stacks,
};
