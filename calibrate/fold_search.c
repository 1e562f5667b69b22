#include "calibrate/fold_search.h"

#include "backends/cpu/kernel.h"
#include "core/bytes.h"
#include "core/memory.h"
#include "numeric/fold_scale.h"

#include <math.h>

#define LEAST 1e-4f
#define MOST 1e4f
#define STEPS 10u /* of the exponent, from 0 to 1 */

struct search {
    const struct fold_env *e;
    struct fold_group *g;
    uint32_t n;
    uint64_t cols;            /* of readers */
    double *mean;             /* [n] */
    float *amax;              /* [n] */
    float *wmax;              /* [n] */
    double *wmean;            /* [n] */
    float *norm, *by, *trial; /* [n]: the maker's weight; [cols]; [n] */
    enum dtype norm_dtype;    /* of FOLD_INPUT the weight's, which pre_quant_scale is stored in */
};

static uint32_t channel(const struct search *s, uint64_t c)
{
    return s->g->fold->columns ? s->g->fold->columns[c] : (uint32_t)c;
}

/* Means over all rows of all inputs, and all columns of a channel. */
static void gather_inputs(struct search *s)
{
    uint64_t rows = 0;
    bool forced = true; /* those count when there is nothing else */
    for (uint32_t k = 0; k < s->g->n_inputs; k++) forced &= s->g->inputs[k]->forced || s->g->inputs[k]->n_rows == 0;
    for (uint32_t k = 0; k < s->g->n_inputs; k++) {
        const struct sample *x = s->g->inputs[k];
        bool counts = forced || !x->forced;
        rows += counts ? x->n_rows : 0;
        for (uint64_t c = 0; c < s->cols; c++) {
            uint32_t at = channel(s, c);
            s->mean[at] += counts ? x->sum[c] : 0;
            if (x->amax[c] > s->amax[at]) s->amax[at] = x->amax[c];
        }
    }
    double per = (double)rows * (double)(s->cols / s->n);
    for (uint32_t c = 0; c < s->n; c++) s->mean[c] = per > 0 ? s->mean[c] / per : 0;
}

/* ---- what weights are like ---- */

struct columns {
    const struct search *s;
    const uint32_t *items;
    float *most;  /* [n items, cols] */
    double *mean; /* [n items, cols] */
};

static void add_row(const float *w, uint64_t cols, uint64_t block, float *most, double *mean)
{
    for (uint64_t at = 0; at < cols; at += block) {
        uint64_t n = u64_min(block, cols - at);
        float top = 0;
        for (uint64_t c = at; c < at + n; c++) {
            float a = fabsf(w[c]);
            if (a > top) top = a;
            if (a > most[c]) most[c] = a;
        }
        for (uint64_t c = at; top > 0 && c < at + n; c++) mean[c] += (double)(fabsf(w[c]) / top);
    }
}

static bool columns_item(void *ctx, uint64_t k, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct columns *x = ctx;
    const struct plan_item *item = &x->s->e->plan->items[x->items[k]];
    uint64_t cols = x->s->cols, rows = item->tensor->dims[0];
    uint64_t block = item->format && item->format->block_cols > 1 ? item->format->block_cols : cols;
    CLEANUP(free) float *w = NULL;
    if (!memory_alloc(&w, FOLD_TILE * cols, sizeof *w, err)) return false;
    for (uint64_t at = 0; at < rows; at += FOLD_TILE) {
        uint64_t n = u64_min(FOLD_TILE, rows - at);
        if (!fold_rows(x->s->e, x->items[k], NULL, at, n, w, NULL, err)) return false;
        for (uint64_t r = 0; r < n; r++) add_row(w + r * cols, cols, block, x->most + k * cols, x->mean + k * cols);
    }
    return true;
}

/* Readers that stay plain count where no other is. */
static uint32_t list_items(const struct search *s, uint32_t *items)
{
    const struct plan *p = s->e->plan;
    uint32_t n = 0, number = (uint32_t)(s->g->fold - p->folds);
    for (uint32_t k = 0; k < s->g->n_readers; k++) items[n++] = s->g->readers[k].item;
    for (uint32_t i = 0; s->g->n_readers == 0 && i < p->n_items; i++)
        if (p->items[i].fold_in == number) items[n++] = i;
    return n;
}

static bool gather_weights(struct search *s, struct error *err)
{
    CLEANUP(free) uint32_t *items = NULL;
    CLEANUP(free) float *most = NULL;
    CLEANUP(free) double *mean = NULL;
    double rows = 0;
    if (!memory_alloc(&items, s->e->plan->n_items, sizeof *items, err)) return false;
    uint32_t n = list_items(s, items);
    if (!memory_zalloc(&most, n * s->cols, sizeof *most, err) || !memory_zalloc(&mean, n * s->cols, sizeof *mean, err))
        return false;
    struct columns x = {s, items, most, mean};
    if (!pool_try(s->e->pool, n, columns_item, &x, err)) return false;
    for (uint32_t k = 0; k < n; k++) {
        rows += (double)s->e->plan->items[items[k]].tensor->dims[0];
        for (uint64_t c = 0; c < s->cols; c++) {
            uint32_t at = channel(s, c);
            s->wmean[at] += mean[k * s->cols + c];
            if (most[k * s->cols + c] > s->wmax[at]) s->wmax[at] = most[k * s->cols + c];
        }
    }
    rows *= (double)(s->cols / s->n);
    for (uint32_t c = 0; c < s->n; c++) s->wmean[c] /= rows;
    return true;
}

/* ---- candidates ---- */

static bool load_norm(struct search *s, struct error *err)
{
    const struct plan_fold *f = s->g->fold;
    const struct checkpoint *ck = s->e->plan->inventory->checkpoint;
    uint32_t index = s->e->plan->items[f->first_maker].tensor->parts[PART_WEIGHT];
    CLEANUP(free) void *raw = NULL;
    s->norm_dtype = checkpoint_tensor(ck, index)->dtype;
    if (f->kind != FOLD_NORM && f->kind != FOLD_NORM_ONE) return true;
    uint64_t bytes = f->n * dtype_bytes(s->norm_dtype);
    if (!memory_alloc(&raw, bytes, 1, err) || !memory_alloc(&s->norm, f->n, sizeof(float), err) ||
        !checkpoint_read(ck, index, 0, raw, bytes, err))
        return false;
    kernel_for(OP_WIDEN, s->e->isa)(
        &(struct kernel_args){.n_rows = 1, .n_cols = f->n, .src = raw, .dtype = s->norm_dtype, .dst_f32 = s->norm});
    return true;
}

static float in_type(enum dtype t, float v)
{
    return t == DTYPE_BF16 ? bf16_decode(bf16_encode(v)) : t == DTYPE_F16 ? f16_decode(f16_encode(v)) : v;
}

/* What is left of a wish after all rounding; 1 where nothing can be left. */
static float effect(const struct search *s, uint32_t c, float wish)
{
    const struct plan_fold *f = s->g->fold;
    float over = wish < LEAST ? LEAST : wish > MOST ? MOST : wish;
    if (!isfinite(wish) || !(wish > 0)) return 1;
    if (f->exact) over = f->kind == FOLD_ROOT ? fold_power_of_four(over) : fold_power_of_two(over);
    if (f->kind == FOLD_INPUT) return 1.0f / in_type(s->norm_dtype, 1.0f / over); /* what is stored is the inverse */
    if (!s->norm || over == 1.0f) return over;
    bool one = f->kind == FOLD_NORM_ONE;
    float w = s->norm[c], after = in_type(s->norm_dtype, one ? fold_norm_one(w, over) : fold_norm(w, over));
    float is = one ? fold_norm_one_effect(w, after) : fold_norm_effect(w, after);
    return isfinite(is) && is >= LEAST / 2 && is <= MOST * 2 ? is : 1;
}

/* Wishes in trial become scales: over the root of largest times smallest, then rounded. */
static void finish(struct search *s, bool level)
{
    float low = INFINITY, high = 0;
    for (uint32_t c = 0; c < s->n; c++) {
        float v = s->trial[c];
        if (!(v > 0) || !isfinite(v)) continue;
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    float by = level && high > 0 ? sqrtf(low) * sqrtf(high) : 1;
    for (uint32_t c = 0; c < s->n; c++) s->trial[c] = s->mean[c] > 0 ? effect(s, c, s->trial[c] / by) : 1;
    for (uint64_t c = 0; c < s->cols; c++) s->by[c] = s->trial[channel(s, c)];
}

static double loss(const struct search *s)
{
    const struct plan_item *items = s->e->plan->items;
    double sum = 0;
    for (uint32_t a = 0; a < s->g->n_readers; a++) {
        enum tensor_role role = items[s->g->readers[a].item].tensor->place.role;
        bool first = true;
        double error = 0, energy = 0;
        for (uint32_t b = 0; b < s->g->n_readers; b++) {
            const struct fold_reader *r = &s->g->readers[b];
            if (items[r->item].tensor->place.role != role) continue;
            if (b < a) first = false;
            error += r->error * sample_weight(r->sample);
            energy += r->energy * sample_weight(r->sample);
        }
        if (first && energy > 0) sum += error / energy;
    }
    return sum;
}

struct best {
    double loss;
    double *errors; /* [n_readers] */
};

static bool consider(struct search *s, struct best *best, struct error *err)
{
    struct fold_group *g = s->g;
    if (!fold_errors(s->e, g->readers, g->n_readers, s->by, false, false, err)) return false;
    double l = loss(s);
    if (!(l < best->loss)) return true;
    best->loss = l;
    memcpy(g->scale, s->trial, s->n * sizeof *g->scale);
    for (uint32_t k = 0; k < g->n_readers; k++) best->errors[k] = g->readers[k].error;
    return true;
}

static bool awq(struct search *s, struct best *best, struct error *err)
{
    for (uint32_t step = 1; step <= STEPS; step++) {
        double a = (double)step / STEPS;
        for (uint32_t c = 0; c < s->n; c++) s->trial[c] = (float)pow(s->mean[c], a);
        finish(s, true);
        if (!consider(s, best, err)) return false;
    }
    for (uint32_t step = 0; s->g->fold->choice.duo && step < STEPS; step++) { /* a = 1 was there */
        double a = (double)step / STEPS;
        for (uint32_t c = 0; c < s->n; c++)
            s->trial[c] = (float)(pow(s->mean[c], a) / (pow(s->wmean[c], 1 - a) + 1e-4));
        finish(s, true);
        if (!consider(s, best, err)) return false;
    }
    return true;
}

static bool smoothquant(struct search *s, struct best *best, struct error *err)
{
    double alpha = s->g->fold->choice.alpha;
    for (uint32_t c = 0; c < s->n; c++)
        s->trial[c] = (float)(pow((double)s->amax[c], alpha) / pow((double)s->wmax[c], 1 - alpha));
    finish(s, false);
    best->loss = INFINITY;
    return consider(s, best, err);
}

/* Before: max; then what nothing folded gives with the line's own scales. */
static bool begin(struct search *s, struct best *best, struct error *err)
{
    struct fold_group *g = s->g;
    bool same = true;
    if (!fold_errors(s->e, g->readers, g->n_readers, NULL, true, true, err)) return false;
    for (uint32_t k = 0; k < g->n_readers; k++) {
        g->before[k] = g->readers[k].error;
        same &= s->e->plan->items[g->readers[k].item].scales == SCALES_MAX;
    }
    if (!same && !fold_errors(s->e, g->readers, g->n_readers, NULL, false, false, err)) return false;
    best->loss = loss(s);
    for (uint32_t k = 0; k < g->n_readers; k++) best->errors[k] = g->readers[k].error;
    for (uint32_t c = 0; c < s->n; c++) g->scale[c] = 1;
    return true;
}

static bool run(struct search *s, struct best *best, struct error *err)
{
    struct fold_group *g = s->g;
    const struct fold_choice *choice = &g->fold->choice;
    bool weights = choice->method == FOLD_SMOOTHQUANT || choice->duo;
    gather_inputs(s);
    if (!begin(s, best, err) || (weights && !gather_weights(s, err)) || !load_norm(s, err)) return false;
    if (!(choice->method == FOLD_AWQ ? awq : smoothquant)(s, best, err)) return false;
    for (uint32_t k = 0; k < g->n_readers; k++) g->readers[k].error = best->errors[k];
    return true;
}

bool fold_search(const struct fold_env *e, struct fold_group *g, struct error *err)
{
    struct search s = {.e = e, .g = g, .n = g->fold->n};
    struct best best = {0};
    s.cols = g->n_inputs ? g->inputs[0]->cols : 0;
    for (uint32_t c = 0; c < s.n; c++) g->scale[c] = 1;
    if (s.cols == 0) return true; /* nothing was seen */
    bool ok = memory_zalloc(&s.mean, s.n, sizeof *s.mean, err) && memory_zalloc(&s.amax, s.n, sizeof *s.amax, err) &&
              memory_zalloc(&s.wmax, s.n, sizeof *s.wmax, err) && memory_zalloc(&s.wmean, s.n, sizeof *s.wmean, err) &&
              memory_alloc(&s.by, s.cols, sizeof *s.by, err) && memory_alloc(&s.trial, s.n, sizeof *s.trial, err) &&
              memory_zalloc(&best.errors, g->n_readers, sizeof *best.errors, err) && run(&s, &best, err);
    free(s.mean);
    free(s.amax);
    free(s.wmax);
    free(s.wmean);
    free(s.norm);
    free(s.by);
    free(s.trial);
    free(best.errors);
    return ok;
}
