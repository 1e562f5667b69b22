/* Nemotron-H in GGUF: nemotron_h without experts, nemotron_h_moe with them. The pattern of layers is not said but shows
 * in two arrays: a layer with key heads is attention, one with a feed-forward length is an MLP or holds experts, the
 * rest are Mamba-2. The multi-token-prediction head is one block behind the trunk. There is no rotation, but
 * llama.cpp's converter interleaves the rows of q and k all the same; it does not matter to the product of the two. */
#include "formats/gguf_names.h"
#include "formats/gguf_write.h"

#include <math.h>
#include <stdio.h>

/* Of the configuration class; models/nemotron_h.c reads config.json by the same. */
#define KV_HEADS_DEFAULT 8u
#define HEAD_DIM_DEFAULT 128u

#define L "backbone.layers.{B}."
#define M0 "mtp.layers.0."
#define M1 "mtp.layers.1."

#define NAMES_TRUNK                                                                                                    \
    {"token_embd.weight", "backbone.embeddings.weight", GGUF_SAME, false, false},                                      \
        {"output_norm.weight", "backbone.norm_f.weight", GGUF_SAME, false, false},                                     \
        {"output.weight", "lm_head.weight", GGUF_SAME, false, false},                                                  \
        {"blk.{B}.attn_norm.weight", L "norm.weight", GGUF_SAME, false, false},                                        \
        {"blk.{B}.ssm_in.weight", L "mixer.in_proj.weight", GGUF_SAME, false, false},                                  \
        {"blk.{B}.ssm_conv1d.weight", L "mixer.conv1d.weight", GGUF_CONV, true, false},                                \
        {"blk.{B}.ssm_conv1d.bias", L "mixer.conv1d.bias", GGUF_SAME, false, false},                                   \
        {"blk.{B}.ssm_dt.bias", L "mixer.dt_bias", GGUF_SAME, false, false},                                           \
        {"blk.{B}.ssm_a", L "mixer.A_log", GGUF_NEG_EXP, true, false},                                                 \
        {"blk.{B}.ssm_d", L "mixer.D", GGUF_COLUMN, true, false},                                                      \
        {"blk.{B}.ssm_norm.weight", L "mixer.norm.weight", GGUF_GROUPS, true, false},                                  \
        {"blk.{B}.ssm_out.weight", L "mixer.out_proj.weight", GGUF_SAME, false, false},                                \
        {"blk.{B}.attn_q.weight", L "mixer.q_proj.weight", GGUF_ROPE_Q, false, false},                                 \
        {"blk.{B}.attn_k.weight", L "mixer.k_proj.weight", GGUF_ROPE_K, false, false},                                 \
        {"blk.{B}.attn_v.weight", L "mixer.v_proj.weight", GGUF_SAME, false, false},                                   \
        {"blk.{B}.attn_output.weight", L "mixer.o_proj.weight", GGUF_SAME, false, false},                              \
        {"blk.{B}.attn_q.bias", L "mixer.q_proj.bias", GGUF_ROPE_Q, false, false},                                     \
        {"blk.{B}.attn_k.bias", L "mixer.k_proj.bias", GGUF_ROPE_K, false, false},                                     \
        {"blk.{B}.attn_v.bias", L "mixer.v_proj.bias", GGUF_SAME, false, false},                                       \
    {                                                                                                                  \
        "blk.{B}.attn_output.bias", L "mixer.o_proj.bias", GGUF_SAME, false, false                                     \
    }

static const struct gguf_name dense_names[] = {
    NAMES_TRUNK,
    {"blk.{B}.ffn_up.weight", L "mixer.up_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_down.weight", L "mixer.down_proj.weight", GGUF_SAME, false, false},
    {"blk.{B}.ffn_up.bias", L "mixer.up_proj.bias", GGUF_SAME, false, false},
    {"blk.{B}.ffn_down.bias", L "mixer.down_proj.bias", GGUF_SAME, false, false},
};

#define NAMES_MOE(root, mtp)                                                                                           \
    {"blk.{B}.ffn_gate_inp.weight", root "mixer.gate.weight", GGUF_SAME, true, mtp},                                   \
        {"blk.{B}.exp_probs_b.bias", root "mixer.gate.e_score_correction_bias", GGUF_SAME, true, mtp},                 \
        {"blk.{B}.ffn_latent_down.weight", root "mixer.fc1_latent_proj.weight", GGUF_SAME, false, mtp},                \
        {"blk.{B}.ffn_latent_up.weight", root "mixer.fc2_latent_proj.weight", GGUF_SAME, false, mtp},                  \
        {"blk.{B}.ffn_up_exps.weight", root "mixer.experts.{E}.up_proj.weight", GGUF_SAME, false, mtp},                \
        {"blk.{B}.ffn_down_exps.weight", root "mixer.experts.{E}.down_proj.weight", GGUF_SAME, false, mtp},            \
        {"blk.{B}.ffn_up_shexp.weight", root "mixer.shared_experts.up_proj.weight", GGUF_SAME, false, mtp},            \
    {                                                                                                                  \
        "blk.{B}.ffn_down_shexp.weight", root "mixer.shared_experts.down_proj.weight", GGUF_SAME, false, mtp           \
    }

static const struct gguf_name moe_names[] = {
    NAMES_TRUNK,
    NAMES_MOE(L, false),
    {"blk.{B}.nextn.enorm.weight", M0 "enorm.weight", GGUF_SAME, true, true},
    {"blk.{B}.nextn.hnorm.weight", M0 "hnorm.weight", GGUF_SAME, true, true},
    {"blk.{B}.nextn.eh_proj.weight", M0 "eh_proj.weight", GGUF_SAME, false, true},
    {"blk.{B}.attn_norm.weight", M0 "norm.weight", GGUF_SAME, true, true},
    {"blk.{B}.attn_q.weight", M0 "mixer.q_proj.weight", GGUF_ROPE_Q, false, true},
    {"blk.{B}.attn_k.weight", M0 "mixer.k_proj.weight", GGUF_ROPE_K, false, true},
    {"blk.{B}.attn_v.weight", M0 "mixer.v_proj.weight", GGUF_SAME, false, true},
    {"blk.{B}.attn_output.weight", M0 "mixer.o_proj.weight", GGUF_SAME, false, true},
    {"blk.{B}.post_attention_norm.weight", M1 "norm.weight", GGUF_SAME, true, true},
    NAMES_MOE(M1, true),
    {"blk.{B}.nextn.shared_head_norm.weight", M1 "final_layernorm.weight", GGUF_SAME, true, true},
};

#define KEYS_TRUNK                                                                                                     \
    GGUF_KEYS_SIZES, {"ssm.conv_kernel", GGUF_HF("conv_kernel", "mamba_d_conv"), GGUF_KEY_U32, true},                  \
        {"ssm.state_size", GGUF_HF("ssm_state_size", "mamba_d_state"), GGUF_KEY_U32, true},                            \
        {"ssm.group_count", GGUF_HF("n_groups", "mamba_n_groups"), GGUF_KEY_U32, true},                                \
    {                                                                                                                  \
        "ssm.time_step_rank", GGUF_HF("mamba_num_heads"), GGUF_KEY_U32, true                                           \
    }

static const struct gguf_key dense_keys[] = {KEYS_TRUNK};
static const struct gguf_key moe_keys[] = {
    KEYS_TRUNK,
    {"expert_count", GGUF_HF("n_routed_experts"), GGUF_KEY_U32, true},
    {"expert_used_count", GGUF_HF("num_experts_per_tok"), GGUF_KEY_U32, true},
    {"expert_shared_count", GGUF_HF("n_shared_experts"), GGUF_KEY_U32, false},
    {"expert_feed_forward_length", GGUF_HF("moe_intermediate_size"), GGUF_KEY_U32, true},
    {"expert_shared_feed_forward_length", GGUF_HF("moe_shared_expert_intermediate_size"), GGUF_KEY_U32, false},
    {"expert_group_count", GGUF_HF("n_group"), GGUF_KEY_U32, false},
    {"expert_group_used_count", GGUF_HF("topk_group"), GGUF_KEY_U32, false},
    {"expert_weights_norm", GGUF_HF("norm_topk_prob"), GGUF_KEY_BOOL, false},
    {"expert_weights_scale", GGUF_HF("routed_scaling_factor"), GGUF_KEY_F32, false},
    {"moe_latent_size", GGUF_HF("moe_latent_size"), GGUF_KEY_U32, false},
    {"nextn_predict_layers", GGUF_HF("num_nextn_predict_layers"), GGUF_KEY_U32, false},
};

/* ---- reading ---- */

/* What llama.cpp takes for absent keys, which is not what the configuration class does; kv_heads 0: no layer has any.
 */
static bool read_heads(json_t *config, uint64_t kv_heads, struct error *err)
{
    uint64_t heads, hidden;
    if (!json_get_u64(config, "num_attention_heads", "config.json", 1, UINT32_MAX, &heads, err) ||
        !json_get_u64(config, "hidden_size", "config.json", 1, UINT32_MAX, &hidden, err))
        return false;
    return json_put(config, "num_key_value_heads", json_integer((json_int_t)(kv_heads ? kv_heads : heads)), err) &&
           (json_has(config, "head_dim") ||
            json_put(config, "head_dim", json_integer((json_int_t)(hidden / heads)), err));
}

static bool read_pattern(const struct gguf *g, json_t *config, bool experts, struct error *err)
{
    char pattern[GGUF_LAYERS_MAX + 1];
    uint64_t trunk, mtp, kv_heads = 0, mlp = 0;
    if (!gguf_layers(g, &trunk, &mtp, err)) return false;
    for (uint64_t i = 0; i < trunk; i++) {
        uint64_t kv, ff;
        if (!gguf_per_layer(g, "%s.attention.head_count_kv", trunk + mtp, i, &kv, err) ||
            !gguf_per_layer(g, "%s.feed_forward_length", trunk + mtp, i, &ff, err))
            return false;
        pattern[i] = ff ? (experts ? 'E' : '-') : kv ? '*' : 'M';
        if ((kv && !ff && kv_heads && kv != kv_heads) || (ff && mlp && ff != mlp))
            return error_set(err, ERR_UNSUPPORTED, "layers of different widths (layer %llu) are not known here",
                             (unsigned long long)i);
        if (kv && !ff) kv_heads = kv;
        if (ff) mlp = ff;
    }
    pattern[trunk] = '\0';
    if (!read_heads(config, kv_heads, err)) return false;
    if (mlp && !experts && !json_put(config, "intermediate_size", json_integer((json_int_t)mlp), err)) return false;
    if (mtp > 1)
        return error_set(err, ERR_UNSUPPORTED, "%llu blocks of multi-token prediction; only one is known",
                         (unsigned long long)mtp);
    if (mtp && !json_put(config, "mtp_hybrid_override_pattern", json_string("*E"), err)) return false;
    return json_put(config, "hybrid_override_pattern", json_string(pattern), err);
}

/* True when any layer of the trunk has the tensor. */
static bool any_layer_has(const struct gguf *g, const char *suffix)
{
    char name[GGUF_NAME_MAX];
    for (uint32_t i = 0; i < GGUF_LAYERS_MAX; i++) {
        snprintf(name, sizeof name, "blk.%u.attn_norm.weight", i);
        if (!gguf_find_tensor(g, name)) return false;
        snprintf(name, sizeof name, "blk.%u.%s", i, suffix);
        if (gguf_find_tensor(g, name)) return true;
    }
    return false;
}

static bool read_eps(const struct gguf *g, json_t *config, struct error *err)
{
    double eps = 0;
    bool has;
    if (!gguf_opt_number(g, "%s.attention.layer_norm_rms_epsilon", &eps, &has, err)) return false;
    if (!has && !gguf_opt_number(g, "%s.attention.layer_norm_epsilon", &eps, &has, err)) return false;
    if (!has) return error_set(err, ERR_FORMAT, "key 'attention.layer_norm_rms_epsilon' is missing");
    return gguf_put_number(config, "layer_norm_epsilon", eps, err);
}

static bool read_any(const struct gguf *g, json_t *config, bool experts, struct error *err)
{
    uint64_t inner = 0, heads = (uint64_t)json_integer_value(json_object_get(config, "mamba_num_heads"));
    bool has;
    if (!gguf_opt_u64(g, "%s.ssm.inner_size", UINT32_MAX, &inner, &has, err)) return false;
    if (heads == 0 || inner == 0 || inner % heads != 0)
        return error_set(err, ERR_FORMAT, "key 'ssm.inner_size' %llu is not a multiple of ssm.time_step_rank %llu",
                         (unsigned long long)inner, (unsigned long long)heads);
    return json_put(config, "mamba_head_dim", json_integer((json_int_t)(inner / heads)), err) &&
           read_pattern(g, config, experts, err) && read_eps(g, config, err) &&
           json_put(config, "attention_bias", json_boolean(any_layer_has(g, "attn_q.bias")), err) &&
           json_put(config, "mlp_bias", json_boolean(any_layer_has(g, "ffn_up.bias")), err) &&
           json_put(config, "use_conv_bias", json_boolean(any_layer_has(g, "ssm_conv1d.bias")), err) &&
           json_put(config, "use_bias", json_false(), err) &&
           json_put(config, "mlp_hidden_act", json_string("relu2"), err) &&
           json_put(config, "mamba_hidden_act", json_string("silu"), err) &&
           json_put(config, "mamba_ssm_cache_dtype", json_string("float32"), err);
}

static bool dense_read(const struct gguf *g, json_t *config, struct error *err)
{
    return read_any(g, config, false, err);
}

static bool moe_read(const struct gguf *g, json_t *config, struct error *err)
{
    return read_any(g, config, true, err);
}

/* ---- writing ---- */

/* 'M', '*', '-' or 'E' of each layer, from any of the spellings; 0 at the end. */
static bool pattern_of(const json_t *config, char out[GGUF_LAYERS_MAX + 2], struct error *err)
{
    static const char *const keys[] = {"hybrid_override_pattern", "layers_block_type", "layer_types"};
    static const struct {
        const char *word;
        char letter;
    } words[] = {{"mamba", 'M'},     {"linear_attention", 'M'},
                 {"attention", '*'}, {"full_attention", '*'},
                 {"mlp", '-'},       {"moe", 'E'},
                 {"M", 'M'},         {"*", '*'},
                 {"-", '-'},         {"E", 'E'}};
    const json_t *v = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && (!v || json_is_null(v)); i++)
        v = json_object_get(config, keys[i]);
    size_t n = json_is_string(v) ? json_string_length(v) : json_array_size(v);
    if (n == 0 || n > GGUF_LAYERS_MAX)
        return error_set(err, ERR_FORMAT, "config.json: the pattern of layers is missing or has more than %u",
                         GGUF_LAYERS_MAX);
    for (size_t i = 0; i < n; i++) {
        char one[2] = {json_is_string(v) ? json_string_value(v)[i] : 0, 0};
        const char *word = json_is_string(v) ? one : json_string_value(json_array_get(v, i));
        out[i] = 0;
        for (size_t k = 0; word && k < sizeof words / sizeof *words; k++)
            if (strcmp(words[k].word, word) == 0) out[i] = words[k].letter;
        if (!out[i]) return error_set(err, ERR_FORMAT, "config.json: layer %zu has no kind that is known", i);
    }
    out[n] = 0;
    return true;
}

static bool config_u64(const json_t *config, const char *const *keys, uint64_t fallback, uint64_t *out,
                       struct error *err)
{
    *out = fallback;
    for (; *keys; keys++)
        if (json_has(config, *keys)) return json_get_u64(config, *keys, "config.json", 0, UINT32_MAX, out, err);
    return true;
}

/* llama.cpp does not clamp dt: a model that needs it would give other numbers there, without a word. */
static bool check_time_step(const json_t *config, struct error *err)
{
    const json_t *v =
        json_object_get(config, json_has(config, "time_step_limit") ? "time_step_limit" : "mamba_dt_limit");
    double low = 0, high = INFINITY;
    if (json_array_size(v) == 2 &&
        (!json_number(json_array_get(v, 0), &low) || !json_number(json_array_get(v, 1), &high)))
        return error_set(err, ERR_FORMAT, "config.json: key 'time_step_limit': expected two numbers");
    /* 1.797e308 is how one converter spells infinity. */
    if (low <= 0 && high > 1e300) return true;
    return error_set(err, ERR_UNSUPPORTED, "config.json: key 'time_step_limit' is %s, which GGUF cannot say",
                     json_brief(v));
}

static bool write_layers(struct gguf_writer *w, const json_t *config, bool experts, struct error *err)
{
    char pattern[GGUF_LAYERS_MAX + 2];
    uint32_t kv[GGUF_LAYERS_MAX + 1], ff[GGUF_LAYERS_MAX + 1];
    uint64_t heads, kv_heads, mlp, mtp = 0;
    if (!pattern_of(config, pattern, err) || !config_u64(config, GGUF_HF("num_attention_heads"), 0, &heads, err) ||
        !config_u64(config, GGUF_HF("num_key_value_heads"),
                    json_object_get(config, "num_key_value_heads") ? heads : KV_HEADS_DEFAULT, &kv_heads, err) ||
        !config_u64(config, GGUF_HF(experts ? "moe_intermediate_size" : "intermediate_size"), 0, &mlp, err) ||
        !config_u64(config, GGUF_HF("num_nextn_predict_layers"), 0, &mtp, err))
        return false;
    size_t n = strlen(pattern);
    if (strchr(pattern, experts ? '-' : 'E'))
        return error_set(
            err, ERR_UNSUPPORTED,
            "config.json: layers with experts beside plain MLP layers, which GGUF's nemotron_h_moe cannot say");
    if (mtp > 1 || (mtp && !experts))
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: %llu multi-token-prediction steps%s, which GGUF's "
                         "nemotron_h cannot say",
                         (unsigned long long)mtp, experts ? "" : " without experts");
    for (size_t i = 0; i < n; i++) {
        kv[i] = pattern[i] == '*' ? (uint32_t)kv_heads : 0;
        ff[i] = pattern[i] == '-' || pattern[i] == 'E' ? (uint32_t)mlp : 0;
    }
    if (mtp) kv[n] = (uint32_t)kv_heads, ff[n] = (uint32_t)mlp, n++;
    gguf_set_layers(w, strlen(pattern), mtp);
    gguf_put_i32_array(w, "%s.attention.head_count_kv", (const int32_t *)kv, n);
    gguf_put_i32_array(w, "%s.feed_forward_length", (const int32_t *)ff, n);
    return true;
}

static bool write_any(struct gguf_writer *w, const json_t *config, bool experts, struct error *err)
{
    uint64_t heads, dim;
    double eps = 1e-5;
    bool bias = false;
    if (!json_opt_number(config, "rms_norm_eps", "config.json", &eps, err) ||
        !json_opt_number(config, "norm_eps", "config.json", &eps, err) ||
        !json_opt_number(config, "layer_norm_epsilon", "config.json", &eps, err) ||
        !json_opt_bool(config, "mamba_proj_bias", "config.json", &bias, err) ||
        !json_opt_bool(config, "use_bias", "config.json", &bias, err))
        return false;
    if (bias)
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: key 'use_bias' is true, which GGUF's nemotron_h "
                         "cannot say");
    if (!config_u64(config, GGUF_HF("mamba_num_heads"), 0, &heads, err) ||
        !config_u64(config, GGUF_HF("mamba_head_dim", "mamba_d_head"), 0, &dim, err) || !check_time_step(config, err) ||
        !write_layers(w, config, experts, err))
        return false;
    gguf_put_u32(w, "%s.ssm.inner_size", (uint32_t)(heads * dim));
    if (!json_has(config, "head_dim") && !json_has(config, "attention_head_dim")) {
        gguf_put_u32(w, "%s.attention.key_length", HEAD_DIM_DEFAULT);
        gguf_put_u32(w, "%s.attention.value_length", HEAD_DIM_DEFAULT);
    }
    gguf_put_f32(w, "%s.attention.layer_norm_rms_epsilon", (float)eps);
    gguf_put_f32(w, "%s.attention.layer_norm_epsilon", (float)eps);
    gguf_put_bool(w, "%s.rope.scaling.finetuned", false); /* no rotary embedding */
    return true;
}

static bool dense_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    return write_any(w, config, false, err);
}

static bool moe_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    return write_any(w, config, true, err);
}

const struct gguf_arch gguf_nemotron_h = {
    .name = "nemotron_h",
    .hf_name = "NemotronHForCausalLM",
    .model_type = "nemotron_h",
    .names = dense_names,
    .n_names = GGUF_COUNT(dense_names),
    .keys = dense_keys,
    .n_keys = GGUF_COUNT(dense_keys),
    .read = dense_read,
    .write = dense_write,
    .scaled = GGUF_SCALED_ATTN GGUF_SCALED_FFN GGUF_SCALED_EXPS GGUF_SCALED_SHEXP " ssm_in ssm_out ",
};

const struct gguf_arch gguf_nemotron_h_moe = {
    .name = "nemotron_h_moe",
    .hf_name = "NemotronHForCausalLM",
    .model_type = "nemotron_h",
    .names = moe_names,
    .n_names = GGUF_COUNT(moe_names),
    .keys = moe_keys,
    .n_keys = GGUF_COUNT(moe_keys),
    .read = moe_read,
    .write = moe_write,
    .scaled = GGUF_SCALED_ATTN GGUF_SCALED_FFN GGUF_SCALED_EXPS GGUF_SCALED_SHEXP " ssm_in ssm_out ",
};
