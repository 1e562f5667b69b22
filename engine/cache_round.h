/* What a quantized K/V cache keeps of K, V or a latent vector. */
#ifndef ENGINE_CACHE_ROUND_H
#define ENGINE_CACHE_ROUND_H

#include "engine/block.h"

/* How vectors of `width` that `t` gives are kept: as stands in, else as the checkpoint declares. `part`: its scale in
 * the file; PART_COUNT: engines take 1, whatever the file says. ERR_UNSUPPORTED when they are no whole blocks. */
MUST_CHECK bool cache_settle(const struct engine *e, const struct model_tensor *t, enum tensor_part part,
                             uint64_t width, struct cache_type *out, struct error *err);
/* Rounds n values in place. FP8: one number by one. NVFP4: blocks of 16 whose scales are E4M3 multiples of the type's;
 * rows are whole blocks. */
void cache_round(const struct engine *e, const struct cache_type *c, float *x, uint64_t n);

#endif
