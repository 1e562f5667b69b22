/* Mistral: Llama with a head size of its own and, in some, a sliding window; mistral3 wraps it beside a vision tower;
 * ministral3 stretches its positions by yarn and raises queries with their distance from the start. */
#include "models/decoder.h"

#include <math.h>

static bool read_window(struct model_config *cfg, const json_t *text, struct error *err)
{
    uint64_t window = 0;
    if (!json_opt_u64(text, "sliding_window", "config", 1, UINT32_MAX, &window, err)) return false;
    cfg->attention.window = (uint32_t)window;
    return true;
}

/* llama_4_scaling_beta beside the yarn parameters. */
static bool read_query_scale(struct model_config *cfg, const json_t *text, struct error *err)
{
    struct rope_spec spec;
    struct attention_config *a = &cfg->attention;
    if (!rope_find(text, NULL, 10000, &spec, err)) return false;
    if (!spec.scaling) return true;
    if (!json_opt_number(spec.scaling, "llama_4_scaling_beta", "rope scaling", &a->query_beta, err)) return false;
    if (a->query_beta == 0) return true;
    if (!(a->query_beta > 0 && isfinite(a->query_beta)))
        return error_set(err, ERR_FORMAT, "key 'llama_4_scaling_beta': expected a positive number, found %g",
                         a->query_beta);
    return json_get_u64(spec.scaling, "original_max_position_embeddings", "rope scaling", 1, UINT32_MAX,
                        &a->query_original, err);
}

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    const json_t *text = decoder_text_config(json);
    bool wrapped = text != json;
    if (!decoder_read(cfg, text, &(struct decoder_defaults){0}, arena, err) || !read_window(cfg, text, err))
        return false;
    if (wrapped && !json_has(text, "tie_word_embeddings") &&
        !json_opt_bool(json, "tie_word_embeddings", "config", &cfg->tied_head, err))
        return false;
    return read_query_scale(cfg, text, err);
}

static const struct role_rule rules[] = {
    RULES_EMBED, RULES_ATTENTION_NORM, RULES_ATTENTION, RULES_MLP_NORM, RULES_GATED_MLP, RULES_FINAL,
};

const struct model_arch model_mistral = {
    .name = "mistral",
    .hf_names = NAMES("MistralForCausalLM", "Ministral3ForCausalLM", "Mistral3ForConditionalGeneration"),
    .model_types = NAMES("mistral", "ministral3", "mistral3"),
    .read_config = read_config,
    .roots =
        (const struct name_root[]){
            {"model.", ""}, {"language_model.model.", "language_model."}, {"model.language_model.", ""}, {0}},
    .block_prefix = "{R}layers.%u",
    .carried = NAMES("vision_tower", "multi_modal_projector", "model.vision_tower", "model.multi_modal_projector"),
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
