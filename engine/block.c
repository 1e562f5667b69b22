#include "engine/block.h"

#include "core/memory.h"

#include <math.h>

static const struct block_kind_ops *const block_kinds[BLOCK_KIND_COUNT] = {[BLOCK_MAMBA2] = &block_mamba2,
                                                                           [BLOCK_ATTENTION] = &block_attention,
                                                                           [BLOCK_MLP] = &block_mlp,
                                                                           [BLOCK_MOE] = &block_moe};

bool block_open(struct block *b, const struct engine *e, const struct block_config *config, struct error *err)
{
    *b = (struct block){.config = config, .ops = block_kinds[config->kind]};
    if (weights_load_role(e, ROLE_BLOCK_NORM, config, &b->norm, err) && b->ops->open(&b->kind, e, config, err))
        return true;
    error_wrap(err, "layer %u", config->layer);
    block_close(b);
    return false;
}

void block_close(struct block *b)
{
    free(b->norm);
    if (b->kind) b->ops->close(b->kind);
    *b = (struct block){0};
}

void block_state_close(struct block_state *s)
{
    scan_state_close(&s->scan);
    free(s->conv);
    free(s->k);
    free(s->v);
    *s = (struct block_state){0};
}

struct norm_ctx {
    const struct math_ops *math;
    const float *x, *weight;
    float *out, eps;
    uint64_t cols;
};

static void norm_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct norm_ctx *c = ctx;
    const float *x = c->x + row * c->cols;
    float *out = c->out + row * c->cols;
    float mean = c->math->sum_squares(x, c->cols) / (float)c->cols;
    c->math->scale(out, x, 1.0f / sqrtf(mean + c->eps), c->cols);
    c->math->multiply(out, out, c->weight, c->cols);
}

void rows_norm(const struct engine *e, const float *x, uint64_t n_rows, uint64_t cols, const float *weight, float eps,
               float *out)
{
    struct norm_ctx c = {e->math, x, weight, out, eps, cols};
    pool_for(e->pool, n_rows, norm_item, &c);
}

bool block_run(const struct block *b, const struct engine *e, float *x, uint64_t n_rows, const struct segment *segments,
               uint32_t n_segments, const struct observer *ob, struct error *err)
{
    uint64_t hidden = e->inv->config.dims[DIM_HIDDEN];
    CLEANUP(free) float *normed = NULL;
    CLEANUP(free) float *y = NULL;
    if (!memory_alloc(&normed, n_rows * hidden, sizeof *normed, err) ||
        !memory_alloc(&y, n_rows * hidden, sizeof *y, err))
        return false;
    rows_norm(e, x, n_rows, hidden, b->norm, (float)e->inv->config.norm_eps, normed);
    struct block_call c = {e, b, normed, y, n_rows, segments, n_segments, ob};
    if (!b->ops->run(&c, err)) return error_wrap(err, "layer %u", b->config->layer);
    e->math->add(x, x, y, n_rows * hidden);
    return true;
}
