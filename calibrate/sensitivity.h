/* What each type of each group of linears costs: how far the model moves when that group alone is quantized.
 *
 * Forward passes only, block by block. Behind each block the batch is run through it once more for every group and
 * type, with weights that were encoded and decoded on the way and inputs rounded as the engine would; what comes out is
 * a fork of the residual stream.
 *
 *     "kl"    every fork goes on to the logits through the original blocks, and its score is measured:
 *             KL(original || fork), nats per token. Costs groups x types half passes.
 *     "gain"  of each block one fork goes on, with all its groups in their smallest types; the others are compared with
 *             the original behind their block, and get that fork's KL in proportion to their squared error. KL is
 *             quadratic in a small disturbance, so that errors of one place weigh alike. Costs blocks half passes, and
 *             groups x types runs of single blocks.
 *
 * The model is read once per wave; a wave has as many forks as fit in memory. */
#ifndef CALIBRATE_SENSITIVITY_H
#define CALIBRATE_SENSITIVITY_H

#include "engine/corpus.h"
#include "engine/engine.h"
#include "plan/search.h"

enum sensitivity_method { SENSITIVITY_KL, SENSITIVITY_GAIN };

struct sensitivity_options {
    struct pool *pool;
    uint64_t isa;
    const char *spill_dir; /* or NULL */
    enum sensitivity_method method;
    uint64_t fork_bytes; /* of residual streams that may wait at a time; 0: a quarter of the memory */
};

/* Fills known, kl and error of every choice that is allowed, and where they come from. Does not depend on threads,
 * waves, or the CPU. */
MUST_CHECK bool sensitivity_measure(struct search_space *s, const struct corpus *corpus,
                                    const struct sensitivity_options *opt, const struct progress *pr,
                                    struct error *err);

#endif
