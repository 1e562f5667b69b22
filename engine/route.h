/* Which experts a token goes to: sigmoid scores, a correction bias for the choice only, groups, top-k. */
#ifndef ENGINE_ROUTE_H
#define ENGINE_ROUTE_H

#include "models/arch.h"

/* scores: [n_experts], sigmoid already applied; bias: [n_experts]. Writes top_k experts in ascending order and their
 * weights: the unbiased scores, divided by (their sum + 1e-20) when the model normalises, times its scale. Of equal
 * choices the lower number wins. scratch: [n_experts] floats. */
void route_token(const struct moe_config *m, const float *scores, const float *bias, float *scratch, uint32_t *experts,
                 float *weights);

#endif
