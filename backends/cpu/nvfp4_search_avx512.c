#define SEARCH_LANES 16u
#include "backends/cpu/nvfp4_search_body.h"

#include "backends/cpu/kernel.h"

const struct nvfp4_search_ops nvfp4_search_avx512 = {
    .name = "avx512",
    .isa = ISA_AVX2 | ISA_AVX512,
    .sweep = sweep,
    .descend = descend,
};
