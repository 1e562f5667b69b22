/* FP8 with more scales, MXFP4, MXFP8, INT4 and Q8_0 on AVX2. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/words_avx2.h"

#include "backends/cpu/vector_types_body.h"

TYPES(avx2)
