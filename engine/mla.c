/* Multi-head latent attention. The cache holds, per token, the normed latent of keys and values and the key's rotary
 * part, which all heads share: [latent | k_rope]. Keys and values of a head are linear in the latent, k = K c and v = V
 * c with the rows of kv_b, so that q.k = (K^T q).c and the sum of p v = V (sum of p c): queries go into the latent
 * space and results come out of it, and no head's keys are ever made. One arithmetic for prefill and decode. */
#include "engine/block.h"
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

/* Floats of one head's K and V. */
static uint64_t into_floats(const struct mla_config *m)
{
    return n_panels(m->kv_rank) * m->nope_dim * GEMM_PANEL;
}

static uint64_t outof_floats(const struct mla_config *m)
{
    return n_panels(m->v_dim) * m->kv_rank * GEMM_PANEL;
}

struct split_ctx {
    struct mla *a;
    const struct engine *e;
};

/* One head's rows of kv_b: nope_dim of K, then v_dim of V. */
static bool split_head(void *ctx, uint64_t head, uint32_t worker, struct error *err)
{
    const struct split_ctx *c = ctx;
    const struct mla_config *m = c->a->dims;
    uint64_t rank = m->kv_rank, n = (uint64_t)m->nope_dim + m->v_dim;
    struct scratch *from = worker_scratch(c->e, worker);
    SCRATCH_SCOPE(from);
    float *rows;
    if (!scratch_alloc(from, &rows, n * rank, sizeof *rows, err) ||
        !linear_rows(&c->a->kv_b, c->e, from, head * n, n, rows, err))
        return false;
    float *into = c->a->into + head * into_floats(m), *outof = c->a->outof + head * outof_floats(m);
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
    return memory_alloc(&a->into, heads * into_floats(m), sizeof(float), err) &&
           memory_alloc(&a->outof, heads * outof_floats(m), sizeof(float), err) &&
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

/* Floats of these. */
struct mla_room {
    uint64_t q, scores, panel, sum;
};

static struct mla_room room_for(const struct mla_config *d, uint64_t m, uint64_t n_keys)
{
    uint64_t width = (uint64_t)d->kv_rank + d->rope_dim;
    return (struct mla_room){m * width, m * n_keys, (n_keys > width ? n_keys : width) * GEMM_PANEL, m * d->kv_rank};
}

/* Queries of one head in the space of the cache: [K^T q | q_rope]. */
static void queries_into(const struct mla_call *c, const struct segment *s, uint32_t first, uint32_t m, uint32_t head,
                         float *out)
{
    const struct mla_config *d = c->a->dims;
    const float *q = c->q + (s->row + first) * c->q_width + head * (uint64_t)c->a->config->head_dim,
                *into = c->a->into + head * into_floats(d);
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
    through_panels(math, w->sum, d->kv_rank, m, c->a->outof + head * outof_floats(d), d->kv_rank, d->v_dim,
                   c->out + (s->row + first) * c->out_width + head * (uint64_t)d->v_dim, c->out_width);
}

static bool attend_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    const struct mla_call *c = ctx;
    uint32_t heads = c->a->config->n_heads;
    uint64_t block = item / heads;
    const struct segment *s = c->call->segments;
    for (; block >= u64_div_up(s->n, QUERY_BLOCK); s++) block -= u64_div_up(s->n, QUERY_BLOCK);
    uint32_t first = (uint32_t)block * QUERY_BLOCK, m = (uint32_t)u64_min(QUERY_BLOCK, s->n - first);
    struct mla_room r = room_for(c->a->dims, m, s->state->n_past - s->n + first + m);
    struct scratch *from = worker_scratch(c->call->engine, worker);
    struct mla_scratch w;
    SCRATCH_SCOPE(from);
    if (!scratch_alloc(from, &w.q, r.q, sizeof(float), err) ||
        !scratch_alloc(from, &w.scores, r.scores, sizeof(float), err) ||
        !scratch_alloc(from, &w.panel, r.panel, sizeof(float), err) ||
        !scratch_alloc(from, &w.sum, r.sum, sizeof(float), err))
        return false;
    attend(c, s, first, m, (uint32_t)(item % heads), &w);
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
    if (!linear_round_input(&a->kv_b, e, keys, width, n, err)) return false;
    if (a->rounds_cache) /* an FP8 cache has no scale of its own here: engines take 1 */
        e->input_fp8(&(struct kernel_args){
            .n_rows = 1, .n_cols = n * width, .src = keys, .dtype = DTYPE_F32, .scale = 1.0f, .dst_f32 = keys});
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
    const struct mla_config *d = a->dims;
    uint64_t n = call->n_rows, n_blocks = 0;
    const struct widths w = widths_of(a->config, d);
    struct mla_call c = {.call = call, .a = a, .q_width = w.q, .key_width = w.key, .out_width = w.out};
    struct scratch *from = call->engine->scratch;
    SCRATCH_SCOPE(from);
    float *q;
    if (!scratch_alloc(from, &q, n * (w.q + w.key + w.out), sizeof *q, err)) return false;
    float *out = q + n * w.q, *keys = out + n * w.out;
    if (!make_queries(&c, q, err) || !make_keys(&c, keys, err) || !append(&c, keys, err)) return false;
    c.q = q;
    c.out = out;
    for (uint32_t i = 0; i < call->n_segments; i++) n_blocks += u64_div_up(call->segments[i].n, QUERY_BLOCK);
    return pool_try(call->engine->pool, n_blocks * a->config->n_heads, attend_item, &c, err) &&
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

/* Splitting kv_b, and rounding the latents as it would round its inputs. */
static bool latent_need(struct need *n, const struct engine *e, const struct block_config *b,
                        const struct call_shape *c, struct error *err)
{
    const struct mla_config *d = &e->inv->config.mla;
    const struct model_tensor *t = inventory_find_block(e->inv, ROLE_MLA_KV_B, b, -1);
    struct linear kv_b;
    if (!t) return error_set(err, ERR_INTERNAL, "the inventory has no %s", role_info(ROLE_MLA_KV_B)->name);
    if (!linear_shape(&kv_b, e, t, err)) return false;
    uint64_t heads = block_attention_config(&e->inv->config, b)->n_heads, rows = (uint64_t)d->nope_dim + d->v_dim;
    n->loaded += (heads * into_floats(d) + heads * outof_floats(d)) * sizeof(float);
    need_most(&n->worker, scratch_bytes(rows * d->kv_rank, sizeof(float)) + linear_rows_need(&kv_b, e));
    if (kv_b.input_scale > 0) need_most(&n->calling, scratch_bytes(c->n_rows * d->kv_rank, sizeof(float)));
    weights_need(n, e, ROLE_MLA_KV_A_NORM, b);
    return true;
}

static bool mla_need(struct need *n, const struct engine *e, const struct block_config *b, const struct call_shape *c,
                     struct error *err)
{
    const struct attention_config *cfg = block_attention_config(&e->inv->config, b);
    const struct mla_config *d = &e->inv->config.mla;
    const struct widths w = widths_of(cfg, d);
    if (!queries_need(n, e, b, c, err) || !linear_need_role(n, e, ROLE_MLA_KV_A, b, false, c, err) ||
        !linear_need_role(n, e, ROLE_ATTN_O, b, false, c, err) || !latent_need(n, e, b, c, err))
        return false;
    n->calling += scratch_bytes(c->n_rows * (w.q + w.key + w.out), sizeof(float));
    struct mla_room r = room_for(d, u64_min(QUERY_BLOCK, c->longest), c->longest);
    need_most(&n->worker, scratch_bytes(r.q, sizeof(float)) + scratch_bytes(r.scores, sizeof(float)) +
                              scratch_bytes(r.panel, sizeof(float)) + scratch_bytes(r.sum, sizeof(float)));
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
