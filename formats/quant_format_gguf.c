/* The types of GGUF files. A tensor says its own, and no configuration speaks of it. Names are ggml's in small letters,
 * those of MXFP4 and NVFP4 with "gguf_" in front because other layouts have the plain ones. */
#include "formats/quant_format_impl.h"

/* Of the block's maximum a: the scale a / 127 rounded to binary16 moves the value by 2^-11 of it, and half a step is a
 * / 254. The other types have searches whose bounds nobody states; tests/golden/gguf_types.py holds them against ggml's
 * own bytes. */
#define Q8_0_STEP (1.0 / 254 + 1.0 / 2048)

#define GGUF_TYPE(id, text, word, dtype, bits, block, encode, decode, step)                                            \
    const struct quant_format gguf_##id = {                                                                            \
        .name = text,                                                                                                  \
        .algo = word,                                                                                                  \
        .method = "gguf",                                                                                              \
        .weight_bits = bits,                                                                                           \
        .input_bits = 16,                                                                                              \
        .block_cols = block,                                                                                           \
        .self_described = true,                                                                                        \
        .encode_op = encode,                                                                                           \
        .decode_op = decode,                                                                                           \
        .input_op = OP_COUNT,                                                                                          \
        .max_relative_step = step,                                                                                     \
        .n_parts = 1,                                                                                                  \
        .parts = {{PART_WEIGHT, dtype, 1, 1, false}},                                                                  \
    }
#define WRITTEN(id, word, dtype, bits, block)                                                                          \
    GGUF_TYPE(id, #id, word, dtype, bits, block, OP_ENCODE_GGML, OP_DECODE_GGML, 0)
#define READ(id, word, dtype, bits, block) GGUF_TYPE(id, #id, word, dtype, bits, block, OP_COUNT, OP_DECODE_GGML, 0)
/* Known by name: inspected, never computed with. */
#define NAMED(id, word, dtype, bits, block) GGUF_TYPE(id, #id, word, dtype, bits, block, OP_COUNT, OP_COUNT, 0)

GGUF_TYPE(q8_0, "q8_0", "Q8_0", DTYPE_Q8_0, 8, 32, OP_ENCODE_Q8_0, OP_DECODE_Q8_0, Q8_0_STEP);
WRITTEN(q4_0, "Q4_0", DTYPE_Q4_0, 4, 32);
READ(q4_1, "Q4_1", DTYPE_Q4_1, 4, 32);
WRITTEN(q5_0, "Q5_0", DTYPE_Q5_0, 5, 32);
WRITTEN(q5_1, "Q5_1", DTYPE_Q5_1, 5, 32);
READ(q2_k, "Q2_K", DTYPE_Q2_K, 2, 256);
READ(q3_k, "Q3_K", DTYPE_Q3_K, 3, 256);
WRITTEN(q4_k, "Q4_K", DTYPE_Q4_K, 4, 256);
WRITTEN(q5_k, "Q5_K", DTYPE_Q5_K, 5, 256);
WRITTEN(q6_k, "Q6_K", DTYPE_Q6_K, 6, 256);
READ(iq4_nl, "IQ4_NL", DTYPE_IQ4_NL, 4, 32);
READ(iq4_xs, "IQ4_XS", DTYPE_IQ4_XS, 4, 256);
GGUF_TYPE(mxfp4, "gguf_mxfp4", "MXFP4", DTYPE_GGML_MXFP4, 4, 32, OP_ENCODE_GGML, OP_DECODE_GGML, 0);
NAMED(q8_1, "Q8_1", DTYPE_Q8_1, 8, 32);
NAMED(q8_k, "Q8_K", DTYPE_Q8_K, 8, 256);
NAMED(iq2_xxs, "IQ2_XXS", DTYPE_IQ2_XXS, 2, 256);
NAMED(iq2_xs, "IQ2_XS", DTYPE_IQ2_XS, 2, 256);
NAMED(iq3_xxs, "IQ3_XXS", DTYPE_IQ3_XXS, 3, 256);
NAMED(iq1_s, "IQ1_S", DTYPE_IQ1_S, 1, 256);
NAMED(iq3_s, "IQ3_S", DTYPE_IQ3_S, 3, 256);
NAMED(iq2_s, "IQ2_S", DTYPE_IQ2_S, 2, 256);
NAMED(iq1_m, "IQ1_M", DTYPE_IQ1_M, 1, 256);
NAMED(tq1_0, "TQ1_0", DTYPE_TQ1_0, 2, 256);
NAMED(tq2_0, "TQ2_0", DTYPE_TQ2_0, 2, 256);
NAMED(q1_0, "Q1_0", DTYPE_Q1_0, 1, 128);
NAMED(q2_0, "Q2_0", DTYPE_Q2_0, 2, 64);

/* NVFP4 with the tensor's scale beside it, with that of its inputs too, or with neither (what ggml's own quantizer
 * writes). Inputs are not quantized: llama.cpp computes so on a CPU. */
#define GGUF_NVFP4(id, text, n, ...)                                                                                   \
    const struct quant_format id = {                                                                                   \
        .name = text,                                                                                                  \
        .algo = "NVFP4",                                                                                               \
        .method = "gguf",                                                                                              \
        .weight_bits = 4,                                                                                              \
        .input_bits = 16,                                                                                              \
        .block_cols = 64,                                                                                              \
        .self_described = true,                                                                                        \
        .encode_op = OP_COUNT,                                                                                         \
        .decode_op = OP_DECODE_GGML,                                                                                   \
        .input_op = OP_COUNT,                                                                                          \
        .n_parts = n,                                                                                                  \
        .parts = {{PART_WEIGHT, DTYPE_GGML_NVFP4, 1, 1, false}, __VA_ARGS__},                                          \
    }
#define SCALE                                                                                                          \
    {                                                                                                                  \
        PART_WEIGHT_SCALE_2, DTYPE_F32, 0, 1, false                                                                    \
    }
#define INPUT                                                                                                          \
    {                                                                                                                  \
        PART_INPUT_SCALE, DTYPE_F32, 0, 1, false                                                                       \
    }
GGUF_NVFP4(gguf_nvfp4, "gguf_nvfp4", 2, SCALE);
GGUF_NVFP4(gguf_nvfp4_input, "gguf_nvfp4_input", 3, SCALE, INPUT);
GGUF_TYPE(nvfp4_bare, "gguf_nvfp4_bare", "NVFP4", DTYPE_GGML_NVFP4, 4, 64, OP_COUNT, OP_DECODE_GGML, 0);
