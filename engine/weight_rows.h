/* Weights as products see them, for those who want the numbers and no product: plain ones widened, quantized ones
 * decoded from their bytes, in every layout that is read. */
#ifndef ENGINE_WEIGHT_ROWS_H
#define ENGINE_WEIGHT_ROWS_H

#include "engine/engine.h"

/* Rows [first, first + n) of a matrix, linear or table, as fp32: out [n, dims[1]]. `worker`: as the engine's pool hands
 * it to an item; two calls of one worker must not overlap. ERR_FORMAT for scales that are not finite, or negative. */
MUST_CHECK bool weight_rows(const struct engine *e, const struct model_tensor *t, uint32_t worker, uint64_t first,
                            uint64_t n, float *out, struct error *err);

#endif
