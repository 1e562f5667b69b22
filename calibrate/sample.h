/* What is kept of one linear's inputs while its block runs: the largest magnitude and the sum of magnitudes of each
 * column, and some of the rows, evenly spread: every row at first, and when there is no room for more, every other of
 * those, and from then on every second one, and so on. Which rows these are follows from their number alone. */
#ifndef CALIBRATE_SAMPLE_H
#define CALIBRATE_SAMPLE_H

#include "core/error.h"
#include "core/pool.h"

struct sample {
    uint64_t cols, n_rows; /* n_rows: all that passed */
    uint64_t stride;       /* every so many is kept */
    uint32_t capacity, n_kept;
    bool forced;    /* nobody chose this expert: it was sent all tokens (UNSEEN_ALL_TOKENS), which count for nothing */
    float *amax;    /* [cols] */
    double *sum;    /* [cols], of magnitudes */
    uint16_t *kept; /* [capacity, cols] bf16, as a bf16 engine has them */
};

/* capacity: even. */
MUST_CHECK bool sample_open(struct sample *s, uint64_t cols, uint32_t capacity, struct error *err);
void sample_close(struct sample *s);
/* x: [n, cols], row stride in floats. pool NULL: the calling thread alone. */
void sample_add(struct sample *s, struct pool *pool, const float *x, uint64_t n, uint64_t stride);
void sample_row(const struct sample *s, uint32_t row, float *out);
/* How many of the model's rows it stands for. */
static inline double sample_weight(const struct sample *s)
{
    return s->forced ? 1 : (double)s->n_rows;
}

#endif
