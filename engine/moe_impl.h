/* Between engine/moe.c (the block), engine/moe_route.c (who goes where) and engine/moe_experts.c (the routed experts).
 */
#ifndef ENGINE_MOE_IMPL_H
#define ENGINE_MOE_IMPL_H

#include "engine/block.h"

struct expert {
    struct linear gate, up, down; /* gate.tensor NULL: none */
};

struct moe {
    struct linear router, latent_in, latent_out, shared_mix;
    float *router_bias;     /* [experts]: the correction of the choice, or NULL */
    struct expert *experts; /* [n_experts] */
    struct expert shared;
    uint32_t n_experts;
};

/* In the scratch of the calling thread. */
struct routing {
    uint32_t *experts;  /* [rows, top_k], ascending per row */
    float *weights;     /* [rows, top_k] */
    uint64_t *first;    /* [n_experts + 1]: where an expert's rows begin in `rows` */
    uint32_t *rows;     /* [rows * top_k]: row numbers, ascending per expert */
    float *row_weights; /* [rows * top_k]: the weight of each entry of `rows` */
};

MUST_CHECK bool moe_route(const struct block_call *call, const struct moe *m, struct routing *r, struct error *err);
/* Adds to n->calling what the routing takes, and, while it is made, more. */
MUST_CHECK bool moe_route_need(struct need *n, const struct engine *e, const struct block_config *b,
                               const struct call_shape *c, struct error *err);

/* sum [rows, width]: of each row the weighted outputs of its experts, which see its u [rows, width]. */
MUST_CHECK bool moe_run_experts(const struct block_call *call, const struct moe *m, const struct routing *r,
                                const float *u, uint64_t width, float *sum, struct error *err);
MUST_CHECK bool moe_experts_need(struct need *n, const struct engine *e, const struct block_config *b,
                                 const struct call_shape *c, struct error *err);

#endif
