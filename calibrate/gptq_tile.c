#include "calibrate/gptq_tile.h"

#include "core/bytes.h"
#include "core/memory.h"

void tile_free(struct tile *t)
{
    free(t->w);
    free(t->error);
    free(t->plain);
    free(t->base);
    free(t->scales.steps);
    free(t->room_bytes);
    free(t->room_floats);
    free(t->column);
    free(t->baseline);
    free(t->now);
    free(t->side);
    free(t->taken);
}

bool tile_alloc(struct tile *t, const struct solver *s, struct error *err)
{
    uint64_t cols = s->w->cols;
    return memory_alloc(&t->w, TILE * cols, sizeof(float), err) &&
           memory_alloc(&t->error, TILE * s->stride, sizeof(float), err) &&
           memory_alloc(&t->plain, TILE * s->stride, sizeof(float), err) &&
           memory_alloc(&t->base, TILE * cols, sizeof(float), err) &&
           memory_alloc(&t->scales.steps, TILE * s->blocks, sizeof(float), err) &&
           memory_alloc(&t->room_bytes, TILE * s->blocks, 1, err) &&
           memory_alloc(&t->room_floats, TILE * s->blocks, sizeof(float), err) &&
           memory_alloc(&t->column, TILE * cols, 1, err) && memory_alloc(&t->baseline, TILE * cols / 2, 1, err) &&
           memory_alloc(&t->now, TILE * FACTOR_PANEL, sizeof(float), err) &&
           memory_alloc(&t->side, TILE * FACTOR_PANEL, sizeof(float), err) &&
           memory_alloc(&t->taken, TILE * FACTOR_PANEL, sizeof(float), err);
}

/* Of the tile's weights less `base` (NULL: 0), in the factor's order. */
void tile_take_errors(const struct solver *s, struct tile *t, const float *base, uint64_t n)
{
    uint64_t cols = s->w->cols;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < cols; c++) {
            uint64_t from = r * cols + s->f->order[c];
            t->plain[r * s->stride + c] = t->w[from] - (base ? base[from] : 0);
        }
}

/* The panel's share of e H e^T, for errors e in the factor's order and H without what was added. `now` is written. */
static double panel_error(const struct solver *s, const float *e, uint64_t stride, uint64_t first, uint64_t n,
                          float *now)
{
    const struct factor *f = s->f->factor;
    uint64_t width = u64_min(FACTOR_PANEL, f->n - first);
    double sum = 0;
    for (uint64_t r = 0; r < n; r++) memcpy(now + r * FACTOR_PANEL, e + r * stride + first, width * sizeof *now);
    s->env->math->gemm_panel_more(e, stride, n, factor_panel(f, first), factor_rows(f, first), now, FACTOR_PANEL,
                                  (uint32_t)width);
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < width; c++) {
            double v = (double)now[r * FACTOR_PANEL + c] * (double)f->diagonal[first + c];
            double x = (double)e[r * stride + first + c];
            sum += v * v - (double)s->f->added[first + c] * x * x;
        }
    return sum;
}

/* e H e^T over all rows. */
double tile_weighted(const struct solver *s, const float *e, uint64_t stride, uint64_t n, float *now)
{
    double sum = 0;
    for (uint64_t c = 0; c < s->w->cols; c += FACTOR_PANEL) sum += panel_error(s, e, stride, c, n, now);
    return sum > 0 ? sum : 0;
}

struct column {
    uint64_t at, slot; /* of the weights; of the errors */
    const float *now;  /* [rows] */
    float *taken;      /* [rows], written: w - q */
    double left, own;  /* sums of squares: of what the column keeps, of w - q */
};

/* Called with one kind known, so that the loop is of that kind alone. */
static inline void round_rows(const struct solver *s, struct tile *t, struct column *c, uint64_t n, enum grid_kind kind)
{
    uint64_t cols = s->w->cols, block = c->at / s->w->grid.format->block_cols;
    for (uint64_t r = 0; r < n; r++) {
        float step = t->scales.steps[r * s->blocks + block];
        uint8_t zero = kind == GRID_INT4_ZERO ? t->scales.bytes[r * s->blocks + block] : 0;
        uint8_t code = grid_code(kind, c->now[r], step, zero);
        float q = grid_value(kind, code, step, zero);
        t->column[r * cols + c->at] = code;
        c->taken[r] = t->w[r * cols + c->at] - q;
        t->error[r * s->stride + c->slot] = c->taken[r];
        double v = (double)(c->now[r] - q), x = (double)c->taken[r];
        c->left += v * v;
        c->own += x * x;
    }
}

/* Column number i of the panel that begins at `first`: rounds, and hands the error to the rest of the panel. */
static void round_column(const struct solver *s, struct tile *t, uint64_t first, uint64_t i, uint64_t width, uint64_t n)
{
    struct column c = {
        .at = s->f->order[first + i], .slot = first + i, .now = t->side + i * TILE, .taken = t->taken + i * TILE};
    if (s->kind == GRID_NVFP4) round_rows(s, t, &c, n, GRID_NVFP4);
    else if (s->kind == GRID_INT4) round_rows(s, t, &c, n, GRID_INT4);
    else round_rows(s, t, &c, n, GRID_INT4_ZERO);
    double r_cc = (double)s->f->factor->diagonal[first + i];
    t->left += c.left * r_cc * r_cc - c.own * (double)s->f->added[first + i];
    const float *row = factor_panel(s->f->factor, first) + (first + i) * FACTOR_PANEL;
    for (uint64_t k = i + 1; k < width; k++) s->env->math->multiply_add(t->side + k * TILE, c.taken, row[k], n);
}

void tile_solve_panel(const struct solver *s, struct tile *t, uint64_t first, uint64_t n)
{
    const struct factor *f = s->f->factor;
    uint64_t cols = s->w->cols, width = u64_min(FACTOR_PANEL, cols - first);
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t i = 0; i < width; i++) t->now[r * FACTOR_PANEL + i] = t->w[r * cols + s->f->order[first + i]];
    if (first)
        s->env->math->gemm_panel_more(t->error, s->stride, n, factor_panel(f, first), first, t->now, FACTOR_PANEL,
                                      (uint32_t)width);
    for (uint64_t i = 0; i < width; i++)
        for (uint64_t r = 0; r < n; r++) t->side[i * TILE + r] = t->now[r * FACTOR_PANEL + i];
    for (uint64_t i = 0; i < width; i++) round_column(s, t, first, i, width, n);
}

/* Without moments: plain rounding with the chosen scales. */
void tile_round_plain(const struct solver *s, struct tile *t, uint64_t n)
{
    uint64_t cols = s->w->cols, width = s->w->grid.format->block_cols;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < cols; c++) {
            uint64_t b = r * s->blocks + c / width;
            t->column[r * cols + c] = grid_code(s->kind, t->w[r * cols + c], t->scales.steps[b],
                                                s->kind == GRID_INT4_ZERO ? t->scales.bytes[b] : 0);
        }
}
