/* y = x W^T + bias: panels of 32 outputs, kept or made from the file, with all rows of the input. */
#include "engine/linear_impl.h"
#include "engine/panels.h"

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

/* Few rows read memory, and that is all they do: runs as small as hides what taking one costs, even ones for kernels
 * that read two panels at a time, so that threads end together. */
#define RUN_BYTES (1u << 16)
#define FEW_ROWS 4u

/* Cuts kept panels into items; how many. */
static uint64_t cut_items(struct run_ctx *r)
{
    uint64_t n_panels = packed_panels(&r->l->packed);
    r->run = r->m < FEW_ROWS ? 2 * u64_div_up(RUN_BYTES, 2 * r->l->packed.panel_bytes) : 1;
    r->n_row_items = u64_div_up(r->m, GEMM_ROWS_MAX);
    /* With many rows a few panels share what they bring into the cache, if that leaves every thread some items. */
    while (r->m >= FEW_ROWS && r->run < PANELS_TOGETHER &&
           n_panels * r->n_row_items >= 8 * (uint64_t)pool_threads(r->pool) * r->run)
        r->run *= 2;
    return u64_div_up(n_panels, r->run) * r->n_row_items;
}

static void run_kept(struct run_ctx *r)
{
    (r->m < FEW_ROWS ? pool_for_near : pool_for)(r->pool, cut_items(r), run_kept_item, r);
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
    const struct run_ctx *r = ctx;
    struct scratch *from = worker_scratch(r->e, r->pool ? worker : r->here);
    SCRATCH_SCOPE(from);
    struct panel_scratch s = {0};
    bool ok = panel_scratch_alloc(&s, r->l, r->e, from, err) && run_read(r, item * s.n_panels, &s, err);
    panel_scratch_free(&s);
    return ok;
}

static bool run(struct run_ctx *r, const struct observer *ob, struct error *err)
{
    const struct linear *l = r->l;
    if (ob && ob->input) ob->input(ob->ctx, l->tensor, r->x, r->m, r->x_stride / sizeof(float));
    linear_input(r);
    if (!l->panels)
        return pool_try(r->pool, u64_div_up(packed_panels(&l->packed), panels_per_read(l, r->e)), run_file_item, r,
                        err);
    run_kept(r);
    return true;
}

bool linear_run(const struct linear *l, const struct engine *e, const float *x, uint64_t ldx, uint64_t m, float *y,
                uint64_t ldy, const struct observer *ob, struct error *err)
{
    struct run_ctx r = {
        .l = l, .e = e, .pool = e->pool, .x = x, .x_stride = ldx * sizeof *x, .m = m, .ldy = ldy, .y = y};
    SCRATCH_SCOPE(e->scratch);
    return m == 0 || (scratch_alloc(e->scratch, &r.room, m, linear_room(l, e, m, ldx), err) && run(&r, ob, err));
}

bool linear_run_here(const struct linear *l, const struct engine *e, uint32_t worker, void *room, const float *x,
                     uint64_t m, float *y, const struct observer *ob, struct error *err)
{
    struct run_ctx r = {.l = l,
                        .e = e,
                        .here = worker,
                        .room = room,
                        .x = x,
                        .x_stride = l->cols * sizeof *x,
                        .m = m,
                        .ldy = l->rows,
                        .y = y};
    return m == 0 || run(&r, ob, err);
}

/* ---- several linears of the same input ---- */

static bool same_input(const struct linear *a, const struct linear *b)
{
    return !a->pre && !b->pre && a->panels && b->panels && a->cols == b->cols && a->bf16 == b->bf16 &&
           a->input_scale == b->input_scale && a->dynamic_input == b->dynamic_input &&
           linear_format(a) == linear_format(b);
}

#define TOGETHER_MAX 4u

struct together {
    struct run_ctx runs[TOGETHER_MAX];
    uint64_t n_items[TOGETHER_MAX];
};

static void run_together_item(void *ctx, uint64_t item, uint32_t worker)
{
    struct together *t = ctx;
    uint32_t i = 0;
    for (; item >= t->n_items[i]; i++) item -= t->n_items[i];
    run_kept_item(&t->runs[i], item, worker);
}

static void run_together(const struct run_ctx *r, const struct linear_out *outs, uint32_t n)
{
    struct together t;
    uint64_t n_items = 0;
    for (uint32_t i = 0; i < n; i++) {
        t.runs[i] = *r;
        t.runs[i].l = outs[i].l;
        t.runs[i].y = outs[i].y;
        t.runs[i].ldy = outs[i].l->rows;
        n_items += t.n_items[i] = cut_items(&t.runs[i]);
    }
    (r->m < FEW_ROWS ? pool_for_near : pool_for)(r->pool, n_items, run_together_item, &t);
}

bool linear_run_all(const struct linear_out *outs, uint32_t n, const struct engine *e, const float *x, uint64_t m,
                    const struct observer *ob, struct error *err)
{
    const struct linear *first = outs[0].l;
    bool same = m > 0 && n <= TOGETHER_MAX;
    for (uint32_t i = 0; i < n; i++) same = same && same_input(first, outs[i].l);
    for (uint32_t i = 0; !same && i < n; i++)
        if (!linear_run(outs[i].l, e, x, outs[i].l->cols, m, outs[i].y, outs[i].l->rows, ob, err)) return false;
    if (!same) return true;
    struct run_ctx r = {.l = first, .e = e, .pool = e->pool, .x = x, .x_stride = first->cols * sizeof *x, .m = m};
    SCRATCH_SCOPE(e->scratch);
    if (!scratch_alloc(e->scratch, &r.room, m, linear_room(first, e, m, first->cols), err)) return false;
    for (uint32_t i = 0; ob && ob->input && i < n; i++) ob->input(ob->ctx, outs[i].l->tensor, x, m, first->cols);
    linear_input(&r);
    run_together(&r, outs, n);
    return true;
}
