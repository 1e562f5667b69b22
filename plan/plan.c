/* The plan of a run: built in the order of `build`, each step in a file of its own (plan_impl.h). */
#include "plan/fold.h"
#include "plan/plan_impl.h"
#include "plan/requantize.h"
#include "plan/solve_parts.h"
#include "plan/workspace.h"

#define NOTES_MAX 16u

bool plan_note(struct plan *p, struct error *err, const char *fmt, ...)
{
    char text[512];
    va_list args;
    if (!p->notes) p->notes = arena_alloc(p->arena, NOTES_MAX, sizeof *p->notes);
    if (!p->notes) return error_memory(err, 0);
    if (p->n_notes == NOTES_MAX) return true;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return (p->notes[p->n_notes++] = arena_text(p->arena, text)) ? true : error_memory(err, 0);
}

static bool check_lines(struct plan_builder *b)
{
    struct plan *p = b->plan;
    const struct recipe *r = p->recipe;
    if (!plan_check_never(p, b->line_used, b->err) || !plan_check_mamba(p, b->err)) return false;
    const char **list = arena_alloc(p->arena, r->n_lines + 1, sizeof *list);
    if (!list) return error_memory(b->err, 0);
    for (uint32_t i = 0; i < r->n_lines; i++) {
        if (b->line_used[i]) continue;
        if (!r->published && !r->lines[i].optional)
            return error_set(b->err, ERR_FORMAT,
                             "recipe '%s': %s matches nothing in this checkpoint (optional: true allows that)", r->name,
                             r->lines[i].label);
        list[p->n_unmatched++] = r->lines[i].text;
    }
    p->unmatched = list;
    if (!r->copies && p->quantized_elems == 0 && p->n_folds == 0)
        return error_set(b->err, ERR_FORMAT, "recipe '%s' quantizes nothing in this checkpoint", r->name);
    return true;
}

static bool build(struct plan_builder *b)
{
    struct plan *p = b->plan;
    const struct inventory *inv = p->inventory;
    p->n_items = inv->n_tensors;
    p->items = arena_alloc(p->arena, p->n_items + 1, sizeof *p->items);
    if (!p->items) return error_memory(b->err, p->n_items * sizeof *p->items);
    if (!plan_check_source(p, b->err)) return false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        p->items[i].tensor = &inv->tensors[i];
        if (!plan_decide(b, &p->items[i]) || !plan_decode(p, &p->items[i], b->err)) return false;
    }
    if (!plan_join_stacks(b)) return false;
    if (!plan_group(b) || !plan_check_containers(b) || !plan_decide_cache(b) || !plan_fold(p, b->err) ||
        !plan_make_outputs(b) || !check_lines(b))
        return false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        p->needs_data |= item->observe_input || item->kv_observed || item->solve.method != SOLVE_NONE;
    }
    p->needs_data |= p->n_folds > 0;
    struct plan_workspace w = plan_workspace_for(p, PLAN_PIECE_BYTES, PLAN_HOLD_BYTES);
    p->workspace_bytes = plan_workspace_bytes(&w);
    struct solve_needs needs;
    if (!solve_needs(p, PLAN_SOLVE_BYTES, &needs, b->err)) return false;
    uint64_t sampled = plan_fold_bytes(p);
    p->solve_bytes = needs.bytes + sampled;
    p->solve_passes = needs.most_parts ? needs.most_parts : sampled > 0;
    return plan_digests(p, b->err);
}

bool plan_build(struct plan **out, const struct inventory *inv, const struct recipe *recipe, struct error *err)
{
    *out = NULL;
    struct plan *p = calloc(1, sizeof *p);
    CLEANUP(free) bool *line_used = calloc(recipe->n_lines + 1, 1);
    if (p) p->arena = arena_new();
    if (!p || !line_used || !p->arena) {
        plan_free(p);
        return error_memory(err, sizeof *p);
    }
    p->inventory = inv;
    p->recipe = recipe;
    struct plan_builder b = {.plan = p, .line_used = line_used, .err = err};
    if (!build(&b)) {
        plan_free(p);
        return false;
    }
    *out = p;
    return true;
}

void plan_free(struct plan *p)
{
    if (!p) return;
    arena_free(p->arena);
    free(p);
}

double plan_effective_bits(const struct plan *p)
{
    return p->total_elems ? 8.0 * (double)p->write_bytes / (double)p->total_elems : 0;
}
