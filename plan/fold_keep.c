/* What calibration is asked to find, and what it keeps for that. */
#include "plan/fold_impl.h"

#include "plan/solve_parts.h"

static const char *const kind_names[] = {[FOLD_NORM] = "norm",
                                         [FOLD_NORM_ONE] = "norm around zero",
                                         [FOLD_ROWS] = "rows",
                                         [FOLD_ROOT] = "rows, by the root",
                                         [FOLD_INPUT] = "inputs"};

json_t *plan_folds_json(const struct plan *p)
{
    json_t *list = json_array();
    for (uint32_t g = 0; list && g < p->n_folds; g++) {
        const struct plan_fold *fold = &p->folds[g];
        json_array_append_new(list, json_pack("{s:s,s:s,s:i,s:b,s:o}", "maker", fold->maker, "kind",
                                              kind_names[fold->kind], "channels", (int)fold->n, "exact", fold->exact,
                                              "choice", fold_json(&fold->choice)));
    }
    return list;
}

uint32_t plan_fold_sample_rows(const struct plan_item *item)
{
    return item->tensor->place.expert >= 0 ? FOLD_SAMPLE_ROWS_EXPERT : FOLD_SAMPLE_ROWS;
}

static bool looks_at(const struct plan_item *item)
{
    bool linear = role_info(item->tensor->place.role)->kind == KIND_LINEAR;
    return fold_in_trunk(item->tensor) && linear && (item->fold_in != NAME_NONE || item->solve.method == SOLVE_CLIP);
}

bool plan_fold_watches(const struct plan *p, uint32_t i)
{
    return looks_at(&p->items[i]) && solve_owner(p, i) == i;
}

uint64_t plan_fold_bytes(const struct plan *p)
{
    uint64_t most = 0, sum = 0;
    int32_t block = -1;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct model_tensor *t = p->items[i].tensor;
        if (!plan_fold_watches(p, i)) continue;
        if (t->place.block != block) sum = 0;
        block = t->place.block;
        sum += t->dims[1] * (sizeof(float) + sizeof(double) + 2 * (uint64_t)plan_fold_sample_rows(&p->items[i]));
        if (sum > most) most = sum;
    }
    return most;
}

/* A dozen copies of a tile: source, fp32, rounded, codes and scales, what is left, a piece of the sample. */
uint64_t plan_fold_worker_bytes(const struct plan *p)
{
    uint64_t widest = 0;
    for (uint32_t i = 0; i < p->n_items; i++)
        if (plan_fold_watches(p, i) && p->items[i].tensor->dims[1] > widest) widest = p->items[i].tensor->dims[1];
    return widest * FOLD_TILE * 12 * sizeof(float);
}
