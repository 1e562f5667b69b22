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

struct activate_ctx {
    const struct math_ops *math;
    enum activation kind;
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
    switch (c->kind) {
    case ACT_RELU2: c->math->relu2(h, h, c->cols); break;
    case ACT_SILU: c->math->silu(h, h, c->cols); break;
    case ACT_GELU_TANH:
        if (!memory_alloc(&scratch, c->cols, sizeof *scratch, err)) return false;
        gelu_tanh(c->math, h, scratch, c->cols);
        break;
    }
    if (c->up) c->math->multiply(h, h, c->up + row * c->cols, c->cols);
    return true;
}

bool rows_activate(const struct engine *e, struct pool *pool, enum activation kind, float *h, const float *up,
                   uint64_t n_rows, uint64_t cols, struct error *err)
{
    struct activate_ctx c = {e->math, kind, h, up, cols};
    return pool_try(pool, n_rows, activate_item, &c, err);
}
