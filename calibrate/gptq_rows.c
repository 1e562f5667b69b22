/* Codes of a linear's rows, a tile of them at a time (calibrate/gptq.h). */
#include "calibrate/descent.h"
#include "calibrate/gptq.h"
#include "calibrate/together.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

#define TILE 128u /* rows that are solved together */

struct tile {
    float *w;                  /* [rows, cols] as they stand */
    float *error;              /* [rows, stride]: w - q in the factor's order */
    float *plain;              /* the same of plain rounding */
    float *base;               /* [rows, cols]: rounded as scales: max does it */
    struct grid_scales scales; /* of these rows: `steps` is the tile's own, the rest lies in the result or in room */
    uint8_t *room_bytes;       /* [rows, blocks] */
    float *room_floats;        /* the same */
    uint8_t *column;           /* [rows, cols]: codes */
    uint8_t *baseline;         /* [rows, cols/2] */
    double left;               /* e H e^T so far: what is left of each column is what it cannot hand on */
    float *now, *side;         /* [rows, 32] and its transpose */
    float *taken;              /* [32, rows]: errors of this panel */
};

/* All rows, where they are solved together: */
struct whole {
    float *w, *q;   /* [rows, cols]: what is solved for; as it is read */
    float *steps;   /* [rows, blocks] */
    uint8_t *bytes; /* [rows, blocks], where the result keeps none */
};

struct solver {
    const struct gptq_weights *w;
    const struct gptq_factor *f;
    const struct gptq_env *env;
    const struct gptq_result *result;
    enum grid_kind kind;
    struct solve_gain *gains; /* one per tile */
    uint64_t stride;          /* of error and plain */
    uint64_t blocks;          /* of a row */
    struct whole whole;       /* w NULL: rows do not know of each other */
    bool finish;              /* they were solved; tiles only write them */
};

static void tile_free(struct tile *t)
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

static bool tile_alloc(struct tile *t, const struct solver *s, struct error *err)
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
static void take_errors(const struct solver *s, struct tile *t, const float *base, uint64_t n)
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
static double weighted(const struct solver *s, const float *e, uint64_t stride, uint64_t n, float *now)
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

static void solve_panel(const struct solver *s, struct tile *t, uint64_t first, uint64_t n)
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
static void round_plain(const struct solver *s, struct tile *t, uint64_t n)
{
    uint64_t cols = s->w->cols, width = s->w->grid.format->block_cols;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < cols; c++) {
            uint64_t b = r * s->blocks + c / width;
            t->column[r * cols + c] = grid_code(s->kind, t->w[r * cols + c], t->scales.steps[b],
                                                s->kind == GRID_INT4_ZERO ? t->scales.bytes[b] : 0);
        }
}

/* ---- NVFP4 by its moments ---- */

/* scales: local_hessian. */
static void choose_by_moments(const struct solver *s, struct tile *t, uint64_t n)
{
    float s2 = s->w->grid.tensor_scale;
    for (uint64_t b = 0; b < s->blocks; b++) {
        float h[NVFP4_BLOCK * NVFP4_BLOCK];
        descent_block_moments(s->f->moments, s->f->added_to, b * NVFP4_BLOCK, h);
        nvfp4_search_for(s->env->isa)
            ->sweep(t->w + b * NVFP4_BLOCK, s->w->cols, n, h, s2, t->scales.bytes + b, s->blocks);
    }
    for (uint64_t i = 0; i < n * s->blocks; i++) t->scales.steps[i] = nvfp4_block_scale(t->scales.bytes[i], s2);
}

/* What the codes as they stand do to the outputs. */
static double code_errors(const struct solver *s, struct tile *t, uint64_t n)
{
    uint64_t cols = s->w->cols, width = s->w->grid.format->block_cols;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < cols; c++) {
            uint64_t at = s->f->order[c], b = r * s->blocks + at / width;
            float q = grid_value(s->kind, t->column[r * cols + at], t->scales.steps[b],
                                 s->kind == GRID_INT4_ZERO ? t->scales.bytes[b] : 0);
            t->error[r * s->stride + c] = t->w[r * cols + at] - q;
        }
    return weighted(s, t->error, s->stride, n, t->now);
}

static struct descent descent_of(const struct solver *s)
{
    return (struct descent){.moments = s->f->moments,
                            .add = s->f->added_to,
                            .grid = &s->w->grid,
                            .passes = s->w->passes,
                            .math = s->env->math,
                            .search = nvfp4_search_for(s->env->isa)};
}

/* What codes mean, and codes of what they mean. */
static void read_codes(const struct solver *s, const struct tile *t, uint64_t n, float *q)
{
    uint64_t cols = s->w->cols, width = s->w->grid.format->block_cols;
    const uint8_t *zeros = s->kind == GRID_INT4_ZERO ? t->scales.bytes : NULL;
    for (uint64_t i = 0; i < n * cols; i++)
        q[i] = grid_value(s->kind, t->column[i], t->scales.steps[i / width], zeros ? zeros[i / width] : 0);
}

static void write_codes(const struct solver *s, struct tile *t, uint64_t n, const float *q)
{
    const struct grid *g = &s->w->grid;
    uint64_t cols = s->w->cols, width = g->format->block_cols;
    const uint8_t *zeros = s->kind == GRID_INT4_ZERO ? t->scales.bytes : NULL;
    for (uint64_t i = 0; s->kind == GRID_NVFP4 && i < n * s->blocks; i++)
        t->scales.steps[i] = nvfp4_block_scale(t->scales.bytes[i], g->tensor_scale);
    for (uint64_t i = 0; i < n * cols; i++)
        t->column[i] = grid_code(s->kind, q[i], t->scales.steps[i / width], zeros ? zeros[i / width] : 0);
}

/* Codes (and NVFP4's scales) as GPTQ left them, moved until the row as a whole is better. */
static bool descend(const struct solver *s, struct tile *t, uint64_t row, uint64_t n, struct error *err)
{
    uint64_t cols = s->w->cols;
    CLEANUP(free) float *room = NULL;
    if (!s->whole.w && !memory_alloc(&room, n * cols, sizeof *room, err)) return false;
    float *q = s->whole.w ? s->whole.q + row * cols : room;
    struct descent d = descent_of(s);
    read_codes(s, t, n, q);
    if (!descent_rows(&d, t->w, q, &t->scales, n, err)) return false;
    write_codes(s, t, n, q);
    if (!s->whole.w) return true;
    memcpy(s->whole.w + row * cols, t->w, n * cols * sizeof *t->w);
    memcpy(s->whole.steps + row * s->blocks, t->scales.steps, n * s->blocks * sizeof *t->scales.steps);
    return true;
}

static void pack_rows(const struct tile *t, uint64_t n, uint64_t cols, uint8_t *codes)
{
    for (uint64_t i = 0; i < n * cols / 2; i++)
        codes[i] = (uint8_t)((t->column[2 * i] & 15u) | t->column[2 * i + 1] << 4);
}

static void place_scales(const struct solver *s, struct tile *t, uint64_t row)
{
    uint64_t at = row * s->blocks;
    t->scales.bytes = s->result->bytes ? s->result->bytes + at : s->whole.w ? s->whole.bytes + at : t->room_bytes;
    t->scales.floats = s->result->floats ? s->result->floats + at : t->room_floats;
}

/* What is left of the error, and the codes into the result. */
static void finish_tile(const struct solver *s, struct tile *t, uint64_t row, uint64_t n)
{
    uint64_t cols = s->w->cols;
    struct solve_gain *g = &s->gains[row / TILE];
    if (s->f->factor) {
        if (s->w->method != SOLVE_GPTQ) t->left = code_errors(s, t, n);
        g->after = t->left > 0 ? t->left : 0;
        take_errors(s, t, NULL, n);
        g->output = weighted(s, t->plain, s->stride, n, t->now);
    }
    pack_rows(t, n, cols, s->result->codes + row * (cols / 2));
}

static bool solve_tile(const struct solver *s, struct tile *t, uint64_t item, struct error *err)
{
    uint64_t cols = s->w->cols, row = item * TILE, n = u64_min(TILE, s->w->n_rows - row);
    place_scales(s, t, row);
    if (!s->w->rows(s->w->ctx, row, n, t->w, err)) return false;
    const struct grid *grid = &s->w->grid;
    grid_round(grid, t->w, n, cols, &t->scales, t->baseline, t->base);
    struct target_room room = {t->plain, t->error, t->now, t->side, TILE, s->stride};
    if (s->f->target.off) target_rows(&s->f->target, s->env->math, t->w, n, &room);
    grid_choose(grid, t->w, n, cols, &t->scales, t->baseline);
    if (grid->scales == SCALES_LOCAL_HESSIAN && s->f->factor) choose_by_moments(s, t, n);
    if (!s->f->factor) {
        round_plain(s, t, n);
    } else {
        take_errors(s, t, t->base, n);
        s->gains[item].before = weighted(s, t->plain, s->stride, n, t->now);
        if (s->w->method == SOLVE_ROUND) round_plain(s, t, n);
        else
            for (uint64_t c = 0; c < cols; c += FACTOR_PANEL) solve_panel(s, t, c, n);
        if (s->w->method == SOLVE_DESCENT && !descend(s, t, row, n, err)) return false;
    }
    if (!s->whole.w) finish_tile(s, t, row, n);
    return true;
}

/* Rows that were solved together. */
static void write_tile(const struct solver *s, struct tile *t, uint64_t item)
{
    uint64_t cols = s->w->cols, row = item * TILE, n = u64_min(TILE, s->w->n_rows - row);
    place_scales(s, t, row);
    memcpy(t->w, s->whole.w + row * cols, n * cols * sizeof *t->w);
    memcpy(t->scales.steps, s->whole.steps + row * s->blocks, n * s->blocks * sizeof *t->scales.steps);
    write_codes(s, t, n, s->whole.q + row * cols);
    finish_tile(s, t, row, n);
}

static bool tile_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct solver *s = ctx;
    struct tile t = {0};
    bool ok = tile_alloc(&t, s, err) && (s->finish || solve_tile(s, &t, item, err));
    if (ok && s->finish) write_tile(s, &t, item);
    tile_free(&t);
    return ok;
}

static void whole_free(struct whole *o)
{
    free(o->w);
    free(o->q);
    free(o->steps);
    free(o->bytes);
}

static bool whole_alloc(struct whole *o, const struct solver *s, struct error *err)
{
    uint64_t rows = s->w->n_rows;
    return memory_alloc(&o->q, rows * s->w->cols, sizeof(float), err) &&
           memory_alloc(&o->steps, rows * s->blocks, sizeof(float), err) &&
           memory_alloc(&o->bytes, rows, s->blocks, err) && memory_alloc(&o->w, rows * s->w->cols, sizeof(float), err);
}

/* All rows each by itself, then, where outputs are not worth the same, together. */
static bool solve_rows(struct solver *s, uint64_t n_tiles, struct error *err)
{
    if (!pool_try(s->env->pool, n_tiles, tile_item, s, err)) return false;
    if (!s->whole.w) return true;
    struct descent d = descent_of(s);
    struct grid_scales scales = {.bytes = s->result->bytes ? s->result->bytes : s->whole.bytes,
                                 .steps = s->whole.steps};
    s->finish = true;
    return together_rows(&d, s->w->outputs, s->env->pool, s->whole.w, s->whole.q, &scales, s->w->n_rows, err) &&
           pool_try(s->env->pool, n_tiles, tile_item, s, err);
}

bool gptq_solve(const struct gptq_weights *w, const struct gptq_factor *f, const struct gptq_env *env,
                const struct gptq_result *result, struct solve_gain *gain, struct error *err)
{
    uint64_t n_tiles = u64_div_up(w->n_rows, TILE);
    CLEANUP(free) struct solve_gain *gains = NULL;
    if (!memory_zalloc(&gains, n_tiles, sizeof *gains, err)) return false;
    struct solver s = {.w = w,
                       .f = f,
                       .env = env,
                       .result = result,
                       .kind = grid_kind(&w->grid),
                       .blocks = w->cols / w->grid.format->block_cols,
                       .gains = gains,
                       .stride = w->cols + 16} /* rows apart in the caches */;
    bool together = w->outputs && w->method == SOLVE_DESCENT && f->factor;
    bool ok = (!together || whole_alloc(&s.whole, &s, err)) && solve_rows(&s, n_tiles, err);
    whole_free(&s.whole);
    if (!ok) return false;
    *gain = (struct solve_gain){.module = gain->module, .damp = f->damp};
    for (uint64_t i = 0; i < n_tiles; i++) {
        gain->before += gains[i].before;
        gain->after += gains[i].after;
        gain->output += gains[i].output;
    }
    double n = f->n_rows ? (double)f->n_rows : 1;
    gain->before /= n;
    gain->after /= n;
    gain->output /= n;
    return true;
}
