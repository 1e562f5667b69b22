/* SOLVE_CLIP, AWQ's second half: weights beyond a share of their block's largest magnitude are cut off there, so that
 * the rest gets finer steps. Per row and block the share of 1, 0.95, ..., 0.5 that leaves the least error of the
 * outputs of these columns on the sampled inputs (calibrate/sample.h): d^T (sum of x x^T) d, d what is left of the
 * block's weights; of equals the larger share. Scales and codes are then those of the cut weights, as scales: max makes
 * them. */
#ifndef CALIBRATE_CLIP_H
#define CALIBRATE_CLIP_H

#include "calibrate/fold_error.h"
#include "calibrate/slot.h"

/* Of slot->item, which slot_lay_out has seen. factors: its own, or empty ones. group_amax: of all that share its tensor
 * scale, not zero. Fills the slot's gain but the error before, when that is not negative. */
MUST_CHECK bool clip_item(const struct fold_env *e, const struct sample *s, const struct fold_factors *factors,
                          float group_amax, struct slot *slot, const struct work *w, struct error *err);

#endif
