#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "verify/diff_impl.h"

#include <math.h>

#define PIECE_BYTES ((uint64_t)1 << 20)

struct values {
    uint64_t n, differing;
    double largest, squares, of_a; /* of differences, and of a's own squares */
};

struct pair {
    uint32_t a, b;
    bool compared, numbers;
    struct values v;
};

struct value_ctx {
    const struct diff *d;
    struct pair *pairs;
};

static void compare_numbers(struct values *v, const float *a, const float *b, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        double x = (double)a[i], y = (double)b[i], e = fabs(x - y);
        bool same = x == y || (isnan(x) && isnan(y));
        v->of_a += isfinite(x) ? x * x : 0;
        if (same) continue;
        v->differing++;
        if (!isfinite(e)) v->largest = INFINITY;
        else if (e > v->largest) v->largest = e;
        v->squares += isfinite(e) ? e * e : 0;
    }
}

/* Plain numbers of any type each, as fp32. */
static bool compare_plain(const struct diff *d, struct pair *p, struct error *err)
{
    const struct tensor_info *a = checkpoint_tensor(d->a.ck, p->a), *b = checkpoint_tensor(d->b.ck, p->b);
    uint64_t step = PIECE_BYTES / 4, wide_a = dtype_bytes(a->dtype), wide_b = dtype_bytes(b->dtype);
    CLEANUP(free) uint8_t *raw = NULL;
    CLEANUP(free) float *x = NULL;
    CLEANUP(free) float *y = NULL;
    if (!memory_alloc(&raw, step, 4, err) || !memory_alloc(&x, step, sizeof *x, err) ||
        !memory_alloc(&y, step, sizeof *y, err))
        return false;
    for (uint64_t at = 0; at < a->n_elems; at += step) {
        uint64_t n = u64_min(step, a->n_elems - at);
        struct kernel_args k = {.n_rows = 1, .n_cols = n, .src = raw, .dtype = a->dtype, .dst_f32 = x};
        if (!checkpoint_read(d->a.ck, p->a, at * wide_a, raw, n * wide_a, err)) return false;
        kernel_for(OP_WIDEN, d->isa)(&k);
        k.dtype = b->dtype;
        k.dst_f32 = y;
        if (!checkpoint_read(d->b.ck, p->b, at * wide_b, raw, n * wide_b, err)) return false;
        kernel_for(OP_WIDEN, d->isa)(&k);
        compare_numbers(&p->v, x, y, n);
    }
    p->v.n = a->n_elems;
    return true;
}

/* In bytes: codes, packed weights, other types. */
static bool compare_bytes(const struct diff *d, struct pair *p, struct error *err)
{
    const struct tensor_info *a = checkpoint_tensor(d->a.ck, p->a);
    CLEANUP(free) uint8_t *x = NULL;
    CLEANUP(free) uint8_t *y = NULL;
    if (!memory_alloc(&x, PIECE_BYTES, 1, err) || !memory_alloc(&y, PIECE_BYTES, 1, err)) return false;
    for (uint64_t at = 0; at < a->bytes; at += PIECE_BYTES) {
        size_t n = (size_t)u64_min(PIECE_BYTES, a->bytes - at);
        if (!checkpoint_read(d->a.ck, p->a, at, x, n, err) || !checkpoint_read(d->b.ck, p->b, at, y, n, err))
            return false;
        if (memcmp(x, y, n) == 0) continue;
        for (size_t i = 0; i < n; i++) p->v.differing += x[i] != y[i];
    }
    p->v.n = a->bytes;
    return true;
}

static bool value_item(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct value_ctx *c = ctx;
    struct pair *p = &c->pairs[i];
    const struct tensor_info *a = checkpoint_tensor(c->d->a.ck, p->a), *b = checkpoint_tensor(c->d->b.ck, p->b);
    if (a->n_dims != b->n_dims || memcmp(a->dims, b->dims, a->n_dims * sizeof *a->dims) != 0) return true;
    p->numbers = dtype_is_plain_float(a->dtype) && dtype_is_plain_float(b->dtype);
    p->compared = p->numbers || a->dtype == b->dtype;
    if (!p->compared) return true;
    if (!progress_go_on(c->d->pr, err)) return false;
    return p->numbers ? compare_plain(c->d, p, err) : compare_bytes(c->d, p, err);
}

/* ---- tensors ---- */

static json_t *shape(const struct tensor_info *t)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < t->n_dims; i++) json_array_append_new(list, json_integer((json_int_t)t->dims[i]));
    return list;
}

static json_t *sides(const struct diff *d, const struct pair *p, const char *how)
{
    const struct tensor_info *a = checkpoint_tensor(d->a.ck, p->a), *b = checkpoint_tensor(d->b.ck, p->b);
    return json_pack("{s:s,s:s,s:s,s:{s:s,s:o},s:{s:s,s:o}}", "what", "tensor", "name", a->name, "how", how, "a",
                     "dtype", dtype_name(a->dtype), "shape", shape(a), "b", "dtype", dtype_name(b->dtype), "shape",
                     shape(b));
}

static bool report_pair(struct diff *d, const struct pair *p, bool *same)
{
    const struct tensor_info *a = checkpoint_tensor(d->a.ck, p->a), *b = checkpoint_tensor(d->b.ck, p->b);
    bool shapes = a->n_dims == b->n_dims && memcmp(a->dims, b->dims, a->n_dims * sizeof *a->dims) == 0;
    bool types = a->dtype == b->dtype;
    *same = shapes && types && p->v.differing == 0;
    if (*same) return true;
    json_t *row = sides(d, p, !shapes ? "shape" : !types ? "type" : "values");
    if (row && p->compared) {
        json_object_set_new(row, "of", json_integer((json_int_t)p->v.n));
        json_object_set_new(row, p->numbers ? "numbers_differ" : "bytes_differ",
                            json_integer((json_int_t)p->v.differing));
    }
    if (row && p->numbers && isfinite(p->v.largest)) {
        json_object_set_new(row, "largest", json_real(p->v.largest));
        if (p->v.of_a > 0) json_object_set_new(row, "relative_error", json_real(sqrt(p->v.squares / p->v.of_a)));
    }
    return diff_add(d, row);
}

bool diff_tensors(struct diff *d, uint32_t *n_all, uint32_t *n_same)
{
    uint32_t n_a = d->a.ck ? checkpoint_count(d->a.ck) : 0, n_b = d->b.ck ? checkpoint_count(d->b.ck) : 0, n = 0;
    CLEANUP(free) struct pair *pairs = NULL;
    *n_all = n_a;
    *n_same = 0;
    if (!memory_zalloc(&pairs, n_a, sizeof *pairs, d->err)) return false;
    for (uint32_t i = 0; i < n_a; i++) {
        const char *name = checkpoint_tensor(d->a.ck, i)->name;
        uint32_t k = n_b ? checkpoint_find(d->b.ck, name) : NAME_NONE;
        if (k != NAME_NONE) pairs[n++] = (struct pair){.a = i, .b = k};
        else if (!diff_add_one(d, "tensor", name, true)) return false;
    }
    for (uint32_t i = 0; i < n_b; i++) {
        const char *name = checkpoint_tensor(d->b.ck, i)->name;
        if (n_a && checkpoint_find(d->a.ck, name) != NAME_NONE) continue;
        (*n_all)++;
        if (!diff_add_one(d, "tensor", name, false)) return false;
    }
    progress_update(d->pr, "diff", "values", 0, n);
    if (!pool_try(d->pool, n, value_item, &(struct value_ctx){d, pairs}, d->err)) return false;
    for (uint32_t i = 0; i < n; i++) {
        bool same;
        if (!report_pair(d, &pairs[i], &same)) return false;
        *n_same += same;
    }
    return true;
}
