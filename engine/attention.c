/* Grouped-query attention, causal, no rotary embedding, scale head_dim^-0.5, softmax in fp32. K and V of an FP8 cache
 * are rounded as the cache would when the checkpoint carries their scales. */
#include "engine/block.h"

#include "core/memory.h"

#include <math.h>

#define QUERY_BLOCK 64u /* queries per item: their scores fit in cache */

struct attention {
    struct linear q, k, v, o;
    float k_scale, v_scale; /* of the FP8 cache; 0: the cache is not quantized */
};

static void attention_close(void *kind)
{
    struct attention *a = kind;
    linear_close(&a->q);
    linear_close(&a->k);
    linear_close(&a->v);
    linear_close(&a->o);
    free(a);
}

static bool cache_scale(const struct engine *e, const struct linear *l, enum tensor_part part, float *out,
                        struct error *err)
{
    if (!e->quantize_inputs) return true;
    if (l->tensor->parts[part] != NAME_NONE) return weights_scalar(e, l->tensor, part, out, err);
    *out = e->inv->kv_algo ? 1.0f : 0; /* an FP8 cache without a scale: engines take 1 */
    return true;
}

static bool attention_open(void **kind, const struct engine *e, const struct block_config *b, struct error *err)
{
    struct attention *a = calloc(1, sizeof *a);
    if (!a) return error_memory(err, sizeof *a);
    *kind = a;
    bool bias = e->inv->config.attention_bias;
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

static bool grow_cache(struct block_state *s, uint64_t n_new, uint64_t width, struct error *err)
{
    uint64_t need = s->n_past + n_new;
    if (need <= s->capacity) return true;
    uint64_t capacity = s->capacity ? s->capacity : 256;
    while (capacity < need) capacity *= 2;
    if (capacity > UINT32_MAX)
        return error_set(err, ERR_UNSUPPORTED, "a text of %llu tokens is too long", (unsigned long long)need);
    for (int i = 0; i < 2; i++) {
        float **p = i ? &s->v : &s->k, *bigger;
        if (!memory_alloc(&bigger, capacity * width, sizeof *bigger, err)) return false;
        if (s->n_past) memcpy(bigger, *p, s->n_past * width * sizeof *bigger);
        free(*p);
        *p = bigger;
    }
    s->capacity = (uint32_t)capacity;
    return true;
}

static void round_cache(const struct engine *e, float *x, uint64_t n, float scale)
{
    if (scale > 0)
        e->input_fp8(&(struct kernel_args){
            .n_rows = 1, .n_cols = n, .src = x, .dtype = DTYPE_F32, .scale = scale, .dst_f32 = x});
}

struct attention_call {
    const struct block_call *call;
    uint64_t q_width, kv_width;
    const float *q;                      /* [rows, q_width] */
    float *out;                          /* [rows, q_width] */
    uint32_t *item_segment, *item_query; /* [n_blocks] */
    uint32_t n_blocks;
};

/* Softmax of the first n_keys scores; the rest of the row, which causality hides, becomes zero. */
static void softmax_row(const struct math_ops *math, float *row, uint64_t n_keys, uint64_t n_all, float scale)
{
    math->scale(row, row, scale, n_keys);
    float top = math->max(row, n_keys);
    for (uint64_t i = 0; i < n_keys; i++) row[i] -= top;
    math->exp(row, row, n_keys);
    math->scale(row, row, 1.0f / math->sum(row, n_keys), n_keys);
    for (uint64_t i = n_keys; i < n_all; i++) row[i] = 0;
}

/* Queries [first, first + m) of a segment for one head. Products run over panels of 32 keys, then of 32 value columns;
 * a hidden key has weight 0 and adds exactly nothing, so that the cut into blocks does not show in the bits. */
static bool attend(const struct attention_call *c, const struct segment *s, uint32_t first, uint32_t m, uint32_t head,
                   struct error *err)
{
    const struct engine *e = c->call->engine;
    const struct attention_config *cfg = &e->inv->config.attention;
    uint64_t dim = cfg->head_dim, kv = head / (cfg->n_heads / cfg->n_kv_heads) * dim;
    uint64_t n_before = s->state->n_past - s->n, n_keys = n_before + first + m;
    CLEANUP(free) float *scores = NULL;
    CLEANUP(free) float *panel = NULL;
    uint64_t panel_rows = n_keys > dim ? n_keys : dim;
    if (!memory_alloc(&scores, m * n_keys, sizeof(float), err) ||
        !memory_alloc(&panel, panel_rows * GEMM_PANEL, sizeof(float), err))
        return false;
    const float *q = c->q + (s->row + first) * c->q_width + head * dim;
    for (uint64_t k = 0; k < n_keys; k += GEMM_PANEL) {
        uint32_t n = (uint32_t)u64_min(GEMM_PANEL, n_keys - k);
        gemm_pack(s->state->k + k * c->kv_width + kv, c->kv_width, n, dim, panel);
        e->math->gemm_panel(q, c->q_width, m, panel, dim, scores + k, n_keys, n);
    }
    float scale = 1.0f / sqrtf((float)dim);
    for (uint32_t i = 0; i < m; i++) softmax_row(e->math, scores + i * n_keys, n_before + first + i + 1, n_keys, scale);
    float *out = c->out + (s->row + first) * c->q_width + head * dim;
    for (uint64_t d = 0; d < dim; d += GEMM_PANEL) {
        uint32_t n = (uint32_t)u64_min(GEMM_PANEL, dim - d);
        for (uint64_t k = 0; k < n_keys; k++) {
            float *row = panel + k * GEMM_PANEL;
            memcpy(row, s->state->v + k * c->kv_width + kv + d, n * sizeof *row);
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
    uint32_t n_heads = c->call->engine->inv->config.attention.n_heads;
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
        ob->kv(ob->ctx, a->k.tensor, k, call->n_rows, c->kv_width);
        ob->kv(ob->ctx, a->v.tensor, v, call->n_rows, c->kv_width);
    }
    round_cache(call->engine, k, call->n_rows * c->kv_width, a->k_scale);
    round_cache(call->engine, v, call->n_rows * c->kv_width, a->v_scale);
    for (uint32_t i = 0; i < call->n_segments; i++) {
        const struct segment *s = &call->segments[i];
        if (!grow_cache(s->state, s->n, c->kv_width, err)) return false;
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

static bool attention_run(const struct block_call *call, struct error *err)
{
    const struct attention *a = call->block->kind;
    const struct engine *e = call->engine;
    struct attention_call c = {.call = call, .q_width = a->q.rows, .kv_width = a->k.rows};
    CLEANUP(free) float *q = NULL;
    CLEANUP(free) float *k = NULL;
    CLEANUP(free) float *v = NULL;
    CLEANUP(free) float *out = NULL;
    uint64_t n = call->n_rows, hidden = a->q.cols;
    if (!memory_alloc(&q, n * c.q_width, sizeof(float), err) ||
        !memory_alloc(&out, n * c.q_width, sizeof(float), err) ||
        !memory_alloc(&k, n * c.kv_width, sizeof(float), err) || !memory_alloc(&v, n * c.kv_width, sizeof(float), err))
        return false;
    if (!linear_run(&a->q, e, call->x, hidden, n, q, c.q_width, call->observer, err) ||
        !linear_run(&a->k, e, call->x, hidden, n, k, c.kv_width, call->observer, err) ||
        !linear_run(&a->v, e, call->x, hidden, n, v, c.kv_width, call->observer, err) ||
        !append_cache(&c, a, k, v, err))
        return false;
    c.q = q;
    c.out = out;
    bool ok = list_blocks(&c, err) &&
              pool_try(e->pool, (uint64_t)c.n_blocks * e->inv->config.attention.n_heads, attend_item, &c, err);
    free(c.item_segment);
    free(c.item_query);
    return ok && linear_run(&a->o, e, out, c.q_width, n, call->y, hidden, call->observer, err);
}

const struct block_kind_ops block_attention = {attention_open, attention_close, attention_keep, attention_run};
