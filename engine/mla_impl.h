/* Between engine/mla.c (the block) and engine/mla_attend.c (queries and the cache, head by head). */
#ifndef ENGINE_MLA_IMPL_H
#define ENGINE_MLA_IMPL_H

#include "engine/block.h"

struct mla {
    const struct attention_config *config;
    const struct mla_config *dims;
    struct linear q, q_a, q_b, kv_a, kv_b, o; /* q or q_a and q_b; tensor NULL: absent */
    struct norm q_norm, kv_norm;
    float *into;             /* [heads][panels of kv_rank][nope_dim][GEMM_PANEL]: K, by columns */
    float *outof;            /* [heads][panels of v_dim][kv_rank][GEMM_PANEL]: V, by rows */
    struct cache_type cache; /* of the latent and the rotary part together */
};

struct mla_call {
    const struct block_call *call;
    const struct mla *a;
    uint64_t q_width, key_width, out_width;
    const float *q; /* [rows, q_width], turned and scaled */
    float *out;     /* [rows, out_width] */
};

/* Fills `into` and `outof` from kv_b. */
MUST_CHECK bool mla_split(struct mla *a, const struct engine *e, struct error *err);
/* out from q and the caches of the call's segments, which hold their keys already. */
MUST_CHECK bool mla_attend(struct mla_call *c, struct error *err);
/* What both take, and rounding latents as kv_b would round its inputs. */
MUST_CHECK bool mla_attend_need(struct need *n, const struct engine *e, const struct block_config *b,
                                const struct call_shape *c, struct error *err);

#endif
