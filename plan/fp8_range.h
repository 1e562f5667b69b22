/* `scales: {method: mse, start, stop, step}` of FP8 weights: the tensor's maximum times one of n multipliers, by the
 * squared error of its codes. BF16 and F16 have 32768 magnitudes, so that they are counted while the tensor goes by,
 * and every multiplier is tried on the counts: exact, and the same in any order of elements. FP32 is counted as the
 * nearest BF16.
 *
 * Sums are of fp64, magnitudes in rising order; the first smallest wins. Source: ModelOpt 0.47.0's MseCalibrator, which
 * sums in fp32 in the order of its reduction and therefore differs in near ties. */
#ifndef PLAN_FP8_RANGE_H
#define PLAN_FP8_RANGE_H

#include "plan/plan.h"

#define FP8_MAGNITUDES 32768u

struct fp8_counts {
    uint64_t of[FP8_MAGNITUDES];
    enum dtype dtype;
};
struct fp8_choice {
    float amax;              /* own * the multiplier that was chosen */
    double error_max, error; /* sums of squares: with the own maximum; with this one */
};

/* True for items whose maximum is chosen so. */
bool fp8_range_chooses(const struct plan_item *item);
void fp8_range_count(struct fp8_counts *c, const void *data, enum dtype dtype, uint64_t n);
/* own: the tensor's largest magnitude, above 0. */
struct fp8_choice fp8_range_choose(const struct fp8_counts *c, const struct plan_item *item, float own,
                                   enum fp8_rounding rounding);

#endif
