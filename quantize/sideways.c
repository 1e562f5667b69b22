/* Stacks whose blocks run along their first dimension (plan/plan_stack.h): pieces are turned before they are encoded,
 * so that columns are rows, and what comes out is turned back. */
#include "quantize/job.h"

#include "core/memory.h"

#define TILE 32u /* rows and columns at a time, so that both sides stay in the first-level cache */

/* [rows, cols] of elements of `elem` bytes to [cols, rows]. */
void turn_rows(const uint8_t *from, uint64_t rows, uint64_t cols, uint64_t elem, uint8_t *to)
{
    for (uint64_t r = 0; r < rows; r += TILE)
        for (uint64_t c = 0; c < cols; c += TILE)
            for (uint64_t i = r; i < u64_min(r + TILE, rows); i++)
                for (uint64_t k = c; k < u64_min(c + TILE, cols); k++)
                    memcpy(to + (k * rows + i) * elem, from + (i * cols + k) * elem, elem);
}

bool turn_in_place(uint8_t *data, uint64_t rows, uint64_t cols, uint64_t elem, struct error *err)
{
    CLEANUP(free) uint8_t *turned = NULL;
    if (!memory_alloc(&turned, rows * cols, elem, err)) return false;
    turn_rows(data, rows, cols, elem, turned);
    memcpy(data, turned, rows * cols * elem);
    return true;
}

bool is_sideways(const struct job *j, const struct slot *s)
{
    const struct plan_stack *stack = j->plan->items[s->pass->item].stack;
    return s->pass->kind != PASS_COPY && stack && stack->sideways;
}

bool piece_read_sideways(const struct job *j, struct slot *s, struct error *err)
{
    const struct tensor_info *t = pass_source(j, s->pass);
    piece_drop_raw(s);
    s->raw_bytes = s->bytes;
    if (s->bytes == 0) return true;
    if (!memory_alloc(&s->raw, s->bytes, 1, err) ||
        !checkpoint_read(j->plan->inventory->checkpoint, s->pass->source, s->offset, s->raw, s->bytes, err))
        return false;
    turn_rows(s->raw, s->at.n_rows, s->at.n_cols, dtype_bytes(t->dtype), s->lane->src);
    return true;
}
