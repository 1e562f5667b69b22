#include "models/latent.h"

#include "models/decoder.h"

#include <math.h>

/* The reference builds the norms on the latents without saying an eps: its class's default counts. */
#define LATENT_NORM_EPS 1e-6

bool mla_read(struct model_config *cfg, const json_t *json, const struct mla_keys *keys, const struct rope_spec *rope,
              struct arena *arena, struct error *err)
{
    const char *const heads_names[] = {keys->heads, NULL};
    struct attention_config *a = &cfg->attention;
    struct mla_config *m = &cfg->mla;
    uint64_t heads, q_rank = 0, kv_rank, nope, turned, v;
    if (!config_count(json, heads_names, 65536, 0, &heads, err) ||
        !json_opt_u64(json, "q_lora_rank", "config", 0, MODEL_DIM_MAX, &q_rank, err) ||
        !config_count(json, NAMES("kv_lora_rank"), MODEL_DIM_MAX, 0, &kv_rank, err) ||
        !config_count(json, NAMES("qk_nope_head_dim"), 65536, 0, &nope, err) ||
        !config_count(json, NAMES("qk_rope_head_dim"), 65536, 0, &turned, err) ||
        !config_count(json, NAMES("v_head_dim"), 65536, 0, &v, err))
        return false;
    if (turned % 2 != 0)
        return error_set(err, ERR_FORMAT, "key 'qk_rope_head_dim': expected an even number, found %llu",
                         (unsigned long long)turned);
    *m = (struct mla_config){.q_rank = (uint32_t)q_rank,
                             .kv_rank = (uint32_t)kv_rank,
                             .nope_dim = (uint32_t)nope,
                             .rope_dim = (uint32_t)turned,
                             .v_dim = (uint32_t)v,
                             .norm_eps = LATENT_NORM_EPS};
    *a = (struct attention_config){.n_heads = (uint32_t)heads,
                                   .n_kv_heads = 1,
                                   .head_dim = (uint32_t)(nope + turned),
                                   .scale = 1 / sqrt((double)(nope + turned))};
    cfg->dims[DIM_ATTN_HEADS] = heads;
    cfg->dims[DIM_ATTN_HEAD] = nope + turned;
    cfg->dims[DIM_ATTN_Q] = heads * (nope + turned);
    cfg->dims[DIM_ATTN_OUT] = heads * v;
    cfg->dims[DIM_MLA_Q_RANK] = q_rank;
    cfg->dims[DIM_MLA_KV_RANK] = kv_rank;
    cfg->dims[DIM_MLA_KV_A] = kv_rank + turned;
    cfg->dims[DIM_MLA_KV_B] = heads * (nope + v);
    return rope_make(rope, keys->interleaved ? ROPE_INTERLEAVED : ROPE_HALF, turned, cfg->max_position, arena, &a->rope,
                     err);
}

bool config_check_groups(const struct moe_config *m, struct error *err)
{
    if (m->n_experts % m->n_groups != 0)
        return error_set(err, ERR_FORMAT, "%u experts are not a multiple of n_group %u", m->n_experts, m->n_groups);
    if (m->n_groups > 1 && m->n_experts / m->n_groups < 2)
        return error_set(err, ERR_FORMAT,
                         "n_group %u leaves fewer than two experts per group; a group is scored by its best two",
                         m->n_groups);
    if (m->top_k > m->n_experts / m->n_groups * m->top_k_groups)
        return error_set(err, ERR_FORMAT, "num_experts_per_tok %u is more than the %u experts of topk_group groups",
                         m->top_k, m->n_experts / m->n_groups * m->top_k_groups);
    return isfinite(m->scale) ? true : error_set(err, ERR_FORMAT, "routed_scaling_factor is not finite");
}
