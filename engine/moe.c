/* Mixture of experts: out = fc2(sum of w_e * expert_e(fc1(x))) + shared(x); without a latent projection fc1 and fc2 are
 * absent. Router and shared expert see x, the experts its latent form. Experts are MLPs as engine/mlp.c has them; the
 * shared one may be scaled by the sigmoid of one more output. */
#include "engine/block.h"
#include "engine/route.h"

#include "core/memory.h"

struct expert {
    struct linear gate, up, down; /* gate.tensor NULL: none */
};

struct moe {
    struct linear router, latent_in, latent_out, shared_mix;
    float *router_bias;     /* [experts]: the correction of the choice, or NULL */
    struct expert *experts; /* [n_experts] */
    struct expert shared;
    uint32_t n_experts;
};

static void expert_close(struct expert *x)
{
    linear_close(&x->gate);
    linear_close(&x->up);
    linear_close(&x->down);
}

static bool expert_keep(struct expert *x, const struct engine *e, struct error *err)
{
    return (!x->gate.tensor || linear_keep(&x->gate, e, err)) && linear_keep(&x->up, e, err) &&
           linear_keep(&x->down, e, err);
}

static void moe_close(void *kind)
{
    struct moe *m = kind;
    linear_close(&m->router);
    linear_close(&m->latent_in);
    linear_close(&m->latent_out);
    linear_close(&m->shared_mix);
    for (uint32_t i = 0; m->experts && i < m->n_experts; i++) expert_close(&m->experts[i]);
    expert_close(&m->shared);
    free(m->router_bias);
    free(m->experts);
    free(m);
}

static bool open_one(struct linear *l, const struct engine *e, const struct block_config *b, enum tensor_role role,
                     uint32_t number, struct error *err)
{
    const struct model_tensor *t = inventory_find_block(e->inv, role, b, (int32_t)number);
    if (!t) return error_set(err, ERR_INTERNAL, "the inventory has no %s of expert %u", role_info(role)->name, number);
    char bias[1024];
    snprintf(bias, sizeof bias, "%s.bias", t->module);
    return linear_open(l, e, t, e->inv->config.moe.linear_bias ? bias : NULL, err);
}

static bool open_expert(struct expert *x, const struct engine *e, const struct block_config *b, uint32_t number,
                        struct error *err)
{
    return (!e->inv->config.moe.mlp.gated || open_one(&x->gate, e, b, ROLE_EXPERT_GATE, number, err)) &&
           open_one(&x->up, e, b, ROLE_EXPERT_UP, number, err) &&
           open_one(&x->down, e, b, ROLE_EXPERT_DOWN, number, err);
}

static bool open_shared(struct moe *m, const struct engine *e, const struct block_config *b, struct error *err)
{
    const struct moe_config *cfg = &e->inv->config.moe;
    bool bias = e->inv->config.mlp_bias;
    return (!cfg->mlp.gated || linear_open_role(&m->shared.gate, e, ROLE_SHARED_GATE, b, bias, err)) &&
           linear_open_role(&m->shared.up, e, ROLE_SHARED_UP, b, bias, err) &&
           linear_open_role(&m->shared.down, e, ROLE_SHARED_DOWN, b, bias, err) &&
           (!cfg->has_shared_mix || linear_open_role(&m->shared_mix, e, ROLE_SHARED_MIX, b, false, err));
}

static bool moe_open(void **kind, const struct engine *e, const struct block_config *b, struct error *err)
{
    const struct moe_config *cfg = &e->inv->config.moe;
    bool bias = e->inv->config.mlp_bias; /* of the shared expert and the latent projections */
    struct moe *m = calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m);
    *kind = m;
    m->n_experts = cfg->n_experts;
    m->experts = calloc(m->n_experts, sizeof *m->experts);
    if (!m->experts) return error_memory(err, m->n_experts * sizeof *m->experts);
    if (!linear_open_role(&m->router, e, ROLE_ROUTER, b, cfg->linear_bias, err) ||
        (cfg->route == ROUTE_SIGMOID && !weights_load_role(e, ROLE_ROUTER_BIAS, b, &m->router_bias, err)))
        return false;
    if (cfg->has_latent && (!linear_open_role(&m->latent_in, e, ROLE_LATENT_IN, b, bias, err) ||
                            !linear_open_role(&m->latent_out, e, ROLE_LATENT_OUT, b, bias, err)))
        return false;
    if (cfg->has_shared && !open_shared(m, e, b, err)) return false;
    for (uint32_t i = 0; i < m->n_experts; i++)
        if (!open_expert(&m->experts[i], e, b, i, err)) return false;
    return true;
}

static bool moe_keep(void *kind, const struct engine *e, struct error *err)
{
    struct moe *m = kind;
    if (!linear_keep(&m->router, e, err)) return false;
    if (m->latent_in.tensor && (!linear_keep(&m->latent_in, e, err) || !linear_keep(&m->latent_out, e, err)))
        return false;
    if (m->shared.up.tensor && !expert_keep(&m->shared, e, err)) return false;
    if (m->shared_mix.tensor && !linear_keep(&m->shared_mix, e, err)) return false;
    for (uint32_t i = 0; i < m->n_experts; i++)
        if (!expert_keep(&m->experts[i], e, err)) return false;
    return true;
}

/* ---- routing ---- */

struct routing {
    uint32_t *experts;  /* [rows, top_k], ascending per row */
    float *weights;     /* [rows, top_k] */
    uint64_t *first;    /* [n_experts + 1]: where an expert's rows begin in `rows` */
    uint32_t *rows;     /* [rows * top_k]: row numbers, ascending per expert */
    float *row_weights; /* [rows * top_k]: the weight of each entry of `rows` */
};

static void routing_free(struct routing *r)
{
    free(r->experts);
    free(r->weights);
    free(r->first);
    free(r->rows);
    free(r->row_weights);
}

struct route_ctx {
    const struct moe_config *cfg;
    const struct engine *e;
    const float *bias;
    float *scores;
    struct routing *r;
};

static void softmax(const struct math_ops *math, float *row, uint64_t n)
{
    float top = math->max(row, n);
    for (uint64_t i = 0; i < n; i++) row[i] -= top;
    math->exp(row, row, n);
    math->scale(row, row, 1.0f / math->sum(row, n), n);
}

static void route_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    struct route_ctx *c = ctx;
    uint32_t n = c->cfg->n_experts, k = c->cfg->top_k;
    float *scores = c->scores + row * 2 * n;
    if (c->cfg->route == ROUTE_SIGMOID) c->e->math->sigmoid(scores, scores, n);
    if (c->cfg->route == ROUTE_SOFTMAX) softmax(c->e->math, scores, n);
    route_token(c->cfg, c->e->math, scores, c->bias, scores + n, c->r->experts + row * k, c->r->weights + row * k);
}

/* Turns [row, slot] -> expert into expert -> rows. */
static void invert(const struct moe_config *cfg, uint64_t n_rows, struct routing *r)
{
    for (uint64_t i = 0; i < n_rows * cfg->top_k; i++) r->first[r->experts[i] + 1]++;
    for (uint32_t x = 0; x < cfg->n_experts; x++) r->first[x + 1] += r->first[x];
    for (uint64_t row = 0; row < n_rows; row++)
        for (uint32_t k = 0; k < cfg->top_k; k++) {
            uint64_t at = r->first[r->experts[row * cfg->top_k + k]]++;
            r->rows[at] = (uint32_t)row;
            r->row_weights[at] = r->weights[row * cfg->top_k + k];
        }
    for (uint32_t x = cfg->n_experts; x > 0; x--) r->first[x] = r->first[x - 1];
    r->first[0] = 0;
}

static bool route(const struct block_call *call, const struct moe *m, struct routing *r, struct error *err)
{
    const struct engine *e = call->engine;
    const struct moe_config *cfg = &e->inv->config.moe;
    uint64_t n = call->n_rows, slots = n * cfg->top_k;
    CLEANUP(free) float *scores = NULL;
    if (!memory_alloc(&scores, n * 2 * cfg->n_experts, sizeof(float), err) ||
        !memory_alloc(&r->experts, slots, sizeof(uint32_t), err) ||
        !memory_alloc(&r->weights, slots, sizeof(float), err) ||
        !memory_zalloc(&r->first, cfg->n_experts + 1, sizeof(uint64_t), err) ||
        !memory_alloc(&r->rows, slots, sizeof(uint32_t), err) ||
        !memory_alloc(&r->row_weights, slots, sizeof(float), err))
        return false;
    if (!linear_run(&m->router, e, call->x, m->router.cols, n, scores, 2 * (uint64_t)cfg->n_experts, NULL, err))
        return false;
    struct route_ctx c = {cfg, e, m->router_bias, scores, r};
    pool_for(e->pool, n, route_item, &c);
    const struct observer *ob = call->observer;
    for (uint32_t i = 0; ob && ob->route && i < call->n_segments; i++) {
        const struct segment *s = &call->segments[i];
        ob->route(ob->ctx, call->block->config->layer, s->text, s->first, s->n, r->experts + s->row * cfg->top_k,
                  r->weights + s->row * cfg->top_k);
    }
    invert(cfg, n, r);
    return true;
}

/* ---- experts ---- */

struct expert_ctx {
    const struct block_call *call;
    const struct moe *m;
    const struct routing *r;
    const float *u; /* [rows, width]: what the experts see */
    uint64_t width;
    uint32_t first_expert; /* of this batch */
    uint64_t first_slot;
    float *out; /* [slots of this batch, width] */
};

typedef bool (*linear_fn)(const struct linear *l, const struct engine *e, const float *x, uint64_t ldx, uint64_t m,
                          float *y, uint64_t ldy, const struct observer *ob, struct error *err);

/* One expert on n rows of `in`; `run` and `pool` say who computes. */
static bool run_expert(const struct block_call *call, const struct expert *x, linear_fn run, struct pool *pool,
                       const float *in, uint64_t n, float *out, struct error *err)
{
    const struct engine *e = call->engine;
    uint64_t inner = x->up.rows, width = x->up.cols;
    CLEANUP(free) float *h = NULL;
    CLEANUP(free) float *gate = NULL;
    if (!memory_alloc(&h, n * inner, sizeof(float), err) ||
        !run(&x->up, e, in, width, n, h, inner, call->observer, err))
        return false;
    if (x->gate.tensor && (!memory_alloc(&gate, n * inner, sizeof(float), err) ||
                           !run(&x->gate, e, in, width, n, gate, inner, call->observer, err)))
        return false;
    float *inside = gate ? gate : h;
    return rows_activate(e, pool, &e->inv->config.moe.mlp, inside, gate ? h : NULL, n, inner, err) &&
           run(&x->down, e, inside, inner, n, out, x->down.rows, call->observer, err);
}

static bool expert_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct expert_ctx *c = ctx;
    uint32_t number = c->first_expert + (uint32_t)item;
    const struct expert *x = &c->m->experts[number];
    uint64_t first = c->r->first[number], n = c->r->first[number + 1] - first;
    if (n == 0) return true;
    CLEANUP(free) float *in = NULL;
    if (!memory_alloc(&in, n * c->width, sizeof(float), err)) return false;
    for (uint64_t i = 0; i < n; i++)
        memcpy(in + i * c->width, c->u + c->r->rows[first + i] * c->width, c->width * sizeof(float));
    return run_expert(c->call, x, linear_run_here, NULL, in, n, c->out + (first - c->first_slot) * c->width, err);
}

/* Experts in batches, so that their outputs need room for about two slots per row; then added in order of expert
 * number, which fixes the order of every row's sum. */
static bool run_experts(const struct block_call *call, const struct moe *m, const struct routing *r, const float *u,
                        uint64_t width, float *sum, struct error *err)
{
    const struct engine *e = call->engine;
    memset(sum, 0, call->n_rows * width * sizeof *sum);
    for (uint32_t x = 0; x < m->n_experts;) {
        uint32_t end = x + 1;
        while (end < m->n_experts && r->first[end + 1] - r->first[x] <= 2 * call->n_rows) end++;
        uint64_t first = r->first[x], slots = r->first[end] - first;
        CLEANUP(free) float *out = NULL;
        if (!memory_alloc(&out, slots * width, sizeof(float), err)) return false;
        struct expert_ctx c = {call, m, r, u, width, x, first, out};
        if (!pool_try(e->pool, end - x, expert_item, &c, err)) return false;
        for (uint64_t i = 0; i < slots; i++)
            e->math->multiply_add(sum + r->rows[first + i] * width, out + i * width, r->row_weights[first + i], width);
        x = end;
    }
    return true;
}

static bool run_shared(const struct block_call *call, const struct moe *m, float *y, struct error *err)
{
    const struct engine *e = call->engine;
    uint64_t hidden = m->shared.up.cols, n = call->n_rows;
    CLEANUP(free) float *out = NULL;
    CLEANUP(free) float *mix = NULL;
    if (!memory_alloc(&out, n * hidden, sizeof(float), err) ||
        !run_expert(call, &m->shared, linear_run, e->pool, call->x, n, out, err))
        return false;
    if (m->shared_mix.tensor) {
        if (!memory_alloc(&mix, n, sizeof(float), err) ||
            !linear_run(&m->shared_mix, e, call->x, hidden, n, mix, 1, NULL, err))
            return false;
        e->math->sigmoid(mix, mix, n);
        for (uint64_t i = 0; i < n; i++) e->math->scale(out + i * hidden, out + i * hidden, mix[i], hidden);
    }
    e->math->add(y, y, out, n * hidden);
    return true;
}

static bool run_routed(const struct block_call *call, const struct moe *m, const struct routing *r, struct error *err)
{
    const struct engine *e = call->engine;
    uint64_t hidden = m->router.cols, n = call->n_rows;
    if (!m->latent_in.tensor) return run_experts(call, m, r, call->x, hidden, call->y, err);
    uint64_t width = m->latent_in.rows;
    CLEANUP(free) float *u = NULL;
    CLEANUP(free) float *sum = NULL;
    return memory_alloc(&u, n * width, sizeof(float), err) && memory_alloc(&sum, n * width, sizeof(float), err) &&
           linear_run(&m->latent_in, e, call->x, hidden, n, u, width, call->observer, err) &&
           run_experts(call, m, r, u, width, sum, err) &&
           linear_run(&m->latent_out, e, sum, width, n, call->y, hidden, call->observer, err);
}

bool moe_visit(const struct block_call *call, const uint32_t *experts, uint32_t n_experts, struct error *err)
{
    const struct moe *m = call->block->kind;
    const struct engine *e = call->engine;
    uint64_t hidden = m->router.cols, n = call->n_rows, width = m->latent_in.tensor ? m->latent_in.rows : hidden;
    CLEANUP(free) float *u = NULL;
    CLEANUP(free) float *out = NULL;
    if (!memory_alloc(&out, n * width, sizeof(float), err) ||
        (m->latent_in.tensor && (!memory_alloc(&u, n * width, sizeof(float), err) ||
                                 !linear_run(&m->latent_in, e, call->x, hidden, n, u, width, NULL, err))))
        return false;
    for (uint32_t i = 0; i < n_experts; i++)
        if (!run_expert(call, &m->experts[experts[i]], linear_run, e->pool, u ? u : call->x, n, out, err)) return false;
    return true;
}

static bool moe_run(const struct block_call *call, struct error *err)
{
    const struct moe *m = call->block->kind;
    struct routing r = {0};
    bool ok = route(call, m, &r, err) && run_routed(call, m, &r, err);
    routing_free(&r);
    return ok && (!m->shared.up.tensor || run_shared(call, m, call->y, err));
}

const struct block_kind_ops block_moe = {moe_open, moe_close, moe_keep, moe_run};
