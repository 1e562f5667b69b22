/* Inside of the rows of types: the bounds that several share, and the rows of other layouts than ModelOpt's. */
#ifndef FORMATS_QUANT_FORMAT_IMPL_H
#define FORMATS_QUANT_FORMAT_IMPL_H

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

extern const struct quant_format nvfp4_ct, w4a16_nvfp4_ct, fp8_ct, fp8_channel_ct, fp8_block_ct, w8a16_fp8_block_ct,
    mxfp8_ct, mxfp4_ct;
extern const struct quant_format int4_g32, int4_g64, int4_g128, int4_zero_g32_ct, int4_zero_g64_ct, int4_zero_g128_ct;
extern const struct quant_format awq_g32, awq_g64, awq_g128;
extern const struct quant_format gptq_g32, gptq_g64, gptq_g128, gptq_zero_g32, gptq_zero_g64, gptq_zero_g128;

extern const struct quant_format gguf_q8_0, gguf_q4_0, gguf_q4_1, gguf_q5_0, gguf_q5_1, gguf_q2_k, gguf_q3_k, gguf_q4_k,
    gguf_q5_k, gguf_q6_k, gguf_iq4_nl, gguf_iq4_xs, gguf_mxfp4, gguf_q8_1, gguf_q8_k, gguf_iq2_xxs, gguf_iq2_xs,
    gguf_iq3_xxs, gguf_iq1_s, gguf_iq3_s, gguf_iq2_s, gguf_iq1_m, gguf_tq1_0, gguf_tq2_0, gguf_q1_0, gguf_q2_0,
    gguf_nvfp4, gguf_nvfp4_input, gguf_nvfp4_bare;
#define GGUF_FORMATS                                                                                                   \
    &gguf_q8_0, &gguf_q4_0, &gguf_q4_1, &gguf_q5_0, &gguf_q5_1, &gguf_q2_k, &gguf_q3_k, &gguf_q4_k, &gguf_q5_k,        \
        &gguf_q6_k, &gguf_iq4_nl, &gguf_iq4_xs, &gguf_mxfp4, &gguf_q8_1, &gguf_q8_k, &gguf_iq2_xxs, &gguf_iq2_xs,      \
        &gguf_iq3_xxs, &gguf_iq1_s, &gguf_iq3_s, &gguf_iq2_s, &gguf_iq1_m, &gguf_tq1_0, &gguf_tq2_0, &gguf_q1_0,       \
        &gguf_q2_0, &gguf_nvfp4, &gguf_nvfp4_input, &gguf_nvfp4_bare

#endif
