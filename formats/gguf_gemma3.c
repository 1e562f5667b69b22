/* Gemma 3 in GGUF. Norms are stored around one; the pattern of windows is one number, six where it is not said; how
 * scores are scaled is not said at all: by the head's size, in the model of 62 layers by hidden over heads. Facts of
 * llama.cpp's loader (src/models/gemma3.cpp) and converter. */
#include "formats/gguf_names.h"
#include "formats/gguf_write.h"

#define LAYER "model.layers.{B}."
#define LAYERS_BY_HIDDEN 62u
#define PATTERN_DEFAULT 6u

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", GGUF_SAME, false, false},
    {"output_norm.weight", "model.norm.weight", GGUF_PLUS_ONE, false, false},
    {"output.weight", "lm_head.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_norm.weight", LAYER "input_layernorm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.attn_q.weight", LAYER "self_attn.q_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_k.weight", LAYER "self_attn.k_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_v.weight", LAYER "self_attn.v_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_output.weight", LAYER "self_attn.o_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_q_norm.weight", LAYER "self_attn.q_norm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.attn_k_norm.weight", LAYER "self_attn.k_norm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.post_attention_norm.weight", LAYER "post_attention_layernorm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.ffn_norm.weight", LAYER "pre_feedforward_layernorm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.ffn_gate.weight", LAYER "mlp.gate_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_up.weight", LAYER "mlp.up_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_down.weight", LAYER "mlp.down_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.post_ffw_norm.weight", LAYER "post_feedforward_layernorm.weight", GGUF_PLUS_ONE, false, false},
};
static const struct gguf_key keys[] = {GGUF_KEYS_DECODER, GGUF_KEY_RMS_EPS};

/* What llama.cpp divides scores by the root of. */
static bool score_scalar(const json_t *config, uint64_t *out, struct error *err)
{
    uint64_t hidden, heads, layers, dim;
    if (!json_get_u64(config, "hidden_size", "config.json", 1, UINT32_MAX, &hidden, err) ||
        !json_get_u64(config, "num_attention_heads", "config.json", 1, UINT32_MAX, &heads, err) ||
        !json_get_u64(config, "num_hidden_layers", "config.json", 1, UINT32_MAX, &layers, err))
        return false;
    dim = hidden / heads;
    if (!json_opt_u64(config, "head_dim", "config.json", 1, UINT32_MAX, &dim, err)) return false;
    *out = layers == LAYERS_BY_HIDDEN ? hidden / heads : dim;
    return true;
}

static bool gemma3_read(const struct gguf *g, json_t *config, struct error *err)
{
    uint64_t window = 0, every = PATTERN_DEFAULT, scalar;
    double local = 10000, cap = 0;
    bool has, has_window;
    if (!gguf_opt_u64(g, "%s.attention.sliding_window", UINT32_MAX, &window, &has_window, err) ||
        !gguf_opt_u64(g, "%s.attention.sliding_window_pattern", GGUF_LAYERS_MAX, &every, &has, err) ||
        !gguf_opt_number(g, "%s.rope.freq_base_swa", &local, &has, err) ||
        !gguf_opt_number(g, "%s.final_logit_softcapping", &cap, &has, err))
        return false;
    if (cap > 0)
        return error_set(err, ERR_UNSUPPORTED, "key 'final_logit_softcapping': soft caps of logits are not supported");
    if (window == 0) window = every = 1; /* every layer is a full one */
    if (every == 0) return error_set(err, ERR_UNSUPPORTED, "key 'attention.sliding_window_pattern' is 0");
    /* Without key_length llama.cpp takes hidden over heads, the configuration class 256. */
    if (!score_scalar(config, &scalar, err)) return false;
    if (!json_has(config, "head_dim") && !json_put(config, "head_dim", json_integer((json_int_t)scalar), err))
        return false;
    return json_put(config, "sliding_window", json_integer((json_int_t)window), err) &&
           json_put(config, "sliding_window_pattern", json_integer((json_int_t)every), err) &&
           gguf_put_number(config, "rope_local_base_freq", local, err) &&
           json_put(config, "query_pre_attn_scalar", json_integer((json_int_t)scalar), err) &&
           json_put(config, "hidden_activation", json_string("gelu_pytorch_tanh"), err) &&
           json_put(config, "attention_bias", json_false(), err) && gguf_read_rope(g, config, err);
}

/* ---- writing ---- */

/* The one number that says which layers have windows, from either spelling. */
static bool pattern_of(const json_t *config, uint64_t *every, struct error *err)
{
    const json_t *types = json_object_get(config, "layer_types");
    *every = PATTERN_DEFAULT;
    if (!json_is_array(types))
        return json_opt_u64(config, "sliding_window_pattern", "config.json", 1, GGUF_LAYERS_MAX, every, err);
    size_t n = json_array_size(types), full = n;
    for (size_t i = n; i-- > 0;)
        if (json_is_string(json_array_get(types, i)) &&
            strcmp(json_string_value(json_array_get(types, i)), "full_attention") == 0)
            full = i;
    *every = full + 1;
    for (size_t i = 0; i < n; i++) {
        const char *word = json_string_value(json_array_get(types, i));
        bool is_full = word && strcmp(word, "full_attention") == 0;
        if (!word || is_full != ((i + 1) % *every == 0))
            return error_set(err, ERR_UNSUPPORTED,
                             "config.json: layer_types follow no single period, which GGUF's gemma3 cannot say here");
    }
    return true;
}

/* The full layers' rotation as the other families spell it. */
static bool write_rope(struct gguf_writer *w, const json_t *config, uint64_t dim, struct error *err)
{
    const json_t *both = json_object_get(config, "rope_parameters"), *full = json_object_get(both, "full_attention"),
                 *local = json_object_get(both, "sliding_attention"), *scaling = full;
    double theta = 1e6, swa = 10000;
    const char *type = "default";
    if (!full) scaling = json_object_get(config, "rope_scaling");
    if (!json_opt_number(config, "rope_theta", "config.json", &theta, err) ||
        !json_opt_number(config, "rope_local_base_freq", "config.json", &swa, err) ||
        (full && !json_opt_number(full, "rope_theta", "config.json", &theta, err)) ||
        (local && (!json_opt_number(local, "rope_theta", "config.json", &swa, err) ||
                   !json_opt_string(local, "rope_type", "config.json", &type, err))))
        return false;
    if (strcmp(type, "default") != 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: rope type '%.64s' of sliding layers, which GGUF's gemma3 cannot say", type);
    gguf_put_f32(w, "%s.rope.freq_base_swa", (float)swa);
    CLEANUP(json) json_t *flat = json_object();
    if (!flat || !json_put(flat, "rope_theta", json_real(theta), err)) return flat ? false : error_memory(err, 0);
    if (scaling && !json_is_null(scaling) && !json_put(flat, "rope_scaling", json_deep_copy(scaling), err))
        return false;
    return gguf_write_rope(w, flat, dim, err);
}

static bool gemma3_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    uint64_t every, window = 4096, scalar, said = 256, dim = 256; /* class defaults */
    if (!pattern_of(config, &every, err) ||
        !json_opt_u64(config, "sliding_window", "config.json", 1, UINT32_MAX, &window, err) ||
        !json_opt_u64(config, "query_pre_attn_scalar", "config.json", 1, UINT32_MAX, &said, err) ||
        !json_opt_u64(config, "head_dim", "config.json", 1, UINT32_MAX, &dim, err) ||
        !score_scalar(config, &scalar, err))
        return false;
    if (!json_has(config, "head_dim")) {
        gguf_put_u32(w, "%s.attention.key_length", (uint32_t)dim);
        gguf_put_u32(w, "%s.attention.value_length", (uint32_t)dim);
        scalar = dim;
    }
    if (said != scalar)
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: query_pre_attn_scalar is %llu; GGUF's gemma3 cannot say it and takes %llu",
                         (unsigned long long)said, (unsigned long long)scalar);
    if (json_is_true(json_object_get(config, "attention_bias")))
        return error_set(err, ERR_UNSUPPORTED, "config.json: attention_bias, which GGUF's gemma3 does not have");
    gguf_put_u32(w, "%s.attention.sliding_window", (uint32_t)window);
    gguf_put_u32(w, "%s.attention.sliding_window_pattern", (uint32_t)every);
    return write_rope(w, config, dim, err);
}

const struct gguf_arch gguf_gemma3 = {
    .name = "gemma3",
    .hf_name = "Gemma3ForCausalLM",
    .model_type = "gemma3_text",
    .names = names,
    .n_names = GGUF_COUNT(names),
    .keys = keys,
    .n_keys = GGUF_COUNT(keys),
    .read = gemma3_read,
    .write = gemma3_write,
    .scaled = GGUF_SCALED_ATTN,
};
