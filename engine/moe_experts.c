/* The routed experts, several at a time, each with the rows that were sent to it. */
#include "engine/moe_impl.h"

#define SLOTS_LEAST 64u /* of a batch: when few tokens are decoded every expert runs at the same time */

/* Experts run in batches of so many slots (pairs of a row and an expert) at most; one expert has n_rows at most. */
static uint64_t batch_slots(const struct moe_config *cfg, uint64_t n_rows)
{
    return u64_min(2 * n_rows > SLOTS_LEAST ? 2 * n_rows : SLOTS_LEAST, n_rows * cfg->top_k);
}

/* What a batch works in. */
struct slots {
    uint64_t width, inner, room; /* floats; bytes of a slot's copies for linears */
    float *in, *out;             /* [slots, width] */
    float *up, *gate;            /* [slots, inner]; gate NULL: none */
    uint8_t *copies;             /* [slots] of `room` bytes */
};

static uint64_t slot_floats(bool gated, uint64_t width, uint64_t inner)
{
    return 2 * width + (gated ? 2 : 1) * inner;
}

static uint64_t expert_room(const struct engine *e, const struct expert *x, uint64_t m)
{
    uint64_t most = 0;
    const struct linear *all[] = {&x->up, &x->gate, &x->down};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->tensor) need_most(&most, linear_room(all[i], e, m, all[i]->cols));
    return most;
}

struct expert_ctx {
    const struct block_call *call;
    const struct moe *m;
    const struct routing *r;
    const float *u; /* [rows, width]: what the experts see */
    const struct slots *slots;
    uint32_t first_expert; /* of this batch */
    uint64_t first_slot;
};

static bool expert_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    const struct expert_ctx *c = ctx;
    const struct engine *e = c->call->engine;
    const struct observer *ob = c->call->observer;
    const struct slots *s = c->slots;
    uint32_t number = c->first_expert + (uint32_t)item;
    const struct expert *x = &c->m->experts[number];
    uint64_t first = c->r->first[number], n = c->r->first[number + 1] - first, at = first - c->first_slot;
    if (n == 0) return true;
    float *in = s->in + at * s->width, *up = s->up + at * s->inner, *gate = s->gate ? s->gate + at * s->inner : NULL,
          *inside = gate ? gate : up;
    uint8_t *room = s->copies + at * s->room;
    for (uint64_t i = 0; i < n; i++)
        memcpy(in + i * s->width, c->u + c->r->rows[first + i] * s->width, s->width * sizeof *in);
    return linear_run_here(&x->up, e, worker, room, in, n, up, ob, err) &&
           (!gate || linear_run_here(&x->gate, e, worker, room, in, n, gate, ob, err)) &&
           rows_activate_here(e, worker, &e->inv->config.moe.mlp, inside, gate ? up : NULL, n, s->inner, err) &&
           linear_run_here(&x->down, e, worker, room, inside, n, s->out + at * s->width, ob, err);
}

static bool alloc_slots(struct slots *s, const struct engine *e, uint64_t n, struct error *err)
{
    bool gated = e->inv->config.moe.mlp.gated;
    if (!scratch_alloc(e->scratch, &s->in, n * slot_floats(gated, s->width, s->inner), sizeof(float), err) ||
        !scratch_alloc(e->scratch, &s->copies, n, s->room, err))
        return false;
    s->out = s->in + n * s->width;
    s->up = s->out + n * s->width;
    s->gate = gated ? s->up + n * s->inner : NULL;
    return true;
}

/* Outputs are added in order of expert number, which fixes the order of every row's sum. */
bool moe_run_experts(const struct block_call *call, const struct moe *m, const struct routing *r, const float *u,
                     uint64_t width, float *sum, struct error *err)
{
    const struct engine *e = call->engine;
    uint64_t most = batch_slots(&e->inv->config.moe, call->n_rows);
    struct slots s = {.width = width, .inner = m->experts[0].up.rows};
    for (uint32_t x = 0; x < m->n_experts; x++) need_most(&s.room, expert_room(e, &m->experts[x], call->n_rows));
    SCRATCH_SCOPE(e->scratch);
    if (!alloc_slots(&s, e, most, err)) return false;
    memset(sum, 0, call->n_rows * width * sizeof *sum);
    for (uint32_t x = 0; x < m->n_experts;) {
        uint32_t end = x + 1;
        while (end < m->n_experts && r->first[end + 1] - r->first[x] <= most) end++;
        uint64_t first = r->first[x], n = r->first[end] - first;
        struct expert_ctx c = {call, m, r, u, &s, x, first};
        if (!pool_try(e->pool, end - x, expert_item, &c, err)) return false;
        for (uint64_t i = 0; i < n; i++)
            e->math->multiply_add(sum + r->rows[first + i] * width, s.out + i * width, r->row_weights[first + i],
                                  width);
        x = end;
    }
    return true;
}

bool moe_experts_need(struct need *n, const struct engine *e, const struct block_config *b, const struct call_shape *c,
                      struct error *err)
{
    static const enum tensor_role roles[] = {ROLE_EXPERT_GATE, ROLE_EXPERT_UP, ROLE_EXPERT_DOWN};
    const struct moe_config *cfg = &e->inv->config.moe;
    uint64_t most = batch_slots(cfg, c->n_rows), inner = 0, width = 0, room = 0;
    for (uint32_t x = 0; x < cfg->n_experts; x++)
        for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
            const struct model_tensor *t = inventory_find_block(e->inv, roles[i], b, (int32_t)x);
            struct linear l;
            struct need one = {0};
            if (!t) continue;
            if (!linear_shape(&l, e, t, err) || !linear_need(&one, e, t, cfg->linear_bias, 0, c->kept, err))
                return false;
            n->loaded += one.loaded;
            n->kept += one.kept;
            need_most(&n->worker, one.worker);
            need_most(&room, linear_room(&l, e, c->n_rows, l.cols));
            need_most(&inner, l.rows * (roles[i] == ROLE_EXPERT_UP));
            need_most(&width, l.cols * (roles[i] == ROLE_EXPERT_UP));
        }
    need_most(&n->worker, rows_activate_need(&cfg->mlp, inner));
    need_most(&n->calling, scratch_bytes(most * slot_floats(cfg->mlp.gated, width, inner), sizeof(float)) +
                               scratch_bytes(most, room));
    n->loaded += cfg->n_experts * sizeof(struct expert);
    return true;
}
