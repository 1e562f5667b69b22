/* The largest magnitudes of the weights that a plan quantizes, from the source. */
#ifndef CALIBRATE_WEIGHTS_H
#define CALIBRATE_WEIGHTS_H

#include "core/pool.h"
#include "plan/plan.h"

/* Of one stored tensor of plain floats. ERR_FORMAT when it is not finite. */
MUST_CHECK bool weight_maximum(const struct checkpoint *ck, uint32_t tensor, uint64_t isa, float *out,
                               struct error *err);
/* result: [n_items], NaN for what is not quantized. ERR_FORMAT for a weight that is not finite. */
MUST_CHECK bool weight_maxima(const struct plan *plan, struct pool *pool, uint64_t isa, float *result,
                              struct error *err);
/* Of each group that shares a scale: groups [n_groups], zero before; of FP8 what its search over multiples chooses. */
MUST_CHECK bool group_maxima(const struct plan *p, const float *weights, float *groups, struct error *err);

#endif
