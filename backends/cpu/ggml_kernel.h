/* Which of ggml's types OP_ENCODE_GGML writes; OP_DECODE_GGML reads all that dtype_is_decoded names. */
#ifndef BACKENDS_CPU_GGML_KERNEL_H
#define BACKENDS_CPU_GGML_KERNEL_H

#include "core/dtype.h"

bool ggml_encodes(enum dtype type);

#endif
