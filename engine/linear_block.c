/* One matrix in place of attention or of an MLP: y = x W^T. */
#include "engine/block.h"

static void linear_block_close(void *kind)
{
    linear_close(kind);
    free(kind);
}

static bool linear_block_open(void **kind, const struct engine *e, const struct block_config *b, struct error *err)
{
    struct linear *l = calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l);
    *kind = l;
    return linear_open_role(l, e, b->replaces_mlp ? ROLE_MLP_LINEAR : ROLE_ATTN_LINEAR, b, false, err);
}

static bool linear_block_keep(void *kind, const struct engine *e, struct error *err)
{
    return linear_keep(kind, e, err);
}

static bool linear_block_run(const struct block_call *c, struct error *err)
{
    const struct linear *l = c->block->kind;
    return linear_run(l, c->engine, c->x, l->cols, c->n_rows, c->y, l->rows, c->observer, err);
}

static bool linear_block_need(struct need *n, const struct engine *e, const struct block_config *b,
                              const struct call_shape *c, struct error *err)
{
    return linear_need_role(n, e, b->replaces_mlp ? ROLE_MLP_LINEAR : ROLE_ATTN_LINEAR, b, false, c, err);
}

const struct block_kind_ops block_linear = {linear_block_open, linear_block_close, linear_block_keep,
                                            linear_block_run,  linear_block_need,  NULL};
