/* Linears: panels of 32 outputs in the number type of the file, from memory or from the file at each use, multiplied
 * with all rows of the input. */
#include "engine/panels.h"
#include "engine/scaled_rows.h"

#include "core/memory.h"

#include <math.h>

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

static const struct quant_format *format_of(const struct linear *l)
{
    return l->stand_in ? l->stand_in : l->tensor->format;
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
    if (e->weights) l->stand_in = e->weights->format(e->weights->ctx, t, &l->input_scale);
    if (!e->quantize_inputs) l->input_scale = 0;
    if (l->stand_in) f = l->stand_in;
    l->dynamic_input = e->quantize_inputs && f && f->input_op != OP_COUNT && !quant_format_has_input_scale(f);
    l->bf16 = e->compute == COMPUTE_BF16 && role_info(t->place.role)->kind != KIND_ROUTER;
    if (!panels_open(l, e, err)) return false;
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
    free(l->panels);
    *l = (struct linear){0};
}

bool linear_rows(const struct linear *l, const struct engine *e, uint64_t first, uint64_t n, float *out,
                 struct error *err)
{
    return panels_rows(l, e, first, n, out, err);
}

/* ---- keeping ---- */

struct keep_ctx {
    struct linear *l;
    const struct engine *e;
};

static bool keep_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    struct keep_ctx *k = ctx;
    const struct packed *p = &k->l->packed;
    uint64_t n = panels_per_read(k->l), first = item * n;
    struct panel_scratch s = {0};
    bool ok =
        panel_scratch_alloc(&s, k->l, k->e, err) && panels_read(k->l, k->e, first, u64_min(n, packed_panels(p) - first),
                                                                &s, k->l->panels + first * p->panel_bytes, err);
    panel_scratch_free(&s);
    return ok;
}

bool linear_keep(struct linear *l, const struct engine *e, struct error *err)
{
    struct keep_ctx k = {l, e};
    return memory_alloc_stream(&l->panels, packed_panels(&l->packed), l->packed.panel_bytes, err) &&
           pool_try(e->pool, u64_div_up(packed_panels(&l->packed), panels_per_read(l)), keep_item, &k, err);
}

/* ---- running ---- */

struct run_ctx {
    const struct linear *l;
    const struct engine *e;
    const void *x; /* fp32, or rows of e->gemm->input */
    uint64_t x_stride, m, ldy;
    uint64_t run, n_row_items; /* kept panels: panels of an item, items that share them */
    float *y;
};

/* Panels [p, p + n) with rows [row, row + m) of the input. */
static void multiply(const struct run_ctx *r, const uint8_t *panels, uint64_t p, uint64_t n, uint64_t row, uint64_t m)
{
    const struct linear *l = r->l;
    uint64_t first = p * PANEL_ROWS, n_outputs = u64_min(n * PANEL_ROWS, l->rows - first);
    float *y = r->y + row * r->ldy + first;
    struct gemm_call c = {.w = &l->packed,
                          .panels = panels,
                          .n = (uint32_t)n_outputs,
                          .m = m,
                          .x = (const uint8_t *)r->x + row * r->x_stride,
                          .x_stride = r->x_stride,
                          .y = y,
                          .ldy = r->ldy};
    (l->bf16 ? r->e->gemm->bf16 : r->e->gemm->fp32)(&c);
    if (!l->bias) return;
    for (uint64_t i = 0; i < m; i++) r->e->math->add(y + i * r->ldy, y + i * r->ldy, l->bias + first, n_outputs);
}

#define PANELS_TOGETHER 8u

/* Kept panels: an item is a run of panels and a run of rows. */
static void run_kept_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    const struct run_ctx *r = ctx;
    uint64_t p = item / r->n_row_items * r->run, row = item % r->n_row_items * GEMM_ROWS_MAX;
    multiply(r, r->l->panels + p * r->l->packed.panel_bytes, p, u64_min(r->run, packed_panels(&r->l->packed) - p), row,
             u64_min(GEMM_ROWS_MAX, r->m - row));
}

static void run_kept(struct run_ctx *r, struct pool *pool)
{
    uint64_t n_panels = packed_panels(&r->l->packed);
    r->run = 1;
    r->n_row_items = u64_div_up(r->m, GEMM_ROWS_MAX);
    /* One row reads two panels at a time; a quarter of a megabyte hides what taking an item costs. With many rows a few
     * panels share what they bring into the cache, if that leaves every thread some items. */
    if (r->m < 4) r->run = 2 + (1u << 18) / r->l->packed.panel_bytes / 2 * 2;
    while (r->m >= 4 && r->run < PANELS_TOGETHER &&
           n_panels * r->n_row_items >= 8 * (uint64_t)pool_threads(pool) * r->run)
        r->run *= 2;
    pool_for(pool, u64_div_up(n_panels, r->run) * r->n_row_items, run_kept_item, r);
}

/* Panels from the file: an item makes some and takes all rows through each. */
static bool run_read(const struct run_ctx *r, uint64_t first, struct panel_scratch *s, struct error *err)
{
    uint64_t n = u64_min(s->n_panels, packed_panels(&r->l->packed) - first);
    if (!panels_read(r->l, r->e, first, n, s, s->panels, err)) return false;
    for (uint64_t i = 0; i < n; i += PANELS_TOGETHER)
        for (uint64_t row = 0; row < r->m; row += GEMM_ROWS_MAX)
            multiply(r, s->panels + i * r->l->packed.panel_bytes, first + i, u64_min(PANELS_TOGETHER, n - i), row,
                     u64_min(GEMM_ROWS_MAX, r->m - row));
    return true;
}

static bool run_file_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct run_ctx *r = ctx;
    struct panel_scratch s = {0};
    bool ok = panel_scratch_alloc(&s, r->l, r->e, err) && run_read(r, item * s.n_panels, &s, err);
    panel_scratch_free(&s);
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

/* ---- inputs with scales of their own ---- */

struct dynamic_ctx {
    const struct quant_format *format;
    const struct engine *e;
    const float *x;
    uint64_t ldx, cols, n_scales; /* n_scales: of a row */
    uint8_t *codes, *scales;      /* of all rows */
    float *scales_f32, *out;
};

/* There and back: what the engine's product sees. */
static void round_dynamic(const struct dynamic_ctx *c, struct kernel_args a)
{
    bool mx = c->format->input_op == OP_ENCODE_MXFP8;
    float *out = a.dst_f32;
    a.dst_f32 = c->scales_f32 + (a.dst_scale - c->scales);
    kernel_for(c->format->input_op, c->e->isa)(&a);
    a.src = a.dst;
    a.src_scale = a.dst_scale;
    a.src_scale_f32 = a.dst_f32;
    a.dst_f32 = out;
    kernel_for(mx ? OP_DECODE_MXFP8 : OP_DECODE_FP8_CHANNEL, c->e->isa)(&a);
}

/* A row is a matrix of its groups, and what is left of them. */
static void dynamic_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct dynamic_ctx *c = ctx;
    uint64_t group = c->format->input_cols ? c->format->input_cols : c->cols, n = c->cols / group;
    struct kernel_args a = {.n_rows = n,
                            .n_cols = group,
                            .src = c->x + row * c->ldx,
                            .dtype = DTYPE_F32,
                            .dst = c->codes + row * c->cols,
                            .dst_scale = c->scales + row * c->n_scales,
                            .dst_f32 = c->out + row * c->cols};
    round_dynamic(c, a);
    if (n * group == c->cols) return;
    a.src = (const float *)a.src + n * group;
    a.n_rows = 1;
    a.n_cols = c->cols - n * group;
    a.dst += n * group;
    a.dst_scale += n;
    a.dst_f32 += n * group;
    round_dynamic(c, a);
}

static bool quantize_dynamic(struct run_ctx *r, struct pool *pool, float *out, struct error *err)
{
    const struct linear *l = r->l;
    const struct quant_format *f = format_of(l);
    uint64_t group = f->input_op == OP_ENCODE_MXFP8 ? f->block_cols : f->input_cols ? f->input_cols : l->cols;
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *scales = NULL;
    CLEANUP(free) float *scales_f32 = NULL;
    uint64_t n_scales = u64_div_up(l->cols, group);
    if (!memory_alloc(&codes, r->m, l->cols, err) || !memory_alloc(&scales, r->m, n_scales, err) ||
        !memory_alloc(&scales_f32, r->m * n_scales, sizeof *scales_f32, err))
        return false;
    struct dynamic_ctx c = {f,      r->e,       r->x, r->x_stride / sizeof(float), l->cols, n_scales, codes,
                            scales, scales_f32, out};
    pool_for(pool, r->m, dynamic_item, &c);
    return true;
}

/* What the linear computes with: x itself, or in r->x a copy (owned by *copy) that is quantized, rounded to bf16, or
 * both. */
static bool quantize_input(struct run_ctx *r, struct pool *pool, float **copy, struct error *err)
{
    const struct linear *l = r->l;
    if ((!(l->input_scale > 0) && !l->dynamic_input) || r->m == 0) return true;
    if (!memory_alloc(copy, r->m * l->cols, sizeof(float), err)) return false;
    if (l->dynamic_input && !quantize_dynamic(r, pool, *copy, err)) return false;
    kernel_fn run = format_of(l)->input_op == OP_INPUT_NVFP4 ? r->e->input_nvfp4 : r->e->input_fp8;
    struct input_ctx c = {run, r->x, r->x_stride / sizeof(float), l->cols, l->input_scale, *copy};
    if (!l->dynamic_input) pool_for(pool, r->m, input_item, &c);
    r->x = *copy;
    r->x_stride = l->cols * sizeof(float);
    return true;
}

/* Rows a power of two apart share few places in the first-level cache and drive each other out: worth 7 % on Zen 4. */
static uint64_t row_stride(uint64_t bytes)
{
    bytes = u64_div_up(bytes, 64) * 64;
    return bytes % 512 == 0 ? bytes + 64 : bytes;
}

struct round_ctx {
    const struct run_ctx *r;
    uint8_t *out;
    uint64_t stride;
};

static void round_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct round_ctx *c = ctx;
    const uint8_t *x = (const uint8_t *)c->r->x + row * c->r->x_stride;
    uint64_t cols = c->r->l->cols;
    if (c->r->l->bf16) c->r->e->gemm->input((const float *)(const void *)x, cols, c->out + row * c->stride);
    else memcpy(c->out + row * c->stride, x, cols * sizeof(float));
}

/* Rounds to bf16, and places many rows well apart. */
static bool place_input(struct run_ctx *r, struct pool *pool, uint8_t **copy, struct error *err)
{
    uint64_t bytes = r->l->bf16 ? r->e->gemm->input_bytes(r->l->cols) : r->l->cols * sizeof(float);
    uint64_t stride = row_stride(bytes);
    bool apart = r->m < 12 || r->x_stride % 512 != 0;
    if (!r->l->bf16 && apart) return true;
    if (!memory_alloc(copy, r->m, stride, err)) return false;
    struct round_ctx c = {r, *copy, stride};
    pool_for(pool, r->m, round_item, &c);
    r->x = *copy;
    r->x_stride = stride;
    return true;
}

bool linear_round_input(const struct linear *l, const struct engine *e, float *x, uint64_t ldx, uint64_t m,
                        struct error *err)
{
    CLEANUP(free) float *copy = NULL;
    struct run_ctx r = {.l = l, .e = e, .x = x, .x_stride = ldx * sizeof *x, .m = m};
    if (!quantize_input(&r, e->pool, &copy, err)) return false;
    for (uint64_t i = 0; copy && i < m; i++) memcpy(x + i * ldx, copy + i * l->cols, l->cols * sizeof *x);
    return true;
}

static bool run(const struct linear *l, const struct engine *e, struct pool *pool, const float *x, uint64_t ldx,
                uint64_t m, float *y, uint64_t ldy, const struct observer *ob, struct error *err)
{
    if (m == 0) return true;
    if (ob && ob->input) ob->input(ob->ctx, l->tensor, x, m, ldx);
    CLEANUP(free) float *quantized = NULL;
    CLEANUP(free) uint8_t *placed = NULL;
    struct run_ctx r = {.l = l, .e = e, .x = x, .x_stride = ldx * sizeof *x, .m = m, .ldy = ldy, .y = y};
    if (!quantize_input(&r, pool, &quantized, err) || !place_input(&r, pool, &placed, err)) return false;
    if (!l->panels)
        return pool_try(pool, u64_div_up(packed_panels(&l->packed), panels_per_read(l)), run_file_item, &r, err);
    run_kept(&r, pool);
    return true;
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
