/* The exact solver against every assignment of small problems, against the plain table of dynamic programming over bytes on
 * larger ones, and on shapes that are hard: equal sizes, equal ratios, costs that grow with bytes, choices that are not allowed. */
#include "tests/checks.h"

#include "plan/knapsack.h"

#define GROUPS_MAX 512u

static struct knapsack_choice choices[GROUPS_MAX * KNAPSACK_CHOICES_MAX];
static uint32_t picked[GROUPS_MAX];

static uint64_t total(const struct knapsack *k, const uint32_t *pick, bool bytes)
{
    uint64_t sum = 0;
    for (uint32_t g = 0; g < k->n_groups; g++) {
        const struct knapsack_choice *c = &k->choices[g * k->n_choices + pick[g]];
        sum += bytes ? c->bytes : c->cost;
    }
    return sum;
}

/* The least cost of any assignment that fits; UINT64_MAX: none does. *fewest: bytes of the smallest one of that cost. */
static uint64_t brute_force(const struct knapsack *k, uint64_t *fewest)
{
    uint32_t pick[16] = {0};
    uint64_t best = UINT64_MAX;
    for (;;) {
        bool allowed = true;
        for (uint32_t g = 0; g < k->n_groups; g++) allowed = allowed && k->choices[g * k->n_choices + pick[g]].allowed;
        uint64_t bytes = total(k, pick, true), cost = total(k, pick, false);
        if (allowed && bytes <= k->budget && (cost < best || (cost == best && bytes < *fewest))) {
            best = cost;
            *fewest = bytes;
        }
        uint32_t g = 0;
        while (g < k->n_groups && ++pick[g] == k->n_choices) pick[g++] = 0;
        if (g == k->n_groups) return best;
    }
}

/* The same by a table over all byte counts: for problems with few bytes. */
static uint64_t by_table(const struct knapsack *k, uint64_t *fewest)
{
    uint64_t *least = malloc((k->budget + 1) * sizeof *least), *next = malloc((k->budget + 1) * sizeof *next);
    assert_true(least && next);
    for (uint64_t b = 0; b <= k->budget; b++) least[b] = 0;
    for (uint32_t g = 0; g < k->n_groups; g++) {
        for (uint64_t b = 0; b <= k->budget; b++) {
            next[b] = UINT64_MAX;
            for (uint32_t j = 0; j < k->n_choices; j++) {
                const struct knapsack_choice *c = &k->choices[g * k->n_choices + j];
                if (!c->allowed || c->bytes > b || least[b - c->bytes] == UINT64_MAX) continue;
                if (least[b - c->bytes] + c->cost < next[b]) next[b] = least[b - c->bytes] + c->cost;
            }
        }
        uint64_t *swap = least;
        least = next;
        next = swap;
    }
    uint64_t best = least[k->budget];
    for (*fewest = 0; least[*fewest] != best; ++*fewest) continue; /* least[b]: within b bytes */
    free(least);
    free(next);
    return best;
}

static void check_solution(const struct knapsack *k, uint64_t want, uint64_t fewest, const char *what, uint64_t seed)
{
    struct knapsack_result r;
    if (want == UINT64_MAX) {
        CHECK_FAILS(knapsack_solve(k, picked, &r, e_), ERR_FORMAT, "");
        return;
    }
    CHECK_OK(knapsack_solve(k, picked, &r, e_));
    for (uint32_t g = 0; g < k->n_groups; g++) assert_true(k->choices[g * k->n_choices + picked[g]].allowed);
    if (r.cost != want || !r.proven || r.bound != want || total(k, picked, false) != want || total(k, picked, true) != r.bytes ||
        r.bytes > k->budget || r.bytes != fewest)
        fail_msg("%s, seed %llu: cost %llu (proven %d) in %llu of %llu bytes, expected %llu in %llu", what, (unsigned long long)seed,
                 (unsigned long long)r.cost, r.proven, (unsigned long long)r.bytes, (unsigned long long)k->budget,
                 (unsigned long long)want, (unsigned long long)fewest);
}

/* Shapes of problems; the seed chooses. */
static struct knapsack make(uint64_t seed, uint32_t n_groups, uint32_t n_choices, uint64_t bytes_max)
{
    uint64_t s = seed * 77 + 1, all = 0, least = 0, kind = seed % 5;
    for (uint32_t g = 0; g < n_groups; g++) {
        uint64_t unit = kind == 1 ? 7 : 1 + check_random(&s) % bytes_max, high = 0, low = UINT64_MAX;
        for (uint32_t j = 0; j < n_choices; j++) {
            struct knapsack_choice *c = &choices[g * n_choices + j];
            c->bytes = kind == 1 ? unit * (j + 1) : 1 + check_random(&s) % bytes_max;
            c->cost = kind == 2 ? 1000 - (c->bytes < 1000 ? c->bytes : 1000)  /* one byte, one unit: every step is as steep */
                      : kind == 3 ? check_random(&s) % 3                      /* many equal */
                                  : check_random(&s) % 100000;
            c->allowed = kind != 4 || check_random(&s) % 3;
            if (c->allowed && c->bytes > high) high = c->bytes;
            if (c->allowed && c->bytes < low) low = c->bytes;
        }
        all += high;
        least += low == UINT64_MAX ? 0 : low;
    }
    uint64_t budget = least + (all > least ? check_random(&s) % (all - least + 1) : 0);
    if (seed % 17 == 0 && least) budget = least - 1; /* nothing fits */
    return (struct knapsack){choices, n_groups, n_choices, budget, 0};
}

static void test_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4000; seed++) {
        struct knapsack k = make(seed, 1 + (uint32_t)(seed / 5 % 7), 1 + (uint32_t)(seed / 35 % 4), 60);
        uint64_t fewest, want = brute_force(&k, &fewest);
        check_solution(&k, want, fewest, "brute force", seed);
        if (want == UINT64_MAX) continue;
        k.budget = fewest; /* met to the byte, and one byte less */
        check_solution(&k, want, fewest, "met exactly", seed);
        k.budget--;
        want = brute_force(&k, &fewest);
        check_solution(&k, want, fewest, "a byte less", seed);
    }
}

static void test_table(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 300; seed++) {
        struct knapsack k = make(seed, 20 + (uint32_t)(seed % 60), 3, 50);
        uint64_t fewest, want = by_table(&k, &fewest);
        check_solution(&k, want, fewest, "table", seed);
    }
}

/* A model of 400 groups of a few shapes, as NVFP4, FP8 and 16 bits, costs over six decades: fast, and the same twice. */
static void test_large(void **state)
{
    (void)state;
    static const uint64_t elems[] = {4096ull * 4096, 4096ull * 14336, 3ull * 2048 * 4096 * 128, 4096ull * 6144};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t s = seed, all = 0;
        for (uint32_t g = 0; g < 400; g++) {
            uint64_t n = elems[check_random(&s) % 4];
            uint64_t cost = (1 + check_random(&s) % 1000000) * (1 + check_random(&s) % 1000000) * 64;
            choices[g * 3] = (struct knapsack_choice){2 * n, 0, true};
            choices[g * 3 + 1] = (struct knapsack_choice){n + 8, cost / (20 + check_random(&s) % 100), true};
            choices[g * 3 + 2] = (struct knapsack_choice){n / 2 + n / 16 + 8, cost, true};
            all += n;
        }
        struct knapsack k = {choices, 400, 3, all / 80 * (47 + seed * 4 % 60), 0};
        struct knapsack_result r, again;
        static uint32_t first[GROUPS_MAX];
        CHECK_OK(knapsack_solve(&k, first, &r, e_));
        assert_true(r.proven && r.bytes <= k.budget && r.cost == r.bound && r.cost == total(&k, first, false));
        CHECK_OK(knapsack_solve(&k, picked, &again, e_));
        assert_memory_equal(first, picked, 400 * sizeof *first);
        /* No exchange of two groups' choices, and no single one, is better: what any optimum must withstand. */
        for (uint32_t g = 0; g < 400; g++)
            for (uint32_t j = 0; j < 3; j++) {
                uint64_t bytes = r.bytes - choices[g * 3 + first[g]].bytes + choices[g * 3 + j].bytes;
                uint64_t cost = r.cost - choices[g * 3 + first[g]].cost + choices[g * 3 + j].cost;
                assert_false(bytes <= k.budget && cost < r.cost);
            }
    }
}

/* Where the search is cut off, it says so and how far it may be from the best. */
static void test_cut_off(void **state)
{
    (void)state;
    uint64_t s = 5;
    for (uint32_t g = 0; g < 60; g++)
        for (uint32_t j = 0; j < 3; j++)
            choices[g * 3 + j] = (struct knapsack_choice){1000003 * (j + 1) + check_random(&s) % 1000, 3000000 - 1000003 * j - check_random(&s) % 1000, true};
    struct knapsack k = {choices, 60, 3, 60 * 1700000ull, 10};
    struct knapsack_result r;
    CHECK_OK(knapsack_solve(&k, picked, &r, e_));
    assert_false(r.proven);
    assert_true(r.bound <= r.cost && total(&k, picked, true) <= k.budget && total(&k, picked, false) == r.cost);
}

static void test_nothing(void **state)
{
    (void)state;
    struct knapsack_result r;
    struct knapsack k = {choices, 0, 3, 0, 0};
    CHECK_OK(knapsack_solve(&k, picked, &r, e_));
    assert_true(r.proven && r.cost == 0 && r.bytes == 0);
    choices[0] = choices[1] = choices[2] = (struct knapsack_choice){1, 1, false};
    k.n_groups = 1;
    k.budget = 10;
    CHECK_FAILS(knapsack_solve(&k, picked, &r, e_), ERR_FORMAT, "allows no type");
    choices[1] = (struct knapsack_choice){11, 0, true};
    CHECK_FAILS(knapsack_solve(&k, picked, &r, e_), ERR_FORMAT, "take 11 bytes, the budget is 10");
    assert_int_equal(r.bytes, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_brute_force), cmocka_unit_test(test_table), cmocka_unit_test(test_large),
                                       cmocka_unit_test(test_cut_off), cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
