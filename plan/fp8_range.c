#include "plan/fp8_range.h"

#include "numeric/fp8.h"
#include "numeric/nvfp4_range.h"

#include <math.h>

bool fp8_range_chooses(const struct plan_item *item)
{
    return item->action == ACTION_QUANTIZE && item->scales == SCALES_RANGE && item->format->encode_op == OP_ENCODE_FP8;
}

void fp8_range_count(struct fp8_counts *c, const void *data, enum dtype dtype, uint64_t n)
{
    c->dtype = dtype;
    for (uint64_t i = 0; i < n; i++) {
        uint16_t half;
        float v;
        if (dtype == DTYPE_F32) {
            memcpy(&v, (const uint8_t *)data + i * sizeof v, sizeof v);
            half = bf16_encode(v);
        } else {
            memcpy(&half, (const uint8_t *)data + i * sizeof half, sizeof half);
        }
        c->of[half & 0x7FFFu]++;
    }
}

static double error_with(const struct fp8_counts *c, float amax, enum fp8_rounding rounding)
{
    float scale = fp8_scale(amax);
    double sum = 0;
    for (uint32_t m = 0; m < FP8_MAGNITUDES; m++) {
        if (!c->of[m]) continue;
        bool f16 = c->dtype == DTYPE_F16;
        uint16_t half = (uint16_t)m;
        float v = f16 ? f16_decode(half) : bf16_decode(half);
        uint8_t code = f16 ? fp8_encode_f16(half, scale, rounding) : fp8_encode_bf16(half, scale, rounding);
        double d = (double)v - (double)fp8_decode(code, scale);
        sum += (double)c->of[m] * d * d;
    }
    return sum;
}

struct fp8_choice fp8_range_choose(const struct fp8_counts *c, const struct plan_item *item, float own,
                                   enum fp8_rounding rounding)
{
    const struct scale_range *r = &item->range;
    struct fp8_choice best = {.amax = own, .error_max = error_with(c, own, rounding), .error = (double)INFINITY};
    for (uint32_t i = 0; i < r->n; i++) {
        float amax = own * range_multiplier(r->start, r->stop, r->n, i);
        if (!(amax / item->format->amax_per_scale > 0) || !isfinite(amax)) continue;
        double error = error_with(c, amax, rounding);
        if (!(error < best.error)) continue;
        best.error = error;
        best.amax = amax;
    }
    if (!isfinite(best.error)) best.error = best.error_max;
    return best;
}
