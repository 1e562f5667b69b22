/* Grouped-query attention, causal, softmax in fp32, with what a family asks for (struct attention_config): a norm on
 * each head, rotary positions, a sliding window, sinks, a gate on the result. K and V of a quantized cache are rounded
 * as the cache would when the checkpoint declares one. */
#include "engine/block.h"
#include "engine/cache_round.h"
#include "engine/positions.h"

#include "core/memory.h"

#include <math.h>

#define QUERY_BLOCK 64u /* queries per item: their scores fit in cache */

struct attention {
    const struct attention_config *config;
    struct linear q, k, v, o;
    struct norm q_norm, k_norm; /* weight NULL: none */
    float *sinks;               /* [heads], or NULL */
    float k_scale, v_scale;     /* of the cache; 0: it is not quantized */
};

static void attention_close(void *kind)
{
    struct attention *a = kind;
    linear_close(&a->q);
    linear_close(&a->k);
    linear_close(&a->v);
    linear_close(&a->o);
    norm_close(&a->q_norm);
    norm_close(&a->k_norm);
    free(a->sinks);
    free(a);
}

static bool cache_scale(const struct engine *e, const struct linear *l, enum tensor_part part, float *out,
                        struct error *err)
{
    if (!e->quantize_inputs) return true;
    if (l->tensor->parts[part] != NAME_NONE) return weights_scalar(e, l->tensor, part, out, err);
    *out = e->inv->kv_algo ? 1.0f : 0; /* a cache without a scale: engines take 1 */
    return true;
}

static bool attention_open(void **kind, const struct engine *e, const struct block_config *b, struct error *err)
{
    struct attention *a = calloc(1, sizeof *a);
    if (!a) return error_memory(err, sizeof *a);
    *kind = a;
    bool bias = e->inv->config.attention_bias;
    const struct attention_config *cfg = a->config = block_attention_config(&e->inv->config, b);
    if (cfg->qk_norm && (!norm_open(&a->q_norm, e, ROLE_ATTN_Q_NORM, ROLE_COUNT, b, err) ||
                         !norm_open(&a->k_norm, e, ROLE_ATTN_K_NORM, ROLE_COUNT, b, err)))
        return false;
    if (!cache_check_width(e, cfg->head_dim, err)) return false;
    if (cfg->sinks && !weights_load_role(e, ROLE_ATTN_SINKS, b, &a->sinks, err)) return false;
    return linear_open_role(&a->q, e, ROLE_ATTN_Q, b, bias, err) &&
           linear_open_role(&a->k, e, ROLE_ATTN_K, b, bias, err) &&
           linear_open_role(&a->v, e, ROLE_ATTN_V, b, bias, err) &&
           linear_open_role(&a->o, e, ROLE_ATTN_O, b, bias, err) &&
           cache_scale(e, &a->k, PART_K_SCALE, &a->k_scale, err) &&
           cache_scale(e, &a->v, PART_V_SCALE, &a->v_scale, err);
}

static bool attention_keep(void *kind, const struct engine *e, struct error *err)
{
    struct attention *a = kind;
    return linear_keep(&a->q, e, err) && linear_keep(&a->k, e, err) && linear_keep(&a->v, e, err) &&
           linear_keep(&a->o, e, err);
}

struct attention_call {
    const struct block_call *call;
    const struct attention *attention;
    uint64_t q_width, kv_width;
    const float *q;                      /* [rows, q_width] */
    float *out;                          /* [rows, q_width] */
    uint32_t *item_segment, *item_query; /* [n_blocks] */
    uint32_t n_blocks;
};

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

/* Queries [first, first + m) of a segment for one head. Products run over panels of 32 keys, then of 32 value columns;
 * a hidden key has weight 0 and adds exactly nothing, so that the cut into blocks does not show in the bits. */
static bool attend(const struct attention_call *c, const struct segment *s, uint32_t first, uint32_t m, uint32_t head,
                   struct error *err)
{
    const struct engine *e = c->call->engine;
    const struct attention_config *cfg = c->attention->config;
    uint64_t dim = cfg->head_dim, kv = head / (cfg->n_heads / cfg->n_kv_heads) * dim;
    uint64_t n_before = s->state->n_past - s->n, end = n_before + first + m;
    /* Keys before `begin` are hidden from all of these queries; a panel begins where it would without a window. */
    uint64_t seen = n_before + first + 1,
             begin = cfg->window && seen > cfg->window ? (seen - cfg->window) / GEMM_PANEL * GEMM_PANEL : 0,
             n_keys = end - begin;
    const float *keys = s->state->k + begin * c->kv_width + kv, *values = s->state->v + begin * c->kv_width + kv;
    CLEANUP(free) float *scores = NULL;
    CLEANUP(free) float *panel = NULL;
    uint64_t panel_rows = n_keys > dim ? n_keys : dim;
    if (!memory_alloc(&scores, m * n_keys, sizeof(float), err) ||
        !memory_alloc(&panel, panel_rows * GEMM_PANEL, sizeof(float), err))
        return false;
    const float *q = c->q + (s->row + first) * c->q_width + head * dim;
    for (uint64_t k = 0; k < n_keys; k += GEMM_PANEL) {
        uint32_t n = (uint32_t)u64_min(GEMM_PANEL, n_keys - k);
        gemm_pack(keys + k * c->kv_width, c->kv_width, n, dim, panel);
        e->math->gemm_panel(q, c->q_width, m, panel, dim, scores + k, n_keys, n);
    }
    float scale = cfg->scale > 0 ? (float)cfg->scale : 1.0f / sqrtf((float)dim);
    for (uint32_t i = 0; i < m; i++) {
        uint64_t to = seen + i, from = cfg->window && to > cfg->window ? to - cfg->window : 0;
        softmax_scores(e->math, scores + i * n_keys, from > begin ? from - begin : 0, to - begin, n_keys, scale,
                       c->attention->sinks ? &c->attention->sinks[head] : NULL);
    }
    float *out = c->out + (s->row + first) * c->q_width + head * dim;
    for (uint64_t d = 0; d < dim; d += GEMM_PANEL) {
        uint32_t n = (uint32_t)u64_min(GEMM_PANEL, dim - d);
        for (uint64_t k = 0; k < n_keys; k++) {
            float *row = panel + k * GEMM_PANEL;
            memcpy(row, values + k * c->kv_width + d, n * sizeof *row);
            memset(row + n, 0, (GEMM_PANEL - n) * sizeof *row);
        }
        e->math->gemm_panel(scores, n_keys, m, panel, n_keys, out + d, c->q_width, n);
    }
    return true;
}

static bool attend_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct attention_call *c = ctx;
    uint32_t n_heads = c->attention->config->n_heads;
    uint32_t block = (uint32_t)(item / n_heads), first = c->item_query[block];
    const struct segment *s = &c->call->segments[c->item_segment[block]];
    uint32_t m = s->n - first < QUERY_BLOCK ? s->n - first : QUERY_BLOCK;
    return attend(c, s, first, m, (uint32_t)(item % n_heads), err);
}

static bool append_cache(const struct attention_call *c, const struct attention *a, float *k, float *v,
                         struct error *err)
{
    const struct block_call *call = c->call;
    const struct observer *ob = call->observer;
    if (ob && ob->kv) {
        ob->kv(ob->ctx, a->k.tensor, k, call->n_rows, c->kv_width, c->kv_width);
        ob->kv(ob->ctx, a->v.tensor, v, call->n_rows, c->kv_width, c->kv_width);
    }
    cache_round(call->engine, k, call->n_rows * c->kv_width, a->k_scale);
    cache_round(call->engine, v, call->n_rows * c->kv_width, a->v_scale);
    for (uint32_t i = 0; i < call->n_segments; i++) {
        const struct segment *s = &call->segments[i];
        if (!block_state_grow(s->state, s->n, c->kv_width, c->kv_width, err)) return false;
        size_t bytes = s->n * c->kv_width * sizeof(float);
        memcpy(s->state->k + s->state->n_past * c->kv_width, k + s->row * c->kv_width, bytes);
        memcpy(s->state->v + s->state->n_past * c->kv_width, v + s->row * c->kv_width, bytes);
        s->state->n_past += s->n;
    }
    return true;
}

static bool list_blocks(struct attention_call *c, struct error *err)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->call->n_segments; i++) n += u64_div_up(c->call->segments[i].n, QUERY_BLOCK);
    if (!memory_alloc(&c->item_segment, n, sizeof(uint32_t), err) ||
        !memory_alloc(&c->item_query, n, sizeof(uint32_t), err))
        return false;
    for (uint32_t i = 0; i < c->call->n_segments; i++)
        for (uint32_t q = 0; q < c->call->segments[i].n; q += QUERY_BLOCK) {
            c->item_segment[c->n_blocks] = i;
            c->item_query[c->n_blocks++] = q;
        }
    return true;
}

/* [q, gate] head by head becomes q and gate apart. */
static void split_gate(const struct attention_config *cfg, const float *both, uint64_t n_rows, float *q, float *gate)
{
    uint64_t dim = cfg->head_dim, n = n_rows * cfg->n_heads;
    for (uint64_t i = 0; i < n; i++) {
        memcpy(q + i * dim, both + 2 * i * dim, dim * sizeof *q);
        memcpy(gate + i * dim, both + (2 * i + 1) * dim, dim * sizeof *q);
    }
}

static bool project_queries(const struct attention_call *c, float *q, float *gate, struct error *err)
{
    const struct attention *a = c->attention;
    const struct block_call *call = c->call;
    uint64_t n = call->n_rows;
    if (!gate) return linear_run(&a->q, call->engine, call->x, a->q.cols, n, q, c->q_width, call->observer, err);
    CLEANUP(free) float *both = NULL;
    if (!memory_alloc(&both, n * a->q.rows, sizeof(float), err) ||
        !linear_run(&a->q, call->engine, call->x, a->q.cols, n, both, a->q.rows, call->observer, err))
        return false;
    split_gate(a->config, both, n, q, gate);
    return true;
}

/* Norms and positions of q and k. */
static bool place(const struct attention_call *c, float *q, float *k, struct error *err)
{
    const struct attention *a = c->attention;
    const struct attention_config *cfg = a->config;
    const struct block_call *call = c->call;
    const struct engine *e = call->engine;
    uint64_t n = call->n_rows, dim = cfg->head_dim;
    if (cfg->qk_norm) {
        heads_norm(e, &a->q_norm, q, n, c->q_width, cfg->n_heads, dim);
        heads_norm(e, &a->k_norm, k, n, c->kv_width, cfg->n_kv_heads, dim);
    }
    if (!rope_apply(e, &cfg->rope, call->segments, call->n_segments, q, c->q_width, cfg->n_heads, dim, err) ||
        !rope_apply(e, &cfg->rope, call->segments, call->n_segments, k, c->kv_width, cfg->n_kv_heads, dim, err))
        return false;
    query_scale_apply(cfg, call->segments, call->n_segments, q, c->q_width, c->q_width);
    return true;
}

static bool attend_all(struct attention_call *c, struct error *err)
{
    bool ok =
        list_blocks(c, err) &&
        pool_try(c->call->engine->pool, (uint64_t)c->n_blocks * c->attention->config->n_heads, attend_item, c, err);
    free(c->item_segment);
    free(c->item_query);
    return ok;
}

static bool attention_run(const struct block_call *call, struct error *err)
{
    const struct attention *a = call->block->kind;
    const struct engine *e = call->engine;
    struct attention_call c = {.call = call, .attention = a, .q_width = a->o.cols, .kv_width = a->k.rows};
    CLEANUP(free) float *q = NULL;
    CLEANUP(free) float *k = NULL;
    CLEANUP(free) float *v = NULL;
    CLEANUP(free) float *gate = NULL;
    CLEANUP(free) float *out = NULL;
    uint64_t n = call->n_rows, hidden = a->q.cols;
    if (!memory_alloc(&q, n * c.q_width, sizeof(float), err) ||
        !memory_alloc(&out, n * c.q_width, sizeof(float), err) ||
        !memory_alloc(&k, n * c.kv_width, sizeof(float), err) ||
        !memory_alloc(&v, n * c.kv_width, sizeof(float), err) ||
        (a->config->gate && !memory_alloc(&gate, n * c.q_width, sizeof(float), err)))
        return false;
    if (!project_queries(&c, q, gate, err) ||
        !linear_run(&a->k, e, call->x, hidden, n, k, c.kv_width, call->observer, err) ||
        !linear_run(&a->v, e, call->x, hidden, n, v, c.kv_width, call->observer, err) || !place(&c, q, k, err) ||
        !append_cache(&c, a, k, v, err))
        return false;
    c.q = q;
    c.out = out;
    if (!attend_all(&c, err)) return false;
    if (gate) {
        e->math->sigmoid(gate, gate, n * c.q_width);
        e->math->multiply(out, out, gate, n * c.q_width);
    }
    return linear_run(&a->o, e, out, c.q_width, n, call->y, hidden, call->observer, err);
}

const struct block_kind_ops block_attention = {attention_open, attention_close, attention_keep, attention_run};
