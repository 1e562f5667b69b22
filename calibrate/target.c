#include "calibrate/target.h"

#include "core/bytes.h"
#include "core/memory.h"

#include <stdlib.h>

/* Floats of the panels of `back` in front of number p: panel i has n - 32 (i + 1) rows. */
static uint64_t back_at(uint64_t n, uint64_t p)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < p; i++) sum += (n - u64_min(n, FACTOR_PANEL * (i + 1))) * FACTOR_PANEL;
    return sum;
}

struct packing {
    struct target *t;
    const float *off;
};

static void pack_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    const struct packing *p = ctx;
    const struct factor *f = p->t->factor;
    uint64_t n = f->n, first = item * FACTOR_PANEL, width = u64_min(FACTOR_PANEL, n - first), end = first + width;
    float *off = p->t->off + item * n * FACTOR_PANEL, *back = p->t->back + back_at(n, item);
    for (uint64_t k = 0; k < n; k++)
        for (uint64_t j = 0; j < FACTOR_PANEL; j++)
            off[k * FACTOR_PANEL + j] = j < width ? p->off[k * n + p->t->order[first + j]] : 0;
    for (uint64_t k = end; k < n; k++) {
        const float *m = factor_panel(f, k / FACTOR_PANEL * FACTOR_PANEL) + k % FACTOR_PANEL;
        for (uint64_t j = 0; j < width; j++)
            back[(k - end) * FACTOR_PANEL + j] = m[(first + j) * FACTOR_PANEL] * f->diagonal[k];
    }
}

bool target_open(struct target *t, const struct factor *f, const uint32_t *order, const float *off, struct pool *pool,
                 struct error *err)
{
    *t = (struct target){.factor = f, .order = order};
    uint64_t panels = u64_div_up(f->n, FACTOR_PANEL);
    if (!memory_alloc(&t->off, panels * f->n * FACTOR_PANEL, sizeof(float), err) ||
        !memory_alloc(&t->back, back_at(f->n, panels), sizeof(float), err)) {
        target_close(t);
        return false;
    }
    struct packing p = {t, off};
    pool_for(pool, panels, pack_item, &p);
    return true;
}

void target_close(struct target *t)
{
    free(t->off);
    free(t->back);
    *t = (struct target){0};
}

static void to_columns(const struct target_room *r, uint64_t n_rows, uint64_t width)
{
    for (uint64_t i = 0; i < width; i++)
        for (uint64_t k = 0; k < n_rows; k++) r->side[i * r->rows + k] = r->now[k * FACTOR_PANEL + i];
}

static void store_negative(const float *column, float *to, uint64_t stride, uint64_t n_rows)
{
    for (uint64_t k = 0; k < n_rows; k++) to[k * stride] = -column[k];
}

/* One panel of Y with Y R^T = V, from the right: y holds V, and -Y right of the panel. */
static void solve_back(const struct target *t, const struct math_ops *math, const struct target_room *r, uint64_t first,
                       uint64_t n_rows)
{
    const struct factor *f = t->factor;
    uint64_t n = f->n, width = u64_min(FACTOR_PANEL, n - first), end = first + width;
    const float *m = factor_panel(f, first) + first * FACTOR_PANEL;
    for (uint64_t k = 0; k < n_rows; k++)
        memcpy(r->now + k * FACTOR_PANEL, r->y + k * r->stride + first, width * sizeof *r->now);
    if (end < n)
        math->gemm_panel_more(r->y + end, r->stride, n_rows, t->back + back_at(n, first / FACTOR_PANEL), n - end,
                              r->now, FACTOR_PANEL, (uint32_t)width);
    to_columns(r, n_rows, width);
    for (uint64_t i = width; i-- > 0;) {
        float *column = r->side + i * r->rows;
        for (uint64_t k = 0; k < i; k++)
            math->multiply_add(r->side + k * r->rows, column, -m[k * FACTOR_PANEL + i], n_rows);
        math->scale(column, column, 1.0f / f->diagonal[first + i], n_rows);
        store_negative(column, r->y + first + i, r->stride, n_rows);
    }
}

/* One panel of X with X R = Y, from the left: y holds -Y, x holds -X left of the panel. */
static void solve_forth(const struct target *t, const struct math_ops *math, const struct target_room *r,
                        uint64_t first, uint64_t n_rows)
{
    const struct factor *f = t->factor;
    uint64_t width = u64_min(FACTOR_PANEL, f->n - first);
    const float *m = factor_panel(f, first) + first * FACTOR_PANEL;
    for (uint64_t k = 0; k < n_rows; k++)
        for (uint64_t i = 0; i < width; i++)
            r->now[k * FACTOR_PANEL + i] = -r->y[k * r->stride + first + i] / f->diagonal[first + i];
    if (first)
        math->gemm_panel_more(r->x, r->stride, n_rows, factor_panel(f, first), first, r->now, FACTOR_PANEL,
                              (uint32_t)width);
    to_columns(r, n_rows, width);
    for (uint64_t i = 0; i < width; i++) {
        const float *column = r->side + i * r->rows;
        for (uint64_t k = i + 1; k < width; k++)
            math->multiply_add(r->side + k * r->rows, column, -m[i * FACTOR_PANEL + k], n_rows);
        store_negative(column, r->x + first + i, r->stride, n_rows);
    }
}

void target_rows(const struct target *t, const struct math_ops *math, float *w, uint64_t n_rows,
                 const struct target_room *room)
{
    uint64_t n = t->factor->n, panels = u64_div_up(n, FACTOR_PANEL);
    for (uint64_t p = 0; p < panels; p++)
        math->gemm_panel(w, n, n_rows, t->off + p * n * FACTOR_PANEL, n, room->y + p * FACTOR_PANEL, room->stride,
                         (uint32_t)u64_min(FACTOR_PANEL, n - p * FACTOR_PANEL));
    for (uint64_t p = panels; p-- > 0;) solve_back(t, math, room, p * FACTOR_PANEL, n_rows);
    for (uint64_t p = 0; p < panels; p++) solve_forth(t, math, room, p * FACTOR_PANEL, n_rows);
    for (uint64_t r = 0; r < n_rows; r++)
        for (uint64_t c = 0; c < n; c++) w[r * n + t->order[c]] -= room->x[r * room->stride + c];
}
