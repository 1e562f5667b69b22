/* The tensor types of GGUF files: numbers of ggml's enumeration (its page on GGUF, and gguf-py's table of block
 * sizes). Every published one has a row, so that a file can be checked and its type named. */
#ifndef FORMATS_GGML_TYPE_H
#define FORMATS_GGML_TYPE_H

#include "core/dtype.h"

struct ggml_type {
    uint32_t id;
    enum dtype dtype; /* its name and blocks too */
};

const struct ggml_type *ggml_type_find(uint32_t id); /* NULL when there is none of that number */
const struct ggml_type *ggml_type_of(enum dtype t);  /* NULL when ggml has none */

#endif
