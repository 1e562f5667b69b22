/* Names of the operations whose meaning this folder defines. A kernel is one implementation of one of them; the scalar
 * kernel is the specification (docs/numerics.md), every other gives the same bytes. */
#ifndef NUMERIC_OP_H
#define NUMERIC_OP_H

enum op {
    OP_WIDEN,                  /* bf16, f16 or f32 -> f32 */
    OP_AMAX,                   /* largest magnitude per row; NaN and infinity are found, not hidden */
    OP_ENCODE_NVFP4,           /* blocks of 16, scales from each block's own maximum ("dynamic" order) */
    OP_ENCODE_NVFP4_STATIC,    /* blocks of 16, scales from block maxima that somebody chose ("static" order) */
    OP_SWEEP_NVFP4,            /* chooses those maxima: all 126 positive finite E4M3 scales, least squared error */
    OP_ENCODE_FP8,             /* E4M3, one scale per tensor */
    OP_DECODE_NVFP4,           /* -> f32 */
    OP_DECODE_FP8,             /* -> f32 */
    OP_INPUT_NVFP4,            /* activations f32 -> f32: what a W4A4 engine computes with */
    OP_INPUT_FP8,              /* activations f32 -> f32: what a W8A8 engine computes with; K, V of an FP8 cache too */
    OP_FOUR_SIX_NVFP4,         /* chooses block maxima as OP_SWEEP_NVFP4 does: the block's own or 1.5 times it */
    OP_ENCODE_FP8_CHANNEL,     /* E4M3, one scale per row, from the row's maximum */
    OP_DECODE_FP8_CHANNEL,     /* -> f32 */
    OP_ENCODE_FP8_BLOCK,       /* E4M3, one scale per block of 128 x 128, from the block's maximum */
    OP_DECODE_FP8_BLOCK,       /* -> f32 */
    OP_ENCODE_MXFP4,           /* E2M1, blocks of 32 with E8M0 scales, by one of two rules */
    OP_DECODE_MXFP4,           /* -> f32 */
    OP_ENCODE_MXFP8,           /* E4M3, blocks of 32 with E8M0 scales */
    OP_DECODE_MXFP8,           /* -> f32 */
    OP_ENCODE_INT4,            /* -8..7, one scale per group, from the group's maximum */
    OP_DECODE_INT4,            /* -> f32 */
    OP_ENCODE_INT4_ZERO,       /* 0..15, one scale and one zero point per group, from its smallest and largest */
    OP_DECODE_INT4_ZERO,       /* -> f32 */
    OP_ENCODE_Q8_0,            /* signed bytes, blocks of 32 with a binary16 scale in front of each */
    OP_DECODE_Q8_0,            /* -> f32 */
    OP_RANGE_NVFP4,            /* chooses block maxima as OP_SWEEP_NVFP4 does: among multiples of the block's own */
    OP_ENCODE_GGML,            /* ggml's other blocks, by the type that is asked for (ggml_blocks.h, ggml_search.h) */
    OP_DECODE_GGML,            /* -> f32 */
    OP_COUNT
};

/* How the weight bytes of FP8 are rounded (docs/numerics.md, FP8). */
enum fp8_rounding {
    FP8_SINGLE,                /* e4m3(w / scale), one rounding */
    FP8_MODELOPT_CPU,          /* e4m3(round_to_source_dtype(w / scale)): what ModelOpt's CPU export writes */
    FP8_MODELOPT_CUDA          /* the scale is rounded to the source dtype too: what its GPU export should write
                                  (not confirmed) */
};

/* What the scale of an FP8 block may be (docs/numerics.md, FP8 with more scales). */
enum fp8_scale_form {
    FP8_SCALE_F32,             /* any fp32 number */
    FP8_SCALE_UE8M0            /* a power of two: DeepSeek's scale_fmt "ue8m0" */
};

/* Who writes MXFP4 like this (numeric/mxfp4.h). */
enum mxfp4_rule {
    MXFP4_MODELOPT,            /* scale rounded up, ties towards zero, zeros are code 8 */
    MXFP4_OCP                  /* scale rounded down (the maximum may be clipped), ties to even, sign bit kept */
};

/* The type that a checkpoint stores INT4 scales in: they are rounded to it before use (numeric/int4.h). */
enum int4_scale_type {
    INT4_SCALE_F32,            /* ModelOpt */
    INT4_SCALE_F16,            /* GPTQ, AWQ */
    INT4_SCALE_BF16
};

#endif
