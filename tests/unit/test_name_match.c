#include "tests/checks.h"

#include "formats/name_match.h"

/* Expected values: Python 3.11's fnmatch.fnmatchcase. */
static void test_glob(void **state)
{
    (void)state;
    static const struct { const char *pattern, *name; bool want; } rows[] = {
        {"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a.b", true}, {"a*", "a", true}, {"a*", "ba", false}, {"*a", "bba", true},
        {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false}, {"a**c", "ac", true}, {"?", "", false}, {"?", "a", true},
        {"a?c", "abc", true},
        {"a.b", "axb", false}, {"[abc]", "b", true}, {"[abc]", "d", false}, {"[a-c]x", "bx", true}, {"[!a-c]", "d", true},
        {"[!a-c]", "b", false},
        {"[]]", "]", true}, {"[]a]", "a", true}, {"[!]]", "a", true}, {"[!]]", "]", false}, {"[a", "[a", true}, {"[a", "a", false},
        {"[", "[", true},
        {"[a-]", "-", true}, {"[a-]", "b", false}, {"[-a]", "-", true}, {"a[b", "a[b", true}, {"*[0-9].w", "layers.10.w", true},
        {"*.mlp.gate*", "m.0.mlp.gate_proj", true}, {"\\*", "\\x", true}, {"\\*", "*", false}, {"mtp*", "mtp", true},
        {"mtp*", "amtp", false},
        {"gat[e]", "gate", true}, {"gat[e]", "gate_proj", false}, {"*a*a*a*a", "aaa", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (glob_match(rows[i].pattern, rows[i].name) != rows[i].want) fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].name);
    assert_true(glob_is_pattern("a*") && glob_is_pattern("?") && glob_is_pattern("[a]"));
    assert_false(glob_is_pattern("") || glob_is_pattern("a.b-c!"));
}

/* The pattern that takes others exponential time. */
static void test_glob_is_fast(void **state)
{
    (void)state;
    char pattern[2001], name[20001];
    for (size_t i = 0; i < 1000; i++) memcpy(pattern + 2 * i, "*a", 2);
    pattern[1999] = 'b';
    pattern[2000] = '\0';
    memset(name, 'a', 20000);
    name[20000] = '\0';
    alarm(20);
    assert_false(glob_match(pattern, name));
    alarm(0);
}

static void random_text(char *out, size_t max, uint64_t *seed)
{
    size_t n = check_random(seed) % (max + 1);
    for (size_t i = 0; i < n; i++) out[i] = "ab.\xff"[check_random(seed) % 4];
    out[n] = '\0';
}

/* Against strstr and strncmp over all texts. */
static void test_sets(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int round = 0; round < 3000; round++) {
        char texts[12][8], name[20];
        const char *list[12];
        uint32_t n = (uint32_t)(check_random(&seed) % 13);
        size_t longest = 1 + (size_t)round % 7;
        for (uint32_t i = 0; i < n; i++) {
            random_text(texts[i], longest, &seed);
            list[i] = texts[i];
        }
        struct text_set s;
        CHECK_OK(text_set_build(&s, list, n, e_));
        for (int k = 0; k < 20; k++) {
            random_text(name, 19, &seed);
            bool begins = false, inside = false;
            for (uint32_t i = 0; i < n; i++) {
                begins = begins || strncmp(name, texts[i], strlen(texts[i])) == 0;
                inside = inside || strstr(name, texts[i]);
            }
            const char *b = text_set_prefix(&s, name), *in = text_set_inside(&s, name);
            if ((b != NULL) != begins || (in != NULL) != inside) fail_msg("round %d, name '%s'", round, name);
            if (b) assert_true(strncmp(name, b, strlen(b)) == 0);
            if (in) assert_non_null(strstr(name, in));
        }
        text_set_free(&s);
        text_set_free(&s);
    }
}

static void test_sorting(void **state)
{
    (void)state;
    const char *texts[] = {"b", "a", "\xff", "b", "", "a"};
    static const char *const want[] = {"", "a", "b", "\xff"};
    assert_int_equal(texts_sort(texts, 6), 4);
    for (uint32_t i = 0; i < 4; i++) assert_string_equal(texts[i], want[i]);
    assert_int_equal(texts_lower_bound(texts, 4, ""), 0);
    assert_int_equal(texts_lower_bound(texts, 4, "a."), 2);
    assert_int_equal(texts_lower_bound(texts, 4, "\xff\xff"), 4);
    assert_int_equal(texts_sort(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_glob), cmocka_unit_test(test_glob_is_fast), cmocka_unit_test(test_sets),
                                       cmocka_unit_test(test_sorting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
