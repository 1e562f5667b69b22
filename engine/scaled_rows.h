/* Decoding of weights that carry a scale per group or per block of rows and columns (formats of other methods than
 * ModelOpt's). */
#ifndef ENGINE_SCALED_ROWS_H
#define ENGINE_SCALED_ROWS_H

#include "engine/block.h"

/* Scale rows [first, first + n) as fp32; caller frees. Refuses what is not finite, or negative. */
MUST_CHECK bool scaled_rows_scales(const struct engine *e, const struct model_tensor *t, enum tensor_part part,
                                   uint64_t first, uint64_t n, float **out, struct error *err);
/* Weight rows [first, first + n): `raw` is what PART_WEIGHT holds of them, out [n, cols]. Reads their scales, which
 * must be finite and not negative. */
MUST_CHECK bool scaled_rows(const struct engine *e, const struct model_tensor *t, uint64_t first, uint64_t n,
                            const void *raw, float *out, struct error *err);
/* weight_shape must say what the configuration makes of the tensor. */
MUST_CHECK bool check_packed_shape(const struct engine *e, const struct model_tensor *t, struct error *err);

#endif
