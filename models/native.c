/* What the families of Mistral's own files (params.json) have in common. */
#include "models/native.h"

#include <math.h>

const char *const native_carried[] = {"vision_encoder", "patch_merger", "vision_language_adapter",
                                      "pre_mm_projector_norm", NULL};

/* `yarn` as transformers would spell it: alpha is beta_slow, beta is beta_fast; without apply_scale nothing is
 * multiplied, neither cosine and sine nor the softmax. */
bool native_rope(const json_t *json, double theta, struct rope_spec *out, struct error *err)
{
    json_t *yarn = json_object_get(json, "yarn");
    bool scales = true;
    double original, factor, beta = 32, alpha = 1;
    *out = (struct rope_spec){.theta = theta};
    if (!json_opt_number(json, "rope_theta", "params", &out->theta, err)) return false;
    if (!(out->theta > 1)) return error_set(err, ERR_FORMAT, "key 'rope_theta': expected a number above 1");
    if (json_has(json, "rope_scaling"))
        return error_set(err, ERR_UNSUPPORTED, "key 'rope_scaling' is not known; 'yarn' is");
    if (!yarn || json_is_null(yarn)) return true;
    if (!json_get_number(yarn, "original_max_position_embeddings", "yarn", &original, err) ||
        !json_get_number(yarn, "factor", "yarn", &factor, err) || !json_opt_number(yarn, "beta", "yarn", &beta, err) ||
        !json_opt_number(yarn, "alpha", "yarn", &alpha, err) ||
        !json_opt_bool(yarn, "apply_scale", "yarn", &scales, err))
        return false;
    if (scales) return error_set(err, ERR_UNSUPPORTED, "key 'yarn': apply_scale true is not known");
    json_t *same = json_pack("{s:s,s:f,s:f,s:f,s:f,s:f}", "rope_type", "yarn", "factor", factor, "beta_fast", beta,
                             "beta_slow", alpha, "original_max_position_embeddings", original, "attention_factor", 1.0);
    out->scaling = same;
    return same ? true : error_memory(err, 0);
}

bool native_query_scale(struct attention_config *a, const json_t *json, struct error *err)
{
    json_t *llama4 = json_object_get(json, "llama_4_scaling");
    if (!llama4 || json_is_null(llama4)) return true;
    if (!json_get_u64(llama4, "original_max_position_embeddings", "llama_4_scaling", 1, UINT32_MAX, &a->query_original,
                      err) ||
        !json_get_number(llama4, "beta", "llama_4_scaling", &a->query_beta, err))
        return false;
    return a->query_beta > 0 && isfinite(a->query_beta)
               ? true
               : error_set(err, ERR_FORMAT, "key 'llama_4_scaling': expected a positive beta, found %g", a->query_beta);
}

static bool make_blocks(struct model_config *cfg, const json_t *json, enum block_kind first, struct arena *arena,
                        struct error *err)
{
    uint64_t n;
    if (!config_count(json, NAMES("n_layers"), MODEL_LAYERS_MAX, 0, &n, err)) return false;
    cfg->blocks = arena_alloc(arena, 2 * n, sizeof *cfg->blocks);
    if (!cfg->blocks) return error_memory(err, 0);
    cfg->n_layers = (uint32_t)n;
    cfg->n_blocks = 2 * cfg->n_layers;
    for (uint32_t i = 0; i < cfg->n_blocks; i++)
        cfg->blocks[i] = (struct block_config){.kind = i % 2 ? BLOCK_MLP : first, .layer = i / 2};
    return true;
}

bool native_sizes(struct model_config *cfg, const json_t *json, enum block_kind first, struct arena *arena,
                  struct error *err)
{
    cfg->mlp = (struct mlp_config){.gated = true, .activation = ACT_SILU};
    cfg->norm_eps = 1e-6;
    if (!config_count(json, NAMES("dim"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_HIDDEN], err) ||
        !config_count(json, NAMES("vocab_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_VOCAB], err) ||
        !config_count(json, NAMES("hidden_dim"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_MLP], err) ||
        !json_opt_number(json, "norm_eps", "params", &cfg->norm_eps, err) ||
        !json_opt_bool(json, "tied_embeddings", "params", &cfg->tied_head, err) ||
        !json_opt_u64(json, json_has(json, "max_position_embeddings") ? "max_position_embeddings" : "max_seq_len",
                      "params", 0, UINT32_MAX, &cfg->max_position, err) ||
        !make_blocks(cfg, json, first, arena, err))
        return false;
    return (cfg->norm_eps >= 0 && cfg->norm_eps < 1) ||
           error_set(err, ERR_FORMAT, "norm_eps %g is not a small positive number", cfg->norm_eps);
}

/* The lists in params.json speak of modules as vLLM calls them (its MistralForCausalLM, MistralLarge3ForCausalLM):
 * transformers' names. */
char *native_config_name(const char *module, struct arena *arena)
{
    static const struct {
        const char *own, *other;
    } whole[] = {{"tok_embeddings", "model.embed_tokens"}, {"output", "lm_head"}},
      ends[] = {{"attention.wq", "self_attn.q_proj"},
                {"attention.wk", "self_attn.k_proj"},
                {"attention.wv", "self_attn.v_proj"},
                {"attention.wq_a", "self_attn.q_a_proj"},
                {"attention.wq_b", "self_attn.q_b_proj"},
                {"attention.wkv_a_with_mqa", "self_attn.kv_a_proj_with_mqa"},
                {"attention.wkv_b", "self_attn.kv_b_proj"},
                {"attention.wo", "self_attn.o_proj"},
                {"feed_forward.w1", "mlp.gate_proj"},
                {"feed_forward.w2", "mlp.down_proj"},
                {"feed_forward.w3", "mlp.up_proj"},
                {"gate", "mlp.gate"},
                {"shared_experts.w1", "mlp.shared_experts.gate_proj"},
                {"shared_experts.w2", "mlp.shared_experts.down_proj"},
                {"shared_experts.w3", "mlp.shared_experts.up_proj"}},
      expert[] = {{".w1", ".gate_proj"}, {".w2", ".down_proj"}, {".w3", ".up_proj"}};
    unsigned layer = 0, number = 0;
    int at = 0, end = 0;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strcmp(module, whole[i].own) == 0) return arena_text(arena, whole[i].other);
    if (sscanf(module, "layers.%u.%n", &layer, &at) != 1 || at == 0) return arena_text(arena, module);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strcmp(module + at, ends[i].own) == 0)
            return arena_printf(arena, "model.layers.%u.%s", layer, ends[i].other);
    if (sscanf(module + at, "experts.%u%n", &number, &end) == 1)
        for (size_t i = 0; i < sizeof expert / sizeof *expert; i++)
            if (strcmp(module + at + end, expert[i].own) == 0)
                return arena_printf(arena, "model.layers.%u.mlp.experts.%u%s", layer, number, expert[i].other);
    return arena_text(arena, module);
}
