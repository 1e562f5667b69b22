#include "calibrate/weights.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "formats/not_finite.h"
#include "plan/fp8_range.h"
#include "plan/workspace.h"

#include <math.h>

bool weight_maximum(const struct checkpoint *ck, uint32_t tensor, uint64_t isa, float *out, struct error *err)
{
    const struct tensor_info *info = checkpoint_tensor(ck, tensor);
    kernel_fn amax = kernel_for(OP_AMAX, isa);
    uint64_t chunk = u64_min(PLAN_PIECE_BYTES, info->bytes), elem = dtype_bytes(info->dtype);
    CLEANUP(free) void *raw = NULL;
    if (!memory_alloc(&raw, chunk, 1, err)) return false;
    *out = 0;
    for (uint64_t at = 0; at < info->bytes; at += chunk) {
        uint64_t n = u64_min(chunk, info->bytes - at);
        float part;
        if (!checkpoint_read(ck, tensor, at, raw, n, err)) return false;
        amax(
            &(struct kernel_args){.n_rows = 1, .n_cols = n / elem, .src = raw, .dtype = info->dtype, .dst_f32 = &part});
        if (!isfinite(part)) return tensor_not_finite(ck, info, raw, at / elem, n / elem, err);
        if (part > *out) *out = part;
    }
    return true;
}

struct weight_ctx {
    const struct plan *plan;
    uint64_t isa;
    float *result;
};

static bool weight_item(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    struct weight_ctx *w = ctx;
    const struct plan_item *item = &w->plan->items[i];
    w->result[i] = NAN;
    if (item->action != ACTION_QUANTIZE || item->decoded) return true;
    return weight_maximum(w->plan->inventory->checkpoint, item->tensor->parts[PART_WEIGHT], w->isa, &w->result[i], err);
}

bool weight_maxima(const struct plan *plan, struct pool *pool, uint64_t isa, float *result, struct error *err)
{
    struct weight_ctx w = {plan, isa, result};
    return pool_try(pool, plan->n_items, weight_item, &w, err);
}

/* FP8 with scales: {method: mse, start, ...}. */
static bool chosen_maximum(const struct plan *p, uint32_t i, float *amax, struct error *err)
{
    const struct checkpoint *ck = p->inventory->checkpoint;
    uint32_t tensor = p->items[i].tensor->parts[PART_WEIGHT];
    const struct tensor_info *info = checkpoint_tensor(ck, tensor);
    uint64_t chunk = u64_min(PLAN_PIECE_BYTES, info->bytes), elem = dtype_bytes(info->dtype);
    CLEANUP(free) void *raw = NULL;
    CLEANUP(free) struct fp8_counts *counts = NULL;
    if (!memory_alloc(&raw, chunk, 1, err) || !memory_zalloc(&counts, 1, sizeof *counts, err)) return false;
    for (uint64_t at = 0; at < info->bytes; at += chunk) {
        uint64_t n = u64_min(chunk, info->bytes - at);
        if (!checkpoint_read(ck, tensor, at, raw, n, err)) return false;
        fp8_range_count(counts, raw, info->dtype, n / elem);
    }
    *amax = fp8_range_choose(counts, &p->items[i], *amax, p->recipe->rounding).amax;
    return true;
}

bool group_maxima(const struct plan *p, const float *weights, float *groups, struct error *err)
{
    for (uint32_t i = 0; i < p->n_items; i++) {
        float top = weights[i];
        if (isnan(top) || top == 0) continue;
        if (fp8_range_chooses(&p->items[i]) && !chosen_maximum(p, i, &top, err)) return false;
        if (top > groups[p->items[i].group]) groups[p->items[i].group] = top;
    }
    return true;
}
