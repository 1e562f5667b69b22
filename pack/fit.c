#include "pack/fit.h"

uint64_t fit_overhead(uint64_t memory_bytes)
{
    return memory_bytes <= FIT_SMALL_CARD_BYTES ? FIT_OVERHEAD_SMALL_BYTES : FIT_OVERHEAD_BYTES;
}

static bool check_request(const struct fit_model *m, const struct fit_request *r, struct error *err)
{
    if (r->tp < 1 || r->tp > FIT_RANKS_MAX)
        return error_set(err, ERR_USAGE, "%u GPUs: expected 1 to %u", r->tp, FIT_RANKS_MAX);
    if (r->context < 1 || r->context > FIT_CONTEXT_MAX)
        return error_set(err, ERR_USAGE, "context of %llu tokens: expected 1 to %llu", (unsigned long long)r->context,
                         (unsigned long long)FIT_CONTEXT_MAX);
    if (r->sequences < 1 || r->sequences > FIT_SEQUENCES_MAX)
        return error_set(err, ERR_USAGE, "%llu sequences: expected 1 to %llu", (unsigned long long)r->sequences,
                         (unsigned long long)FIT_SEQUENCES_MAX);
    if (r->drafts > FIT_DRAFTS_MAX)
        return error_set(err, ERR_USAGE, "%u draft tokens: expected at most %u", r->drafts, FIT_DRAFTS_MAX);
    if (r->utilisation_permille < 1 || r->utilisation_permille > 1000)
        return error_set(err, ERR_USAGE, "memory utilisation of %u thousandths: expected 1 to 1000",
                         r->utilisation_permille);
    if (r->memory_bytes > INT64_MAX / 1000 || m->weight_bytes > INT64_MAX / 4 || r->overhead_bytes > INT64_MAX / 4)
        return error_set(err, ERR_USAGE, "the memory figures are beyond what a machine has");
    return true;
}

static bool too_large(struct error *err)
{
    return error_set(err, ERR_USAGE, "the caches of this model would not fit in 64 bits of address");
}

static uint64_t rank_kv_heads(const struct fit_model *m, uint32_t tp)
{
    uint64_t heads = m->attention.n_kv_heads / tp;
    return heads ? heads : 1;
}

static uint64_t n_attention(const struct fit_model *m, const struct fit_request *r)
{
    return (uint64_t)m->n_attention + (r->drafts ? m->n_draft_attention : 0);
}

/* Bytes of one token in one attention layer. Limits of models/arch.h keep the product far below 2^64. */
static uint64_t kv_layer_token(const struct fit_model *m, const struct fit_request *r)
{
    uint64_t n = m->latent_width ? m->latent_width : 2 * (uint64_t)m->attention.head_dim * rank_kv_heads(m, r->tp);
    return u64_div_up(n * r->kv_bits_x2, 16);
}

static bool state_of_layer(const struct fit_model *m, const struct fit_request *r, uint64_t *ssm, uint64_t *conv)
{
    const struct ssm_config *s = &m->ssm;
    uint64_t heads = u64_div_up(s->n_heads, r->tp), groups = u64_div_up(s->n_groups, r->tp) * r->tp, channels, inner;
    if (!u64_mul(heads, (uint64_t)s->head_dim * s->state_size, ssm) || !u64_mul(*ssm, r->ssm_bytes, ssm)) return false;
    if (!u64_mul(2 * groups, s->state_size, &channels) ||
        !u64_add(channels, (uint64_t)s->n_heads * s->head_dim, &inner))
        return false;
    uint64_t taps = (uint64_t)s->conv_taps - (s->conv_taps ? 1 : 0) + r->drafts;
    return u64_mul(u64_div_up(inner, r->tp), taps * r->conv_bytes, conv);
}

/* Largest n with base + n * each <= have; unbounded when nothing is taken per unit. */
static uint64_t how_many(uint64_t have, uint64_t base, uint64_t each)
{
    if (base > have) return 0;
    return each ? (have - base) / each : FIT_UNBOUNDED;
}

static bool by_formula(const struct fit_request *r, struct fit *f)
{
    uint64_t slot, tokens, need, per_sequence;
    if (!u64_mul(f->slots, f->ssm_bytes + f->conv_bytes, &slot) || !u64_mul(slot, r->sequences, &f->state_bytes) ||
        !u64_mul(r->sequences, r->context, &tokens) || !u64_mul(tokens, f->kv_token_bytes, &f->kv_bytes) ||
        !u64_add(f->state_bytes, f->kv_bytes, &need) || !u64_add(slot, r->context * f->kv_token_bytes, &per_sequence))
        return false;
    uint64_t have = f->budget_bytes > 0 ? (uint64_t)f->budget_bytes : 0;
    f->max_context = how_many(have, f->state_bytes, r->sequences * f->kv_token_bytes);
    f->max_sequences = how_many(have, 0, per_sequence);
    f->fits = f->budget_bytes >= 0 && need <= have;
    return true;
}

/* Layers per block as vLLM groups them: the smaller kind's count, or the larger's when it is not much larger. */
static void group_layers(uint64_t n_attn, uint64_t n_mamba, uint32_t stretch_percent, struct fit_blocks *b)
{
    uint64_t lo = n_attn < n_mamba ? n_attn : n_mamba, hi = n_attn < n_mamba ? n_mamba : n_attn;
    uint64_t group = lo == 0 || 100 * hi < stretch_percent * lo ? hi : lo;
    b->group_layers = (uint32_t)group;
    b->n_attention_groups = (uint32_t)u64_div_up(n_attn, group);
    b->n_state_groups = (uint32_t)u64_div_up(n_mamba, group);
}

static bool by_blocks(const struct fit_model *m, const struct fit_request *r, uint64_t layer_state, struct fit *f)
{
    struct fit_blocks *b = &f->blocks;
    uint64_t n_attn = n_attention(m, r), token = n_attn ? kv_layer_token(m, r) : 0, block_bytes;
    if (n_attn == 0 && m->n_mamba == 0) return true;
    group_layers(n_attn, m->n_mamba, r->group_stretch_percent, b);
    b->block_tokens = n_attn ? r->block_tokens : 0;
    b->page_bytes = layer_state;
    if (n_attn) {
        if (layer_state) b->block_tokens = r->block_tokens * u64_div_up(layer_state, r->block_tokens * token);
        if (!u64_mul(b->block_tokens, token, &b->page_bytes)) return false;
    }
    if (!u64_mul(b->page_bytes, b->group_layers, &block_bytes) || block_bytes == 0) return false;
    b->total = f->budget_bytes > 0 ? (uint64_t)f->budget_bytes / block_bytes : 0;
    uint64_t usable = b->total ? b->total - 1 : 0; /* one block stays empty for padding */
    uint64_t state = b->n_state_groups * f->slots;
    b->per_sequence = state + (n_attn ? b->n_attention_groups * u64_div_up(r->context, b->block_tokens) : 0);
    b->max_sequences = usable / b->per_sequence;
    uint64_t each = usable / r->sequences;
    if (n_attn) b->max_context = each > state ? (each - state) / b->n_attention_groups * b->block_tokens : 0;
    else b->max_context = each >= state ? FIT_UNBOUNDED : 0;
    f->fits = f->fits && b->max_sequences >= r->sequences;
    return true;
}

bool fit_compute(const struct fit_model *m, const struct fit_request *r, struct fit *out, struct error *err)
{
    *out = (struct fit){.slots = 1 + (uint64_t)r->drafts};
    if (!check_request(m, r, err)) return false;
    uint64_t n_attn = n_attention(m, r), layer_ssm = 0, layer_conv = 0;
    out->allowed_bytes = r->memory_bytes * r->utilisation_permille / 1000;
    out->budget_bytes = (int64_t)out->allowed_bytes - (int64_t)m->weight_bytes - (int64_t)r->overhead_bytes;
    if (n_attn && !u64_mul(kv_layer_token(m, r), n_attn, &out->kv_token_bytes)) return too_large(err);
    if (m->n_mamba && !state_of_layer(m, r, &layer_ssm, &layer_conv)) return too_large(err);
    if (!u64_mul(layer_ssm, m->n_mamba, &out->ssm_bytes) || !u64_mul(layer_conv, m->n_mamba, &out->conv_bytes) ||
        out->ssm_bytes > UINT64_MAX / 2 || out->conv_bytes > UINT64_MAX / 2 || !by_formula(r, out))
        return too_large(err);
    if (r->block_tokens && !by_blocks(m, r, layer_ssm + layer_conv, out)) return too_large(err);
    return true;
}

uint64_t fit_max_context(const struct fit *f)
{
    return f->blocks.group_layers ? u64_min(f->max_context, f->blocks.max_context) : f->max_context;
}

uint64_t fit_max_sequences(const struct fit *f)
{
    return f->blocks.group_layers ? u64_min(f->max_sequences, f->blocks.max_sequences) : f->max_sequences;
}
