/* Which experts a token goes to (enum route_kind): scores, an optional correction of the choice, groups, top-k. */
#ifndef ENGINE_ROUTE_H
#define ENGINE_ROUTE_H

#include "backends/cpu/math.h"
#include "models/arch.h"

/* scores: [n_experts], what the router's matrix gives, after a sigmoid (ROUTE_SIGMOID), after a softmax over all
 * (ROUTE_SOFTMAX), as they are (ROUTE_TOP_K_SOFTMAX). bias: [n_experts], added for the choice only, or NULL. Writes
 * top_k experts in ascending order and their weights: the scores, of ROUTE_TOP_K_SOFTMAX their softmax; divided by
 * (their sum + 1e-20) when the model normalises, times its scale. Of equal choices the lower number wins. scratch:
 * [n_experts] floats. */
void route_token(const struct moe_config *m, const struct math_ops *math, const float *scores, const float *bias,
                 float *scratch, uint32_t *experts, float *weights);

#endif
