#include "calibrate/weights.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "plan/workspace.h"

#include <math.h>

struct weight_ctx {
    const struct plan *plan;
    kernel_fn amax;
    float *result;
};

static bool weight_item(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    struct weight_ctx *w = ctx;
    const struct plan_item *item = &w->plan->items[i];
    w->result[i] = NAN;
    if (item->action != ACTION_QUANTIZE || item->decoded) return true;
    const struct checkpoint *ck = w->plan->inventory->checkpoint;
    uint32_t t = item->tensor->parts[PART_WEIGHT];
    const struct tensor_info *info = checkpoint_tensor(ck, t);
    uint64_t chunk = u64_min(PLAN_PIECE_BYTES, info->bytes), elem = dtype_bytes(info->dtype);
    CLEANUP(free) void *raw = NULL;
    if (!memory_alloc(&raw, chunk, 1, err)) return false;
    float top = 0;
    for (uint64_t at = 0; at < info->bytes; at += chunk) {
        uint64_t n = u64_min(chunk, info->bytes - at);
        float part;
        if (!checkpoint_read(ck, t, at, raw, n, err)) return false;
        w->amax(
            &(struct kernel_args){.n_rows = 1, .n_cols = n / elem, .src = raw, .dtype = info->dtype, .dst_f32 = &part});
        if (isnan(part) || part > top) top = part; /* NaN once seen stays */
    }
    if (!isfinite(top))
        return error_set(err, ERR_FORMAT, "tensor '%.256s' holds a value that is not finite", info->name);
    w->result[i] = top;
    return true;
}

bool weight_maxima(const struct plan *plan, struct pool *pool, uint64_t isa, float *result, struct error *err)
{
    struct weight_ctx w = {plan, kernel_for(OP_AMAX, isa), result};
    return pool_try(pool, plan->n_items, weight_item, &w, err);
}

void group_maxima(const struct plan *p, const float *weights, float *groups)
{
    for (uint32_t i = 0; i < p->n_items; i++)
        if (!isnan(weights[i]) && weights[i] > groups[p->items[i].group]) groups[p->items[i].group] = weights[i];
}
