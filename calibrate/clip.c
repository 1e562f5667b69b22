#include "calibrate/clip.h"

#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"
#include "calibrate/rounded.h"
#include "core/bytes.h"
#include "core/memory.h"

#include <math.h>

#define SHARES 11u /* 1, 0.95, ..., 0.5 */

struct clip {
    const struct fold_env *e;
    const struct sample *s;
    const struct fold_factors *f;
    float group_amax, input_scale;
    uint32_t item;
    uint64_t rows, cols, block, n_blocks;
    enum dtype dtype;
    float *panels;                   /* [n_blocks, panels of a block, block, GEMM_PANEL]: sums of x x^T */
    uint64_t panels_of;              /* of a block */
    struct coded_rows all;           /* of the whole weight */
    double *before, *after, *energy; /* per tile */
};

static float share_of(uint32_t k)
{
    return 1.0f - 0.05f * (float)k;
}

/* Columns [at, at + n) of the block's matrix, x over its scales. */
static bool block_matrix(void *ctx, uint64_t b, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct clip *c = ctx;
    uint64_t n = c->block, from = b * n;
    CLEANUP(free) float *row = NULL;
    CLEANUP(free) float *sum = NULL;
    if (!memory_alloc(&row, c->cols, sizeof *row, err) || !memory_zalloc(&sum, n * n, sizeof *sum, err)) return false;
    for (uint32_t k = 0; k < c->s->n_kept; k++) {
        sample_row(c->s, k, row);
        for (uint64_t i = 0; c->f->by && i < n; i++) row[from + i] /= c->f->by[from + i];
        for (uint64_t i = 0; i < n; i++)
            for (uint64_t j = 0; j < n; j++) sum[i * n + j] += row[from + i] * row[from + j];
    }
    for (uint64_t at = 0, k = 0; at < n; at += GEMM_PANEL, k++)
        gemm_pack(sum + at * n, n, (uint32_t)u64_min(GEMM_PANEL, n - at), n,
                  c->panels + (b * c->panels_of + k) * n * GEMM_PANEL);
    return true;
}

struct clip_tile {
    void *changed;      /* [n, cols] in the source's type */
    float *w, *was;     /* with the scales; as it was */
    float *cut, *q, *d; /* [n, cols] */
    float *amax;        /* [n, n_blocks] */
    double *least;      /* [n, n_blocks] */
    float *share;       /* [n, n_blocks] */
    float *y;           /* [n, GEMM_PANEL] */
};

static void clip_tile_free(struct clip_tile *t)
{
    free(t->changed);
    free(t->w);
    free(t->was);
    free(t->cut);
    free(t->q);
    free(t->d);
    free(t->amax);
    free(t->least);
    free(t->share);
    free(t->y);
}

static bool clip_tile_make(struct clip_tile *t, const struct clip *c, struct error *err)
{
    uint64_t n = FOLD_TILE * c->cols, blocks = FOLD_TILE * c->n_blocks;
    return memory_alloc(&t->changed, n, sizeof(float), err) && memory_alloc(&t->w, n, sizeof(float), err) &&
           memory_alloc(&t->was, n, sizeof(float), err) && memory_alloc(&t->cut, n, sizeof(float), err) &&
           memory_alloc(&t->q, n, sizeof(float), err) && memory_alloc(&t->d, n, sizeof(float), err) &&
           memory_alloc(&t->amax, blocks, sizeof(float), err) && memory_alloc(&t->least, blocks, sizeof(double), err) &&
           memory_alloc(&t->share, blocks, sizeof(float), err) &&
           memory_alloc(&t->y, FOLD_TILE * GEMM_PANEL, sizeof(float), err);
}

static void cut_off(const struct clip *c, struct clip_tile *t, uint64_t n, const float *shares, float share)
{
    for (uint64_t k = 0; k < n * c->n_blocks; k++) {
        float most = t->amax[k] * (shares ? shares[k] : share);
        const float *w = t->w + k * c->block;
        for (uint64_t i = 0; i < c->block; i++)
            t->cut[k * c->block + i] = w[i] > most ? most : w[i] < -most ? -most : w[i];
    }
}

/* Keeps the share where a block's error is less than it was. */
static void weigh(const struct clip *c, struct clip_tile *t, uint64_t n, float share)
{
    const struct math_ops *math = math_for(c->e->isa);
    for (uint64_t k = 0; k < n * c->cols; k++) t->d[k] = t->q[k] - t->w[k];
    for (uint64_t b = 0; b < c->n_blocks; b++) {
        double sums[FOLD_TILE] = {0};
        for (uint64_t at = 0, p = 0; at < c->block; at += GEMM_PANEL, p++) {
            uint32_t width = (uint32_t)u64_min(GEMM_PANEL, c->block - at);
            math->gemm_panel(t->d + b * c->block, c->cols, n,
                             c->panels + (b * c->panels_of + p) * c->block * GEMM_PANEL, c->block, t->y, GEMM_PANEL,
                             width);
            for (uint64_t r = 0; r < n; r++)
                for (uint32_t i = 0; i < width; i++)
                    sums[r] += (double)t->y[r * GEMM_PANEL + i] * (double)t->d[r * c->cols + b * c->block + at + i];
        }
        for (uint64_t r = 0; r < n; r++) {
            uint64_t k = r * c->n_blocks + b;
            if (share < 1 && !(sums[r] < t->least[k])) continue;
            t->least[k] = sums[r];
            t->share[k] = share;
        }
    }
}

static struct coded_rows rows_at(const struct clip *c, uint64_t from)
{
    return (struct coded_rows){c->all.codes + from * c->cols / 2, c->all.bytes + from * c->n_blocks,
                               c->all.floats + from * c->n_blocks};
}

/* The error of q, whose rows are divided by what the maker of other channels is divided by. */
static bool measure(const struct clip *c, struct clip_tile *t, uint64_t from, uint64_t n, double *error, double *energy,
                    struct error *err)
{
    for (uint64_t r = 0; c->f->over && r < n; r++)
        for (uint64_t k = 0; k < c->cols; k++) t->q[r * c->cols + k] *= c->f->over[from + r];
    return fold_tile_error(c->e, c->s, c->e->plan->items[c->item].format->input_op, c->input_scale, c->f->by, t->was,
                           t->q, n, error, energy, err);
}

static bool tile_steps(struct clip *c, struct clip_tile *t, uint64_t tile, struct error *err)
{
    const struct plan *p = c->e->plan;
    uint64_t from = tile * FOLD_TILE, n = u64_min(FOLD_TILE, c->rows - from);
    if (!fold_rows(c->e, c->item, c->f, from, n, t->was, t->changed, err)) return false;
    kernel_for(OP_WIDEN, c->e->isa)(
        &(struct kernel_args){.n_rows = n, .n_cols = c->cols, .src = t->changed, .dtype = c->dtype, .dst_f32 = t->w});
    for (uint64_t k = 0; k < n * c->n_blocks; k++)
        t->amax[k] = math_for(c->e->isa)->amax(t->w + k * c->block, c->block);
    for (uint32_t k = 0; k < SHARES; k++) {
        cut_off(c, t, n, NULL, share_of(k));
        if (!round_rows(p, c->item, SCALES_MAX, c->group_amax, c->e->isa, t->cut, DTYPE_F32, n, t->q, err))
            return false;
        weigh(c, t, n, share_of(k));
        if (k == 0 && !measure(c, t, from, n, &c->before[tile], &c->energy[tile], err)) return false;
    }
    const struct coded_rows out = rows_at(c, from);
    cut_off(c, t, n, t->share, 0);
    code_rows(p, c->item, SCALES_MAX, c->group_amax, c->e->isa, t->cut, DTYPE_F32, n, &out);
    decode_rows(&p->items[c->item], c->group_amax, c->e->isa, &out, n, t->q);
    return measure(c, t, from, n, &c->after[tile], NULL, err);
}

static bool tile_item(void *ctx, uint64_t tile, uint32_t worker, struct error *err)
{
    (void)worker;
    struct clip *c = ctx;
    struct clip_tile t = {0};
    bool ok = clip_tile_make(&t, c, err) && tile_steps(c, &t, tile, err);
    clip_tile_free(&t);
    return ok;
}

static bool run(struct clip *c, uint64_t tiles, struct error *err)
{
    return memory_alloc(&c->panels, c->n_blocks * c->panels_of * c->block, GEMM_PANEL * sizeof(float), err) &&
           memory_alloc(&c->all.codes, c->rows, c->cols, err) &&
           memory_alloc(&c->all.bytes, c->rows, c->n_blocks, err) &&
           memory_alloc(&c->all.floats, c->rows * c->n_blocks, sizeof(float), err) &&
           memory_zalloc(&c->before, tiles, sizeof(double), err) &&
           memory_zalloc(&c->after, tiles, sizeof(double), err) &&
           memory_zalloc(&c->energy, tiles, sizeof(double), err) &&
           pool_try(c->e->pool, c->n_blocks, block_matrix, c, err) && pool_try(c->e->pool, tiles, tile_item, c, err);
}

bool clip_item(const struct fold_env *e, const struct sample *s, const struct fold_factors *factors, float group_amax,
               struct slot *slot, const struct work *w, struct error *err)
{
    const struct plan_item *item = &e->plan->items[slot->item];
    const struct model_tensor *t = item->tensor;
    struct clip c = {.e = e, .s = s, .f = factors, .group_amax = group_amax > 0 ? group_amax : 1, .item = slot->item};
    c.rows = t->dims[0];
    c.cols = t->dims[1];
    c.block = item->format->block_cols;
    c.n_blocks = c.cols / c.block;
    c.panels_of = u64_div_up(c.block, GEMM_PANEL);
    c.dtype = checkpoint_tensor(e->plan->inventory->checkpoint, t->parts[PART_WEIGHT])->dtype;
    c.input_scale = fold_input_scale(e, slot->item, s, factors->by);
    uint64_t tiles = u64_div_up(c.rows, FOLD_TILE);
    bool ok = run(&c, tiles, err);
    if (ok) {
        double before = 0, after = 0, energy = 0, rows = s->n_kept ? s->n_kept : 1;
        for (uint64_t i = 0; i < tiles; i++) {
            before += c.before[i];
            after += c.after[i];
            energy += c.energy[i];
        }
        if (slot->gain.before < 0) slot->gain.before = before / rows;
        slot->gain.after = after / rows;
        slot->gain.output = energy / rows;
        slot->gain.damp = s->n_kept > 0;
        const struct gptq_result r = {.codes = c.all.codes, .bytes = c.all.bytes, .floats = c.all.floats};
        ok = slot_store(slot, e->plan, w, &r, err);
    }
    free(c.panels);
    free(c.all.codes);
    free(c.all.bytes);
    free(c.all.floats);
    free(c.before);
    free(c.after);
    free(c.energy);
    return ok;
}
