/* Rotary position embeddings and what else depends on a token's position, applied to heads in place. */
#ifndef ENGINE_POSITIONS_H
#define ENGINE_POSITIONS_H

#include "engine/block.h"

/* x: [n_rows, >= heads * head_dim] with row stride `stride`; the first rope.dim elements of each head turn. Rows belong
 * to segments, which say at which position each stands. ROPE_INTERLEAVED leaves the pairs where they are. */
MUST_CHECK bool rope_apply(const struct engine *e, const struct rope_config *rope, const struct segment *segments,
                           uint32_t n_segments, float *x, uint64_t stride, uint64_t heads, uint64_t head_dim,
                           struct error *err);
uint64_t rope_need(const struct rope_config *rope); /* scratch of every worker */

/* Queries times 1 + beta log(1 + floor(position / original)). */
void query_scale_apply(const struct attention_config *a, const struct segment *segments, uint32_t n_segments, float *q,
                       uint64_t stride, uint64_t width);

#endif
