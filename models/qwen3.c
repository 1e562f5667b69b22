/* Qwen3 and Qwen3-MoE: Llama with a norm on each head of q and k; in the MoE model some layers have experts, chosen by
 * softmax. */
#include "models/decoder.h"

/* Windows are a switch that no published Qwen3 turns on. */
static bool read_common(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    const struct decoder_defaults defaults = {.kv_heads = json_has(json, "num_experts") ? 4 : 32,
                                              .head_dim = json_has(json, "num_experts") ? 0 : 128};
    cfg->attention.qk_norm = true;
    if (!config_expect_off(json, "use_sliding_window", err) || !decoder_read(cfg, json, &defaults, arena, err))
        return false;
    for (uint32_t i = 0; i < cfg->n_layers; i++) {
        bool sliding;
        if (!decoder_is_sliding(json, i, cfg->n_layers, 1, &sliding, err)) return false;
        if (sliding)
            return error_set(err, ERR_UNSUPPORTED, "key 'layer_types': layer %u: sliding_attention is not supported",
                             i);
    }
    return true;
}

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    if (!read_common(cfg, json, arena, err)) return false;
    if (!json_has(json, "num_experts")) return true;
    cfg->moe.route = ROUTE_SOFTMAX;
    return decoder_read_experts(cfg, json, NAMES("num_experts"), err) &&
           config_count(json, NAMES("moe_intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_EXPERT_MLP], err) &&
           decoder_place_experts(cfg, json, err);
}

static const struct role_rule rules[] = {
    RULES_EMBED,         RULES_ATTENTION_NORM,
    RULES_ATTENTION,     RULES_ATTENTION_BIAS,
    RULES_QK_NORM,       RULES_MLP_NORM,
    RULES_GATED_MLP,     {"{B}.mlp.gate.weight", ROLE_ROUTER, SCOPE_BLOCK, IN_MOE, "experts,hidden", NULL},
    RULES_GATED_EXPERTS, RULES_FINAL,
};

const struct model_arch model_qwen3 = {
    .name = "qwen3",
    .hf_names = NAMES("Qwen3ForCausalLM", "Qwen3MoeForCausalLM"),
    .model_types = NAMES("qwen3", "qwen3_moe"),
    .read_config = read_config,
    /* Qwen3-Embedding has the names of the body alone. */
    .roots = (const struct name_root[]){{"model.", ""}, {"", ""}, {0}},
    .block_prefix = "{R}layers.%u",
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
