/* `--sequential`: after a block was observed, it is run again as the result will have it, and that is what the blocks
 * behind it see: weights rounded or solved, inputs of formats that quantize them quantized, with the maxima that were
 * just observed.
 *
 * Scales per channel (plan/fold.h) are in the weights that stand in, and taken out again beside them: inputs of a
 * linear are divided by the scales of its columns before they are rounded, rows of a maker multiplied with theirs after
 * they were decoded. Biases are divided, rounded to their type and multiplied again. Norms and linears of their own
 * type stay as they are, which is what they pass on when they are folded: a norm's scale is what its rounding leaves
 * (numeric/fold_scale.h), those of linears that stay in their type are powers of two. */
#ifndef CALIBRATE_SEQUENTIAL_H
#define CALIBRATE_SEQUENTIAL_H

#include "engine/engine.h"
#include "plan/fold.h"
#include "plan/stats.h"

struct sequential {
    const struct plan *plan;
    const struct stats *stats; /* holds what is solved, unsorted as yet */
    uint64_t isa;
    const float *group_amax;     /* [n_groups] */
    struct weight_source source; /* for the engine: stands in between begin and end */
    bool active;
    float *input_amax; /* [n_items], of the block under way */
    uint32_t *first;   /* [n_items]: number of the first solved tensor; NAME_NONE */
    uint32_t n_known;  /* solved tensors that were looked at */
    float **scales;    /* [n_folds], of the block under way; NULL: of others */
    uint32_t first_fold, end_fold;
};

void sequential_open(struct sequential *q, const struct plan *plan, const struct stats *stats, uint64_t isa,
                     const float *group_amax);
void sequential_close(struct sequential *q);
/* input_amax: [n_items], as observed. */
MUST_CHECK bool sequential_begin(struct sequential *q, uint32_t block, const float *input_amax, struct error *err);
/* Input maxima of a block's items as quantize will use them (plan/stats.h): experts of a layer share the largest of
 * their projection. input_amax: as observed; shared: written for that block; both [n_items]. */
void share_maxima(const struct plan *p, uint32_t block, const float *input_amax, float *shared);
void sequential_end(struct sequential *q);

#endif
