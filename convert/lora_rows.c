/* What an adapter makes of rows of the model's tensors. */
#include "backends/cpu/kernel.h"
#include "convert/lora_impl.h"
#include "core/memory.h"
#include "engine/weight_rows.h"

#include <math.h>

/* Elements [first, first + n) of an adapter's tensor as fp32; caller frees. */
static bool load(const struct lora *l, uint32_t i, uint64_t first, uint64_t n, float **out, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(l->ck, i);
    uint64_t elem = dtype_bytes(t->dtype);
    CLEANUP(free) void *raw = NULL;
    if (!memory_alloc(&raw, n, elem, err) || !checkpoint_read(l->ck, i, first * elem, raw, n * elem, err) ||
        !memory_alloc(out, n, sizeof **out, err))
        return false;
    kernel_for(OP_WIDEN,
               l->isa)(&(struct kernel_args){.n_rows = 1, .n_cols = n, .src = raw, .dtype = t->dtype, .dst_f32 = *out});
    return true;
}

/* out += s B A, a row at a time: sums over the rank in its order. a_step: from one number of A to that of the next
 * rank, b likewise. */
static void add_product(const struct change *c, const float *a, const float *b, uint64_t n, uint64_t cols, float *delta,
                        float *out)
{
    for (uint64_t r = 0; r < n; r++) {
        memset(delta, 0, cols * sizeof *delta);
        for (uint64_t k = 0; k < c->rank; k++) {
            /* A table's rows stand in A, its columns in B. */
            float left = c->table ? a[k * n + r] : b[r * c->rank + k];
            const float *right = c->table ? b + k * cols : a + k * cols;
            for (uint64_t i = 0; i < cols; i++) delta[i] += left * right[i];
        }
        for (uint64_t i = 0; i < cols; i++) out[r * cols + i] += c->scale * delta[i];
    }
}

static void set_magnitude(const float *magnitude, uint64_t n, uint64_t cols, float *out)
{
    for (uint64_t r = 0; r < n; r++) {
        double squares = 0;
        for (uint64_t i = 0; i < cols; i++) squares += (double)out[r * cols + i] * (double)out[r * cols + i];
        float factor = magnitude[r] / (float)sqrt(squares);
        for (uint64_t i = 0; i < cols; i++) out[r * cols + i] *= factor;
    }
}

/* Rows of A of a table: columns [first, first + n) of every rank. */
static bool load_table_a(const struct change *c, uint64_t first, uint64_t n, float **out, struct error *err)
{
    if (!memory_alloc(out, c->rank * n, sizeof **out, err)) return false;
    for (uint64_t k = 0; k < c->rank; k++) {
        CLEANUP(free) float *some = NULL;
        if (!load(c->lora, c->parts[LORA_A], k * c->tensor->dims[0] + first, n, &some, err)) return false;
        memcpy(*out + k * n, some, n * sizeof *some);
    }
    return true;
}

/* B of a table on its side: [rank, columns]. */
static bool load_table_b(const struct change *c, float **out, struct error *err)
{
    uint64_t cols = c->tensor->dims[1];
    CLEANUP(free) float *b = NULL;
    if (!load(c->lora, c->parts[LORA_B], 0, cols * c->rank, &b, err) ||
        !memory_alloc(out, cols * c->rank, sizeof **out, err))
        return false;
    for (uint64_t k = 0; k < c->rank; k++)
        for (uint64_t i = 0; i < cols; i++) (*out)[k * cols + i] = b[i * c->rank + k];
    return true;
}

static bool copy_rows(const struct change *c, enum lora_part part, uint64_t first, uint64_t n, uint64_t cols,
                      float *out, struct error *err)
{
    CLEANUP(free) float *rows = NULL;
    if (!load(c->lora, c->parts[part], first * cols, n * cols, &rows, err)) return false;
    memcpy(out, rows, n * cols * sizeof *out);
    return true;
}

bool lora_read(void *ctx, uint32_t worker, uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct change *c = ctx;
    const struct lora *l = c->lora;
    const struct model_tensor *t = c->tensor;
    uint64_t cols = t->n_dims > 1 ? t->n_elems / t->dims[0] : t->n_elems;
    CLEANUP(free) float *a = NULL;
    CLEANUP(free) float *b = NULL;
    CLEANUP(free) float *delta = NULL;
    CLEANUP(free) float *magnitude = NULL;
    if (c->parts[LORA_WHOLE] != NAME_NONE) return copy_rows(c, LORA_WHOLE, first, n, cols, out, err);
    if (c->parts[LORA_BASE] != NAME_NONE ? !copy_rows(c, LORA_BASE, first, n, cols, out, err)
                                         : !weight_rows(l->engine, t, worker, first, n, out, err))
        return false;
    if (!memory_alloc(&delta, cols, sizeof *delta, err)) return false;
    bool ok = c->table ? load_table_a(c, first, n, &a, err) && load_table_b(c, &b, err)
                       : load(l, c->parts[LORA_A], 0, c->rank * cols, &a, err) &&
                             load(l, c->parts[LORA_B], first * c->rank, n * c->rank, &b, err);
    if (!ok) return false;
    add_product(c, a, b, n, cols, delta, out);
    if (!l->config.dora) return true;
    if (!load(l, c->parts[LORA_MAGNITUDE], first, n, &magnitude, err)) return false;
    set_magnitude(magnitude, n, cols, out);
    return true;
}
