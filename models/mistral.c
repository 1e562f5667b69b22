/* Mistral: Llama with a head size of its own and, in some, a sliding window; mistral3 wraps it beside a vision tower;
 * ministral3 stretches its positions by yarn and raises queries with their distance from the start. */
#include "models/decoder.h"

#include <math.h>

/* What a configuration leaves to its class. */
static const struct decoder_defaults mistral_defaults = {.kv_heads = 8},
                                     ministral_defaults = {.kv_heads = 8, .head_dim = 128, .norm_eps = 1e-5};

static bool read_window(struct model_config *cfg, const json_t *text, bool ministral, struct error *err)
{
    /* Mistral's class has a window unless the configuration says null. */
    uint64_t window = ministral || json_object_get(text, "sliding_window") ? 0 : 4096;
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
    const char *type = json_string_value(json_object_get(text, "model_type"));
    bool wrapped = text != json,
         ministral = type ? strcmp(type, "ministral3") == 0 : strcmp(cfg->hf_name, "Ministral3ForCausalLM") == 0;
    if (ministral && !json_has(text, "rope_parameters") && !json_has(text, "rope_scaling"))
        return error_set(err, ERR_FORMAT, "key 'rope_parameters' is missing");
    if (!decoder_read(cfg, text, ministral ? &ministral_defaults : &mistral_defaults, arena, err) ||
        !read_window(cfg, text, ministral, err))
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
