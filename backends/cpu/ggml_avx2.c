/* ggml's blocks on AVX2. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/words_avx2.h"

#include "backends/cpu/vector_ggml_body.h"

ENCODE_GGML(avx2)
