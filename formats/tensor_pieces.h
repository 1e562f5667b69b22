/* Tensors whose bytes lie in several places, or in another order than rows of columns: views with strides in a PyTorch
 * file, parts of a tensor that a training run has spread over files, rows of a fused projection. All of them are blocks
 * of the tensor's rows and columns, each with its place and its steps. */
#ifndef FORMATS_TENSOR_PIECES_H
#define FORMATS_TENSOR_PIECES_H

#include "formats/checkpoint.h"

#define TENSOR_PIECES_MAX 1000000u /* of a checkpoint; a published one of 96 layers in 64 shards has 10^5 */

/* Element (row + r, col + c) of the tensor, seen as dims[0] * .. * dims[n - 2] rows of dims[n - 1] columns, lies at
 * byte offset + r * row_step + c * col_step of the member. Of GGUF's types a block counts as one column. */
struct tensor_piece {
    uint64_t row, rows, col, cols;
    uint64_t offset, row_step, col_step;
    uint32_t member;
};
struct tensor_pieces {
    uint64_t rows, cols; /* of the tensor; `cols` need not be its last dimension */
    uint32_t n;
    struct tensor_piece *piece; /* [n] by row, then by column; those of the same rows are side by side */
};

/* Adds a tensor made of pieces, which are copied; t's member and offset are those of its first. ERR_FORMAT when the
 * pieces do not cover rows x cols exactly, ERR_UNSUPPORTED when they do it in another way than bands of whole rows. */
MUST_CHECK bool checkpoint_add_pieces(struct checkpoint *ck, const struct tensor_info *t,
                                      const struct tensor_pieces *pieces, struct error *err);
/* As checkpoint_read: n bytes from byte `offset`, both whole elements. */
MUST_CHECK bool tensor_pieces_read(const struct folder *f, const struct tensor_info *t, uint64_t offset, void *dst,
                                   size_t n, struct error *err);

/* For checkpoint_add_pieces: puts them in order and checks them. */
MUST_CHECK bool tensor_pieces_settle(const char *name, struct tensor_pieces *p, struct error *err);

#endif
