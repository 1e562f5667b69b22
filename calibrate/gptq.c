#include "calibrate/gptq.h"

#include "backends/cpu/kernel.h"
#include "calibrate/descent.h"
#include "calibrate/factor.h"
#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"
#include "numeric/nvfp4.h"
#include "plan/scale_method.h"

#include <math.h>

#define TILE 128u /* rows that are solved together */

/* ---- the factor ---- */

void gptq_factor_close(struct gptq_factor *f)
{
    if (f->factor) factor_close(f->factor);
    free(f->factor);
    target_close(&f->target);
    free(f->order);
    free(f->added);
    free(f->added_to);
    *f = (struct gptq_factor){0};
}

struct ranked {
    float moment;
    uint32_t column;
};

static int by_moment(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->moment != y->moment) return x->moment > y->moment ? -1 : 1;
    return x->column < y->column ? -1 : 1;
}

static bool choose_order(struct gptq_factor *f, const struct moments *m, bool act_order, struct error *err)
{
    CLEANUP(free) struct ranked *ranked = NULL;
    if (!memory_alloc(&f->order, m->cols, sizeof *f->order, err) ||
        !memory_alloc(&ranked, m->cols, sizeof *ranked, err))
        return false;
    for (uint32_t c = 0; c < m->cols; c++) ranked[c] = (struct ranked){m->sum[c * m->cols + c], c};
    if (act_order) qsort(ranked, m->cols, sizeof *ranked, by_moment);
    for (uint32_t c = 0; c < m->cols; c++) f->order[c] = ranked[c].column;
    return true;
}

/* The mean of the diagonal, which columns without any input get: added[c], by column of the moments, else 0. 0 when the
 * moments are of no use. */
static double fill_diagonal(struct moments *m, float *added)
{
    double sum = 0;
    uint64_t n = 0;
    for (uint64_t c = 0; c < m->cols; c++) {
        double d = (double)m->sum[c * m->cols + c];
        sum += d;
        n += d > 0;
    }
    double mean = n ? sum / (double)n : 0;
    if (!(mean > 0 && mean < 1e37)) return 0;
    for (uint64_t c = 0; c < m->cols; c++) {
        bool dead = !(m->sum[c * m->cols + c] > 0);
        added[c] = dead ? (float)mean : 0;
        if (dead) m->sum[c * m->cols + c] = (float)mean;
    }
    return mean;
}

/* Puts them into the factor's order, and takes the columns that were filled out of the moments again. */
static bool keep_added(struct gptq_factor *out, struct moments *m, const float *filled, double add, struct error *err)
{
    if (!memory_alloc(&out->added, m->cols, sizeof *out->added, err) ||
        !memory_alloc(&out->added_to, m->cols, sizeof *out->added_to, err))
        return false;
    for (uint64_t c = 0; c < m->cols; c++) out->added_to[c] = (float)((double)filled[c] + add);
    for (uint64_t c = 0; c < m->cols; c++) out->added[c] = out->added_to[out->order[c]];
    for (uint64_t c = 0; c < m->cols; c++)
        if (filled[c] > 0) m->sum[c * m->cols + c] = 0;
    return true;
}

bool gptq_factor_make(struct gptq_factor *out, struct moments *m, const struct solve_choice *choice,
                      const struct gptq_env *env, struct error *err)
{
    *out = (struct gptq_factor){.n_rows = m->n_rows, .moments = m};
    CLEANUP(free) float *filled = NULL;
    if (!memory_zalloc(&filled, m->cols, sizeof *filled, err) || !choose_order(out, m, choice->act_order, err))
        return false;
    double mean = fill_diagonal(m, filled), add = 0;
    if (mean == 0) return true;
    out->factor = calloc(1, sizeof *out->factor);
    if (!out->factor) return error_memory(err, sizeof *out->factor);
    bool definite = false;
    for (double damp = choice->damp; !definite; damp = damp * 10 < 1 ? damp * 10 : 1) {
        out->damp = damp;
        add = damp * mean;
        if (!factor_make(out->factor, m->sum, m->cols, out->order, add, env->math, env->pool, &definite, err))
            return false;
        if (damp >= 1) break;
    }
    if (!definite) {
        free(out->factor);
        out->factor = NULL;
        out->damp = 0;
    }
    return keep_added(out, m, filled, add, err) &&
           (!m->off || !definite || target_open(&out->target, out->factor, out->order, m->off, env->pool, err));
}

/* ---- a tile of rows ---- */

struct tile {
    float *w;          /* [rows, cols] as they stand */
    float *error;      /* [rows, stride]: w - q in the factor's order */
    float *plain;      /* the same of plain rounding */
    float *base;       /* [rows, cols]: rounded as scales: max does it */
    float *steps;      /* [rows, blocks]: what a code 1.0 is worth */
    uint8_t *column;   /* [rows, cols]: codes */
    uint8_t *baseline; /* [rows, cols/2] */
    float *block_amax; /* [rows, blocks] */
    double left;       /* e H e^T so far: what is left of each column is what it cannot hand on */
    float *now, *side; /* [rows, 32] and its transpose */
    float *taken;      /* [32, rows]: errors of this panel */
};

struct solver {
    const struct gptq_weights *w;
    const struct gptq_factor *f;
    const struct gptq_env *env;
    uint8_t *codes, *scales;
    struct solve_gain *gains; /* one per tile */
    uint64_t stride;          /* of error and plain */
    float s2;
};

static void tile_free(struct tile *t)
{
    free(t->w);
    free(t->error);
    free(t->plain);
    free(t->base);
    free(t->steps);
    free(t->column);
    free(t->baseline);
    free(t->block_amax);
    free(t->now);
    free(t->side);
    free(t->taken);
}

static bool tile_alloc(struct tile *t, const struct solver *s, struct error *err)
{
    uint64_t cols = s->w->cols, blocks = cols / NVFP4_BLOCK;
    return memory_alloc(&t->w, TILE * cols, sizeof(float), err) &&
           memory_alloc(&t->error, TILE * s->stride, sizeof(float), err) &&
           memory_alloc(&t->plain, TILE * s->stride, sizeof(float), err) &&
           memory_alloc(&t->base, TILE * cols, sizeof(float), err) &&
           memory_alloc(&t->steps, TILE * blocks, sizeof(float), err) &&
           memory_alloc(&t->column, TILE * cols, 1, err) && memory_alloc(&t->baseline, TILE * cols / 2, 1, err) &&
           memory_alloc(&t->block_amax, TILE * blocks, sizeof(float), err) &&
           memory_alloc(&t->now, TILE * FACTOR_PANEL, sizeof(float), err) &&
           memory_alloc(&t->side, TILE * FACTOR_PANEL, sizeof(float), err) &&
           memory_alloc(&t->taken, TILE * FACTOR_PANEL, sizeof(float), err);
}

static void sweep_moments(const struct solver *s, struct tile *t, uint64_t n, uint8_t *scales)
{
    uint64_t cols = s->w->cols, blocks = cols / NVFP4_BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        float h[NVFP4_BLOCK * NVFP4_BLOCK];
        descent_block_moments(s->f->moments, s->f->added_to, b * NVFP4_BLOCK, h);
        nvfp4_search_for(s->env->isa)->sweep(t->w + b * NVFP4_BLOCK, cols, n, h, s->s2, scales + b, blocks);
    }
}

static struct kernel_args encode_args(const struct solver *s, const struct tile *t, uint64_t n, uint8_t *scales)
{
    return (struct kernel_args){.n_rows = n,
                                .n_cols = s->w->cols,
                                .src = t->w,
                                .dtype = DTYPE_F32,
                                .scale = nvfp4_tensor_scale(s->w->group_amax),
                                .amax = s->w->group_amax,
                                .static_max = scale_method_max(s->w->scales),
                                .range_start = s->w->range.start,
                                .range_stop = s->w->range.stop,
                                .range_count = s->w->range.n,
                                .dst = t->baseline,
                                .dst_scale = scales};
}

/* Plain rounding with each block's own maximum; `scales` is written. */
static void round_base(const struct solver *s, struct tile *t, uint64_t n, uint8_t *scales)
{
    struct kernel_args a = encode_args(s, t, n, scales);
    kernel_for(OP_ENCODE_NVFP4, s->env->isa)(&a);
    struct kernel_args d = {.n_rows = n,
                            .n_cols = s->w->cols,
                            .src = t->baseline,
                            .src_scale = scales,
                            .scale = a.scale,
                            .dst_f32 = t->base};
    kernel_for(OP_DECODE_NVFP4, s->env->isa)(&d);
}

/* Scales of the line, for the weights as they are now. */
static void choose_scales(const struct solver *s, struct tile *t, uint64_t n, uint8_t *scales)
{
    struct kernel_args a = encode_args(s, t, n, scales);
    uint64_t blocks = s->w->cols / NVFP4_BLOCK;
    if (s->w->scales == SCALES_MAX) {
        kernel_for(OP_ENCODE_NVFP4, s->env->isa)(&a);
    } else if (s->w->scales == SCALES_LOCAL_HESSIAN && s->f->factor) {
        sweep_moments(s, t, n, scales);
    } else { /* without moments all inputs are alike, which is the plain sweep */
        bool local = s->w->scales == SCALES_LOCAL_HESSIAN;
        a.dst_f32 = t->block_amax;
        kernel_for(local ? OP_SWEEP_NVFP4 : scale_method_op(s->w->scales), s->env->isa)(&a);
        a.block_amax = t->block_amax;
        kernel_for(OP_ENCODE_NVFP4_STATIC, s->env->isa)(&a);
    }
    for (uint64_t i = 0; i < n * blocks; i++) t->steps[i] = nvfp4_block_scale(scales[i], s->s2);
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

/* Column c of the factor, number i of its panel: rounds, and hands the error to the rest of the panel. */
static void round_column(const struct solver *s, struct tile *t, uint64_t first, uint64_t i, uint64_t width, uint64_t n)
{
    uint64_t cols = s->w->cols, blocks = cols / NVFP4_BLOCK, at = s->f->order[first + i];
    const float *now = t->side + i * TILE, *steps = t->steps + at / NVFP4_BLOCK;
    float *taken = t->taken + i * TILE;
    double left = 0, own = 0, r_cc = (double)s->f->factor->diagonal[first + i];
    for (uint64_t r = 0; r < n; r++) {
        float e = steps[r * blocks];
        uint8_t code = nvfp4_code(now[r] / e);
        t->column[r * cols + at] = code;
        taken[r] = t->w[r * cols + at] - e2m1_decode(code) * e;
        t->error[r * s->stride + first + i] = taken[r];
        double v = (double)(now[r] - e2m1_decode(code) * e), x = (double)taken[r];
        left += v * v;
        own += x * x;
    }
    t->left += left * r_cc * r_cc - own * (double)s->f->added[first + i];
    const float *row = factor_panel(s->f->factor, first) + (first + i) * FACTOR_PANEL;
    for (uint64_t k = i + 1; k < width; k++) s->env->math->multiply_add(t->side + k * TILE, taken, row[k], n);
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

/* What the codes as they stand do to the outputs, from their errors in the factor's order. */
static double code_errors(const struct solver *s, struct tile *t, uint64_t n)
{
    uint64_t cols = s->w->cols, blocks = cols / NVFP4_BLOCK;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < cols; c++) {
            uint64_t at = s->f->order[c];
            float q = e2m1_decode(t->column[r * cols + at]) * t->steps[r * blocks + at / NVFP4_BLOCK];
            t->error[r * s->stride + c] = t->w[r * cols + at] - q;
        }
    return weighted(s, t->error, s->stride, n, t->now);
}

/* Codes and scales as GPTQ left them, moved until the row as a whole is better. */
static bool descend(const struct solver *s, struct tile *t, uint64_t n, uint8_t *scales, struct error *err)
{
    uint64_t cols = s->w->cols, blocks = cols / NVFP4_BLOCK;
    CLEANUP(free) float *q = NULL;
    if (!memory_alloc(&q, n * cols, sizeof *q, err)) return false;
    for (uint64_t i = 0; i < n * cols; i++) q[i] = e2m1_decode(t->column[i]) * t->steps[i / NVFP4_BLOCK];
    struct descent d = {.moments = s->f->moments,
                        .add = s->f->added_to,
                        .s2 = s->s2,
                        .passes = s->w->passes,
                        .math = s->env->math,
                        .search = nvfp4_search_for(s->env->isa)};
    if (!descent_rows(&d, t->w, q, scales, n, err)) return false;
    for (uint64_t i = 0; i < n * blocks; i++) t->steps[i] = nvfp4_block_scale(scales[i], s->s2);
    for (uint64_t i = 0; i < n * cols; i++) t->column[i] = nvfp4_code(q[i] / t->steps[i / NVFP4_BLOCK]);
    return true;
}

/* Without moments: plain rounding with the chosen scales. */
static void round_plain(const struct solver *s, struct tile *t, uint64_t n)
{
    uint64_t cols = s->w->cols, blocks = cols / NVFP4_BLOCK;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < cols; c++)
            t->column[r * cols + c] = nvfp4_code(t->w[r * cols + c] / t->steps[r * blocks + c / NVFP4_BLOCK]);
}

static void pack_rows(const struct tile *t, uint64_t n, uint64_t cols, uint8_t *codes)
{
    for (uint64_t i = 0; i < n * cols / 2; i++) codes[i] = (uint8_t)(t->column[2 * i] | t->column[2 * i + 1] << 4);
}

static bool solve_tile(const struct solver *s, struct tile *t, uint64_t item, struct error *err)
{
    uint64_t cols = s->w->cols, row = item * TILE, n = u64_min(TILE, s->w->n_rows - row);
    struct solve_gain *g = &s->gains[item];
    if (!s->w->rows(s->w->ctx, row, n, t->w, err)) return false;
    uint8_t *scales = s->scales + row * (cols / NVFP4_BLOCK);
    round_base(s, t, n, scales);
    struct target_room room = {t->plain, t->error, t->now, t->side, TILE, s->stride};
    if (s->f->target.off) target_rows(&s->f->target, s->env->math, t->w, n, &room);
    choose_scales(s, t, n, scales);
    if (!s->f->factor) {
        round_plain(s, t, n);
    } else {
        take_errors(s, t, t->base, n);
        g->before = weighted(s, t->plain, s->stride, n, t->now);
        if (s->w->method == SOLVE_ROUND) round_plain(s, t, n);
        else
            for (uint64_t c = 0; c < cols; c += FACTOR_PANEL) solve_panel(s, t, c, n);
        if (s->w->method == SOLVE_DESCENT && !descend(s, t, n, scales, err)) return false;
        if (s->w->method != SOLVE_GPTQ) t->left = code_errors(s, t, n);
        g->after = t->left > 0 ? t->left : 0;
        take_errors(s, t, NULL, n);
        g->output = weighted(s, t->plain, s->stride, n, t->now);
    }
    pack_rows(t, n, cols, s->codes + row * (cols / 2));
    return true;
}

static bool tile_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct solver *s = ctx;
    struct tile t = {0};
    bool ok = tile_alloc(&t, s, err) && solve_tile(s, &t, item, err);
    tile_free(&t);
    return ok;
}

bool gptq_solve(const struct gptq_weights *w, const struct gptq_factor *f, const struct gptq_env *env, uint8_t *codes,
                uint8_t *scales, struct solve_gain *gain, struct error *err)
{
    uint64_t n_tiles = u64_div_up(w->n_rows, TILE);
    CLEANUP(free) struct solve_gain *gains = NULL;
    if (!memory_zalloc(&gains, n_tiles, sizeof *gains, err)) return false;
    struct solver s = {.w = w,
                       .f = f,
                       .env = env,
                       .codes = codes,
                       .scales = scales,
                       .gains = gains,
                       .stride = w->cols + 16, /* rows apart in the caches */
                       .s2 = w->tensor_scale};
    if (!pool_try(env->pool, n_tiles, tile_item, &s, err)) return false;
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
