/* Which tensors are read, in which order and what for: all of it known before the first byte is. */
#include "quantize/job.h"

#include "core/memory.h"

struct maker {
    struct job *j;
    uint32_t capacity;
    bool *scanned;             /* [n_groups] */
    const uint32_t *n_members; /* [n_groups] */
    struct error *err;
};

const struct tensor_info *pass_source(const struct job *j, const struct pass *p)
{
    if (p->kind != PASS_COPY && p->kind != PASS_FOLD) return plan_matrix(j->plan, &j->plan->items[p->item]);
    return checkpoint_tensor(j->plan->inventory->checkpoint, p->source);
}

struct plan_cut pass_cut(const struct job *j, const struct pass *p)
{
    const struct tensor_info *t = pass_source(j, p);
    uint64_t piece = j->workspace.piece_bytes;
    if (p->kind == PASS_FOLD) piece = piece < 8 ? 8 : piece / 8 * 8; /* whole elements */
    return p->kind == PASS_COPY || p->kind == PASS_FOLD ? plan_cut_bytes(t->bytes, piece)
                                : plan_cut_item(j->plan, &j->plan->items[p->item], piece);
}

static bool add(struct maker *m, struct pass p)
{
    struct job *j = m->j;
    if (j->n_passes == m->capacity) {
        uint32_t capacity = m->capacity ? 2 * m->capacity : 256;
        struct pass *grown = realloc(j->passes, capacity * sizeof *grown);
        if (!grown) return error_memory(m->err, capacity * sizeof *grown);
        j->passes = grown;
        m->capacity = capacity;
    }
    j->ring.n_pieces += pass_cut(j, &p).n_pieces;
    j->passes[j->n_passes++] = p;
    return true;
}

static bool same_layer(const struct plan *p, uint32_t a, uint32_t b)
{
    return p->items[a].tensor->place.layer == p->items[b].tensor->place.layer &&
           p->items[a].tensor->place.mtp == p->items[b].tensor->place.mtp;
}

/* The group's members except item i itself, which is read anyway. After a resume they may lie in front of i, in a shard
 * that is done. */
static bool scan_others(struct maker *m, uint32_t i)
{
    const struct plan *p = m->j->plan;
    uint32_t k = i;
    /* Nearly all: layers may have thousands of experts. A stack is read as a whole. */
    if (m->n_members[p->items[i].group] == 1 || p->items[i].stack) return true;
    while (k > 0 && same_layer(p, k - 1, i)) k--;
    for (; k < p->n_items && same_layer(p, k, i); k++)
        if (k != i && p->items[k].group == p->items[i].group &&
            !add(m, (struct pass){.kind = PASS_SCAN, .item = k, .source = p->items[k].tensor->parts[PART_WEIGHT]}))
            return false;
    return true;
}

/* A cache scale of the source beside a linear that changes its type. */
static bool keep_cache(struct maker *m, uint32_t i)
{
    const struct plan_item *item = &m->j->plan->items[i];
    uint32_t last = item->first_output + item->n_outputs - 1, source = m->j->plan->outputs[last].source;
    enum tensor_part part = m->j->plan->outputs[last].part;
    if ((part != PART_K_SCALE && part != PART_V_SCALE) || source == NAME_NONE) return true;
    return add(m, (struct pass){.kind = PASS_COPY, .item = i, .source = source, .output = last});
}

static bool quantize_item(struct maker *m, uint32_t i)
{
    const struct plan_item *item = &m->j->plan->items[i];
    if (!keep_cache(m, i)) return false;
    struct pass p = {.kind = PASS_ENCODE,
                     .item = i,
                     .source = item->stack ? item->stack->base : item->tensor->parts[PART_WEIGHT],
                     .output = item->first_output,
                     .ends_item = true};
    if (!quant_format_has_tensor_scale(item->format)) {
        p.kind = PASS_EACH;
        return add(m, p);
    }
    if (m->scanned[item->group]) return add(m, p);
    m->scanned[item->group] = true;
    if (!scan_others(m, i)) return false;
    if (pass_cut(m->j, &p).n_pieces <= m->j->workspace.n_held) {
        p.kind = PASS_KEEP;
        return add(m, p);
    }
    return add(m, (struct pass){.kind = PASS_SCAN, .item = i, .source = p.source}) && add(m, p);
}

static bool copy_item(struct maker *m, uint32_t i)
{
    const struct plan_item *item = &m->j->plan->items[i];
    for (uint32_t k = 0; k < item->n_outputs; k++) {
        uint32_t output = item->first_output + k;
        uint32_t source = m->j->plan->outputs[output].source;
        if (source == NAME_NONE) continue; /* a cache scale: not in the source */
        bool decode = item->decoded && m->j->plan->outputs[output].part == PART_WEIGHT;
        struct pass p = {.kind = decode ? PASS_DECODE : PASS_COPY, .item = i, .source = source, .output = output};
        if (piece_is_folded(m->j, &p)) p.kind = PASS_FOLD;
        if (!add(m, p)) return false;
    }
    m->j->passes[m->j->n_passes - 1].ends_item = true; /* every item has a weight */
    return true;
}

bool job_make_passes(struct job *j, struct error *err)
{
    const struct plan *p = j->plan;
    CLEANUP(free) bool *scanned = NULL;
    CLEANUP(free) uint32_t *n_members = NULL;
    if (!memory_zalloc(&scanned, p->n_groups, sizeof *scanned, err) ||
        !memory_zalloc(&n_members, p->n_groups, sizeof *n_members, err))
        return false;
    for (uint32_t i = 0; i < p->n_items; i++) n_members[p->items[i].group]++;
    struct maker m = {.j = j, .scanned = scanned, .n_members = n_members, .err = err};
    for (uint32_t i = 0; i < p->n_items; i++) {
        if (!job_needs_item(j, i)) continue; /* nor those that have no outputs: of a stack, all but one */
        if (!(p->items[i].action == ACTION_QUANTIZE ? quantize_item(&m, i) : copy_item(&m, i))) return false;
    }
    return true;
}
