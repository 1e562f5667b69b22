#include "tests/checks.h"

#include "core/name_index.h"

#define N 400u

/* Names with long common beginnings, so that the sort's short keys are equal often; compared with a plain search. */
static void test_random(void **state)
{
    (void)state;
    static char text[N][40];
    const char *names[N];
    uint64_t seed = 9;
    for (int round = 0; round < 300; round++) {
        uint32_t n = (uint32_t)(check_random(&seed) % N), twice[2];
        size_t shared = check_random(&seed) % 12;
        for (uint32_t i = 0; i < n; i++) {
            size_t k = check_random(&seed) % 20;
            memset(text[i], 'x', shared);
            for (size_t c = 0; c < k; c++) text[i][shared + c] = "ab.\xff\x01"[check_random(&seed) % (round % 2 ? 5 : 2)];
            text[i][shared + k] = '\0';
            names[i] = text[i];
        }
        struct name_index ix;
        CHECK_OK(name_index_sort(&ix, names, n, twice, e_));
        bool repeated = false;
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t k = i + 1; k < n; k++) repeated = repeated || strcmp(names[i], names[k]) == 0;
        assert_int_equal(twice[0] != NAME_NONE, repeated);
        if (repeated) assert_true(twice[0] < twice[1] && twice[1] < n && strcmp(names[twice[0]], names[twice[1]]) == 0);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t found = name_index_find(&ix, names[i]);
            assert_true(found < n && strcmp(names[found], names[i]) == 0);
            if (i > 0) assert_true(strcmp(ix.entries[i - 1].name, ix.entries[i].name) <= 0);
        }
        assert_int_equal(name_index_find(&ix, "no such name"), NAME_NONE);
        name_index_free(&ix);
    }
}

static void test_build(void **state)
{
    (void)state;
    static const char *const good[] = {"b", "", "a.b", "a"}, *const bad[] = {"b", "a", "c", "a", "b"};
    struct name_index ix;
    uint32_t twice[2];
    CHECK_OK(name_index_build(&ix, good, 4, "set", e_));
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(name_index_find(&ix, good[i]), i);
    assert_int_equal(name_index_find(&ix, "a."), NAME_NONE);
    name_index_free(&ix);
    name_index_free(&ix);
    CHECK_FAILS(name_index_build(&ix, bad, 5, "set", e_), ERR_FORMAT, "set: name 'a' is there twice");
    CHECK_OK(name_index_sort(&ix, bad, 5, twice, e_));
    assert_true(twice[0] == 1 && twice[1] == 3);
    name_index_free(&ix);
    CHECK_OK(name_index_build(&ix, NULL, 0, "set", e_));
    assert_int_equal(name_index_find(&ix, ""), NAME_NONE);
    name_index_free(&ix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_build)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
