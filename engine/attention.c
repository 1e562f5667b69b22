/* Grouped-query attention, causal but for encoders, softmax in fp32, with what a family asks for (struct
 * attention_config): a norm on each head, rotary positions, a sliding window, sinks, a gate on the result. K and V of a
 * quantized cache are rounded as the cache would when the checkpoint declares one. */
#include "engine/attention_impl.h"
#include "engine/cache_round.h"
#include "engine/positions.h"

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
    if (cfg->sinks && !weights_load_role(e, ROLE_ATTN_SINKS, b, &a->sinks, err)) return false;
    return linear_open_role(&a->q, e, ROLE_ATTN_Q, b, bias, err) &&
           linear_open_role(&a->k, e, ROLE_ATTN_K, b, bias, err) &&
           linear_open_role(&a->v, e, ROLE_ATTN_V, b, bias, err) &&
           linear_open_role(&a->o, e, ROLE_ATTN_O, b, bias, err) &&
           cache_settle(e, a->k.tensor, PART_K_SCALE, cfg->head_dim, &a->k_cache, err) &&
           cache_settle(e, a->v.tensor, PART_V_SCALE, cfg->head_dim, &a->v_cache, err);
}

static bool attention_keep(void *kind, const struct engine *e, struct error *err)
{
    struct attention *a = kind;
    return linear_keep(&a->q, e, err) && linear_keep(&a->k, e, err) && linear_keep(&a->v, e, err) &&
           linear_keep(&a->o, e, err);
}

/* Sizes of a call's rows in floats: q, the result, the gate, k, v. */
struct widths {
    uint64_t q, kv, gate;
};

static struct widths widths_of(const struct attention_config *cfg)
{
    uint64_t q = (uint64_t)cfg->n_heads * cfg->head_dim;
    return (struct widths){q, (uint64_t)cfg->n_kv_heads * cfg->head_dim, cfg->gate ? q : 0};
}

static uint64_t row_floats(struct widths w)
{
    return 2 * w.q + w.gate + 2 * w.kv;
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
    cache_round(call->engine, &a->k_cache, k, call->n_rows * c->kv_width);
    cache_round(call->engine, &a->v_cache, v, call->n_rows * c->kv_width);
    for (uint32_t i = 0; i < call->n_segments; i++) {
        const struct segment *s = &call->segments[i];
        if (!block_state_grow(s->state, s->n, s->total, c->kv_width, c->kv_width, err)) return false;
        size_t bytes = s->n * c->kv_width * sizeof(float);
        memcpy(s->state->k + s->state->n_past * c->kv_width, k + s->row * c->kv_width, bytes);
        memcpy(s->state->v + s->state->n_past * c->kv_width, v + s->row * c->kv_width, bytes);
        s->state->n_past += s->n;
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

/* q, gate, k and v from the rows of the call. */
static bool project(const struct attention_call *c, float *q, float *gate, float *k, float *v, struct error *err)
{
    const struct attention *a = c->attention;
    const struct block_call *call = c->call;
    uint64_t n = call->n_rows;
    struct scratch *from = call->engine->scratch;
    SCRATCH_SCOPE(from);
    float *both = q;
    if (gate && !scratch_alloc(from, &both, n * a->q.rows, sizeof *both, err)) return false;
    struct linear_out all[3] = {{&a->q, both}, {&a->k, k}, {&a->v, v}};
    if (!linear_run_all(all, 3, call->engine, call->x, n, call->observer, err)) return false;
    if (gate) split_gate(a->config, both, n, q, gate);
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

static bool attention_run(const struct block_call *call, struct error *err)
{
    const struct attention *a = call->block->kind;
    const struct engine *e = call->engine;
    const struct widths w = widths_of(a->config);
    struct attention_call c = {.call = call, .attention = a, .q_width = w.q, .kv_width = w.kv};
    uint64_t n = call->n_rows, hidden = a->q.cols;
    SCRATCH_SCOPE(e->scratch);
    float *q;
    if (!scratch_alloc(e->scratch, &q, n * row_floats(w), sizeof *q, err)) return false;
    float *out = q + n * w.q, *k = out + n * w.q, *v = k + n * w.kv, *gate = w.gate ? v + n * w.kv : NULL;
    if (!project(&c, q, gate, k, v, err) || !place(&c, q, k, err) || !append_cache(&c, a, k, v, err)) return false;
    c.q = q;
    c.out = out;
    if (!attend(&c, err)) return false;
    if (gate) {
        e->math->sigmoid(gate, gate, n * c.q_width);
        e->math->multiply(out, out, gate, n * c.q_width);
    }
    return linear_run(&a->o, e, out, c.q_width, n, call->y, hidden, call->observer, err);
}

static bool attention_need(struct need *n, const struct engine *e, const struct block_config *b,
                           const struct call_shape *c, struct error *err)
{
    const struct attention_config *cfg = block_attention_config(&e->inv->config, b);
    const struct widths w = widths_of(cfg);
    bool bias = e->inv->config.attention_bias;
    if (!linear_need_role(n, e, ROLE_ATTN_Q, b, bias, c, err) ||
        !linear_need_role(n, e, ROLE_ATTN_K, b, bias, c, err) || !linear_need_role(n, e, ROLE_ATTN_V, b, bias, c, err))
        return false;
    if (cfg->gate) n->calling += scratch_bytes(c->n_rows * 2 * w.q, sizeof(float));
    if (!linear_need_role(n, e, ROLE_ATTN_O, b, bias, c, err)) return false;
    attend_need(n, cfg, c);
    n->calling += scratch_bytes(c->n_rows * row_floats(w), sizeof(float));
    need_most(&n->worker, rope_need(&cfg->rope));
    weights_need(n, e, ROLE_ATTN_Q_NORM, b);
    weights_need(n, e, ROLE_ATTN_K_NORM, b);
    weights_need(n, e, ROLE_ATTN_SINKS, b);
    return true;
}

static uint64_t attention_state(const struct engine *e, const struct block_config *b, uint64_t n_tokens,
                                uint64_t n_texts, uint64_t n_open)
{
    (void)n_texts;
    (void)n_open;
    return 2 * n_tokens * widths_of(block_attention_config(&e->inv->config, b)).kv * sizeof(float);
}

const struct block_kind_ops block_attention = {attention_open, attention_close, attention_keep,
                                               attention_run,  attention_need,  attention_state};
