/* Everything that will happen to every tensor, decided before the first byte is written: printable, hashed, and the
 * same object that quantize follows and verify checks against.
 *
 * Two halves, two digests. The observation half (what calibrate must watch) depends on the source and on which inputs
 * are quantized; the whole plan adds what is written. Statistics carry the first, checkpoints the second. */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include "models/inventory.h"
#include "plan/recipe.h"

struct plan_stack; /* plan/plan_stack.h */
struct plan_fold;  /* plan/fold.h */

enum action { ACTION_COPY, ACTION_QUANTIZE };

struct plan_item {
    const struct model_tensor *tensor;
    enum action action;
    const struct quant_format *format; /* QUANTIZE only */
    const struct quant_type *type;     /* what the recipe calls its weights; QUANTIZE only */
    bool zero;                         /* INT4 with zero points */
    enum scale_method scales;
    struct scale_range range; /* SCALES_RANGE */
    struct input_observer observer;
    struct solve_choice solve;  /* method SOLVE_NONE: quantize rounds the weights itself */
    uint32_t fold_in, fold_out; /* of plan->folds: what multiplies its columns, what divides its rows; NAME_NONE */
    uint32_t group;             /* items of one group share the weight's maximum; numbered from 0 */
    bool observe_input;         /* calibrate watches this linear's input */
    float input_amax;           /* > 0: fixed by the recipe instead */
    bool kv_scale;              /* a k_scale or v_scale is written beside the weight (tensor_cache_part) */
    bool kv_observed;           /* that scale is made of what calibrate saw of the output; else it is 1 */
    const struct tensor_info *decoded; /* the weight as BF16, where a quantized source is decoded; or NULL */
    const struct plan_stack *stack;    /* the stack that its weight is written in, or NULL */
    uint32_t first_output, n_outputs;
    const char *reason; /* the recipe line that decided */
};

/* One tensor of the result, in file order. */
struct plan_output {
    uint32_t item;
    enum tensor_part part;
    uint32_t source; /* the checkpoint's tensor it is a copy or a coding of; NAME_NONE: there is none (scales) */
};

struct plan {
    const struct inventory *inventory;
    const struct recipe *recipe;
    struct plan_item *items; /* one per inventory tensor, in model order */
    uint32_t n_items, n_groups;
    struct plan_fold *folds; /* [n_folds], in order of their blocks */
    uint32_t n_folds;
    struct tensor_spec *specs;   /* [n_outputs] */
    struct plan_output *outputs; /* [n_outputs] */
    uint32_t n_outputs;
    enum kv_choice kv;
    bool needs_data;              /* something must be observed or solved: calibrate first */
    const char *const *unmatched; /* texts of recipe lines that selected nothing (published or optional ones) */
    uint32_t n_unmatched;
    const char **notes; /* what people must know of this plan: costs that it accepts, wishes it leaves out */
    uint32_t n_notes;
    uint64_t read_bytes, write_bytes;          /* tensor bytes */
    uint64_t quantized_elems, quantized_bytes; /* of the quantized linears: elements, and bytes of all their parts */
    uint64_t total_elems;
    uint64_t solve_bytes;     /* what calibrate keeps in memory to solve, beside a forward pass (plan/solve_parts.h) */
    uint32_t solve_passes;    /* times that it runs a block forward at most */
    uint64_t workspace_bytes; /* what quantize works in (plan/workspace.h), beside a few MiB for the process */
    struct digest observe_digest, digest;
    struct arena *arena;
};

/* Borrows inventory and recipe. */
MUST_CHECK bool plan_build(struct plan **out, const struct inventory *inv, const struct recipe *recipe,
                           struct error *err);
void plan_free(struct plan *p); /* NULL is fine */
CLEANUP_DEFINE(plan, struct plan, plan_free)

/* Bits per weight of the whole result: all bytes over all elements. */
double plan_effective_bits(const struct plan *p);
/* The role that leads those which engines multiply as one and want in one type: attn_q for attn_k; else itself. */
enum tensor_role plan_fusion_lead(enum tensor_role role);
/* The whole plan as JSON (schema ingot.plan/1, with its digests); new reference. */
MUST_CHECK bool plan_json(const struct plan *p, json_t **out, struct error *err);
/* A table for people; `every` lists each tensor instead of one line per kind. *out: caller frees. */
MUST_CHECK bool plan_text(const struct plan *p, bool every, char **out, struct error *err);
/* The quantization config that the result will carry. Pointers into the plan; the arrays live in its arena. */
MUST_CHECK bool plan_quant_config(struct plan *p, struct quant_config *out, struct error *err);

/* What the plan was made from: architecture, digest of config.json, and per weight file its size and its header's
 * digest; new reference. */
MUST_CHECK bool plan_source_json(const struct plan *p, json_t **out, struct error *err);

/* Why a tensor becomes what it becomes; by its name, its module's, or that of a tensor that is written of it. New
 * reference (schema ingot.explain/1), and the same for people. */
MUST_CHECK bool plan_explain(const struct plan *p, const char *tensor, json_t **out, struct error *err);
MUST_CHECK bool plan_explain_text(const json_t *explained, char **out, struct error *err); /* *out: caller frees */

/* private to plan/: */
MUST_CHECK bool plan_note(struct plan *p, struct error *err, const char *fmt, ...) PRINTF_LIKE(3, 4);
MUST_CHECK bool plan_check_never(const struct plan *p, const bool *selects, struct error *err);
MUST_CHECK bool plan_check_mamba(struct plan *p, struct error *err);
struct recipe_target plan_target(const struct plan *p, const struct model_tensor *t);
MUST_CHECK bool plan_digests(struct plan *p, struct error *err);

#endif
