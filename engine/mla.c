/* Multi-head latent attention. The cache holds, per token, the normed latent of keys and values and the key's rotary
 * part, which all heads share: [latent | k_rope]. Keys and values of a head are linear in the latent, k = K c and v = V
 * c with the rows of kv_b, so that q.k = (K^T q).c and the sum of p v = V (sum of p c): queries go into the latent
 * space and results come out of it, and no head's keys are ever made. One arithmetic for prefill and decode. */
#include "engine/block.h"
#include "engine/cache_round.h"
#include "engine/positions.h"

#include "core/memory.h"

#include <math.h>

#define QUERY_BLOCK 32u /* queries per item */

struct mla {
    const struct attention_config *config;
    const struct mla_config *dims;
    struct linear q, q_a, q_b, kv_a, kv_b, o; /* q or q_a and q_b; tensor NULL: absent */
    struct norm q_norm, kv_norm;
    float *into;  /* [heads][panels of kv_rank][nope_dim][GEMM_PANEL]: K, by columns */
    float *outof; /* [heads][panels of v_dim][kv_rank][GEMM_PANEL]: V, by rows */
    bool rounds_cache;
};

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

static uint64_t n_panels(uint64_t n)
{
    return u64_div_up(n, GEMM_PANEL);
}

/* Columns [first, first + n) of rows, as gemm_panel takes its second factor. */
static void pack_columns(const float *rows, uint64_t stride, uint64_t n_rows, uint64_t first, uint64_t n, float *panel)
{
    for (uint64_t i = 0; i < n_rows; i++, panel += GEMM_PANEL) {
        memcpy(panel, rows + i * stride + first, n * sizeof *panel);
        memset(panel + n, 0, (GEMM_PANEL - n) * sizeof *panel);
    }
}

struct split_ctx {
    struct mla *a;
    const struct engine *e;
};

/* One head's rows of kv_b: nope_dim of K, then v_dim of V. */
static bool split_head(void *ctx, uint64_t head, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct split_ctx *c = ctx;
    const struct mla_config *m = c->a->dims;
    uint64_t rank = m->kv_rank, n = (uint64_t)m->nope_dim + m->v_dim;
    CLEANUP(free) float *rows = NULL;
    if (!memory_alloc(&rows, n * rank, sizeof *rows, err) || !linear_rows(&c->a->kv_b, c->e, head * n, n, rows, err))
        return false;
    float *into = c->a->into + head * n_panels(rank) * m->nope_dim * GEMM_PANEL,
          *outof = c->a->outof + head * n_panels(m->v_dim) * rank * GEMM_PANEL;
    for (uint64_t r = 0; r < rank; r += GEMM_PANEL)
        pack_columns(rows, rank, m->nope_dim, r, u64_min(GEMM_PANEL, rank - r), into + r * m->nope_dim);
    for (uint64_t d = 0; d < m->v_dim; d += GEMM_PANEL)
        gemm_pack(rows + (m->nope_dim + d) * rank, rank, (uint32_t)u64_min(GEMM_PANEL, m->v_dim - d), rank,
                  outof + d * rank);
    return true;
}

static bool split_heads(struct mla *a, const struct engine *e, struct error *err)
{
    const struct mla_config *m = a->dims;
    uint64_t heads = a->config->n_heads;
    struct split_ctx c = {a, e};
    return memory_alloc(&a->into, heads * n_panels(m->kv_rank) * m->nope_dim * GEMM_PANEL, sizeof(float), err) &&
           memory_alloc(&a->outof, heads * n_panels(m->v_dim) * m->kv_rank * GEMM_PANEL, sizeof(float), err) &&
           pool_try(e->pool, heads, split_head, &c, err);
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
    a->rounds_cache = e->quantize_inputs && e->inv->kv_algo;
    if (!cache_check_width(e, a->dims->kv_rank + a->dims->rope_dim, err)) return false;
    if (!open_queries(a, e, b, err) || !linear_open_role(&a->kv_a, e, ROLE_MLA_KV_A, b, false, err) ||
        !norm_open(&a->kv_norm, e, ROLE_MLA_KV_A_NORM, ROLE_COUNT, b, err) ||
        !linear_open_role(&a->kv_b, e, ROLE_MLA_KV_B, b, false, err) ||
        !linear_open_role(&a->o, e, ROLE_ATTN_O, b, false, err))
        return false;
    a->kv_norm.eps = (float)a->dims->norm_eps;
    return split_heads(a, e, err);
}

static bool mla_keep(void *kind, const struct engine *e, struct error *err)
{
    struct mla *a = kind;
    if (a->q.tensor ? !linear_keep(&a->q, e, err) : !linear_keep(&a->q_a, e, err) || !linear_keep(&a->q_b, e, err))
        return false;
    return linear_keep(&a->kv_a, e, err) && linear_keep(&a->o, e, err);
}

struct mla_call {
    const struct block_call *call;
    const struct mla *a;
    uint64_t q_width, key_width, out_width;
    const float *q; /* [rows, q_width], turned and scaled */
    float *out;     /* [rows, out_width] */
    uint64_t n_items;
};

/* x = [rows, panels * 32 columns of width n] times what was packed, for one head. */
static void through_panels(const struct math_ops *math, const float *x, uint64_t ldx, uint32_t m, const float *panels,
                           uint64_t k, uint64_t n, float *y, uint64_t ldy)
{
    for (uint64_t j = 0; j < n; j += GEMM_PANEL)
        math->gemm_panel(x, ldx, m, panels + j * k, k, y + j, ldy, (uint32_t)u64_min(GEMM_PANEL, n - j));
}

struct mla_scratch {
    float *q, *scores, *panel, *sum; /* [m, key_width], [m, keys], [max(keys, key_width), 32], [m, kv_rank] */
};

/* Queries of one head in the space of the cache: [K^T q | q_rope]. */
static void queries_into(const struct mla_call *c, const struct segment *s, uint32_t first, uint32_t m, uint32_t head,
                         float *out)
{
    const struct mla_config *d = c->a->dims;
    const float *q = c->q + (s->row + first) * c->q_width + head * (uint64_t)c->a->config->head_dim,
                *into = c->a->into + head * n_panels(d->kv_rank) * d->nope_dim * GEMM_PANEL;
    through_panels(c->call->engine->math, q, c->q_width, m, into, d->nope_dim, d->kv_rank, out, c->key_width);
    for (uint32_t i = 0; i < m; i++)
        memcpy(out + i * c->key_width + d->kv_rank, q + i * c->q_width + d->nope_dim, d->rope_dim * sizeof *out);
}

/* Queries [first, first + m) of a segment for one head. A key that causality hides has weight 0 and adds exactly
 * nothing, so that the cut into items does not show in the bits. */
static void attend(const struct mla_call *c, const struct segment *s, uint32_t first, uint32_t m, uint32_t head,
                   const struct mla_scratch *w)
{
    const struct math_ops *math = c->call->engine->math;
    const struct mla_config *d = c->a->dims;
    uint64_t n_before = s->state->n_past - s->n, n_keys = n_before + first + m;
    const float *keys = s->state->k;
    queries_into(c, s, first, m, head, w->q);
    for (uint64_t k = 0; k < n_keys; k += GEMM_PANEL) {
        uint32_t n = (uint32_t)u64_min(GEMM_PANEL, n_keys - k);
        gemm_pack(keys + k * c->key_width, c->key_width, n, c->key_width, w->panel);
        math->gemm_panel(w->q, c->key_width, m, w->panel, c->key_width, w->scores + k, n_keys, n);
    }
    for (uint32_t i = 0; i < m; i++)
        softmax_scores(math, w->scores + i * n_keys, 0, n_before + first + i + 1, n_keys, (float)c->a->config->scale,
                       NULL);
    for (uint64_t r = 0; r < d->kv_rank; r += GEMM_PANEL) {
        uint32_t n = (uint32_t)u64_min(GEMM_PANEL, d->kv_rank - r);
        pack_columns(keys, c->key_width, n_keys, r, n, w->panel);
        math->gemm_panel(w->scores, n_keys, m, w->panel, n_keys, w->sum + r, d->kv_rank, n);
    }
    through_panels(math, w->sum, d->kv_rank, m, c->a->outof + head * n_panels(d->v_dim) * d->kv_rank * GEMM_PANEL,
                   d->kv_rank, d->v_dim, c->out + (s->row + first) * c->out_width + head * (uint64_t)d->v_dim,
                   c->out_width);
}

static bool attend_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct mla_call *c = ctx;
    uint32_t heads = c->a->config->n_heads;
    uint64_t block = item / heads;
    const struct segment *s = c->call->segments;
    for (; block >= u64_div_up(s->n, QUERY_BLOCK); s++) block -= u64_div_up(s->n, QUERY_BLOCK);
    uint32_t first = (uint32_t)block * QUERY_BLOCK, m = (uint32_t)u64_min(QUERY_BLOCK, s->n - first);
    uint64_t n_keys = s->state->n_past - s->n + first + m;
    CLEANUP(free) float *q = NULL;
    CLEANUP(free) float *scores = NULL;
    CLEANUP(free) float *panel = NULL;
    CLEANUP(free) float *sum = NULL;
    if (!memory_alloc(&q, m * c->key_width, sizeof(float), err) ||
        !memory_alloc(&scores, m * n_keys, sizeof(float), err) ||
        !memory_alloc(&panel, (n_keys > c->key_width ? n_keys : c->key_width) * GEMM_PANEL, sizeof(float), err) ||
        !memory_alloc(&sum, (uint64_t)m * c->a->dims->kv_rank, sizeof(float), err))
        return false;
    attend(c, s, first, m, (uint32_t)(item % heads), &(struct mla_scratch){q, scores, panel, sum});
    return true;
}

/* ---- what comes before ---- */

static bool make_queries(const struct mla_call *c, float *q, struct error *err)
{
    const struct mla *a = c->a;
    const struct block_call *call = c->call;
    const struct engine *e = call->engine;
    uint64_t n = call->n_rows, rank = a->dims->q_rank;
    const struct observer *ob = call->observer;
    CLEANUP(free) float *latent = NULL;
    if (rank == 0) {
        if (!linear_run(&a->q, e, call->x, a->q.cols, n, q, c->q_width, ob, err)) return false;
    } else {
        if (!memory_alloc(&latent, n * rank, sizeof(float), err) ||
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
    if (a->rounds_cache) cache_round(e, keys, n * width, 1.0f); /* engines take 1, whatever scales of K and V say */
    return true;
}

static bool append(const struct mla_call *c, const float *keys, struct error *err)
{
    for (uint32_t i = 0; i < c->call->n_segments; i++) {
        const struct segment *s = &c->call->segments[i];
        if (!block_state_grow(s->state, s->n, c->key_width, 0, err)) return false;
        memcpy(s->state->k + s->state->n_past * c->key_width, keys + s->row * c->key_width,
               s->n * c->key_width * sizeof *keys);
        s->state->n_past += s->n;
    }
    return true;
}

static bool mla_run(const struct block_call *call, struct error *err)
{
    const struct mla *a = call->block->kind;
    const struct mla_config *d = a->dims;
    uint64_t n = call->n_rows, n_blocks = 0;
    struct mla_call c = {.call = call,
                         .a = a,
                         .q_width = (uint64_t)a->config->n_heads * a->config->head_dim,
                         .key_width = (uint64_t)d->kv_rank + d->rope_dim,
                         .out_width = a->o.cols};
    CLEANUP(free) float *q = NULL;
    CLEANUP(free) float *keys = NULL;
    CLEANUP(free) float *out = NULL;
    if (!memory_alloc(&q, n * c.q_width, sizeof(float), err) ||
        !memory_alloc(&keys, n * c.key_width, sizeof(float), err) ||
        !memory_alloc(&out, n * c.out_width, sizeof(float), err) || !make_queries(&c, q, err) ||
        !make_keys(&c, keys, err) || !append(&c, keys, err))
        return false;
    c.q = q;
    c.out = out;
    for (uint32_t i = 0; i < call->n_segments; i++) n_blocks += u64_div_up(call->segments[i].n, QUERY_BLOCK);
    return pool_try(call->engine->pool, n_blocks * a->config->n_heads, attend_item, &c, err) &&
           linear_run(&a->o, call->engine, out, c.out_width, n, call->y, a->o.rows, call->observer, err);
}

const struct block_kind_ops block_mla = {mla_open, mla_close, mla_keep, mla_run};
