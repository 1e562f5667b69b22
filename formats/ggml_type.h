/* The tensor types of GGUF files: number, name and block, as ggml's documentation of the format lists them
 * (its page on GGUF, and gguf-py's table of block sizes). Every published one has a row, so that a file
 * can be checked and its type named; those with a dtype are read. */
#ifndef FORMATS_GGML_TYPE_H
#define FORMATS_GGML_TYPE_H

#include "core/dtype.h"

struct ggml_type {
    uint32_t id;
    const char *name;
    uint32_t block_elems, block_bytes; /* elements of a row that are stored together, and their bytes */
    enum dtype dtype;                  /* DTYPE_COUNT: known by name only */
    uint32_t file_type;                /* general.file_type of a file whose matrices have it; FILE_TYPE_NONE: none */
};
#define FILE_TYPE_NONE UINT32_MAX

const struct ggml_type *ggml_type_find(uint32_t id); /* NULL when there is none of that number */
const struct ggml_type *ggml_type_of(enum dtype t);  /* NULL when ggml has none */

#endif
