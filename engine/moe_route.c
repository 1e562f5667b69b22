/* Which token goes to which expert, and with which weight. */
#include "engine/moe_impl.h"
#include "engine/route.h"

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

/* How many of each member of struct routing, and the routers' outputs beside room for a copy. */
struct room {
    uint64_t slots, first, scores;
};

static struct room room_for(const struct moe_config *cfg, uint64_t n_rows)
{
    return (struct room){n_rows * cfg->top_k, (uint64_t)cfg->n_experts + 1, n_rows * 2 * cfg->n_experts};
}

static bool alloc(struct routing *r, struct room room, struct scratch *from, struct error *err)
{
    if (!scratch_alloc(from, &r->experts, room.slots, sizeof *r->experts, err) ||
        !scratch_alloc(from, &r->weights, room.slots, sizeof *r->weights, err) ||
        !scratch_alloc(from, &r->first, room.first, sizeof *r->first, err) ||
        !scratch_alloc(from, &r->rows, room.slots, sizeof *r->rows, err) ||
        !scratch_alloc(from, &r->row_weights, room.slots, sizeof *r->row_weights, err))
        return false;
    memset(r->first, 0, room.first * sizeof *r->first);
    return true;
}

bool moe_route_need(struct need *n, const struct engine *e, const struct block_config *b, const struct call_shape *c,
                    struct error *err)
{
    const struct moe_config *cfg = &e->inv->config.moe;
    struct room room = room_for(cfg, c->n_rows);
    struct need router = {0};
    if (!linear_need_role(&router, e, ROLE_ROUTER, b, cfg->linear_bias, c, err)) return false;
    n->loaded += router.loaded;
    n->kept += router.kept;
    need_most(&n->worker, router.worker);
    need_most(&n->calling, router.calling + scratch_bytes(room.scores, sizeof(float)));
    n->calling += 4 * scratch_bytes(room.slots, sizeof(uint32_t)) + scratch_bytes(room.first, sizeof(uint64_t));
    weights_need(n, e, ROLE_ROUTER_BIAS, b);
    return true;
}

bool moe_route(const struct block_call *call, const struct moe *m, struct routing *r, struct error *err)
{
    const struct engine *e = call->engine;
    const struct moe_config *cfg = &e->inv->config.moe;
    uint64_t n = call->n_rows;
    struct room room = room_for(cfg, n);
    float *scores;
    if (!alloc(r, room, e->scratch, err)) return false;
    SCRATCH_SCOPE(e->scratch);
    if (!scratch_alloc(e->scratch, &scores, room.scores, sizeof *scores, err)) return false;
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
