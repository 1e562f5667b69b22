#include "plan/workspace.h"

#include "core/bytes.h"
#include "plan/scale_method.h"

#define PART_OF_ROW 256u /* columns; a multiple of every format's block */

struct plan_cut plan_cut_rows(const struct tensor_info *t, const struct quant_format *f, uint64_t piece_bytes)
{
    uint64_t together = quant_format_rows(f);
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
    uint64_t elems = c->rows * c->cols;
    grow(&w->src, elems * c->elem_bytes);
    grow(&w->dst, quant_part_elems(&f->parts[0], c->rows, c->cols) * dtype_bytes(f->parts[0].dtype));
    grow(&w->dst_f32, c->rows * sizeof(float)); /* of AMAX */
    for (uint32_t k = 1; k < f->n_parts; k++) {
        uint64_t n = quant_part_elems(&f->parts[k], c->rows, c->cols);
        if (dtype_bytes(f->parts[k].dtype) == 1) grow(&w->dst_scale, n);
        else grow(&w->dst_f32, n * sizeof(float));
    }
    if (scale_method_op(item->scales) != OP_COUNT) grow(&w->block_amax, elems / f->block_cols * sizeof(float));
}

struct plan_workspace plan_workspace_for(const struct plan *p, uint64_t piece_bytes, uint64_t hold_bytes)
{
    struct plan_workspace w = {.piece_bytes = piece_bytes};
    uint64_t held = 1, n_pieces = 0;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        for (int part = 0; part < PART_COUNT; part++) {
            if (item->tensor->parts[part] == NAME_NONE) continue;
            const struct tensor_info *t = checkpoint_tensor(
                p->inventory->checkpoint, checkpoint_stored(p->inventory->checkpoint, item->tensor->parts[part]));
            bool quantized = item->action == ACTION_QUANTIZE;
            struct plan_cut c =
                quantized ? plan_cut_rows(t, item->format, piece_bytes) : plan_cut_bytes(t->bytes, piece_bytes);
            n_pieces += c.n_pieces;
            if (quantized) room_for(&w, item, &c);
            else grow(&w.src, c.cols);
            bool waits = quantized && quant_format_has_tensor_scale(item->format);
            if (waits && t->bytes <= hold_bytes) grow(&held, c.n_pieces);
        }
    }
    w.n_held = (uint32_t)held;
    w.n_lanes = (uint32_t)u64_min(held + PLAN_LANES_AHEAD, n_pieces ? n_pieces : 1);
    return w;
}

uint64_t plan_workspace_bytes(const struct plan_workspace *w)
{
    return w->n_lanes * (w->src + w->dst + w->dst_scale + w->dst_f32 + w->block_amax);
}
