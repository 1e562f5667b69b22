/* Scales per channel (plan/fold.h) and clipped weights (calibrate/clip.h), block by block: samples of inputs while a
 * block runs, then the search, and vectors and codes into the work file. All searches see the original model, or
 * with --sequential what the folded and quantized blocks in front give (calibrate/sequential.h). */
#ifndef CALIBRATE_FOLDING_H
#define CALIBRATE_FOLDING_H

#include "calibrate/fold_error.h"
#include "calibrate/work.h"
#include "core/progress.h"

struct folding {
    struct fold_env env;
    struct work *work;
    struct sample *samples; /* [n_items], of the block under way; cols 0: not watched */
    float **values;         /* [n_items]: of V, the largest magnitude of each channel; NULL: not watched */
    float **scales;         /* [n_folds]: those of the block under way */
    uint32_t first, end;    /* folds of the block */
    uint32_t from, to;      /* its items lie between these */
    bool active;            /* the block has something to find */
};

MUST_CHECK bool folding_open(struct folding *f, const struct plan *plan, struct pool *pool, uint64_t isa,
                             struct work *work, struct error *err);
void folding_close(struct folding *f);
bool folding_has(const struct folding *f, uint32_t block);

MUST_CHECK bool folding_begin(struct folding *f, uint32_t block, struct error *err);
/* An input of item i; from several threads for different experts. forced: no router sent it. */
void folding_input(struct folding *f, uint32_t i, const float *x, uint64_t n, uint64_t stride, bool forced);
/* What V gives: x [n, cols]. */
void folding_values(struct folding *f, uint32_t i, const float *x, uint64_t n, uint64_t cols, uint64_t stride);

/* Maxima of all items, as calibrate keeps them; those of folded items become what they are after folding. */
struct folding_maxima {
    float *input, *output, *weights; /* [n_items] */
    float *groups;                   /* [n_groups] */
};
/* recalled: vectors and codes are in the statistics already. */
MUST_CHECK bool folding_end(struct folding *f, uint32_t block, bool recalled, const struct folding_maxima *m,
                            const struct progress *pr, struct error *err);

#endif
