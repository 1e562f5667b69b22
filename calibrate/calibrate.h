/* Runs texts through the original model, block by block, and keeps the largest magnitude at every point the plan asks
 * for: inputs of linears, K and V, and the weights themselves; counts how many tokens each expert saw; and solves the
 * weights of the lines that say so (calibrate/solving.h). */
#ifndef CALIBRATE_CALIBRATE_H
#define CALIBRATE_CALIBRATE_H

#include "engine/corpus.h"
#include "engine/engine.h"
#include "plan/stats.h"

struct calibrate_options {
    struct pool *pool;
    uint64_t isa;
    const char *spill_dir; /* or NULL */
    /* Of recipes that solve weights: */
    const char *work_path; /* the output this is for: the work folder is made beside it */
    uint64_t solve_bytes;  /* second moments at the same time; 0: PLAN_SOLVE_BYTES */
    bool sequential;       /* each block sees what the quantized blocks in front of it give */
};

/* The corpus must not be empty. Unseen experts are not an error here (the statistics list them): quantize applies the
 * recipe's policy. */
MUST_CHECK bool calibrate_run(const struct plan *plan, const struct corpus *corpus, const struct calibrate_options *opt,
                              struct stats **out, const struct progress *pr, struct error *err);

#endif
