/* GPT-OSS: windows and full attention in turn with a sink in every head, biases everywhere, experts in stacks, chosen
 * before the softmax. Published files hold the experts as MXFP4, outputs by inputs; plain stacks are inputs by outputs.
 * Either way the outputs of gate and up alternate. */
#include "models/decoder.h"

#include <math.h>

static const struct decoder_defaults defaults = {
    .norm_eps = 1e-5, .rope_theta = 150000, .heads = 64, .kv_heads = 8, .head_dim = 64};

static bool read_attention(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    struct attention_config *a = &cfg->attention;
    uint64_t window = 128;
    if (!json_has(json, "rope_scaling") && !json_has(json, "rope_parameters"))
        return error_set(err, ERR_FORMAT, "key 'rope_scaling' is missing");
    if (!decoder_read_rope(cfg, json, &defaults, NULL, arena, &a->rope, err) ||
        !json_opt_u64(json, "sliding_window", "config", 1, UINT32_MAX, &window, err))
        return false;
    a->sinks = true;
    struct attention_config *sliding = arena_alloc(arena, 1, sizeof *sliding);
    if (!sliding) return error_memory(err, sizeof *sliding);
    *sliding = *a;
    sliding->window = (uint32_t)window;
    for (uint32_t i = 0; i < cfg->n_layers; i++) {
        bool in = false;
        if (!decoder_is_sliding(json, i, cfg->n_layers, 2, &in, err)) return false;
        if (in) cfg->blocks[2 * i].attention = sliding;
    }
    return true;
}

static bool read_experts(struct model_config *cfg, const json_t *json, struct error *err)
{
    double limit = 7, alpha = 1.702;
    if (!json_opt_number(json, "swiglu_limit", "config", &limit, err) ||
        !json_opt_number(json, "swiglu_alpha", "config", &alpha, err) ||
        !decoder_read_experts(cfg, json, NAMES("num_local_experts", "num_experts"), err) ||
        !config_count(json, NAMES("intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_EXPERT_MLP], err))
        return false;
    if (!(limit > 0 && isfinite(limit)))
        return error_set(err, ERR_FORMAT, "key 'swiglu_limit': expected a positive number, found %g", limit);
    if (!(alpha > 0 && isfinite(alpha)))
        return error_set(err, ERR_FORMAT, "key 'swiglu_alpha': expected a positive number, found %g", alpha);
    cfg->moe.route = ROUTE_TOP_K_SOFTMAX;
    cfg->moe.normalize = false;
    cfg->moe.linear_bias = true;
    cfg->moe.mlp =
        (struct mlp_config){.gated = true, .activation = ACT_CLAMPED, .limit = (float)limit, .alpha = (float)alpha};
    return true;
}

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    cfg->attention_bias = true;
    return decoder_read_sizes(cfg, json, &defaults, err) && decoder_read_heads(cfg, json, &defaults, err) &&
           config_expect_word(json, "hidden_act", "silu", err) &&
           decoder_make_blocks(cfg, json, BLOCK_ATTENTION, BLOCK_MOE, arena, err) &&
           read_attention(cfg, json, arena, err) && read_experts(cfg, json, err);
}

static const struct role_rule rules[] = {
    RULES_EMBED,
    RULES_ATTENTION_NORM,
    RULES_ATTENTION,
    RULES_ATTENTION_BIAS,
    {"{B}.self_attn.sinks", ROLE_ATTN_SINKS, SCOPE_BLOCK, IN_ATTENTION, "attn_heads", NULL},
    RULES_MLP_NORM,
    {"{B}.mlp.router.weight", ROLE_ROUTER, SCOPE_BLOCK, IN_MOE, "experts,hidden", NULL},
    {"{B}.mlp.router.bias", ROLE_ROUTER_BIAS, SCOPE_BLOCK, IN_MOE, "experts", NULL},
    RULES_GATED_EXPERTS,
    {"{B}.mlp.experts.{E}.gate_proj.bias", ROLE_EXPERT_BIAS, SCOPE_EXPERT, IN_MOE, "expert_mlp", NULL},
    {"{B}.mlp.experts.{E}.up_proj.bias", ROLE_EXPERT_BIAS, SCOPE_EXPERT, IN_MOE, "expert_mlp", NULL},
    {"{B}.mlp.experts.{E}.down_proj.bias", ROLE_EXPERT_BIAS, SCOPE_EXPERT, IN_MOE, "expert_in", NULL},
    RULES_FINAL,
};

#define EXPERTS "{B}.mlp.experts."
#define MEMBER "{B}.mlp.experts.{E}."
static const struct stack_rule stacks[] = {
    {EXPERTS "gate_up_proj", MEMBER "gate_proj.weight", "expert_mlp", "expert_in", STACK_IN_OUT, 2, 0, true},
    {EXPERTS "gate_up_proj", MEMBER "up_proj.weight", "expert_mlp", "expert_in", STACK_IN_OUT, 2, 1, true},
    {EXPERTS "gate_up_proj_bias", MEMBER "gate_proj.bias", "expert_mlp", "", STACK_OUT_IN, 2, 0, true},
    {EXPERTS "gate_up_proj_bias", MEMBER "up_proj.bias", "expert_mlp", "", STACK_OUT_IN, 2, 1, true},
    {EXPERTS "down_proj", MEMBER "down_proj.weight", "expert_in", "expert_mlp", STACK_IN_OUT, 1, 0, false},
    {EXPERTS "down_proj_bias", MEMBER "down_proj.bias", "expert_in", "", STACK_OUT_IN, 1, 0, false},
    {EXPERTS "gate_up_proj_blocks", MEMBER "gate_proj.weight", "expert_mlp", "expert_in", STACK_MXFP4_BLOCKS, 2, 0,
     true},
    {EXPERTS "gate_up_proj_blocks", MEMBER "up_proj.weight", "expert_mlp", "expert_in", STACK_MXFP4_BLOCKS, 2, 1, true},
    {EXPERTS "gate_up_proj_scales", MEMBER "gate_proj.weight_scale", "expert_mlp", "expert_in", STACK_MXFP4_SCALES, 2,
     0, true},
    {EXPERTS "gate_up_proj_scales", MEMBER "up_proj.weight_scale", "expert_mlp", "expert_in", STACK_MXFP4_SCALES, 2, 1,
     true},
    {EXPERTS "down_proj_blocks", MEMBER "down_proj.weight", "expert_in", "expert_mlp", STACK_MXFP4_BLOCKS, 1, 0, false},
    {EXPERTS "down_proj_scales", MEMBER "down_proj.weight_scale", "expert_in", "expert_mlp", STACK_MXFP4_SCALES, 1, 0,
     false},
    {0},
};

const struct model_arch model_gpt_oss = {
    .name = "gpt_oss",
    .hf_names = NAMES("GptOssForCausalLM"),
    .model_types = NAMES("gpt_oss"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"model.", ""}, {0}},
    .block_prefix = "{R}layers.%u",
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .stacks = stacks,
};
