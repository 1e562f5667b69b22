#include "calibrate/observing.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"

#include <math.h>

#define SAMPLE_ROWS 16u

bool observing_open(struct observing *o, const struct plan *plan, struct pool *pool, uint64_t isa, struct error *err)
{
    o->plan = plan;
    o->pool = pool;
    o->isa = isa;
    if (!memory_zalloc(&o->histograms, plan->n_items, sizeof *o->histograms, err) ||
        !memory_zalloc(&o->samples, plan->n_items, sizeof *o->samples, err) ||
        !memory_alloc(&o->peak, plan->n_items, sizeof *o->peak, err) ||
        !memory_alloc(&o->gain, plan->n_items, sizeof *o->gain, err))
        return false;
    for (uint32_t i = 0; i < plan->n_items; i++) o->peak[i] = o->gain[i] = NAN;
    return true;
}

void observing_close(struct observing *o)
{
    for (uint32_t i = 0; o->histograms && i < o->plan->n_items; i++) free(o->histograms[i]);
    for (uint32_t i = 0; o->samples && i < o->plan->n_items; i++) sample_close(&o->samples[i]);
    free(o->histograms);
    free(o->samples);
    free(o->peak);
    free(o->gain);
}

void observing_input(struct observing *o, uint32_t item, const float *x, uint64_t n_rows, uint64_t stride)
{
    const struct plan_item *p = &o->plan->items[item];
    if (p->observer.method == OBSERVER_MAX) return;
    if (!o->histograms[item]) o->histograms[item] = calloc(1, sizeof **o->histograms);
    struct histogram *h = o->histograms[item];
    if (!h) {
        atomic_store(&o->no_memory, true);
        return;
    }
    if (p->format->input_op == OP_INPUT_NVFP4) {
        struct sample *s = &o->samples[item];
        struct error none = ERROR_INIT;
        if (s->kept || sample_open(s, p->tensor->dims[1], SAMPLE_ROWS, &none)) sample_add(s, NULL, x, n_rows, stride);
        else atomic_store(&o->no_memory, true);
    }
    for (uint64_t r = 0; r < n_rows; r++)
        (p->observer.method == OBSERVER_HEADROOM ? histogram_add_blocks : histogram_add)(h, x + r * stride,
                                                                                         p->tensor->dims[1]);
}

struct choose_ctx {
    struct observing *o;
    float *amax;
};

/* Squared error of the rows that were kept, with this maximum. */
static double nvfp4_error(const struct observing *o, uint64_t i, float amax, float *row, float *out)
{
    const struct sample *s = &o->samples[i];
    double sum = 0;
    for (uint32_t r = 0; r < s->n_kept; r++) {
        sample_row(s, r, row);
        kernel_for(OP_INPUT_NVFP4,
                   o->isa)(&(struct kernel_args){.n_rows = 1,
                                                 .n_cols = s->cols,
                                                 .src = row,
                                                 .dtype = DTYPE_F32,
                                                 .scale = amax / o->plan->items[i].format->amax_per_scale,
                                                 .dst_f32 = out});
        for (uint64_t k = 0; k < s->cols; k++) {
            double d = (double)row[k] - (double)out[k];
            sum += d * d;
        }
    }
    return sum;
}

/* What the chosen maximum does to the rows that were kept, as a share of what the largest magnitude does. */
static void nvfp4_gain(struct observing *o, uint64_t i, float top, float chosen)
{
    CLEANUP(free) float *row = malloc(o->samples[i].cols * sizeof *row);
    CLEANUP(free) float *out = malloc(o->samples[i].cols * sizeof *out);
    if (!row || !out) {
        atomic_store(&o->no_memory, true);
        return;
    }
    double before = nvfp4_error(o, i, top, row, out), after = nvfp4_error(o, i, chosen, row, out);
    o->gain[i] = before > 0 ? (float)(after / before) : 1.0f;
}

static void choose_item(void *ctx, uint64_t i, uint32_t worker)
{
    (void)worker;
    const struct choose_ctx *c = ctx;
    struct observing *o = c->o;
    struct histogram *h = o->histograms[i];
    if (!h) return;
    float chosen = histogram_choose(h, &o->plan->items[i].observer);
    if (h->top > 0 && chosen > 0) {
        o->peak[i] = h->top;
        c->amax[i] = chosen;
        if (o->plan->items[i].format->input_op == OP_INPUT_FP8) {
            double before = histogram_fp8_error(h, h->top), after = histogram_fp8_error(h, chosen);
            o->gain[i] = before > 0 ? (float)(after / before) : 1.0f;
        }
        if (o->samples[i].kept) nvfp4_gain(o, i, h->top, chosen);
    }
    sample_close(&o->samples[i]);
    o->samples[i] = (struct sample){0};
    free(h);
    o->histograms[i] = NULL;
}

bool observing_choose(struct observing *o, float *amax, struct error *err)
{
    struct choose_ctx c = {o, amax};
    if (atomic_load(&o->no_memory)) return error_memory(err, sizeof(struct histogram));
    pool_for(o->pool, o->plan->n_items, choose_item, &c);
    return !atomic_load(&o->no_memory) || error_memory(err, sizeof(struct histogram));
}

bool observing_stats(const struct observing *o, uint32_t i, struct stats *s, struct error *err)
{
    const char *module = o->plan->items[i].tensor->module;
    return (isnan(o->peak[i]) || stats_add(s, module, STAT_INPUT_PEAK, o->peak[i], err)) &&
           (isnan(o->gain[i]) || stats_add(s, module, STAT_INPUT_GAIN, o->gain[i], err));
}
