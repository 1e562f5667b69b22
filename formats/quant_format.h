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
};

struct quant_format {
    const char *name;     /* ours, in recipes and plans: "nvfp4" */
    const char *algo;     /* ModelOpt's quant_algo: "NVFP4" */
    uint32_t weight_bits; /* of one element, scales not counted */
    uint32_t input_bits;  /* 16: activations are not quantized */
    uint32_t block_cols;  /* columns per block: the last dimension must be a multiple; 1 when there are no blocks */
    bool self_described;  /* the tensor's own dtype says it: no quantization config speaks of it, and none is written */
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
/* By the published algorithm name, whatever its case; not those that no configuration names. */
const struct quant_format *quant_format_by_algo(const char *algo);
/* Shape of one part of a linear [rows, cols]; *n_dims 0 or 2. */
void quant_part_shape(const struct quant_part *p, uint64_t rows, uint64_t cols, uint32_t *n_dims, uint64_t dims[2]);

#endif
