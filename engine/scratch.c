#include "engine/scratch.h"

#include "core/bytes.h"
#include "core/memory.h"

#include <stdlib.h>

#define CHUNK_BYTES ((uint64_t)64 << 10) /* at least */

/* Under AddressSanitizer every piece has its own allocation, whose ends are watched. */
#if defined(__SANITIZE_ADDRESS__)
#define EACH_ALONE true
#else
#define EACH_ALONE false
#endif

struct scratch_chunk {
    struct scratch_chunk *before;
    uint64_t bytes, used;
    uint8_t *data;
};

uint64_t scratch_bytes(uint64_t n, uint64_t size)
{
    return u64_div_up(n * size, MEMORY_ALIGN) * MEMORY_ALIGN;
}

static void drop(struct scratch *s)
{
    struct scratch_chunk *c = s->top;
    s->top = c->before;
    free(c->data);
    free(c);
}

static bool push(struct scratch *s, uint64_t bytes, struct error *err)
{
    struct scratch_chunk *c = calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c);
    *c = (struct scratch_chunk){.before = s->top, .bytes = bytes};
    if (!memory_alloc(&c->data, bytes, 1, err)) {
        free(c);
        return false;
    }
    s->top = c;
    return true;
}

bool scratch_reserve(struct scratch *s, uint64_t bytes, struct error *err)
{
    if (EACH_ALONE || s->taken || bytes == 0 || (s->top && s->top->bytes >= bytes)) return true;
    while (s->top) drop(s);
    return push(s, bytes, err);
}

bool scratch_alloc(struct scratch *s, void *out_ptr, uint64_t n, uint64_t size, struct error *err)
{
    void **out = out_ptr;
    uint64_t bytes;
    *out = NULL;
    if (!u64_mul(n, size, &bytes) || !u64_align(bytes, MEMORY_ALIGN, &bytes))
        return error_set(err, ERR_MEMORY, "out of memory (%llu items of %llu bytes asked for)", (unsigned long long)n,
                         (unsigned long long)size);
    if (EACH_ALONE || !s->top || s->top->bytes - s->top->used < bytes) {
        uint64_t least = EACH_ALONE ? n * size : CHUNK_BYTES;
        /* After a run in several pieces: one piece for all of it. */
        if (!EACH_ALONE && !s->top && s->peak > least) least = s->peak;
        if (!push(s, bytes > least ? bytes : least, err)) return false;
    }
    *out = s->top->data + s->top->used;
    s->top->used += EACH_ALONE ? s->top->bytes : bytes;
    s->taken += bytes;
    if (s->taken > s->peak) s->peak = s->taken;
    return true;
}

struct scratch_mark scratch_enter(struct scratch *s)
{
    return (struct scratch_mark){s, s->top, s->top ? s->top->used : 0, s->taken};
}

void scratch_leave(struct scratch_mark *m)
{
    struct scratch *s = m->scratch;
    s->taken = m->taken;
    if (m->taken == 0 && s->top && !s->top->before && !EACH_ALONE) {
        s->top->used = 0;
        return;
    }
    /* A chunk that was too small for all is not worth keeping: the next one has the peak's size. */
    while (s->top && (s->top != m->top || m->taken == 0)) drop(s);
    if (s->top) s->top->used = m->used;
}

void scratch_close(struct scratch *s)
{
    while (s->top) drop(s);
    *s = (struct scratch){0};
}
