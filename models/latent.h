/* Reading what multi-head latent attention is made of; for the families that have it. */
#ifndef MODELS_LATENT_H
#define MODELS_LATENT_H

#include "models/arch.h"
#include "models/rope.h"

/* Under which keys, and how positions turn. */
struct mla_keys {
    const char *heads; /* "num_attention_heads" */
    bool interleaved;
};

/* q_lora_rank (null or 0: queries come from x), kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim, the heads
 * and their positions: fills cfg->mla, cfg->attention and the dims of attention. The softmax's scale is (nope +
 * rope)^-0.5; what a family multiplies it by comes after. */
MUST_CHECK bool mla_read(struct model_config *cfg, const json_t *json, const struct mla_keys *keys,
                         const struct rope_spec *rope, struct arena *arena, struct error *err);

/* Groups of experts: they divide, each has the two experts that score it, and the chosen ones hold top_k. */
MUST_CHECK bool config_check_groups(const struct moe_config *m, struct error *err);

#endif
