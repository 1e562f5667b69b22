/* The types. What each field means: formats/quant_format.h. */
#include "formats/quant_format.h"

/* Bounds of |decoded - w|, reached to within a few percent by tests/kernels/test_roundtrip.c.
 * NVFP4, of the block's own maximum a: the scale is a/6 times at most 1 + 1/17 (E4M3 from 1 + 1/16 to 1 + 1/8, the
 * widest step relative to its value), and half the widest step of E2M1, between 4 and 6, is one scale. Only for blocks
 * whose a / (6 * weight_scale_2) is at least 2^-6, a normal E4M3; below, the scale itself is coarse. FP8, of the
 * tensor's maximum g = 448 steps: half the widest step is 16; modelopt-cpu rounds the quotient to bf16 before, at most
 * 1 more; modelopt-cuda rounds the scale too, 2^-9 of the value. */
#define NVFP4_MAX_RELATIVE_STEP (1.0 / 6 * 18 / 17)
#define FP8_MAX_RELATIVE_STEP (17.0 / 448 + 1.0 / 512)

/* Of the maximum of what shares a scale. FP8: half the widest step of 448; where the scale is a power of two, the
 * maximum lies anywhere in (224, 448], and that step is widest relative to 272. MXFP4 with the scale rounded up: half
 * the widest step is one scale, next to 5 of them (mxfp4_ocp clips from just below 8 to 6: 1/4). INT4: half a step of
 * a/7. */
#define FP8_SCALED_MAX_RELATIVE_STEP (16.0 / 448)
#define MXFP8_MAX_RELATIVE_STEP (1.0 / 17)
#define MXFP4_MAX_RELATIVE_STEP (1.0 / 5)
#define INT4_MAX_RELATIVE_STEP (1.0 / 14)

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
    .algo_only = true,
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

/* Only in GGUF files. Of the block's maximum a: the scale a / 127 rounded to binary16 moves the value by 2^-11 of it,
 * and half a step is a / 254. */
static const struct quant_format q8_0 = {
    .name = "q8_0",
    .algo = "Q8_0",
    .method = "gguf",
    .weight_bits = 8,
    .input_bits = 16,
    .block_cols = 32,
    .self_described = true,
    .encode_op = OP_ENCODE_Q8_0,
    .decode_op = OP_DECODE_Q8_0,
    .input_op = OP_COUNT,
    .max_relative_step = 1.0 / 254 + 1.0 / 2048,
    .n_parts = 1,
    .parts = {{PART_WEIGHT, DTYPE_Q8_0, 1, 1, false}},
};

/* DeepSeek-V3's FP8: an fp32 scale per block of 128 x 128, cut off at the edges. Activations are quantized by the
 * engine as they come, 128 at a time, which no file says anything about. */
static const struct quant_format fp8_block = {
    .name = "fp8_block",
    .algo = "FP8_BLOCK",
    .method = "fp8",
    .weight_bits = 8,
    .input_bits = 16,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8_BLOCK,
    .decode_op = OP_DECODE_FP8_BLOCK,
    .input_op = OP_COUNT,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1, 1, false}, {PART_WEIGHT_SCALE_INV, DTYPE_F32, 128, 128, false}},
};

/* The same as compressed-tensors writes it (Mistral Large 3). */
static const struct quant_format fp8_block_ct = {
    .name = "fp8_block_ct",
    .algo = "CT_FP8_BLOCK",
    .method = "compressed-tensors",
    .weight_bits = 8,
    .input_bits = 16,
    .block_cols = 1,
    .encode_op = OP_ENCODE_FP8_BLOCK,
    .decode_op = OP_DECODE_FP8_BLOCK,
    .input_op = OP_COUNT,
    .n_parts = 2,
    .parts = {{PART_WEIGHT, DTYPE_F8_E4M3, 1, 1, false}, {PART_WEIGHT_SCALE, DTYPE_F32, 128, 128, true}},
};

/* compressed-tensors' pack-quantized (Kimi K2-Thinking): eight nibbles per 32-bit word, the first column lowest, each
 * the number plus 8; one scale per group of a row. */
#define INT4_GROUP(variable, size)                                                                                     \
    static const struct quant_format variable = {                                                                      \
        .name = "int4_g" #size,                                                                                        \
        .algo = "INT4_G" #size,                                                                                        \
        .method = "compressed-tensors",                                                                                \
        .packed = true,                                                                                                \
        .weight_bits = 4,                                                                                              \
        .input_bits = 16,                                                                                              \
        .block_cols = size,                                                                                            \
        .encode_op = OP_ENCODE_INT4_ZERO,                                                                              \
        .decode_op = OP_DECODE_INT4_ZERO,                                                                              \
        .input_op = OP_COUNT,                                                                                          \
        .n_parts = 3,                                                                                                  \
        .parts = {{PART_WEIGHT, DTYPE_I32, 8, 1, false},                                                               \
                  {PART_WEIGHT_SCALE, DTYPE_BF16, size, 1, true},                                                      \
                  {PART_WEIGHT_SHAPE, DTYPE_I64, 0, 0, true}},                                                         \
    }
INT4_GROUP(int4_g32, 32);
INT4_GROUP(int4_g64, 64);
INT4_GROUP(int4_g128, 128);

/* GPT-OSS's experts. */
static const struct quant_format mxfp4 = {
    .name = "mxfp4",
    .algo = "MXFP4",
    .method = "mxfp4",
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
    &nvfp4,       &w4a16_nvfp4,    &fp8,           &fp8_channel,   &fp8_pb_wo, &mxfp8,
    &w4a16_mxfp4, &w4a16_awq_g128, &w4a16_awq_g64, &w4a16_awq_g32, &fp8_block, &fp8_block_ct,
    &int4_g32,    &int4_g64,       &int4_g128,     &mxfp4,         &q8_0,      NULL,
};
