/* Llama and what keeps its shape: Llama 2 and 3, Nemotron safety guards, many derivatives;
 * Llama Nemotron Nano VL's language model beside a vision tower. */
#include "models/decoder.h"

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    return decoder_read(cfg, decoder_text_config(json), &(struct decoder_defaults){0}, arena, err);
}

static const struct role_rule rules[] = {
    RULES_EMBED,    RULES_ATTENTION_NORM, RULES_ATTENTION,      RULES_ATTENTION_BIAS,
    RULES_MLP_NORM, RULES_GATED_MLP,      RULES_GATED_MLP_BIAS, RULES_FINAL,
};

const struct model_arch model_llama = {
    .name = "llama",
    .hf_names = NAMES("LlamaForCausalLM", "Llama_Nemotron_Nano_VL"),
    .model_types = NAMES("llama", "Llama_Nemotron_Nano_VL"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"model.", ""}, {"language_model.model.", "language_model."}, {0}},
    .block_prefix = "{R}layers.%u",
    .carried = NAMES("vision_model", "mlp1"),
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
