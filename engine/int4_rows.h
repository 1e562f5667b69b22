/* INT4 with zero points, or symmetric as layouts other than ModelOpt's keep it. */
#ifndef ENGINE_INT4_ROWS_H
#define ENGINE_INT4_ROWS_H

#include "engine/block.h"

/* Decodes rows [first, first + n): reads their scales, zero points and the order of their groups (models/int4_parts.h).
 * codes [n, columns / 2], out [n, columns]. Scales must be finite and not negative. */
MUST_CHECK bool int4_rows(const struct engine *e, const struct model_tensor *t, uint64_t first, uint64_t n,
                          const uint8_t *codes, float *out, struct error *err);

#endif
