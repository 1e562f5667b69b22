/* Gemma 3, text (Nemotron Content Safety is one): norms around zero before and after each mixer, embeddings times
 * sqrt(hidden), a norm on each head, sliding windows with a frequency of their own in five layers of six. Only the
 * language model of the vision variants runs; their towers are carried. */
#include "models/decoder.h"

#include <math.h>

static const struct decoder_defaults defaults = {.activation = "gelu_pytorch_tanh",
                                                 .rope_theta = 1e6,
                                                 .tied = true,
                                                 .vocab = 262208,
                                                 .heads = 8,
                                                 .kv_heads = 4,
                                                 .head_dim = 256};

static bool read_windows(struct model_config *cfg, const json_t *text, struct arena *arena, struct error *err)
{
    uint64_t window = 4096, every = 6;
    double local = 10000;
    struct rope_spec spec, scaled;
    struct attention_config *sliding = arena_alloc(arena, 1, sizeof *sliding);
    if (!sliding) return error_memory(err, sizeof *sliding);
    if (!json_opt_u64(text, "sliding_window", "config", 1, UINT32_MAX, &window, err) ||
        !json_opt_u64(text, "sliding_window_pattern", "config", 1, MODEL_LAYERS_MAX, &every, err) ||
        !json_opt_number(text, "rope_local_base_freq", "config", &local, err) ||
        !rope_find(text, "sliding_attention", local, &scaled, err))
        return false;
    /* The older spelling has one rope_scaling, which is for the full layers. */
    bool own = json_is_object(json_object_get(json_object_get(text, "rope_parameters"), "sliding_attention"));
    spec = own ? scaled : (struct rope_spec){.theta = local};
    if (!(spec.theta > 1)) return error_set(err, ERR_FORMAT, "key 'rope_local_base_freq': expected a number above 1");
    *sliding = cfg->attention;
    sliding->window = (uint32_t)window;
    if (!rope_make(&spec, ROPE_HALF, cfg->attention.head_dim, cfg->max_position, arena, &sliding->rope, err))
        return false;
    for (uint32_t i = 0; i < cfg->n_layers; i++) {
        bool in = false;
        if (!decoder_is_sliding(text, i, cfg->n_layers, every, &in, err)) return false;
        if (in) cfg->blocks[2 * i].attention = sliding;
    }
    return true;
}

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    const json_t *text = decoder_text_config(json);
    struct attention_config *a = &cfg->attention;
    double scalar = 256;
    cfg->norm = NORM_RMS_ONE;
    cfg->post_norm = a->qk_norm = true;
    if (!decoder_read_sizes(cfg, text, &defaults, err) || !decoder_read_heads(cfg, text, &defaults, err) ||
        !decoder_read_rope(cfg, text, &defaults, "full_attention", arena, &a->rope, err) ||
        !json_opt_number(text, "query_pre_attn_scalar", "config", &scalar, err) ||
        !config_count(text, NAMES("intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_MLP], err) ||
        !config_expect_word(text, json_has(text, "hidden_activation") ? "hidden_activation" : "hidden_act",
                            defaults.activation, err) ||
        !config_expect_off(text, "use_bidirectional_attention", err) ||
        !decoder_make_blocks(cfg, text, BLOCK_ATTENTION, BLOCK_MLP, arena, err))
        return false;
    const char *const caps[] = {"attn_logit_softcapping", "final_logit_softcapping"};
    for (size_t i = 0; i < 2; i++)
        if (json_has(text, caps[i]))
            return error_set(err, ERR_UNSUPPORTED, "key '%s': soft caps of logits are not supported", caps[i]);
    if (!(scalar > 0 && isfinite(scalar)))
        return error_set(err, ERR_FORMAT, "key 'query_pre_attn_scalar': expected a positive number, found %g", scalar);
    a->scale = 1 / sqrt(scalar);
    cfg->mlp = (struct mlp_config){.gated = true, .activation = ACT_GELU_TANH};
    cfg->embed_scale = sqrt((double)cfg->dims[DIM_HIDDEN]);
    return read_windows(cfg, text, arena, err);
}

static const struct role_rule rules[] = {
    RULES_EMBED,
    RULES_ATTENTION_NORM,
    RULES_ATTENTION,
    RULES_ATTENTION_BIAS,
    RULES_QK_NORM,
    {"{B}.post_attention_layernorm.weight", ROLE_BLOCK_POST_NORM, SCOPE_BLOCK, IN_ATTENTION, "hidden", NULL},
    {"{B}.pre_feedforward_layernorm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_MLP, "hidden", NULL},
    RULES_GATED_MLP,
    {"{B}.post_feedforward_layernorm.weight", ROLE_BLOCK_POST_NORM, SCOPE_BLOCK, IN_MLP, "hidden", NULL},
    RULES_FINAL,
};

const struct model_arch model_gemma3 = {
    .name = "gemma3",
    .hf_names = NAMES("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    .model_types = NAMES("gemma3_text", "gemma3"),
    .read_config = read_config,
    .roots =
        (const struct name_root[]){
            {"model.", ""}, {"language_model.model.", "language_model."}, {"model.language_model.", ""}, {0}},
    .block_prefix = "{R}layers.%u",
    .carried = NAMES("vision_tower", "multi_modal_projector", "model.vision_tower", "model.multi_modal_projector"),
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
