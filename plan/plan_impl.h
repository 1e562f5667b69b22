/* What the parts of plan_build share; nobody else includes it. */
#ifndef PLAN_PLAN_IMPL_H
#define PLAN_PLAN_IMPL_H

#include "plan/plan.h"

struct plan_builder {
    struct plan *plan;
    bool *line_used;   /* [recipe->n_lines] */
    bool *stacks_done; /* [checkpoint_count]: stacks of experts that have their output */
    struct error *err;
};

/* plan_decide.c: what the recipe's lines make of one tensor. */
MUST_CHECK bool plan_decide(struct plan_builder *b, struct plan_item *item);
/* A matrix that types are for, whatever the recipe says. */
bool plan_may_quantize(const struct model_tensor *t);

/* plan_groups.c: which linears share a scale, and that experts which engines ask about once agree. Behind plan_decide
 * of all items, in this order. */
MUST_CHECK bool plan_join_stacks(struct plan_builder *b);
MUST_CHECK bool plan_group(struct plan_builder *b);
MUST_CHECK bool plan_check_containers(struct plan_builder *b);

/* plan_cache.c: the type of the KV cache, one for the model. */
MUST_CHECK bool plan_decide_cache(struct plan_builder *b);
bool plan_in_compressed_tensors(const struct plan *p);

/* plan_outputs.c: the tensors of the result, in file order. */
MUST_CHECK bool plan_make_outputs(struct plan_builder *b);

#endif
