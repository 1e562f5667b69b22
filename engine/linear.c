/* Linears: panels of 32 outputs, each decoded from the file, packed, and multiplied with all rows of the input. */
#include "engine/block.h"
#include "engine/scaled_rows.h"

#include "core/memory.h"

#include <math.h>

#define ROWS_PER_ITEM 256u /* input rows per parallel item: enough to hide packing, small enough to share */

bool weights_load(const struct engine *e, const struct model_tensor *t, float **out, struct error *err)
{
    *out = NULL;
    const struct checkpoint *ck = e->inv->checkpoint;
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[PART_WEIGHT]);
    CLEANUP(free) void *raw = NULL;
    float *values;
    if (!memory_alloc(&raw, info->bytes, 1, err) ||
        !checkpoint_read(ck, t->parts[PART_WEIGHT], 0, raw, info->bytes, err) ||
        !memory_alloc(&values, t->n_elems, sizeof *values, err))
        return false;
    e->widen(
        &(struct kernel_args){.n_rows = 1, .n_cols = t->n_elems, .src = raw, .dtype = info->dtype, .dst_f32 = values});
    /* NaN and infinity spread through the whole pass: stop where they are. */
    if (!isfinite(e->math->amax(values, t->n_elems))) {
        free(values);
        return error_set(err, ERR_FORMAT, "tensor '%.256s' holds a value that is not finite", t->name);
    }
    *out = values;
    return true;
}

static const struct model_tensor *tensor_of(const struct engine *e, enum tensor_role role, const struct block_config *b,
                                            struct error *err)
{
    const struct model_tensor *t =
        b ? inventory_find_block(e->inv, role, b, -1) : inventory_find(e->inv, role, -1, -1, false);
    if (!t)
        error_set(err, ERR_INTERNAL, "the inventory has no %s in layer %d", role_info(role)->name,
                  b ? (int)b->layer : -1);
    return t;
}

bool weights_load_role(const struct engine *e, enum tensor_role role, const struct block_config *b, float **out,
                       struct error *err)
{
    const struct model_tensor *t = tensor_of(e, role, b, err);
    return t && weights_load(e, t, out, err);
}

bool weights_scalar(const struct engine *e, const struct model_tensor *t, enum tensor_part part, float *out,
                    struct error *err)
{
    if (!checkpoint_read(e->inv->checkpoint, t->parts[part], 0, out, sizeof *out, err)) return false;
    if (*out > 0 && isfinite(*out)) return true;
    return error_set(err, ERR_FORMAT, "tensor '%.256s.%s' is %g; a scale is positive and finite", t->module,
                     tensor_part_suffix(part), (double)*out);
}

bool linear_open(struct linear *l, const struct engine *e, const struct model_tensor *t, const char *bias_name,
                 struct error *err)
{
    *l = (struct linear){.tensor = t, .rows = t->dims[0], .cols = t->dims[1]};
    const struct quant_format *f = t->format;
    for (uint32_t i = 0; f && i < f->n_parts; i++) {
        enum tensor_part part = f->parts[i].part;
        if (part == PART_WEIGHT_SHAPE && !check_packed_shape(e, t, err)) return false;
        bool weight_scale = f->parts[i].cols_per_elem == 0 && part != PART_INPUT_SCALE && part != PART_WEIGHT_SHAPE;
        if (weight_scale && !weights_scalar(e, t, part, &l->weight_scale, err)) return false;
        if (part == PART_INPUT_SCALE && !weights_scalar(e, t, part, &l->input_scale, err)) return false;
    }
    if (!e->quantize_inputs) l->input_scale = 0;
    if (!bias_name) return true;
    const struct model_tensor *bias = inventory_find_name(e->inv, bias_name);
    if (!bias) return error_set(err, ERR_INTERNAL, "the inventory has no '%s'", bias_name);
    return weights_load(e, bias, &l->bias, err);
}

bool linear_open_role(struct linear *l, const struct engine *e, enum tensor_role role, const struct block_config *b,
                      bool has_bias, struct error *err)
{
    const struct model_tensor *t = tensor_of(e, role, b, err);
    if (!t) return false;
    char bias[1024];
    snprintf(bias, sizeof bias, "%s.bias", t->module);
    return linear_open(l, e, t, has_bias ? bias : NULL, err);
}

void linear_close(struct linear *l)
{
    free(l->bias);
    free(l->packed);
    *l = (struct linear){0};
}

/* ---- panels ---- */

struct scratch {
    uint8_t *raw, *scales;
    float *rows, *panel;
};

static void scratch_free(struct scratch *s)
{
    free(s->raw);
    free(s->scales);
    free(s->rows);
    free(s->panel);
}

static bool scratch_alloc(struct scratch *s, const struct linear *l, struct error *err)
{
    *s = (struct scratch){0};
    uint64_t n = GEMM_PANEL * l->cols;
    return memory_alloc(&s->raw, n, sizeof(float), err) && memory_alloc(&s->scales, n, 1, err) &&
           memory_alloc(&s->rows, n, sizeof(float), err) && memory_alloc(&s->panel, n, sizeof(float), err);
}

/* Reads the bytes of weight rows [first, first + n) from one part of a linear. */
static bool read_rows(const struct linear *l, const struct engine *e, enum tensor_part part, uint64_t first, uint64_t n,
                      void *dst, struct error *err)
{
    const struct tensor_info *info = checkpoint_tensor(e->inv->checkpoint, l->tensor->parts[part]);
    uint64_t row_bytes = info->dims[1] * dtype_bytes(info->dtype);
    return checkpoint_read(e->inv->checkpoint, l->tensor->parts[part], first * row_bytes, dst, n * row_bytes, err);
}

static bool decode_rows(const struct linear *l, const struct engine *e, uint64_t first, uint64_t n, struct scratch *s,
                        struct error *err)
{
    struct kernel_args a = {.n_rows = n,
                            .n_cols = l->cols,
                            .src = s->raw,
                            .scale = l->weight_scale,
                            .dst_f32 = s->rows,
                            .src_scale = s->scales};
    if (!read_rows(l, e, PART_WEIGHT, first, n, s->raw, err)) return false;
    const struct quant_format *f = l->tensor->format;
    if (!f) {
        a.dtype = checkpoint_tensor(e->inv->checkpoint, l->tensor->parts[PART_WEIGHT])->dtype;
        e->widen(&a);
    } else if (f->decode_op == OP_DECODE_NVFP4) {
        if (!read_rows(l, e, PART_WEIGHT_SCALE, first, n, s->scales, err)) return false;
        e->decode_nvfp4(&a);
    } else if (f->method) {
        if (!scaled_rows(e, l->tensor, first, n, s->raw, s->rows, err)) return false;
    } else {
        e->decode_fp8(&a);
    }
    if (isfinite(e->math->amax(s->rows, n * l->cols))) return true;
    return error_set(err, ERR_FORMAT, "tensor '%.256s' holds a value that is not finite (rows %llu to %llu)",
                     l->tensor->name, (unsigned long long)first, (unsigned long long)(first + n - 1));
}

bool linear_rows(const struct linear *l, const struct engine *e, uint64_t first, uint64_t n, float *out,
                 struct error *err)
{
    struct scratch s;
    bool ok = scratch_alloc(&s, l, err);
    for (uint64_t i = 0; ok && i < n; i += GEMM_PANEL) {
        uint64_t m = u64_min(GEMM_PANEL, n - i);
        ok = decode_rows(l, e, first + i, m, &s, err);
        if (ok) memcpy(out + i * l->cols, s.rows, m * l->cols * sizeof *out);
    }
    scratch_free(&s);
    return ok;
}

static bool make_panel(const struct linear *l, const struct engine *e, uint64_t p, struct scratch *s, float *panel,
                       struct error *err)
{
    uint64_t first = p * GEMM_PANEL, n = u64_min(GEMM_PANEL, l->rows - first);
    if (!decode_rows(l, e, first, n, s, err)) return false;
    gemm_pack(s->rows, l->cols, (uint32_t)n, l->cols, panel);
    return true;
}

struct keep_ctx {
    struct linear *l;
    const struct engine *e;
};

static bool keep_item(void *ctx, uint64_t p, uint32_t worker, struct error *err)
{
    (void)worker;
    struct keep_ctx *k = ctx;
    struct scratch s;
    bool ok =
        scratch_alloc(&s, k->l, err) && make_panel(k->l, k->e, p, &s, k->l->packed + p * GEMM_PANEL * k->l->cols, err);
    scratch_free(&s);
    return ok;
}

bool linear_keep(struct linear *l, const struct engine *e, struct error *err)
{
    uint64_t n_panels = u64_div_up(l->rows, GEMM_PANEL);
    struct keep_ctx k = {l, e};
    return memory_alloc(&l->packed, n_panels * GEMM_PANEL * l->cols, sizeof(float), err) &&
           pool_try(e->pool, n_panels, keep_item, &k, err);
}

/* ---- running ---- */

static void multiply_panel(const struct linear *l, const struct engine *e, const float *panel, uint64_t p,
                           const float *x, uint64_t ldx, uint64_t m, float *y, uint64_t ldy)
{
    uint64_t first = p * GEMM_PANEL;
    uint32_t n = (uint32_t)u64_min(GEMM_PANEL, l->rows - first);
    e->math->gemm_panel(x, ldx, m, panel, l->cols, y + first, ldy, n);
    if (!l->bias) return;
    for (uint64_t i = 0; i < m; i++) e->math->add(y + i * ldy + first, y + i * ldy + first, l->bias + first, n);
}

struct run_ctx {
    const struct linear *l;
    const struct engine *e;
    const float *x;
    uint64_t ldx, m, ldy, n_row_items;
    float *y;
};

/* Kept panels: an item is one panel and one run of rows. */
static void run_kept_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    const struct run_ctx *r = ctx;
    uint64_t p = item / r->n_row_items, row = item % r->n_row_items * ROWS_PER_ITEM,
             m = u64_min(ROWS_PER_ITEM, r->m - row);
    multiply_panel(r->l, r->e, r->l->packed + p * GEMM_PANEL * r->l->cols, p, r->x + row * r->ldx, r->ldx, m,
                   r->y + row * r->ldy, r->ldy);
}

/* Panels from the file: an item decodes one and takes all rows through it. */
static bool run_panel(const struct run_ctx *r, uint64_t p, struct scratch *s, struct error *err)
{
    if (!make_panel(r->l, r->e, p, s, s->panel, err)) return false;
    multiply_panel(r->l, r->e, s->panel, p, r->x, r->ldx, r->m, r->y, r->ldy);
    return true;
}

static bool run_file_item(void *ctx, uint64_t p, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct run_ctx *r = ctx;
    struct scratch s;
    bool ok = scratch_alloc(&s, r->l, err) && run_panel(r, p, &s, err);
    scratch_free(&s);
    return ok;
}

struct input_ctx {
    kernel_fn run;
    const float *x;
    uint64_t ldx, cols;
    float scale;
    float *out;
};

static void input_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct input_ctx *c = ctx;
    c->run(&(struct kernel_args){.n_rows = 1,
                                 .n_cols = c->cols,
                                 .src = c->x + row * c->ldx,
                                 .dtype = DTYPE_F32,
                                 .scale = c->scale,
                                 .dst_f32 = c->out + row * c->cols});
}

/* What the linear computes with: x itself, or its quantized copy in *copy. */
static bool prepare_input(const struct linear *l, const struct engine *e, struct pool *pool, const float **x,
                          uint64_t *ldx, uint64_t m, float **copy, struct error *err)
{
    *copy = NULL;
    if (!(l->input_scale > 0) || m == 0) return true;
    if (!memory_alloc(copy, m * l->cols, sizeof(float), err)) return false;
    kernel_fn run = l->tensor->format->input_op == OP_INPUT_NVFP4 ? e->input_nvfp4 : e->input_fp8;
    struct input_ctx c = {run, *x, *ldx, l->cols, l->input_scale, *copy};
    pool_for(pool, m, input_item, &c);
    *x = *copy;
    *ldx = l->cols;
    return true;
}

bool linear_round_input(const struct linear *l, const struct engine *e, float *x, uint64_t ldx, uint64_t m,
                        struct error *err)
{
    const float *rounded = x;
    uint64_t ld = ldx;
    CLEANUP(free) float *copy = NULL;
    if (!prepare_input(l, e, e->pool, &rounded, &ld, m, &copy, err)) return false;
    for (uint64_t i = 0; copy && i < m; i++) memcpy(x + i * ldx, copy + i * l->cols, l->cols * sizeof *x);
    return true;
}

static bool run(const struct linear *l, const struct engine *e, struct pool *pool, const float *x, uint64_t ldx,
                uint64_t m, float *y, uint64_t ldy, const struct observer *ob, struct error *err)
{
    if (m == 0) return true;
    if (ob && ob->input) ob->input(ob->ctx, l->tensor, x, m, ldx);
    CLEANUP(free) float *copy = NULL;
    if (!prepare_input(l, e, pool, &x, &ldx, m, &copy, err)) return false;
    uint64_t n_panels = u64_div_up(l->rows, GEMM_PANEL);
    struct run_ctx r = {l, e, x, ldx, m, ldy, u64_div_up(m, ROWS_PER_ITEM), y};
    if (l->packed) {
        pool_for(pool, n_panels * r.n_row_items, run_kept_item, &r);
        return true;
    }
    return pool_try(pool, n_panels, run_file_item, &r, err);
}

bool linear_run(const struct linear *l, const struct engine *e, const float *x, uint64_t ldx, uint64_t m, float *y,
                uint64_t ldy, const struct observer *ob, struct error *err)
{
    return run(l, e, e->pool, x, ldx, m, y, ldy, ob, err);
}

bool linear_run_here(const struct linear *l, const struct engine *e, const float *x, uint64_t ldx, uint64_t m, float *y,
                     uint64_t ldy, const struct observer *ob, struct error *err)
{
    return run(l, e, NULL, x, ldx, m, y, ldy, ob, err);
}
