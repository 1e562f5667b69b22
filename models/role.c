#include "models/arch.h"

static const struct role_info role_table[] = {
    [ROLE_EMBED] = {"embed", "embed", KIND_TABLE},
    [ROLE_FINAL_NORM] = {"final_norm", "norm", KIND_SMALL},
    [ROLE_FINAL_NORM_BIAS] = {"final_norm_bias", "bias", KIND_SMALL},
    [ROLE_LM_HEAD] = {"lm_head", "lm_head", KIND_TABLE},
    [ROLE_BLOCK_NORM] = {"block_norm", "norm", KIND_SMALL},
    [ROLE_BLOCK_NORM_BIAS] = {"block_norm_bias", "bias", KIND_SMALL},
    [ROLE_BLOCK_POST_NORM] = {"block_post_norm", "norm", KIND_SMALL},
    [ROLE_ATTN_Q] = {"attn_q", "attention", KIND_LINEAR},
    [ROLE_ATTN_K] = {"attn_k", "attention", KIND_LINEAR},
    [ROLE_ATTN_V] = {"attn_v", "attention", KIND_LINEAR},
    [ROLE_ATTN_O] = {"attn_o", "attention", KIND_LINEAR},
    [ROLE_ATTN_BIAS] = {"attn_bias", "bias", KIND_SMALL},
    [ROLE_ATTN_Q_NORM] = {"attn_q_norm", "norm", KIND_SMALL},
    [ROLE_ATTN_K_NORM] = {"attn_k_norm", "norm", KIND_SMALL},
    [ROLE_ATTN_SINKS] = {"attn_sinks", "attn_sinks", KIND_SMALL},
    [ROLE_ATTN_LINEAR] = {"attn_linear", "attention", KIND_LINEAR},
    [ROLE_MLA_Q_A] = {"attn_q_a", "attention", KIND_LINEAR},
    [ROLE_MLA_Q_A_NORM] = {"attn_q_a_norm", "norm", KIND_SMALL},
    [ROLE_MLA_Q_B] = {"attn_q_b", "attention", KIND_LINEAR},
    [ROLE_MLA_KV_A] = {"attn_kv_a", "attention", KIND_LINEAR},
    [ROLE_MLA_KV_A_NORM] = {"attn_kv_a_norm", "norm", KIND_SMALL},
    [ROLE_MLA_KV_B] = {"attn_kv_b", "attention", KIND_LINEAR},
    [ROLE_MLP_GATE] = {"mlp_gate", "mlp", KIND_LINEAR},
    [ROLE_MLP_UP] = {"mlp_up", "mlp", KIND_LINEAR},
    [ROLE_MLP_DOWN] = {"mlp_down", "mlp", KIND_LINEAR},
    [ROLE_MLP_BIAS] = {"mlp_bias", "bias", KIND_SMALL},
    [ROLE_MLP_LINEAR] = {"mlp_linear", "mlp", KIND_LINEAR},
    [ROLE_ROUTER] = {"router", "router", KIND_ROUTER},
    [ROLE_ROUTER_BIAS] = {"router_bias", "router", KIND_ROUTER},
    [ROLE_EXPERT_GATE] = {"expert_gate", "routed_experts", KIND_LINEAR},
    [ROLE_EXPERT_UP] = {"expert_up", "routed_experts", KIND_LINEAR},
    [ROLE_EXPERT_DOWN] = {"expert_down", "routed_experts", KIND_LINEAR},
    [ROLE_EXPERT_BIAS] = {"expert_bias", "bias", KIND_SMALL},
    [ROLE_SHARED_GATE] = {"shared_gate", "shared_experts", KIND_LINEAR},
    [ROLE_SHARED_UP] = {"shared_up", "shared_experts", KIND_LINEAR},
    [ROLE_SHARED_DOWN] = {"shared_down", "shared_experts", KIND_LINEAR},
    [ROLE_SHARED_MIX] = {"shared_mix", "router", KIND_ROUTER},
    [ROLE_LATENT_IN] = {"latent_in", "latent", KIND_LINEAR},
    [ROLE_LATENT_OUT] = {"latent_out", "latent", KIND_LINEAR},
    [ROLE_SSM_IN] = {"ssm_in", "mamba_linears", KIND_LINEAR},
    [ROLE_SSM_OUT] = {"ssm_out", "mamba_linears", KIND_LINEAR},
    [ROLE_SSM_PROJ_BIAS] = {"ssm_proj_bias", "bias", KIND_SMALL},
    [ROLE_SSM_CONV] = {"ssm_conv", "ssm_state_path", KIND_SSM},
    [ROLE_SSM_CONV_BIAS] = {"ssm_conv_bias", "ssm_state_path", KIND_SSM},
    [ROLE_SSM_A_LOG] = {"ssm_a_log", "ssm_state_path", KIND_SSM},
    [ROLE_SSM_D] = {"ssm_d", "ssm_state_path", KIND_SSM},
    [ROLE_SSM_DT_BIAS] = {"ssm_dt_bias", "ssm_state_path", KIND_SSM},
    [ROLE_SSM_NORM] = {"ssm_norm", "norm", KIND_SMALL},
    [ROLE_DELTA_QKVZ] = {"delta_qkvz", "delta_linears", KIND_LINEAR},
    [ROLE_DELTA_BA] = {"delta_ba", "delta_linears", KIND_LINEAR},
    [ROLE_DELTA_QKV] = {"delta_qkv", "delta_linears", KIND_LINEAR},
    [ROLE_DELTA_Z] = {"delta_z", "delta_linears", KIND_LINEAR},
    [ROLE_DELTA_B] = {"delta_b", "delta_linears", KIND_LINEAR},
    [ROLE_DELTA_A] = {"delta_a", "delta_linears", KIND_LINEAR},
    [ROLE_DELTA_NORM] = {"delta_norm", "norm", KIND_SMALL},
    [ROLE_DELTA_OUT] = {"delta_out", "delta_linears", KIND_LINEAR},
    [ROLE_MTP_EMBED_NORM] = {"mtp_embed_norm", "norm", KIND_SMALL},
    [ROLE_MTP_HIDDEN_NORM] = {"mtp_hidden_norm", "norm", KIND_SMALL},
    [ROLE_MTP_PROJ] = {"mtp_proj", "mtp_proj", KIND_LINEAR},
    [ROLE_MTP_FINAL_NORM] = {"mtp_final_norm", "norm", KIND_SMALL},
    [ROLE_MTP_EMBED] = {"mtp_embed", "mtp_embed", KIND_TABLE},
    [ROLE_MTP_HEAD] = {"mtp_head", "mtp_head", KIND_TABLE},
    [ROLE_SCORE] = {"score", "score", KIND_ROUTER},
    [ROLE_CARRIED] = {"carried", "carried", KIND_SMALL},
};
_Static_assert(sizeof role_table / sizeof *role_table == ROLE_COUNT, "every role has a row");

const struct role_info *role_info(enum tensor_role role)
{
    return &role_table[role];
}

bool role_is(enum tensor_role role, const char *word)
{
    return strcmp(role_table[role].name, word) == 0 || strcmp(role_table[role].role_class, word) == 0;
}

bool role_word_known(const char *word)
{
    for (int r = 0; r < ROLE_COUNT; r++)
        if (role_is((enum tensor_role)r, word)) return true;
    return false;
}
