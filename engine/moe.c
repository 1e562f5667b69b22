/* Mixture of experts: out = fc2(sum of w_e * expert_e(fc1(x))) + shared(x); without a latent projection fc1 and fc2 are
 * absent. Router and shared expert see x, the experts its latent form. Experts are MLPs as engine/mlp.c has them; the
 * shared one may be scaled by the sigmoid of one more output. */
#include "engine/moe_impl.h"

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

/* ---- running ---- */

/* Floats of each row for the shared expert: its output, up, gate, and how much of it counts. */
static uint64_t shared_floats(const struct moe_config *cfg, uint64_t hidden, uint64_t inner)
{
    return hidden + (cfg->mlp.gated ? 2 : 1) * inner + (cfg->has_shared_mix ? 1 : 0);
}

static bool run_shared(const struct block_call *call, const struct moe *m, struct error *err)
{
    const struct engine *e = call->engine;
    const struct moe_config *cfg = &e->inv->config.moe;
    const struct expert *x = &m->shared;
    uint64_t hidden = x->up.cols, inner = x->up.rows, n = call->n_rows;
    SCRATCH_SCOPE(e->scratch);
    float *out;
    if (!scratch_alloc(e->scratch, &out, n * shared_floats(cfg, hidden, inner), sizeof *out, err)) return false;
    float *up = out + n * hidden, *gate = cfg->mlp.gated ? up + n * inner : NULL, *inside = gate ? gate : up,
          *mix = inside + n * inner;
    if (!linear_run(&x->up, e, call->x, hidden, n, up, inner, call->observer, err) ||
        (gate && !linear_run(&x->gate, e, call->x, hidden, n, gate, inner, call->observer, err)) ||
        !rows_activate(e, &cfg->mlp, inside, gate ? up : NULL, n, inner, err) ||
        !linear_run(&x->down, e, inside, inner, n, out, hidden, call->observer, err))
        return false;
    if (m->shared_mix.tensor) {
        if (!linear_run(&m->shared_mix, e, call->x, hidden, n, mix, 1, NULL, err)) return false;
        e->math->sigmoid(mix, mix, n);
        for (uint64_t i = 0; i < n; i++) e->math->scale(out + i * hidden, out + i * hidden, mix[i], hidden);
    }
    e->math->add(call->y, call->y, out, n * hidden);
    return true;
}

static bool run_routed(const struct block_call *call, const struct moe *m, struct error *err)
{
    const struct engine *e = call->engine;
    uint64_t hidden = m->router.cols, n = call->n_rows;
    struct routing r;
    SCRATCH_SCOPE(e->scratch);
    if (!moe_route(call, m, &r, err)) return false;
    if (!m->latent_in.tensor) return moe_run_experts(call, m, &r, call->x, hidden, call->y, err);
    uint64_t width = m->latent_in.rows;
    float *u;
    if (!scratch_alloc(e->scratch, &u, 2 * n * width, sizeof *u, err)) return false;
    float *sum = u + n * width;
    return linear_run(&m->latent_in, e, call->x, hidden, n, u, width, call->observer, err) &&
           moe_run_experts(call, m, &r, u, width, sum, err) &&
           linear_run(&m->latent_out, e, sum, width, n, call->y, hidden, call->observer, err);
}

/* A routing in which each of these experts, in ascending order, has every row; its weights are 0. */
static bool route_all(const struct engine *e, const struct moe *m, uint64_t n, const uint32_t *experts,
                      uint32_t n_experts, struct routing *r, struct error *err)
{
    uint64_t total = n * n_experts;
    if (!scratch_alloc(e->scratch, &r->first, (uint64_t)m->n_experts + 1, sizeof *r->first, err) ||
        !scratch_alloc(e->scratch, &r->rows, total, sizeof *r->rows, err) ||
        !scratch_alloc(e->scratch, &r->row_weights, total, sizeof *r->row_weights, err))
        return false;
    uint64_t at = 0;
    for (uint32_t x = 0, k = 0; x < m->n_experts; x++) {
        r->first[x] = at;
        if (k == n_experts || experts[k] != x) continue;
        for (uint64_t i = 0; i < n; i++) r->rows[at + i] = (uint32_t)i;
        at += n;
        k++;
    }
    r->first[m->n_experts] = at;
    for (uint64_t i = 0; i < total; i++) r->row_weights[i] = 0;
    return true;
}

bool moe_visit(const struct block_call *call, const uint32_t *experts, uint32_t n_experts, struct error *err)
{
    const struct moe *m = call->block->kind;
    const struct engine *e = call->engine;
    uint64_t hidden = m->router.cols, n = call->n_rows, width = m->latent_in.tensor ? m->latent_in.rows : hidden;
    struct routing r = {0};
    SCRATCH_SCOPE(e->scratch);
    float *u, *sum;
    if (!route_all(e, m, n, experts, n_experts, &r, err) ||
        !scratch_alloc(e->scratch, &sum, n * width, sizeof *sum, err) ||
        !scratch_alloc(e->scratch, &u, n * width, sizeof *u, err) ||
        (m->latent_in.tensor && !linear_run(&m->latent_in, e, call->x, hidden, n, u, width, NULL, err)))
        return false;
    return moe_run_experts(call, m, &r, m->latent_in.tensor ? u : call->x, width, sum, err);
}

static bool moe_run(const struct block_call *call, struct error *err)
{
    const struct moe *m = call->block->kind;
    return run_routed(call, m, err) && (!m->shared.up.tensor || run_shared(call, m, err));
}

static bool shared_need(struct need *n, const struct engine *e, const struct block_config *b,
                        const struct call_shape *c, struct error *err)
{
    const struct moe_config *cfg = &e->inv->config.moe;
    const struct model_tensor *up = inventory_find_block(e->inv, ROLE_SHARED_UP, b, -1);
    bool bias = e->inv->config.mlp_bias;
    if (!cfg->has_shared || !up) return true;
    if (!linear_need_role(n, e, ROLE_SHARED_GATE, b, bias, c, err) ||
        !linear_need_role(n, e, ROLE_SHARED_UP, b, bias, c, err) ||
        !linear_need_role(n, e, ROLE_SHARED_DOWN, b, bias, c, err) ||
        !linear_need_role(n, e, ROLE_SHARED_MIX, b, false, c, err))
        return false;
    n->calling += scratch_bytes(c->n_rows * shared_floats(cfg, up->dims[1], up->dims[0]), sizeof(float));
    need_most(&n->worker, rows_activate_need(&cfg->mlp, up->dims[0]));
    return true;
}

static bool moe_need(struct need *n, const struct engine *e, const struct block_config *b, const struct call_shape *c,
                     struct error *err)
{
    const struct moe_config *cfg = &e->inv->config.moe;
    struct need shared = {0};
    if (!linear_need_role(n, e, ROLE_LATENT_IN, b, e->inv->config.mlp_bias, c, err) ||
        !linear_need_role(n, e, ROLE_LATENT_OUT, b, e->inv->config.mlp_bias, c, err) ||
        !moe_experts_need(n, e, b, c, err))
        return false;
    if (cfg->has_latent)
        n->calling += scratch_bytes(2 * c->n_rows * block_dim(&e->inv->config, b, DIM_LATENT), sizeof(float));
    if (!moe_route_need(n, e, b, c, err) || !shared_need(&shared, e, b, c, err)) return false;
    n->loaded += shared.loaded;
    n->kept += shared.kept;
    need_most(&n->calling, shared.calling);
    need_most(&n->worker, shared.worker);
    return true;
}

const struct block_kind_ops block_moe = {moe_open, moe_close, moe_keep, moe_run, moe_need, NULL};
