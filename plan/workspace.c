#include "plan/workspace.h"

#include "core/bytes.h"
#include "plan/fold.h"
#include "plan/plan_stack.h"
#include "plan/scale_method.h"

#define PART_OF_ROW 256u /* columns; a multiple of every format's block */

static struct plan_cut cut_rows(const struct tensor_info *t, uint64_t together, uint64_t piece_bytes)
{
    struct plan_cut c = {.n_rows = t->dims[0], .n_cols = t->dims[1], .elem_bytes = dtype_bytes(t->dtype)};
    uint64_t row_bytes = c.n_cols * c.elem_bytes, per_row = 1;
    c.cols = c.n_cols;
    c.rows = row_bytes ? piece_bytes / row_bytes : c.n_rows;
    if (together) c.rows = c.rows < together ? together : c.rows / together * together;
    c.rows = u64_min(c.rows, c.n_rows);
    if (c.rows == 0 && t->bytes) {
        c.rows = 1;
        c.cols = piece_bytes / c.elem_bytes / PART_OF_ROW * PART_OF_ROW;
        if (c.cols == 0) c.cols = PART_OF_ROW;
        if (c.cols > c.n_cols) c.cols = c.n_cols;
        per_row = u64_div_up(c.n_cols, c.cols);
    }
    c.n_pieces = t->bytes ? u64_div_up(c.n_rows, c.rows) * per_row : 1;
    return c;
}

struct plan_cut plan_cut_rows(const struct tensor_info *t, const struct quant_format *f, uint64_t piece_bytes)
{
    return cut_rows(t, quant_format_rows(f), piece_bytes);
}

const struct tensor_info *plan_matrix(const struct plan *p, const struct plan_item *item)
{
    if (item->stack) return &item->stack->matrix;
    if (item->decoded) return item->decoded;
    return checkpoint_tensor(p->inventory->checkpoint, item->tensor->parts[PART_WEIGHT]);
}

struct plan_cut plan_cut_item(const struct plan *p, const struct plan_item *item, uint64_t piece_bytes)
{
    const struct tensor_info *t = plan_matrix(p, item);
    const struct plan_stack *s = item->stack;
    uint64_t together = item->format ? quant_format_rows(item->format) : 1;
    /* One expert at a time: it lies the other way round in the source, in the result, or in the statistics. */
    if (s && (s->scales != NAME_NONE || s->stays_turned || item->solve.method != SOLVE_NONE)) {
        together = s->n_experts ? t->dims[0] / s->n_experts : 1;
        return cut_rows(t, together, together * t->dims[1] * dtype_bytes(t->dtype));
    }
    if (s && s->sideways) together = item->format->block_cols;
    if (item->decoded && item->tensor->format->row_pairs && together % 2) together = 2;
    if (item->decoded && together == 0) together = 1; /* decoded by whole rows */
    return cut_rows(t, together, piece_bytes);
}

struct plan_cut plan_cut_bytes(uint64_t bytes, uint64_t piece_bytes)
{
    return (struct plan_cut){.n_rows = 1,
                             .n_cols = bytes,
                             .elem_bytes = 1,
                             .rows = 1,
                             .cols = u64_min(bytes, piece_bytes),
                             .n_pieces = bytes ? u64_div_up(bytes, piece_bytes) : 1};
}

struct plan_piece plan_cut_piece(const struct plan_cut *c, uint64_t i)
{
    if (c->n_rows == 0 || c->n_cols == 0) return (struct plan_piece){0};
    uint64_t per_row = u64_div_up(c->n_cols, c->cols);
    uint64_t row = i / per_row * c->rows, col = i % per_row * c->cols;
    return (struct plan_piece){.first = row * c->n_cols + col,
                               .row = row,
                               .col = col,
                               .n_rows = u64_min(c->rows, c->n_rows - row),
                               .n_cols = u64_min(c->cols, c->n_cols - col)};
}

static void grow(uint64_t *most, uint64_t n)
{
    if (n > *most) *most = n;
}

static void room_for(struct plan_workspace *w, const struct plan_item *item, const struct plan_cut *c)
{
    const struct quant_format *f = item->format;
    uint64_t elems = c->rows * c->cols; /* parts of blocks are the same either way round */
    grow(&w->src, elems * c->elem_bytes);
    grow(&w->dst, quant_part_elems(&f->parts[0], c->rows, c->cols) * dtype_bytes(f->parts[0].dtype));
    bool sideways = item->stack && item->stack->sideways;
    grow(&w->dst_f32, (sideways ? c->cols : c->rows) * sizeof(float)); /* of AMAX */
    for (uint32_t k = 1; k < f->n_parts; k++) {
        uint64_t n = quant_part_elems(&f->parts[k], c->rows, c->cols);
        if (dtype_bytes(f->parts[k].dtype) == 1) grow(&w->dst_scale, n);
        else grow(&w->dst_f32, n * sizeof(float));
    }
    if (f->zeros != ZEROS_NONE) grow(&w->dst_scale, elems / f->block_cols);
    if (plan_item_scale_op(item) != OP_COUNT) grow(&w->block_amax, elems / f->block_cols * sizeof(float));
}

static uint64_t copied_pieces(const struct plan *p, const struct plan_item *item, struct plan_workspace *w)
{
    const struct checkpoint *ck = p->inventory->checkpoint;
    uint64_t n = 0;
    for (int part = 0; part < PART_COUNT; part++) {
        if (item->tensor->parts[part] == NAME_NONE) continue;
        const struct tensor_info *t = checkpoint_tensor(ck, checkpoint_stored(ck, item->tensor->parts[part]));
        struct plan_cut c = plan_cut_bytes(t->bytes, w->piece_bytes);
        n += c.n_pieces;
        grow(&w->src, c.cols);
    }
    return n;
}

/* A matrix that lies on its side is put together in memory: its rows come one after the other. */
static uint64_t gather_bytes(const struct plan_item *item)
{
    const struct quant_format *f = item->format;
    uint64_t n = 0;
    for (uint32_t k = 0; f->parts[0].on_side && k < f->n_parts; k++)
        n += quant_part_elems(&f->parts[k], item->tensor->dims[0], item->tensor->dims[1]) *
             dtype_bytes(f->parts[k].dtype);
    return n;
}

struct plan_workspace plan_workspace_for(const struct plan *p, uint64_t piece_bytes, uint64_t hold_bytes)
{
    struct plan_workspace w = {.piece_bytes = piece_bytes};
    uint64_t held = 1, n_pieces = 0;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (item->action == ACTION_COPY && item->decoded) {
            struct plan_cut c = plan_cut_item(p, item, piece_bytes);
            n_pieces += c.n_pieces;
            grow(&w.src, c.rows * c.cols * c.elem_bytes);
            continue;
        }
        bool folds = plan_item_folds(item);
        if (item->action == ACTION_COPY) {
            n_pieces += copied_pieces(p, item, &w);
            if (folds) grow(&w.raw, u64_min(plan_matrix(p, item)->bytes, piece_bytes));
            continue;
        }
        if (item->stack && item->stack->lead != i) continue;
        struct plan_cut c = plan_cut_item(p, item, piece_bytes);
        n_pieces += c.n_pieces;
        room_for(&w, item, &c);
        if (folds) grow(&w.raw, c.rows * c.cols * c.elem_bytes);
        grow(&w.gather, gather_bytes(item));
        if (quant_format_has_tensor_scale(item->format) && plan_matrix(p, item)->bytes <= hold_bytes)
            grow(&held, c.n_pieces);
    }
    w.n_held = (uint32_t)held;
    uint64_t ahead = hold_bytes < PLAN_HOLD_BYTES ? PLAN_LANES_AHEAD_SHORT : PLAN_LANES_AHEAD;
    w.n_lanes = (uint32_t)u64_min(held + ahead, n_pieces ? n_pieces : 1);
    return w;
}

uint64_t plan_workspace_bytes(const struct plan_workspace *w)
{
    return w->gather + w->n_lanes * (w->src + w->raw + w->dst + w->dst_scale + w->dst_f32 + w->block_amax);
}
