/* Worker threads and a parallel-for whose result does not depend on their number.
 *
 * The contract that makes it so: item i writes only what belongs to item i, and reads nothing another item of the same
 * call writes. Workers take the next free item, so which worker runs an item is chance; the worker index is for scratch
 * memory only. Sums over items are made by the caller, in item order, after the call. One parallel-for at a time per
 * pool; a parallel-for inside an item is not allowed. */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include "core/error.h"

#include <stdint.h>

struct pool;
typedef void (*pool_fn)(void *ctx, uint64_t item, uint32_t worker);
typedef bool (*pool_try_fn)(void *ctx, uint64_t item, uint32_t worker, struct error *err);

/* n_threads 0: one per CPU this process may run on. The calling thread is one of them. */
MUST_CHECK bool pool_open(struct pool **out, uint32_t n_threads, struct error *err);
void pool_close(struct pool *p);             /* NULL is fine */
uint32_t pool_threads(const struct pool *p); /* at least 1; NULL counts as 1 */

void pool_for(struct pool *p, uint64_t n_items, pool_fn fn, void *ctx); /* p NULL: runs here */
/* The same for items that read a long stretch of memory one behind the other: each thread begins with a share of its
 * own and takes its items in order, which is what prefetchers follow, then helps others from the end of theirs. */
void pool_for_near(struct pool *p, uint64_t n_items, pool_fn fn, void *ctx);
/* Stops taking items after a failure; the error is that of the lowest failing item, whatever the thread count. */
MUST_CHECK bool pool_try(struct pool *p, uint64_t n_items, pool_try_fn fn, void *ctx, struct error *err);

#endif
