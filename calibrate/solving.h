/* The lines of a recipe that say `solve:`, block by block: moments while a block runs, then codes into the work file. A
 * block whose moments do not fit in memory at once is run once for each part of it (plan/solve_parts.h). */
#ifndef CALIBRATE_SOLVING_H
#define CALIBRATE_SOLVING_H

#include "calibrate/gptq.h"
#include "calibrate/readers.h"
#include "calibrate/work.h"
#include "core/progress.h"

#include <pthread.h>

struct solving {
    const struct plan *plan;
    struct pool *pool;
    uint64_t isa, budget;
    const float *group_amax;  /* [n_groups] */
    uint32_t *part;           /* [n_items], of the block under way */
    const float *input_amax;  /* [n_items]: of rounded inputs; NULL: they are taken as they come */
    struct moments **moments; /* [n_items], of the part under way; NULL: not watched */
    float *outputs;           /* [hidden, hidden] of the part that is solved (calibrate/readers.h); NULL: alike */
    struct readers readers;
    struct work work;
    bool solves;  /* the block under way has something to solve */
    bool recalls; /* all blocks so far were done by an earlier run */
    pthread_mutex_t lock;
    bool failed; /* an observer could not go on: */
    struct error err;
};

/* group_amax is borrowed. Nothing is opened when the plan solves nothing. */
MUST_CHECK bool solving_open(struct solving *s, const struct plan *plan, struct pool *pool, uint64_t isa,
                             uint64_t budget, const float *group_amax, struct error *err);
void solving_close(struct solving *s);

/* How often the block must be run with an observer: at least once. others: somebody else puts results into the work
 * file, too. *recalled: the block's results are in the stats already. */
MUST_CHECK bool solving_block(struct solving *s, uint32_t block, bool others, uint32_t *n_parts, bool *recalled,
                              struct error *err);
/* True when moments are of rounded inputs, for which the block's maxima must be known: input_amax [n_items]. */
bool solving_rounds(const struct solving *s, uint32_t block);
/* input_amax: as quantize will use it, NULL when solving_rounds is false. */
MUST_CHECK bool solving_begin(struct solving *s, uint32_t part, const float *input_amax, struct error *err);
/* An input of item i; from several threads for different experts. Errors come out of solving_end. */
void solving_input(struct solving *s, uint32_t i, const float *x, uint64_t n_rows, uint64_t stride);
MUST_CHECK bool solving_end(struct solving *s, uint32_t part, const struct progress *pr, struct error *err);
/* After the last part. */
MUST_CHECK bool solving_done(struct solving *s, uint32_t block, struct error *err);

#endif
