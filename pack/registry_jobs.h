/* Blobs in parallel: a pool of threads with a connection each, and what they have done so far. */
#ifndef PACK_REGISTRY_JOBS_H
#define PACK_REGISTRY_JOBS_H

#include "core/pool.h"
#include "pack/registry_call.h"

#include <stdatomic.h>

#define REGISTRY_JOBS_DEFAULT 4u
#define REGISTRY_JOBS_MAX 32u /* each has up to 1.3 MiB of buffers */

struct registry_jobs {
    struct pool *pool;
    struct registry_line lines[REGISTRY_JOBS_MAX]; /* one per worker; the caller's own is the first */
    uint32_t n_lines;
    const char *stage;
    const struct progress *progress;
    _Atomic uint64_t done_bytes;
    uint64_t total_bytes;
};

typedef bool (*registry_job_fn)(void *ctx, uint64_t item, struct registry_line *l, struct error *err);

MUST_CHECK bool registry_jobs_open(struct registry_jobs *j, struct registry *r, uint32_t n_jobs, const char *stage,
                                   struct error *err);
void registry_jobs_close(struct registry_jobs *j); /* fine on zeroes */
/* The error is that of the lowest failing item. */
MUST_CHECK bool registry_jobs_run(struct registry_jobs *j, uint64_t n_items, registry_job_fn fn, void *ctx,
                                  struct error *err);

#endif
