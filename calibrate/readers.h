/* What the errors of a linear that writes into the residual stream are worth: routers in the layers behind read the
 * stream, and a choice of experts that flips costs more than what moved it. Over outputs e of the linear that is e' G
 * e,
 *
 *     G = 1 + c * (mean over the routers behind of R' R / m)       R: the router's weights times its norm's gain
 *                                                                  m: mean of the diagonal of R' R
 *
 * c is READERS_WEIGHT. Where the norm subtracts the mean, R's rows have mean 0. Chosen on calibration texts
 * (docs/algorithms.md); the token's own size, by which its norm divides, is not in it. */
#ifndef CALIBRATE_READERS_H
#define CALIBRATE_READERS_H

#include "core/pool.h"
#include "plan/plan.h"

#define READERS_WEIGHT 2.0

/* True for linears that write into the residual stream, in models where that is the sum of what they give. */
bool readers_apply(const struct plan *p, uint32_t item);
/* *g: [hidden, hidden], the caller's to free; NULL: no router stands behind the block. Does not depend on the pool. */
MUST_CHECK bool readers_of(const struct plan *p, uint32_t block, uint64_t isa, struct pool *pool, float **g,
                           struct error *err);

#endif
