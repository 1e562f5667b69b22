/* Folding: who makes the channels that a linear reads, and who else reads them. A scale per channel divides the maker
 * (a norm's weight, the rows of a linear) and multiplies the columns of all readers, so that the model computes what it
 * did (numeric/fold_scale.h) and quantizes better. Which maker feeds which readers is a table, by block
 * kind (plan/fold_table.c).
 */
#ifndef PLAN_FOLD_H
#define PLAN_FOLD_H

#include "plan/plan.h"

enum fold_maker {
    FOLD_NORM,     /* a norm's weight: w / s */
    FOLD_NORM_ONE, /* a norm that multiplies with 1 + w */
    FOLD_ROWS,     /* rows of one linear or of several, and their biases */
    FOLD_ROOT,     /* the same behind which stands a square: divided by the root of s */
    FOLD_INPUT     /* nobody: the inputs themselves are, by the readers' pre_quant_scale, 1 / s in their type */
};

/* Everything that changes with one vector of scales. Its members are the items whose fold_in (columns) or fold_out
 * (maker: rows, elements) is the number of this. */
struct plan_fold {
    const char *name;  /* of the vector in the statistics: "model.layers.0.mlp.up_proj.fold_scale" */
    const char *maker; /* "model.layers.0.mlp.up_proj"; of several the first */
    enum fold_maker kind;
    uint32_t block, first_maker;
    uint32_t n;              /* channels */
    const uint32_t *columns; /* [readers' columns]: the channel of each; NULL: its own */
    struct fold_choice choice;
    bool exact; /* powers of two: it is asked for, or a member stays in its own type */
};

/* Fills p->folds and the items' fold_in and fold_out from what the items' lines ask for. A group of which one member
 * cannot change stays as it is, with a note; an error when a line folds nothing at all. */
MUST_CHECK bool plan_fold(struct plan *p, struct error *err);
/* True when a pre_quant_scale stands beside what is written of the item. */
bool plan_item_pre_scaled(const struct plan *p, const struct plan_item *item);
static inline bool plan_item_folds(const struct plan_item *item)
{
    return item->fold_in != NAME_NONE || item->fold_out != NAME_NONE;
}
/* Whether output o of the plan has the bytes of its source: not coded, not decoded, not folded. */
static inline bool plan_output_is_copy(const struct plan *p, uint32_t o)
{
    const struct plan_output *out = &p->outputs[o];
    const struct plan_item *item = &p->items[out->item];
    if (out->source == NAME_NONE) return false;
    if (item->action == ACTION_QUANTIZE) return out->part == PART_K_SCALE || out->part == PART_V_SCALE;
    return out->part != PART_WEIGHT || (!item->decoded && !plan_item_folds(item));
}
json_t *plan_folds_json(const struct plan *p); /* what calibration is asked to find; new reference */

/* What calibrate keeps of a block's inputs to choose scales and clips: rows of each linear's input at most, a
 * magnitude and a sum per column. */
#define FOLD_SAMPLE_ROWS 512u
#define FOLD_SAMPLE_ROWS_EXPERT 128u /* of each expert */
/* True when the input of item i is kept: owners of shared inputs (plan/solve_parts.h) alone. */
bool plan_fold_watches(const struct plan *p, uint32_t i);
uint32_t plan_fold_sample_rows(const struct plan_item *item);
uint64_t plan_fold_bytes(const struct plan *p);        /* of the largest block */
#define FOLD_TILE 128u                                 /* rows of a weight that a thread looks at together */
uint64_t plan_fold_worker_bytes(const struct plan *p); /* what each thread works in, at most */

/* The factors of one item, expanded: by [columns], over [rows, or elements of what has no columns]; NULL: none. */
struct fold_factors {
    float *by, *over;
};
void fold_factors_free(struct fold_factors *f);
static inline void cleanup_fold_factors(struct fold_factors *f)
{
    fold_factors_free(f);
}
/* in, out: the vectors of item's fold_in and fold_out, or NULL. */
MUST_CHECK bool fold_factors_make(const struct plan *p, uint32_t item, const float *in, const float *out,
                                  struct fold_factors *f, struct error *err);
/* Elements [first, first + n) of an item's weight, in its own type; dst may be src. */
void fold_apply(const struct plan *p, uint32_t item, const struct fold_factors *f, enum dtype dtype, uint64_t first,
                uint64_t n, const void *src, void *dst);

#endif
