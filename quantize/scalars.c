/* The scalars behind a weight: made of maxima, 4 bytes each. */
#include "quantize/job.h"

#include "numeric/nvfp4.h"
#include "plan/scale_method.h"

#include <math.h>

/* What a linear is scaled by. *g: its group's largest magnitude. */
bool job_weight_scale(struct job *j, uint32_t i, float *g, float *scale, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    if (j->given) {
        bool blocks = item->format->encode_op == OP_ENCODE_NVFP4;
        *g = j->group_amax[item->group];
        return given_scalar(j->given, j->plan, i, blocks ? PART_WEIGHT_SCALE_2 : PART_WEIGHT_SCALE, scale, err);
    }
    *g = j->group_amax[item->group];
    if (*g == 0) *g = 1; /* all zero: any scale says the same; 0/0 must not (docs/numerics.md, zero tensors) */
    *scale = plan_item_weight_scale(item, *g);
    if (*scale > 0) return true;
    return error_set(err, ERR_FORMAT, "tensor '%.256s': its largest magnitude %g is too small for a scale",
                     item->tensor->name, (double)*g);
}

static bool put_bytes(struct job *j, uint32_t output, const void *data, size_t n, struct error *err)
{
    return sha256_of(bytes_of(data, n), &j->digests[output].written, err) && job_write(j, output, 0, data, n, err);
}

static bool put(struct job *j, uint32_t output, float value, struct error *err)
{
    return put_bytes(j, output, &value, sizeof value, err);
}

static bool put_scalar(struct job *j, uint32_t i, uint32_t k, float weight_scale, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    enum tensor_part part = item->format->parts[k].part;
    bool input = part == PART_INPUT_SCALE || part == PART_INPUT_GLOBAL_SCALE,
         inverse = part == PART_WEIGHT_GLOBAL_SCALE || part == PART_INPUT_GLOBAL_SCALE;
    float v = input ? j->input_amax[i] / item->format->amax_per_scale : weight_scale;
    /* Experts share their inputs' maximum, where one is observed. Not known then, and quantize_again says so. */
    bool observed = item->observe_input || (item->tensor->container && j->plan->needs_data);
    if (input && observed && job_lacks_stats(j)) return true;
    if (j->given && !given_scalar(j->given, j->plan, i, part, &v, err)) return false;
    if (inverse) v = nvfp4_global_scale(v);
    if (!(v > 0) || !isfinite(v))
        return error_set(err, ERR_FORMAT, "tensor '%.256s' would be %g; a scale must be positive and finite",
                         j->plan->specs[item->first_output + k].name, (double)v);
    return put(j, item->first_output + k, v, err);
}

/* Behind weight and block scales. */
bool job_write_scalars(struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    const struct quant_format *f = item->format;
    float g, weight_scale = 0;
    if (quant_format_has_tensor_scale(f) && !job_weight_scale(j, i, &g, &weight_scale, err)) return false;
    for (uint32_t k = 0; k < f->n_parts; k++) {
        if (f->parts[k].cols_per_elem) continue;
        const int64_t shape[2] = {(int64_t)item->tensor->dims[0], (int64_t)item->tensor->dims[1]};
        bool ok = f->parts[k].part == PART_WEIGHT_SHAPE ? put_bytes(j, item->first_output + k, shape, sizeof shape, err)
                                                        : put_scalar(j, i, k, weight_scale, err);
        if (!ok) return false;
    }
    return true;
}

bool job_write_cache_scale(struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    if (!item->kv_scale) return true;
    float taken;
    enum tensor_part part = tensor_cache_part(item->tensor->place.role);
    uint32_t output = item->first_output + item->n_outputs - 1; /* behind the item's other parts */
    if (!item->kv_observed) return put(j, output, 1, err);
    if (j->given) return given_scalar(j->given, j->plan, i, part, &taken, err) && put(j, output, taken, err);
    if (job_lacks_stats(j)) return true;
    float amax;
    if (!j->stats || !stats_find(j->stats, item->tensor->module, STAT_OUTPUT_AMAX, &amax))
        return error_set(err, ERR_FORMAT, "the statistics hold nothing of the output of '%.256s'",
                         item->tensor->module);
    float scale = amax / 448.0f; /* largest finite E4M3 */
    if (!(scale > 0) || !isfinite(scale))
        return error_set(err, ERR_FORMAT,
                         "the output of '%.256s' reached %g during calibration: no cache scale can be made of it",
                         item->tensor->module, (double)amax);
    if (scale > 0.5f)
        progress_note(j->pr, "quantize", "'%s' has a cache scale of %.3f; above 0.5 the cache loses precision",
                      j->plan->specs[output].name, (double)scale);
    return put(j, output, scale, err);
}
