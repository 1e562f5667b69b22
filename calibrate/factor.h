/* H = R R^T with R upper triangular, from a symmetric positive definite H: what GPTQ needs of second moments. This is
 * the Cholesky factorisation of H with its rows and columns in reverse; the upper factor U of the inverse, H^-1 = U^T
 * U, which the method's authors use, is R^-1, and one row of it over its diagonal says the same as M below. No inverse
 * is made.
 *
 * Blocks of FACTOR_BLOCK columns: products in fp32 in the fixed order of math.h, the block on the diagonal in fp64. The
 * result depends on neither threads nor the instruction set. */
#ifndef CALIBRATE_FACTOR_H
#define CALIBRATE_FACTOR_H

#include "backends/cpu/math.h"
#include "core/error.h"
#include "core/pool.h"

#define FACTOR_BLOCK 128u
#define FACTOR_PANEL GEMM_PANEL

/* M[k, c] = R[k, c] / R[c, c] for k < c, else 0: how much of the error at column k column c takes over. */
struct factor {
    uint64_t n;
    float *panels;   /* one per 32 columns: [its last column + 1][32], behind each other */
    float *diagonal; /* [n]: R[c, c] */
};
void factor_close(struct factor *f);
/* The panel whose first column is `first`, a multiple of 32; it has factor_rows(f, first) rows. */
const float *factor_panel(const struct factor *f, uint64_t first);
uint64_t factor_rows(const struct factor *f, uint64_t first);

/* Bytes that factor_make works in, and what is left of it. */
uint64_t factor_work_bytes(uint64_t n);
uint64_t factor_bytes(uint64_t n);

/* h: [n, n], read on and below the diagonal; order[c]: the row of h that is column c. `add` is added to the diagonal.
 * *definite false: it is not positive definite in this arithmetic, and there is no factor. */
MUST_CHECK bool factor_make(struct factor *out, const float *h, uint64_t n, const uint32_t *order, double add,
                            const struct math_ops *math, struct pool *pool, bool *definite, struct error *err);

#endif
