#include "plan/fold_impl.h"

static bool settle(struct folder *f, struct party *q)
{
    enum fold_maker kind = FOLD_ROWS;
    if (!fold_look(f, q)) return false;
    if (!q->asks) return true;
    if (q->first_maker && !fold_maker_kind(q, &f->p->inventory->config, &kind))
        fold_refuse(q, q->first_maker, "has an activation behind it that passes no scale on");
    if (!q->first_maker) return true; /* told at the end */
    if (q->why) return fold_note(f, q);
    return fold_better_beside(f, q) || fold_join(f, q, kind);
}

static bool block_row(struct folder *f, uint32_t block, const struct fold_row *row)
{
    const struct model_config *cfg = &f->p->inventory->config;
    if (!(row->kinds & KIND(cfg->blocks[block].kind))) return true;
    if (row->when != ALWAYS && (row->when == WITH_LATENT) != cfg->moe.has_latent) return true;
    if (!row->per_expert) return settle(f, &(struct party){.row = row, .block = block, .expert = -1});
    for (uint32_t e = 0; e < cfg->moe.n_experts; e++)
        if (!settle(f, &(struct party){.row = row, .block = block, .expert = (int32_t)e})) return false;
    return true;
}

/* Lines that fold nothing at all are mistakes; linears of others that stay are named, one per role. */
static bool check_left(struct folder *f)
{
    const struct plan *p = f->p;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        enum tensor_role role = item->tensor->place.role;
        if (item->solve.fold.method == FOLD_NONE || item->fold_in != NAME_NONE || f->noted[role]) continue;
        f->noted[role] = true;
        bool any = p->recipe->published;
        for (uint32_t k = 0; k < p->n_items && !any; k++)
            any = p->items[k].fold_in != NAME_NONE && p->items[k].solve.fold.method != FOLD_NONE &&
                  strcmp(p->items[k].reason, item->reason) == 0;
        const char *why = item->tensor->place.mtp ? "calibration does not run the multi-token-prediction head"
                                                  : "nothing in front of it can take a scale per channel";
        if (!any)
            return error_set(f->err, ERR_UNSUPPORTED, "recipe '%s': %s: tensor '%.256s': solve: %s folds nothing: %s",
                             p->recipe->name, item->reason, item->tensor->name, solve_label(&item->solve), why);
        if (!plan_note(f->p, f->err, "solve: %s: '%.128s' keeps its channels as they are: %s",
                       solve_label(&item->solve), item->tensor->module, why))
            return false;
    }
    return true;
}

/* Items by block, counted and then laid out. */
static bool sort_items(struct folder *f, uint32_t n_blocks)
{
    const struct plan *p = f->p;
    f->first = arena_alloc(p->arena, (size_t)n_blocks + 2, sizeof *f->first);
    f->by_block = arena_alloc(p->arena, (size_t)p->n_items + 1, sizeof *f->by_block);
    if (!f->first || !f->by_block) return error_memory(f->err, p->n_items * sizeof *f->by_block);
    memset(f->first, 0, (n_blocks + 2) * sizeof *f->first);
    for (uint32_t i = 0; i < p->n_items; i++)
        if (fold_in_trunk(p->items[i].tensor)) f->first[p->items[i].tensor->place.block + 2]++;
    for (uint32_t b = 2; b < n_blocks + 2; b++) f->first[b] += f->first[b - 1];
    for (uint32_t i = 0; i < p->n_items; i++)
        if (fold_in_trunk(p->items[i].tensor)) f->by_block[f->first[p->items[i].tensor->place.block + 1]++] = i;
    return true;
}

bool plan_fold(struct plan *p, struct error *err)
{
    struct folder f = {.p = p, .err = err};
    bool asked = false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        asked |= p->items[i].solve.fold.method != FOLD_NONE;
        p->items[i].fold_in = p->items[i].fold_out = NAME_NONE;
    }
    if (!asked) return true;
    uint32_t n_blocks = p->inventory->config.n_blocks;
    if (!sort_items(&f, n_blocks)) return false;
    for (uint32_t b = 0; b < n_blocks; b++) {
        for (size_t r = 0; r < fold_table_rows; r++)
            if (!block_row(&f, b, &fold_table[r])) return false;
        for (uint32_t k = f.first[b]; k < f.first[b + 1]; k++)
            if (!fold_settle_inputs(&f, b, f.by_block[k])) return false;
    }
    return check_left(&f);
}
