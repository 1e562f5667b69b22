/* Mistral Large 3 in Mistral's own files (params.json, consolidated*.safetensors), and Mistral 4, the same mathematics
 * under transformers' names: latent attention with paired rotary positions, queries raised with their distance from the
 * start, experts chosen by softmax and a shared one. The towers for pictures are carried. */
#include "models/decoder.h"
#include "models/latent.h"
#include "models/native.h"

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

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    static const struct mla_keys keys = {.heads = "n_heads", .interleaved = true};
    struct rope_spec rope;
    if (!native_sizes(cfg, json, BLOCK_MLA, arena, err) || !native_rope(json, 10000, &rope, err)) return false;
    bool ok = mla_read(cfg, json, &keys, &rope, arena, err);
    json_decref((json_t *)rope.scaling);
    return ok && native_query_scale(&cfg->attention, json, err) && native_experts(cfg, json, err);
}

WHEN(direct, cfg->mla.q_rank == 0)
WHEN(latent, cfg->mla.q_rank > 0)
WHEN(shared, cfg->moe.has_shared)

static const struct role_rule rules[] = {
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

const struct model_arch model_mistral_large3 = {
    .name = "mistral_large3",
    .hf_names = NAMES("MistralLarge3ForCausalLM"),
    .native = true,
    .native_key = "kv_lora_rank",
    .model_types = NAMES("mistral_large_3"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"", ""}, {0}},
    .block_prefix = "layers.%u",
    .carried = native_carried,
    .config_name = native_config_name,
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
