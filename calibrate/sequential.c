#include "calibrate/sequential.h"

#include "backends/cpu/kernel.h"
#include "calibrate/solving.h"
#include "core/memory.h"
#include "plan/scale_method.h"

static bool is_nvfp4(const struct plan_item *item)
{
    return item->format->encode_op == OP_ENCODE_NVFP4;
}

/* What can be rounded and decoded again here; linears of other formats pass on what the original makes. */
static bool stands_in(const struct plan_item *item)
{
    return item->action == ACTION_QUANTIZE && (is_nvfp4(item) || item->format->encode_op == OP_ENCODE_FP8);
}

static const struct quant_format *format_of(void *ctx, const struct model_tensor *t, float *input_scale)
{
    const struct sequential *q = ctx;
    if (!q->active) return NULL;
    uint32_t i = (uint32_t)(t - q->plan->inventory->tensors);
    const struct plan_item *item = &q->plan->items[i];
    if (!stands_in(item)) return NULL;
    *input_scale = item->format->input_op == OP_COUNT ? 0 : q->input_amax[i] / item->format->amax_per_scale;
    return item->format;
}

/* ---- weights as they will be written ---- */

static bool solved_rows(const struct sequential *q, uint32_t i, uint64_t first, uint64_t n, uint8_t *codes,
                        uint8_t *scales, struct error *err)
{
    uint64_t cols = q->plan->items[i].tensor->dims[1];
    if (q->codes[i] == NAME_NONE || q->scales[i] == NAME_NONE)
        return error_set(err, ERR_INTERNAL, "'%.256s' was not solved", q->plan->items[i].tensor->module);
    return stats_read_solved(q->stats, &q->stats->solved[q->codes[i]], first * cols / 2, codes, n * cols / 2, err) &&
           stats_read_solved(q->stats, &q->stats->solved[q->scales[i]], first * cols / 16, scales, n * cols / 16, err);
}

/* Rounds fp32 rows as quantize does. */
static bool encode_rows(const struct sequential *q, const struct plan_item *item, struct kernel_args *a,
                        struct error *err)
{
    CLEANUP(free) float *block_amax = NULL;
    enum op chooses = is_nvfp4(item) ? scale_method_op(item->scales) : OP_COUNT;
    if (chooses != OP_COUNT) {
        if (!memory_alloc(&block_amax, a->n_rows * a->n_cols / item->format->block_cols, sizeof(float), err))
            return false;
        a->dst_f32 = block_amax;
        kernel_for(chooses, q->isa)(a);
        a->block_amax = block_amax;
    }
    kernel_for(chooses == OP_COUNT ? item->format->encode_op : OP_ENCODE_NVFP4_STATIC, q->isa)(a);
    return true;
}

static bool rows_of(void *ctx, const struct model_tensor *t, uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct sequential *q = ctx;
    uint32_t i = (uint32_t)(t - q->plan->inventory->tensors);
    const struct plan_item *item = &q->plan->items[i];
    uint64_t cols = t->dims[1];
    float amax = q->group_amax[item->group] > 0 ? q->group_amax[item->group] : 1;
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *scales = NULL;
    if (!memory_alloc(&codes, n, cols, err) || !memory_alloc(&scales, n, cols, err)) return false;
    struct kernel_args a = {.n_rows = n,
                            .n_cols = cols,
                            .src = out,
                            .dtype = DTYPE_F32,
                            .scale = plan_item_weight_scale(item, amax),
                            .amax = amax,
                            .static_max = scale_method_max(item->scales),
                            .rounding = q->plan->recipe->rounding,
                            .dst = codes,
                            .dst_scale = scales};
    if (item->solve.method != SOLVE_NONE) {
        if (!solved_rows(q, i, first, n, codes, scales, err)) return false;
    } else if (!solving_weight_rows(q->plan, i, q->isa, first, n, out, err) || !encode_rows(q, item, &a, err)) {
        return false;
    }
    struct kernel_args d = {
        .n_rows = n, .n_cols = cols, .src = codes, .src_scale = scales, .scale = a.scale, .dst_f32 = out};
    kernel_for(item->format->decode_op, q->isa)(&d);
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
    free(q->codes);
    free(q->scales);
}

static bool allocate(struct sequential *q, struct error *err)
{
    uint32_t n = q->plan->n_items;
    if (q->input_amax) return true;
    if (!memory_zalloc(&q->input_amax, n, sizeof *q->input_amax, err) ||
        !memory_alloc(&q->codes, n, sizeof *q->codes, err) || !memory_alloc(&q->scales, n, sizeof *q->scales, err))
        return false;
    for (uint32_t i = 0; i < n; i++) q->codes[i] = q->scales[i] = NAME_NONE;
    return true;
}

/* Finds the solved tensors that have come since the last call: of a linear its codes, and behind them its scales. */
static void learn_solved(struct sequential *q)
{
    for (; q->n_known + 1 < q->stats->n_solved; q->n_known += 2) {
        const struct model_tensor *t = inventory_find_name(q->plan->inventory, q->stats->solved[q->n_known].name);
        if (!t) continue;
        uint32_t i = (uint32_t)(t - q->plan->inventory->tensors);
        q->codes[i] = q->n_known;
        q->scales[i] = q->n_known + 1;
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
