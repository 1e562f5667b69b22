#include "calibrate/sequential.h"

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

static bool rows_of(void *ctx, const struct model_tensor *t, uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct sequential *q = ctx;
    uint32_t i = (uint32_t)(t - q->plan->inventory->tensors);
    const struct plan_item *item = &q->plan->items[i];
    float amax = q->group_amax[item->group] > 0 ? q->group_amax[item->group] : 1;
    if (item->solve.method == SOLVE_NONE) return rounded_rows(q->plan, i, amax, q->isa, first, n, out, err);
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

/* ---- block by block ---- */

void sequential_open(struct sequential *q, const struct plan *plan, const struct stats *stats, uint64_t isa,
                     const float *group_amax)
{
    *q = (struct sequential){.plan = plan, .stats = stats, .isa = isa, .group_amax = group_amax};
    q->source = (struct weight_source){.ctx = q, .format = format_of, .rows = rows_of};
}

void sequential_close(struct sequential *q)
{
    free(q->input_amax);
    free(q->first);
}

static bool allocate(struct sequential *q, struct error *err)
{
    uint32_t n = q->plan->n_items;
    if (q->input_amax) return true;
    if (!memory_zalloc(&q->input_amax, n, sizeof *q->input_amax, err) ||
        !memory_alloc(&q->first, n, sizeof *q->first, err))
        return false;
    for (uint32_t i = 0; i < n; i++) q->first[i] = NAME_NONE;
    return true;
}

/* Finds the solved tensors that have come since the last call: a linear's codes are called as its weight, and the other
 * parts stand behind them. */
static void learn_solved(struct sequential *q)
{
    for (; q->n_known < q->stats->n_solved; q->n_known++) {
        const struct model_tensor *t = inventory_find_name(q->plan->inventory, q->stats->solved[q->n_known].name);
        if (t) q->first[t - q->plan->inventory->tensors] = q->n_known;
    }
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
    learn_solved(q);
    share_maxima(q->plan, block, input_amax, q->input_amax);
    q->active = true;
    return true;
}

void sequential_end(struct sequential *q)
{
    q->active = false;
}
