/* Latent attention of a call, head by head: queries go into the space of the cache, results come out of it. */
#include "engine/mla_impl.h"

#include "core/memory.h"

#define QUERY_BLOCK 32u /* queries per item */

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

bool mla_split(struct mla *a, const struct engine *e, struct error *err)
{
    const struct mla_config *m = a->dims;
    uint64_t heads = a->config->n_heads;
    struct split_ctx c = {a, e};
    return memory_alloc(&a->into, heads * into_floats(m), sizeof(float), err) &&
           memory_alloc(&a->outof, heads * outof_floats(m), sizeof(float), err) &&
           pool_try(e->pool, heads, split_head, &c, err);
}

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

bool mla_attend(struct mla_call *c, struct error *err)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->call->n_segments; i++) n += u64_div_up(c->call->segments[i].n, QUERY_BLOCK);
    return pool_try(c->call->engine->pool, n * c->a->config->n_heads, attend_item, c, err);
}

bool mla_attend_need(struct need *n, const struct engine *e, const struct block_config *b, const struct call_shape *c,
                     struct error *err)
{
    const struct mla_config *d = &e->inv->config.mla;
    const struct model_tensor *t = inventory_find_block(e->inv, ROLE_MLA_KV_B, b, -1);
    struct linear kv_b;
    if (!t) return error_set(err, ERR_INTERNAL, "the inventory has no %s", role_info(ROLE_MLA_KV_B)->name);
    if (!linear_shape(&kv_b, e, t, err)) return false;
    uint64_t heads = block_attention_config(&e->inv->config, b)->n_heads, rows = (uint64_t)d->nope_dim + d->v_dim;
    n->loaded += (heads * into_floats(d) + heads * outof_floats(d)) * sizeof(float);
    need_most(&n->worker, scratch_bytes(rows * d->kv_rank, sizeof(float)) + linear_rows_need(&kv_b, e));
    need_most(&n->calling, scratch_bytes(c->n_rows, linear_room(&kv_b, e, c->n_rows, kv_b.cols)));
    weights_need(n, e, ROLE_MLA_KV_A_NORM, b);
    struct mla_room r = room_for(d, u64_min(QUERY_BLOCK, c->longest), c->longest);
    need_most(&n->worker, scratch_bytes(r.q, sizeof(float)) + scratch_bytes(r.scores, sizeof(float)) +
                              scratch_bytes(r.panel, sizeof(float)) + scratch_bytes(r.sum, sizeof(float)));
    return true;
}
