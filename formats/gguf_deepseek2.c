/* DeepSeek-V3 and Kimi K2 in GGUF (deepseek2): latent attention as one wide key head, its second projection in two
 * tensors, keys turned. Facts of llama.cpp's converter and of its deepseek2.cpp. The multi-token-prediction head has no
 * place there. */
#include "formats/gguf_names.h"
#include "formats/gguf_write.h"

#include <math.h>

#define L "model.layers.{B}."
#define A L "self_attn."
#define X L "mlp."

#define GATING_SIGMOID 2u /* llama.cpp's LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID */

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", GGUF_SAME, false, false},
    {"output_norm.weight", "model.norm.weight", GGUF_SAME, false, false},
    {"output.weight", "lm_head.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_norm.weight", L "input_layernorm.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_norm.weight", L "post_attention_layernorm.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_q.weight", A "q_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_q_a.weight", A "q_a_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_q_a_norm.weight", A "q_a_layernorm.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_q_b.weight", A "q_b_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_kv_a_mqa.weight", A "kv_a_proj_with_mqa.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_kv_a_norm.weight", A "kv_a_layernorm.weight", GGUF_SAME, false, false},
    {"blk.{B}.attn_k_b.weight", A "kv_b_proj.weight", GGUF_K_B, false, false},
    {"blk.{B}.attn_v_b.weight", A "kv_b_proj.weight", GGUF_V_B, false, false},
    {"blk.{B}.attn_output.weight", A "o_proj.weight", GGUF_SAME, false, false},
    GGUF_NAMES_UP_DOWN,
    GGUF_NAMES_GATE,
    {"blk.{B}.ffn_gate_inp.weight", X "gate.weight", GGUF_SAME, true, false},
    {"blk.{B}.exp_probs_b.bias", X "gate.e_score_correction_bias", GGUF_SAME, true, false},
    {"blk.{B}.ffn_gate_exps.weight", X "experts.{E}.gate_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_up_exps.weight", X "experts.{E}.up_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_down_exps.weight", X "experts.{E}.down_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_gate_shexp.weight", X "shared_experts.gate_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_up_shexp.weight", X "shared_experts.up_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_down_shexp.weight", X "shared_experts.down_proj.weight", GGUF_SAME, false, false},
};
static const struct gguf_key keys[] = {
    {"context_length", GGUF_HF("max_position_embeddings"), GGUF_KEY_U32, false},
    {"embedding_length", GGUF_HF("hidden_size"), GGUF_KEY_U32, true},
    {"feed_forward_length", GGUF_HF("intermediate_size"), GGUF_KEY_U32, true},
    {"attention.head_count", GGUF_HF("num_attention_heads"), GGUF_KEY_U32, true},
    GGUF_KEY_RMS_EPS,
    {"attention.q_lora_rank", GGUF_HF("q_lora_rank"), GGUF_KEY_U32, false},
    {"attention.kv_lora_rank", GGUF_HF("kv_lora_rank"), GGUF_KEY_U32, true},
    {"attention.value_length_mla", GGUF_HF("v_head_dim"), GGUF_KEY_U32, true},
    {"rope.dimension_count", GGUF_HF("qk_rope_head_dim"), GGUF_KEY_U32, true},
    {"leading_dense_block_count", GGUF_HF("first_k_dense_replace"), GGUF_KEY_U32, false},
    {"expert_count", GGUF_HF("n_routed_experts"), GGUF_KEY_U32, true},
    {"expert_used_count", GGUF_HF("num_experts_per_tok"), GGUF_KEY_U32, true},
    {"expert_shared_count", GGUF_HF("n_shared_experts"), GGUF_KEY_U32, true},
    {"expert_feed_forward_length", GGUF_HF("moe_intermediate_size"), GGUF_KEY_U32, true},
    {"expert_group_count", GGUF_HF("n_group"), GGUF_KEY_U32, false},
    {"expert_group_used_count", GGUF_HF("topk_group"), GGUF_KEY_U32, false},
    {"expert_weights_norm", GGUF_HF("norm_topk_prob"), GGUF_KEY_BOOL, false},
    {"expert_weights_scale", GGUF_HF("routed_scaling_factor"), GGUF_KEY_F32, false},
};

/* ---- reading ---- */

/* yarn_log_multiplier is a tenth of mscale_all_dim here, unlike elsewhere. */
static bool read_mscale(const struct gguf *g, json_t *config, struct error *err)
{
    json_t *rope = json_object_get(config, "rope_scaling");
    double tenth = 0;
    bool has;
    if (!gguf_opt_number(g, "%s.rope.scaling.yarn_log_multiplier", &tenth, &has, err)) return false;
    if (!has || tenth == 0 || !rope) return true;
    return gguf_put_number(rope, "mscale", (double)(float)(10 * tenth), err) &&
           gguf_put_number(rope, "mscale_all_dim", (double)(float)(10 * tenth), err);
}

static bool deepseek2_read(const struct gguf *g, json_t *config, struct error *err)
{
    uint64_t key = 0, gating = 0, rope, heads;
    bool has, has_gating;
    if (!gguf_opt_u64(g, "%s.attention.key_length_mla", UINT32_MAX, &key, &has, err) ||
        !gguf_opt_u64(g, "%s.expert_gating_func", UINT32_MAX, &gating, &has_gating, err) ||
        !json_get_u64(config, "qk_rope_head_dim", "config.json", 1, UINT32_MAX, &rope, err) ||
        !json_get_u64(config, "num_attention_heads", "config.json", 1, UINT32_MAX, &heads, err))
        return false;
    if (!has || key <= rope)
        return error_set(err, ERR_FORMAT, "key 'attention.key_length_mla' is %s: %llu, rope.dimension_count %llu",
                         has ? "too small" : "missing", (unsigned long long)key, (unsigned long long)rope);
    if (!has_gating || gating != GATING_SIGMOID)
        return error_set(err, ERR_UNSUPPORTED,
                         "key 'expert_gating_func' is %llu; of deepseek2 only 2 (sigmoid: DeepSeek-V3, Kimi K2) is "
                         "known",
                         (unsigned long long)gating);
    return json_put(config, "qk_nope_head_dim", json_integer((json_int_t)(key - rope)), err) &&
           json_put(config, "num_key_value_heads", json_integer((json_int_t)heads), err) &&
           (json_has(config, "q_lora_rank") || json_put(config, "q_lora_rank", json_null(), err)) &&
           (json_has(config, "norm_topk_prob") || json_put(config, "norm_topk_prob", json_false(), err)) &&
           json_put(config, "moe_layer_freq", json_integer(1), err) &&
           json_put(config, "num_nextn_predict_layers", json_integer(0), err) &&
           json_put(config, "scoring_func", json_string("sigmoid"), err) &&
           json_put(config, "topk_method", json_string("noaux_tc"), err) &&
           json_put(config, "hidden_act", json_string("silu"), err) &&
           json_put(config, "attention_bias", json_false(), err) && gguf_read_rope(g, config, err) &&
           read_mscale(g, config, err);
}

/* ---- writing ---- */

/* llama.cpp raises scores by mscale_all_dim and leaves cos and sin as they are, which is what mscale alike makes. */
static bool write_mscale(struct gguf_writer *w, const json_t *config, struct error *err)
{
    const json_t *s = json_object_get(config, json_has(config, "rope_parameters") ? "rope_parameters" : "rope_scaling");
    double one = 1, all = 0;
    if (!json_is_object(s)) return true;
    if (!json_opt_number(s, "mscale", "config.json", &one, err) ||
        !json_opt_number(s, "mscale_all_dim", "config.json", &all, err))
        return false;
    if (all != 0) gguf_put_f32(w, "%s.rope.scaling.yarn_log_multiplier", (float)(0.1 * all));
    return one == (all != 0 ? all : 1) ||
           error_set(err, ERR_UNSUPPORTED,
                     "config.json: mscale %g and mscale_all_dim %g, which GGUF's deepseek2 cannot say", one, all);
}

static bool check(const json_t *config, struct error *err)
{
    uint64_t every = 1, shared = 0;
    const char *scoring = "sigmoid";
    if (!json_opt_u64(config, "moe_layer_freq", "config.json", 1, UINT32_MAX, &every, err) ||
        !json_opt_u64(config, "n_shared_experts", "config.json", 0, UINT32_MAX, &shared, err) ||
        !json_opt_string(config, "scoring_func", "config.json", &scoring, err))
        return false;
    if (every != 1 || shared == 0 || !json_has(config, "n_routed_experts"))
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: moe_layer_freq %llu, n_shared_experts %llu; GGUF's deepseek2 takes experts in "
                         "every layer behind the dense ones, and shared ones",
                         (unsigned long long)every, (unsigned long long)shared);
    if (strcmp(scoring, "sigmoid") != 0)
        return error_set(err, ERR_UNSUPPORTED, "config.json: scoring_func '%.64s' is not written as GGUF here",
                         scoring);
    return gguf_flag_is(config, "rope_interleave", true, "deepseek2", err) &&
           gguf_flag_is(config, "attention_bias", false, "deepseek2", err);
}

static bool deepseek2_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    uint64_t nope, rope, rank, value;
    if (!json_get_u64(config, "qk_nope_head_dim", "config.json", 1, INT32_MAX, &nope, err) ||
        !json_get_u64(config, "qk_rope_head_dim", "config.json", 1, INT32_MAX, &rope, err) ||
        !json_get_u64(config, "kv_lora_rank", "config.json", 1, INT32_MAX, &rank, err) ||
        !json_get_u64(config, "v_head_dim", "config.json", 1, INT32_MAX, &value, err) || !check(config, err) ||
        !gguf_write_rope(w, config, rope, err) || !write_mscale(w, config, err))
        return false;
    gguf_put_u32(w, "%s.attention.head_count_kv", 1);
    gguf_put_u32(w, "%s.attention.key_length", (uint32_t)(rank + rope));
    gguf_put_u32(w, "%s.attention.value_length", (uint32_t)rank);
    gguf_put_u32(w, "%s.attention.key_length_mla", (uint32_t)(nope + rope));
    gguf_put_u32(w, "%s.expert_gating_func", GATING_SIGMOID);
    if (!json_has(config, "first_k_dense_replace")) gguf_put_u32(w, "%s.leading_dense_block_count", 0);
    return true;
}

const struct gguf_arch gguf_deepseek2 = {
    .name = "deepseek2",
    .hf_name = "DeepseekV3ForCausalLM",
    .model_type = "deepseek_v3",
    .also_hf = "KimiK2ForCausalLM",
    .also_type = "kimi_k2",
    .names = names,
    .n_names = GGUF_COUNT(names),
    .keys = keys,
    .n_keys = GGUF_COUNT(keys),
    .drops_mtp = true,
    .read = deepseek2_read,
    .write = deepseek2_write,
    .scaled = " attn_output ",
};
