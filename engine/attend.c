/* Grouped-query attention of a call, head by head: products over panels of keys, softmax in fp32, products over values.
 */
#include "engine/attention_impl.h"

#include <math.h>

#define QUERY_BLOCK 64u /* queries per item: their scores fit in cache */

/* Queries [first, first + QUERY_BLOCK) of a segment. */
struct query_block {
    uint32_t segment, first;
};

/* Query blocks at most. */
static uint64_t blocks_max(uint64_t n_rows, uint64_t n_segments)
{
    return n_rows / QUERY_BLOCK + n_segments;
}

/* Keys that a block of queries looks at, at most, when its last one has n_seen before and at it. */
static uint64_t keys_max(const struct attention_config *cfg, uint64_t n_seen)
{
    return cfg->window ? u64_min(n_seen, (uint64_t)cfg->window + QUERY_BLOCK + GEMM_PANEL) : n_seen;
}

/* Floats of an item's panel: keys or values of n_keys. */
static uint64_t panel_floats(const struct attention_config *cfg, uint64_t n_keys)
{
    return (n_keys > cfg->head_dim ? n_keys : cfg->head_dim) * GEMM_PANEL;
}

void softmax_scores(const struct math_ops *math, float *row, uint64_t from, uint64_t to, uint64_t n_all, float scale,
                    const float *sink)
{
    uint64_t n = to - from;
    float *r = row + from;
    math->scale(r, r, scale, n);
    float top = math->max(r, n), rest = 0;
    if (sink && *sink > top) top = *sink;
    if (sink) {
        rest = *sink - top;
        math->exp(&rest, &rest, 1);
    }
    for (uint64_t i = 0; i < n; i++) r[i] -= top;
    math->exp(r, r, n);
    math->scale(r, r, 1.0f / (math->sum(r, n) + rest), n);
    for (uint64_t i = 0; i < from; i++) row[i] = 0;
    for (uint64_t i = to; i < n_all; i++) row[i] = 0;
}

/* Rows of one item: queries [first, first + n_queries) of a segment for n_heads heads of one key head. One of the two
 * numbers is 1. */
struct query_rows {
    const struct segment *segment;
    uint32_t first, n_queries, head, n_heads;
};

/* Products run over panels of 32 keys, then of 32 value columns; a hidden key has weight 0 and adds exactly nothing, so
 * that the cut into items does not show in the bits. */
static bool attend_rows(const struct attention_call *c, const struct query_rows *r, struct scratch *room,
                        struct error *err)
{
    const struct engine *e = c->call->engine;
    const struct attention_config *cfg = c->attention->config;
    const struct segment *s = r->segment;
    uint64_t dim = cfg->head_dim, kv = r->head / (cfg->n_heads / cfg->n_kv_heads) * dim;
    /* Without a mask every query sees all keys: an encoder's text is one segment. */
    bool whole = e->inv->config.bidirectional;
    uint64_t n_before = s->state->n_past - s->n, end = whole ? s->state->n_past : n_before + r->first + r->n_queries;
    /* Keys before `begin` are hidden from all of these queries; a panel begins where it would without a window. */
    uint64_t seen = n_before + r->first + 1,
             begin = cfg->window && seen > cfg->window ? (seen - cfg->window) / GEMM_PANEL * GEMM_PANEL : 0,
             n_keys = end - begin;
    uint64_t m = (uint64_t)r->n_queries * r->n_heads, apart = r->n_heads > 1 ? dim : c->q_width;
    const float *keys = s->state->k + begin * c->kv_width + kv, *values = s->state->v + begin * c->kv_width + kv;
    SCRATCH_SCOPE(room);
    float *scores, *panel;
    if (!scratch_alloc(room, &scores, m * n_keys, sizeof *scores, err) ||
        !scratch_alloc(room, &panel, panel_floats(cfg, n_keys), sizeof *panel, err))
        return false;
    const float *q = c->q + (s->row + r->first) * c->q_width + r->head * dim;
    for (uint64_t k = 0; k < n_keys; k += GEMM_PANEL) {
        uint32_t n = (uint32_t)u64_min(GEMM_PANEL, n_keys - k);
        gemm_pack(keys + k * c->kv_width, c->kv_width, n, dim, panel);
        e->math->gemm_panel(q, apart, m, panel, dim, scores + k, n_keys, n);
    }
    float scale = cfg->scale > 0 ? (float)cfg->scale : 1.0f / sqrtf((float)dim);
    for (uint32_t i = 0; i < m; i++) {
        uint64_t query = i / r->n_heads, head = r->head + i % r->n_heads;
        uint64_t to = whole ? end : seen + query, from = cfg->window && to > cfg->window ? to - cfg->window : 0;
        softmax_scores(e->math, scores + i * n_keys, from > begin ? from - begin : 0, to - begin, n_keys, scale,
                       c->attention->sinks ? &c->attention->sinks[head] : NULL);
    }
    float *out = c->out + (s->row + r->first) * c->q_width + r->head * dim;
    for (uint64_t d = 0; d < dim; d += GEMM_PANEL) {
        uint32_t n = (uint32_t)u64_min(GEMM_PANEL, dim - d);
        for (uint64_t k = 0; k < n_keys; k++) {
            float *row = panel + k * GEMM_PANEL;
            memcpy(row, values + k * c->kv_width + d, n * sizeof *row);
            memset(row + n, 0, (GEMM_PANEL - n) * sizeof *row);
        }
        e->math->gemm_panel(scores, n_keys, m, panel, n_keys, out + d, apart, n);
    }
    return true;
}

static bool attend_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    const struct attention_call *c = ctx;
    uint32_t runs = c->attention->config->n_heads / c->together;
    const struct query_block *b = &c->blocks[item / runs];
    const struct segment *s = &c->call->segments[b->segment];
    struct query_rows r = {.segment = s,
                           .first = b->first,
                           .n_queries = s->n - b->first < QUERY_BLOCK ? s->n - b->first : QUERY_BLOCK,
                           .head = (uint32_t)(item % runs) * c->together,
                           .n_heads = c->together};
    return attend_rows(c, &r, worker_scratch(c->call->engine, worker), err);
}

static bool list_blocks(struct attention_call *c, struct error *err)
{
    if (!scratch_alloc(c->call->engine->scratch, &c->blocks, blocks_max(c->call->n_rows, c->call->n_segments),
                       sizeof *c->blocks, err))
        return false;
    for (uint32_t i = 0; i < c->call->n_segments; i++)
        for (uint32_t q = 0; q < c->call->segments[i].n; q += QUERY_BLOCK)
            c->blocks[c->n_blocks++] = (struct query_block){i, q};
    return true;
}

static uint32_t together_max(const struct attention_config *cfg)
{
    uint32_t n = cfg->n_heads / cfg->n_kv_heads;
    return n < QUERY_BLOCK ? n : QUERY_BLOCK;
}

/* Heads of an item. With one query each, the heads of a key head share what its panels cost to make, as long as every
 * thread gets some items. */
static uint32_t heads_together(const struct attention_call *c)
{
    const struct attention_config *cfg = c->attention->config;
    if (c->call->n_rows != c->call->n_segments) return 1;
    for (uint32_t n = together_max(cfg); n > 1; n--)
        if (cfg->n_heads / cfg->n_kv_heads % n == 0 &&
            (uint64_t)c->n_blocks * cfg->n_heads / n >= 2 * (uint64_t)pool_threads(c->call->engine->pool))
            return n;
    return 1;
}

bool attend(struct attention_call *c, struct error *err)
{
    SCRATCH_SCOPE(c->call->engine->scratch);
    if (!list_blocks(c, err)) return false;
    c->together = heads_together(c);
    uint64_t n_items = (uint64_t)c->n_blocks * c->attention->config->n_heads / c->together;
    return pool_try(c->call->engine->pool, n_items, attend_item, c, err);
}

void attend_need(struct need *n, const struct attention_config *cfg, const struct call_shape *c)
{
    uint64_t n_keys = keys_max(cfg, c->longest), rows = u64_min(QUERY_BLOCK, c->longest);
    need_most(&rows, together_max(cfg));
    need_most(&n->calling, scratch_bytes(blocks_max(c->n_rows, c->n_segments), sizeof(struct query_block)));
    need_most(&n->worker,
              scratch_bytes(rows * n_keys, sizeof(float)) + scratch_bytes(panel_floats(cfg, n_keys), sizeof(float)));
}
