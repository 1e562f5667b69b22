/* DeciLM / nemotron-nas (Llama-Nemotron Super 49B, Ultra 253B): Llama whose layers differ: heads per group and MLP
 * width of their own, a matrix in place of attention or of the MLP, or nothing at all. */
#include "formats/hf_config.h"
#include "models/decoder.h"

#define IN_LINEAR KIND_BIT(BLOCK_LINEAR)

struct reader {
    struct model_config *cfg;
    struct arena *arena;
    struct error *err;
};

static bool switch_of(const json_t *o, const char *key, bool *out, struct error *err)
{
    *out = false;
    return json_opt_bool(o, key, "block_configs", out, err);
}

/* What published models leave off, and this reading does not know. */
static bool nothing_else(const json_t *o, const char *const *keys, struct error *err)
{
    for (; *keys; keys++) {
        const json_t *v = json_object_get(o, *keys);
        if (v && !json_is_null(v) && !json_is_false(v))
            return error_set(err, ERR_UNSUPPORTED, "key '%s': %s is not supported", *keys, json_brief(v));
    }
    return true;
}

static uint64_t *own_dims(const struct reader *r, struct block_config *b)
{
    uint64_t *dims = arena_alloc(r->arena, DIM_COUNT, sizeof *dims);
    if (!dims) {
        error_set(r->err, ERR_MEMORY, "out of memory");
        return NULL;
    }
    memcpy(dims, r->cfg->dims, sizeof r->cfg->dims);
    b->dims = dims;
    return dims;
}

static bool read_attention(const struct reader *r, const json_t *o, struct block_config *b, bool *has)
{
    struct model_config *cfg = r->cfg;
    bool no_op, linear;
    uint64_t group;
    if (!switch_of(o, "no_op", &no_op, r->err) || !switch_of(o, "replace_with_linear", &linear, r->err)) return false;
    *has = !no_op;
    b->kind = linear ? BLOCK_LINEAR : BLOCK_ATTENTION;
    if (no_op || linear) return true;
    if (!nothing_else(o, NAMES("num_sink_tokens", "sparsify", "unshifted_sink", "window_length"), r->err) ||
        !config_count(o, NAMES("n_heads_in_group"), cfg->attention.n_heads, 0, &group, r->err))
        return false;
    if (cfg->attention.n_heads % group != 0)
        return error_set(r->err, ERR_FORMAT, "num_attention_heads %u is not a multiple of n_heads_in_group %llu",
                         cfg->attention.n_heads, (unsigned long long)group);
    struct attention_config *a = arena_alloc(r->arena, 1, sizeof *a);
    uint64_t *dims = own_dims(r, b);
    if (!a || !dims) return error_memory(r->err, sizeof *a);
    *a = cfg->attention;
    a->n_kv_heads = a->n_heads / (uint32_t)group;
    dims[DIM_ATTN_KV] = (uint64_t)a->n_kv_heads * a->head_dim;
    b->attention = a;
    return true;
}

static bool mlp_width(const struct reader *r, const json_t *o, uint64_t *out)
{
    double mult = 0;
    if (json_has(o, "intermediate_size"))
        return config_count(o, NAMES("intermediate_size"), MODEL_DIM_MAX, 0, out, r->err);
    if (!json_get_number(o, "ffn_mult", "block_configs", &mult, r->err)) return false;
    *out = hf_deci_width(mult, r->cfg->dims[DIM_HIDDEN]);
    if (*out == 0 || *out > MODEL_DIM_MAX)
        return error_set(r->err, ERR_FORMAT, "key 'ffn_mult': %g makes no MLP", mult);
    return true;
}

static bool read_ffn(const struct reader *r, const json_t *o, struct block_config *b, bool *has)
{
    bool no_op, linear;
    if (!switch_of(o, "no_op", &no_op, r->err) || !switch_of(o, "replace_with_linear", &linear, r->err)) return false;
    *has = !no_op;
    b->kind = linear ? BLOCK_LINEAR : BLOCK_MLP;
    b->replaces_mlp = linear;
    if (no_op || linear) return true;
    uint64_t *dims = own_dims(r, b);
    return dims && nothing_else(o, NAMES("sparsify"), r->err) && mlp_width(r, o, &dims[DIM_MLP]);
}

static bool read_layer(const struct reader *r, const json_t *o, uint32_t layer)
{
    struct model_config *cfg = r->cfg;
    const json_t *parts[] = {json_object_get(o, "attention"), json_object_get(o, "ffn")};
    for (int i = 0; i < 2; i++) {
        struct block_config b = {.layer = layer};
        bool has = false;
        if (!json_is_object(parts[i]))
            return error_set(r->err, ERR_FORMAT, "key '%s': expected an object, found %s", i ? "ffn" : "attention",
                             json_brief(parts[i]));
        if (!(i ? read_ffn : read_attention)(r, parts[i], &b, &has)) return false;
        if (has) cfg->blocks[cfg->n_blocks++] = b;
    }
    return true;
}

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    static const struct decoder_defaults d = {0};
    const json_t *list;
    cfg->mlp = (struct mlp_config){.gated = true, .activation = ACT_SILU};
    if (!decoder_read_sizes(cfg, json, &d, err) || !decoder_read_heads(cfg, json, &d, err) ||
        !decoder_read_rope(cfg, json, &d, NULL, arena, &cfg->attention.rope, err) ||
        !config_expect_word(json, "hidden_act", "silu", err) ||
        !decoder_make_blocks(cfg, json, BLOCK_ATTENTION, BLOCK_MLP, arena, err))
        return false;
    list = json_object_get(json, "block_configs");
    if (json_array_size(list) != cfg->n_layers)
        return error_set(err, ERR_FORMAT,
                         "key 'block_configs': expected a list of %u layers (num_hidden_layers), found %zu",
                         cfg->n_layers, json_array_size(list));
    struct reader r = {cfg, arena, err};
    cfg->n_blocks = 0;
    for (uint32_t i = 0; i < cfg->n_layers; i++)
        if (!read_layer(&r, json_array_get(list, i), i)) return error_wrap(err, "key 'block_configs': layer %u", i);
    return true;
}

WHEN(for_attention, block->kind == BLOCK_ATTENTION || !block->replaces_mlp)
WHEN(for_mlp, block->kind == BLOCK_MLP || block->replaces_mlp)

static const struct role_rule rules[] = {
    RULES_EMBED,
    {"{B}.input_layernorm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_ATTENTION | IN_LINEAR, "hidden", for_attention},
    RULES_ATTENTION,
    RULES_ATTENTION_BIAS,
    {"{B}.self_attn.linear_attn.weight", ROLE_ATTN_LINEAR, SCOPE_BLOCK, IN_LINEAR, "hidden,hidden", for_attention},
    {"{B}.post_attention_layernorm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_MLP | IN_LINEAR, "hidden", for_mlp},
    RULES_GATED_MLP,
    RULES_GATED_MLP_BIAS,
    {"{B}.mlp.linear_mlp.weight", ROLE_MLP_LINEAR, SCOPE_BLOCK, IN_LINEAR, "hidden,hidden", for_mlp},
    RULES_FINAL,
};

const struct model_arch model_deci = {
    .name = "deci",
    .hf_names = NAMES("DeciLMForCausalLM"),
    .model_types = NAMES("nemotron-nas", "deci"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"model.", ""}, {0}},
    .block_prefix = "{R}layers.%u",
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
