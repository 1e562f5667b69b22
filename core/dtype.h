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
    DTYPE_Q8_0, /* GGUF: blocks of 32 elements of a row, 34 bytes each (numeric/q8_0.h) */
    DTYPE_COUNT
};

const char *dtype_name(enum dtype t);
uint32_t dtype_bits(enum dtype t);  /* per element; 0 for Q8_0, whose blocks are more than their elements */
uint32_t dtype_bytes(enum dtype t); /* per element; 0 for F4, F6 and Q8_0, which share bytes */
/* Elements that are stored together, and the bytes they take: 1 and dtype_bytes, 2 and 1 for F4, 32 and 34 for Q8_0. */
uint32_t dtype_block_elems(enum dtype t);
uint32_t dtype_block_bytes(enum dtype t);
/* Bytes of a row of n elements, which must be whole blocks; no overflow for n up to 2^58. */
uint64_t dtype_row_bytes(enum dtype t, uint64_t n);
bool dtype_parse(const char *name, size_t n, enum dtype *out); /* exact name of safetensors, n bytes */
/* Types whose values are numbers that weights may have before quantization. */
bool dtype_is_plain_float(enum dtype t); /* F16, BF16, F32 */

#endif
