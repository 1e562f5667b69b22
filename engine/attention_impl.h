/* Between engine/attention.c (the block) and engine/attend.c (queries, keys and values of every head). */
#ifndef ENGINE_ATTENTION_IMPL_H
#define ENGINE_ATTENTION_IMPL_H

#include "engine/block.h"

struct attention {
    const struct attention_config *config;
    struct linear q, k, v, o;
    struct norm q_norm, k_norm; /* weight NULL: none */
    float *sinks;               /* [heads], or NULL */
    struct cache_type k_cache, v_cache;
};

struct attention_call {
    const struct block_call *call;
    const struct attention *attention;
    uint64_t q_width, kv_width;
    const float *q;              /* [rows, q_width] */
    float *out;                  /* [rows, q_width] */
    struct query_block *blocks;  /* engine/attend.c */
    uint32_t n_blocks, together; /* heads of an item */
};

/* out from q and the caches of the call's segments, which hold their keys and values already. */
MUST_CHECK bool attend(struct attention_call *c, struct error *err);
void attend_need(struct need *n, const struct attention_config *cfg, const struct call_shape *c);

#endif
