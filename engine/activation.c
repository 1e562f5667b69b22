/* What stands between the matrices of an MLP. */
#include "engine/block.h"

#include "core/memory.h"

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
    const struct math_ops *math;
    const struct mlp_config *mlp;
    float *h;
    const float *up;
    uint64_t cols;
};

static bool activate_item(void *ctx, uint64_t row, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct activate_ctx *c = ctx;
    float *h = c->h + row * c->cols;
    CLEANUP(free) float *scratch = NULL;
    switch (c->mlp->activation) {
    case ACT_RELU2: c->math->relu2(h, h, c->cols); break;
    case ACT_SILU: c->math->silu(h, h, c->cols); break;
    case ACT_GELU_TANH:
        if (!memory_alloc(&scratch, c->cols, sizeof *scratch, err)) return false;
        gelu_tanh(c->math, h, scratch, c->cols);
        break;
    case ACT_CLAMPED:
        if (!memory_alloc(&scratch, c->cols, sizeof *scratch, err)) return false;
        clamped(c->math, c->mlp, h, c->up + row * c->cols, scratch, c->cols);
        return true;
    }
    if (c->up) c->math->multiply(h, h, c->up + row * c->cols, c->cols);
    return true;
}

bool rows_activate(const struct engine *e, struct pool *pool, const struct mlp_config *mlp, float *h, const float *up,
                   uint64_t n_rows, uint64_t cols, struct error *err)
{
    struct activate_ctx c = {e->math, mlp, h, up, cols};
    return pool_try(pool, n_rows, activate_item, &c, err);
}
