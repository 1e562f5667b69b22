#include "formats/quant_format.h"

#include <string.h>
#include <strings.h>

static const char *const part_suffixes[PART_COUNT] = {
    [PART_WEIGHT] = "weight",           [PART_WEIGHT_SCALE] = "weight_scale", [PART_WEIGHT_SCALE_2] = "weight_scale_2",
    [PART_INPUT_SCALE] = "input_scale", [PART_K_SCALE] = "k_scale",           [PART_V_SCALE] = "v_scale",
};

/* Bounds of |decoded - w|, reached to within a few percent by tests/kernels/test_roundtrip.c.
 * NVFP4, of the block's own maximum a: the scale is a/6 times at most 1 + 1/17 (E4M3 from 1 + 1/16 to 1 + 1/8, the
 * widest step relative to its value), and half the widest step of E2M1, between 4 and 6, is one scale. Only for blocks
 * whose a / (6 * weight_scale_2) is at least 2^-6, a normal E4M3; below, the scale itself is coarse. FP8, of the
 * tensor's maximum g = 448 steps: half the widest step is 16; modelopt-cpu rounds the quotient to bf16 before, at most
 * 1 more; modelopt-cuda rounds the scale too, 2^-9 of the value. */
#define NVFP4_MAX_RELATIVE_STEP (1.0 / 6 * 18 / 17)
#define FP8_MAX_RELATIVE_STEP (17.0 / 448 + 1.0 / 512)

static const struct quant_format nvfp4 = {
    .name = "nvfp4",
    .algo = "NVFP4",
    .weight_bits = 4,
    .input_bits = 4,
    .block_cols = 16,
    .encode_op = OP_ENCODE_NVFP4,
    .decode_op = OP_DECODE_NVFP4,
    .input_op = OP_INPUT_NVFP4,
    .amax_per_scale = 2688.0f,
    .max_relative_step = NVFP4_MAX_RELATIVE_STEP,
    .n_parts = 4,
    .parts = {{PART_WEIGHT, DTYPE_U8, 2},
              {PART_WEIGHT_SCALE, DTYPE_F8_E4M3, 16},
              {PART_WEIGHT_SCALE_2, DTYPE_F32, 0},
              {PART_INPUT_SCALE, DTYPE_F32, 0}},
};

static const struct quant_format w4a16_nvfp4 = {
    .name = "w4a16_nvfp4",
    .algo = "W4A16_NVFP4",
    .weight_bits = 4,
    .input_bits = 16,
    .block_cols = 16,
    .encode_op = OP_ENCODE_NVFP4,
    .decode_op = OP_DECODE_NVFP4,
    .input_op = OP_COUNT,
    .amax_per_scale = 2688.0f,
    .max_relative_step = NVFP4_MAX_RELATIVE_STEP,
    .n_parts = 3,
    .parts = {{PART_WEIGHT, DTYPE_U8, 2}, {PART_WEIGHT_SCALE, DTYPE_F8_E4M3, 16}, {PART_WEIGHT_SCALE_2, DTYPE_F32, 0}},
};

static const struct quant_format fp8 = {
    .name = "fp8",
    .algo = "FP8",
    .weight_bits = 8,
    .input_bits = 8,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8,
    .decode_op = OP_DECODE_FP8,
    .input_op = OP_INPUT_FP8,
    .amax_per_scale = 448.0f,
    .max_relative_step = FP8_MAX_RELATIVE_STEP,
    .n_parts = 3,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1}, {PART_WEIGHT_SCALE, DTYPE_F32, 0}, {PART_INPUT_SCALE, DTYPE_F32, 0}},
};

/* GPT-OSS. Of the block's maximum a, as MXFP4_MODELOPT writes: half the widest step, between 4 and 6 scales, is one
 * scale, and is taken only next to 5, which a is not below then. */
static const struct quant_format mxfp4 = {
    .name = "mxfp4",
    .algo = "MXFP4",
    .weight_bits = 4,
    .input_bits = 16,
    .block_cols = 32,
    .encode_op = OP_ENCODE_MXFP4,
    .decode_op = OP_DECODE_MXFP4,
    .input_op = OP_COUNT,
    .max_relative_step = 1.0 / 5,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_U8, 2}, {PART_WEIGHT_SCALE, DTYPE_U8, 32}},
};

const struct quant_format *const quant_formats[] = {&nvfp4, &w4a16_nvfp4, &fp8, &mxfp4, NULL};

const char *tensor_part_suffix(enum tensor_part part)
{
    return part_suffixes[part];
}

const struct quant_format *quant_format_find(const char *name)
{
    for (const struct quant_format *const *f = quant_formats; *f; f++)
        if (strcmp((*f)->name, name) == 0) return *f;
    return NULL;
}

const struct quant_format *quant_format_by_algo(const char *algo)
{
    for (const struct quant_format *const *f = quant_formats; *f; f++)
        if (strcasecmp((*f)->algo, algo) == 0) return *f;
    return NULL;
}

void quant_part_shape(const struct quant_part *p, uint64_t rows, uint64_t cols, uint32_t *n_dims, uint64_t dims[2])
{
    *n_dims = p->cols_per_elem ? 2 : 0;
    dims[0] = rows;
    dims[1] = p->cols_per_elem ? cols / p->cols_per_elem : 0;
}
