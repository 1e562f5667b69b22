/* Storage types: what a file holds, not what it means. Names are those of safetensors, and of ggml for the types that
 * only GGUF files have. */
#ifndef CORE_DTYPE_H
#define CORE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every name that safetensors 0.8 reads, so that a file which only carries an unusual type can still be listed and
 * copied. */
enum dtype {
    DTYPE_BOOL,
    DTYPE_U8,
    DTYPE_I8,
    DTYPE_F8_E5M2,
    DTYPE_F8_E4M3,
    DTYPE_F8_E8M0,
    DTYPE_I16,
    DTYPE_U16,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I32,
    DTYPE_U32,
    DTYPE_F32,
    DTYPE_F64,
    DTYPE_I64,
    DTYPE_U64,
    DTYPE_F4,
    DTYPE_F6_E2M3,
    DTYPE_F6_E3M2,
    DTYPE_F8_E4M3FNUZ,
    DTYPE_F8_E5M2FNUZ,
    DTYPE_C64,
    /* GGUF's own: blocks of elements of a row, all from here to the last (numeric/q8_0.h, ggml_blocks.h, ggml_k.h). */
    DTYPE_Q8_0,
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_IQ4_NL,
    DTYPE_IQ4_XS,
    DTYPE_GGML_MXFP4, /* "MXFP4" */
    DTYPE_GGML_NVFP4, /* "NVFP4" */
    DTYPE_Q8_1,       /* this and those after it: known by name and size, not decoded */
    DTYPE_Q8_K,
    DTYPE_IQ2_XXS,
    DTYPE_IQ2_XS,
    DTYPE_IQ3_XXS,
    DTYPE_IQ1_S,
    DTYPE_IQ3_S,
    DTYPE_IQ2_S,
    DTYPE_IQ1_M,
    DTYPE_TQ1_0,
    DTYPE_TQ2_0,
    DTYPE_Q1_0,
    DTYPE_Q2_0,
    DTYPE_COUNT
};

const char *dtype_name(enum dtype t);
uint32_t dtype_bits(enum dtype t);  /* per element; 0 for GGUF's, whose blocks are more than their elements */
uint32_t dtype_bytes(enum dtype t); /* per element; 0 for F4, F6 and GGUF's, which share bytes */
/* Elements that are stored together, and the bytes they take: 1 and dtype_bytes, 2 and 1 for F4, 32 and 34 for Q8_0. */
uint32_t dtype_block_elems(enum dtype t);
uint32_t dtype_block_bytes(enum dtype t);
/* Bytes of a row of n elements, which must be whole blocks; no overflow for n up to 2^58. */
uint64_t dtype_row_bytes(enum dtype t, uint64_t n);
bool dtype_parse(const char *name, size_t n, enum dtype *out); /* exact name of safetensors, n bytes */
/* Types whose values are numbers that weights may have before quantization. */
bool dtype_is_plain_float(enum dtype t); /* F16, BF16, F32 */
bool dtype_is_blocks(enum dtype t);      /* GGUF's own */
bool dtype_is_decoded(enum dtype t);     /* GGUF's own whose values OP_DECODE_Q8_0 and OP_DECODE_GGML give */

#endif
