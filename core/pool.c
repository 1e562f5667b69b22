#include "core/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define POOL_THREADS_MAX 1024u

struct worker {
    struct pool *pool;
    pthread_t thread;
    uint32_t index;
};

struct pool {
    uint32_t n_threads; /* the caller included */
    uint32_t n_started;
    struct worker *workers; /* n_threads - 1 of them */
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    /* Changed under the lock; read without it by those that wait awake. */
    _Atomic uint64_t generation; /* counts parallel-fors; workers wait for it to move */
    _Atomic uint32_t n_busy;
    _Atomic bool closing;
    uint32_t awake; /* looks at them before going to sleep */
    pool_fn fn;
    void *ctx;
    uint64_t n_items;
    _Atomic uint64_t next_item;
};

static void work(struct pool *p, uint32_t worker)
{
    for (;;) {
        uint64_t i = atomic_fetch_add_explicit(&p->next_item, 1, memory_order_relaxed);
        if (i >= p->n_items) return;
        p->fn(p->ctx, i, worker);
    }
}

/* Some tens of microseconds: a token's few hundred parallel-fors follow each other closely, and a thread that sleeps
 * between them takes longer to come back than it slept. */
#define AWAKE_LOOKS 1500u

static void look_away(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        if (!p->closing && p->generation == seen && p->awake) {
            pthread_mutex_unlock(&p->lock);
            for (uint32_t i = 0; i < p->awake && p->generation == seen && !p->closing; i++) look_away();
            pthread_mutex_lock(&p->lock);
        }
        while (!p->closing && p->generation == seen) pthread_cond_wait(&p->begin, &p->lock);
        if (p->closing) break;
        seen = p->generation;
        pthread_mutex_unlock(&p->lock);
        work(p, w->index);
        pthread_mutex_lock(&p->lock);
        if (--p->n_busy == 0) pthread_cond_signal(&p->end);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static uint32_t cpus_allowed(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (uint32_t)n : 1;
}

bool pool_open(struct pool **out, uint32_t n_threads, struct error *err)
{
    *out = NULL;
    if (n_threads == 0) n_threads = cpus_allowed();
    if (n_threads > POOL_THREADS_MAX)
        return error_set(err, ERR_USAGE, "%u threads asked for, at most %u are possible", n_threads, POOL_THREADS_MAX);
    struct pool *p = calloc(1, sizeof *p);
    if (p) p->workers = calloc(n_threads, sizeof *p->workers);
    if (!p || !p->workers) {
        free(p);
        return error_memory(err, sizeof *p + n_threads * sizeof *p->workers);
    }
    p->n_threads = n_threads;
    p->awake = n_threads <= cpus_allowed() ? AWAKE_LOOKS : 0; /* more threads than CPUs: waiting awake takes theirs */
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->begin, NULL);
    pthread_cond_init(&p->end, NULL);
    for (uint32_t i = 0; i + 1 < n_threads; i++) {
        p->workers[i] = (struct worker){.pool = p, .index = i + 1};
        int rc = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
        if (rc != 0) {
            pool_close(p);
            return error_set(err, ERR_MEMORY, "cannot start thread %u of %u: %s", i + 2, n_threads, strerror(rc));
        }
        p->n_started++;
    }
    *out = p;
    return true;
}

void pool_close(struct pool *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->begin);
    pthread_cond_destroy(&p->end);
    pthread_mutex_destroy(&p->lock);
    free(p->workers);
    free(p);
}

uint32_t pool_threads(const struct pool *p)
{
    return p ? p->n_threads : 1;
}

void pool_for(struct pool *p, uint64_t n_items, pool_fn fn, void *ctx)
{
    if (!p || p->n_threads == 1 || n_items < 2) {
        for (uint64_t i = 0; i < n_items; i++) fn(ctx, i, 0);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->fn = fn;
    p->ctx = ctx;
    p->n_items = n_items;
    atomic_store(&p->next_item, 0);
    p->n_busy = p->n_threads - 1;
    p->generation++;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->lock);
    work(p, 0);
    for (uint32_t i = 0; i < p->awake && p->n_busy; i++) look_away();
    pthread_mutex_lock(&p->lock);
    while (p->n_busy) pthread_cond_wait(&p->end, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

struct try_ctx {
    pool_try_fn fn;
    void *ctx;
    pthread_mutex_t lock;
    _Atomic uint64_t failed_item; /* UINT64_MAX: none */
    struct error first;
};

static void try_item(void *ctx, uint64_t item, uint32_t worker)
{
    struct try_ctx *t = ctx;
    /* Items are taken in order, so every item below a failing one runs; the lowest failure is always found. */
    if (item > atomic_load_explicit(&t->failed_item, memory_order_relaxed)) return;
    struct error e = ERROR_INIT;
    if (t->fn(t->ctx, item, worker, &e)) return;
    pthread_mutex_lock(&t->lock);
    if (item < atomic_load(&t->failed_item)) {
        atomic_store(&t->failed_item, item);
        t->first = e;
    }
    pthread_mutex_unlock(&t->lock);
}

bool pool_try(struct pool *p, uint64_t n_items, pool_try_fn fn, void *ctx, struct error *err)
{
    struct try_ctx t = {.fn = fn, .ctx = ctx, .first = ERROR_INIT};
    atomic_init(&t.failed_item, UINT64_MAX);
    pthread_mutex_init(&t.lock, NULL);
    pool_for(p, n_items, try_item, &t);
    pthread_mutex_destroy(&t.lock);
    if (atomic_load(&t.failed_item) == UINT64_MAX) return true;
    if (err) *err = t.first;
    return false;
}
