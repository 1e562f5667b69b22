/* FP8 with more scales, MXFP4, MXFP8, INT4 and Q8_0 on AVX-512. */
#include "backends/cpu/fast_avx512.h"
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/words_avx512.h"

#include "backends/cpu/vector_types_body.h"

TYPES(avx512)
