/* Who makes the channels that a linear reads, by block kind, and what a maker is divided by. */
#include "plan/fold_impl.h"

#define ROW(...) {__VA_ARGS__}, sizeof((enum tensor_role[]){__VA_ARGS__}) / sizeof(enum tensor_role)

const struct fold_row fold_table[] = {
    {KIND(BLOCK_MAMBA2), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_SSM_IN)},
    {KIND(BLOCK_MAMBA2), ROLE_SSM_NORM, BY_PLAIN_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_SSM_OUT)},
    {KIND(BLOCK_ATTENTION), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false,
     ROW(ROLE_ATTN_Q, ROLE_ATTN_K, ROLE_ATTN_V)},
    /* what heads give is a mean of values (times a gate of its own): channel by channel */
    {KIND(BLOCK_ATTENTION), ROLE_ATTN_V, BY_ROWS, OF_KV_HEADS, ALWAYS, false, ROW(ROLE_ATTN_O)},
    {KIND(BLOCK_MLA), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false,
     ROW(ROLE_ATTN_Q, ROLE_MLA_Q_A, ROLE_MLA_KV_A)},
    {KIND(BLOCK_MLA), ROLE_MLA_Q_A_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_MLA_Q_B)},
    {KIND(BLOCK_MLA), ROLE_MLA_KV_A_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_MLA_KV_B)},
    {KIND(BLOCK_MLP), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_MLP_GATE, ROLE_MLP_UP)},
    {KIND(BLOCK_MLP), ROLE_MLP_UP, BY_MLP, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_MLP_DOWN)},
    {KIND(BLOCK_MOE), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, WITHOUT_LATENT, false,
     ROW(ROLE_ROUTER, ROLE_EXPERT_GATE, ROLE_EXPERT_UP, ROLE_SHARED_GATE, ROLE_SHARED_UP, ROLE_SHARED_MIX)},
    {KIND(BLOCK_MOE), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, WITH_LATENT, false,
     ROW(ROLE_ROUTER, ROLE_LATENT_IN, ROLE_SHARED_GATE, ROLE_SHARED_UP, ROLE_SHARED_MIX)},
    {KIND(BLOCK_MOE), ROLE_LATENT_IN, BY_ROWS, AS_THEY_ARE, WITH_LATENT, false, ROW(ROLE_EXPERT_GATE, ROLE_EXPERT_UP)},
    /* the sum of the experts' results, each times a number */
    {KIND(BLOCK_MOE), ROLE_EXPERT_DOWN, BY_ROWS, AS_THEY_ARE, WITH_LATENT, false, ROW(ROLE_LATENT_OUT)},
    {KIND(BLOCK_MOE), ROLE_EXPERT_UP, BY_MLP, AS_THEY_ARE, ALWAYS, true, ROW(ROLE_EXPERT_DOWN)},
    {KIND(BLOCK_MOE), ROLE_SHARED_UP, BY_MLP, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_SHARED_DOWN)},
    {KIND(BLOCK_DELTA), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false,
     ROW(ROLE_DELTA_QKVZ, ROLE_DELTA_BA, ROLE_DELTA_QKV, ROLE_DELTA_Z, ROLE_DELTA_B, ROLE_DELTA_A)},
    {KIND(BLOCK_DELTA), ROLE_DELTA_NORM, BY_PLAIN_NORM, OF_ONE_HEAD, ALWAYS, false, ROW(ROLE_DELTA_OUT)},
    {KIND(BLOCK_LINEAR), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_ATTN_LINEAR, ROLE_MLP_LINEAR)},
};
const uint32_t fold_table_rows = sizeof fold_table / sizeof *fold_table;

static bool norm_is_plain(const struct party *q, const struct model_config *cfg)
{
    return q->row->how == BY_PLAIN_NORM || cfg->norm == NORM_RMS;
}

/* What the maker is divided by; false: what stands behind it does not pass a scale on. */
bool fold_maker_kind(const struct party *q, const struct model_config *cfg, enum fold_maker *out)
{
    const struct mlp_config *mlp = q->row->kinds & KIND(BLOCK_MOE) ? &cfg->moe.mlp : &cfg->mlp;
    *out = FOLD_ROWS;
    if (q->row->how == BY_ROWS) return true;
    if (q->row->how != BY_MLP) {
        *out = norm_is_plain(q, cfg) ? FOLD_NORM : FOLD_NORM_ONE;
        return true;
    }
    if (mlp->gated) return mlp->activation != ACT_CLAMPED;
    *out = FOLD_ROOT;
    return mlp->activation == ACT_RELU2;
}
