/* DeepSeek-V3, R1 and what keeps their shape: Kimi K2 and, wrapped beside a vision tower, K2.5. Latent attention (MLA),
 * the first layers dense, then experts chosen by sigmoid within the best groups, and a multi-token-prediction head that
 * stands behind the last layer with copies of the embedding and of the output head. */
#include "models/decoder.h"
#include "models/latent.h"

#include <math.h>

/* ---- configuration ---- */

static bool check_words(const json_t *text, struct error *err)
{
    return config_expect_word(text, "hidden_act", "silu", err) &&
           config_expect_word(text, "scoring_func", "sigmoid", err) &&
           config_expect_word(text, "topk_method", "noaux_tc", err) && config_expect_off(text, "attention_bias", err);
}

static bool read_experts(struct model_config *cfg, const json_t *text, struct error *err)
{
    struct moe_config *m = &cfg->moe;
    uint64_t groups, top_groups, shared = 0;
    m->normalize = true;
    if (!decoder_read_experts(cfg, text, NAMES("n_routed_experts"), err) ||
        !config_count(text, NAMES("n_group"), m->n_experts, 1, &groups, err) ||
        !config_count(text, NAMES("topk_group"), groups, 1, &top_groups, err) ||
        !config_count(text, NAMES("moe_intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_EXPERT_MLP], err) ||
        !json_opt_u64(text, "n_shared_experts", "config", 0, 64, &shared, err) ||
        !json_opt_number(text, "routed_scaling_factor", "config", &m->scale, err))
        return false;
    m->route = ROUTE_SIGMOID;
    m->n_groups = (uint32_t)groups;
    m->top_k_groups = (uint32_t)top_groups;
    m->has_shared = shared > 0;
    cfg->dims[DIM_SHARED_MLP] = shared * cfg->dims[DIM_EXPERT_MLP];
    return config_check_groups(m, err);
}

/* Layer i has experts from first_k_dense_replace on, every moe_layer_freq-th. */
static bool place_experts(struct model_config *cfg, const json_t *text, struct error *err)
{
    uint64_t dense = 0, every = 1;
    if (!json_opt_u64(text, "first_k_dense_replace", "config", 0, MODEL_LAYERS_MAX, &dense, err) ||
        !json_opt_u64(text, "moe_layer_freq", "config", 1, MODEL_LAYERS_MAX, &every, err))
        return false;
    bool any = false;
    for (uint32_t i = 0; i < cfg->n_layers; i++)
        if (i >= dense && i % every == 0) {
            cfg->blocks[2 * i + 1].kind = BLOCK_MOE;
            any = true;
        }
    return !any || read_experts(cfg, text, err);
}

/* The head is one more layer behind the trunk's. */
static bool read_mtp(struct model_config *cfg, const json_t *text, struct arena *arena, struct error *err)
{
    uint64_t n = 0;
    if (!json_opt_u64(text, "num_nextn_predict_layers", "config", 0, 64, &n, err)) return false;
    if (n == 0) return true;
    if (n > 1)
        return error_set(err, ERR_UNSUPPORTED, "num_nextn_predict_layers %llu: only 0 and 1 are known",
                         (unsigned long long)n);
    if (cfg->moe.n_experts == 0)
        return error_set(err, ERR_UNSUPPORTED, "a multi-token-prediction head in a model without experts is not known");
    cfg->mtp_blocks = arena_alloc(arena, 2, sizeof *cfg->mtp_blocks);
    if (!cfg->mtp_blocks) return error_memory(err, 0);
    cfg->mtp_blocks[0] = (struct block_config){.kind = BLOCK_MLA, .layer = cfg->n_layers, .mtp = true};
    cfg->mtp_blocks[1] = (struct block_config){.kind = BLOCK_MOE, .layer = cfg->n_layers, .mtp = true};
    cfg->n_mtp_blocks = 2;
    return true;
}

static bool read_config(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    static const struct decoder_defaults defaults = {.norm_eps = 1e-6};
    const json_t *text = decoder_text_config(json);
    struct mla_keys keys = {.heads = "num_attention_heads", .interleaved = true};
    struct rope_spec rope;
    double g;
    cfg->mlp = (struct mlp_config){.gated = true, .activation = ACT_SILU};
    if (!decoder_read_sizes(cfg, text, &defaults, err) || !check_words(text, err) ||
        !rope_find(text, NULL, 10000, &rope, err) ||
        !json_opt_bool(text, "rope_interleave", "config", &keys.interleaved, err) ||
        !mla_read(cfg, text, &keys, &rope, arena, err) || !rope_mscale_all(&rope, cfg->max_position, &g, err) ||
        !config_count(text, NAMES("intermediate_size"), MODEL_DIM_MAX, 0, &cfg->dims[DIM_MLP], err) ||
        !decoder_make_blocks(cfg, text, BLOCK_MLA, BLOCK_MLP, arena, err))
        return false;
    cfg->attention.scale *= g * g;
    return place_experts(cfg, text, err) && read_mtp(cfg, text, arena, err);
}

/* ---- which tensors there are ---- */

WHEN(direct, cfg->mla.q_rank == 0)
WHEN(latent, cfg->mla.q_rank > 0)
WHEN(shared, cfg->moe.has_shared)
WHEN(mtp_first, block->mtp &&block == cfg->mtp_blocks)
WHEN(mtp_last, block->mtp &&block + 1 == cfg->mtp_blocks + cfg->n_mtp_blocks)

static const struct role_rule rules[] = {
    RULES_EMBED,
    {"{B}.embed_tokens.weight", ROLE_MTP_EMBED, SCOPE_BLOCK, 0, "vocab,hidden", mtp_first},
    {"{B}.enorm.weight", ROLE_MTP_EMBED_NORM, SCOPE_BLOCK, 0, "hidden", mtp_first},
    {"{B}.hnorm.weight", ROLE_MTP_HIDDEN_NORM, SCOPE_BLOCK, 0, "hidden", mtp_first},
    {"{B}.eh_proj.weight", ROLE_MTP_PROJ, SCOPE_BLOCK, 0, "hidden,two_hidden", mtp_first},
    {"{B}.input_layernorm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_MLA, "hidden", NULL},
    {"{B}.self_attn.q_proj.weight", ROLE_ATTN_Q, SCOPE_BLOCK, IN_MLA, "attn_q,hidden", direct},
    {"{B}.self_attn.q_a_proj.weight", ROLE_MLA_Q_A, SCOPE_BLOCK, IN_MLA, "q_rank,hidden", latent},
    {"{B}.self_attn.q_a_layernorm.weight", ROLE_MLA_Q_A_NORM, SCOPE_BLOCK, IN_MLA, "q_rank", latent},
    {"{B}.self_attn.q_b_proj.weight", ROLE_MLA_Q_B, SCOPE_BLOCK, IN_MLA, "attn_q,q_rank", latent},
    {"{B}.self_attn.kv_a_proj_with_mqa.weight", ROLE_MLA_KV_A, SCOPE_BLOCK, IN_MLA, "kv_a,hidden", NULL},
    {"{B}.self_attn.kv_a_layernorm.weight", ROLE_MLA_KV_A_NORM, SCOPE_BLOCK, IN_MLA, "kv_rank", NULL},
    {"{B}.self_attn.kv_b_proj.weight", ROLE_MLA_KV_B, SCOPE_BLOCK, IN_MLA, "kv_b,kv_rank", NULL},
    {"{B}.self_attn.o_proj.weight", ROLE_ATTN_O, SCOPE_BLOCK, IN_MLA, "hidden,attn_out", NULL},
    RULES_MLP_NORM,
    RULES_GATED_MLP,
    {"{B}.mlp.gate.weight", ROLE_ROUTER, SCOPE_BLOCK, IN_MOE, "experts,hidden", NULL},
    {"{B}.mlp.gate.e_score_correction_bias", ROLE_ROUTER_BIAS, SCOPE_BLOCK, IN_MOE, "experts", NULL},
    RULES_GATED_EXPERTS,
    {"{B}.mlp.shared_experts.gate_proj.weight", ROLE_SHARED_GATE, SCOPE_BLOCK, IN_MOE, "shared_mlp,hidden", shared},
    {"{B}.mlp.shared_experts.up_proj.weight", ROLE_SHARED_UP, SCOPE_BLOCK, IN_MOE, "shared_mlp,hidden", shared},
    {"{B}.mlp.shared_experts.down_proj.weight", ROLE_SHARED_DOWN, SCOPE_BLOCK, IN_MOE, "hidden,shared_mlp", shared},
    {"{B}.shared_head.norm.weight", ROLE_MTP_FINAL_NORM, SCOPE_BLOCK, 0, "hidden", mtp_last},
    {"{B}.shared_head.head.weight", ROLE_MTP_HEAD, SCOPE_BLOCK, 0, "vocab,hidden", mtp_last},
    RULES_FINAL,
};

const struct model_arch model_deepseek_v3 = {
    .name = "deepseek_v3",
    .hf_names = NAMES("DeepseekV3ForCausalLM", "KimiK2ForCausalLM", "KimiK25ForConditionalGeneration"),
    .model_types = NAMES("deepseek_v3", "kimi_k2", "kimi_k25"),
    .read_config = read_config,
    .roots = (const struct name_root[]){{"model.", ""}, {"language_model.model.", "language_model."}, {0}},
    .block_prefix = "{R}layers.%u",
    .mtp_prefix = "{R}layers.%u",
    .carried = NAMES("vision_tower", "mm_projector"),
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
};
