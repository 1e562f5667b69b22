/* Llama and what keeps its shape: Llama 2 and 3, Nemotron safety guards, many derivatives. */
#include "models/decoder.h"

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    return decoder_read(cfg, json, &(struct decoder_defaults){0}, arena, err);
}

static const struct role_rule rules[] = {
    RULES_EMBED,    RULES_ATTENTION_NORM, RULES_ATTENTION,      RULES_ATTENTION_BIAS,
    RULES_MLP_NORM, RULES_GATED_MLP,      RULES_GATED_MLP_BIAS, RULES_FINAL,
};

const struct model_arch model_llama = {
    .name = "llama",
    .hf_names = NAMES("LlamaForCausalLM"),
    .model_types = NAMES("llama"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"model.", ""}, {0}},
    .block_prefix = "{R}layers.%u",
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
