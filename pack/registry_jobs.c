#include "pack/registry_jobs.h"

/* Only the first line has it, and the first line is the thread's that runs the stage. */
static void tick(void *ctx)
{
    struct registry_jobs *j = ctx;
    if (j->total_bytes)
        progress_update(j->progress, j->stage, NULL, atomic_load_explicit(&j->done_bytes, memory_order_relaxed),
                        j->total_bytes);
}

bool registry_jobs_open(struct registry_jobs *j, struct registry *r, uint32_t n_jobs, const char *stage,
                        struct error *err)
{
    *j = (struct registry_jobs){.stage = stage, .progress = registry_options(r)->progress};
    uint32_t n = n_jobs ? n_jobs : REGISTRY_JOBS_DEFAULT;
    if (n > REGISTRY_JOBS_MAX) n = REGISTRY_JOBS_MAX;
    for (; j->n_lines < n; j->n_lines++)
        if (!registry_line_open(&j->lines[j->n_lines], r, j->n_lines == 0 ? tick : NULL, j, err)) {
            registry_jobs_close(j);
            return false;
        }
    if (pool_open(&j->pool, n, err)) return true;
    registry_jobs_close(j);
    return false;
}

void registry_jobs_close(struct registry_jobs *j)
{
    pool_close(j->pool);
    j->pool = NULL;
    for (uint32_t i = 0; i < j->n_lines; i++) registry_line_close(&j->lines[i]);
    j->n_lines = 0;
}

struct run {
    struct registry_jobs *jobs;
    registry_job_fn fn;
    void *ctx;
};

static bool one(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    struct run *r = ctx;
    if (!r->fn(r->ctx, item, &r->jobs->lines[worker], err)) return false;
    if (worker == 0) tick(r->jobs);
    return true;
}

bool registry_jobs_run(struct registry_jobs *j, uint64_t n_items, registry_job_fn fn, void *ctx, struct error *err)
{
    struct run r = {.jobs = j, .fn = fn, .ctx = ctx};
    return pool_try(j->pool, n_items, one, &r, err);
}
