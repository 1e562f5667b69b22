/* The part of cmocka that the kernels' tests use, for machines that have no cmocka: 64-bit ARM, emulated. Speaks TAP. */
#ifndef TESTS_ARM64_CMOCKA_H
#define TESTS_ARM64_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};
#define cmocka_unit_test(f) {#f, f}

static jmp_buf cmocka_end; /* 1: failed, 2: skipped */
static char cmocka_why[1024];

static inline __attribute__((format(printf, 3, 4), noreturn)) void cmocka_fail(const char *file, int line,
                                                                               const char *format, ...)
{
    va_list args;
    int n = snprintf(cmocka_why, sizeof cmocka_why, "%s:%d: ", file, line);
    va_start(args, format);
    vsnprintf(cmocka_why + n, sizeof cmocka_why - (size_t)n, format, args);
    va_end(args);
    longjmp(cmocka_end, 1);
}

static inline __attribute__((noreturn)) void skip(void)
{
    longjmp(cmocka_end, 2);
}

#define print_message(...) printf(__VA_ARGS__)
#define fail_msg(...) cmocka_fail(__FILE__, __LINE__, __VA_ARGS__)
#define fail() fail_msg("failed")
#define assert_true(c) ((c) ? (void)0 : fail_msg("%s", #c))
#define assert_false(c) assert_true(!(c))
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_null(p) assert_true((p) == NULL)
#define assert_in_range(v, low, high) assert_true((v) >= (low) && (v) <= (high))
#define assert_string_equal(a, b) assert_true(strcmp((a), (b)) == 0)
#define assert_memory_equal(a, b, n) assert_true(memcmp((a), (b), (n)) == 0)
#define assert_int_equal(a, b)                                                                            \
    do {                                                                                                  \
        uint64_t a_ = (uint64_t)(a), b_ = (uint64_t)(b);                                                  \
        if (a_ != b_) fail_msg("%s is %llx, expected %llx", #a, (unsigned long long)a_, (unsigned long long)b_); \
    } while (0)

static inline int cmocka_run(const struct CMUnitTest *tests, int n)
{
    volatile int failed = 0;
    for (volatile int i = 0; i < n; i++) {
        int end = setjmp(cmocka_end);
        if (end == 0) tests[i].run(&(void *){NULL});
        printf("%sok %d - %s%s%s\n", end ? "not " : "", i + 1, tests[i].name, end == 2 ? " # SKIP" : end ? ": " : "",
               end == 1 ? cmocka_why : "");
        fflush(stdout);
        failed += end == 1;
    }
    return failed;
}
#define cmocka_run_group_tests(tests, setup, teardown) cmocka_run((tests), (int)(sizeof(tests) / sizeof *(tests)))

#endif
