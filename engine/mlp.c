/* down(activation(up(x))), or gated: down(activation(gate(x)) * up(x)). */
#include "engine/block.h"

#include "core/memory.h"

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

static bool mlp_run(const struct block_call *c, struct error *err)
{
    const struct mlp *m = c->block->kind;
    const struct engine *e = c->engine;
    uint64_t inner = m->up.rows, hidden = m->up.cols, n = c->n_rows;
    CLEANUP(free) float *h = NULL;
    CLEANUP(free) float *gate = NULL;
    if (!memory_alloc(&h, n * inner, sizeof *h, err) ||
        !linear_run(&m->up, e, c->x, hidden, n, h, inner, c->observer, err))
        return false;
    if (m->gate.tensor && (!memory_alloc(&gate, n * inner, sizeof *gate, err) ||
                           !linear_run(&m->gate, e, c->x, hidden, n, gate, inner, c->observer, err)))
        return false;
    float *inside = gate ? gate : h;
    return rows_activate(e, e->pool, &e->inv->config.mlp, inside, gate ? h : NULL, n, inner, err) &&
           linear_run(&m->down, e, inside, inner, n, c->y, hidden, c->observer, err);
}

const struct block_kind_ops block_mlp = {mlp_open, mlp_close, mlp_keep, mlp_run};
