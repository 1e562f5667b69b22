/* Coordinate descent on the whole row: from codes and block scales that somebody found (GPTQ, rounding), lowers
 *
 *     (w - q) H (w - q)^T            H: second moments of the linear's inputs, with GPTQ's addition on the diagonal
 *
 * block by block of 16: what the errors of all other blocks do to the block's columns is one product, and
 * numeric/nvfp4_local.h says how the block's codes and its scale then move. Of INT4 only the codes move, one after the
 * other, each to its best value given the others; scales and zero points stay. A pass goes over all blocks; none makes
 * the sum larger but by rounding of fp32. Unlike GPTQ a column may answer to those behind it, and NVFP4's scales are
 * chosen after the codes around them are known. */
#ifndef CALIBRATE_DESCENT_H
#define CALIBRATE_DESCENT_H

#include "backends/cpu/math.h"
#include "backends/cpu/nvfp4_search.h"
#include "calibrate/grid.h"
#include "calibrate/moments.h"

struct descent {
    const struct moments *moments; /* finished; the diagonal is positive with `add` on it */
    const float *add;              /* [cols]: on the diagonal */
    const struct grid *grid;
    uint32_t passes;
    const struct math_ops *math;
    const struct nvfp4_search_ops *search;
};

/* H of the 16 columns from `first` on, which a block's search takes. */
void descent_block_moments(const struct moments *m, const float *add, uint64_t first, float h[256]);
/* Columns first .. first + width of H, width <= GEMM_PANEL: [cols][GEMM_PANEL], zero beyond. */
void descent_panel(const struct descent *d, uint64_t first, uint64_t width, float *panel);
/* 16 columns of a row of INT4: codes under the scale and zero point that they have. q and hd (the errors of the whole
 * row times H, at these columns) in and out. */
void descent_codes(enum grid_kind kind, float q[16], float hd[16], float step, uint8_t zero, const float h[256]);

/* w: [n, cols]; q: the same as it is read now, in and out; scales: of the same rows; NVFP4's bytes in and out. Rows do
 * not know of each other. */
MUST_CHECK bool descent_rows(const struct descent *d, const float *w, float *q, const struct grid_scales *scales,
                             uint64_t n, struct error *err);

#endif
