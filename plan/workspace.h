/* How quantize cuts tensors into pieces, and the memory that this takes: lanes (backends/backend.h) of one size, each
 * for one piece on its way from the disk through a device and back. The plan promises the figure, quantize opens
 * exactly that, on whichever backend. */
#ifndef PLAN_WORKSPACE_H
#define PLAN_WORKSPACE_H

#include "plan/plan.h"

/* Source bytes of a piece at most. */
#define PLAN_PIECE_BYTES ((uint64_t)4 << 20)
/* A tensor of at most this many bytes waits in memory for its group's maximum; a larger one is read twice. */
#define PLAN_HOLD_BYTES ((uint64_t)64 << 20)
/* Lanes beside those that one waiting tensor takes: for pieces that are read, computed and written meanwhile, and so
 * that two tensors can be hashed side by side. The second where memory is short: below PLAN_HOLD_BYTES. */
#define PLAN_LANES_AHEAD 16u
#define PLAN_LANES_AHEAD_SHORT 6u

/* A matrix cut into pieces: whole rows, or parts of one row where a row alone is larger than a piece and the type
 * allows it. Rows that must stay together (128 of FP8 blocks) make larger pieces where they do not fit. */
struct plan_cut {
    uint64_t n_rows, n_cols, elem_bytes; /* of the whole */
    uint64_t rows, cols;                 /* of a piece; the last one of the matrix or of a row may be smaller */
    uint64_t n_pieces;                   /* at least one, if only of 0 bytes */
};

struct plan_piece {
    uint64_t first;          /* element */
    uint64_t row, col;       /* the same */
    uint64_t n_rows, n_cols; /* contiguous */
};

struct plan_workspace {
    uint64_t piece_bytes;
    uint32_t n_lanes, n_held; /* n_held: how many lanes a tensor may take that waits for its maximum */
    uint64_t gather;          /* bytes beside the lanes: the largest weight that is written on its side */
    /* bytes of each lane */
    uint64_t src, dst, dst_scale, dst_f32, block_amax;
    uint64_t raw; /* beside each lane: what is read, where the lane holds it with scales per channel */
};

/* An item's weight as it is read and cut: a matrix of its own, or of a stack. Of an item of a stack that is not its
 * lead: nothing is read. */
const struct tensor_info *plan_matrix(const struct plan *p, const struct plan_item *item);
struct plan_cut plan_cut_item(const struct plan *p, const struct plan_item *item, uint64_t piece_bytes);
/* Of a linear's weight that becomes `f`, and of bytes that are carried. */
struct plan_cut plan_cut_rows(const struct tensor_info *t, const struct quant_format *f, uint64_t piece_bytes);
struct plan_cut plan_cut_bytes(uint64_t bytes, uint64_t piece_bytes);
struct plan_piece plan_cut_piece(const struct plan_cut *c, uint64_t i);

/* hold_bytes: PLAN_HOLD_BYTES, or less where memory is short. */
struct plan_workspace plan_workspace_for(const struct plan *p, uint64_t piece_bytes, uint64_t hold_bytes);
uint64_t plan_workspace_bytes(const struct plan_workspace *w);

#endif
