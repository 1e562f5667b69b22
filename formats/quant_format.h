/* The quantization types: what each is called in published configurations and which tensors hold it on disk.
 * One row per type, in formats/quant_format.c. Layout facts: docs/formats.md (ModelOpt unified Hugging Face
 * checkpoints). */
#ifndef FORMATS_QUANT_FORMAT_H
#define FORMATS_QUANT_FORMAT_H

#include "core/dtype.h"
#include "core/error.h"
#include "numeric/op.h"

#include <stdint.h>

#define QUANT_PARTS_MAX 4u

/* What a tensor is to the linear it belongs to. PART_WEIGHT is also every tensor that is not part of a quantized
 * linear. */
enum tensor_part {
    PART_WEIGHT,
    PART_WEIGHT_SCALE,
    PART_WEIGHT_SCALE_2,
    PART_WEIGHT_SCALE_INV, /* multiplied, whatever its name says */
    PART_WEIGHT_SHAPE,     /* two integers: rows and columns of a packed weight */
    PART_INPUT_SCALE,
    PART_K_SCALE,
    PART_V_SCALE,
    PART_COUNT
};
const char *tensor_part_suffix(enum tensor_part part); /* "weight", "weight_scale", ... */

struct quant_part {
    enum tensor_part part;
    enum dtype dtype;
    uint32_t cols_per_elem; /* columns of the weight that share one element here; 0: one scalar (rank 0) per tensor */
    uint32_t rows_per_elem; /* the same of rows; 0: 1. Blocks may be cut off at the last row and column */
    bool any_type;          /* also as another plain float, or (weight_shape) another integer */
};

struct quant_format {
    const char *name;     /* ours, in recipes and plans: "nvfp4" */
    const char *algo;     /* ModelOpt's quant_algo: "NVFP4"; of other methods a word of ours */
    const char *method;   /* the quant_method that declares it; NULL: modelopt. Others are read and never written */
    bool packed;          /* the weight is called weight_packed */
    uint32_t weight_bits; /* of one element, scales not counted */
    uint32_t input_bits;  /* 16: activations are not quantized */
    uint32_t block_cols;  /* columns per block: the last dimension must be a multiple; 1 when there are no blocks, or
                             ragged ones */
    bool self_described;  /* the tensor's own dtype says it: no quantization config speaks of it (GGUF) */
    enum op encode_op, decode_op;
    enum op input_op;         /* OP_COUNT when activations are not quantized */
    float amax_per_scale;     /* input_scale = amax / this: 6 * 448 for NVFP4, 448 for FP8 */
    double max_relative_step; /* property tests: |decoded - w| <= this * amax, of the block (NVFP4, blocks with a normal
                                 scale) or of the tensor (FP8), beside fp32 rounding */
    struct quant_part parts[QUANT_PARTS_MAX];
    uint32_t n_parts;
};

extern const struct quant_format *const quant_formats[];        /* NULL-terminated */
const struct quant_format *quant_format_find(const char *name); /* NULL when unknown */
/* By ModelOpt's name of the algorithm, whatever its case. */
const struct quant_format *quant_format_by_algo(const char *algo);
/* The format of another method that is called so here; NULL when unknown. */
const struct quant_format *quant_format_of(const char *method, const char *name);
/* True when a part may be stored so. */
bool quant_part_fits(const struct quant_part *p, enum dtype dtype);
/* Shape of one part of a linear [rows, cols]; *n_dims 0 to 2. */
void quant_part_shape(const struct quant_part *p, uint64_t rows, uint64_t cols, uint32_t *n_dims, uint64_t dims[2]);

#endif
