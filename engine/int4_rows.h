/* INT4 as layouts keep it: codes, scales and zero points of some rows of a weight, in one order whatever the file's. */
#ifndef ENGINE_INT4_ROWS_H
#define ENGINE_INT4_ROWS_H

#include "engine/block.h"

/* Codes 0..15 of rows [first, first + n) of a matrix that lies on its side: two to a byte, the even column low;
 * out [n, columns / 2]. */
MUST_CHECK bool int4_side_codes(const struct engine *e, const struct model_tensor *t, uint64_t first, uint64_t n,
                                uint8_t *out, struct error *err);
/* Decodes those rows: reads their scales, zero points and the order of their groups. codes [n, columns / 2], out
 * [n, columns]. Scales must be finite and not negative. */
MUST_CHECK bool int4_rows(const struct engine *e, const struct model_tensor *t, uint64_t first, uint64_t n,
                          const uint8_t *codes, float *out, struct error *err);

#endif
