/* The types in the layouts of other methods than ModelOpt's: the same codes and block scales under other names, in
 * other words, and some scalars inverted. What each field means: formats/quant_format.h; sources: docs/formats.md. */
#include "formats/quant_format_impl.h"

/* ---- compressed-tensors: scalars have one dimension, tensor scales of NVFP4 are reciprocals ---- */

#define CT .method = "compressed-tensors"
#define ONE(part, dtype)                                                                                               \
    {                                                                                                                  \
        part, dtype, 0, 0, true, 1, false                                                                              \
    }

const struct quant_format nvfp4_ct = {
    .name = "nvfp4_ct",
    .algo = "CT_NVFP4",
    CT,
    .weights = "nvfp4",
    .inputs = "nvfp4",
    .stem = "weight_packed",
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
              ONE(PART_WEIGHT_GLOBAL_SCALE, DTYPE_F32),
              ONE(PART_INPUT_GLOBAL_SCALE, DTYPE_F32)},
};

const struct quant_format w4a16_nvfp4_ct = {
    .name = "w4a16_nvfp4_ct",
    .algo = "CT_W4A16_NVFP4",
    CT,
    .weights = "nvfp4",
    .inputs = "none",
    .stem = "weight_packed",
    .weight_bits = 4,
    .input_bits = 16,
    .block_cols = 16,
    .encode_op = OP_ENCODE_NVFP4,
    .decode_op = OP_DECODE_NVFP4,
    .input_op = OP_COUNT,
    .amax_per_scale = 2688.0f,
    .max_relative_step = NVFP4_MAX_RELATIVE_STEP,
    .n_parts = 3,
    .parts = {{PART_WEIGHT, DTYPE_U8, 2},
              {PART_WEIGHT_SCALE, DTYPE_F8_E4M3, 16},
              ONE(PART_WEIGHT_GLOBAL_SCALE, DTYPE_F32)},
};

const struct quant_format fp8_ct = {
    .name = "fp8_ct",
    .algo = "CT_FP8",
    CT,
    .weights = "fp8",
    .inputs = "fp8",
    .weight_bits = 8,
    .input_bits = 8,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8,
    .decode_op = OP_DECODE_FP8,
    .input_op = OP_INPUT_FP8,
    .amax_per_scale = 448.0f,
    .max_relative_step = FP8_MAX_RELATIVE_STEP,
    .n_parts = 3,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1}, ONE(PART_WEIGHT_SCALE, DTYPE_F32), ONE(PART_INPUT_SCALE, DTYPE_F32)},
};

const struct quant_format fp8_channel_ct = {
    .name = "fp8_channel_ct",
    .algo = "CT_FP8_CHANNEL",
    CT,
    .weights = "fp8_channel",
    .inputs = "fp8_token",
    .weight_bits = 8,
    .input_bits = 8,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8_CHANNEL,
    .decode_op = OP_DECODE_FP8_CHANNEL,
    .input_op = OP_ENCODE_FP8_CHANNEL,
    .max_relative_step = FP8_SCALED_MAX_RELATIVE_STEP,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1}, {PART_WEIGHT_SCALE, DTYPE_F32, QUANT_ALL_COLS, 1, true, 2, false}},
};

const struct quant_format fp8_block_ct = {
    .name = "fp8_block_ct",
    .algo = "CT_FP8_BLOCK",
    CT,
    .weights = "fp8_block",
    .inputs = "fp8_group",
    .weight_bits = 8,
    .input_bits = 8,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8_BLOCK,
    .decode_op = OP_DECODE_FP8_BLOCK,
    .input_op = OP_ENCODE_FP8_CHANNEL,
    .input_cols = 128,
    .max_relative_step = FP8_SCALED_MAX_RELATIVE_STEP,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1}, {PART_WEIGHT_SCALE, DTYPE_F32, 128, 128, true, 2, false}},
};

const struct quant_format w8a16_fp8_block_ct = {
    .name = "w8a16_fp8_block_ct",
    .algo = "CT_W8A16_FP8_BLOCK",
    CT,
    .weights = "fp8_block",
    .inputs = "none",
    .weight_bits = 8,
    .input_bits = 16,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8_BLOCK,
    .decode_op = OP_DECODE_FP8_BLOCK,
    .input_op = OP_COUNT,
    .max_relative_step = FP8_SCALED_MAX_RELATIVE_STEP,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1}, {PART_WEIGHT_SCALE, DTYPE_F32, 128, 128, true, 2, false}},
};

const struct quant_format mxfp8_ct = {
    .name = "mxfp8_ct",
    .algo = "CT_MXFP8",
    CT,
    .weights = "mxfp8",
    .inputs = "mxfp8",
    .weight_bits = 8,
    .input_bits = 8,
    .block_cols = 32,
    .encode_op = OP_ENCODE_MXFP8,
    .decode_op = OP_DECODE_MXFP8,
    .input_op = OP_ENCODE_MXFP8,
    .max_relative_step = MXFP8_MAX_RELATIVE_STEP,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1}, {PART_WEIGHT_SCALE, DTYPE_U8, 32}},
};

const struct quant_format mxfp4_ct = {
    .name = "mxfp4_ct",
    .algo = "CT_MXFP4",
    CT,
    .weights = "mxfp4",
    .inputs = "none",
    .stem = "weight_packed",
    .weight_bits = 4,
    .input_bits = 16,
    .block_cols = 32,
    .encode_op = OP_ENCODE_MXFP4,
    .decode_op = OP_DECODE_MXFP4,
    .input_op = OP_COUNT,
    .max_relative_step = MXFP4_MAX_RELATIVE_STEP,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_U8, 2}, {PART_WEIGHT_SCALE, DTYPE_U8, 32}},
};

/* pack-quantized: eight nibbles per 32-bit word, the first column lowest; one scale per group of a row. Symmetric ones
 * are the number plus 8 (Kimi K2-Thinking). Scales are written as ModelOpt's are; others come in the model's type.
 * Zero points: eight rows of a group per word. */
#define INT4(variable, word, size, zero_points, n, ...)                                                                \
    const struct quant_format variable = {                                                                             \
        .name = #variable,                                                                                             \
        .algo = word,                                                                                                  \
        CT,                                                                                                            \
        .weights = "int4",                                                                                             \
        .inputs = "none",                                                                                              \
        .stem = "weight_packed",                                                                                       \
        .zeros = zero_points,                                                                                          \
        .weight_bits = 4,                                                                                              \
        .input_bits = 16,                                                                                              \
        .block_cols = size,                                                                                            \
        .encode_op = zero_points == ZEROS_NONE ? OP_ENCODE_INT4 : OP_ENCODE_INT4_ZERO,                                 \
        .decode_op = OP_DECODE_INT4_ZERO,                                                                              \
        .input_op = OP_COUNT,                                                                                          \
        .max_relative_step = INT4_MAX_RELATIVE_STEP,                                                                   \
        .n_parts = n,                                                                                                  \
        .parts = {{PART_WEIGHT, DTYPE_I32, 8},                                                                         \
                  {PART_WEIGHT_SCALE, DTYPE_F32, size, 1, true, 2, false},                                             \
                  {PART_WEIGHT_SHAPE, DTYPE_I64, 0, 0, true, 1, false},                                                \
                  __VA_ARGS__},                                                                                        \
    }
#define INT4_SIZES(size)                                                                                               \
    INT4(int4_g##size, "INT4_G" #size, size, ZEROS_NONE, 3, {0});                                                      \
    INT4(int4_zero_g##size##_ct, "INT4_ZERO_G" #size, size, ZEROS_STORED, 4,                                           \
         {PART_WEIGHT_ZERO_POINT, DTYPE_I32, size, 8, false, 2, false})
INT4_SIZES(32);
INT4_SIZES(64);
INT4_SIZES(128);

/* ---- AutoAWQ's GEMM and GPTQ: matrices lie on their side, [columns, rows] ---- */

#define AWQ(size)                                                                                                      \
    const struct quant_format awq_g##size = {                                                                          \
        .name = "awq_g" #size,                                                                                         \
        .algo = "AWQ_G" #size,                                                                                         \
        .method = "awq",                                                                                               \
        .weights = "int4",                                                                                             \
        .inputs = "none",                                                                                              \
        .stem = "qweight",                                                                                             \
        .zeros = ZEROS_EITHER,                                                                                         \
        .weight_bits = 4,                                                                                              \
        .input_bits = 16,                                                                                              \
        .block_cols = size,                                                                                            \
        .encode_op = OP_ENCODE_INT4_ZERO,                                                                              \
        .decode_op = OP_DECODE_INT4_ZERO,                                                                              \
        .input_op = OP_COUNT,                                                                                          \
        .max_relative_step = INT4_MAX_RELATIVE_STEP,                                                                   \
        .n_parts = 3,                                                                                                  \
        .parts = {{PART_WEIGHT, DTYPE_I32, 1, 8, false, 2, true},                                                      \
                  {PART_SCALES, DTYPE_F16, size, 1, true, 2, true},                                                    \
                  {PART_QZEROS, DTYPE_I32, size, 8, false, 2, true}},                                                  \
    }
AWQ(32);
AWQ(64);
AWQ(128);

#define GPTQ(variable, word, size, zero_points)                                                                        \
    const struct quant_format variable = {                                                                             \
        .name = #variable,                                                                                             \
        .algo = word,                                                                                                  \
        .method = "gptq",                                                                                              \
        .weights = "int4",                                                                                             \
        .inputs = "none",                                                                                              \
        .stem = "qweight",                                                                                             \
        .zeros = zero_points,                                                                                          \
        .weight_bits = 4,                                                                                              \
        .input_bits = 16,                                                                                              \
        .block_cols = size,                                                                                            \
        .encode_op = zero_points == ZEROS_NONE ? OP_ENCODE_INT4 : OP_ENCODE_INT4_ZERO,                                 \
        .decode_op = OP_DECODE_INT4_ZERO,                                                                              \
        .input_op = OP_COUNT,                                                                                          \
        .max_relative_step = INT4_MAX_RELATIVE_STEP,                                                                   \
        .n_parts = 4,                                                                                                  \
        .parts = {{PART_WEIGHT, DTYPE_I32, 8, 1, false, 2, true},                                                      \
                  {PART_SCALES, DTYPE_F16, size, 1, true, 2, true},                                                    \
                  {PART_QZEROS, DTYPE_I32, size, 8, false, 2, true},                                                   \
                  {PART_G_IDX, DTYPE_I32, 1, QUANT_ALL_ROWS, false, 1, true}},                                         \
    }
#define GPTQ_SIZES(size)                                                                                               \
    GPTQ(gptq_g##size, "GPTQ_G" #size, size, ZEROS_NONE);                                                              \
    GPTQ(gptq_zero_g##size, "GPTQ_ZERO_G" #size, size, ZEROS_STORED)
GPTQ_SIZES(32);
GPTQ_SIZES(64);
GPTQ_SIZES(128);
