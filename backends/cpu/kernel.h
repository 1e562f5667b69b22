/* The list of CPU kernels that encode, decode and observe: one row per implementation.
 *
 * A kernel is a pure function of its arguments: no allocation, no threads, no state. Callers split tensors by rows and
 * run kernels from a pool. All matrices are row-major without gaps. Sources and results may begin at any address.
 * n_rows may be any number, n_cols too, but a multiple of 16 for the NVFP4 operations. What each operation means, to
 * the bit, is in numeric/; sources hold no NaN or infinity where numeric/ says that callers refuse them (find them with
 * AMAX). */
#ifndef BACKENDS_CPU_KERNEL_H
#define BACKENDS_CPU_KERNEL_H

#include "core/dtype.h"
#include "numeric/op.h"

#include <stdbool.h>
#include <stdint.h>

struct kernel_args {
    uint64_t n_rows, n_cols; /* logical: elements, not packed bytes */
    /* sources; each op reads some */
    const void *src;            /* [n_rows, n_cols] of `dtype`; INPUT ops: f32; DECODE ops: packed or e4m3 bytes */
    enum dtype dtype;           /* F32, BF16 or F16 */
    const uint8_t *src_scale;   /* DECODE_NVFP4: e4m3 [n_rows, n_cols/16] */
    const float *block_amax;    /* ENCODE_NVFP4_STATIC: f32 [n_rows, n_cols/16] */
    float scale;                /* NVFP4 dynamic/decode: weight_scale_2; FP8: weight_scale; INPUT: input_scale */
    float amax;                 /* ENCODE_NVFP4_STATIC, SWEEP_NVFP4: g, largest magnitude of tensor or fused group */
    float static_max;           /* the same two: 448, or 256 for four-over-six */
    enum fp8_rounding rounding; /* ENCODE_FP8 */
    /* results */
    uint8_t *dst;       /* ENCODE_NVFP4*: [n_rows, n_cols/2]; ENCODE_FP8: [n_rows, n_cols] */
    uint8_t *dst_scale; /* ENCODE_NVFP4*: e4m3 [n_rows, n_cols/16] */
    float *dst_f32;     /* WIDEN, DECODE_*, INPUT_*: [n_rows, n_cols] (INPUT: may be exactly src);
                           SWEEP: block amax [n_rows, n_cols/16];
                           AMAX: [n_rows], NaN when the row holds a NaN, else +inf when it holds an infinity;
                           0 without columns */
};

typedef void (*kernel_fn)(const struct kernel_args *a);

/* Instruction sets; a kernel needs all bits of `isa`. 0: plain C. */
enum { ISA_AVX2 = 1u << 0, ISA_AVX512 = 1u << 1 }; /* AVX2 includes FMA and F16C; AVX512 means F, BW, VL, DQ */

struct kernel {
    const char *name;
    enum op op;
    uint64_t isa;
    kernel_fn run;
};
extern const struct kernel kernels[]; /* backends/cpu/kernels.inc makes it; ends with run == NULL */

const char *op_name(enum op op);
/* The set that a name stands for, with all it builds on: "scalar", "avx2", "avx512"; false for any other word. */
bool isa_parse(const char *name, uint64_t *out);
/* What this CPU and operating system have, capped by the environment variable INGOT_ISA (a word of isa_parse; an
 * unknown word caps to plain C, which gives the same bytes everywhere; cli/ may refuse it with a sentence). */
uint64_t isa_detected(void);
const char *isa_name(uint64_t isa); /* "scalar", "avx2", "avx512": the best bit of a set */
/* The fastest kernel for `op` that `isa` allows: the last row of that op in the list. Never NULL: a scalar one
 * exists. */
kernel_fn kernel_for(enum op op, uint64_t isa);

#endif
