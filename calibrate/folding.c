#include "calibrate/folding.h"

#include "backends/cpu/kernel.h"
#include "calibrate/clip.h"
#include "calibrate/fold_search.h"
#include "core/memory.h"
#include "plan/solve_parts.h"

#include <math.h>

bool folding_open(struct folding *f, const struct plan *plan, struct pool *pool, uint64_t isa, struct work *work,
                  struct error *err)
{
    *f = (struct folding){.env = {plan, pool, isa}, .work = work};
    return memory_zalloc(&f->samples, plan->n_items, sizeof *f->samples, err) &&
           memory_zalloc(&f->values, plan->n_items, sizeof *f->values, err) &&
           memory_zalloc(&f->scales, plan->n_folds, sizeof *f->scales, err);
}

static void drop_block(struct folding *f)
{
    const struct plan *p = f->env.plan;
    for (uint32_t i = 0; i < p->n_items; i++) {
        if (f->samples) sample_close(&f->samples[i]);
        if (f->values) free(take_ptr(&f->values[i]));
    }
    for (uint32_t g = 0; f->scales && g < p->n_folds; g++) free(take_ptr(&f->scales[g]));
    f->active = false;
}

void folding_close(struct folding *f)
{
    if (!f->env.plan) return;
    drop_block(f);
    free(f->samples);
    free(f->values);
    free(f->scales);
}

static bool here(const struct plan_item *item, uint32_t block)
{
    return item->tensor->place.block == (int32_t)block && !item->tensor->place.mtp;
}

bool folding_has(const struct folding *f, uint32_t block)
{
    const struct plan *p = f->env.plan;
    for (uint32_t i = 0; i < p->n_items; i++)
        if (here(&p->items[i], block) && plan_fold_watches(p, i)) return true;
    return false;
}

bool folding_begin(struct folding *f, uint32_t block, struct error *err)
{
    const struct plan *p = f->env.plan;
    f->active = folding_has(f, block);
    f->first = f->end = 0;
    while (f->first < p->n_folds && p->folds[f->first].block < block) f->first++;
    for (f->end = f->first; f->end < p->n_folds && p->folds[f->end].block == block;) f->end++;
    f->from = f->to = 0;
    for (uint32_t i = 0; f->active && i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (!here(item, block)) continue;
        if (f->to == 0) f->from = i;
        f->to = i + 1;
        if (plan_fold_watches(p, i) &&
            !sample_open(&f->samples[i], item->tensor->dims[1], plan_fold_sample_rows(item), err))
            return false;
        if (item->kv_observed && item->fold_out != NAME_NONE &&
            !memory_zalloc(&f->values[i], item->tensor->dims[0], sizeof **f->values, err))
            return false;
    }
    return true;
}

void folding_input(struct folding *f, uint32_t i, const float *x, uint64_t n, uint64_t stride, bool forced)
{
    struct sample *s = &f->samples[i];
    if (!f->active || !s->cols) return;
    s->forced = forced;
    /* Experts are items of a parallel-for themselves. */
    sample_add(s, f->env.plan->items[i].tensor->place.expert >= 0 ? NULL : f->env.pool, x, n, stride);
}

void folding_values(struct folding *f, uint32_t i, const float *x, uint64_t n, uint64_t cols, uint64_t stride)
{
    float *top = f->values[i];
    if (!f->active || !top) return;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < cols; c++)
            if (fabsf(x[r * stride + c]) > top[c]) top[c] = fabsf(x[r * stride + c]);
}

/* ---- scales ---- */

static const struct sample *sample_of(const struct folding *f, uint32_t i)
{
    return &f->samples[solve_owner(f->env.plan, i)];
}

struct party {
    struct fold_reader *readers;
    const struct sample **inputs;
    double *before;
    struct fold_group group;
};

static void party_free(struct party *q)
{
    free(q->readers);
    free(q->inputs);
    free(q->before);
}

static bool gather(const struct folding *f, uint32_t number, struct party *q, struct error *err)
{
    const struct plan *p = f->env.plan;
    uint32_t most = 0;
    for (uint32_t i = f->from; i < f->to; i++) most += p->items[i].fold_in == number;
    if (!memory_zalloc(&q->readers, most, sizeof *q->readers, err) ||
        !memory_zalloc(&q->inputs, most, sizeof *q->inputs, err) ||
        !memory_zalloc(&q->before, most, sizeof *q->before, err))
        return false;
    q->group = (struct fold_group){.fold = &p->folds[number],
                                   .readers = q->readers,
                                   .inputs = q->inputs,
                                   .before = q->before,
                                   .scale = f->scales[number]};
    for (uint32_t i = f->from; i < f->to; i++) {
        const struct plan_item *item = &p->items[i];
        if (item->fold_in != number || role_info(item->tensor->place.role)->kind != KIND_LINEAR) continue;
        if (plan_fold_watches(p, i)) q->inputs[q->group.n_inputs++] = &f->samples[i];
        if (item->action == ACTION_QUANTIZE)
            q->readers[q->group.n_readers++] = (struct fold_reader){.item = i, .sample = sample_of(f, i)};
    }
    return true;
}

static bool put_vector(struct folding *f, uint32_t number, struct error *err)
{
    const struct plan_fold *g = &f->env.plan->folds[number];
    uint64_t bytes = g->n * sizeof(float);
    struct solved_tensor t = {.name = g->name, .dtype = DTYPE_F32, .n_dims = 1, .dims = {g->n}, .bytes = bytes};
    t.at = work_reserve(f->work, bytes);
    return sha256_of(bytes_of(f->scales[number], bytes), &t.digest, err) &&
           work_write(f->work, t.at, f->scales[number], bytes, err) && stats_add_solved(f->work->stats, &t, err);
}

static bool find_scales(struct folding *f, uint32_t number, struct solve_gain *gains, struct error *err)
{
    const struct plan *p = f->env.plan;
    struct party q = {0};
    bool ok = gather(f, number, &q, err) && fold_search(&f->env, &q.group, err) && put_vector(f, number, err);
    for (uint32_t k = 0; ok && k < q.group.n_readers; k++) {
        const struct fold_reader *r = &q.readers[k];
        gains[r->item] = (struct solve_gain){.module = p->items[r->item].tensor->module,
                                             .before = q.before[k],
                                             .after = r->error,
                                             .output = r->energy,
                                             .damp = r->sample->n_kept > 0};
    }
    party_free(&q);
    return ok;
}

/* What an earlier run found; the statistics are not sorted as yet. */
static bool recall_scales(struct folding *f, uint32_t number, struct error *err)
{
    const struct stats *s = f->work->stats;
    const struct plan_fold *g = &f->env.plan->folds[number];
    for (uint32_t i = s->n_solved; i > 0; i--)
        if (strcmp(s->solved[i - 1].name, g->name) == 0)
            return stats_read_solved(s, &s->solved[i - 1], 0, f->scales[number], g->n * sizeof(float), err);
    return error_set(err, ERR_INTERNAL, "'%.256s' is not in the work folder", g->name);
}

/* ---- maxima after folding ---- */

static void new_input(const struct folding *f, uint32_t i, float *input)
{
    const struct plan_item *item = &f->env.plan->items[i];
    const struct plan_fold *g = &f->env.plan->folds[item->fold_in];
    const struct sample *s = sample_of(f, i);
    *input = 0;
    for (uint64_t c = 0; c < s->cols; c++) {
        float v = s->amax[c] / f->scales[item->fold_in][g->columns ? g->columns[c] : c];
        if (v > *input) *input = v;
    }
}

static void new_output(const struct folding *f, uint32_t i, float *output)
{
    const struct plan_item *item = &f->env.plan->items[i];
    *output = 0;
    for (uint64_t c = 0; c < item->tensor->dims[0]; c++) {
        float v = f->values[i][c] / f->scales[item->fold_out][c];
        if (v > *output) *output = v;
    }
}

struct weights_ctx {
    const struct folding *f;
    const uint32_t *items;
    float *weights; /* [n_items] */
};

static bool factors_of(const struct folding *f, uint32_t i, struct fold_factors *out, struct error *err)
{
    const struct plan_item *item = &f->env.plan->items[i];
    return fold_factors_make(f->env.plan, i, item->fold_in == NAME_NONE ? NULL : f->scales[item->fold_in],
                             item->fold_out == NAME_NONE ? NULL : f->scales[item->fold_out], out, err);
}

static bool weight_item(void *ctx, uint64_t k, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct weights_ctx *x = ctx;
    const struct fold_env *e = &x->f->env;
    uint32_t i = x->items[k];
    const struct model_tensor *t = e->plan->items[i].tensor;
    enum dtype dtype = checkpoint_tensor(e->plan->inventory->checkpoint, t->parts[PART_WEIGHT])->dtype;
    __attribute__((cleanup(cleanup_fold_factors))) struct fold_factors factors = {0};
    CLEANUP(free) void *rows = NULL;
    if (!factors_of(x->f, i, &factors, err) || !memory_alloc(&rows, FOLD_TILE * t->dims[1], sizeof(float), err))
        return false;
    x->weights[i] = 0;
    for (uint64_t at = 0; at < t->dims[0]; at += FOLD_TILE) {
        uint64_t n = u64_min(FOLD_TILE, t->dims[0] - at);
        float amax;
        if (!fold_rows(e, i, &factors, at, n, NULL, rows, err)) return false;
        kernel_for(OP_AMAX, e->isa)(&(struct kernel_args){
            .n_rows = 1, .n_cols = n * t->dims[1], .src = rows, .dtype = dtype, .dst_f32 = &amax});
        if (!isfinite(amax))
            return error_set(err, ERR_FORMAT, "tensor '%.256s' holds a value that is not finite after folding",
                             t->name);
        if (amax > x->weights[i]) x->weights[i] = amax;
    }
    return true;
}

static bool new_weights(struct folding *f, uint32_t block, const struct folding_maxima *m, struct error *err)
{
    const struct plan *p = f->env.plan;
    CLEANUP(free) uint32_t *items = NULL;
    uint32_t n = 0;
    if (!memory_alloc(&items, p->n_items, sizeof *items, err)) return false;
    for (uint32_t i = f->from; i < f->to; i++) {
        const struct plan_item *item = &p->items[i];
        if (here(item, block) && plan_item_folds(item) && item->action == ACTION_QUANTIZE) items[n++] = i;
    }
    struct weights_ctx x = {f, items, m->weights};
    if (!pool_try(f->env.pool, n, weight_item, &x, err)) return false;
    for (uint32_t k = 0; k < n; k++) m->groups[p->items[items[k]].group] = 0;
    for (uint32_t i = f->from; i < f->to; i++) { /* members that do not fold share the scale all the same */
        const struct plan_item *item = &p->items[i];
        if (here(item, block) && !isnan(m->weights[i]) && m->weights[i] > m->groups[item->group])
            m->groups[item->group] = m->weights[i];
    }
    return true;
}

static bool new_maxima(struct folding *f, uint32_t block, const struct folding_maxima *m, struct error *err)
{
    const struct plan *p = f->env.plan;
    for (uint32_t i = f->from; i < f->to; i++) {
        const struct plan_item *item = &p->items[i];
        if (!here(item, block)) continue;
        if (item->fold_in != NAME_NONE && item->observe_input) new_input(f, i, &m->input[i]);
        if (f->values[i]) new_output(f, i, &m->output[i]);
    }
    return new_weights(f, block, m, err);
}

/* ---- codes ---- */

static bool clip_block(struct folding *f, uint32_t block, const struct folding_maxima *m, struct solve_gain *gains,
                       const struct progress *pr, struct error *err)
{
    const struct plan *p = f->env.plan;
    for (uint32_t i = f->from; i < f->to; i++) {
        const struct plan_item *item = &p->items[i];
        if (!here(item, block) || item->solve.method != SOLVE_CLIP) continue;
        __attribute__((cleanup(cleanup_fold_factors))) struct fold_factors factors = {0};
        struct slot slot = {.item = i, .gain = gains[i]};
        if (!slot.gain.module) slot.gain.before = -1; /* not folded: clip's own is that of max */
        slot.gain.module = item->tensor->module;
        slot_lay_out(&slot, p, f->work);
        if (!progress_go_on(pr, err) || !factors_of(f, i, &factors, err) ||
            !clip_item(&f->env, sample_of(f, i), &factors, m->groups[item->group], &slot, f->work, err) ||
            !slot_add(&slot, p, f->work, err))
            return false;
        gains[i].module = NULL; /* it is there */
    }
    return true;
}

static bool find_all(struct folding *f, uint32_t block, const struct folding_maxima *m, const struct progress *pr,
                     struct error *err)
{
    const struct plan *p = f->env.plan;
    CLEANUP(free) struct solve_gain *gains = NULL;
    if (!memory_zalloc(&gains, p->n_items, sizeof *gains, err)) return false;
    for (uint32_t g = f->first; g < f->end; g++)
        if (!progress_go_on(pr, err) || !find_scales(f, g, gains, err)) return false;
    if (!new_maxima(f, block, m, err) || !clip_block(f, block, m, gains, pr, err)) return false;
    for (uint32_t i = f->from; i < f->to; i++)
        if (gains[i].module && !stats_add_gain(f->work->stats, &gains[i], err)) return false;
    return true;
}

/* What is not finite once stays so in the sums. */
static bool check_samples(const struct folding *f, struct error *err)
{
    for (uint32_t i = f->from; i < f->to; i++)
        for (uint64_t c = 0; c < f->samples[i].cols; c++)
            if (!isfinite(f->samples[i].sum[c]))
                return error_set(err, ERR_FORMAT,
                                 "the input of '%.256s' is not finite: the model cannot be calibrated on these data",
                                 f->env.plan->items[i].tensor->module);
    return true;
}

bool folding_end(struct folding *f, uint32_t block, bool recalled, const struct folding_maxima *m,
                 const struct progress *pr, struct error *err)
{
    if (!f->active) return true;
    bool ok = check_samples(f, err);
    for (uint32_t g = f->first; ok && g < f->end; g++) {
        ok = memory_alloc(&f->scales[g], f->env.plan->folds[g].n, sizeof **f->scales, err);
        if (ok && recalled) ok = recall_scales(f, g, err);
    }
    ok = ok && (recalled ? new_maxima(f, block, m, err) : find_all(f, block, m, pr, err));
    drop_block(f);
    return ok;
}
