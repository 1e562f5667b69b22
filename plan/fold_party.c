/* Who takes part in one row of the table in one block, and who of them cannot change. */
#include "plan/fold_impl.h"

bool fold_reads(const struct party *q, const struct plan_item *item)
{
    const struct tensor_place *at = &item->tensor->place;
    for (uint32_t k = 0; k < q->row->n_readers; k++)
        if (q->row->readers[k] == at->role) return q->expert < 0 || at->expert == q->expert;
    return false;
}

bool fold_makes(const struct party *q, const struct plan_item *item)
{
    const struct tensor_place *at = &item->tensor->place;
    return at->role == q->row->maker && (q->expert < 0 || at->expert == q->expert);
}

/* Why a member's weight cannot be changed as it streams past; NULL: it can. */
const char *fold_fixed(const struct plan *p, const struct plan_item *item)
{
    const struct tensor_info *w = checkpoint_tensor(p->inventory->checkpoint, item->tensor->parts[PART_WEIGHT]);
    if (item->tensor->format || item->decoded) return "is quantized in the source";
    if (w->view || item->stack) return "lies in a stack of experts";
    if (!dtype_is_plain_float(w->dtype)) return "is of no type that can be scaled";
    if (solve_by_moments(&item->solve)) return "is solved for its inputs as they are";
    return NULL;
}

const struct plan_item *fold_bias(const struct plan *p, const struct model_tensor *t)
{
    char name[1024];
    snprintf(name, sizeof name, "%s.bias", t->module);
    const struct model_tensor *bias = inventory_find_name(p->inventory, name);
    return bias ? &p->items[bias - p->inventory->tensors] : NULL;
}

void fold_refuse(struct party *q, const struct plan_item *who, const char *why)
{
    if (q->why) return;
    q->why = why;
    q->bad = who;
}

bool fold_same_choice(struct folder *f, const struct party *q, const struct plan_item *item)
{
    if (!q->asks || fold_choice_equal(&q->asks->solve.fold, &item->solve.fold)) return true;
    return error_set(f->err, ERR_UNSUPPORTED,
                     "recipe '%s': '%.200s' and '%.200s' read the same channels, and their lines fold differently",
                     f->p->recipe->name, q->asks->tensor->name, item->tensor->name);
}

/* Finds the members; q->asks stays NULL when no reader wants to be folded. */
bool fold_look(struct folder *f, struct party *q)
{
    const struct plan *p = f->p;
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        const struct plan_item *item = &p->items[f->by_block[k]];
        bool reads = fold_reads(q, item), makes = fold_makes(q, item);
        if (!reads && !makes) continue;
        const char *why = fold_fixed(p, item);
        if (why) fold_refuse(q, item, why);
        if (makes && !q->first_maker) q->first_maker = item;
        const struct plan_item *bias = makes ? fold_bias(p, item->tensor) : NULL;
        if (bias && fold_fixed(p, bias)) fold_refuse(q, bias, fold_fixed(p, bias));
        if (reads && item->observe_input && item->observer.method != OBSERVER_MAX) q->observed = item;
        if (!reads || item->solve.fold.method == FOLD_NONE) continue;
        if (!fold_same_choice(f, q, item)) return false;
        q->asks = item;
    }
    if (!q->asks || !q->observed) return true;
    return error_set(
        f->err, ERR_UNSUPPORTED,
        "recipe '%s': tensor '%.256s': observer: %s cannot follow a scale per channel, which solve: %s makes",
        p->recipe->name, q->observed->tensor->name, observer_name(q->observed->observer.method),
        solve_label(&q->asks->solve));
}

/* A member that stays in its own type would be rounded once more: routers in bf16 flip choices by that. Norms do not
 * count, since what their rounding leaves is what the columns get. */
bool fold_needs_exact(const struct folder *f, const struct party *q)
{
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        const struct plan_item *item = &f->p->items[f->by_block[k]];
        bool makes = fold_makes(q, item) && (q->row->how == BY_ROWS || q->row->how == BY_MLP);
        if ((makes || fold_reads(q, item)) && item->action != ACTION_QUANTIZE) return true;
    }
    return false;
}

bool fold_in_trunk(const struct model_tensor *t)
{
    return t->place.block >= 0 && !t->place.mtp;
}
