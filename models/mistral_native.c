/* Dense Mistral models in Mistral's own files (params.json, consolidated*.safetensors): 7B, Nemo, Small, Ministral. The
 * same mathematics as transformers' classes, but queries and keys have the rows of a head so that neighbours turn
 * together. */
#include "models/native.h"

#include <math.h>

/* A model from before rope_theta was written has a window, and 10000; without one the readers that are published take
 * 10000 or 1000000, so that nothing is taken here. */
static bool read_theta(const struct model_config *cfg, const json_t *json, struct error *err)
{
    return json_has(json, "rope_theta") || cfg->attention.window ||
           error_set(err, ERR_UNSUPPORTED, "key 'rope_theta' is missing, and without a window no one value is meant");
}

static bool read_heads(struct model_config *cfg, const json_t *json, struct error *err)
{
    struct attention_config *a = &cfg->attention;
    uint64_t heads, kv, dim, window = 0;
    if (!config_count(json, NAMES("n_heads"), MODEL_DIM_MAX, 0, &heads, err) ||
        !config_count(json, NAMES("n_kv_heads"), MODEL_DIM_MAX, heads, &kv, err) ||
        !config_count(json, NAMES("head_dim"), MODEL_DIM_MAX, 0, &dim, err) ||
        !json_opt_u64(json, "sliding_window", "params", 1, UINT32_MAX, &window, err))
        return false;
    if (heads % kv != 0)
        return error_set(err, ERR_FORMAT, "n_heads %llu is not a multiple of n_kv_heads %llu",
                         (unsigned long long)heads, (unsigned long long)kv);
    if (dim % 2 != 0)
        return error_set(err, ERR_FORMAT, "key 'head_dim': expected an even number, found %llu",
                         (unsigned long long)dim);
    a->n_heads = (uint32_t)heads;
    a->n_kv_heads = (uint32_t)kv;
    a->head_dim = (uint32_t)dim;
    a->window = (uint32_t)window;
    cfg->dims[DIM_ATTN_Q] = heads * dim;
    cfg->dims[DIM_ATTN_KV] = kv * dim;
    cfg->dims[DIM_ATTN_HEAD] = dim;
    cfg->dims[DIM_ATTN_HEADS] = heads;
    return true;
}

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    static const char *const unknown[] = {"q_lora_rank", "moe", "_sliding_window", NULL};
    struct rope_spec rope;
    for (const char *const *key = unknown; *key; key++)
        if (json_has(json, *key) && !json_is_null(json_object_get(json, *key)))
            return error_set(err, ERR_UNSUPPORTED, "key '%s' is not known of a model without kv_lora_rank", *key);
    if (!native_sizes(cfg, json, BLOCK_ATTENTION, arena, err) || !read_heads(cfg, json, err) ||
        !read_theta(cfg, json, err) || !native_rope(json, 10000, &rope, err))
        return false;
    bool ok = rope_make(&rope, ROPE_INTERLEAVED, cfg->attention.head_dim, cfg->max_position, arena,
                        &cfg->attention.rope, err);
    json_decref((json_t *)rope.scaling);
    return ok && native_query_scale(&cfg->attention, json, err);
}

static const struct role_rule rules[] = {
    {"tok_embeddings.weight", ROLE_EMBED, SCOPE_MODEL, 0, "vocab,hidden", NULL},
    {"{B}.attention_norm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_ATTENTION, "hidden", NULL},
    {"{B}.attention.wq.weight", ROLE_ATTN_Q, SCOPE_BLOCK, IN_ATTENTION, "attn_q,hidden", NULL},
    {"{B}.attention.wk.weight", ROLE_ATTN_K, SCOPE_BLOCK, IN_ATTENTION, "attn_kv,hidden", NULL},
    {"{B}.attention.wv.weight", ROLE_ATTN_V, SCOPE_BLOCK, IN_ATTENTION, "attn_kv,hidden", NULL},
    {"{B}.attention.wo.weight", ROLE_ATTN_O, SCOPE_BLOCK, IN_ATTENTION, "hidden,attn_q", NULL},
    {"{B}.ffn_norm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_MLP, "hidden", NULL},
    {"{B}.feed_forward.w1.weight", ROLE_MLP_GATE, SCOPE_BLOCK, IN_MLP, "mlp,hidden", NULL},
    {"{B}.feed_forward.w3.weight", ROLE_MLP_UP, SCOPE_BLOCK, IN_MLP, "mlp,hidden", NULL},
    {"{B}.feed_forward.w2.weight", ROLE_MLP_DOWN, SCOPE_BLOCK, IN_MLP, "hidden,mlp", NULL},
    {"norm.weight", ROLE_FINAL_NORM, SCOPE_MODEL, 0, "hidden", NULL},
    {"output.weight", ROLE_LM_HEAD, SCOPE_MODEL, 0, "vocab,hidden", NULL},
};

const struct model_arch model_mistral_native = {
    .name = "mistral_native",
    .hf_names = NAMES("MistralForCausalLM"),
    .native = true,
    .model_types = NAMES("mistral"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"", ""}, {0}},
    .block_prefix = "layers.%u",
    .carried = native_carried,
    .config_name = native_config_name,
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
