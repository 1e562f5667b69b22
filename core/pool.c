#include "core/pool.h"

#include "core/memory.h"

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
    pthread_mutex_t lock;   /* for sleeping, nothing else: a thread that is awake never takes it */
    pthread_cond_t begin, end;
    _Atomic uint64_t generation; /* counts parallel-fors; workers wait for it to move */
    _Atomic uint32_t n_busy;     /* workers that have not finished this one; what follows changes only at 0 */
    _Atomic uint32_t n_asleep;   /* workers */
    _Atomic bool caller_asleep, closing;
    uint32_t awake; /* looks before going to sleep */
    pool_fn fn;
    void *ctx;
    uint64_t n_items;
    bool near;
    _Atomic uint64_t next_item;
    struct share *shares; /* [n_threads] */
};

/* Items [begin, end) of a thread, begin in the high half: its own thread takes the first, others the last. */
struct share {
    _Alignas(64) _Atomic uint64_t range;
};

static uint64_t range_of(uint64_t begin, uint64_t end)
{
    return begin << 32 | end;
}

static uint64_t range_size(uint64_t range)
{
    return (range & UINT32_MAX) - (range >> 32);
}

static bool take(struct share *s, bool first, uint64_t *item)
{
    uint64_t now = atomic_load_explicit(&s->range, memory_order_relaxed), then;
    do {
        if (range_size(now) == 0) return false;
        *item = first ? now >> 32 : (now & UINT32_MAX) - 1;
        then = first ? now + (1ull << 32) : now - 1;
    } while (!atomic_compare_exchange_weak_explicit(&s->range, &now, then, memory_order_relaxed, memory_order_relaxed));
    return true;
}

/* The share that has most left; an empty one when all are. */
static struct share *largest_share(struct pool *p)
{
    struct share *best = p->shares;
    for (uint32_t i = 1; i < p->n_threads; i++)
        if (range_size(p->shares[i].range) > range_size(best->range)) best = &p->shares[i];
    return best;
}

static void work_near(struct pool *p, uint32_t worker)
{
    uint64_t item;
    while (take(&p->shares[worker], true, &item)) p->fn(p->ctx, item, worker);
    for (;;) {
        struct share *s = largest_share(p);
        if (take(s, false, &item)) p->fn(p->ctx, item, worker);
        else if (range_size(s->range) == 0) return;
    }
}

static void work(struct pool *p, uint32_t worker)
{
    if (p->near) {
        work_near(p, worker);
        return;
    }
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

static bool nothing_new(struct pool *p, uint64_t seen)
{
    return p->generation == seen && !p->closing;
}

/* Whoever goes to sleep first says so and then looks once more; whoever wakes changes what is looked at first and then
 * asks who sleeps. One of the two sees the other. */
static void wait_for_work(struct pool *p, uint64_t seen)
{
    for (uint32_t i = 0; i < p->awake && nothing_new(p, seen); i++) look_away();
    if (!nothing_new(p, seen)) return;
    pthread_mutex_lock(&p->lock);
    p->n_asleep++;
    while (nothing_new(p, seen)) pthread_cond_wait(&p->begin, &p->lock);
    p->n_asleep--;
    pthread_mutex_unlock(&p->lock);
}

static void wake(struct pool *p, pthread_cond_t *c)
{
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(c);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    for (uint64_t seen = 0;;) {
        wait_for_work(p, seen);
        if (p->closing) return NULL;
        seen = p->generation;
        work(p, w->index);
        if (atomic_fetch_sub(&p->n_busy, 1) == 1 && p->caller_asleep) wake(p, &p->end);
    }
}

static void wait_for_workers(struct pool *p)
{
    for (uint32_t i = 0; i < p->awake && p->n_busy; i++) look_away();
    if (!p->n_busy) return;
    pthread_mutex_lock(&p->lock);
    p->caller_asleep = true;
    while (p->n_busy) pthread_cond_wait(&p->end, &p->lock);
    p->caller_asleep = false;
    pthread_mutex_unlock(&p->lock);
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
    if (p && !memory_zalloc(&p->shares, n_threads, sizeof *p->shares, NULL)) p->shares = NULL;
    if (!p || !p->workers || !p->shares) {
        if (p) free(p->workers), free(p->shares);
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
    p->closing = true;
    wake(p, &p->begin);
    for (uint32_t i = 0; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->begin);
    pthread_cond_destroy(&p->end);
    pthread_mutex_destroy(&p->lock);
    free(p->workers);
    free(p->shares);
    free(p);
}

uint32_t pool_threads(const struct pool *p)
{
    return p ? p->n_threads : 1;
}

static void run(struct pool *p, uint64_t n_items, pool_fn fn, void *ctx, bool near)
{
    if (!p || p->n_threads == 1 || n_items < 2) {
        for (uint64_t i = 0; i < n_items; i++) fn(ctx, i, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    p->n_items = n_items;
    p->near = near && n_items <= UINT32_MAX;
    atomic_store_explicit(&p->next_item, 0, memory_order_relaxed);
    for (uint64_t t = 0; p->near && t < p->n_threads; t++)
        p->shares[t].range = range_of(n_items * t / p->n_threads, n_items * (t + 1) / p->n_threads);
    p->n_busy = p->n_threads - 1;
    p->generation++;
    if (p->n_asleep) wake(p, &p->begin);
    work(p, 0);
    wait_for_workers(p);
}

void pool_for(struct pool *p, uint64_t n_items, pool_fn fn, void *ctx)
{
    run(p, n_items, fn, ctx, false);
}

void pool_for_near(struct pool *p, uint64_t n_items, pool_fn fn, void *ctx)
{
    run(p, n_items, fn, ctx, true);
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
