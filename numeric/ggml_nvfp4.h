/* NVFP4 as ggml stores it: 64 elements of a row in 36 bytes, four scale bytes and then four groups of 8 bytes of
 * nibbles. Scales and nibbles are those of nvfp4.h; only their order differs: element i of a group of 16 is the low
 * nibble of byte i for i < 8, the high nibble of byte i - 8 for the others. The tensor's fp32 scale is a tensor of its
 * own, NAME.scale, that of its inputs NAME.input_scale.
 *
 * ggml reads a scale byte without its sign bit, 0x7F and 0 as zero; code 8 is +0 there and -0 here. Neither is ever
 * written but for code 8, so that a ModelOpt tensor's bytes come back as they were. Source: ggml's block_nvfp4 and
 * dequantize_row_nvfp4. */
#ifndef NUMERIC_GGML_NVFP4_H
#define NUMERIC_GGML_NVFP4_H

#include "numeric/ggml_blocks.h"
#include "numeric/nvfp4.h"

#define GGML_NVFP4_BLOCK 64u
#define GGML_NVFP4_BLOCK_BYTES 36u

/* Four groups as nvfp4.h packs them: [4, 8] codes and [4] scales. */
NUM_FN void ggml_nvfp4_pack(const uint8_t codes[32], const uint8_t scales[4], uint8_t out[36])
{
    for (uint32_t g = 0; g < 4u; g++) {
        const uint8_t *in = codes + 8u * g;
        out[g] = scales[g];
        for (uint32_t k = 0; k < 8u; k++) {
            uint32_t low = (uint32_t)in[k / 2u] >> 4u * (k % 2u) & 15u,
                     high = (uint32_t)in[4u + k / 2u] >> 4u * (k % 2u) & 15u;
            out[4u + 8u * g + k] = (uint8_t)(low | high << 4);
        }
    }
}

NUM_FN void ggml_nvfp4_unpack(const uint8_t in[36], uint8_t codes[32], uint8_t scales[4])
{
    for (uint32_t g = 0; g < 4u; g++) {
        const uint8_t *q = in + 4u + 8u * g;
        scales[g] = in[g];
        for (uint32_t k = 0; k < 4u; k++) {
            codes[8u * g + k] = (uint8_t)((q[2u * k] & 15u) | (q[2u * k + 1u] & 15u) << 4);
            codes[8u * g + 4u + k] = (uint8_t)(q[2u * k] >> 4 | (q[2u * k + 1u] & 0xF0u));
        }
    }
}

/* Element times block scale, exact; then times the tensor's scale, 1 where it has none: ggml's own numbers. */
NUM_FN void ggml_nvfp4_decode_block(const uint8_t in[36], float scale, float out[64])
{
    for (uint32_t g = 0; g < 4u; g++) {
        uint8_t b = in[g] & 0x7Fu;
        float d = in[g] == E4M3_NAN ? 0.0f : b == E4M3_NAN ? 480.0f : e4m3_decode(b);
        const uint8_t *q = in + 4u + 8u * g;
        for (uint32_t i = 0; i < 16u; i++) {
            uint32_t code = i < 8u ? q[i] & 15u : (uint32_t)q[i - 8u] >> 4;
            out[16u * g + i] = ggml_e2m1_twice(code) * (0.5f * d) * scale;
        }
    }
}

#endif
