/* The scales of one group of a fold (plan/fold.h), from the sampled inputs of its readers.
 *
 * AWQ (arXiv 2306.00978): s = m^a, m the mean magnitude of the channel, for a in 0, 0.1, ..., 1; each over the root of
 * its largest times its smallest, kept in [1e-4, 1e4]; duo: m^a / v^(1 - a) too, v the mean over rows of |w| over its
 * block's largest. The one with the least loss: the error of the outputs on the sample (calibrate/fold_error.h), over
 * the outputs' own sum of squares, for the readers of each role together and then added over roles; of equals the
 * first, and a = 0, which changes nothing, is the first of all. Experts count by the rows that they saw.
 *
 * SmoothQuant (arXiv 2211.10438): s = max |x|^alpha / max |w|^(1 - alpha), no search.
 *
 * A channel without inputs keeps 1. What a norm's type makes of w / s is what counts: each candidate's s is the one
 * that is left after that rounding (numeric/fold_scale.h). */
#ifndef CALIBRATE_FOLD_SEARCH_H
#define CALIBRATE_FOLD_SEARCH_H

#include "calibrate/fold_error.h"

struct fold_group {
    const struct plan_fold *fold;
    struct fold_reader *readers; /* those that are quantized */
    uint32_t n_readers;
    const struct sample *const *inputs; /* of all readers that were sampled, each once */
    uint32_t n_inputs;
    /* results; errors before and after are those of the readers */
    float *scale;   /* [fold->n], owned by the caller */
    double *before; /* [n_readers], under scales: max and nothing folded */
};
MUST_CHECK bool fold_search(const struct fold_env *e, struct fold_group *g, struct error *err);

#endif
