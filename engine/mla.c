/* Multi-head latent attention. The cache holds, per token, the normed latent of keys and values and the key's rotary
 * part, which all heads share: [latent | k_rope]. Keys and values of a head are linear in the latent, k = K c and v = V
 * c with the rows of kv_b, so that q.k = (K^T q).c and the sum of p v = V (sum of p c): queries go into the latent
 * space and results come out of it, and no head's keys are ever made. One arithmetic for prefill and decode. */
#include "engine/cache_round.h"
#include "engine/mla_impl.h"
#include "engine/positions.h"

#include "core/memory.h"

static void mla_close(void *kind)
{
    struct mla *a = kind;
    linear_close(&a->q);
    linear_close(&a->q_a);
    linear_close(&a->q_b);
    linear_close(&a->kv_a);
    linear_close(&a->kv_b);
    linear_close(&a->o);
    norm_close(&a->q_norm);
    norm_close(&a->kv_norm);
    free(a->into);
    free(a->outof);
    free(a);
}

static bool open_queries(struct mla *a, const struct engine *e, const struct block_config *b, struct error *err)
{
    if (a->dims->q_rank == 0) return linear_open_role(&a->q, e, ROLE_ATTN_Q, b, false, err);
    if (!linear_open_role(&a->q_a, e, ROLE_MLA_Q_A, b, false, err) ||
        !norm_open(&a->q_norm, e, ROLE_MLA_Q_A_NORM, ROLE_COUNT, b, err) ||
        !linear_open_role(&a->q_b, e, ROLE_MLA_Q_B, b, false, err))
        return false;
    a->q_norm.eps = (float)a->dims->norm_eps;
    return true;
}

static bool mla_open(void **kind, const struct engine *e, const struct block_config *b, struct error *err)
{
    struct mla *a = calloc(1, sizeof *a);
    if (!a) return error_memory(err, sizeof *a);
    *kind = a;
    a->config = block_attention_config(&e->inv->config, b);
    a->dims = &e->inv->config.mla;
    if (!open_queries(a, e, b, err) || !linear_open_role(&a->kv_a, e, ROLE_MLA_KV_A, b, false, err) ||
        !norm_open(&a->kv_norm, e, ROLE_MLA_KV_A_NORM, ROLE_COUNT, b, err) ||
        !linear_open_role(&a->kv_b, e, ROLE_MLA_KV_B, b, false, err) ||
        !linear_open_role(&a->o, e, ROLE_ATTN_O, b, false, err))
        return false;
    a->kv_norm.eps = (float)a->dims->norm_eps;
    return cache_settle(e, a->kv_a.tensor, PART_COUNT, a->dims->kv_rank + a->dims->rope_dim, &a->cache, err) &&
           mla_split(a, e, err);
}

static bool mla_keep(void *kind, const struct engine *e, struct error *err)
{
    struct mla *a = kind;
    if (a->q.tensor ? !linear_keep(&a->q, e, err) : !linear_keep(&a->q_a, e, err) || !linear_keep(&a->q_b, e, err))
        return false;
    return linear_keep(&a->kv_a, e, err) && linear_keep(&a->o, e, err);
}

static bool make_queries(const struct mla_call *c, float *q, struct error *err)
{
    const struct mla *a = c->a;
    const struct block_call *call = c->call;
    const struct engine *e = call->engine;
    uint64_t n = call->n_rows, rank = a->dims->q_rank;
    const struct observer *ob = call->observer;
    SCRATCH_SCOPE(e->scratch);
    float *latent;
    if (rank == 0) {
        if (!linear_run(&a->q, e, call->x, a->q.cols, n, q, c->q_width, ob, err)) return false;
    } else {
        if (!scratch_alloc(e->scratch, &latent, n * rank, sizeof *latent, err) ||
            !linear_run(&a->q_a, e, call->x, a->q_a.cols, n, latent, rank, ob, err))
            return false;
        rows_norm(e, &a->q_norm, latent, n, rank, latent);
        if (!linear_run(&a->q_b, e, latent, rank, n, q, c->q_width, ob, err)) return false;
    }
    if (!rope_apply(e, &a->config->rope, call->segments, call->n_segments, q + a->dims->nope_dim, c->q_width,
                    a->config->n_heads, a->config->head_dim, err))
        return false;
    query_scale_apply(a->config, call->segments, call->n_segments, q, c->q_width, c->q_width);
    return true;
}

/* K and V as they would be cached apart: ModelOpt's cache scales are of these. Nobody else makes them. */
static bool show_kv(const struct mla_call *c, const float *keys, struct error *err)
{
    const struct mla *a = c->a;
    const struct block_call *call = c->call;
    const struct observer *ob = call->observer;
    const struct mla_config *d = a->dims;
    uint64_t n = call->n_rows, head = (uint64_t)d->nope_dim + d->v_dim;
    if (!ob || !ob->kv) return true;
    CLEANUP(free) float *kv = NULL;
    if (!memory_alloc(&kv, n * a->kv_b.rows, sizeof *kv, err) ||
        !linear_run(&a->kv_b, call->engine, keys, c->key_width, n, kv, a->kv_b.rows, NULL, err))
        return false;
    ob->kv(ob->ctx, a->kv_a.tensor, keys + d->kv_rank, n, d->rope_dim, c->key_width);
    ob->kv(ob->ctx, a->kv_a.tensor, kv, n * a->config->n_heads, d->nope_dim, head);
    ob->kv(ob->ctx, a->kv_b.tensor, kv + d->nope_dim, n * a->config->n_heads, d->v_dim, head);
    return true;
}

/* Rows of the cache: [latent | k_rope]. Engines multiply the latent by kv_b; where that linear's inputs are quantized,
 * what is cached is the quantized latent. */
static bool make_keys(const struct mla_call *c, float *keys, struct error *err)
{
    const struct mla *a = c->a;
    const struct block_call *call = c->call;
    const struct engine *e = call->engine;
    uint64_t n = call->n_rows, width = c->key_width, rank = a->dims->kv_rank;
    if (!linear_run(&a->kv_a, e, call->x, a->kv_a.cols, n, keys, width, call->observer, err) ||
        !rope_apply(e, &a->config->rope, call->segments, call->n_segments, keys + rank, width, 1, a->dims->rope_dim,
                    err))
        return false;
    heads_norm(e, &a->kv_norm, keys, n, width, 1, rank);
    if (call->observer && call->observer->input)
        call->observer->input(call->observer->ctx, a->kv_b.tensor, keys, n, width);
    if (!show_kv(c, keys, err) || !linear_round_input(&a->kv_b, e, keys, width, n, err)) return false;
    cache_round(e, &a->cache, keys, n * width);
    return true;
}

static bool append(const struct mla_call *c, const float *keys, struct error *err)
{
    for (uint32_t i = 0; i < c->call->n_segments; i++) {
        const struct segment *s = &c->call->segments[i];
        if (!block_state_grow(s->state, s->n, s->total, c->key_width, 0, err)) return false;
        memcpy(s->state->k + s->state->n_past * c->key_width, keys + s->row * c->key_width,
               s->n * c->key_width * sizeof *keys);
        s->state->n_past += s->n;
    }
    return true;
}

/* Sizes of a call's rows in floats. */
struct widths {
    uint64_t q, key, out;
};

static struct widths widths_of(const struct attention_config *a, const struct mla_config *d)
{
    return (struct widths){(uint64_t)a->n_heads * a->head_dim, (uint64_t)d->kv_rank + d->rope_dim,
                           (uint64_t)a->n_heads * d->v_dim};
}

static bool mla_run(const struct block_call *call, struct error *err)
{
    const struct mla *a = call->block->kind;
    uint64_t n = call->n_rows;
    const struct widths w = widths_of(a->config, a->dims);
    struct mla_call c = {.call = call, .a = a, .q_width = w.q, .key_width = w.key, .out_width = w.out};
    struct scratch *from = call->engine->scratch;
    SCRATCH_SCOPE(from);
    float *q;
    if (!scratch_alloc(from, &q, n * (w.q + w.key + w.out), sizeof *q, err)) return false;
    float *out = q + n * w.q, *keys = out + n * w.out;
    if (!make_queries(&c, q, err) || !make_keys(&c, keys, err) || !append(&c, keys, err)) return false;
    c.q = q;
    c.out = out;
    return mla_attend(&c, err) &&
           linear_run(&a->o, call->engine, out, c.out_width, n, call->y, a->o.rows, call->observer, err);
}

static bool queries_need(struct need *n, const struct engine *e, const struct block_config *b,
                         const struct call_shape *c, struct error *err)
{
    uint64_t rank = e->inv->config.mla.q_rank;
    if (rank == 0) return linear_need_role(n, e, ROLE_ATTN_Q, b, false, c, err);
    if (!linear_need_role(n, e, ROLE_MLA_Q_A, b, false, c, err) ||
        !linear_need_role(n, e, ROLE_MLA_Q_B, b, false, c, err))
        return false;
    weights_need(n, e, ROLE_MLA_Q_A_NORM, b);
    n->calling += scratch_bytes(c->n_rows * rank, sizeof(float));
    return true;
}

static bool mla_need(struct need *n, const struct engine *e, const struct block_config *b, const struct call_shape *c,
                     struct error *err)
{
    const struct attention_config *cfg = block_attention_config(&e->inv->config, b);
    const struct mla_config *d = &e->inv->config.mla;
    const struct widths w = widths_of(cfg, d);
    if (!queries_need(n, e, b, c, err) || !linear_need_role(n, e, ROLE_MLA_KV_A, b, false, c, err) ||
        !linear_need_role(n, e, ROLE_ATTN_O, b, false, c, err) || !mla_attend_need(n, e, b, c, err))
        return false;
    n->calling += scratch_bytes(c->n_rows * (w.q + w.key + w.out), sizeof(float));
    need_most(&n->worker, rope_need(&cfg->rope));
    return true;
}

static uint64_t mla_state(const struct engine *e, const struct block_config *b, uint64_t n_tokens, uint64_t n_texts,
                          uint64_t n_open)
{
    (void)n_texts;
    (void)n_open;
    return n_tokens * widths_of(block_attention_config(&e->inv->config, b), &e->inv->config.mla).key * sizeof(float);
}

const struct block_kind_ops block_mla = {mla_open, mla_close, mla_keep, mla_run, mla_need, mla_state};
