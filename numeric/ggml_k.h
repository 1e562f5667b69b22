/* Reading ggml's super-blocks: 256 elements of a row, cut into groups of 16 or 32 whose scales are integers times one
 * binary16 number of the block (and, where codes are not negative, minima likewise).
 *
 *   Q2_K   16 x (scale, minimum of 4 bits), 64 bytes of codes, d, dmin      groups of 16: (d s) q - dmin m
 *   Q3_K   32 bytes of high bits, 64 of codes, 12 of scales, d              groups of 16: (d (s - 32)) (q - 4)
 *   Q4_K   d, dmin, 12 bytes of 6-bit scales and minima, 128 of codes       groups of 32: (d s) q - dmin m
 *   Q5_K   d, dmin, 12, 32 bytes of high bits, 128 of codes                 groups of 32
 *   Q6_K   128 bytes of low nibbles, 64 of high bits, 16 signed scales, d   groups of 16: (d s) (q - 32)
 *   IQ4_XS d, 2 bytes and 4 of 6-bit scales, 128 of codes                   groups of 32: (d (s - 32)) table[q]
 *
 * Products and the difference in this order, one rounding each. NaN and infinities of d come out as such, every NaN as
 * F32_NAN_BITS. Source: ggml's dequantize_row_*, whose numbers tests/vectors/ggml holds. */
#ifndef NUMERIC_GGML_K_H
#define NUMERIC_GGML_K_H

#include "numeric/ggml_blocks.h"

#define GGML_SUPER 256u

NUM_FN void q2_k_decode_block(const uint8_t in[84], float out[256])
{
    float d = ggml_f16(in + 80), dmin = ggml_f16(in + 82);
    for (uint32_t g = 0; g < 16u; g++) {
        /* Groups 2j and 2j + 1 of each half of 128 are bits 2j of its 32 bytes. */
        const uint8_t *q = in + 16u + 32u * (g / 8u) + 16u * (g % 2u);
        uint32_t shift = 2u * (g % 8u / 2u);
        float scale = d * (float)(in[g] & 15u), min = dmin * (float)(in[g] >> 4);
        for (uint32_t i = 0; i < 16u; i++)
            out[16u * g + i] = ggml_one_nan(scale * (float)((uint32_t)q[i] >> shift & 3u) - min);
    }
}

/* Scale g of 16: low nibbles in the first eight bytes, two high bits in the last four. */
NUM_FN int q3_k_scale(const uint8_t s[12], uint32_t g)
{
    uint32_t low = g < 8u ? s[g] & 15u : (uint32_t)s[g - 8u] >> 4,
             high = (uint32_t)s[8u + g % 4u] >> 2u * (g / 4u) & 3u;
    return (int)(low | high << 4) - 32;
}

NUM_FN void q3_k_decode_block(const uint8_t in[110], float out[256])
{
    float d = ggml_f16(in + 108);
    for (uint32_t g = 0; g < 16u; g++) {
        const uint8_t *q = in + 32u + 32u * (g / 8u) + 16u * (g % 2u), *high = in + 16u * (g % 2u);
        uint32_t shift = 2u * (g % 8u / 2u), bit = g / 2u;
        float scale = d * (float)q3_k_scale(in + 96, g);
        for (uint32_t i = 0; i < 16u; i++) {
            int code = (int)((uint32_t)q[i] >> shift & 3u) - ((uint32_t)high[i] >> bit & 1u ? 0 : 4);
            out[16u * g + i] = ggml_one_nan(scale * (float)code);
        }
    }
}

/* Scale and minimum of group g of 8 in Q4_K and Q5_K: six bits each; those of the last four groups are cut in two. */
NUM_FN void k4_scale_min(const uint8_t s[12], uint32_t g, uint8_t *scale, uint8_t *min)
{
    if (g < 4u) {
        *scale = s[g] & 63u;
        *min = s[g + 4u] & 63u;
    } else {
        *scale = (uint8_t)((s[g + 4u] & 15u) | (s[g - 4u] >> 6) << 4);
        *min = (uint8_t)(s[g + 4u] >> 4 | (s[g] >> 6) << 4);
    }
}

NUM_FN void q4_k_decode_block(const uint8_t in[144], float out[256])
{
    float d = ggml_f16(in), dmin = ggml_f16(in + 2);
    for (uint32_t g = 0; g < 8u; g++) {
        const uint8_t *q = in + 16u + 32u * (g / 2u);
        uint32_t shift = 4u * (g % 2u);
        uint8_t s, m;
        k4_scale_min(in + 4, g, &s, &m);
        float scale = d * (float)s, min = dmin * (float)m;
        for (uint32_t i = 0; i < 32u; i++)
            out[32u * g + i] = ggml_one_nan(scale * (float)((uint32_t)q[i] >> shift & 15u) - min);
    }
}

NUM_FN void q5_k_decode_block(const uint8_t in[176], float out[256])
{
    float d = ggml_f16(in), dmin = ggml_f16(in + 2);
    for (uint32_t g = 0; g < 8u; g++) {
        const uint8_t *q = in + 48u + 32u * (g / 2u), *high = in + 16u;
        uint32_t shift = 4u * (g % 2u);
        uint8_t s, m;
        k4_scale_min(in + 4, g, &s, &m);
        float scale = d * (float)s, min = dmin * (float)m;
        for (uint32_t i = 0; i < 32u; i++) {
            uint32_t code = ((uint32_t)q[i] >> shift & 15u) | ((uint32_t)high[i] >> g & 1u) << 4;
            out[32u * g + i] = ggml_one_nan(scale * (float)code - min);
        }
    }
}

NUM_FN void q6_k_decode_block(const uint8_t in[210], float out[256])
{
    float d = ggml_f16(in + 208);
    for (uint32_t g = 0; g < 16u; g++) {
        uint32_t half = g / 8u, quarter = g % 8u / 2u; /* 32 elements of a half share a pair of bits */
        const uint8_t *low = in + 64u * half + 32u * (quarter % 2u) + 16u * (g % 2u);
        const uint8_t *high = in + 128u + 32u * half + 16u * (g % 2u);
        float scale = d * (float)(int8_t)in[192u + g];
        for (uint32_t i = 0; i < 16u; i++) {
            uint32_t code = ((uint32_t)low[i] >> 4u * (quarter / 2u) & 15u) | ((uint32_t)high[i] >> 2u * quarter & 3u)
                                                                                  << 4;
            out[16u * g + i] = ggml_one_nan(scale * (float)((int)code - 32));
        }
    }
}

NUM_FN void iq4_xs_decode_block(const uint8_t in[136], float out[256])
{
    float d = ggml_f16(in);
    uint32_t high = (uint32_t)in[2] | (uint32_t)in[3] << 8;
    for (uint32_t g = 0; g < 8u; g++) {
        uint32_t s = ((uint32_t)in[4u + g / 2u] >> 4u * (g % 2u) & 15u) | (high >> 2u * g & 3u) << 4;
        float scale = d * (float)((int)s - 32);
        for (uint32_t i = 0; i < 32u; i++)
            out[32u * g + i] = ggml_one_nan(scale * iq4_value(ggml_nibble(in + 8u + 16u * g, i)));
    }
}

#endif
