#include "backends/cpu/nvfp4_search.h"

#include <stddef.h>

const struct nvfp4_search_ops *const nvfp4_search_tables[] = {
    &nvfp4_search_scalar,
#if defined(__x86_64__)
    &nvfp4_search_avx2,
    &nvfp4_search_avx512,
#endif
    NULL,
};

const struct nvfp4_search_ops *nvfp4_search_for(uint64_t isa)
{
    const struct nvfp4_search_ops *best = nvfp4_search_tables[0];
    for (const struct nvfp4_search_ops *const *t = nvfp4_search_tables; *t; t++)
        if (((*t)->isa & ~isa) == 0) best = *t;
    return best;
}
