/* What a serving target can run of the types that a search may give: from the rows of engines and GPUs. */
#ifndef PACK_SEARCH_TARGET_H
#define PACK_SEARCH_TARGET_H

#include "plan/search.h"

/* "vllm@0.17.1" and "b200:2". Takes types from groups where the engine does not load them, cannot multiply them on that
 * GPU, or cannot cut the columns among so many; says of each type whether its inputs will be rounded there (a GPU may
 * run NVFP4 with 16-bit activations), so call it before measuring. *one_type: the engine takes no mixture of types
 * there. ERR_USAGE and ERR_UNSUPPORTED as for profiles, and when nothing is left to choose from. */
MUST_CHECK bool search_target(struct search_space *s, const char *engine, const char *gpu, bool *one_type,
                              struct error *err);

#endif
