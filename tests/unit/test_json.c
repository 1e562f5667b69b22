#include "tests/checks.h"

#include "core/json.h"
#include "core/json_scan.h"
#include "core/text.h"

#include <math.h>

static bool parse(const char *text, enum json_dialect dialect, struct error *err)
{
    CLEANUP(json) json_t *j = NULL;
    return json_parse(bytes_text(text), dialect, "doc", &j, err);
}

static void test_accepts(void **state)
{
    (void)state;
    static const char *const good[] = {"{}", "[]", " [1, 2.5e-3, -0, \"a\\u00e9\\ud83d\\ude00\"] ", "true", "{\"a\":{\"b\":[null]}}",
                                       "\"\""};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) CHECK_OK(parse(good[i], JSON_DIALECT_STRICT, e_));
    CHECK_OK(parse("{\"x\":[Infinity,-Infinity,NaN]}", JSON_DIALECT_HF, e_));
    CHECK_FAILS(parse(" NaN ", JSON_DIALECT_HF, e_), ERR_FORMAT, "is not a document");
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct { const char *text, *why; } bad[] = {
        {"", "ends too early"}, {"{", "ends too early"}, {"[1,]", "not a JSON value"}, {"{\"a\":1,}", "expected a key"},
        {"{\"a\" 1}", "expected ':'"}, {"[1 2]", "expected ','"}, {"[1]x", "after the value"}, {"01", "after the value"},
        {"1.", "not a JSON value"}, {"+1", "not a JSON value"}, {"\"\\x\"", "bad escape"}, {"\"\\ud800\"", "bad escape"},
        {"\"\\udc00\"", "bad escape"}, {"\"\xff\"", "invalid UTF-8"}, {"\"\xc0\xaf\"", "invalid UTF-8"},
        {"\"\xed\xa0\x80\"", "invalid UTF-8"}, {"\"a\nb\"", "control byte"}, {"\"a", "without end"},
        {"{\"a\":1,\"a\":2}", "duplicate"}, {"{\"a\":1,\"\\u0061\":2}", "duplicate"}, {"Infinity", "not a JSON value"},
        {"[NaN]", "not a JSON value"}, {"{'a':1}", "expected a key"}, {"nul", "not a JSON value"}, {"99999999999999999999", "big integer"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK_FAILS(parse(bad[i].text, JSON_DIALECT_STRICT, e_), ERR_FORMAT, bad[i].why);
    char deep[2 * (JSON_DEPTH_MAX + 1) + 1];
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    deep[2 * (JSON_DEPTH_MAX + 1)] = '\0';
    CHECK_FAILS(parse(deep, JSON_DIALECT_STRICT, e_), ERR_FORMAT, "nested too deeply");
    CHECK_OK(parse((deep[2 * JSON_DEPTH_MAX + 1] = '\0', deep + 1), JSON_DIALECT_STRICT, e_));
}

/* What a tree costs is known before it is built; the words that turn into objects count as such. */
static void test_memory(void **state)
{
    (void)state;
    static const struct { const char *item; size_t n; bool fits; } rows[] = {
        {"1", 5500000, true}, {"1", 6000000, false}, {"[]", 1500000, true}, {"[]", 1800000, false}, {"{}", 950000, true},
        {"{}", 1100000, false}, {"Infinity", 500000, true}, {"Infinity", 600000, false}};
    char *text = malloc(20 << 20);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *p = text;
        for (size_t k = 0; k < rows[i].n; k++) {
            *p++ = k ? ',' : '[';
            p = stpcpy(p, rows[i].item);
        }
        strcpy(p, "]");
        if (rows[i].fits) CHECK_OK(parse(text, JSON_DIALECT_HF, e_));
        else CHECK_FAILS(parse(text, JSON_DIALECT_HF, e_), ERR_FORMAT, "holds more values than fit");
    }
    free(text);
}

/* Keys are compared decoded, whatever their length. */
static void test_token_is(void **state)
{
    (void)state;
    static const struct { const char *raw, *name; bool same; } rows[] = {
        {"abc", "abc", true}, {"abc", "abcd", false}, {"abcd", "abc", false}, {"", "", true}, {"", "a", false}, {"a", "", false},
        {"\\u0061bc", "abc", true}, {"ab\\u0063", "abc", true}, {"ab\\u0064", "abc", false}, {"\\n\\\"\\/", "\n\"/", true},
        {"\\u00e9", "\xc3\xa9", true}, {"\\ud83d\\ude00", "\xf0\x9f\x98\x80", true}, {"\xc3\xa9", "\xc3\xa9", true},
        {"\\u0000", "", false}, {"\\u0000", "\\u0000", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (json_token_is(bytes_text(rows[i].raw), rows[i].name) != rows[i].same)
            fail_msg("row %zu: '%s' and '%s'", i, rows[i].raw, rows[i].name);
    char raw[6 * 100 + 1], name[101];
    for (size_t i = 0; i < 100; i++) memcpy(raw + 6 * i, "\\u0078", 7);
    memset(name, 'x', 100);
    name[100] = '\0';
    assert_true(json_token_is(bytes_text(raw), name));
    name[99] = 'y';
    assert_false(json_token_is(bytes_text(raw), name));
}

static void test_getters(void **state)
{
    (void)state;
    CLEANUP(json) json_t *j = NULL;
    CHECK_OK(json_parse(bytes_text("{\"s\":\"x\",\"n\":3,\"f\":Infinity,\"g\":{\"__float__\":\"-Infinity\"},\"z\":null,\"r\":0.5}"),
                        JSON_DIALECT_HF, "doc", &j, e_));
    const char *s = NULL;
    uint64_t n = 0;
    double d = 0;
    CHECK_OK(json_get_string(j, "s", "doc", &s, e_));
    assert_string_equal(s, "x");
    CHECK_OK(json_get_u64(j, "n", "doc", 1, 3, &n, e_));
    assert_int_equal(n, 3);
    CHECK_FAILS(json_get_u64(j, "n", "doc", 4, 9, &n, e_), ERR_FORMAT, "an integer from 4 to 9, found 3");
    CHECK_FAILS(json_get_u64(j, "r", "doc", 0, 9, &n, e_), ERR_FORMAT, "found 0.5");
    CHECK_FAILS(json_get_u64(j, "f", "doc", 0, 9, &n, e_), ERR_FORMAT, "found an object");
    CHECK_FAILS(json_get_string(j, "n", "doc", &s, e_), ERR_FORMAT, "key 'n': expected a string, found 3");
    CHECK_FAILS(json_get_string(j, "q", "doc", &s, e_), ERR_FORMAT, "key 'q' is missing");
    CHECK_OK(json_get_number(j, "f", "doc", &d, e_));
    assert_true(isinf(d) && d > 0);
    CHECK_OK(json_get_number(j, "g", "doc", &d, e_));
    assert_true(isinf(d) && d < 0);
    assert_false(json_has(j, "z"));
    static const char *const known[] = {"s", "n", "f", "g", "z", NULL};
    CHECK_FAILS(json_known_keys(j, "doc", known, e_), ERR_FORMAT, "unknown key 'r'; known are s, n, f, g, z");
}

static void test_splice(void **state)
{
    (void)state;
    const char *text = "{\n  \"a\": 1e-05,\n  \"b\": [0.0, Infinity],\n  \"c\": {\"d\": 1}\n}\n";
    static const struct { const char *members, *want; } rows[] = {
        {"{}", "{\n  \"a\": 1e-05,\n  \"b\": [0.0, Infinity],\n  \"c\": {\"d\": 1}\n}\n"},
        {"{\"a\":2}", "{\n  \"b\": [0.0, Infinity],\n  \"c\": {\"d\": 1},\n  \"a\": 2\n}\n"},
        {"{\"b\":null}", "{\n  \"a\": 1e-05,\n  \"c\": {\"d\": 1}\n}\n"},
        {"{\"c\":null,\"e\":{\"x\":[]}}", "{\n  \"a\": 1e-05,\n  \"b\": [0.0, Infinity],\n  \"e\": {\n    \"x\": []\n  }\n}\n"},
        {"{\"a\":null,\"b\":null,\"c\":null}", "{\n}\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(json) json_t *m = NULL;
        CLEANUP(free) char *out = NULL;
        CHECK_OK(json_parse(bytes_text(rows[i].members), JSON_DIALECT_STRICT, "m", &m, e_));
        CHECK_OK(json_splice(bytes_text(text), JSON_DIALECT_HF, m, "doc", &out, NULL, e_));
        assert_string_equal(out, rows[i].want);
    }
    CLEANUP(json) json_t *m = json_pack("{s:i}", "k", 1);
    CLEANUP(free) char *out = NULL;
    CHECK_OK(json_splice(bytes_text("{}"), JSON_DIALECT_HF, m, "doc", &out, NULL, e_));
    assert_string_equal(out, "{\n  \"k\": 1\n}");
    CHECK_FAILS(json_splice(bytes_text("[]"), JSON_DIALECT_HF, m, "doc", &out, NULL, e_), ERR_FORMAT, "expected a JSON object");
    CHECK_FAILS(json_splice(bytes_text("{\"a\":[}"), JSON_DIALECT_HF, m, "doc", &out, NULL, e_), ERR_FORMAT, "line 1, column 7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accepts), cmocka_unit_test(test_refuses), cmocka_unit_test(test_getters),
                                       cmocka_unit_test(test_splice), cmocka_unit_test(test_memory), cmocka_unit_test(test_token_is)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
