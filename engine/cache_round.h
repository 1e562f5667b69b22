/* What a quantized K/V cache keeps of K, V or a latent vector. */
#ifndef ENGINE_CACHE_ROUND_H
#define ENGINE_CACHE_ROUND_H

#include "engine/block.h"

/* Rounds n values in place as a cache of the checkpoint's declared type would with this scale; nothing when scale is 0.
 * FP8: one number by one. NVFP4: blocks of 16 whose scales are E4M3 multiples of `scale`; rows are whole blocks. */
void cache_round(const struct engine *e, float *x, uint64_t n, float scale);
/* ERR_UNSUPPORTED when vectors of `width` are no whole blocks of the declared type. */
MUST_CHECK bool cache_check_width(const struct engine *e, uint64_t width, struct error *err);

#endif
