/* What an adapter makes of the tensors of a model, and of their rows. */
#include "backends/cpu/kernel.h"
#include "convert/lora.h"
#include "core/memory.h"
#include "engine/weight_rows.h"
#include "models/adapter.h"

#include <math.h>

/* One changed tensor, as lora_read takes it. */
struct item {
    const struct lora *lora;
    const struct adapter_change *change;
};

struct lora {
    struct adapter *adapter;
    struct engine *engine;
    uint64_t isa;
    struct item *items; /* [adapter->n_stored] */
};

static bool open_all(struct lora *l, const char *path, const struct model *m, const struct convert_options *opt,
                     struct error *err)
{
    struct engine_options eo = {.pool = opt->pool, .isa = opt->isa};
    if (!adapter_open(&l->adapter, path, m->inventory, err) || !adapter_config_mergeable(&l->adapter->config, err) ||
        !memory_zalloc(&l->items, l->adapter->n_stored, sizeof *l->items, err))
        return false;
    for (uint32_t i = 0; i < l->adapter->n_stored; i++) {
        l->items[i] = (struct item){l, l->adapter->of_stored[i]};
        if (l->items[i].change && checkpoint_tensor(m->checkpoint, i)->view)
            return error_set(err, ERR_UNSUPPORTED, "adapter: module '%.256s': experts in a stack are not merged here",
                             l->items[i].change->tensor->module);
    }
    return engine_open(&l->engine, m->inventory, &eo, err);
}

bool lora_open(struct lora **out, const char *path, const struct model *m, const struct convert_options *opt,
               struct error *err)
{
    *out = NULL;
    struct lora *l = calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l);
    l->isa = opt->isa;
    bool ok = open_all(l, path, m, opt, err);
    if (ok) *out = l;
    else lora_close(l);
    return ok || error_wrap(err, "'%.256s'", path);
}

void lora_close(struct lora *l)
{
    if (!l) return;
    engine_close(l->engine);
    adapter_close(l->adapter);
    free(l->items);
    free(l);
}

bool lora_stamp(const struct lora *l, struct digest *out, struct error *err)
{
    return folder_stamp(l->adapter->folder, out, err);
}

uint32_t lora_count(const struct lora *l)
{
    return l->adapter->n_changes;
}

void *lora_change(const struct lora *l, uint32_t i)
{
    return l->items[i].change ? &l->items[i] : NULL;
}

/* Elements [first, first + n) of an adapter's tensor as fp32; caller frees. */
static bool load(const struct lora *l, uint32_t i, uint64_t first, uint64_t n, float **out, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(l->adapter->checkpoint, i);
    uint64_t elem = dtype_bytes(t->dtype);
    CLEANUP(free) void *raw = NULL;
    if (!memory_alloc(&raw, n, elem, err) ||
        !checkpoint_read(l->adapter->checkpoint, i, first * elem, raw, n * elem, err) ||
        !memory_alloc(out, n, sizeof **out, err))
        return false;
    kernel_for(OP_WIDEN,
               l->isa)(&(struct kernel_args){.n_rows = 1, .n_cols = n, .src = raw, .dtype = t->dtype, .dst_f32 = *out});
    return true;
}

/* out += s B A, a row at a time: sums over the rank in its order. a_step: from one number of A to that of the next
 * rank, b likewise. */
static void add_product(const struct adapter_change *c, const float *a, const float *b, uint64_t n, uint64_t cols,
                        float *delta, float *out)
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
static bool load_table_a(const struct lora *l, const struct adapter_change *c, uint64_t first, uint64_t n, float **out,
                         struct error *err)
{
    if (!memory_alloc(out, c->rank * n, sizeof **out, err)) return false;
    for (uint64_t k = 0; k < c->rank; k++) {
        CLEANUP(free) float *some = NULL;
        if (!load(l, c->parts[ADAPTER_A], k * c->tensor->dims[0] + first, n, &some, err)) return false;
        memcpy(*out + k * n, some, n * sizeof *some);
    }
    return true;
}

/* B of a table on its side: [rank, columns]. */
static bool load_table_b(const struct lora *l, const struct adapter_change *c, float **out, struct error *err)
{
    uint64_t cols = c->tensor->dims[1];
    CLEANUP(free) float *b = NULL;
    if (!load(l, c->parts[ADAPTER_B], 0, cols * c->rank, &b, err) ||
        !memory_alloc(out, cols * c->rank, sizeof **out, err))
        return false;
    for (uint64_t k = 0; k < c->rank; k++)
        for (uint64_t i = 0; i < cols; i++) (*out)[k * cols + i] = b[i * c->rank + k];
    return true;
}

static bool copy_rows(const struct lora *l, const struct adapter_change *c, enum adapter_part part, uint64_t first,
                      uint64_t n, uint64_t cols, float *out, struct error *err)
{
    CLEANUP(free) float *rows = NULL;
    if (!load(l, c->parts[part], first * cols, n * cols, &rows, err)) return false;
    memcpy(out, rows, n * cols * sizeof *out);
    return true;
}

bool lora_read(void *ctx, uint32_t worker, uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct item *it = ctx;
    const struct adapter_change *c = it->change;
    const struct lora *l = it->lora;
    const struct model_tensor *t = c->tensor;
    uint64_t cols = t->n_dims > 1 ? t->n_elems / t->dims[0] : t->n_elems;
    CLEANUP(free) float *a = NULL;
    CLEANUP(free) float *b = NULL;
    CLEANUP(free) float *delta = NULL;
    CLEANUP(free) float *magnitude = NULL;
    if (c->parts[ADAPTER_WHOLE] != NAME_NONE) return copy_rows(l, c, ADAPTER_WHOLE, first, n, cols, out, err);
    if (c->parts[ADAPTER_BASE] != NAME_NONE ? !copy_rows(l, c, ADAPTER_BASE, first, n, cols, out, err)
                                            : !weight_rows(l->engine, t, worker, first, n, out, err))
        return false;
    if (!memory_alloc(&delta, cols, sizeof *delta, err)) return false;
    bool ok = c->table ? load_table_a(l, c, first, n, &a, err) && load_table_b(l, c, &b, err)
                       : load(l, c->parts[ADAPTER_A], 0, c->rank * cols, &a, err) &&
                             load(l, c->parts[ADAPTER_B], first * c->rank, n * c->rank, &b, err);
    if (!ok) return false;
    add_product(c, a, b, n, cols, delta, out);
    if (!l->adapter->config.dora) return true;
    if (!load(l, c->parts[ADAPTER_MAGNITUDE], first, n, &magnitude, err)) return false;
    set_magnitude(magnitude, n, cols, out);
    return true;
}
