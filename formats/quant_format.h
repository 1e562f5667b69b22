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
#define QUANT_DIMS_MAX 4u
#define QUANT_ALL_COLS UINT32_MAX /* columns of a part that has one element per row */
#define QUANT_ALL_ROWS UINT32_MAX /* rows of a part that has one element per column */

/* What a tensor is to the linear it belongs to. PART_WEIGHT is also every tensor that is not part of a quantized
 * linear. */
enum tensor_part {
    PART_WEIGHT,
    PART_WEIGHT_SCALE,
    PART_WEIGHT_SCALE_2,
    PART_WEIGHT_SCALE_INV,    /* multiplied, whatever its name says */
    PART_WEIGHT_SHAPE,        /* two integers: rows and columns of a packed weight */
    PART_WEIGHT_GLOBAL_SCALE, /* 1 / weight_scale_2 */
    PART_WEIGHT_ZERO_POINT,
    PART_SCALES, /* AWQ and GPTQ */
    PART_QZEROS,
    PART_G_IDX,              /* the group of each column */
    PART_INPUT_GLOBAL_SCALE, /* 1 / input_scale */
    PART_INPUT_SCALE,
    /* Beside any type of ModelOpt's, and no part of it: a number per column, which inputs are multiplied by before
     * anything else is done with them. */
    PART_PRE_QUANT_SCALE,
    PART_K_SCALE,
    PART_V_SCALE,
    PART_COUNT
};
const char *tensor_part_suffix(enum tensor_part part); /* "weight", "weight_scale", ... */

/* Zero points of INT4. */
enum quant_zeros {
    ZEROS_NONE,   /* symmetric codes, also where a stored zero point says so */
    ZEROS_STORED, /* one per group */
    ZEROS_EITHER  /* stored, of either kind */
};

struct quant_part {
    enum tensor_part part;
    enum dtype dtype;
    uint32_t cols_per_elem; /* columns of the weight that share one element here; 0: one scalar (rank 0) per tensor */
    uint32_t rows_per_elem; /* the same of rows; 0: 1. Blocks may be cut off at the last row and column */
    bool any_type;          /* also as another plain float, or (weight_shape) another integer */
    uint8_t n_dims;         /* 0: 2, of a scalar 0. 1: [rows], of a scalar [1]; 4: [rows, 1, columns, 1] */
    bool on_side;           /* [columns, rows]; 1 dimension: [columns] */
};

struct quant_format {
    const char *name;   /* ours, in plans: "w4a16_nvfp4" */
    const char *algo;   /* ModelOpt's quant_algo: "NVFP4"; of other methods a word of ours */
    const char *method; /* the quant_method that declares it, a recipe's `layout`; NULL: modelopt */
    const char
        *weights;       /* the recipe's words (plan/quant_type.h) that make it, of weights and of inputs; NULL: it is */
    const char *inputs; /*   read and never written */
    const char *or_inputs; /* this word does too, or NULL */
    const char *stem;      /* what the weight is called: "weight_packed"; NULL: "weight" */
    enum quant_zeros zeros;
    bool row_pairs;       /* a byte of the weight holds a column of rows 2r (low nibble) and 2r + 1 */
    bool algo_only;       /* configurations name the algorithm and nothing of its blocks */
    uint32_t weight_bits; /* of one element, scales not counted */
    uint32_t input_bits;  /* 16: activations are not quantized */
    uint32_t block_cols;  /* columns per block: the last dimension must be a multiple; 1 when there are no blocks, or
                             ragged ones */
    bool self_described;  /* the tensor's own dtype says it: no quantization config speaks of it (GGUF) */
    enum op encode_op, decode_op;
    enum op input_op;    /* OP_COUNT when activations are not quantized. OP_INPUT_*: with a stored scale; an encoder: by
                            the engine as they come, each row with scales of its own */
    uint32_t input_cols; /* of an encoder: columns of a row that share a scale; 0: all, or the type's own block */
    float amax_per_scale;     /* scalar scales are amax / this: 6 * 448 for NVFP4, 448 for FP8; 0: none is */
    double max_relative_step; /* property tests: |decoded - w| <= this * amax, of the block (NVFP4, blocks with a normal
                                 scale) or of the tensor (FP8), beside fp32 rounding */
    struct quant_part parts[QUANT_PARTS_MAX];
    uint32_t n_parts;
};

extern const struct quant_format *const quant_formats[];        /* NULL-terminated */
const struct quant_format *quant_format_find(const char *name); /* NULL when unknown */
/* By ModelOpt's name of the algorithm, whatever its case; of several that differ in their blocks the one of that size,
 * the first for 0. */
const struct quant_format *quant_format_by_algo(const char *algo, uint64_t group_size);
/* What a recipe's words make: weights and inputs ("none" too), in groups of so many columns (0: as the first row has
 * it; the types without groups take only 0), with zero points or without, in the layout of a method ("modelopt"). NULL:
 * nothing that is written. */
const struct quant_format *quant_format_for(const char *layout, const char *weights, const char *inputs, uint32_t group,
                                            bool zero);
/* True for a word that some row has for the layout it is written in. */
bool quant_layout_known(const char *layout);
/* The format of another method that is called so here; NULL when unknown. */
const struct quant_format *quant_format_of(const char *method, const char *name);
const char *quant_format_stem(const struct quant_format *f); /* "weight", "weight_packed", "qweight" */
/* True when a part may be stored so. */
bool quant_part_fits(const struct quant_part *p, enum dtype dtype);
/* Shape of one part of a linear [rows, cols]. */
void quant_part_shape(const struct quant_part *p, uint64_t rows, uint64_t cols, uint32_t *n_dims,
                      uint64_t dims[QUANT_DIMS_MAX]);
/* Elements of a part that belong to so many rows and columns; both begin where a block does. 0 of a scalar. */
uint64_t quant_part_elems(const struct quant_part *p, uint64_t rows, uint64_t cols);
/* How a weight may be cut: at multiples of so many rows; 0: inside of rows too. */
uint32_t quant_format_rows(const struct quant_format *f);
/* What an encoder leaves of a weight before a layout packs it, and what reads just that: the format's own decode_op may
 * ask for another form (INT4 layouts store the number plus 8). zero: with zero points, where a format has either. */
enum op quant_format_encoder(const struct quant_format *f, bool zero);
enum op quant_format_decoder(const struct quant_format *f, bool zero);
/* What an encoder left, as the layout can hold it. GPTQ's stores zero - 1, and its readers do not agree about what
 * comes after 15: a zero point of 0 becomes 1 there, and the group's codes go up with it, as far as 15. Of other
 * formats nothing changes. */
void quant_raise_zeros(const struct quant_format *f, uint8_t *zeros, uint8_t *codes, uint64_t n_rows, uint64_t n_cols);
/* The type that the file keeps INT4 scales in. */
enum int4_scale_type quant_format_int4_scale(const struct quant_format *f);
/* True when one scale, made of the tensor's largest magnitude, serves all of a weight: it must be known before the
 * first byte is, and may be shared with other tensors. */
bool quant_format_has_tensor_scale(const struct quant_format *f);
/* True when input_scale is stored: inputs must be observed. */
bool quant_format_has_input_scale(const struct quant_format *f);

#endif
