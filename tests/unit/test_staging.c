#include "tests/checks.h"

#include "core/file.h"
#include "core/staging.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char folder[64], final[96], partial[96], journal[128];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, check_folder());
    snprintf(final, sizeof final, "%s/out", folder);
    snprintf(partial, sizeof partial, "%s/.out.ingot-partial", folder);
    snprintf(journal, sizeof journal, "%s/.ingot-journal", partial);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_folder_remove(folder);
    return 0;
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_OK(file_save(path, bytes_text(text), 0666, e_));
}

static bool has(const char *dir, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static struct staging *begin(const char *key, bool replace)
{
    struct staging *s;
    CHECK_OK(staging_open(&s, final, key, replace, e_));
    return s;
}

/* One part, made durable and recorded. */
static void part(struct staging *s, const char *name, const char *value)
{
    put(staging_path(s), name, value);
    CHECK_OK(staging_record(s, name, value, e_));
}

static void test_commit(void **state)
{
    (void)state;
    struct staging *s = begin("k", false);
    assert_false(staging_resumed(s));
    part(s, "a", "1 2 3");
    assert_string_equal(staging_recorded(s, "a"), "1 2 3");
    assert_null(staging_recorded(s, "b"));
    assert_int_not_equal(access(final, F_OK), 0);
    CHECK_OK(staging_commit(s, e_));
    assert_true(has(final, "a"));
    assert_false(has(final, ".ingot-journal"));
    assert_int_not_equal(access(partial, F_OK), 0);
}

static void test_resume(void **state)
{
    (void)state;
    struct staging *s = begin("k", false);
    part(s, "a", "one");
    part(s, "a", "two");
    part(s, "b", "");
    staging_close(s, true);
    s = begin("k", false);
    assert_true(staging_resumed(s));
    assert_string_equal(staging_recorded(s, "a"), "two");      /* the last one counts */
    assert_string_equal(staging_recorded(s, "b"), "");
    assert_true(has(partial, "a"));
    part(s, "c", "three");
    staging_close(s, true);
    s = begin("k", false);
    assert_string_equal(staging_recorded(s, "c"), "three");
    staging_close(s, false);
    assert_int_not_equal(access(partial, F_OK), 0);
}

static void test_other_key(void **state)
{
    (void)state;
    struct staging *s = begin("k", false);
    part(s, "a", "one");
    staging_close(s, true);
    static const char *const others[] = {"k2", "", "kk"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        s = begin(others[i], false);
        assert_false(staging_resumed(s));
        assert_null(staging_recorded(s, "a"));
        assert_false(has(partial, "a"));
        part(s, "a", "again");
        staging_close(s, true);
    }
}

/* A kill in the middle of a record leaves half a line: it does not count, and the next record is on a line of its own. */
static void test_torn_journal(void **state)
{
    (void)state;
    struct staging *s = begin("key", false);
    part(s, "a", "one");
    part(s, "b", "two");
    staging_close(s, true);
    CLEANUP_BUFFER struct buffer whole = {0};
    CHECK_OK(file_load(AT_FDCWD, journal, 1000, &whole, e_));
    assert_string_equal((char *)whole.data, "key\na one\nb two\n");
    for (size_t cut = 0; cut <= whole.size; cut++) {
        CHECK_OK(file_save(journal, bytes_of(whole.data, cut), 0666, e_));
        s = begin("key", false);
        bool key = cut >= 4, a = cut >= 10, b = cut >= 16;
        assert_int_equal(staging_resumed(s), key);
        assert_int_equal(staging_recorded(s, "a") != NULL, a);
        assert_int_equal(staging_recorded(s, "b") != NULL, b);
        part(s, "c", "three");
        staging_close(s, true);
        s = begin("key", false);
        assert_string_equal(staging_recorded(s, "c"), "three");
        assert_int_equal(staging_recorded(s, "b") != NULL, b);
        staging_close(s, true);
    }
}

static void test_bad_records(void **state)
{
    (void)state;
    struct staging *s = begin("k", false);
    static const struct { const char *name, *value; } bad[] = {{"", "x"}, {"a b", "x"}, {"a\nb", "x"}, {"a", "x\ny"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(staging_record(s, bad[i].name, bad[i].value, e_), ERR_INTERNAL, "cannot hold the record");
    staging_close(s, false);
    CHECK_FAILS(staging_open(&s, final, "two\nlines", false, e_), ERR_INTERNAL, "more than one line");
    assert_null(s);
}

static void test_existing_output(void **state)
{
    (void)state;
    struct staging *s = begin("k", false);
    part(s, "old", "x");
    CHECK_OK(staging_commit(s, e_));
    CHECK_FAILS(staging_open(&s, final, "k", false, e_), ERR_USAGE, "exists already");
    assert_true(has(final, "old"));
    s = begin("k", true);
    part(s, "new", "x");
    assert_true(has(final, "old"));
    CHECK_OK(staging_commit(s, e_));
    assert_true(has(final, "new"));
    assert_false(has(final, "old"));
    assert_int_not_equal(access(partial, F_OK), 0);
}

/* Somebody else makes the output while we work: without `replace` it is theirs. A plain rename would take an empty one. */
static void test_output_appears_meanwhile(void **state)
{
    (void)state;
    struct staging *s = begin("k", false);
    part(s, "ours", "x");
    assert_int_equal(mkdir(final, 0777), 0);
    CHECK_FAILS(staging_commit(s, e_), ERR_IO, "cannot rename");
    assert_false(has(final, "ours"));
    assert_int_equal(rmdir(final), 0);
    s = begin("k", false);
    part(s, "ours", "x");
    assert_int_equal(mkdir(final, 0777), 0);
    put(final, "theirs", "x");
    CHECK_FAILS(staging_commit(s, e_), ERR_IO, "cannot rename");
    assert_true(has(final, "theirs"));
    assert_false(has(final, "ours"));
}

static void test_two_processes(void **state)
{
    (void)state;
    struct staging *s = begin("k", false), *other;
    part(s, "a", "x");
    CHECK_FAILS(staging_open(&other, final, "other key", false, e_), ERR_IO, "another process is making");
    assert_null(other);
    assert_true(has(partial, "a"));
    pid_t pid = fork();
    if (pid == 0) {
        struct error e = ERROR_INIT;
        _exit(!staging_open(&other, final, "k", false, &e) && e.code == ERR_IO ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    staging_close(s, false);
}

/* Killed at a random moment, over and over: the rest is always taken up, and the result is whole. */
static void test_kill(void **state)
{
    (void)state;
    uint64_t seed = 1;
    int runs = 0;
    for (bool done = false; !done; runs++) {
        assert_true(runs < 2000);
        pid_t pid = fork();
        if (pid == 0) {
            struct staging *s = begin("k", false);
            for (int i = 0; i < 30; i++) {
                char name[16];
                snprintf(name, sizeof name, "part-%d", i);
                if (staging_recorded(s, name)) {
                    if (!has(partial, name)) _exit(3);          /* recorded, so it must be there */
                    continue;
                }
                part(s, name, name);
            }
            CHECK_OK(staging_commit(s, e_));
            _exit(0);
        }
        usleep((useconds_t)(check_random(&seed) % 8000));
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        done = access(final, F_OK) == 0;
    }
    for (int i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "part-%d", i);
        assert_true(has(final, name));
    }
    print_message("%d runs\n", runs);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_commit), TEST(test_resume), TEST(test_other_key), TEST(test_torn_journal), TEST(test_bad_records),
        TEST(test_existing_output), TEST(test_output_appears_meanwhile), TEST(test_two_processes), TEST(test_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
