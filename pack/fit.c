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

/* Bytes of one token in one attention layer that has no kind of its own. Limits of models/arch.h keep the product far
 * below 2^64. */
static uint64_t kv_layer_token(const struct fit_model *m, const struct fit_request *r)
{
    uint64_t n = m->latent_width ? m->latent_width : 2 * (uint64_t)m->attention.head_dim * rank_kv_heads(m, r->tp);
    return u64_div_up(n * r->kv_bits_x2, 16);
}

static uint64_t kind_token(const struct fit_kind *k, const struct fit_request *r)
{
    uint64_t heads = k->n_kv_heads / r->tp;
    return u64_div_up(2 * (uint64_t)k->head_dim * (heads ? heads : 1) * r->kv_bits_x2, 16);
}

/* Bytes that one sequence of `tokens` holds in all attention layers; of layers with a window only, when `windowed`. */
static bool kv_sequence(const struct fit_model *m, const struct fit_request *r, uint64_t tokens, bool windowed,
                        uint64_t *out)
{
    uint64_t plain = n_attention(m, r), bytes;
    *out = 0;
    for (uint32_t i = 0; i < m->n_kinds; i++) {
        const struct fit_kind *k = &m->kinds[i];
        uint64_t held = k->window && k->window < tokens ? k->window : tokens;
        plain -= k->n_layers;
        if (windowed && !k->window) continue;
        if (!u64_mul(kind_token(k, r), k->n_layers, &bytes) || !u64_mul(bytes, held, &bytes) ||
            !u64_add(*out, bytes, out))
            return false;
    }
    if (windowed || plain == 0) return true;
    return u64_mul(kv_layer_token(m, r), plain, &bytes) && u64_mul(bytes, tokens, &bytes) && u64_add(*out, bytes, out);
}

static uint64_t largest_window(const struct fit_model *m)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < m->n_kinds; i++)
        if (m->kinds[i].window > most) most = m->kinds[i].window;
    return most;
}

/* Tokens of one sequence that fit into `have` bytes: a line beyond the largest window, a search below it. */
static bool longest(const struct fit_model *m, const struct fit_request *r, uint64_t have, uint64_t *out)
{
    uint64_t window = largest_window(m), at_window, windowed, each;
    if (!kv_sequence(m, r, window, false, &at_window) || !kv_sequence(m, r, window, true, &windowed) ||
        !kv_sequence(m, r, window + 1, false, &each))
        return false;
    each -= at_window; /* what every token more takes, where all windows are full */
    if (have >= at_window) {
        *out = each ? (have - windowed) / each : FIT_UNBOUNDED;
        return true;
    }
    uint64_t lo = 0, hi = window, bytes;
    while (hi - lo > 1) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (!kv_sequence(m, r, mid, false, &bytes)) return false;
        if (bytes <= have) lo = mid;
        else hi = mid;
    }
    *out = lo;
    return true;
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

static bool by_formula(const struct fit_model *m, const struct fit_request *r, struct fit *f)
{
    uint64_t slot, need, per_sequence;
    if (!u64_mul(f->slots, f->ssm_bytes + f->conv_bytes, &slot) || !u64_mul(slot, r->sequences, &f->state_bytes) ||
        !kv_sequence(m, r, r->context, false, &f->kv_sequence_bytes) ||
        !u64_mul(r->sequences, f->kv_sequence_bytes, &f->kv_bytes) || !u64_add(f->state_bytes, f->kv_bytes, &need) ||
        !u64_add(slot, f->kv_sequence_bytes, &per_sequence))
        return false;
    uint64_t have = f->budget_bytes > 0 ? (uint64_t)f->budget_bytes : 0;
    f->max_context = 0;
    if (f->state_bytes <= have && !longest(m, r, (have - f->state_bytes) / r->sequences, &f->max_context)) return false;
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

/* Without recurrent layers, but with attention layers that differ: those without a window form groups of their own,
 * apart from those with one; widths add up inside a block. A window is full when its tokens and those of a step are
 * there. */
static bool by_kind_blocks(const struct fit_model *m, const struct fit_request *r, struct fit *f)
{
    struct fit_blocks *b = &f->blocks;
    uint64_t n = n_attention(m, r), windowed = 0, window = largest_window(m), block_bytes;
    for (uint32_t i = 0; i < m->n_kinds; i++) windowed += m->kinds[i].window ? m->kinds[i].n_layers : 0;
    group_layers(n - windowed, windowed, r->group_stretch_percent, b);
    uint64_t groups = (uint64_t)b->n_attention_groups + b->n_state_groups; /* "state": with a window */
    if (!u64_mul(f->kv_token_bytes, r->block_tokens, &block_bytes) || block_bytes == 0) return false;
    block_bytes = u64_div_up(block_bytes, groups);
    b->block_tokens = r->block_tokens;
    b->page_bytes = block_bytes / b->group_layers;
    b->total = f->budget_bytes > 0 ? (uint64_t)f->budget_bytes / block_bytes : 0;
    uint64_t usable = b->total ? b->total - 1 : 0, full = b->n_attention_groups, held = window + r->step_tokens;
    uint64_t fixed = b->n_state_groups * (u64_div_up(u64_min(held, r->context), r->block_tokens) + 1);
    b->per_sequence = fixed + full * u64_div_up(r->context, r->block_tokens);
    b->max_sequences = usable / b->per_sequence;
    uint64_t each = usable / r->sequences;
    fixed = b->n_state_groups * (u64_div_up(held, r->block_tokens) + 1);
    if (each > fixed) b->max_context = full ? (each - fixed) / full * r->block_tokens : FIT_UNBOUNDED;
    else b->max_context = each / groups > 1 ? (each / groups - 1) * r->block_tokens : 0;
    f->fits = f->fits && b->max_sequences >= r->sequences;
    return true;
}

static bool by_blocks(const struct fit_model *m, const struct fit_request *r, uint64_t layer_state, struct fit *f)
{
    struct fit_blocks *b = &f->blocks;
    uint64_t n_attn = n_attention(m, r), token = n_attn ? kv_layer_token(m, r) : 0, block_bytes;
    if (n_attn == 0 && m->n_mamba == 0) return true;
    if (m->n_mamba == 0 && (m->n_kinds > 1 || largest_window(m))) return by_kind_blocks(m, r, f);
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
    if (n_attn && !kv_sequence(m, r, 1, false, &out->kv_token_bytes)) return too_large(err);
    if (m->n_mamba && !state_of_layer(m, r, &layer_ssm, &layer_conv)) return too_large(err);
    if (!u64_mul(layer_ssm, m->n_mamba, &out->ssm_bytes) || !u64_mul(layer_conv, m->n_mamba, &out->conv_bytes) ||
        out->ssm_bytes > UINT64_MAX / 2 || out->conv_bytes > UINT64_MAX / 2 || !by_formula(m, r, out))
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
