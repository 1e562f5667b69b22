/* Second moments of a linear's inputs: the sum over its rows of x x^T, made while they pass. The arithmetic is fixed:
 * rows are rounded to bf16 (as a bf16 engine has them) and gathered in chunks of a length that depends on the width
 * alone; a chunk's product is that of gemm.h's bf16 arithmetic, and chunks are added in order, in fp32. So neither the
 * cut of the texts nor threads nor the CPU show in the sum. */
#ifndef CALIBRATE_MOMENTS_H
#define CALIBRATE_MOMENTS_H

#include "backends/cpu/gemm.h"
#include "core/error.h"
#include "core/pool.h"

struct moments {
    uint64_t cols, n_rows; /* n_rows: all that were added */
    uint32_t chunk, fill;  /* rows: of a chunk, waiting */
    float *waiting;        /* [cols, chunk]: transposed */
    float *sum;            /* [cols, cols]: on and below the diagonal; above it anything */
    /* Where the engine multiplies with rounded inputs z in place of x, `sum` is of z z^T, and beside it: */
    float *waiting_off; /* [cols, chunk]: x - z, transposed; NULL: inputs are not rounded */
    float *off;         /* [cols, cols]: the sum of (x - z) z^T, all of it */
};

MUST_CHECK bool moments_open(struct moments *m, uint64_t cols, bool rounded, struct error *err);
void moments_close(struct moments *m);

/* Who computes; pool NULL: the calling thread alone. */
struct moments_env {
    const struct gemm_ops *gemm;
    const struct math_ops *math;
    struct pool *pool;
};
/* x: [n_rows, cols], row stride in floats. z: [n_rows, cols] without gaps, when it was opened for that; else NULL. */
MUST_CHECK bool moments_add(struct moments *m, const struct moments_env *env, const float *x, const float *z,
                            uint64_t n_rows, uint64_t stride, struct error *err);
/* After the last row. */
MUST_CHECK bool moments_finish(struct moments *m, const struct moments_env *env, struct error *err);

#endif
