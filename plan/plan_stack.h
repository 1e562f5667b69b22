/* Experts that are quantized where they lie: in stacks of [experts, inputs, outputs] (GPT-OSS), written as stacks
 * again, as ModelOpt does; layouts of other tools write the experts one by one, and are not the matter of this file.
 * One scale of the tensor and one of the inputs serve all experts of a stack; the plan's items are the experts'
 * projections as ever, and the first of them has the outputs of all.
 *
 * Shapes, of a stack [E, in, out]: FP8 the same; NVFP4, whose blocks run along the inputs, U8 [E, in / 2, out] with
 * scales [E, in / 16, out]; MXFP4, whose blocks ModelOpt lets run along the outputs, U8 [E, in, out / 2] with scales
 * [E, in, out / 32]. In the layout mxfp4, GPT-OSS's own, blocks run along the inputs and experts lie outputs by inputs:
 * `..._blocks` U8 [E, out, in / 32, 16] and `..._scales` U8 [E, out, in / 32]. */
#ifndef PLAN_PLAN_STACK_H
#define PLAN_PLAN_STACK_H

#include "plan/plan.h"

struct plan_stack {
    const char *name;       /* "model.layers.0.mlp.experts.gate_up_proj" */
    uint32_t base;          /* of the checkpoint: the stored stack */
    uint32_t lead, n_items; /* the item that has the outputs; how many there are */
    uint64_t n_experts;
    uint32_t scales;           /* of MXFP4 blocks [experts, outputs, inputs / 32, 16] those; else NAME_NONE */
    bool sideways;             /* blocks run along the first dimension: encoded from columns */
    bool stays_turned;         /* and what comes out stays outputs by inputs, an expert at a time: the layout mxfp4 */
    struct tensor_info matrix; /* the stack as [experts * inputs, outputs] */
};

/* Finds or makes the stack of an item that has been decided to be quantized; item->stack stays NULL when its weight
 * lies alone, or in a stack whose experts are written apart: [experts, outputs, inputs], or any in the layouts
 * compressed-tensors, awq and gptq. ERR_UNSUPPORTED for types that no stack has, and for the layout mxfp4 of what is no
 * such stack. `of_base`: [checkpoint_count], NULL at first.
 */
MUST_CHECK bool plan_stack_join(struct plan *p, uint32_t item, struct plan_stack **of_base, struct error *err);
/* What people must know of stacks of inputs by outputs that come apart. */
MUST_CHECK bool plan_stack_note_apart(struct plan *p, struct error *err);
/* True of an expert's bias that lies in a stack whose weights are written apart: it goes with them. */
bool plan_bias_comes_apart(const struct plan *p, const struct model_tensor *bias);
/* Where an expert's projection lies in a plain stack [experts, inputs, outputs]: its output r is number first + r *
 * step of the stack's outputs. */
struct plan_member {
    uint64_t first, step;
};
struct plan_member plan_stack_member(const struct plan *p, const struct plan_item *item);
/* Name and shape of one part. False without memory. */
bool plan_stack_part(const struct plan *p, const struct plan_item *item, const struct quant_part *part,
                     struct tensor_spec *out);

#endif
