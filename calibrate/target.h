/* Where the engine rounds a linear's inputs x to z, no codes of W give W x: the best that is linear in z is
 *
 *     W* = W + W D (H + add)^-1       H: sum of z z^T, D: sum of (x - z) z^T, add: what damps H
 *
 * (least squares, with the same damping towards W). GPTQ then looks for codes of W* in place of W. Rows by themselves.
 */
#ifndef CALIBRATE_TARGET_H
#define CALIBRATE_TARGET_H

#include "calibrate/factor.h"

struct target {
    const struct factor *factor; /* of H + add */
    const uint32_t *order;       /* its columns */
    float *off;                  /* D in panels of 32 columns of the factor: [n][32] each */
    float *back;                 /* R^T right of the panel's columns, in panels */
};

/* off: [n, n], D. The factor and its order are borrowed. */
MUST_CHECK bool target_open(struct target *t, const struct factor *f, const uint32_t *order, const float *off,
                            struct pool *pool, struct error *err);
void target_close(struct target *t);

/* Room of one caller for `rows` rows: [rows, stride] twice, [rows, 32] twice. */
struct target_room {
    float *y, *x, *now, *side;
    uint64_t rows, stride;
};
/* w: [n_rows, n], n_rows <= room->rows; becomes W*. */
void target_rows(const struct target *t, const struct math_ops *math, float *w, uint64_t n_rows,
                 const struct target_room *room);

#endif
