/* Nemotron-4, Minitron: layer norms stored around zero with biases, squared ReLU without gate, half of each head
 * rotates. */
#include "models/decoder.h"

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    static const struct decoder_defaults d = {.norm_eps = 1e-5, .rotary_part = 0.5, .activation = "relu2"};
    if (!decoder_read(cfg, json, &d, arena, err)) return false;
    cfg->norm = NORM_LAYER_ONE;
    cfg->mlp = (struct mlp_config){.activation = ACT_RELU2};
    return true;
}

static const struct role_rule rules[] = {
    RULES_EMBED,
    RULES_ATTENTION_NORM,
    {"{B}.input_layernorm.bias", ROLE_BLOCK_NORM_BIAS, SCOPE_BLOCK, IN_ATTENTION, "hidden", NULL},
    RULES_ATTENTION,
    RULES_ATTENTION_BIAS,
    RULES_MLP_NORM,
    {"{B}.post_attention_layernorm.bias", ROLE_BLOCK_NORM_BIAS, SCOPE_BLOCK, IN_MLP, "hidden", NULL},
    {"{B}.mlp.up_proj.weight", ROLE_MLP_UP, SCOPE_BLOCK, IN_MLP, "mlp,hidden", NULL},
    {"{B}.mlp.up_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, IN_MLP, "mlp", decoder_mlp_bias},
    {"{B}.mlp.down_proj.weight", ROLE_MLP_DOWN, SCOPE_BLOCK, IN_MLP, "hidden,mlp", NULL},
    {"{B}.mlp.down_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, IN_MLP, "hidden", decoder_mlp_bias},
    {"{R}norm.weight", ROLE_FINAL_NORM, SCOPE_MODEL, 0, "hidden", NULL},
    {"{R}norm.bias", ROLE_FINAL_NORM_BIAS, SCOPE_MODEL, 0, "hidden", NULL},
    {"{H}lm_head.weight", ROLE_LM_HEAD, SCOPE_MODEL, 0, "vocab,hidden", NULL},
};

const struct model_arch model_nemotron = {
    .name = "nemotron",
    .hf_names = NAMES("NemotronForCausalLM"),
    .model_types = NAMES("nemotron"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"model.", ""}, {0}},
    .block_prefix = "{R}layers.%u",
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
