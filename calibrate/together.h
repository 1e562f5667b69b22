/* Descent (calibrate/descent.h) over a whole matrix, whose rows know of each other: lowers
 *
 *     sum over r, k of G[r, k] (w - q)[r] H (w - q)[k]^T        G: [rows, rows], symmetric, positive definite
 *
 * G says what an error of one output is worth beside that of another (calibrate/readers.h). For one row, with all
 * others as they stand, that is the plain row's problem with (w - q)[r] H replaced by (G (w - q) H)[r] / G[r, r]; so
 * rows take turns, block by block of 16 columns, and none makes the sum larger but by rounding of fp32. */
#ifndef CALIBRATE_TOGETHER_H
#define CALIBRATE_TOGETHER_H

#include "calibrate/descent.h"
#include "core/pool.h"

/* w: [rows, cols]; q: the same as it is read now, in and out; scales: of all rows; NVFP4's bytes in and out. pool NULL:
 * the calling thread alone; the result does not depend on it. */
MUST_CHECK bool together_rows(const struct descent *d, const float *g, struct pool *pool, const float *w, float *q,
                              const struct grid_scales *scales, uint64_t rows, struct error *err);

#endif
