#include "models/arch.h"

extern const struct model_arch model_nemotron_h, model_nemotron, model_llama, model_deci, model_qwen3, model_mistral,
    model_gemma3, model_qwen3_next, model_qwen3_5, model_deepseek_v3, model_mistral_large3, model_gpt_oss,
    model_mistral4, model_mistral_native, model_llama_encoder, model_qwen3_encoder;

const struct model_arch *const model_archs[] = {
    &model_nemotron_h,
    &model_nemotron,
    &model_llama,
    &model_deci,
    &model_qwen3,
    &model_mistral,
    &model_gemma3,
    &model_qwen3_next,
    &model_qwen3_5,
    &model_deepseek_v3,
    &model_mistral_large3,
    &model_gpt_oss,
    &model_mistral4,
    &model_mistral_native,
    &model_llama_encoder,
    &model_qwen3_encoder,
    NULL,
};

static const char *const block_names[BLOCK_KIND_COUNT] = {
    [BLOCK_MAMBA2] = "mamba2", [BLOCK_ATTENTION] = "attention", [BLOCK_MLP] = "mlp",
    [BLOCK_MOE] = "moe",       [BLOCK_DELTA] = "delta",         [BLOCK_MLA] = "mla",
    [BLOCK_LINEAR] = "linear"};

const char *block_kind_name(enum block_kind kind)
{
    return block_names[kind];
}

static const char *const dim_names[] = {
    [DIM_ONE] = "1",
    [DIM_HIDDEN] = "hidden",
    [DIM_TWO_HIDDEN] = "two_hidden",
    [DIM_VOCAB] = "vocab",
    [DIM_ATTN_Q] = "attn_q",
    [DIM_ATTN_Q_GATE] = "attn_q_gate",
    [DIM_ATTN_KV] = "attn_kv",
    [DIM_ATTN_HEAD] = "attn_head",
    [DIM_ATTN_HEADS] = "attn_heads",
    [DIM_ATTN_OUT] = "attn_out",
    [DIM_MLA_Q_RANK] = "q_rank",
    [DIM_MLA_KV_RANK] = "kv_rank",
    [DIM_MLA_KV_A] = "kv_a",
    [DIM_MLA_KV_B] = "kv_b",
    [DIM_MLP] = "mlp",
    [DIM_EXPERTS] = "experts",
    [DIM_EXPERT_IN] = "expert_in",
    [DIM_EXPERT_MLP] = "expert_mlp",
    [DIM_SHARED_MLP] = "shared_mlp",
    [DIM_LATENT] = "latent",
    [DIM_SSM_PROJ] = "ssm_proj",
    [DIM_SSM_INNER] = "ssm_inner",
    [DIM_SSM_CONV] = "ssm_conv",
    [DIM_SSM_HEADS] = "ssm_heads",
    [DIM_SSM_HEAD] = "ssm_head",
    [DIM_DELTA_QKVZ] = "delta_qkvz",
    [DIM_DELTA_BA] = "delta_ba",
    [DIM_CONV_TAPS] = "conv_taps",
    [DIM_LABELS] = "labels",
};
_Static_assert(sizeof dim_names / sizeof *dim_names == DIM_COUNT, "every dimension has a name");

uint64_t block_dim(const struct model_config *cfg, const struct block_config *b, enum model_dim dim)
{
    return b && b->dims ? b->dims[dim] : cfg->dims[dim];
}

const struct attention_config *block_attention_config(const struct model_config *cfg, const struct block_config *b)
{
    return b->attention ? b->attention : &cfg->attention;
}

bool model_gives_logits(const struct model_config *cfg, const char *what, struct error *err)
{
    if (cfg->encoder.output == OUTPUT_LOGITS) return true;
    return error_set(err, ERR_UNSUPPORTED, "%s gives %s, and %s needs logits", cfg->hf_name,
                     cfg->encoder.output == OUTPUT_SCORES ? "scores" : "embeddings", what);
}

uint32_t model_dims(const struct model_config *cfg, const struct block_config *b, const char *names, uint64_t *out,
                    uint32_t max)
{
    uint32_t n = 0;
    for (const char *p = names; *p && n < max;) {
        size_t size = strcspn(p, ",");
        for (int d = 0; d < DIM_COUNT; d++)
            if (strlen(dim_names[d]) == size && memcmp(dim_names[d], p, size) == 0)
                out[n++] = block_dim(cfg, b, (enum model_dim)d);
        p += size + (p[size] == ',');
    }
    return n;
}

static bool listed(const char *const *list, const char *word)
{
    for (; *list; list++)
        if (strcmp(*list, word) == 0) return true;
    return false;
}

/* What every family but the encoders takes for granted. */
static bool check_causal(const struct model_config *cfg, const json_t *json, struct error *err)
{
    bool causal = true;
    if (cfg->encoder.output != OUTPUT_LOGITS || !json_opt_bool(json, "is_causal", "config", &causal, err))
        return cfg->encoder.output != OUTPUT_LOGITS;
    return causal ? true : error_set(err, ERR_UNSUPPORTED, "key 'is_causal': false, but %s gives logits", cfg->hf_name);
}

/* params.json names no family: its keys say which. */
static bool reads_native(const struct model_arch *a, const json_t *json)
{
    return a->native && (!a->native_key || json_has(json, a->native_key));
}

static bool read_as(const struct model_arch *a, const char *name, const struct hf_config *hf, struct model_config *cfg,
                    struct arena *arena, struct error *err)
{
    *cfg = (struct model_config){.arch = a, .hf_name = arena_text(arena, name ? name : a->hf_names[0])};
    if (!cfg->hf_name) return error_memory(err, 0);
    cfg->dims[DIM_ONE] = 1;
    cfg->embed_scale = 1;
    cfg->root = a->roots;
    if (!a->read_config(cfg, hf->config, arena, err) || !check_causal(cfg, hf->config, err))
        return error_wrap(err, "%s", hf->name ? hf->name : "config.json");
    return !cfg->ssm_cache_dtype || (cfg->ssm_cache_dtype = arena_text(arena, cfg->ssm_cache_dtype)) ||
           error_memory(err, 0);
}

bool model_config_read(struct model_config *cfg, const struct hf_config *hf, struct arena *arena, struct error *err)
{
    const json_t *json = hf->config;
    const json_t *names = json_object_get(json, "architectures");
    const char *name = json_string_value(json_array_get(names, 0)),
               *type = json_string_value(json_object_get(json, "model_type"));
    bool native = hf_config_is_native(hf);
    const char *inner = json_string_value(json_object_get(json_object_get(json, "text_config"), "model_type"));
    /* One wrapper has language models of two families inside. */
    if (name && strcmp(name, "Mistral3ForConditionalGeneration") == 0 && inner && strcmp(inner, "mistral4") == 0)
        name = "Mistral4ForCausalLM";
    if (names && (!json_is_array(names) || json_array_size(names) != 1 || !name))
        return error_set(err, ERR_FORMAT, "config.json: key 'architectures': expected a list of one name");
    if (!name && !type && !native)
        return error_set(err, ERR_FORMAT, "config.json: neither 'architectures' nor 'model_type' is there");
    for (const struct model_arch *const *a = model_archs; *a; a++)
        if (native ? reads_native(*a, json) : name ? listed((*a)->hf_names, name) : listed((*a)->model_types, type))
            return read_as(*a, native ? NULL : name, hf, cfg, arena, err);
    return error_set(err, ERR_UNSUPPORTED,
                     "config.json: architecture '%s' is not one this program knows (`ingot list architectures`)",
                     name ? name : type);
}

bool config_count(const json_t *json, const char *const *names, uint64_t max, uint64_t fallback, uint64_t *out,
                  struct error *err)
{
    for (const char *const *n = names; *n; n++) {
        if (!json_has(json, *n)) continue;
        json_t *v = json_object_get(json, *n);
        json_int_t i = json_integer_value(v);
        if (!json_is_integer(v) || i < 1 || (uint64_t)i > max)
            return error_set(err, ERR_FORMAT, "key '%s': expected an integer from 1 to %llu, found %s", *n,
                             (unsigned long long)max, json_brief(v));
        *out = (uint64_t)i;
        return true;
    }
    if (fallback == 0) return error_set(err, ERR_FORMAT, "key '%s' is missing", names[0]);
    *out = fallback;
    return true;
}
