/* Runs texts through the original model, block by block, and keeps the largest magnitude at every point the plan asks
 * for: inputs of linears, K and V, and the weights themselves; counts how many tokens each expert saw. */
#ifndef CALIBRATE_CALIBRATE_H
#define CALIBRATE_CALIBRATE_H

#include "engine/corpus.h"
#include "engine/engine.h"
#include "plan/stats.h"

struct calibrate_options {
    struct pool *pool;
    uint64_t isa;
    const char *spill_dir; /* or NULL */
};

/* The corpus must not be empty. Unseen experts are not an error here (the statistics list them): quantize applies the
 * recipe's policy. */
MUST_CHECK bool calibrate_run(const struct plan *plan, const struct corpus *corpus, const struct calibrate_options *opt,
                              struct stats **out, const struct progress *pr, struct error *err);

#endif
