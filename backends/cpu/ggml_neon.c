/* ggml's blocks on NEON. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/words_neon.h"

#include "backends/cpu/vector_ggml_body.h"

ENCODE_GGML(neon)
