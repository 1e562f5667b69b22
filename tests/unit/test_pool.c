#include "tests/checks.h"

#include "core/pool.h"

#include <stdatomic.h>

#define N 5000u

static uint64_t mixed(uint64_t i)
{
    uint64_t s = i;
    return check_random(&s);
}

struct work { uint64_t out[N]; atomic_uint runs[N]; uint32_t n_workers; atomic_bool bad_worker; };

static void item(void *ctx, uint64_t i, uint32_t worker)
{
    struct work *w = ctx;
    atomic_fetch_add(&w->runs[i], 1);
    if (worker >= w->n_workers) atomic_store(&w->bad_worker, true);
    w->out[i] = mixed(i);
}

/* Every item once, and the same result for every number of threads. */
static void test_same_result(void **state)
{
    (void)state;
    static struct work w;
    for (uint32_t n = 1; n <= 8; n++) {
        struct pool *p;
        CHECK_OK(pool_open(&p, n, e_));
        assert_int_equal(pool_threads(p), n);
        for (uint64_t count = 0; count <= N; count = count < 3 ? count + 1 : count * 7)
          for (int near = 0; near < 2; near++) {
            memset(&w, 0, sizeof w);
            w.n_workers = n;
            (near ? pool_for_near : pool_for)(p, count, item, &w);
            for (uint64_t i = 0; i < N; i++) {
                assert_int_equal(atomic_load(&w.runs[i]), i < count);
                if (w.out[i] != (i < count ? mixed(i) : 0)) fail_msg("%u threads, item %llu", n, (unsigned long long)i);
            }
            assert_false(atomic_load(&w.bad_worker));
          }
        pool_close(p);
    }
    memset(&w, 0, sizeof w);
    w.n_workers = 1;
    pool_for(NULL, 10, item, &w);
    assert_int_equal(w.out[9], mixed(9));
    assert_int_equal(pool_threads(NULL), 1);
}

/* Short parallel-fors in a row: workers that come late to one must not disturb the next. */
static void test_many_short(void **state)
{
    (void)state;
    static struct work w;
    struct pool *p;
    CHECK_OK(pool_open(&p, 4, e_));
    w.n_workers = 4;
    for (unsigned round = 1; round <= 20000; round++) (round % 2 ? pool_for : pool_for_near)(p, 3, item, &w);
    for (int i = 0; i < 3; i++) assert_int_equal(atomic_load(&w.runs[i]), 20000);
    pool_close(p);
}

/* A thread that is slow leaves its share to the others; one that sleeps is woken. */
static void slow_item(void *ctx, uint64_t i, uint32_t worker)
{
    usleep(worker ? 300 : 20);
    item(ctx, i, worker);
}

static void test_near_slow(void **state)
{
    (void)state;
    static struct work w;
    struct pool *p;
    CHECK_OK(pool_open(&p, 4, e_));
    w.n_workers = 4;
    for (unsigned round = 0; round < 20; round++) {
        pool_for_near(p, 200, slow_item, &w);
        usleep(2000);
    }
    for (int i = 0; i < 200; i++) assert_int_equal(atomic_load(&w.runs[i]), 20);
    pool_close(p);
}

struct failing { const uint8_t *fails; atomic_uint runs[N]; };

static bool try_item(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    struct failing *f = ctx;
    (void)worker;
    atomic_fetch_add(&f->runs[i], 1);
    if (!f->fails[i]) return true;
    if (f->fails[i] == 2) usleep(2000);
    if (f->fails[i] == 3) usleep(4000);
    return error_set(err, ERR_FORMAT, "item %llu", (unsigned long long)i);
}

static void test_lowest_error(void **state)
{
    (void)state;
    static struct failing f;
    static uint8_t fails[N];
    f.fails = fails;
    for (uint32_t n = 1; n <= 8; n++) {
        struct pool *p;
        CHECK_OK(pool_open(&p, n, e_));
        for (int round = 0; round < 20; round++) {
            memset(fails, 0, sizeof fails);
            memset(f.runs, 0, sizeof f.runs);
            uint64_t seed = (uint64_t)round, lowest = 100 + check_random(&seed) % 100;
            /* The lower failure comes later in time than others, or, in every second round, before them. */
            fails[lowest] = 2;
            for (uint64_t i = lowest + 1; i < N; i += 3) fails[i] = round % 2 ? 1 : 3;
            struct error e = ERROR_INIT;
            assert_false(pool_try(p, N, try_item, &f, &e));
            char want[32];
            snprintf(want, sizeof want, "item %llu", (unsigned long long)lowest);
            assert_string_equal(e.text, want);
            assert_int_equal(e.code, ERR_FORMAT);
            for (uint64_t i = 0; i <= lowest; i++) assert_int_equal(atomic_load(&f.runs[i]), 1);
            unsigned after = 0;
            for (uint64_t i = lowest + 1; i < N; i++) after += atomic_load(&f.runs[i]);
            assert_true(n > 1 || after == 0);                       /* one thread stops at once */
            assert_true(after < N - lowest - 1);                    /* nobody goes on to the end */
        }
        memset(fails, 0, sizeof fails);
        memset(f.runs, 0, sizeof f.runs);
        CHECK_OK(pool_try(p, N, try_item, &f, e_));
        fails[N - 1] = 1;
        assert_false(pool_try(p, N, try_item, &f, NULL));
        pool_close(p);
    }
}

static void test_open(void **state)
{
    (void)state;
    struct pool *p;
    CHECK_OK(pool_open(&p, 0, e_));
    assert_true(pool_threads(p) >= 1);
    pool_close(p);
    pool_close(NULL);
    CHECK_FAILS(pool_open(&p, 100000, e_), ERR_USAGE, "at most 1024");
    assert_null(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_result), cmocka_unit_test(test_many_short), cmocka_unit_test(test_near_slow),
                                       cmocka_unit_test(test_lowest_error), cmocka_unit_test(test_open)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
