/* DeciLM (nemotron-nas) in GGUF: Llama whose numbers of heads and widths of MLPs are arrays, one element per layer. A
 * layer without heads has no attention, one with query heads alone a matrix in its place, one of width 0 no MLP. Facts
 * of llama.cpp's converter and of its deci.cpp. */
#include "formats/gguf_names.h"
#include "formats/gguf_write.h"
#include "formats/hf_config.h"

#define L "model.layers.{B}."

static const struct gguf_name names[] = {
    GGUF_NAMES_DECODER,
    {"blk.{B}.attn_output.weight", L "self_attn.linear_attn.weight", GGUF_LINEAR, false, false},
    GGUF_NAMES_QK(GGUF_ROPE_Q, GGUF_ROPE_K),
    GGUF_NAMES_UP_DOWN,
    GGUF_NAMES_GATE,
    GGUF_NAME_ROPE_FREQS,
};
static const struct gguf_key keys[] = {
    {"context_length", GGUF_HF("max_position_embeddings"), GGUF_KEY_U32, false},
    {"embedding_length", GGUF_HF("hidden_size"), GGUF_KEY_U32, true},
    {"attention.key_length", GGUF_HF("head_dim"), GGUF_KEY_U32, false},
    GGUF_KEY_RMS_EPS,
};

/* ---- reading ---- */

struct layer {
    uint64_t heads, kv_heads, width;
};

/* A width that no multiplier gives is named itself, as models/deci.c takes it. */
static json_t *ffn_config(uint64_t width, uint64_t hidden)
{
    double mult = 1.5 * (double)width / (double)hidden;
    if (width == 0) return json_pack("{s:n,s:b,s:b}", "ffn_mult", "no_op", 1, "replace_with_linear", 0);
    if (hf_deci_width(mult, hidden) != width)
        return json_pack("{s:n,s:I,s:b,s:b}", "ffn_mult", "intermediate_size", (json_int_t)width, "no_op", 0,
                         "replace_with_linear", 0);
    return json_pack("{s:f,s:b,s:b}", "ffn_mult", mult, "no_op", 0, "replace_with_linear", 0);
}

static json_t *attention_config(const struct layer *l)
{
    if (l->kv_heads)
        return json_pack("{s:I,s:b,s:b}", "n_heads_in_group", (json_int_t)(l->heads / l->kv_heads), "no_op", 0,
                         "replace_with_linear", 0);
    return json_pack("{s:n,s:b,s:b}", "n_heads_in_group", "no_op", l->heads == 0, "replace_with_linear", l->heads != 0);
}

static bool read_layer(const struct gguf *g, uint64_t i, uint64_t n, uint64_t *heads, struct layer *l,
                       struct error *err)
{
    if (!gguf_per_layer(g, "%s.attention.head_count", n, i, &l->heads, err) ||
        !gguf_per_layer(g, "%s.attention.head_count_kv", n, i, &l->kv_heads, err) ||
        !gguf_per_layer(g, "%s.feed_forward_length", n, i, &l->width, err))
        return false;
    if (l->kv_heads && (l->heads == 0 || l->heads % l->kv_heads != 0))
        return error_set(err, ERR_FORMAT,
                         "layer %llu: attention.head_count %llu is not a multiple of head_count_kv %llu",
                         (unsigned long long)i, (unsigned long long)l->heads, (unsigned long long)l->kv_heads);
    if (l->heads && *heads && l->heads != *heads)
        return error_set(err, ERR_UNSUPPORTED, "layer %llu: %llu query heads where an earlier layer has %llu",
                         (unsigned long long)i, (unsigned long long)l->heads, (unsigned long long)*heads);
    if (l->heads) *heads = l->heads;
    return true;
}

static bool read_layers(const struct gguf *g, json_t *config, struct error *err)
{
    uint64_t trunk, mtp, heads = 0, hidden;
    CLEANUP(json) json_t *list = json_array();
    if (!list) return error_memory(err, 0);
    if (!gguf_layers(g, &trunk, &mtp, err) ||
        !json_get_u64(config, "hidden_size", "config.json", 1, UINT32_MAX, &hidden, err))
        return false;
    for (uint64_t i = 0; i < trunk; i++) {
        struct layer l;
        if (!read_layer(g, i, trunk + mtp, &heads, &l, err)) return false;
        json_t *ffn = ffn_config(l.width, hidden), *attention = attention_config(&l);
        json_t *block = json_pack("{s:o,s:o}", "attention", attention, "ffn", ffn);
        if (!block || json_array_append_new(list, block) != 0) return error_memory(err, 0);
    }
    if (heads == 0) return error_set(err, ERR_FORMAT, "key 'attention.head_count' is 0 in every layer");
    return json_put(config, "num_attention_heads", json_integer((json_int_t)heads), err) &&
           json_put(config, "block_configs", take_ptr(&list), err);
}

static bool deci_read(const struct gguf *g, json_t *config, struct error *err)
{
    return read_layers(g, config, err) && gguf_read_biases(g, config, err) && gguf_read_rope(g, config, err);
}

/* ---- writing ---- */

static bool no_op(const json_t *o, bool *off, bool *linear, struct error *err)
{
    *off = *linear = false;
    return json_opt_bool(o, "no_op", "block_configs", off, err) &&
           json_opt_bool(o, "replace_with_linear", "block_configs", linear, err);
}

static bool attention_of(const json_t *o, uint64_t heads, struct layer *l, struct error *err)
{
    bool off, linear;
    uint64_t group;
    l->heads = l->kv_heads = 0;
    if (!no_op(o, &off, &linear, err)) return false;
    if (off) return true;
    l->heads = heads;
    if (linear) return true;
    if (!json_get_u64(o, "n_heads_in_group", "block_configs", 1, heads, &group, err)) return false;
    l->kv_heads = heads / group;
    return true;
}

static bool ffn_of(const json_t *o, uint64_t hidden, struct layer *l, struct error *err)
{
    bool off, linear;
    double mult;
    l->width = 0;
    if (!no_op(o, &off, &linear, err)) return false;
    if (linear) return error_set(err, ERR_UNSUPPORTED, "a matrix in place of the MLP, which GGUF's deci cannot say");
    if (off) return true;
    if (json_has(o, "intermediate_size"))
        return json_get_u64(o, "intermediate_size", "block_configs", 1, INT32_MAX, &l->width, err);
    if (!json_get_number(o, "ffn_mult", "block_configs", &mult, err)) return false;
    l->width = hf_deci_width(mult, hidden);
    return l->width != 0 || error_set(err, ERR_FORMAT, "key 'ffn_mult': %g makes no MLP", mult);
}

/* llama.cpp takes the size of heads from the first layer, leaves a layer without MLP before it has added what attention
 * made, and takes the tokens that logits are wanted of from the MLP of the last one. */
static bool can_be_said(const struct layer *l, uint64_t i, uint64_t n, struct error *err)
{
    const char *why = i == 0 && l->heads == 0          ? "the first layer has no attention"
                      : l->width == 0 && l->heads != 0 ? "a layer with attention has no MLP"
                      : l->width == 0 && i == n - 1    ? "the last layer has no MLP"
                                                       : NULL;
    return !why || error_set(err, ERR_UNSUPPORTED, "%s, which GGUF's deci cannot say", why);
}

static bool write_layers(struct gguf_writer *w, const json_t *config, struct error *err)
{
    int32_t heads[GGUF_LAYERS_MAX], kv[GGUF_LAYERS_MAX], width[GGUF_LAYERS_MAX];
    uint64_t n_heads, hidden, n = gguf_trunk_layers(w);
    const json_t *list = json_object_get(config, "block_configs");
    if (!json_get_u64(config, "num_attention_heads", "config.json", 1, INT32_MAX, &n_heads, err) ||
        !json_get_u64(config, "hidden_size", "config.json", 1, INT32_MAX, &hidden, err))
        return false;
    if (json_array_size(list) != n)
        return error_set(err, ERR_FORMAT, "config.json: key 'block_configs': expected a list of %llu layers, found %zu",
                         (unsigned long long)n, json_array_size(list));
    for (uint64_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, (size_t)i);
        struct layer l;
        if (!attention_of(json_object_get(o, "attention"), n_heads, &l, err) ||
            !ffn_of(json_object_get(o, "ffn"), hidden, &l, err) || !can_be_said(&l, i, n, err))
            return error_wrap(err, "config.json: block_configs: layer %llu", (unsigned long long)i);
        heads[i] = (int32_t)l.heads;
        kv[i] = (int32_t)l.kv_heads;
        width[i] = (int32_t)l.width;
    }
    gguf_put_i32_array(w, "%s.attention.head_count", heads, n);
    gguf_put_i32_array(w, "%s.attention.head_count_kv", kv, n);
    gguf_put_i32_array(w, "%s.feed_forward_length", width, n);
    return true;
}

static bool deci_write(struct gguf_writer *w, const json_t *config, struct error *err)
{
    uint64_t dim;
    if (!gguf_head_dim(config, &dim, err) || !write_layers(w, config, err) || !gguf_write_rope(w, config, dim, err))
        return false;
    if (!json_has(config, "head_dim")) {
        gguf_put_u32(w, "%s.attention.key_length", (uint32_t)dim);
        gguf_put_u32(w, "%s.attention.value_length", (uint32_t)dim);
    }
    gguf_put_u32(w, "%s.rope.dimension_count", (uint32_t)dim);
    return true;
}

const struct gguf_arch gguf_deci = {
    .name = "deci",
    .hf_name = "DeciLMForCausalLM",
    .model_type = "nemotron-nas",
    .names = names,
    .n_names = GGUF_COUNT(names),
    .keys = keys,
    .n_keys = GGUF_COUNT(keys),
    .read = deci_read,
    .write = deci_write,
    .scaled = GGUF_SCALED_ATTN,
};
