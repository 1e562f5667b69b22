/* Inputs whose maximum an observer chooses (plan/input_observer.h): a histogram each while their block runs, and no
 * longer. */
#ifndef CALIBRATE_OBSERVING_H
#define CALIBRATE_OBSERVING_H

#include "calibrate/histogram.h"
#include "calibrate/sample.h"
#include "core/pool.h"
#include "plan/stats.h"

#include <stdatomic.h>

struct observing {
    const struct plan *plan;
    struct pool *pool;
    uint64_t isa;
    struct histogram **histograms; /* [n_items], of the block under way */
    struct sample *samples;        /* [n_items], the same: rows of NVFP4 inputs, whose errors no histogram knows */
    float *peak, *gain;            /* [n_items], of those that were chosen; NaN: none */
    atomic_bool no_memory;
};

MUST_CHECK bool observing_open(struct observing *o, const struct plan *plan, struct pool *pool, uint64_t isa,
                               struct error *err);
void observing_close(struct observing *o);

/* x: finite, [n_rows, columns], row stride in floats; from several threads for different items. */
void observing_input(struct observing *o, uint32_t item, const float *x, uint64_t n_rows, uint64_t stride);
/* The block is through: amax[n_items] of its items become what the observers choose. */
MUST_CHECK bool observing_choose(struct observing *o, float *amax, struct error *err);
MUST_CHECK bool observing_stats(const struct observing *o, uint32_t item, struct stats *s, struct error *err);

#endif
