/* The types. What each field means: formats/quant_format.h. */
#include "formats/quant_format_impl.h"

static const struct quant_format nvfp4 = {
    .name = "nvfp4",
    .algo = "NVFP4",
    .weights = "nvfp4",
    .inputs = "nvfp4",
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
    .weights = "nvfp4",
    .inputs = "none",
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
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1}, {PART_WEIGHT_SCALE, DTYPE_F32, 0}, {PART_INPUT_SCALE, DTYPE_F32, 0}},
};

/* FP8 with one scale per row; each token of the input gets one when it comes. */
static const struct quant_format fp8_channel = {
    .name = "fp8_channel",
    .algo = "FP8_PER_CHANNEL_PER_TOKEN",
    .weights = "fp8_channel",
    .inputs = "fp8_token",
    .algo_only = true,
    .weight_bits = 8,
    .input_bits = 8,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8_CHANNEL,
    .decode_op = OP_DECODE_FP8_CHANNEL,
    .input_op = OP_ENCODE_FP8_CHANNEL,
    .max_relative_step = FP8_SCALED_MAX_RELATIVE_STEP,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1, 1, false, 0},
              {PART_WEIGHT_SCALE, DTYPE_F32, QUANT_ALL_COLS, 1, false, 1}},
};

/* ModelOpt's blocks of 128 x 128. Its own name says that inputs stay; engines take 128 of a token at a time to FP8. */
static const struct quant_format fp8_pb_wo = {
    .name = "fp8_pb_wo",
    .algo = "fp8_pb_wo",
    .weights = "fp8_block",
    .inputs = "fp8_group",
    .or_inputs = "none",
    .algo_only = true,
    .weight_bits = 8,
    .input_bits = 8,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8_BLOCK,
    .decode_op = OP_DECODE_FP8_BLOCK,
    .input_op = OP_ENCODE_FP8_CHANNEL,
    .input_cols = 128,
    .max_relative_step = FP8_SCALED_MAX_RELATIVE_STEP,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1, 1, false, 0}, {PART_WEIGHT_SCALE, DTYPE_F32, 128, 128, false, 4}},
};

static const struct quant_format mxfp8 = {
    .name = "mxfp8",
    .algo = "MXFP8",
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
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1, 1, false, 0}, {PART_WEIGHT_SCALE, DTYPE_U8, 32, 1, false, 0}},
};

/* As ModelOpt exports it. GPT-OSS's own layout is the row `mxfp4`. */
static const struct quant_format w4a16_mxfp4 = {
    .name = "w4a16_mxfp4",
    .algo = "mxfp4",
    .weights = "mxfp4",
    .inputs = "none",
    .algo_only = true,
    .weight_bits = 4,
    .input_bits = 16,
    .block_cols = 32,
    .encode_op = OP_ENCODE_MXFP4,
    .decode_op = OP_DECODE_MXFP4,
    .input_op = OP_COUNT,
    .max_relative_step = MXFP4_MAX_RELATIVE_STEP,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_U8, 2, 1, false, 0}, {PART_WEIGHT_SCALE, DTYPE_U8, 32, 1, false, 0}},
};

/* ModelOpt's INT4: two's complement, and a byte holds one column of two rows. */
#define W4A16_AWQ(size)                                                                                                \
    static const struct quant_format w4a16_awq_g##size = {                                                             \
        .name = "w4a16_awq_g" #size,                                                                                   \
        .algo = "W4A16_AWQ",                                                                                           \
        .weights = "int4",                                                                                             \
        .inputs = "none",                                                                                              \
        .row_pairs = true,                                                                                             \
        .weight_bits = 4,                                                                                              \
        .input_bits = 16,                                                                                              \
        .block_cols = size,                                                                                            \
        .encode_op = OP_ENCODE_INT4,                                                                                   \
        .decode_op = OP_DECODE_INT4,                                                                                   \
        .input_op = OP_COUNT,                                                                                          \
        .max_relative_step = INT4_MAX_RELATIVE_STEP,                                                                   \
        .n_parts = 2,                                                                                                  \
        .parts = {{PART_WEIGHT, DTYPE_U8, 1, 2, false, 0}, {PART_WEIGHT_SCALE, DTYPE_F32, size, 1, false, 0}},         \
    }
W4A16_AWQ(32);
W4A16_AWQ(64);
W4A16_AWQ(128);

/* DeepSeek-V3's FP8: an fp32 scale per block of 128 x 128, cut off at the edges. Activations are quantized by the
 * engine as they come, 128 at a time, which no file says anything about. */
static const struct quant_format fp8_block = {
    .name = "fp8_block",
    .algo = "FP8_BLOCK",
    .method = "fp8",
    .weights = "fp8_block",
    .inputs = "fp8_group",
    .or_inputs = "none",
    .max_relative_step = FP8_SCALED_MAX_RELATIVE_STEP,
    .weight_bits = 8,
    .input_bits = 16,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8_BLOCK,
    .decode_op = OP_DECODE_FP8_BLOCK,
    .input_op = OP_COUNT,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1, 1, false}, {PART_WEIGHT_SCALE_INV, DTYPE_F32, 128, 128, false}},
};

/* GPT-OSS's experts: codes and scales of a stack as `..._blocks` and `..._scales` (plan/plan_stack.h). */
static const struct quant_format mxfp4 = {
    .name = "mxfp4",
    .algo = "MXFP4",
    .method = "mxfp4",
    .weights = "mxfp4",
    .inputs = "none",
    .max_relative_step = MXFP4_MAX_RELATIVE_STEP,
    .weight_bits = 4,
    .input_bits = 16,
    .block_cols = 32,
    .encode_op = OP_ENCODE_MXFP4,
    .decode_op = OP_DECODE_MXFP4,
    .input_op = OP_COUNT,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_U8, 2, 1, false}, {PART_WEIGHT_SCALE, DTYPE_U8, 32, 1, false}},
};

const struct quant_format *const quant_formats[] = {
    &nvfp4,
    &w4a16_nvfp4,
    &fp8,
    &fp8_channel,
    &fp8_pb_wo,
    &mxfp8,
    &mxfp4,
    &w4a16_mxfp4,
    &w4a16_awq_g128,
    &w4a16_awq_g64,
    &w4a16_awq_g32,
    &fp8_block,
    &nvfp4_ct,
    &w4a16_nvfp4_ct,
    &fp8_ct,
    &fp8_channel_ct,
    &fp8_block_ct,
    &w8a16_fp8_block_ct,
    &mxfp8_ct,
    &mxfp4_ct,
    &int4_g128,
    &int4_g64,
    &int4_g32,
    &int4_zero_g128_ct,
    &int4_zero_g64_ct,
    &int4_zero_g32_ct,
    &awq_g128,
    &awq_g64,
    &awq_g32,
    &gptq_g128,
    &gptq_g64,
    &gptq_g32,
    &gptq_zero_g128,
    &gptq_zero_g64,
    &gptq_zero_g32,
    GGUF_FORMATS,
    NULL,
};
