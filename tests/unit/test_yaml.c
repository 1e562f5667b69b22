#include "tests/checks.h"

#include "core/json_scan.h"
#include "core/yaml.h"

static char *as_json(const char *text, struct error *err)
{
    CLEANUP(yaml) struct yaml *y = NULL;
    char *out = NULL;
    if (!yaml_parse(bytes_text(text), "doc", &y, err)) return NULL;
    if (!json_canonical(yaml_root(y), &out, NULL, err)) return NULL;
    return out;
}

/* Expected values: YAML 1.2.2, chapter 10.3 (core schema). */
static void test_values(void **state)
{
    (void)state;
    static const struct { const char *text, *want; } rows[] = {
        {"a: 1\nb: [x, 2.5, true]\n", "{\"a\":1,\"b\":[\"x\",2.5,true]}"},
        {"- a\n- b: c\n  d:\n  - e\n", "[\"a\",{\"b\":\"c\",\"d\":[\"e\"]}]"},
        {"a: true\nb: True\nc: FALSE\nd: yes\ne: no\nf: on\n",
         "{\"a\":true,\"b\":true,\"c\":false,\"d\":\"yes\",\"e\":\"no\",\"f\":\"on\"}"},
        {"a: null\nb: ~\nc:\nd: Null\ne: ''\n", "{\"a\":null,\"b\":null,\"c\":null,\"d\":null,\"e\":\"\"}"},
        {"a: 012\nb: -7\nc: +3\nd: 1e3\ne: .5\nf: 1.\n", "{\"a\":12,\"b\":-7,\"c\":3,\"d\":1000.0,\"e\":0.5,\"f\":1.0}"},
        {"a: 1_000\nb: 1.2.3\nc: '1'\nd: \"true\"\ne: 0x1g\nf: -x\ng: .\nh: --1\n",
         "{\"a\":\"1_000\",\"b\":\"1.2.3\",\"c\":\"1\",\"d\":\"true\",\"e\":\"0x1g\",\"f\":\"-x\",\"g\":\".\",\"h\":\"--1\"}"},
        {"a: .inf\nb: -.inf\nc: .nan\n",
         "{\"a\":{\"__float__\":\"Infinity\"},\"b\":{\"__float__\":\"-Infinity\"},\"c\":{\"__float__\":\"NaN\"}}"},
        {"a: 9223372036854775807\nb: -9223372036854775808\n", "{\"a\":9223372036854775807,\"b\":-9223372036854775808}"},
        {"a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}"},
        {"{\"a\": {\"b\": [1, \"\\u00e9\"]}}", "{\"a\":{\"b\":[1,\"\xc3\xa9\"]}}"},
        {"# only a comment\na: b # another\n", "{\"a\":\"b\"}"},
        {"---\na: 1\n...\n", "{\"a\":1}"},
        {"plain", "\"plain\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *got = as_json(rows[i].text, check_error());
        if (!got) fail_msg("%s: refused", rows[i].text);
        assert_string_equal(got, rows[i].want);
        free(got);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct { const char *text, *why; } rows[] = {
        {"", "the file is empty"}, {"# nothing\n", "the file is empty"},
        {"a: 1\na: 2\n", "line 2: key 'a' is there twice"}, {"{a: 1, \"a\": 2}", "key 'a' is there twice"},
        {"a: &x 1\n", "line 1: anchors and tags"}, {"a: &x [1]\n", "anchors and tags"}, {"a: &x {b: 1}\n", "anchors and tags"},
        {"&x a: 1\n", "anchors and tags"}, {"b: 1\n!!str a: 1\n", "line 2: anchors and tags"},
        {"a: *x\n", "alias"}, {"? *x\n: 1\n", "a key must be a plain word"}, {"*x : 1\n", "a key must be a plain word"},
        {"a: !!int 3\n", "anchors and tags"}, {"a: !foo bar\n", "anchors and tags"}, {"!!map {a: 1}\n", "anchors and tags"},
        {"a: 1\n---\nb: 2\n", "a second document"},
        {"? [1]\n: 2\n", "a key must be a plain word"}, {"? {a: 1}\n: 2\n", "a key must be a plain word"},
        {"a: [1\n", "line "}, {"a: 'x\n", "line "}, {"\ta: 1\n", "line "}, {"a: b: c\n", "line "}, {"%YAML 9.9\n---\na\n", "line "},
        {"a: \"\\0\"\n", "NUL byte"}, {"\"\\0\": 1\n", "NUL byte"}, {"a: \xff\n", "line "}, {"a: \x01\n", "line "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct yaml *y;
        CHECK_FAILS(yaml_parse(bytes_text(rows[i].text), "doc", &y, e_), ERR_FORMAT, rows[i].why);
        assert_null(y);
    }
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * (JSON_DEPTH_MAX + 2)];
    for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        CLEANUP(yaml) struct yaml *y = NULL;
        if (depth < JSON_DEPTH_MAX + 1) CHECK_OK(yaml_parse(bytes_text(text), "doc", &y, e_));
        else CHECK_FAILS(yaml_parse(bytes_text(text), "doc", &y, e_), ERR_FORMAT, "nested too deeply");
    }
}

static void test_lines(void **state)
{
    (void)state;
    CLEANUP(yaml) struct yaml *y = NULL;
    CHECK_OK(yaml_parse(bytes_text("a:\n  b:\n    c: 1\nd:\n- 1\n- {e: f}\n"), "doc", &y, e_));
    const json_t *root = yaml_root(y), *a = json_object_get(root, "a"), *d = json_object_get(root, "d");
    assert_int_equal(yaml_line(y, root), 1);
    assert_int_equal(yaml_line(y, a), 2);
    assert_int_equal(yaml_line(y, json_object_get(a, "b")), 3);
    assert_int_equal(yaml_line(y, d), 5);
    assert_int_equal(yaml_line(y, json_array_get(d, 1)), 6);
    assert_int_equal(yaml_line(y, json_array_get(d, 0)), 0);
    assert_int_equal(yaml_line(y, NULL), 0);
}

/* Files of other programs: several documents, anchors and aliases. What an alias stands for is shared, not copied. */
static void test_documents(void **state)
{
    (void)state;
    static const struct { const char *text, *want; } rows[] = {
        {"a: 1\n", "[{\"a\":1}]"}, {"a: 1\n---\n- b\n", "[{\"a\":1},[\"b\"]]"}, {"", "[]"},
        {"a: &x {b: 1}\nc: *x\nd: [*x, &y 3, *y]\n", "[{\"a\":{\"b\":1},\"c\":{\"b\":1},\"d\":[{\"b\":1},3,3]}]"},
        {"a: &x 1\nb: &x 2\nc: *x\n", "[{\"a\":1,\"b\":2,\"c\":2}]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct yaml *y;
        char *got;
        CHECK_OK(yaml_parse_documents(bytes_text(rows[i].text), "doc", &y, e_));
        CHECK_OK(json_canonical(yaml_root(y), &got, NULL, e_));
        assert_string_equal(got, rows[i].want);
        free(got);
        yaml_close(y);
    }
    struct yaml *y;
    CHECK_OK(yaml_parse_documents(bytes_text("a: &x\n  b: 1\nc: *x\n"), "doc", &y, e_));
    const json_t *root = json_array_get(yaml_root(y), 0);
    assert_ptr_equal(json_object_get(root, "a"), json_object_get(root, "c"));
    assert_int_equal(yaml_line(y, json_object_get(root, "c")), 1);
    yaml_close(y);
    static const struct { const char *text, *why; } bad[] = {
        {"a: *x\n", "line 1: an alias without an anchor"}, {"a: &x [*x]\n", "line 1: an alias inside what it stands for"},
        {"a: !!int 3\n", "anchors and tags"}, {"&x a: 1\n", "anchors and tags"},
        {"1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n---\n1\n", "line 32: too many documents"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(yaml_parse_documents(bytes_text(bad[i].text), "doc", &y, e_), ERR_FORMAT, bad[i].why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_refused), cmocka_unit_test(test_documents), cmocka_unit_test(test_depth),
                                       cmocka_unit_test(test_lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
