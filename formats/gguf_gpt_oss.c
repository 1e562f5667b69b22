/* GPT-OSS and Mistral 3 (Ministral) in GGUF: facts of llama.cpp's converter and of its openai-moe.cpp and mistral3.cpp.
 */
#include "formats/gguf_names.h"
#include "formats/gguf_write.h"

#include <math.h>

#define LAYER "model.layers.{B}."
#define EXPERTS LAYER "mlp.experts.{E}."

/* Sinks are a weight there; gate and up, which share a stack in the folder, are two stacks. */
static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", GGUF_SAME, false, false},
    {"output_norm.weight", "model.norm.weight", GGUF_SAME, false, false},
    {"output.weight", "lm_head.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_norm.weight", LAYER "input_layernorm.weight", GGUF_SAME, false, false},
    {"blk.{B}.post_attention_norm.weight", LAYER "post_attention_layernorm.weight", GGUF_SAME, false, false},
    GGUF_NAMES_QK(GGUF_SAME, GGUF_SAME),
    GGUF_NAMES_VALUE_OUT,
    {"blk.{B}.attn_sinks.weight", LAYER "self_attn.sinks", GGUF_SAME, false, false},
    {"blk.{B}.ffn_gate_inp.weight", LAYER "mlp.router.weight", GGUF_SAME, true, false},
    {"blk.{B}.ffn_gate_inp.bias", LAYER "mlp.router.bias", GGUF_SAME, true, false},
    {"blk.{B}.ffn_gate_exps.weight", EXPERTS "gate_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_up_exps.weight", EXPERTS "up_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_down_exps.weight", EXPERTS "down_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_gate_exps.bias", EXPERTS "gate_proj.bias", GGUF_SAME, true, false},
    {"blk.{B}.ffn_up_exps.bias", EXPERTS "up_proj.bias", GGUF_SAME, true, false},
    {"blk.{B}.ffn_down_exps.bias", EXPERTS "down_proj.bias", GGUF_SAME, true, false},
};
static const struct gguf_key keys[] = {
    GGUF_KEYS_SIZES,
    GGUF_KEY_RMS_EPS,
    {"attention.head_count_kv", GGUF_HF("num_key_value_heads"), GGUF_KEY_U32, false},
    {"expert_count", GGUF_HF("num_local_experts", "num_experts"), GGUF_KEY_U32, true},
    {"expert_used_count", GGUF_HF("num_experts_per_tok", "experts_per_token"), GGUF_KEY_U32, true},
    {"expert_feed_forward_length", GGUF_HF("intermediate_size"), GGUF_KEY_U32, true},
    {"attention.sliding_window", GGUF_HF("sliding_window"), GGUF_KEY_U32, true},
};

/* What llama.cpp does not read from the file: the limits of the activation, and that every second layer, from the first
 * on, has a window. */
static bool gpt_oss_read(const struct gguf *g, json_t *config, struct error *err)
{
    return json_put(config, "swiglu_limit", json_real(7), err) &&
           json_put(config, "hidden_act", json_string("silu"), err) &&
           json_put(config, "attention_bias", json_boolean(gguf_find_tensor(g, "blk.0.attn_q.bias") != NULL), err) &&
           gguf_read_rope(g, config, err);
}

static bool every_second(const json_t *config, struct error *err)
{
    const json_t *types = json_object_get(config, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *word = json_string_value(json_array_get(types, i));
        if (!word || strcmp(word, i % 2 ? "full_attention" : "sliding_attention") != 0)
            return error_set(err, ERR_UNSUPPORTED,
                             "config.json: layer_types is not sliding and full in turn, which GGUF's gpt-oss takes");
    }
    return true;
}

static bool gpt_oss_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    double limit = 7, alpha = 1.702;
    uint64_t dim = 64, width;
    if (!json_opt_number(config, "swiglu_limit", "config.json", &limit, err) ||
        !json_opt_number(config, "swiglu_alpha", "config.json", &alpha, err) || !every_second(config, err) ||
        !json_opt_u64(config, "head_dim", "config.json", 1, UINT32_MAX, &dim, err) ||
        !json_get_u64(config, "intermediate_size", "config.json", 1, UINT32_MAX, &width, err))
        return false;
    if (limit != 7 || fabs(alpha - 1.702) > 1e-6)
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: swiglu_limit %g, swiglu_alpha %g; GGUF's gpt-oss takes 7 and 1.702", limit,
                         alpha);
    if (!json_has(config, "head_dim")) gguf_put_u32(w, "%s.attention.key_length", (uint32_t)dim);
    if (!json_has(config, "head_dim")) gguf_put_u32(w, "%s.attention.value_length", (uint32_t)dim);
    if (!json_has(config, "sliding_window")) gguf_put_u32(w, "%s.attention.sliding_window", 128);
    gguf_put_u32(w, "%s.feed_forward_length", (uint32_t)width);
    return gguf_write_rope(w, config, dim, err);
}

const struct gguf_arch gguf_gpt_oss = {
    .name = "gpt-oss",
    .hf_name = "GptOssForCausalLM",
    .model_type = "gpt_oss",
    .names = names,
    .n_names = GGUF_COUNT(names),
    .keys = keys,
    .n_keys = GGUF_COUNT(keys),
    .read = gpt_oss_read,
    .write = gpt_oss_write,
    .scaled = GGUF_SCALED_ATTN,
};

/* ---- mistral3: Llama's tensors; queries grow with the position ---- */

static const struct gguf_name mistral3_names[] = {
    GGUF_NAMES_DECODER,
    GGUF_NAMES_QK(GGUF_ROPE_Q, GGUF_ROPE_K),
    GGUF_NAMES_UP_DOWN,
    GGUF_NAMES_GATE,
};
static const struct gguf_key mistral3_keys[] = {GGUF_KEYS_DECODER, GGUF_KEY_RMS_EPS};

static bool mistral3_read(const struct gguf *g, json_t *config, struct error *err)
{
    double beta = 0, mscale = 0;
    bool has_beta, has_mscale;
    if (!gguf_read_rope(g, config, err) || !json_put(config, "hidden_act", json_string("silu"), err) ||
        !gguf_opt_number(g, "%s.attention.temperature_scale", &beta, &has_beta, err) ||
        !gguf_opt_number(g, "%s.rope.scaling.yarn_log_multiplier", &mscale, &has_mscale, err))
        return false;
    json_t *rope = json_object_get(config, "rope_scaling");
    if (!has_beta && !has_mscale) return true;
    if (!rope)
        return error_set(err, ERR_FORMAT, "key 'rope.scaling.type' is missing, which temperature_scale goes with");
    if (has_mscale &&
        (!gguf_put_number(rope, "mscale", 1, err) || !gguf_put_number(rope, "mscale_all_dim", mscale, err)))
        return false;
    return (!has_beta || beta == 0 || gguf_put_number(rope, "llama_4_scaling_beta", beta, err)) &&
           json_put(config, "rope_parameters", json_deep_copy(rope), err) &&
           json_put(json_object_get(config, "rope_parameters"), "rope_theta",
                    json_incref(json_object_get(config, "rope_theta")), err) &&
           json_object_del(config, "rope_scaling") == 0;
}

static bool mistral3_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    const json_t *rope = json_object_get(config, "rope_parameters");
    uint64_t hidden, heads, dim;
    double beta = 0, mscale = 1, all = 0;
    if (json_has(config, "sliding_window"))
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: key 'sliding_window' is %s, which GGUF's mistral3 cannot say",
                         json_brief(json_object_get(config, "sliding_window")));
    if (!json_get_u64(config, "hidden_size", "config.json", 1, UINT32_MAX, &hidden, err) ||
        !json_get_u64(config, "num_attention_heads", "config.json", 1, UINT32_MAX, &heads, err))
        return false;
    dim = hidden / heads;
    if (!json_opt_u64(config, "head_dim", "config.json", 1, UINT32_MAX, &dim, err) ||
        (rope && (!json_opt_number(rope, "llama_4_scaling_beta", "config.json", &beta, err) ||
                  !json_opt_number(rope, "mscale", "config.json", &mscale, err) ||
                  !json_opt_number(rope, "mscale_all_dim", "config.json", &all, err))))
        return false;
    if (mscale != 1)
        return error_set(err, ERR_UNSUPPORTED, "config.json: mscale is %g, which GGUF's mistral3 cannot say", mscale);
    if (!gguf_write_rope(w, config, dim, err)) return false;
    gguf_put_u32(w, "%s.rope.dimension_count", (uint32_t)dim);
    if (all != 0) gguf_put_f32(w, "%s.rope.scaling.yarn_log_multiplier", (float)all);
    if (beta != 0) gguf_put_f32(w, "%s.attention.temperature_scale", (float)beta);
    return true;
}

const struct gguf_arch gguf_mistral3 = {
    .name = "mistral3",
    .hf_name = "Ministral3ForCausalLM",
    .model_type = "ministral3",
    .names = mistral3_names,
    .n_names = GGUF_COUNT(mistral3_names),
    .keys = mistral3_keys,
    .n_keys = GGUF_COUNT(mistral3_keys),
    .read = mistral3_read,
    .write = mistral3_write,
    .scaled = GGUF_SCALED_ATTN GGUF_SCALED_FFN GGUF_SCALED_EXPS,
};
