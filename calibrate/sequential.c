#include "calibrate/sequential.h"

#include "backends/cpu/kernel.h"
#include "calibrate/rounded.h"
#include "core/memory.h"
#include "plan/solved_parts.h"

/* Plain numbers can be rounded and decoded again, in whole blocks of rows; linears that are decoded pass on what the
 * original makes. */
static bool stands_in(const struct plan_item *item)
{
    return item->action == ACTION_QUANTIZE && !item->decoded;
}

static const struct quant_format *format_of(void *ctx, const struct model_tensor *t, float *input_scale)
{
    const struct sequential *q = ctx;
    if (!q->active) return NULL;
    uint32_t i = (uint32_t)(t - q->plan->inventory->tensors);
    const struct plan_item *item = &q->plan->items[i];
    if (!stands_in(item)) return NULL;
    *input_scale = quant_format_has_input_scale(item->format) ? q->input_amax[i] / item->format->amax_per_scale : 0;
    return item->format;
}

/* ---- weights as they will be written ---- */

static bool solved_rows(const struct sequential *q, uint32_t i, uint64_t first, uint64_t n, const struct coded_rows *c,
                        struct error *err)
{
    const struct plan_item *item = &q->plan->items[i];
    struct solved_part parts[SOLVED_PARTS_MAX];
    uint32_t at = q->first[i], n_parts = solved_parts(item, parts);
    if (at == NAME_NONE) return error_set(err, ERR_INTERNAL, "'%.256s' was not solved", item->tensor->module);
    for (uint32_t k = 0; k < n_parts; k++) {
        void *const rooms[] = {[SOLVED_CODES] = c->codes, [SOLVED_BYTES] = c->bytes, [SOLVED_FLOATS] = c->floats};
        void *to = rooms[parts[k].room];
        uint64_t row = parts[k].row_bytes;
        if (!stats_read_solved(q->stats, &q->stats->solved[at++], first * row, to, n * row, err)) return false;
    }
    return true;
}

/* The weight as it is written, with its scales per channel. */
static bool written_rows(const struct sequential *q, uint32_t i, const struct fold_factors *factors, uint64_t first,
                         uint64_t n, float *out, struct error *err)
{
    const struct plan_item *item = &q->plan->items[i];
    const struct model_tensor *t = item->tensor;
    float amax = q->group_amax[item->group] > 0 ? q->group_amax[item->group] : 1;
    if (item->solve.method == SOLVE_NONE) return rounded_rows(q->plan, i, factors, amax, q->isa, first, n, out, err);
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *bytes = NULL;
    CLEANUP(free) float *floats = NULL;
    if (!memory_alloc(&codes, n, t->dims[1], err) || !memory_alloc(&bytes, n, t->dims[1], err) ||
        !memory_alloc(&floats, n, t->dims[1] * sizeof *floats, err))
        return false;
    struct coded_rows c = {codes, bytes, floats};
    if (!solved_rows(q, i, first, n, &c, err)) return false;
    decode_rows(item, amax, q->isa, &c, n, out);
    return true;
}

static const float *scales_of(const struct sequential *q, uint32_t fold)
{
    return fold == NAME_NONE ? NULL : q->scales[fold];
}

static bool rows_of(void *ctx, const struct model_tensor *t, uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct sequential *q = ctx;
    uint32_t i = (uint32_t)(t - q->plan->inventory->tensors);
    const struct plan_item *item = &q->plan->items[i];
    __attribute__((cleanup(cleanup_fold_factors))) struct fold_factors f = {0};
    if (!plan_item_folds(item)) return written_rows(q, i, NULL, first, n, out, err);
    if (!fold_factors_make(q->plan, i, scales_of(q, item->fold_in), scales_of(q, item->fold_out), &f, err) ||
        !written_rows(q, i, &f, first, n, out, err))
        return false;
    for (uint64_t r = 0; f.over && r < n; r++)
        for (uint64_t c = 0; c < t->dims[1]; c++) out[r * t->dims[1] + c] *= f.over[first + r];
    return true;
}

static bool input_factors(void *ctx, const struct model_tensor *t, float *out)
{
    const struct sequential *q = ctx;
    const struct plan_item *item = &q->plan->items[t - q->plan->inventory->tensors];
    const float *s = scales_of(q, item->fold_in);
    if (!s) return false;
    const uint32_t *columns = q->plan->folds[item->fold_in].columns;
    for (uint64_t c = 0; out && c < t->dims[1]; c++) out[c] = 1.0f / s[columns ? columns[c] : c];
    return true;
}

static bool is_folded_bias(const struct plan *p, const struct model_tensor *t)
{
    const struct plan_item *item = &p->items[t - p->inventory->tensors];
    if (item->fold_out == NAME_NONE) return false;
    enum fold_maker kind = p->folds[item->fold_out].kind;
    return (kind != FOLD_NORM && kind != FOLD_NORM_ONE) || t->place.role == ROLE_BLOCK_NORM_BIAS;
}

static bool vector_of(void *ctx, const struct model_tensor *t, float *values, struct error *err)
{
    const struct sequential *q = ctx;
    const struct plan *p = q->plan;
    uint32_t i = (uint32_t)(t - p->inventory->tensors), weight = t->parts[PART_WEIGHT];
    if (!q->active || !is_folded_bias(p, t)) return true;
    const struct tensor_info *info = checkpoint_tensor(p->inventory->checkpoint, weight);
    __attribute__((cleanup(cleanup_fold_factors))) struct fold_factors f = {0};
    CLEANUP(free) void *raw = NULL;
    if (!memory_alloc(&raw, info->bytes, 1, err) ||
        !checkpoint_read(p->inventory->checkpoint, weight, 0, raw, info->bytes, err) ||
        !fold_factors_make(p, i, NULL, scales_of(q, p->items[i].fold_out), &f, err))
        return false;
    fold_apply(p, i, &f, info->dtype, 0, t->n_elems, raw, raw);
    kernel_for(OP_WIDEN, q->isa)(
        &(struct kernel_args){.n_rows = 1, .n_cols = t->n_elems, .src = raw, .dtype = info->dtype, .dst_f32 = values});
    for (uint64_t c = 0; c < t->n_elems; c++) values[c] *= f.over[c];
    return true;
}

/* ---- block by block ---- */

void sequential_open(struct sequential *q, const struct plan *plan, const struct stats *stats, uint64_t isa,
                     const float *group_amax)
{
    *q = (struct sequential){.plan = plan, .stats = stats, .isa = isa, .group_amax = group_amax};
    q->source = (struct weight_source){
        .ctx = q, .format = format_of, .rows = rows_of, .input_factors = input_factors, .vector = vector_of};
}

static void drop_scales(struct sequential *q)
{
    for (uint32_t g = 0; q->scales && g < q->plan->n_folds; g++) free(take_ptr(&q->scales[g]));
}

void sequential_close(struct sequential *q)
{
    drop_scales(q);
    free(q->scales);
    free(q->input_amax);
    free(q->first);
}

static bool allocate(struct sequential *q, struct error *err)
{
    uint32_t n = q->plan->n_items;
    if (q->input_amax) return true;
    if (!memory_zalloc(&q->input_amax, n, sizeof *q->input_amax, err) ||
        !memory_alloc(&q->first, n, sizeof *q->first, err) ||
        !memory_zalloc(&q->scales, q->plan->n_folds, sizeof *q->scales, err))
        return false;
    for (uint32_t i = 0; i < n; i++) q->first[i] = NAME_NONE;
    return true;
}

static bool learn_scales(struct sequential *q, const struct solved_tensor *t, struct error *err)
{
    const struct plan *p = q->plan;
    for (uint32_t g = q->first_fold; g < q->end_fold; g++) {
        uint64_t n = p->folds[g].n;
        if (strcmp(p->folds[g].name, t->name) != 0) continue;
        return memory_alloc(&q->scales[g], n, sizeof **q->scales, err) &&
               stats_read_solved(q->stats, t, 0, q->scales[g], n * sizeof **q->scales, err);
    }
    return true;
}

/* Finds what has come since the last call: a linear's codes are called as its weight, and the other parts stand behind
 * them; scales per channel have names of their own. */
static bool learn_solved(struct sequential *q, uint32_t block, struct error *err)
{
    const struct plan *p = q->plan;
    for (q->first_fold = q->end_fold; q->first_fold < p->n_folds && p->folds[q->first_fold].block < block;)
        q->first_fold++;
    for (q->end_fold = q->first_fold; q->end_fold < p->n_folds && p->folds[q->end_fold].block == block;) q->end_fold++;
    for (; q->n_known < q->stats->n_solved; q->n_known++) {
        const struct solved_tensor *s = &q->stats->solved[q->n_known];
        const struct model_tensor *t = inventory_find_name(p->inventory, s->name);
        if (t) q->first[t - p->inventory->tensors] = q->n_known;
        else if (!learn_scales(q, s, err)) return false;
    }
    for (uint32_t g = q->first_fold; g < q->end_fold; g++)
        if (!q->scales[g]) return error_set(err, ERR_INTERNAL, "'%.256s' was not found", p->folds[g].name);
    return true;
}

static bool same_projection(const struct model_tensor *a, const struct model_tensor *b)
{
    return a->container && b->container && a->place.role == b->place.role && strcmp(a->container, b->container) == 0;
}

/* The maxima that quantize will use (plan/stats.h): experts of a layer share the largest of their projection. */
void share_maxima(const struct plan *p, uint32_t block, const float *input_amax, float *shared)
{
    const struct plan_item *items = p->items;
    for (uint32_t i = 0, end; i < p->n_items; i = end) {
        float top = 0;
        for (end = i; end < p->n_items; end++) {
            if (end > i && !same_projection(items[i].tensor, items[end].tensor)) break;
            float v = items[end].observe_input ? input_amax[end] : items[end].input_amax;
            if (v > top) top = v;
        }
        if (items[i].tensor->place.block != (int32_t)block || items[i].tensor->place.mtp) continue;
        for (uint32_t k = i; k < end; k++) shared[k] = top;
    }
}

bool sequential_begin(struct sequential *q, uint32_t block, const float *input_amax, struct error *err)
{
    if (!allocate(q, err)) return false;
    if (!learn_solved(q, block, err)) return false;
    share_maxima(q->plan, block, input_amax, q->input_amax);
    q->active = true;
    return true;
}

void sequential_end(struct sequential *q)
{
    q->active = false;
    drop_scales(q);
}
