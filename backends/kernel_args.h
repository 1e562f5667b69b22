/* What one kernel works on, whichever backend it belongs to; C11 and CUDA.
 *
 * All matrices are row-major without gaps. On the CPU sources and results may begin at any address; a device backend
 * places them at addresses that are multiples of 256. n_rows may be any number, n_cols too, but a multiple of the block
 * for the operations that have one. FP8_BLOCK's blocks of 128 x 128 are the exception: they may be cut off at the lower
 * and right edge, and since they count from the first row, a tensor may be split only at multiples of 128 rows.
 *
 * What each operation means, to the bit, is in numeric/; sources hold no NaN or infinity where numeric/ says that
 * callers refuse them (find them with AMAX). */
#ifndef BACKENDS_KERNEL_ARGS_H
#define BACKENDS_KERNEL_ARGS_H

#include "core/dtype.h"
#include "numeric/op.h"

#include <stdbool.h>
#include <stdint.h>

struct kernel_args {
    uint64_t n_rows, n_cols; /* logical: elements, not packed bytes */
    /* sources; each op reads some */
    const void *src;            /* [n_rows, n_cols] of `dtype`; INPUT ops: f32; DECODE ops: packed or e4m3 bytes */
    enum dtype dtype;           /* F32, BF16 or F16 */
    const uint8_t *src_scale;   /* DECODE_NVFP4: e4m3 [n_rows, n_cols/16]; DECODE_MXFP*: e8m0 [n_rows, n_cols/32];
                                   DECODE_INT4_ZERO: zero points [n_rows, n_cols/group] */
    const float *src_scale_f32; /* DECODE_FP8_CHANNEL: [n_rows];
                                   DECODE_FP8_BLOCK: [ceil(n_rows/128), ceil(n_cols/128)];
                                   DECODE_INT4*: [n_rows, n_cols/group] */
    const float *block_amax;    /* ENCODE_NVFP4_STATIC: f32 [n_rows, n_cols/16] */
    float scale;                /* NVFP4 dynamic/decode, DECODE_GGML of NVFP4: weight_scale_2; FP8: weight_scale;
                                   INPUT: input_scale */
    float amax;                 /* ENCODE_NVFP4_STATIC, SWEEP_, RANGE_, FOUR_SIX_NVFP4: g, largest of the tensor or
                                   fused group */
    float range_start, range_stop; /* RANGE_NVFP4: of the multipliers of a block's own maximum, */
    uint32_t range_count;       /* and how many */
    float static_max;           /* ENCODE_NVFP4_STATIC, SWEEP_NVFP4: 448, or 256 after FOUR_SIX_NVFP4 */
    enum fp8_rounding rounding; /* ENCODE_FP8 */
    enum fp8_scale_form form;   /* ENCODE_FP8_BLOCK */
    enum mxfp4_rule mxfp4_rule; /* ENCODE_MXFP4 */
    enum dtype blocks;          /* *_GGML: the type of dst, or of src */
    uint32_t group;             /* INT4*: columns that share a scale: 32, 64, 128 or another even number, not 0 */
    enum int4_scale_type int4_scale; /* ENCODE_INT4* */
    /* results */
    uint8_t *dst;       /* ENCODE_NVFP4*, _MXFP4, _INT4*: [n_rows, n_cols/2]; ENCODE_FP8*, _MXFP8: [n_rows, n_cols];
                           ENCODE_Q8_0: [n_rows, n_cols/32, 34], as DECODE_Q8_0's src;
                           ENCODE_GGML: rows of whole blocks of `blocks`, as DECODE_GGML's src */
    uint8_t *dst_scale; /* ENCODE_NVFP4*: e4m3 [n_rows, n_cols/16]; ENCODE_MXFP*: e8m0 [n_rows, n_cols/32];
                           ENCODE_INT4_ZERO: zero points [n_rows, n_cols/group] */
    float *dst_f32;     /* WIDEN, DECODE_*, INPUT_*: [n_rows, n_cols] (INPUT: may be exactly src);
                           SWEEP, FOUR_SIX: block amax [n_rows, n_cols/16];
                           ENCODE_FP8_CHANNEL: scales [n_rows];
                           ENCODE_FP8_BLOCK: scales [ceil(n_rows/128), ceil(n_cols/128)];
                           ENCODE_INT4*: scales [n_rows, n_cols/group];
                           AMAX: [n_rows], NaN when the row holds a NaN, else +inf when it holds an infinity;
                           0 without columns */
};

#endif
