/* The scalars behind a weight: made of maxima, 4 bytes each. */
#include "quantize/job.h"

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

static bool put(struct job *j, uint32_t output, float value, struct error *err)
{
    return sha256_of(bytes_of(&value, sizeof value), &j->digests[output].written, err) &&
           job_write(j, output, 0, &value, sizeof value, err);
}

/* Behind weight (and block scales): weight_scale or weight_scale_2, then input_scale. */
bool job_write_scalars(struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    float g, weight_scale;
    if (!quant_format_has_tensor_scale(item->format)) return true;
    if (!job_weight_scale(j, i, &g, &weight_scale, err)) return false;
    for (uint32_t k = 0; k < item->format->n_parts; k++) {
        const struct quant_part *part = &item->format->parts[k];
        uint32_t output = item->first_output + k;
        if (part->cols_per_elem) continue;
        float v = part->part == PART_INPUT_SCALE ? j->input_amax[i] / item->format->amax_per_scale : weight_scale;
        if (j->given && !given_scalar(j->given, j->plan, i, part->part, &v, err)) return false;
        if (!(v > 0) || !isfinite(v))
            return error_set(err, ERR_FORMAT, "tensor '%.256s' would be %g; a scale must be positive and finite",
                             j->plan->specs[output].name, (double)v);
        if (!put(j, output, v, err)) return false;
    }
    return true;
}

bool job_write_cache_scale(struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    if (!item->kv_scale) return true;
    float taken;
    enum tensor_part part = item->tensor->place.role == ROLE_ATTN_K ? PART_K_SCALE : PART_V_SCALE;
    uint32_t output = item->first_output + item->n_outputs - 1; /* behind the item's other parts */
    if (j->given) return given_scalar(j->given, j->plan, i, part, &taken, err) && put(j, output, taken, err);
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
        progress_note(j->pr, "quantize", "'%s' has a cache scale of %.3f; above 0.5 the FP8 cache loses precision",
                      j->plan->specs[output].name, (double)scale);
    return put(j, output, scale, err);
}
