/* What the words of `scales:` do to NVFP4 weights (FP8 has mse over multiples alone): which operation chooses the block
 * maxima, and the static order's m that goes with it (numeric/nvfp4.h). SCALES_MAX chooses nothing: its blocks are
 * encoded in the dynamic order. */
#ifndef PLAN_SCALE_METHOD_H
#define PLAN_SCALE_METHOD_H

#include "plan/plan.h"

/* The value of key `scales`: a method's word, or a mapping with it and, for mse, start, stop and step of multipliers.
 * An absent key leaves *out as it is. */
MUST_CHECK bool scales_read(const json_t *line, const char *what, enum scale_method *out, struct scale_range *range,
                            struct error *err);
json_t *scales_json(const struct plan_item *item); /* new reference, NULL when memory is gone */

/* The operation that chooses an NVFP4 weight's block maxima; OP_COUNT for SCALES_MAX, and for SCALES_LOCAL_HESSIAN,
 * which calibrate chooses. */
enum op scale_method_op(enum scale_method m);
/* The same of an item: OP_COUNT too where there are no blocks to choose for (FP8: plan/fp8_range.h). */
enum op plan_item_scale_op(const struct plan_item *item);
/* m: weight_scale_2 is g / (6 * m). The same for all that share a tensor scale. */
float scale_method_max(enum scale_method m);
/* weight_scale_2 or weight_scale of an item whose group's largest magnitude is g > 0; may underflow to 0. */
float plan_item_weight_scale(const struct plan_item *item, float g);

#endif
