/* Working memory of one thread, taken and given back like a stack. What was once allocated stays, so that the same call
 * made again finds its pages, and what a run needs at most is known beforehand (engine/footprint.h): it reserves that
 * in one piece. More than was reserved is allocated all the same.
 *
 *     SCRATCH_SCOPE(s);      what is taken after this is given back at the end of the block
 *     float *x;
 *     if (!scratch_alloc(s, &x, n, sizeof *x, err)) return false; */
#ifndef ENGINE_SCRATCH_H
#define ENGINE_SCRATCH_H

#include "core/error.h"

#include <stdint.h>

struct scratch_chunk;
struct scratch {
    struct scratch_chunk *top; /* what is taken next lies in it */
    uint64_t taken, peak;      /* bytes, now and at most so far */
};
struct scratch_mark {
    struct scratch *scratch;
    struct scratch_chunk *top;
    uint64_t used, taken;
};

/* n * size bytes aligned to MEMORY_ALIGN, uninitialised; n or size 0 gives a pointer that must not be used. */
MUST_CHECK bool scratch_alloc(struct scratch *s, void *out_ptr, uint64_t n, uint64_t size, struct error *err);
/* What that takes: forecasts add these up. Unchecked: numbers that scratch_alloc would refuse are refused there. */
uint64_t scratch_bytes(uint64_t n, uint64_t size);
/* One piece of at least so many bytes; only while nothing is taken. */
MUST_CHECK bool scratch_reserve(struct scratch *s, uint64_t bytes, struct error *err);
void scratch_close(struct scratch *s);

struct scratch_mark scratch_enter(struct scratch *s);
void scratch_leave(struct scratch_mark *m);
#define SCRATCH_SCOPE(s)                                                                                               \
    __attribute__((cleanup(scratch_leave), unused)) struct scratch_mark scratch_scope = scratch_enter(s)

#endif
