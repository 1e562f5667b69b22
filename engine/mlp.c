/* down(activation(up(x))), or gated: down(activation(gate(x)) * up(x)). */
#include "engine/block.h"

struct mlp {
    struct linear gate, up, down; /* gate.tensor NULL: none */
};

static void mlp_close(void *kind)
{
    struct mlp *m = kind;
    linear_close(&m->gate);
    linear_close(&m->up);
    linear_close(&m->down);
    free(m);
}

static bool mlp_open(void **kind, const struct engine *e, const struct block_config *b, struct error *err)
{
    struct mlp *m = calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m);
    *kind = m;
    bool bias = e->inv->config.mlp_bias;
    if (e->inv->config.mlp.gated && !linear_open_role(&m->gate, e, ROLE_MLP_GATE, b, bias, err)) return false;
    return linear_open_role(&m->up, e, ROLE_MLP_UP, b, bias, err) &&
           linear_open_role(&m->down, e, ROLE_MLP_DOWN, b, bias, err);
}

static bool mlp_keep(void *kind, const struct engine *e, struct error *err)
{
    struct mlp *m = kind;
    return (!m->gate.tensor || linear_keep(&m->gate, e, err)) && linear_keep(&m->up, e, err) &&
           linear_keep(&m->down, e, err);
}

/* Floats of each row between the matrices: up, and gate. */
static uint64_t row_floats(bool gated, uint64_t inner)
{
    return gated ? 2 * inner : inner;
}

static bool mlp_run(const struct block_call *c, struct error *err)
{
    const struct mlp *m = c->block->kind;
    const struct engine *e = c->engine;
    uint64_t inner = m->up.rows, hidden = m->up.cols, n = c->n_rows;
    bool gated = m->gate.tensor != NULL;
    SCRATCH_SCOPE(e->scratch);
    float *h;
    if (!scratch_alloc(e->scratch, &h, row_floats(gated, inner) * n, sizeof *h, err)) return false;
    float *gate = gated ? h + n * inner : NULL, *inside = gated ? gate : h;
    struct linear_out both[2] = {{&m->up, h}, {&m->gate, gate}};
    return linear_run_all(both, gated ? 2 : 1, e, c->x, n, c->observer, err) &&
           rows_activate(e, &e->inv->config.mlp, inside, gated ? h : NULL, n, inner, err) &&
           linear_run(&m->down, e, inside, inner, n, c->y, hidden, c->observer, err);
}

static bool mlp_need(struct need *n, const struct engine *e, const struct block_config *b, const struct call_shape *c,
                     struct error *err)
{
    const struct model_config *cfg = &e->inv->config;
    uint64_t inner = block_dim(cfg, b, DIM_MLP);
    bool bias = cfg->mlp_bias;
    if ((cfg->mlp.gated && !linear_need_role(n, e, ROLE_MLP_GATE, b, bias, c, err)) ||
        !linear_need_role(n, e, ROLE_MLP_UP, b, bias, c, err) ||
        !linear_need_role(n, e, ROLE_MLP_DOWN, b, bias, c, err))
        return false;
    n->calling += scratch_bytes(row_floats(cfg->mlp.gated, inner) * c->n_rows, sizeof(float));
    need_most(&n->worker, rows_activate_need(&cfg->mlp, inner));
    return true;
}

const struct block_kind_ops block_mlp = {mlp_open, mlp_close, mlp_keep, mlp_run, mlp_need, NULL};
