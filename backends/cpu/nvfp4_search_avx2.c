#define SEARCH_LANES 8u
#include "backends/cpu/nvfp4_search_body.h"

#include "backends/cpu/kernel.h"

const struct nvfp4_search_ops nvfp4_search_avx2 = {
    .name = "avx2",
    .isa = ISA_AVX2,
    .sweep = sweep,
    .descend = descend,
};
