/* Codes of a linear's rows, a tile of them at a time (calibrate/gptq.h). */
#include "calibrate/descent.h"
#include "calibrate/gptq_tile.h"
#include "calibrate/together.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

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
    return tile_weighted(s, t->error, s->stride, n, t->now);
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
        tile_take_errors(s, t, NULL, n);
        g->output = tile_weighted(s, t->plain, s->stride, n, t->now);
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
        tile_round_plain(s, t, n);
    } else {
        tile_take_errors(s, t, t->base, n);
        s->gains[item].before = tile_weighted(s, t->plain, s->stride, n, t->now);
        if (s->w->method == SOLVE_ROUND) tile_round_plain(s, t, n);
        else
            for (uint64_t c = 0; c < cols; c += FACTOR_PANEL) tile_solve_panel(s, t, c, n);
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
