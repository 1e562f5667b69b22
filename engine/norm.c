#include "engine/block.h"

#include <math.h>

bool norm_open(struct norm *n, const struct engine *e, enum tensor_role role, enum tensor_role bias_role,
               const struct block_config *b, struct error *err)
{
    const struct model_config *cfg = &e->inv->config;
    *n = (struct norm){.kind = cfg->norm, .eps = (float)cfg->norm_eps};
    if (!weights_load_role(e, role, b, &n->weight, err)) return false;
    if (n->kind == NORM_RMS) return true;
    const struct model_tensor *t =
        b ? inventory_find_block(e->inv, role, b, -1) : inventory_find(e->inv, role, -1, -1, false);
    for (uint64_t i = 0; i < t->n_elems; i++) n->weight[i] += 1.0f;
    return n->kind != NORM_LAYER_ONE || weights_load_role(e, bias_role, b, &n->bias, err);
}

void weights_need(struct need *n, const struct engine *e, enum tensor_role role, const struct block_config *b)
{
    const struct model_tensor *t =
        b ? inventory_find_block(e->inv, role, b, -1) : inventory_find(e->inv, role, -1, -1, false);
    if (t) n->loaded += scratch_bytes(t->n_elems, sizeof(float));
}

void norm_close(struct norm *n)
{
    free(n->weight);
    free(n->bias);
    *n = (struct norm){0};
}

static void rms_row(const struct math_ops *math, const struct norm *n, const float *x, uint64_t cols, float *out)
{
    float mean = math->sum_squares(x, cols) / (float)cols;
    math->scale(out, x, 1.0f / sqrtf(mean + n->eps), cols);
    math->multiply(out, out, n->weight, cols);
}

static void layer_row(const struct math_ops *math, const struct norm *n, const float *x, uint64_t cols, float *out)
{
    float mean = math->sum(x, cols) / (float)cols;
    for (uint64_t i = 0; i < cols; i++) out[i] = x[i] - mean;
    rms_row(math, n, out, cols, out);
    math->add(out, out, n->bias, cols);
}

static void norm_row(const struct math_ops *math, const struct norm *n, const float *x, uint64_t cols, float *out)
{
    if (n->kind == NORM_LAYER_ONE) layer_row(math, n, x, cols, out);
    else rms_row(math, n, x, cols, out);
}

struct norm_ctx {
    const struct math_ops *math;
    const struct norm *norm;
    const float *x;
    float *out;
    uint64_t stride, heads, cols;
};

static void norm_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct norm_ctx *c = ctx;
    for (uint64_t h = 0; h < c->heads; h++) {
        uint64_t at = row * c->stride + h * c->cols;
        norm_row(c->math, c->norm, c->x + at, c->cols, c->out + at);
    }
}

void rows_norm(const struct engine *e, const struct norm *n, const float *x, uint64_t n_rows, uint64_t cols, float *out)
{
    struct norm_ctx c = {e->math, n, x, out, cols, 1, cols};
    pool_for(e->pool, n_rows, norm_item, &c);
}

void heads_norm(const struct engine *e, const struct norm *n, float *x, uint64_t n_rows, uint64_t stride,
                uint64_t heads, uint64_t cols)
{
    struct norm_ctx c = {e->math, n, x, x, stride, heads, cols};
    pool_for(e->pool, n_rows, norm_item, &c);
}
