#include "models/decoder.h"

#include <math.h>

bool decoder_attention_bias(const struct model_config *cfg, const struct block_config *block)
{
    (void)block;
    return cfg->attention_bias;
}

bool decoder_mlp_bias(const struct model_config *cfg, const struct block_config *block)
{
    (void)block;
    return cfg->mlp_bias;
}

const json_t *decoder_text_config(const json_t *json)
{
    static const char *const keys[] = {"text_config", "llm_config"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_is_object(json_object_get(json, keys[i]))) return json_object_get(json, keys[i]);
    return json;
}

bool config_expect_word(const json_t *json, const char *key, const char *word, struct error *err)
{
    const char *v = word;
    if (!json_opt_string(json, key, "config", &v, err)) return false;
    return strcmp(v, word) == 0
               ? true
               : error_set(err, ERR_UNSUPPORTED, "key '%s': '%s' is not known, only '%s'", key, v, word);
}

bool config_expect_off(const json_t *json, const char *key, struct error *err)
{
    bool on = false;
    if (!json_opt_bool(json, key, "config", &on, err)) return false;
    return !on ? true : error_set(err, ERR_UNSUPPORTED, "key '%s': true is not supported", key);
}

bool decoder_read_sizes(struct model_config *cfg, const json_t *text, const struct decoder_defaults *d,
                        struct error *err)
{
    cfg->norm_eps = d->norm_eps > 0 ? d->norm_eps : 1e-6;
    cfg->tied_head = d->tied;
    if (!config_count(text, NAMES("hidden_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_HIDDEN], err) ||
        !config_count(text, NAMES("vocab_size"), MODEL_DIM_MAX, d->vocab, &cfg->dims[DIM_VOCAB], err) ||
        !json_opt_number(text, "norm_eps", "config", &cfg->norm_eps, err) ||
        !json_opt_number(text, "rms_norm_eps", "config", &cfg->norm_eps, err) ||
        !json_opt_bool(text, "tie_word_embeddings", "config", &cfg->tied_head, err) ||
        !json_opt_bool(text, "attention_bias", "config", &cfg->attention_bias, err) ||
        !json_opt_bool(text, "mlp_bias", "config", &cfg->mlp_bias, err) ||
        !json_opt_u64(text, "max_position_embeddings", "config", 0, UINT32_MAX, &cfg->max_position, err))
        return false;
    cfg->dims[DIM_TWO_HIDDEN] = 2 * cfg->dims[DIM_HIDDEN];
    if (!(cfg->norm_eps >= 0 && cfg->norm_eps < 1))
        return error_set(err, ERR_FORMAT, "rms_norm_eps %g is not a small positive number", cfg->norm_eps);
    return true;
}

bool decoder_read_heads(struct model_config *cfg, const json_t *text, const struct decoder_defaults *d,
                        struct error *err)
{
    uint64_t heads, kv, dim, hidden = cfg->dims[DIM_HIDDEN];
    if (!config_count(text, NAMES("num_attention_heads"), MODEL_DIM_MAX, d->heads, &heads, err) ||
        !config_count(text, NAMES("num_key_value_heads"), MODEL_DIM_MAX, d->kv_heads ? d->kv_heads : heads, &kv, err))
        return false;
    if (!json_has(text, "head_dim") && !d->head_dim && hidden % heads != 0)
        return error_set(err, ERR_FORMAT, "hidden_size %llu is not a multiple of num_attention_heads %llu",
                         (unsigned long long)hidden, (unsigned long long)heads);
    if (!config_count(text, NAMES("head_dim"), MODEL_DIM_MAX, d->head_dim ? d->head_dim : hidden / heads, &dim, err))
        return false;
    if (heads % kv != 0)
        return error_set(err, ERR_FORMAT, "num_attention_heads %llu is not a multiple of num_key_value_heads %llu",
                         (unsigned long long)heads, (unsigned long long)kv);
    cfg->attention.n_heads = (uint32_t)heads;
    cfg->attention.n_kv_heads = (uint32_t)kv;
    cfg->attention.head_dim = (uint32_t)dim;
    cfg->dims[DIM_ATTN_Q] = heads * dim;
    cfg->dims[DIM_ATTN_KV] = kv * dim;
    cfg->dims[DIM_ATTN_HEAD] = dim;
    cfg->dims[DIM_ATTN_HEADS] = heads;
    return true;
}

bool decoder_read_rope(struct model_config *cfg, const json_t *text, const struct decoder_defaults *d,
                       const char *layer_type, struct arena *arena, struct rope_config *out, struct error *err)
{
    struct rope_spec spec;
    uint64_t dim;
    return rope_find(text, layer_type, d->rope_theta > 0 ? d->rope_theta : 10000, &spec, err) &&
           rope_partial(text, &spec, cfg->attention.head_dim, d->rotary_part > 0 ? d->rotary_part : 1, &dim, err) &&
           rope_make(&spec, ROPE_HALF, dim, cfg->max_position, arena, out, err);
}

bool decoder_make_blocks(struct model_config *cfg, const json_t *text, enum block_kind first, enum block_kind second,
                         struct arena *arena, struct error *err)
{
    uint64_t n;
    if (!config_count(text, NAMES("num_hidden_layers"), MODEL_LAYERS_MAX, 0, &n, err)) return false;
    cfg->blocks = arena_alloc(arena, 2 * n, sizeof *cfg->blocks);
    if (!cfg->blocks) return error_memory(err, 0);
    cfg->n_layers = (uint32_t)n;
    cfg->n_blocks = 2 * cfg->n_layers;
    for (uint32_t i = 0; i < cfg->n_blocks; i++)
        cfg->blocks[i] = (struct block_config){.kind = i % 2 ? second : first, .layer = i / 2};
    return true;
}

bool decoder_read(struct model_config *cfg, const json_t *text, const struct decoder_defaults *d, struct arena *arena,
                  struct error *err)
{
    cfg->mlp = (struct mlp_config){.gated = true, .activation = ACT_SILU};
    return decoder_read_sizes(cfg, text, d, err) && decoder_read_heads(cfg, text, d, err) &&
           decoder_read_rope(cfg, text, d, NULL, arena, &cfg->attention.rope, err) &&
           config_count(text, NAMES("intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_MLP], err) &&
           config_expect_word(text, json_has(text, "hidden_activation") ? "hidden_activation" : "hidden_act",
                              d->activation ? d->activation : "silu", err) &&
           decoder_make_blocks(cfg, text, BLOCK_ATTENTION, BLOCK_MLP, arena, err);
}

bool decoder_read_experts(struct model_config *cfg, const json_t *text, const char *const *names, struct error *err)
{
    struct moe_config *m = &cfg->moe;
    uint64_t experts, top_k;
    if (!config_count(text, names, MODEL_EXPERTS_MAX, 0, &experts, err) ||
        !config_count(text, NAMES("num_experts_per_tok"), experts, 0, &top_k, err) ||
        !json_opt_bool(text, "norm_topk_prob", "config", &m->normalize, err))
        return false;
    m->mlp = cfg->mlp;
    m->n_experts = (uint32_t)experts;
    m->top_k = (uint32_t)top_k;
    m->n_groups = m->top_k_groups = 1;
    m->scale = 1;
    cfg->dims[DIM_EXPERTS] = experts;
    cfg->dims[DIM_EXPERT_IN] = cfg->dims[DIM_HIDDEN];
    return true;
}

bool decoder_is_sliding(const json_t *text, uint32_t layer, uint32_t n_layers, uint64_t every, bool *out,
                        struct error *err)
{
    const json_t *list = json_object_get(text, "layer_types");
    *out = (layer + 1) % every != 0;
    if (!list || json_is_null(list)) return true;
    if (!json_is_array(list))
        return error_set(err, ERR_FORMAT, "key 'layer_types': expected a list, found %s", json_brief(list));
    if (json_array_size(list) != n_layers)
        return error_set(err, ERR_FORMAT, "key 'layer_types': expected %u layers, found %zu", n_layers,
                         json_array_size(list));
    const char *word = json_string_value(json_array_get(list, layer));
    *out = word && strcmp(word, "sliding_attention") == 0;
    if (word && (*out || strcmp(word, "full_attention") == 0)) return true;
    return error_set(err, ERR_FORMAT,
                     "key 'layer_types': layer %u: expected sliding_attention or full_attention, found %s", layer,
                     json_brief(json_array_get(list, layer)));
}

bool decoder_place_experts(struct model_config *cfg, const json_t *json, struct error *err)
{
    uint64_t step = 1;
    if (!json_opt_u64(json, "decoder_sparse_step", "config", 1, MODEL_LAYERS_MAX, &step, err)) return false;
    for (uint32_t i = 0; i < cfg->n_layers; i++)
        if ((i + 1) % step == 0) cfg->blocks[2 * i + 1].kind = BLOCK_MOE;
    const json_t *dense = json_object_get(json, "mlp_only_layers");
    if (json_has(json, "mlp_only_layers") && !json_is_array(dense))
        return error_set(err, ERR_FORMAT, "key 'mlp_only_layers': expected a list, found %s", json_brief(dense));
    for (size_t i = 0; i < json_array_size(dense); i++) {
        const json_t *v = json_array_get(dense, i);
        json_int_t layer = json_integer_value(v);
        if (!json_is_integer(v) || layer < 0 || layer >= cfg->n_layers)
            return error_set(err, ERR_FORMAT, "key 'mlp_only_layers': expected numbers of layers, found %s",
                             json_brief(v));
        cfg->blocks[2 * layer + 1].kind = BLOCK_MLP;
    }
    return true;
}
