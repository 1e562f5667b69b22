#include "plan/scale_method.h"

#include "numeric/nvfp4.h"
#include "plan/recipe_words.h"

static const struct {
    enum op op;
    float max;
} methods[] = {
    [SCALES_MAX] = {OP_COUNT, NVFP4_STATIC_MAX},
    [SCALES_MSE] = {OP_SWEEP_NVFP4, NVFP4_STATIC_MAX},
    [SCALES_LOCAL_HESSIAN] = {OP_COUNT, NVFP4_STATIC_MAX},
    [SCALES_RANGE] = {OP_RANGE_NVFP4, NVFP4_STATIC_MAX},
    [SCALES_MXFP4_CAST] = {OP_COUNT, NVFP4_STATIC_MAX},
    [SCALES_FOUR_OVER_SIX] = {OP_FOUR_SIX_NVFP4, NVFP4_FOUR_OVER_SIX_MAX},
};

#define RANGE_MAX 1000u /* multipliers */

static const struct scale_range range_default = {.start = 0.25f, .stop = 4.0f, .n = 39};

/* From start to stop in steps of about `step`: as many as make no gap wider. */
static bool read_range(const json_t *v, const char *what, struct scale_range *out, struct error *err)
{
    double start = 0.25, stop = 4.0, step = 0.1;
    if (!json_opt_number(v, "start", what, &start, err) || !json_opt_number(v, "stop", what, &stop, err) ||
        !json_opt_number(v, "step", what, &step, err))
        return false;
    double n = 1;
    if (start > 0 && start <= stop && stop <= 1000 && step > 0) n = (stop - start) / step + 1;
    else
        return error_set(
            err, ERR_FORMAT,
            "%s: scales: expected 0 < start <= stop <= 1000 and step > 0, found start %g, stop %g, step %g", what,
            start, stop, step);
    if (n > RANGE_MAX) return error_set(err, ERR_FORMAT, "%s: scales: more than %u multipliers", what, RANGE_MAX);
    *out = (struct scale_range){.start = (float)start, .stop = (float)stop, .n = (uint32_t)n};
    if (n - (double)out->n > 1e-6) out->n++; /* the step is an upper bound: 0.25 to 4 by 0.1 are 39 */
    return true;
}

bool scales_read(const json_t *line, const char *what, enum scale_method *out, struct scale_range *range,
                 struct error *err)
{
    static const char *const keys[] = {"method", "start", "stop", "step", NULL};
    const json_t *v = json_object_get(line, "scales");
    if (!json_is_object(v)) {
        if (!word_of_scales(line, "scales", what, out, err)) return false;
        if (*out == SCALES_RANGE) *range = range_default;
        return true;
    }
    if (!json_has(v, "method")) return error_set(err, ERR_FORMAT, "%s: scales: key 'method' is missing", what);
    if (!json_known_keys(v, what, keys, err) || !word_of_scales(v, "method", what, out, err)) return false;
    bool ranged = json_has(v, "start") || json_has(v, "stop") || json_has(v, "step");
    if (*out == SCALES_MSE && ranged) *out = SCALES_RANGE;
    if (*out == SCALES_RANGE) return read_range(v, what, range, err);
    return !ranged || error_set(err, ERR_FORMAT, "%s: scales: %s has no start, stop and step", what, scales_name(*out));
}

json_t *scales_json(const struct plan_item *item)
{
    if (item->scales != SCALES_RANGE) return json_string(scales_name(item->scales));
    return json_pack("{s:s,s:f,s:f,s:i}", "method", scales_name(item->scales), "start", (double)item->range.start,
                     "stop", (double)item->range.stop, "count", (int)item->range.n);
}

enum op scale_method_op(enum scale_method m)
{
    return methods[m].op;
}

enum op plan_item_scale_op(const struct plan_item *item)
{
    return item->format && item->format->encode_op == OP_ENCODE_NVFP4 ? scale_method_op(item->scales) : OP_COUNT;
}

float scale_method_max(enum scale_method m)
{
    return methods[m].max;
}

float plan_item_weight_scale(const struct plan_item *item, float g)
{
    if (item->scales == SCALES_MAX || item->format->encode_op != OP_ENCODE_NVFP4)
        return g / item->format->amax_per_scale;
    return g / (6.0f * scale_method_max(item->scales));
}
