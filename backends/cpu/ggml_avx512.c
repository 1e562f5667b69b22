/* ggml's blocks on AVX-512. */
#include "backends/cpu/fast_avx512.h"
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/words_avx512.h"

#include "backends/cpu/vector_ggml_body.h"

ENCODE_GGML(avx512)
