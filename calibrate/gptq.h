/* GPTQ: codes of a linear's weights that keep the linear's outputs on the inputs that were seen. Columns are rounded
 * one after the other, and each takes over what the errors of those before it do to the outputs:
 *
 *     t[c] = w[c] + sum over k < c of (w[k] - q[k]) M[k, c]          M of factor.h; rows of w by themselves
 *     q[c] = t[c] rounded to the format, with the block's scale
 *
 * which is the published column-by-column update (arXiv 2210.17323) without its inverse, and one product per panel of
 * 32 columns in place of lazy blocks. Scales are chosen from the weights as they are before the first column (the
 * line's `scales`) and stay. In act_order columns come in order of falling second moment (ties: as they stand).
 *
 * A column that saw nothing but zeros is rounded as it is, and no other knows of it. When the moments are not positive
 * definite with `damp` times the mean of their diagonal on it, ten times as much is tried, up to 1; after that, and
 * when there are no rows, weights are rounded as they are (gain.damp 0). */
#ifndef CALIBRATE_GPTQ_H
#define CALIBRATE_GPTQ_H

#include "calibrate/grid.h"
#include "calibrate/moments.h"
#include "calibrate/target.h"
#include "plan/plan.h"
#include "plan/solved.h"

/* The factor of one matrix of moments; linears that see the same input share it. */
struct gptq_factor {
    struct factor *factor; /* NULL: none could be made */
    uint32_t *order;       /* [cols]: column c of the factor is this one of the weights */
    double damp;
    float *added;    /* [cols], by column of the factor: what was added to the diagonal of the sum */
    float *added_to; /* the same by column of the weights */
    uint64_t n_rows;
    const struct moments *moments; /* borrowed: what the factor was made of */
    struct target target;          /* off NULL: W itself */
};

struct gptq_env {
    const struct math_ops *math;
    struct pool *pool; /* NULL: the calling thread alone */
    uint64_t isa;
};

/* The moments must be finished, and stay until the close; they are what they were afterwards. */
MUST_CHECK bool gptq_factor_make(struct gptq_factor *out, struct moments *m, const struct solve_choice *choice,
                                 const struct gptq_env *env, struct error *err);
void gptq_factor_close(struct gptq_factor *f);

/* Where rows of weights come from: fp32, [n, cols]. */
struct gptq_weights {
    void *ctx;
    bool (*rows)(void *ctx, uint64_t first, uint64_t n, float *out, struct error *err);
    uint64_t n_rows, cols;
    struct grid grid;
    enum solve_method method;
    uint32_t passes;      /* SOLVE_DESCENT */
    const float *outputs; /* SOLVE_DESCENT: [n_rows, n_rows], what errors of outputs are worth (calibrate/together.h);
                             NULL: all alike */
};

/* codes: [n_rows, cols / 2]; bytes and floats: [n_rows, blocks], as kernels leave them (calibrate/grid.h), NULL where
 * the format has none. */
struct gptq_result {
    uint8_t *codes, *bytes;
    float *floats;
};
/* `gain` but its module. */
MUST_CHECK bool gptq_solve(const struct gptq_weights *w, const struct gptq_factor *f, const struct gptq_env *env,
                           const struct gptq_result *result, struct solve_gain *gain, struct error *err);

#endif
