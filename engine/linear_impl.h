/* Between engine/linear_run.c (products) and engine/linear_input.c (what they are made with). */
#ifndef ENGINE_LINEAR_IMPL_H
#define ENGINE_LINEAR_IMPL_H

#include "engine/block.h"

/* One run of a linear. */
struct run_ctx {
    const struct linear *l;
    const struct engine *e;
    struct pool *pool; /* NULL: this thread, which is worker `here` */
    uint32_t here;
    uint8_t *room; /* for copies of x: [m] rows of linear_room */
    const void *x; /* fp32, or rows of e->gemm->input */
    uint64_t x_stride, m, ldy;
    uint64_t run, n_row_items; /* kept panels: panels of an item, items that share them */
    float *y;
};

/* What the linear computes with: x itself, or in r->x a copy that is quantized, rounded to bf16, moved apart, or all of
 * these; it lies in r->room. */
void linear_input(struct run_ctx *r);

#endif
