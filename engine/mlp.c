/* down(relu(up(x))^2): squared ReLU, no gate. */
#include "engine/block.h"

#include "core/memory.h"

struct mlp {
    struct linear up, down;
};

static void mlp_close(void *kind)
{
    struct mlp *m = kind;
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
    return linear_open_role(&m->up, e, ROLE_MLP_UP, b, bias, err) &&
           linear_open_role(&m->down, e, ROLE_MLP_DOWN, b, bias, err);
}

static bool mlp_keep(void *kind, const struct engine *e, struct error *err)
{
    struct mlp *m = kind;
    return linear_keep(&m->up, e, err) && linear_keep(&m->down, e, err);
}

static bool mlp_run(const struct block_call *c, struct error *err)
{
    const struct mlp *m = c->block->kind;
    const struct engine *e = c->engine;
    uint64_t inner = m->up.rows, hidden = m->up.cols;
    CLEANUP(free) float *h = NULL;
    if (!memory_alloc(&h, c->n_rows * inner, sizeof *h, err) ||
        !linear_run(&m->up, e, c->x, hidden, c->n_rows, h, inner, c->observer, err))
        return false;
    e->math->relu2(h, h, c->n_rows * inner);
    return linear_run(&m->down, e, h, inner, c->n_rows, c->y, hidden, c->observer, err);
}

const struct block_kind_ops block_mlp = {mlp_open, mlp_close, mlp_keep, mlp_run};
