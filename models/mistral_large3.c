/* Mistral Large 3 in Mistral's own files (params.json, consolidated*.safetensors), and Mistral 4, the same mathematics
 * under transformers' names: latent attention with paired rotary positions, queries raised with their distance from the
 * start, experts chosen by softmax and a shared one. The towers for pictures are carried. */
#include "models/decoder.h"
#include "models/mla.h"

#include <math.h>

/* ---- params.json ---- */

/* `yarn` as transformers would spell it: alpha is beta_slow, beta is beta_fast; without apply_scale nothing is
 * multiplied, neither cosine and sine nor the softmax. */
static bool native_rope(const json_t *json, struct rope_spec *out, struct error *err)
{
    json_t *yarn = json_object_get(json, "yarn");
    bool scales = true;
    double original, factor, beta = 32, alpha = 1;
    *out = (struct rope_spec){.theta = 10000};
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

static bool native_query_scale(struct attention_config *a, const json_t *json, struct error *err)
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

static bool place_experts(struct model_config *cfg, uint64_t dense, uint64_t every)
{
    for (uint32_t i = 0; i < cfg->n_layers; i++)
        if (i >= dense && i % every == 0) cfg->blocks[2 * i + 1].kind = BLOCK_MOE;
    return true;
}

static bool native_experts(struct model_config *cfg, const json_t *json, struct error *err)
{
    struct moe_config *m = &cfg->moe;
    uint64_t experts, top_k, groups, top_groups, dense = 0, every = 1, shared = 0;
    json_t *moe = json_object_get(json, "moe");
    if (!moe || json_is_null(moe)) return true;
    m->scale = 1;
    if (!config_count(moe, NAMES("num_experts"), MODEL_EXPERTS_MAX, 0, &experts, err) ||
        !config_count(moe, NAMES("num_experts_per_tok"), experts, 0, &top_k, err) ||
        !config_count(moe, NAMES("num_expert_groups"), experts, 1, &groups, err) ||
        !config_count(moe, NAMES("num_expert_groups_per_tok"), groups, 1, &top_groups, err) ||
        !config_count(moe, NAMES("expert_hidden_dim"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_EXPERT_MLP], err) ||
        !json_opt_u64(moe, "first_k_dense_replace", "moe", 0, MODEL_LAYERS_MAX, &dense, err) ||
        !json_opt_u64(moe, "route_every_n", "moe", 1, MODEL_LAYERS_MAX, &every, err) ||
        !json_opt_u64(moe, "num_shared_experts", "moe", 0, 64, &shared, err) ||
        !json_opt_number(moe, "routed_scale", "moe", &m->scale, err))
        return error_wrap(err, "key 'moe'");
    *m = (struct moe_config){.route = ROUTE_SOFTMAX,
                             .mlp = cfg->mlp,
                             .n_experts = (uint32_t)experts,
                             .top_k = (uint32_t)top_k,
                             .n_groups = (uint32_t)groups,
                             .top_k_groups = (uint32_t)top_groups,
                             .normalize = true,
                             .scale = m->scale,
                             .has_shared = shared > 0};
    cfg->dims[DIM_EXPERTS] = experts;
    cfg->dims[DIM_EXPERT_IN] = cfg->dims[DIM_HIDDEN];
    cfg->dims[DIM_SHARED_MLP] = shared * cfg->dims[DIM_EXPERT_MLP];
    return config_check_groups(m, err) && place_experts(cfg, dense, every);
}

static bool native_blocks(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    uint64_t n;
    if (!config_count(json, NAMES("n_layers"), MODEL_LAYERS_MAX, 0, &n, err)) return false;
    cfg->blocks = arena_alloc(arena, 2 * n, sizeof *cfg->blocks);
    if (!cfg->blocks) return error_memory(err, 0);
    cfg->n_layers = (uint32_t)n;
    cfg->n_blocks = 2 * cfg->n_layers;
    for (uint32_t i = 0; i < cfg->n_blocks; i++)
        cfg->blocks[i] = (struct block_config){.kind = i % 2 ? BLOCK_MLP : BLOCK_MLA, .layer = i / 2};
    return true;
}

static bool native_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    static const struct mla_keys keys = {.heads = "n_heads", .interleaved = true};
    struct rope_spec rope;
    cfg->mlp = (struct mlp_config){.gated = true, .activation = ACT_SILU};
    cfg->norm_eps = 1e-6;
    if (!json_has(json, "kv_lora_rank"))
        return error_set(err, ERR_UNSUPPORTED,
                         "key 'kv_lora_rank' is missing: of Mistral's own files only Large 3's are read");
    if (!config_count(json, NAMES("dim"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_HIDDEN], err) ||
        !config_count(json, NAMES("vocab_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_VOCAB], err) ||
        !config_count(json, NAMES("hidden_dim"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_MLP], err) ||
        !json_opt_number(json, "norm_eps", "params", &cfg->norm_eps, err) ||
        !json_opt_bool(json, "tied_embeddings", "params", &cfg->tied_head, err) ||
        !json_opt_u64(json, json_has(json, "max_position_embeddings") ? "max_position_embeddings" : "max_seq_len",
                      "params", 0, UINT32_MAX, &cfg->max_position, err) ||
        !native_blocks(cfg, json, arena, err) || !native_rope(json, &rope, err))
        return false;
    bool ok = mla_read(cfg, json, &keys, &rope, arena, err);
    json_decref((json_t *)rope.scaling);
    if (!(cfg->norm_eps >= 0 && cfg->norm_eps < 1))
        return error_set(err, ERR_FORMAT, "norm_eps %g is not a small positive number", cfg->norm_eps);
    return ok && native_query_scale(&cfg->attention, json, err) && native_experts(cfg, json, err);
}

WHEN(direct, cfg->mla.q_rank == 0)
WHEN(latent, cfg->mla.q_rank > 0)
WHEN(shared, cfg->moe.has_shared)

static const struct role_rule native_rules[] = {
    {"tok_embeddings.weight", ROLE_EMBED, SCOPE_MODEL, 0, "vocab,hidden", NULL},
    {"{B}.attention_norm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_MLA, "hidden", NULL},
    {"{B}.attention.wq.weight", ROLE_ATTN_Q, SCOPE_BLOCK, IN_MLA, "attn_q,hidden", direct},
    {"{B}.attention.wq_a.weight", ROLE_MLA_Q_A, SCOPE_BLOCK, IN_MLA, "q_rank,hidden", latent},
    {"{B}.attention.q_a_norm.weight", ROLE_MLA_Q_A_NORM, SCOPE_BLOCK, IN_MLA, "q_rank", latent},
    {"{B}.attention.wq_b.weight", ROLE_MLA_Q_B, SCOPE_BLOCK, IN_MLA, "attn_q,q_rank", latent},
    {"{B}.attention.wkv_a_with_mqa.weight", ROLE_MLA_KV_A, SCOPE_BLOCK, IN_MLA, "kv_a,hidden", NULL},
    {"{B}.attention.kv_a_norm.weight", ROLE_MLA_KV_A_NORM, SCOPE_BLOCK, IN_MLA, "kv_rank", NULL},
    {"{B}.attention.wkv_b.weight", ROLE_MLA_KV_B, SCOPE_BLOCK, IN_MLA, "kv_b,kv_rank", NULL},
    {"{B}.attention.wo.weight", ROLE_ATTN_O, SCOPE_BLOCK, IN_MLA, "hidden,attn_out", NULL},
    {"{B}.ffn_norm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_MLP | IN_MOE, "hidden", NULL},
    {"{B}.feed_forward.w1.weight", ROLE_MLP_GATE, SCOPE_BLOCK, IN_MLP, "mlp,hidden", NULL},
    {"{B}.feed_forward.w3.weight", ROLE_MLP_UP, SCOPE_BLOCK, IN_MLP, "mlp,hidden", NULL},
    {"{B}.feed_forward.w2.weight", ROLE_MLP_DOWN, SCOPE_BLOCK, IN_MLP, "hidden,mlp", NULL},
    {"{B}.gate.weight", ROLE_ROUTER, SCOPE_BLOCK, IN_MOE, "experts,hidden", NULL},
    {"{B}.experts.{E}.w1.weight", ROLE_EXPERT_GATE, SCOPE_EXPERT, IN_MOE, "expert_mlp,expert_in", NULL},
    {"{B}.experts.{E}.w3.weight", ROLE_EXPERT_UP, SCOPE_EXPERT, IN_MOE, "expert_mlp,expert_in", NULL},
    {"{B}.experts.{E}.w2.weight", ROLE_EXPERT_DOWN, SCOPE_EXPERT, IN_MOE, "expert_in,expert_mlp", NULL},
    {"{B}.shared_experts.w1.weight", ROLE_SHARED_GATE, SCOPE_BLOCK, IN_MOE, "shared_mlp,hidden", shared},
    {"{B}.shared_experts.w3.weight", ROLE_SHARED_UP, SCOPE_BLOCK, IN_MOE, "shared_mlp,hidden", shared},
    {"{B}.shared_experts.w2.weight", ROLE_SHARED_DOWN, SCOPE_BLOCK, IN_MOE, "hidden,shared_mlp", shared},
    {"norm.weight", ROLE_FINAL_NORM, SCOPE_MODEL, 0, "hidden", NULL},
    {"output.weight", ROLE_LM_HEAD, SCOPE_MODEL, 0, "vocab,hidden", NULL},
};

/* The lists in params.json speak of modules as vLLM calls them (its MistralLarge3ForCausalLM): transformers' names. */
static char *config_name(const char *module, struct arena *arena)
{
    static const struct {
        const char *own, *other;
    } whole[] = {{"tok_embeddings", "model.embed_tokens"}, {"output", "lm_head"}},
      ends[] = {{"attention.wq", "self_attn.q_proj"},
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

const struct model_arch model_mistral_large3 = {
    .name = "mistral_large3",
    .hf_names = NAMES("MistralLarge3ForCausalLM"),
    .native = true,
    .model_types = NAMES("mistral_large_3"),
    .read_config = native_config,
    .roots = (const struct name_root[]){{"", ""}, {0}},
    .block_prefix = "layers.%u",
    .carried = NAMES("vision_encoder", "patch_merger", "vision_language_adapter", "pre_mm_projector_norm"),
    .config_name = config_name,
    .rules = native_rules,
    .n_rules = sizeof native_rules / sizeof *native_rules,
};
