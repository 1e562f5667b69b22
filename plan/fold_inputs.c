/* Scales of inputs, beside the readers: pre_quant_scale. */
#include "plan/fold_impl.h"

#include "plan/solve_parts.h"

/* Why a linear cannot have a pre_quant_scale; NULL: it can. */
const char *fold_no_pre_scale(const struct plan *p, const struct plan_item *item)
{
    const struct quant_format *f = item->action == ACTION_QUANTIZE ? item->format : NULL;
    bool nvfp4 = f && f->encode_op == OP_ENCODE_NVFP4 && f->input_op == OP_INPUT_NVFP4;
    if (item->tensor->place.expert >= 0) return "is an expert's: engines want one pre_quant_scale for all of a layer";
    if (!f || f->method || !(nvfp4 || f->encode_op == OP_ENCODE_INT4))
        return "becomes no type that ModelOpt has a pre_quant_scale for (NVFP4 with NVFP4 inputs, INT4)";
    return fold_fixed(p, item);
}

/* Where a member stays in its own type only powers of two would go into it: beside the readers any number can stand. */
bool fold_better_beside(const struct folder *f, const struct party *q)
{
    if (!q->asks->solve.fold.pre || q->asks->solve.fold.exact || !fold_needs_exact(f, q)) return false;
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        const struct plan_item *item = &f->p->items[f->by_block[k]];
        if (fold_reads(q, item) && item->solve.fold.pre && fold_no_pre_scale(f->p, item)) return false;
    }
    return true;
}

/* Linears that see one input have one scale: engines multiply with them as one. */
static bool inputs_party(struct folder *f, struct party *q, uint32_t owner)
{
    const struct plan *p = f->p;
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        const struct plan_item *item = &p->items[f->by_block[k]];
        if (solve_owner(p, f->by_block[k]) != owner) continue;
        const char *why = fold_no_pre_scale(p, item);
        if (why) fold_refuse(q, item, why);
        if (!fold_same_choice(f, q, item)) return false;
    }
    return true;
}

static bool join_inputs(struct folder *f, uint32_t block, uint32_t owner)
{
    struct plan *p = f->p;
    const struct plan_item *lead = &p->items[owner];
    if (!fold_reserve(f)) return false;
    uint32_t number = p->n_folds++;
    p->folds[number] = (struct plan_fold){.name = arena_printf(p->arena, "%s.input_fold_scale", lead->tensor->module),
                                          .maker = lead->tensor->module,
                                          .kind = FOLD_INPUT,
                                          .block = block,
                                          .first_maker = owner,
                                          .n = (uint32_t)lead->tensor->dims[1],
                                          .choice = lead->solve.fold,
                                          .exact = lead->solve.fold.exact};
    if (!p->folds[number].name) return error_memory(f->err, 0);
    for (uint32_t k = f->first[block]; k < f->first[block + 1]; k++)
        if (solve_owner(p, f->by_block[k]) == owner) p->items[f->by_block[k]].fold_in = number;
    return true;
}

bool fold_settle_inputs(struct folder *f, uint32_t block, uint32_t i)
{
    const struct plan_item *lead = &f->p->items[i];
    struct party q = {.block = block, .asks = lead};
    enum tensor_role role = lead->tensor->place.role;
    if (!lead->solve.fold.pre || lead->fold_in != NAME_NONE || solve_owner(f->p, i) != i) return true;
    if (!inputs_party(f, &q, i)) return false;
    if (!q.why) return join_inputs(f, block, i);
    if (f->noted[role]) return true;
    f->noted[role] = true;
    return plan_note(f->p, f->err, "solve: %s: '%.128s' keeps its channels as they are: '%.128s' %s",
                     solve_label(&lead->solve), lead->tensor->module, q.bad->tensor->name, q.why);
}

bool plan_item_pre_scaled(const struct plan *p, const struct plan_item *item)
{
    if (item->action == ACTION_COPY) return !item->decoded && item->tensor->parts[PART_PRE_QUANT_SCALE] != NAME_NONE;
    return item->fold_in != NAME_NONE && p->folds[item->fold_in].kind == FOLD_INPUT;
}
