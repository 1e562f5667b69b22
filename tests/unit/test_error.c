#include "tests/checks.h"

#include <errno.h>

/* What a hostile name may not do to a line of output. Expected texts written by hand from the Unicode tables. */
static void test_escaping(void **state)
{
    (void)state;
    static const struct { const char *raw; size_t n; const char *want; } rows[] = {
        {"plain", 5, "plain"}, {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 14, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"a\nb\r\t", 5, "a\\x0ab\\x0d\\x09"}, {"\x1b[31m", 5, "\\x1b[31m"}, {"\x7f", 1, "\\x7f"}, {"a\0b", 3, "a\\x00b"},
        {"\xc2\x9b", 2, "\\xc2\\x9b"},                          /* C1: CSI */
        {"\xe2\x80\xae", 3, "\\xe2\\x80\\xae"},                 /* right-to-left override */
        {"\xe2\x81\xa6", 3, "\\xe2\\x81\\xa6"},                 /* isolate */
        {"\xe2\x80\xa8", 3, "\\xe2\\x80\\xa8"},                 /* line separator */
        {"\xc0\xaf", 2, "\\xc0\\xaf"}, {"\xe0\x80\xaf", 3, "\\xe0\\x80\\xaf"},           /* overlong */
        {"\xed\xa0\x80", 3, "\\xed\\xa0\\x80"},                 /* surrogate */
        {"\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80"},        /* beyond U+10FFFF */
        {"\xe2\x82", 2, "\\xe2\\x82"}, {"\xff", 1, "\\xff"}, {"\x80", 1, "\\x80"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[128];
        error_printable(out, sizeof out, rows[i].raw, rows[i].n);
        assert_string_equal(out, rows[i].want);
    }
}

static void test_cuts(void **state)
{
    (void)state;
    for (size_t size = 1; size < 12; size++) {
        char out[16];
        memset(out, '#', sizeof out);
        error_printable(out, size, "a\xe2\x82\xac\n\xc3\xa9", 7);
        assert_true(strlen(out) < size);
        assert_int_equal(out[size], '#');
        assert_true(strncmp("a\xe2\x82\xac\\x0a\xc3\xa9", out, strlen(out)) == 0);
        assert_false(strlen(out) == 2 || strlen(out) == 3);      /* never half a character */
        assert_false(strlen(out) > 4 && strlen(out) < 8);        /* nor half an escape */
    }
}

static void test_set_and_wrap(void **state)
{
    (void)state;
    struct error e = ERROR_INIT;
    assert_false(error_set(&e, ERR_FORMAT, "tensor '%s': bad", "x\ny"));
    assert_string_equal(e.text, "tensor 'x\\x0ay': bad");
    assert_false(error_wrap(&e, "shard %d", 3));
    assert_string_equal(e.text, "shard 3: tensor 'x\\x0ay': bad");
    assert_int_equal(e.code, ERR_FORMAT);
    assert_int_equal(error_exit_status(&e), 3);
    assert_false(error_class(&e, "digest", "layer %d", 2));
    assert_string_equal(e.text, "digest: layer 2");
    assert_string_equal(e.check, "digest");
    assert_int_equal(error_exit_status(&e), 1);
    char big[4000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    error_set(&e, ERR_IO, "%s", big);
    error_wrap(&e, "%s", big);
    assert_int_equal(strlen(e.text), ERROR_TEXT_MAX - 1);
    assert_false(error_set(NULL, ERR_IO, "x") || error_wrap(NULL, "x") || error_set_errno(NULL, "x") || error_class(NULL, "x", "y"));
}

static void test_errno(void **state)
{
    (void)state;
    struct error e = ERROR_INIT;
    errno = ENOSPC;
    error_set_errno(&e, "cannot write '%s'", "f");
    assert_string_equal(e.text, "cannot write 'f': No space left on device");
    assert_int_equal(e.os_errno, ENOSPC);
    assert_int_equal(e.code, ERR_IO);
    errno = ENOMEM;
    error_set_errno(&e, "cannot map");
    assert_int_equal(e.code, ERR_MEMORY);
    char big[4000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    errno = ENOENT;
    error_set_errno(&e, "%s", big);
    assert_non_null(strstr(e.text, "x: No such file or directory"));   /* the reason survives the longest name */
}

/* docs/man/ingot.1, exit status. */
static void test_exit_statuses(void **state)
{
    (void)state;
    static const struct { enum error_code code; int status; } rows[] = {
        {ERR_NONE, 0}, {ERR_MISMATCH, 1}, {ERR_USAGE, 2}, {ERR_FORMAT, 3}, {ERR_UNSUPPORTED, 4}, {ERR_IO, 5}, {ERR_MEMORY, 6},
        {ERR_DEVICE, 7}, {ERR_CANCELLED, 8}, {ERR_UNDECIDED, 9}, {ERR_NETWORK, 10}, {ERR_INTERNAL, 70}, {ERR_CODE_COUNT, 70},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error e = {.code = rows[i].code};
        assert_int_equal(error_exit_status(&e), rows[i].status);
        assert_true(strlen(error_code_name(rows[i].code)) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_escaping), cmocka_unit_test(test_cuts), cmocka_unit_test(test_set_and_wrap),
                                       cmocka_unit_test(test_errno), cmocka_unit_test(test_exit_statuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
