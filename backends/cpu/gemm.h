/* y = x W^T for panels of packed weights, in one of two arithmetics. Every table gives the same bits, and a row of x
 * gives the same bits alone (decoding) or among others (prefill): the order of every sum is fixed.
 *
 * fp32: one chain of fused multiply-adds over k = 0, 1, 2, ..., beginning at 0, of x[k] and the weight's fp32 value
 * (packed.h), as in math.h's gemm_panel.
 *
 * bf16: x is rounded to bf16, codes are bf16 numbers (all but CODE_F32 and CODE_F16, which are packed as BF16 for it).
 * Per group of columns that share a scale, one chain over pairs of columns (0, 1), (2, 3), ...: of a pair the odd one
 * first, each step a fused multiply-add that reads denormals as zeros and writes them as zeros (dot_bf16.h); an odd
 * last column has a zero beside it. Then y = fma(group's sum, scale, y), groups in order, y beginning at 0, ordinary
 * fp32 with denormals. Without scales the one chain is the result. */
#ifndef BACKENDS_CPU_GEMM_H
#define BACKENDS_CPU_GEMM_H

#include "backends/cpu/packed.h"

#define GEMM_ROWS_MAX 256u /* rows of x in one call */

struct gemm_call {
    const struct packed *w;
    const uint8_t *panels; /* the first of those that this call multiplies with, one behind the other */
    uint32_t n;            /* outputs: all 32 of each panel, fewer of the last */
    uint64_t m;            /* rows of x, at most GEMM_ROWS_MAX */
    const void *x;         /* fp32: floats; bf16: rows that `input` made */
    uint64_t x_stride;     /* bytes from row to row */
    float *y;              /* [m, n] */
    uint64_t ldy;          /* floats from row to row */
};

struct gemm_ops {
    const char *name;
    uint64_t isa;
    void (*fp32)(const struct gemm_call *c);
    void (*bf16)(const struct gemm_call *c);
    /* A row of x as `bf16` reads it: cols floats in, input_bytes(cols) bytes out. */
    void (*input)(const float *x, uint64_t cols, void *out);
    uint64_t (*input_bytes)(uint64_t cols);
};

extern const struct gemm_ops gemm_scalar, gemm_avx2, gemm_avx512, gemm_avx512bf16; /* callers ask gemm_for */
extern const struct gemm_ops *const gemm_tables[];                                 /* NULL-terminated */
const struct gemm_ops *gemm_for(uint64_t isa);                                     /* the widest that `isa` allows */

#endif
