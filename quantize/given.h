/* Scales that another quantized folder already has, in place of those that quantize would make: for students that were
 * trained with quantization, whose weights moved under fixed scales. The folder must be of the same plan: every linear
 * in the same format, the same KV cache. All its scales are read and checked before anything is written: there, of the
 * right shape, finite, positive. The digest of them is part of what the output depends on. */
#ifndef QUANTIZE_GIVEN_H
#define QUANTIZE_GIVEN_H

#include "core/pool.h"
#include "core/progress.h"
#include "plan/plan.h"

struct given {
    struct model model;              /* the other folder */
    bool borrowed;                   /* and it is the caller's */
    const struct model_tensor **ref; /* [n_items] the other folder's; NULL for items that are not quantized */
    struct digest digest;            /* of every scale taken: name, zero byte, bytes; in plan order */
    uint64_t *clipped;               /* [n_items] weights that saturated (given_encode) in this run */
};

/* Errors: ERR_FORMAT naming the tensor when the folder
 * is of another plan or a scale is not one; ERR_UNSUPPORTED for formats whose weights cannot be coded with given
 * scales. */
MUST_CHECK bool given_open(struct given **out, const struct plan *plan, const char *dir, const struct progress *pr,
                           struct error *err);
/* The same of a model that is open, and stays the caller's; wanted[n_items]: only these items' scales are read. */
MUST_CHECK bool given_borrow(struct given **out, const struct plan *plan, const struct model *model, const bool *wanted,
                             const struct progress *pr, struct error *err);
void given_close(struct given *g); /* NULL is fine */

/* A scalar scale of an item: PART_WEIGHT_SCALE, _2, PART_INPUT_SCALE, PART_K_SCALE, PART_V_SCALE. */
MUST_CHECK bool given_scalar(const struct given *g, const struct plan *plan, uint32_t item, enum tensor_part part,
                             float *out, struct error *err);

/* Rows of an item's weight, n_rows x n_cols from element `first` of the tensor on (whole rows, or a part of one that
 * begins and ends between blocks), coded into dst, their block scales copied into dst_scale. Counts in g->clipped what
 * lies so far beyond the largest code that a next code, were there one, would have been nearer: |w| / scale > 7 of
 * E2M1, > 464 of E4M3. What plain rounding of a scale leaves outside is not counted. */
struct given_piece {
    uint32_t item;
    uint64_t first, n_rows, n_cols;
    const void *src;
    enum dtype dtype;
    uint8_t *dst, *dst_scale;
};
MUST_CHECK bool given_encode(struct given *g, const struct plan *plan, struct pool *pool, const struct given_piece *p,
                             struct error *err);

#endif
