/* Weights as a plan would store them, without storing them: encoded and decoded again while the engine reads them. */
#ifndef CALIBRATE_TRIAL_H
#define CALIBRATE_TRIAL_H

#include "engine/engine.h"
#include "plan/search.h"

#define TRIAL_BLOCK UINT32_MAX /* instead of a group: all groups of a block, each in its smallest type */

struct trial {
    struct search_space *space;
    uint64_t isa;
    /* observed in the block at hand; [n_items] */
    float *weight_amax, *input_amax, *kv_amax;
    /* what stands in now */
    uint32_t group, type; /* group TRIAL_BLOCK: `block` */
    int32_t block;
    uint32_t cache;              /* of space->cache.choices; 0: as it is */
    struct weight_source source; /* what engine_options.weights points to */
};

/* Arrays are the caller's, zeroed. */
void trial_init(struct trial *t, struct search_space *s, uint64_t isa, float *weight_amax, float *input_amax,
                float *kv_amax);
/* Reads the weights of a block's groups and keeps their largest magnitudes. */
MUST_CHECK bool trial_observe_weights(struct trial *t, int32_t block, struct pool *pool, struct error *err);
/* After the inputs of a block were observed: experts share the largest of their projection, as they will be written. */
void trial_share_inputs(struct trial *t, int32_t block);
/* The allowed type of fewest bytes beside "none"; 0: there is none. */
uint32_t trial_smallest(const struct search_space *s, uint32_t group);

#endif
