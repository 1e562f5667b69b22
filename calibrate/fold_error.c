#include "calibrate/fold_error.h"

#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"
#include "calibrate/rounded.h"
#include "core/bytes.h"
#include "core/memory.h"

#define CHUNK 64u /* rows of the sample that are multiplied together */

bool fold_rows(const struct fold_env *e, uint32_t i, const struct fold_factors *f, uint64_t first, uint64_t n, float *w,
               void *changed, struct error *err)
{
    const struct model_tensor *t = e->plan->items[i].tensor;
    const struct checkpoint *ck = e->plan->inventory->checkpoint;
    uint32_t index = t->parts[PART_WEIGHT];
    enum dtype dtype = checkpoint_tensor(ck, index)->dtype;
    uint64_t row = t->dims[1] * dtype_bytes(dtype);
    CLEANUP(free) uint8_t *raw = NULL;
    if (!memory_alloc(&raw, n, row, err) || !checkpoint_read(ck, index, first * row, raw, n * row, err)) return false;
    if (w)
        kernel_for(OP_WIDEN, e->isa)(
            &(struct kernel_args){.n_rows = n, .n_cols = t->dims[1], .src = raw, .dtype = dtype, .dst_f32 = w});
    if (changed) fold_apply(e->plan, i, f, dtype, first * t->dims[1], n * t->dims[1], raw, changed);
    return true;
}

float fold_input_scale(const struct fold_env *e, uint32_t i, const struct sample *s, const float *by)
{
    const struct plan_item *item = &e->plan->items[i];
    float top = item->input_amax;
    if (!quant_format_has_input_scale(item->format)) return 0;
    for (uint64_t c = 0; item->observe_input && c < s->cols; c++) {
        float a = by ? s->amax[c] / by[c] : s->amax[c];
        if (a > top) top = a;
    }
    return top / item->format->amax_per_scale;
}

/* ---- one tile ---- */

struct tile_room {
    float *x, *z; /* [CHUNK, cols] */
    float *d;     /* [FOLD_TILE, cols] */
    float *panel, *other, *y;
};

static void room_free(struct tile_room *r)
{
    free(r->x);
    free(r->z);
    free(r->d);
    free(r->panel);
    free(r->other);
    free(r->y);
}

static bool room_make(struct tile_room *r, uint64_t cols, struct error *err)
{
    return memory_alloc(&r->x, CHUNK * cols, sizeof(float), err) &&
           memory_alloc(&r->z, CHUNK * cols, sizeof(float), err) &&
           memory_alloc(&r->d, FOLD_TILE * cols, sizeof(float), err) &&
           memory_alloc(&r->panel, GEMM_PANEL * cols, sizeof(float), err) &&
           memory_alloc(&r->other, GEMM_PANEL * cols, sizeof(float), err) &&
           memory_alloc(&r->y, CHUNK * GEMM_PANEL, sizeof(float), err);
}

static double sum_of_squares(const float *y, uint64_t rows, uint32_t width)
{
    double sum = 0;
    for (uint64_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < width; c++) sum += (double)y[r * GEMM_PANEL + c] * (double)y[r * GEMM_PANEL + c];
    return sum;
}

/* Inputs as the engine multiplies with them. */
static void round_chunk(const struct fold_env *e, uint64_t cols, uint64_t rows, enum op op, float scale,
                        const float *by, struct tile_room *r)
{
    for (uint64_t i = 0; i < rows; i++)
        for (uint64_t c = 0; c < cols; c++) r->z[i * cols + c] = by ? r->x[i * cols + c] / by[c] : r->x[i * cols + c];
    kernel_for(op, e->isa)(&(struct kernel_args){
        .n_rows = rows, .n_cols = cols, .src = r->z, .dtype = DTYPE_F32, .scale = scale, .dst_f32 = r->z});
}

/* Sums over a chunk of the sample. d: what is left of each weight (inputs as they are), or q and -w. */
static void chunk_error(const struct fold_env *e, const struct sample *s, bool rounds, const float *w, const float *q,
                        uint64_t n, uint64_t rows, struct tile_room *r, double *error, double *energy)
{
    const struct math_ops *math = math_for(e->isa);
    uint64_t cols = s->cols;
    for (uint64_t at = 0; at < n; at += GEMM_PANEL) {
        uint32_t width = (uint32_t)u64_min(GEMM_PANEL, n - at);
        if (energy || rounds) gemm_pack(w + at * cols, cols, width, cols, r->other);
        if (energy) {
            math->gemm_panel(r->x, cols, rows, r->other, cols, r->y, GEMM_PANEL, width);
            *energy += sum_of_squares(r->y, rows, width);
        }
        if (rounds) {
            for (uint64_t k = 0; k < GEMM_PANEL * cols; k++) r->other[k] = -r->other[k];
            gemm_pack(q + at * cols, cols, width, cols, r->panel);
            math->gemm_panel(r->z, cols, rows, r->panel, cols, r->y, GEMM_PANEL, width);
            math->gemm_panel_more(r->x, cols, rows, r->other, cols, r->y, GEMM_PANEL, width);
        } else {
            gemm_pack(r->d + at * cols, cols, width, cols, r->panel);
            math->gemm_panel(r->x, cols, rows, r->panel, cols, r->y, GEMM_PANEL, width);
        }
        *error += sum_of_squares(r->y, rows, width);
    }
}

bool fold_tile_error(const struct fold_env *e, const struct sample *s, enum op input_op, float input_scale,
                     const float *by, const float *w, const float *q, uint64_t n, double *error, double *energy,
                     struct error *err)
{
    struct tile_room r = {0};
    bool ok = room_make(&r, s->cols, err), rounds = input_scale > 0;
    *error = 0;
    if (energy) *energy = 0;
    for (uint64_t k = 0; ok && !rounds && k < n * s->cols; k += s->cols)
        for (uint64_t c = 0; c < s->cols; c++) r.d[k + c] = (by ? q[k + c] / by[c] : q[k + c]) - w[k + c];
    for (uint32_t at = 0; ok && at < s->n_kept; at += CHUNK) {
        uint64_t rows = u64_min(CHUNK, s->n_kept - at);
        for (uint64_t i = 0; i < rows; i++) sample_row(s, (uint32_t)(at + i), r.x + i * s->cols);
        if (rounds) round_chunk(e, s->cols, rows, input_op, input_scale, by, &r);
        chunk_error(e, s, rounds, w, q, n, rows, &r, error, energy);
    }
    room_free(&r);
    return ok;
}

/* ---- all tiles of all readers ---- */

struct trial {
    const struct fold_env *e;
    struct fold_reader *readers;
    const struct fold_factors *factors;
    bool plain, energy_too;
    uint64_t *first;        /* [n + 1]: tiles */
    float *tile_amax;       /* [tiles] */
    float *amax, *input;    /* [n]: the largest weight of all that share the scale; the input's scale */
    double *error, *energy; /* [tiles] */
};

static uint32_t reader_of(const struct trial *t, uint64_t tile)
{
    uint32_t i = 0;
    while (t->first[i + 1] <= tile) i++;
    return i;
}

/* Rows of a tile. */
static uint64_t tile_rows(const struct trial *t, uint32_t reader, uint64_t tile, uint64_t *from)
{
    *from = (tile - t->first[reader]) * FOLD_TILE;
    return u64_min(FOLD_TILE, t->e->plan->items[t->readers[reader].item].tensor->dims[0] - *from);
}

static enum dtype dtype_of(const struct trial *t, uint32_t item)
{
    const struct plan *p = t->e->plan;
    return checkpoint_tensor(p->inventory->checkpoint, p->items[item].tensor->parts[PART_WEIGHT])->dtype;
}

static bool amax_item(void *ctx, uint64_t tile, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct trial *t = ctx;
    uint32_t k = reader_of(t, tile), item = t->readers[k].item;
    uint64_t from, n = tile_rows(t, k, tile, &from), cols = t->readers[k].sample->cols;
    CLEANUP(free) void *rows = NULL;
    if (!memory_alloc(&rows, n * cols, sizeof(float), err) ||
        !fold_rows(t->e, item, t->factors, from, n, NULL, rows, err))
        return false;
    kernel_for(OP_AMAX, t->e->isa)(&(struct kernel_args){
        .n_rows = 1, .n_cols = n * cols, .src = rows, .dtype = dtype_of(t, item), .dst_f32 = &t->tile_amax[tile]});
    return true;
}

static bool error_item(void *ctx, uint64_t tile, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct trial *t = ctx;
    uint32_t k = reader_of(t, tile), item = t->readers[k].item;
    uint64_t from, n = tile_rows(t, k, tile, &from), cols = t->readers[k].sample->cols;
    const struct plan_item *p = &t->e->plan->items[item];
    CLEANUP(free) void *rows = NULL;
    CLEANUP(free) float *w = NULL;
    CLEANUP(free) float *q = NULL;
    return memory_alloc(&rows, n * cols, sizeof(float), err) && memory_alloc(&w, n * cols, sizeof *w, err) &&
           memory_alloc(&q, n * cols, sizeof *q, err) && fold_rows(t->e, item, t->factors, from, n, w, rows, err) &&
           round_rows(t->e->plan, item, t->plain ? SCALES_MAX : p->scales, t->amax[k], t->e->isa, rows,
                      dtype_of(t, item), n, q, err) &&
           fold_tile_error(t->e, t->readers[k].sample, p->format->input_op, t->input[k], t->factors->by, w, q, n,
                           &t->error[tile], t->energy_too ? &t->energy[tile] : NULL, err);
}

/* The largest of all that share a scale of weights; and of inputs, experts of one projection. */
static bool share(struct trial *t, uint32_t n, struct error *err)
{
    const struct plan_item *items = t->e->plan->items;
    CLEANUP(free) float *own = NULL;
    if (!memory_alloc(&own, 2 * (uint64_t)n, sizeof *own, err)) return false;
    memcpy(own, t->amax, n * sizeof *own);
    memcpy(own + n, t->input, n * sizeof *own);
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = 0; b < n; b++) {
            const struct plan_item *x = &items[t->readers[a].item], *y = &items[t->readers[b].item];
            if (x->group == y->group && own[b] > t->amax[a]) t->amax[a] = own[b];
            if (x->tensor->container && x->tensor->place.role == y->tensor->place.role && own[n + b] > t->input[a])
                t->input[a] = own[n + b];
        }
    return true;
}

static bool prepare(struct trial *t, uint32_t n, struct error *err)
{
    uint64_t tiles = t->first[n];
    if (!memory_zalloc(&t->tile_amax, tiles, sizeof *t->tile_amax, err) ||
        !memory_zalloc(&t->amax, n, sizeof *t->amax, err) || !memory_zalloc(&t->input, n, sizeof *t->input, err) ||
        !memory_zalloc(&t->error, tiles, sizeof *t->error, err) ||
        !memory_zalloc(&t->energy, tiles, sizeof *t->energy, err) || !pool_try(t->e->pool, tiles, amax_item, t, err))
        return false;
    for (uint32_t k = 0; k < n; k++) {
        for (uint64_t i = t->first[k]; i < t->first[k + 1]; i++)
            if (t->tile_amax[i] > t->amax[k]) t->amax[k] = t->tile_amax[i];
        t->input[k] = fold_input_scale(t->e, t->readers[k].item, t->readers[k].sample, t->factors->by);
    }
    if (!share(t, n, err)) return false;
    for (uint32_t k = 0; k < n; k++)
        if (!(t->amax[k] > 0)) t->amax[k] = 1; /* as quantize/scalars.c */
    return true;
}

static void add_up(const struct trial *t, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        struct fold_reader *r = &t->readers[k];
        double rows = r->sample->n_kept ? (double)r->sample->n_kept : 1;
        double error = 0, energy = 0;
        for (uint64_t i = t->first[k]; i < t->first[k + 1]; i++) {
            error += t->error[i];
            energy += t->energy[i];
        }
        r->error = error / rows;
        if (t->energy_too) r->energy = energy / rows;
    }
}

bool fold_errors(const struct fold_env *e, struct fold_reader *readers, uint32_t n, const float *by, bool plain,
                 bool energy_too, struct error *err)
{
    const struct fold_factors factors = {.by = (float *)(uintptr_t)by};
    struct trial t = {.e = e, .readers = readers, .factors = &factors, .plain = plain, .energy_too = energy_too};
    if (!memory_alloc(&t.first, (uint64_t)n + 1, sizeof *t.first, err)) return false;
    t.first[0] = 0;
    for (uint32_t k = 0; k < n; k++)
        t.first[k + 1] = t.first[k] + u64_div_up(e->plan->items[readers[k].item].tensor->dims[0], FOLD_TILE);
    bool ok = prepare(&t, n, err) && pool_try(e->pool, t.first[n], error_item, &t, err);
    if (ok) add_up(&t, n);
    free(t.first);
    free(t.tile_amax);
    free(t.amax);
    free(t.input);
    free(t.error);
    free(t.energy);
    return ok;
}
