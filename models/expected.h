/* The tensors that a configuration calls for, in model order: embedding, layer 0 (norm, mixer, experts by number), ...,
 * final norm, head, then the multi-token-prediction head. */
#ifndef MODELS_EXPECTED_H
#define MODELS_EXPECTED_H

#include "formats/checkpoint.h"
#include "models/arch.h"

struct expected_tensor {
    const struct role_rule *rule;
    const struct block_config *block; /* NULL for tensors of the whole model */
    int32_t expert;                   /* -1: none */
    const char *name;                 /* in the arena */
    uint32_t n_dims;
    uint64_t dims[TENSOR_DIMS_MAX];
};

typedef bool (*expected_fn)(void *ctx, const struct expected_tensor *t, struct error *err);

/* Calls fn for each; stops when it fails. */
MUST_CHECK bool model_expect(const struct model_config *cfg, struct arena *arena, expected_fn fn, void *ctx,
                             struct error *err);

/* The name that a tensor of the whole model has under cfg->root; NULL when the family has none or memory ran out. */
char *model_rule_name(const struct model_config *cfg, enum tensor_role role, struct arena *arena);

/* Any pattern of a rule filled in; `block` and `expert` as in struct expected_tensor. NULL: memory ran out. */
char *model_pattern_name(const struct model_config *cfg, struct arena *arena, const char *pattern,
                         const struct block_config *block, int32_t expert);

#endif
