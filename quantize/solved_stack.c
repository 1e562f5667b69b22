/* Solved experts that are written as a stack (plan/plan_stack.h): each projection of the piece's expert comes whole
 * from the statistics, and its rows go to their places among the stack's outputs. */
#include "quantize/job.h"

#include "core/memory.h"
#include "plan/solved_parts.h"

static bool take_part(const struct job *j, const struct slot *s, uint32_t i, const struct solved_part *part,
                      struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    const struct solved_tensor *t = job_find_solved(j, i, part->part, err);
    struct plan_member at = plan_stack_member(j->plan, item);
    uint8_t *const rooms[] = {[SOLVED_CODES] = s->lane->dst,
                              [SOLVED_BYTES] = s->lane->dst_scale,
                              [SOLVED_FLOATS] = (uint8_t *)(void *)s->lane->dst_f32};
    CLEANUP(free) uint8_t *data = NULL;
    struct digest is;
    if (!t || !memory_alloc(&data, t->bytes, 1, err) || !stats_read_solved(j->stats, t, 0, data, t->bytes, err) ||
        !sha256_of(bytes_of(data, t->bytes), &is, err))
        return false;
    if (!digest_equal(&t->digest, &is))
        return error_set(err, ERR_FORMAT, "solved tensor '%.256s' of the statistics has other bytes than were solved",
                         t->name);
    for (uint64_t r = 0; r < item->tensor->dims[0]; r++) /* job_check_solved has compared the size */
        memcpy(rooms[part->room] + (at.first + r * at.step) * part->row_bytes, data + r * part->row_bytes,
               part->row_bytes);
    return true;
}

bool piece_take_stack(const struct job *j, const struct slot *s, struct error *err)
{
    const struct plan *p = j->plan;
    const struct plan_stack *stack = p->items[s->pass->item].stack;
    uint64_t expert = s->at.row / s->at.n_rows;
    struct solved_part parts[SOLVED_PARTS_MAX];
    uint32_t n = solved_parts(&p->items[s->pass->item], parts);
    for (uint32_t i = stack->lead, found = 0; i < p->n_items && found < stack->n_items; i++) {
        if (p->items[i].stack != stack) continue;
        found++;
        if (p->items[i].tensor->place.expert != (int32_t)expert) continue;
        for (uint32_t k = 0; k < n; k++)
            if (!take_part(j, s, i, &parts[k], err)) return false;
    }
    return true;
}
