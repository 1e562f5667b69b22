#define SEARCH_LANES 4u
#include "backends/cpu/nvfp4_search_body.h"

#include "backends/cpu/kernel.h"

const struct nvfp4_search_ops nvfp4_search_scalar = {
    .name = "scalar",
    .isa = 0,
    .sweep = sweep,
    .descend = descend,
};
