#include "plan/scale_method.h"

#include "numeric/nvfp4.h"

static const struct {
    enum op op;
    float max;
} methods[] = {
    [SCALES_MAX] = {OP_COUNT, NVFP4_STATIC_MAX},
    [SCALES_MSE] = {OP_SWEEP_NVFP4, NVFP4_STATIC_MAX},
    [SCALES_LOCAL_HESSIAN] = {OP_COUNT, NVFP4_STATIC_MAX},
    [SCALES_FOUR_OVER_SIX] = {OP_FOUR_SIX_NVFP4, NVFP4_FOUR_OVER_SIX_MAX},
};

enum op scale_method_op(enum scale_method m)
{
    return methods[m].op;
}

float scale_method_max(enum scale_method m)
{
    return methods[m].max;
}

float plan_item_weight_scale(const struct plan_item *item, float g)
{
    if (item->scales == SCALES_MAX) return g / item->format->amax_per_scale;
    return g / (6.0f * scale_method_max(item->scales));
}
