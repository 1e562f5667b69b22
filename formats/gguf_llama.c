/* Llama and Qwen 3 in GGUF. Llama's rotation pairs neighbours there, so the rows of q and k are interleaved; Qwen's and
 * Nemotron's stay as they are. */
#include "formats/gguf_names.h"
#include "formats/gguf_write.h"

/* ---- llama ---- */

static const struct gguf_name llama_names[] = {
    GGUF_NAMES_DECODER,   GGUF_NAMES_QK(GGUF_ROPE_Q, GGUF_ROPE_K), GGUF_NAMES_UP_DOWN, GGUF_NAMES_GATE,
    GGUF_NAME_ROPE_FREQS,
};
static const struct gguf_key decoder_keys[] = {GGUF_KEYS_DECODER, GGUF_KEY_RMS_EPS};

bool gguf_flag_is(const json_t *config, const char *key, bool wanted, const char *arch, struct error *err)
{
    const json_t *v = json_object_get(config, key);
    if (!v || json_is_null(v) || json_is_true(v) == wanted) return true;
    return error_set(err, ERR_UNSUPPORTED, "config.json: key '%s' is %s, which GGUF's %s cannot say", key,
                     json_brief(v), arch);
}

/* Biases are there or not; config.json says so, GGUF only shows it. */
bool gguf_read_biases(const struct gguf *g, json_t *config, struct error *err)
{
    return json_put(config, "attention_bias", json_boolean(gguf_find_tensor(g, "blk.0.attn_q.bias") != NULL), err) &&
           json_put(config, "mlp_bias", json_boolean(gguf_find_tensor(g, "blk.0.ffn_up.bias") != NULL), err) &&
           json_put(config, "hidden_act", json_string("silu"), err);
}

static bool llama_read(const struct gguf *g, json_t *config, struct error *err)
{
    const struct gguf_value *v = gguf_find(g, "%s.expert_count");
    uint64_t experts = 0;
    if (v && !gguf_u64_at(v, 0, UINT32_MAX, &experts, err)) return false;
    if (experts) return error_set(err, ERR_UNSUPPORTED, "GGUF's llama with experts (Mixtral) is not known");
    return gguf_read_biases(g, config, err) && gguf_read_rope(g, config, err);
}

bool gguf_head_dim(const json_t *config, uint64_t *out, struct error *err)
{
    uint64_t hidden, heads;
    if (!json_get_u64(config, "hidden_size", "config.json", 1, UINT32_MAX, &hidden, err) ||
        !json_get_u64(config, "num_attention_heads", "config.json", 1, UINT32_MAX, &heads, err))
        return false;
    *out = hidden / heads;
    return json_opt_u64(config, "head_dim", "config.json", 1, UINT32_MAX, out, err);
}

static bool no_partial_rope(const json_t *config, struct error *err)
{
    double f = 1;
    if (!json_opt_number(config, "partial_rotary_factor", "config.json", &f, err)) return false;
    return f == 1 || error_set(err, ERR_UNSUPPORTED, "config.json: partial_rotary_factor %g with interleaved rows", f);
}

static bool llama_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    uint64_t dim;
    if (json_has(config, "sliding_window"))
        return error_set(err, ERR_UNSUPPORTED, "config.json: key 'sliding_window' is %s, which GGUF's llama cannot say",
                         json_brief(json_object_get(config, "sliding_window")));
    if (!gguf_head_dim(config, &dim, err) || !no_partial_rope(config, err) || !gguf_write_rope(w, config, dim, err))
        return false;
    gguf_put_u32(w, "%s.rope.dimension_count", (uint32_t)dim);
    return true;
}

const struct gguf_arch gguf_llama = {
    .name = "llama",
    .hf_name = "LlamaForCausalLM",
    .model_type = "llama",
    .also_hf = "MistralForCausalLM", /* without its window */
    .also_type = "mistral",
    .names = llama_names,
    .n_names = GGUF_COUNT(llama_names),
    .keys = decoder_keys,
    .n_keys = GGUF_COUNT(decoder_keys),
    .read = llama_read,
    .write = llama_write,
    .scaled = GGUF_SCALED_ATTN GGUF_SCALED_FFN GGUF_SCALED_EXPS,
};

/* ---- qwen3 ---- */

static const struct gguf_name qwen3_names[] = {
    GGUF_NAMES_DECODER, GGUF_NAMES_QK(GGUF_SAME, GGUF_SAME), GGUF_NAMES_QK_NORM, GGUF_NAMES_UP_DOWN, GGUF_NAMES_GATE,
};

static bool qwen3_read(const struct gguf *g, json_t *config, struct error *err)
{
    return gguf_read_biases(g, config, err) && gguf_read_rope(g, config, err);
}

static bool qwen3_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    uint64_t dim;
    return gguf_flag_is(config, "use_sliding_window", false, "qwen3", err) && gguf_head_dim(config, &dim, err) &&
           gguf_write_rope(w, config, dim, err);
}

const struct gguf_arch gguf_qwen3 = {
    .name = "qwen3",
    .hf_name = "Qwen3ForCausalLM",
    .model_type = "qwen3",
    .names = qwen3_names,
    .n_names = GGUF_COUNT(qwen3_names),
    .keys = decoder_keys,
    .n_keys = GGUF_COUNT(decoder_keys),
    .read = qwen3_read,
    .write = qwen3_write,
    .scaled = GGUF_SCALED_ATTN GGUF_SCALED_FFN,
};

/* ---- qwen3moe: every layer has experts, and the weights of the chosen ones are always normalized ---- */

#define EXPERTS "model.layers.{B}.mlp.experts.{E}."
static const struct gguf_name qwen3moe_names[] = {
    GGUF_NAMES_DECODER,
    GGUF_NAMES_QK(GGUF_SAME, GGUF_SAME),
    GGUF_NAMES_QK_NORM,
    {"blk.{B}.ffn_gate_inp.weight", "model.layers.{B}.mlp.gate.weight", GGUF_SAME, true, false},
    {"blk.{B}.ffn_gate_exps.weight", EXPERTS "gate_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_up_exps.weight", EXPERTS "up_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_down_exps.weight", EXPERTS "down_proj.weight", GGUF_SAME, false, false},
};
static const struct gguf_key qwen3moe_keys[] = {
    GGUF_KEYS_DECODER,
    GGUF_KEY_RMS_EPS,
    {"expert_count", GGUF_HF("num_experts"), GGUF_KEY_U32, true},
    {"expert_used_count", GGUF_HF("num_experts_per_tok"), GGUF_KEY_U32, true},
    {"expert_feed_forward_length", GGUF_HF("moe_intermediate_size"), GGUF_KEY_U32, true},
};

static bool qwen3moe_read(const struct gguf *g, json_t *config, struct error *err)
{
    return qwen3_read(g, config, err) && json_put(config, "norm_topk_prob", json_true(), err) &&
           json_put(config, "decoder_sparse_step", json_integer(1), err) &&
           json_put(config, "mlp_only_layers", json_array(), err);
}

static bool qwen3moe_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    uint64_t step = 1;
    if (!json_opt_u64(config, "decoder_sparse_step", "config.json", 0, UINT32_MAX, &step, err)) return false;
    if (step != 1 || json_array_size(json_object_get(config, "mlp_only_layers")))
        return error_set(err, ERR_UNSUPPORTED, "config.json: layers without experts, which GGUF's qwen3moe cannot say");
    if (!json_is_true(json_object_get(config, "norm_topk_prob")))
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: key 'norm_topk_prob' is not true, which GGUF's qwen3moe "
                         "cannot say");
    return qwen3_write(w, config, err);
}

const struct gguf_arch gguf_qwen3moe = {
    .name = "qwen3moe",
    .hf_name = "Qwen3MoeForCausalLM",
    .model_type = "qwen3_moe",
    .names = qwen3moe_names,
    .n_names = GGUF_COUNT(qwen3moe_names),
    .keys = qwen3moe_keys,
    .n_keys = GGUF_COUNT(qwen3moe_keys),
    .read = qwen3moe_read,
    .write = qwen3moe_write,
    .scaled = GGUF_SCALED_ATTN GGUF_SCALED_EXPS,
};

/* ---- nemotron: LayerNorm1P, which GGUF stores as a plain LayerNorm with w + 1 ---- */

static const struct gguf_name nemotron_names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", GGUF_SAME, false, false},
    {"output_norm.weight", "model.norm.weight", GGUF_PLUS_ONE, false, false},
    {"output_norm.bias", "model.norm.bias", GGUF_SAME, false, false},
    {"output.weight", "lm_head.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_norm.weight", "model.layers.{B}.input_layernorm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.attn_norm.bias", "model.layers.{B}.input_layernorm.bias", GGUF_SAME, false, false},
    {"blk.{B}.ffn_norm.weight", "model.layers.{B}.post_attention_layernorm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.ffn_norm.bias", "model.layers.{B}.post_attention_layernorm.bias", GGUF_SAME, false, false},
    GGUF_NAMES_QK(GGUF_SAME, GGUF_SAME),
    GGUF_NAMES_VALUE_OUT,
    GGUF_NAMES_UP_DOWN,
};
static const struct gguf_key nemotron_keys[] = {
    GGUF_KEYS_DECODER,
    {"attention.layer_norm_epsilon", GGUF_HF("norm_eps", "layer_norm_eps"), GGUF_KEY_F32, true},
};

static bool nemotron_read(const struct gguf *g, json_t *config, struct error *err)
{
    uint64_t dim, rope_dims;
    bool has;
    if (!gguf_head_dim(config, &dim, err)) return false;
    rope_dims = dim;
    if (!gguf_opt_u64(g, "%s.rope.dimension_count", dim, &rope_dims, &has, err)) return false;
    return gguf_read_biases(g, config, err) && json_put(config, "hidden_act", json_string("relu2"), err) &&
           gguf_put_number(config, "partial_rotary_factor", (double)rope_dims / (double)dim, err) &&
           gguf_read_rope(g, config, err);
}

static bool nemotron_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    uint64_t dim;
    double part = 0.5; /* class default */
    if (!gguf_head_dim(config, &dim, err) ||
        !json_opt_number(json_object_get(config, "rope_parameters"), "partial_rotary_factor", "config.json", &part,
                         err) ||
        !json_opt_number(config, "partial_rotary_factor", "config.json", &part, err))
        return false;
    if (!(part > 0 && part <= 1))
        return error_set(err, ERR_FORMAT, "config.json: partial_rotary_factor %g is not in (0, 1]", part);
    uint64_t hidden = (uint64_t)json_integer_value(json_object_get(config, "hidden_size")),
             heads = (uint64_t)json_integer_value(json_object_get(config, "num_attention_heads"));
    if (dim * heads != hidden)
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: %llu heads of %llu for a width of %llu, which GGUF's nemotron cannot say",
                         (unsigned long long)heads, (unsigned long long)dim, (unsigned long long)hidden);
    uint64_t rope_dims = (uint64_t)((double)dim * part);
    gguf_put_u32(w, "%s.rope.dimension_count", (uint32_t)rope_dims);
    return gguf_write_rope(w, config, rope_dims, err);
}

const struct gguf_arch gguf_nemotron = {
    .name = "nemotron",
    .hf_name = "NemotronForCausalLM",
    .model_type = "nemotron",
    .names = nemotron_names,
    .n_names = GGUF_COUNT(nemotron_names),
    .keys = nemotron_keys,
    .n_keys = GGUF_COUNT(nemotron_keys),
    .read = nemotron_read,
    .write = nemotron_write,
    .scaled = GGUF_SCALED_ATTN,
};
