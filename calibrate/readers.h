/* What the errors of a linear that writes into the residual stream are worth, by who reads the stream in the blocks
 * behind. Over outputs e of the linear that is e' G e,
 *
 *     G = 1 + c * mean over readers of R' R / m       R: a reader's weights, its columns times its norm's gain
 *                                                     m: mean of the diagonal of R' R
 *
 * so a direction that readers multiply by much counts for more than one that they hardly see. Readers are the linears
 * that take a block's normed input: attention's, Mamba's and DeltaNet's projections, MLPs, shared experts, latent
 * projections, and routers, where a choice of experts that flips costs more than what moved it. Experts themselves are
 * not among them (each sees few tokens, and together they are most of the model), nor weights that the source has
 * quantized. Where the norm subtracts the mean, R's rows have mean 0. c is READERS_WEIGHT, chosen on calibration texts
 * (docs/algorithms.md). The size of the token, by which norms divide, is not in it. */
#ifndef CALIBRATE_READERS_H
#define CALIBRATE_READERS_H

#include "core/pool.h"
#include "plan/plan.h"

#define READERS_WEIGHT 2.0

/* Sums over the readers behind a block; blocks are asked for in order. */
struct readers {
    const struct plan *plan;
    struct pool *pool;
    uint64_t isa;
    float *sum;    /* [hidden, hidden]: of R' R / m; NULL: not summed yet */
    uint32_t n;    /* readers in it */
    uint32_t next; /* the first block in it */
};

void readers_open(struct readers *r, const struct plan *p, struct pool *pool, uint64_t isa);
void readers_close(struct readers *r);
/* True for linears that write into the residual stream, in models where that is the sum of what they give. */
bool readers_apply(const struct plan *p, uint32_t item);
/* *g: [hidden, hidden], the caller's to free; NULL: nobody reads behind the block. Does not depend on the pool. */
MUST_CHECK bool readers_behind(struct readers *r, uint32_t block, float **g, struct error *err);

#endif
