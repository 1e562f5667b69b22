/* What stands between the matrices of an MLP. */
#include "engine/block.h"

/* 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as x times the sigmoid of twice the tanh's argument. */
static void gelu_tanh(const struct math_ops *math, float *h, float *scratch, uint64_t n)
{
    const float two_root = 1.5957691216057308f, cubic = 0.044715f;
    for (uint64_t i = 0; i < n; i++) scratch[i] = two_root * (h[i] + cubic * (h[i] * h[i] * h[i]));
    math->sigmoid(scratch, scratch, n);
    math->multiply(h, h, scratch, n);
}

/* (u + 1) g sigmoid(alpha g), both within the limit. */
static void clamped(const struct math_ops *math, const struct mlp_config *mlp, float *g, const float *up,
                    float *scratch, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if (g[i] > mlp->limit) g[i] = mlp->limit;
        scratch[i] = g[i] * mlp->alpha;
    }
    math->sigmoid(scratch, scratch, n);
    math->multiply(g, g, scratch, n);
    for (uint64_t i = 0; i < n; i++) {
        float u = up[i] > mlp->limit ? mlp->limit : up[i] < -mlp->limit ? -mlp->limit : up[i];
        scratch[i] = u + 1.0f;
    }
    math->multiply(g, g, scratch, n);
}

struct activate_ctx {
    const struct engine *engine;
    const struct mlp_config *mlp;
    float *h;
    const float *up;
    uint64_t cols;
};

/* Floats that a row takes meanwhile. */
static uint64_t row_floats(const struct mlp_config *mlp, uint64_t cols)
{
    return mlp->activation == ACT_GELU_TANH || mlp->activation == ACT_CLAMPED ? cols : 0;
}

uint64_t rows_activate_need(const struct mlp_config *mlp, uint64_t cols)
{
    return scratch_bytes(row_floats(mlp, cols), sizeof(float));
}

static bool activate_item(void *ctx, uint64_t row, uint32_t worker, struct error *err)
{
    const struct activate_ctx *c = ctx;
    const struct math_ops *math = c->engine->math;
    float *h = c->h + row * c->cols, *scratch;
    struct scratch *from = worker_scratch(c->engine, worker);
    SCRATCH_SCOPE(from);
    if (!scratch_alloc(from, &scratch, row_floats(c->mlp, c->cols), sizeof *scratch, err)) return false;
    switch (c->mlp->activation) {
    case ACT_RELU2: math->relu2(h, h, c->cols); break;
    case ACT_SILU: math->silu(h, h, c->cols); break;
    case ACT_GELU_TANH: gelu_tanh(math, h, scratch, c->cols); break;
    case ACT_CLAMPED: clamped(math, c->mlp, h, c->up + row * c->cols, scratch, c->cols); return true;
    }
    if (c->up) math->multiply(h, h, c->up + row * c->cols, c->cols);
    return true;
}

bool rows_activate(const struct engine *e, const struct mlp_config *mlp, float *h, const float *up, uint64_t n_rows,
                   uint64_t cols, struct error *err)
{
    struct activate_ctx c = {e, mlp, h, up, cols};
    return pool_try(e->pool, n_rows, activate_item, &c, err);
}

bool rows_activate_here(const struct engine *e, uint32_t worker, const struct mlp_config *mlp, float *h,
                        const float *up, uint64_t n_rows, uint64_t cols, struct error *err)
{
    struct activate_ctx c = {e, mlp, h, up, cols};
    for (uint64_t i = 0; i < n_rows; i++)
        if (!activate_item(&c, i, worker, err)) return false;
    return true;
}
