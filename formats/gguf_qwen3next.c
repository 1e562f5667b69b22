/* Qwen3-Next in GGUF: attention in every fourth layer or so, gated DeltaNet in the others, under the names of a state
 * space model. The projection of DeltaNet, which lies by key heads in the folder, is two tensors, q, k and v of all
 * heads and their gates. Facts of llama.cpp's converter and of its qwen3next.cpp. */
#include "formats/gguf_names.h"
#include "formats/gguf_write.h"

#define L "model.layers.{B}."
#define D L "linear_attn."
#define X L "mlp."

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", GGUF_SAME, false, false},
    {"output_norm.weight", "model.norm.weight", GGUF_PLUS_ONE, false, false},
    {"output.weight", "lm_head.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_norm.weight", L "input_layernorm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.post_attention_norm.weight", L "post_attention_layernorm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.attn_qkv.weight", D "in_proj_qkvz.weight", GGUF_QKV, false, false},
    {"blk.{B}.attn_gate.weight", D "in_proj_qkvz.weight", GGUF_Z, false, false},
    {"blk.{B}.ssm_in.weight", D "in_proj_qkvz.weight", GGUF_SAME, false, false}, /* of older files */
    {"blk.{B}.ssm_ba.weight", D "in_proj_ba.weight", GGUF_SAME, false, false},
    {"blk.{B}.ssm_conv1d.weight", D "conv1d.weight", GGUF_CONV, true, false},
    {"blk.{B}.ssm_dt.bias", D "dt_bias", GGUF_SAME, false, false},
    {"blk.{B}.ssm_a", D "A_log", GGUF_NEG_EXP_ROW, true, false},
    {"blk.{B}.ssm_norm.weight", D "norm.weight", GGUF_SAME, true, false},
    {"blk.{B}.ssm_out.weight", D "out_proj.weight", GGUF_SAME, false, false},
    GGUF_NAMES_QK(GGUF_SAME, GGUF_SAME),
    {"blk.{B}.attn_v.weight", L "self_attn.v_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_output.weight", L "self_attn.o_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_q_norm.weight", L "self_attn.q_norm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.attn_k_norm.weight", L "self_attn.k_norm.weight", GGUF_PLUS_ONE, false, false},
    {"blk.{B}.ffn_gate_inp.weight", X "gate.weight", GGUF_SAME, true, false},
    {"blk.{B}.ffn_gate_exps.weight", X "experts.{E}.gate_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_up_exps.weight", X "experts.{E}.up_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_down_exps.weight", X "experts.{E}.down_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_gate_shexp.weight", X "shared_expert.gate_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_up_shexp.weight", X "shared_expert.up_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_down_shexp.weight", X "shared_expert.down_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_gate_inp_shexp.weight", X "shared_expert_gate.weight", GGUF_ROW, true, false},
};
static const struct gguf_key keys[] = {
    GGUF_KEYS_SIZES,
    GGUF_KEY_RMS_EPS,
    {"attention.head_count_kv", GGUF_HF("num_key_value_heads"), GGUF_KEY_U32, false},
    {"feed_forward_length", GGUF_HF("intermediate_size"), GGUF_KEY_U32, false},
    {"expert_count", GGUF_HF("num_experts"), GGUF_KEY_U32, true},
    {"expert_used_count", GGUF_HF("num_experts_per_tok"), GGUF_KEY_U32, true},
    {"expert_feed_forward_length", GGUF_HF("moe_intermediate_size"), GGUF_KEY_U32, true},
    {"expert_shared_feed_forward_length", GGUF_HF("shared_expert_intermediate_size"), GGUF_KEY_U32, true},
    {"ssm.conv_kernel", GGUF_HF("linear_conv_kernel_dim"), GGUF_KEY_U32, true},
    {"ssm.state_size", GGUF_HF("linear_key_head_dim"), GGUF_KEY_U32, true},
    {"ssm.group_count", GGUF_HF("linear_num_key_heads"), GGUF_KEY_U32, true},
    {"ssm.time_step_rank", GGUF_HF("linear_num_value_heads"), GGUF_KEY_U32, true},
    {"full_attention_interval", GGUF_HF("full_attention_interval"), GGUF_KEY_U32, false},
};

static bool qwen3next_read(const struct gguf *g, json_t *config, struct error *err)
{
    uint64_t inner = 0, heads, dim, rope_dims;
    bool has;
    if (!gguf_opt_u64(g, "%s.ssm.inner_size", UINT32_MAX, &inner, &has, err) ||
        !json_get_u64(config, "linear_num_value_heads", "config.json", 0, UINT32_MAX, &heads, err) ||
        !gguf_head_dim(config, &dim, err))
        return false;
    if (heads == 0 || inner == 0 || inner % heads != 0)
        return error_set(err, ERR_FORMAT, "key 'ssm.inner_size' %llu is not a multiple of ssm.time_step_rank %llu",
                         (unsigned long long)inner, (unsigned long long)heads);
    rope_dims = dim;
    if (!gguf_opt_u64(g, "%s.rope.dimension_count", dim, &rope_dims, &has, err)) return false;
    return json_put(config, "head_dim", json_integer((json_int_t)dim), err) &&
           json_put(config, "linear_value_head_dim", json_integer((json_int_t)(inner / heads)), err) &&
           gguf_put_number(config, "partial_rotary_factor", (double)rope_dims / (double)dim, err) &&
           json_put(config, "attention_bias", json_false(), err) &&
           json_put(config, "hidden_act", json_string("silu"), err) &&
           json_put(config, "norm_topk_prob", json_true(), err) &&
           json_put(config, "decoder_sparse_step", json_integer(1), err) &&
           json_put(config, "mlp_only_layers", json_array(), err) && gguf_read_rope(g, config, err);
}

/* ---- writing ---- */

static bool check_layers(const json_t *config, struct error *err)
{
    const json_t *types = json_object_get(config, "layer_types");
    uint64_t interval = 4, step = 1;
    if (!json_opt_u64(config, "full_attention_interval", "config.json", 1, GGUF_LAYERS_MAX, &interval, err) ||
        !json_opt_u64(config, "decoder_sparse_step", "config.json", 0, UINT32_MAX, &step, err))
        return false;
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *word = json_string_value(json_array_get(types, i));
        if (!word || strcmp(word, (i + 1) % interval ? "linear_attention" : "full_attention") != 0)
            return error_set(err, ERR_UNSUPPORTED,
                             "config.json: layer_types is not every full_attention_interval-th layer, which GGUF's "
                             "qwen3next takes");
    }
    return (step == 1 && json_array_size(json_object_get(config, "mlp_only_layers")) == 0) ||
           error_set(err, ERR_UNSUPPORTED, "config.json: layers without experts, which GGUF's qwen3next cannot say");
}

static bool qwen3next_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    uint64_t key, value, heads, dim;
    double part = 0.25; /* class default */
    const json_t *rope = json_object_get(config, "rope_parameters");
    if (!json_get_u64(config, "linear_key_head_dim", "config.json", 1, UINT16_MAX, &key, err) ||
        !json_get_u64(config, "linear_value_head_dim", "config.json", 1, UINT16_MAX, &value, err) ||
        !json_get_u64(config, "linear_num_value_heads", "config.json", 1, UINT16_MAX, &heads, err) ||
        !gguf_head_dim(config, &dim, err) || !check_layers(config, err) ||
        !gguf_flag_is(config, "use_sliding_window", false, "qwen3next", err) ||
        !gguf_flag_is(config, "attention_bias", false, "qwen3next", err) ||
        !gguf_flag_is(config, "norm_topk_prob", true, "qwen3next", err) ||
        (rope && !json_opt_number(rope, "partial_rotary_factor", "config.json", &part, err)) ||
        !json_opt_number(config, "partial_rotary_factor", "config.json", &part, err))
        return false;
    if (!(part > 0 && part <= 1))
        return error_set(err, ERR_FORMAT, "config.json: partial_rotary_factor %g is not in (0, 1]", part);
    if (key != value)
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: linear_key_head_dim %llu and linear_value_head_dim %llu, which GGUF's qwen3next "
                         "takes to be the same",
                         (unsigned long long)key, (unsigned long long)value);
    uint64_t rope_dims = (uint64_t)((double)dim * part);
    gguf_put_u32(w, "%s.ssm.inner_size", (uint32_t)(heads * value));
    gguf_put_u32(w, "%s.rope.dimension_count", (uint32_t)rope_dims);
    if (!json_has(config, "full_attention_interval")) gguf_put_u32(w, "%s.full_attention_interval", 4);
    return gguf_write_rope(w, config, rope_dims, err);
}

const struct gguf_arch gguf_qwen3next = {
    .name = "qwen3next",
    .hf_name = "Qwen3NextForCausalLM",
    .model_type = "qwen3_next",
    .names = names,
    .n_names = GGUF_COUNT(names),
    .keys = keys,
    .n_keys = GGUF_COUNT(keys),
    .read = qwen3next_read,
    .write = qwen3next_write,
    .scaled = GGUF_SCALED_ATTN GGUF_SCALED_EXPS GGUF_SCALED_SHEXP,
};
