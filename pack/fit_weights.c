/* What one rank holds of a checkpoint; declared in pack/fit.h. The rule is that of the engines' own layers: which of
 * them cut a matrix, and along which side, was read in vLLM 0.17.1's Nemotron-H. */
#include "pack/fit.h"

static bool is_attention(enum block_kind kind)
{
    return kind == BLOCK_ATTENTION || kind == BLOCK_MLA;
}

/* Counts a layer among those that cache alike. Beyond the last kind that there is room for, it counts as the widest,
 * which is never too little. */
static void add_kind(struct fit_model *m, const struct attention_config *a)
{
    uint32_t i = 0, widest = 0;
    for (; i < m->n_kinds; i++) {
        struct fit_kind *k = &m->kinds[i];
        if (k->n_kv_heads == a->n_kv_heads && k->head_dim == a->head_dim && k->window == a->window) break;
        if ((uint64_t)k->n_kv_heads * k->head_dim > (uint64_t)m->kinds[widest].n_kv_heads * m->kinds[widest].head_dim)
            widest = i;
    }
    if (i == FIT_KINDS_MAX) {
        m->kinds[widest].window = 0;
        m->kinds[widest].n_layers++;
        return;
    }
    if (i == m->n_kinds) m->kinds[m->n_kinds++] = (struct fit_kind){0, a->n_kv_heads, a->head_dim, a->window};
    m->kinds[i].n_layers++;
}

void fit_model_from(const struct model_config *cfg, struct fit_model *out)
{
    *out = (struct fit_model){.attention = cfg->attention, .ssm = cfg->ssm};
    if (cfg->mla.kv_rank) out->latent_width = cfg->mla.kv_rank + cfg->mla.rope_dim;
    for (uint32_t i = 0; i < cfg->n_blocks; i++) {
        out->n_attention += is_attention(cfg->blocks[i].kind);
        if (cfg->blocks[i].kind == BLOCK_ATTENTION) add_kind(out, block_attention_config(cfg, &cfg->blocks[i]));
        out->n_mamba += cfg->blocks[i].kind == BLOCK_MAMBA2 || cfg->blocks[i].kind == BLOCK_DELTA;
    }
    for (uint32_t i = 0; i < cfg->n_mtp_blocks; i++) out->n_draft_attention += is_attention(cfg->mtp_blocks[i].kind);
}

/* What the kind of a role does not say. */
struct role_share {
    enum tensor_role role;
    enum fit_share share;
};

static const struct role_share shares[] = {
    {ROLE_ATTN_K, SHARE_KV_HEADS},      {ROLE_ATTN_V, SHARE_KV_HEADS},       {ROLE_SSM_IN, SHARE_GROUPS},
    {ROLE_SSM_CONV, SHARE_GROUPS},      {ROLE_SSM_CONV_BIAS, SHARE_GROUPS},  {ROLE_SSM_A_LOG, SHARE_SPLIT},
    {ROLE_SSM_D, SHARE_SPLIT},          {ROLE_SSM_DT_BIAS, SHARE_SPLIT},     {ROLE_SSM_NORM, SHARE_SPLIT},
    {ROLE_LATENT_IN, SHARE_REPLICATED}, {ROLE_LATENT_OUT, SHARE_REPLICATED}, {ROLE_MLA_Q_A, SHARE_REPLICATED},
    {ROLE_MLA_KV_A, SHARE_REPLICATED},
};

enum fit_share fit_share_of(enum tensor_role role)
{
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        if (shares[i].role == role) return shares[i].share;
    enum role_kind kind = role_info(role)->kind;
    return kind == KIND_LINEAR || kind == KIND_TABLE ? SHARE_SPLIT : SHARE_REPLICATED;
}

/* bytes * part / whole, rounded up; without overflow for any shard size that exists. */
static uint64_t fraction(uint64_t bytes, uint64_t part, uint64_t whole)
{
    return part >= whole ? bytes : bytes / whole * part + u64_div_up(bytes % whole * part, whole);
}

uint64_t fit_rank_bytes(const struct model_config *cfg, enum tensor_role role, uint64_t bytes, uint32_t tp)
{
    const struct ssm_config *s = &cfg->ssm;
    uint64_t kv = cfg->attention.n_kv_heads, groups = 2 * (uint64_t)s->n_groups * s->state_size, rows;
    if (tp <= 1) return bytes;
    switch (fit_share_of(role)) {
    case SHARE_SPLIT: return u64_div_up(bytes, tp);
    case SHARE_REPLICATED: return bytes;
    case SHARE_KV_HEADS: return kv == 0 ? bytes : fraction(bytes, kv > tp ? u64_div_up(kv, tp) : 1, kv);
    case SHARE_GROUPS:
        /* A part that is a multiple of the rows (all are) keeps their proportions. */
        rows = cfg->dims[role == ROLE_SSM_IN ? DIM_SSM_PROJ : DIM_SSM_CONV];
        if (rows <= groups) return bytes;
        return fraction(bytes, u64_div_up(rows - groups, tp) + 2 * u64_div_up(s->n_groups, tp) * s->state_size, rows);
    }
    return bytes;
}

/* The same with the heads of the tensor's own block. */
static uint64_t tensor_rank_bytes(const struct inventory *inv, const struct model_tensor *t, uint64_t bytes,
                                  uint32_t tp)
{
    const struct model_config *cfg = &inv->config;
    const struct block_config *blocks = t->place.mtp ? cfg->mtp_blocks : cfg->blocks;
    if (t->place.block < 0 || !blocks[t->place.block].attention || fit_share_of(t->place.role) != SHARE_KV_HEADS)
        return fit_rank_bytes(cfg, t->place.role, bytes, tp);
    struct model_config own = {.attention = *blocks[t->place.block].attention};
    return fit_rank_bytes(&own, t->place.role, bytes, tp);
}

uint64_t fit_weights(const struct inventory *inv, uint32_t tp, bool drafts)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i];
        if (t->place.mtp && !drafts) continue;
        for (int part = 0; part < PART_COUNT; part++) {
            if (t->parts[part] == NAME_NONE) continue;
            const struct tensor_info *info = checkpoint_tensor(inv->checkpoint, t->parts[part]);
            sum += info->n_dims == 0 ? info->bytes : tensor_rank_bytes(inv, t, info->bytes, tp);
        }
    }
    return sum;
}
