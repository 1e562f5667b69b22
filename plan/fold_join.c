/* A party becomes a fold of the plan: its channels, and the number of it in its members. */
#include "plan/fold_impl.h"

#include "core/memory.h"

static uint32_t kv_channel(const struct attention_config *a, uint32_t column)
{
    uint32_t head = column / a->head_dim / (a->n_heads / a->n_kv_heads);
    return head * a->head_dim + column % a->head_dim;
}

static bool map_columns(struct folder *f, const struct party *q, struct plan_fold *g)
{
    const struct model_config *cfg = &f->p->inventory->config;
    const struct attention_config *a = block_attention_config(cfg, &cfg->blocks[q->block]);
    uint32_t n = (uint32_t)q->asks->tensor->dims[1];
    bool one_by_one = q->row->columns == AS_THEY_ARE || n == g->n;
    if (n % g->n || (one_by_one && n != g->n))
        return error_set(f->err, ERR_INTERNAL, "'%.256s' makes %u channels and '%.256s' reads %u", g->maker, g->n,
                         q->asks->tensor->name, n);
    if (one_by_one) return true;
    uint32_t *map = arena_alloc(f->p->arena, n, sizeof *map);
    if (!map) return error_memory(f->err, n * sizeof *map);
    for (uint32_t c = 0; c < n; c++) map[c] = q->row->columns == OF_KV_HEADS ? kv_channel(a, c) : c % g->n;
    g->columns = map;
    return true;
}

static void set_maker(struct plan *p, const struct model_tensor *t, uint32_t number)
{
    const struct plan_item *bias = fold_bias(p, t);
    p->items[t - p->inventory->tensors].fold_out = number;
    if (bias) p->items[bias - p->items].fold_out = number;
}

bool fold_reserve(struct folder *f)
{
    struct plan *p = f->p;
    if (p->n_folds < f->capacity) return true;
    uint32_t capacity = f->capacity ? 2 * f->capacity : 64;
    struct plan_fold *grown = arena_alloc(p->arena, capacity, sizeof *grown);
    if (!grown) return error_memory(f->err, capacity * sizeof *grown);
    if (p->n_folds) memcpy(grown, p->folds, p->n_folds * sizeof *grown);
    p->folds = grown;
    f->capacity = capacity;
    return true;
}

bool fold_join(struct folder *f, struct party *q, enum fold_maker kind)
{
    struct plan *p = f->p;
    uint32_t number = p->n_folds;
    const struct model_tensor *maker = q->first_maker->tensor;
    if (!fold_reserve(f)) return false;
    /* A norm's module is its name with ".weight" gone; what has none keeps its name. */
    struct plan_fold *g = &p->folds[number];
    *g = (struct plan_fold){.name = arena_printf(p->arena, "%s.fold_scale", maker->module),
                            .maker = maker->module,
                            .kind = kind,
                            .block = q->block,
                            .first_maker = (uint32_t)(q->first_maker - p->items),
                            .n = (uint32_t)maker->dims[0],
                            .choice = q->asks->solve.fold};
    if (!g->name) return error_memory(f->err, 0);
    g->exact = g->choice.exact || fold_needs_exact(f, q);
    if (!map_columns(f, q, g)) return false;
    p->n_folds++;
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        struct plan_item *item = &p->items[f->by_block[k]];
        if (fold_reads(q, item)) item->fold_in = number;
        if (!fold_makes(q, item)) continue;
        set_maker(p, item->tensor, number);
    }
    return true;
}

bool fold_note(struct folder *f, const struct party *q)
{
    enum tensor_role role = q->asks->tensor->place.role;
    if (f->noted[role] || q->asks->solve.fold.pre) return true;
    f->noted[role] = true;
    return plan_note(f->p, f->err, "solve: %s: '%.128s' keeps its channels as they are: '%.128s' %s",
                     solve_label(&q->asks->solve), q->asks->tensor->module, q->bad->tensor->name, q->why);
}
