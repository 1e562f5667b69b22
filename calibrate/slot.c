#include "calibrate/slot.h"

#include "core/bytes.h"
#include "core/memory.h"
#include "plan/plan_stack.h"

void slot_lay_out(struct slot *slot, const struct plan *p, struct work *w)
{
    const struct plan_item *item = &p->items[slot->item];
    uint64_t rows = item->tensor->dims[0];
    slot->n_parts = solved_parts(item, slot->kinds);
    for (uint32_t k = 0; k < slot->n_parts; k++) {
        const struct solved_part *part = &slot->kinds[k];
        slot->parts[k] = (struct solved_tensor){.dtype = part->dtype,
                                                .n_dims = 2,
                                                .dims = {rows, part->row_bytes / dtype_bytes(part->dtype)},
                                                .bytes = rows * part->row_bytes,
                                                .at = work_reserve(w, rows * part->row_bytes)};
    }
}

static bool source_digest(const struct plan *p, uint32_t t, struct digest *out, struct error *err)
{
    enum { PIECE = 1 << 20 };
    const struct checkpoint *ck = p->inventory->checkpoint;
    uint64_t bytes = checkpoint_tensor(ck, t)->bytes;
    CLEANUP(free) uint8_t *piece = NULL;
    struct sha256 *h;
    if (!memory_alloc(&piece, PIECE, 1, err) || !sha256_open(&h, err)) return false;
    bool ok = true;
    for (uint64_t at = 0; ok && at < bytes; at += PIECE) {
        size_t n = (size_t)u64_min(PIECE, bytes - at);
        ok = checkpoint_read(ck, t, at, piece, n, err);
        if (ok) sha256_add(h, piece, n);
    }
    return sha256_close(h, ok ? out : NULL, err) && ok;
}

bool slot_store(struct slot *slot, const struct plan *p, const struct work *w, const struct gptq_result *r,
                struct error *err)
{
    const struct plan_item *item = &p->items[slot->item];
    struct digest source = {{0}};
    if (!item->stack && !source_digest(p, item->tensor->parts[PART_WEIGHT], &source, err)) return false;
    for (uint32_t k = 0; k < slot->n_parts; k++) {
        const void *const rooms[] = {[SOLVED_CODES] = r->codes, [SOLVED_BYTES] = r->bytes, [SOLVED_FLOATS] = r->floats};
        struct solved_tensor *t = &slot->parts[k];
        const void *data = rooms[slot->kinds[k].room];
        t->source = source;
        if (!sha256_of(bytes_of(data, t->bytes), &t->digest, err) || !work_write(w, t->at, data, t->bytes, err))
            return false;
    }
    return true;
}

/* Of the stored stack, which quantize reads as a whole; once for all its experts. */
static bool stack_digest(struct work *w, const struct plan *p, uint32_t base, struct digest *out, struct error *err)
{
    for (uint32_t k = 0; k < WORK_STACKS; k++)
        if (w->stacks[k].base == base + 1) {
            *out = w->stacks[k].is;
            return true;
        }
    if (!source_digest(p, base, out, err)) return false;
    uint32_t k = w->n_stacks++ % WORK_STACKS;
    w->stacks[k].base = base + 1;
    w->stacks[k].is = *out;
    return true;
}

bool slot_add(struct slot *slot, const struct plan *p, struct work *w, struct error *err)
{
    const struct plan_stack *stack = p->items[slot->item].stack;
    struct stats *s = w->stats;
    struct digest source;
    if (stack && !stack_digest(w, p, stack->base, &source, err)) return false;
    for (uint32_t k = 0; k < slot->n_parts; k++) {
        char name[1024];
        if (stack) slot->parts[k].source = source;
        snprintf(name, sizeof name, "%s.%s", p->items[slot->item].tensor->module,
                 tensor_part_suffix(slot->kinds[k].part));
        slot->parts[k].name = name;
        if (!stats_add_solved(s, &slot->parts[k], err)) return false;
    }
    return stats_add_gain(s, &slot->gain, err);
}
