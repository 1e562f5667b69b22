#include "tests/checks.h"

#include "core/pool.h"
#include "formats/folder.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char dir[64];

static const char *at(const char *name)
{
    static char paths[4][512];
    static int next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static void put(const char *name, const char *text)
{
    CHECK_OK(dir_make_parents(at(name), e_));
    CHECK_OK(file_save(at(name), bytes_text(text), 0666, e_));
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, check_folder());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_folder_remove(dir);
    return 0;
}

static void test_members(void **state)
{
    (void)state;
    static const char *const want[] = {"a b.txt", "b", "c/d", "c/d2/e", "c/d2/f/g", "link", "z"};
    for (size_t i = 0; i < 7; i++)
        if (strcmp(want[i], "link") != 0) put(want[i], want[i]);
    put(".hidden", "x");
    put(".git/config", "x");
    put("c/.out.ingot-partial/part", "x");
    put("1/2/3/4/too-deep", "x");
    assert_int_equal(symlink("z", at("link")), 0);
    assert_int_equal(symlink("nothing", at("dangling")), 0);
    assert_int_equal(symlink("loop", at("loop")), 0);
    assert_int_equal(symlink("c", at("linked-dir")), 0);
    assert_int_equal(symlink("../..", at("c/up")), 0);
    assert_int_equal(mkfifo(at("fifo"), 0666), 0);
    assert_int_equal(symlink("fifo", at("to-fifo")), 0);
    assert_int_equal(symlink("/dev/zero", at("to-device")), 0);
    CLEANUP(folder) struct folder *f = NULL;
    CHECK_OK(folder_open(&f, dir, e_));
    assert_string_equal(folder_path(f), dir);
    for (uint32_t i = 0; i < folder_count(f) && i < 7; i++) assert_string_equal(folder_name(f, i), want[i]);
    assert_int_equal(folder_count(f), 7);
    for (uint32_t i = 0; i < 7; i++) assert_int_equal(folder_find(f, want[i]), i);
    static const char *const absent[] = {"", "a", "zz", ".hidden", "fifo", "dangling", "linked-dir/d", "1/2/3/4/too-deep"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) assert_int_equal(folder_find(f, absent[i]), NAME_NONE);
    assert_int_equal(folder_size(f, 5), 1);
}

static void test_reading(void **state)
{
    (void)state;
    put("a", "0123456789");
    put("sub/b", "");
    CLEANUP(folder) struct folder *f = NULL;
    CHECK_OK(folder_open(&f, dir, e_));
    char data[16];
    CHECK_OK(folder_read(f, 0, 3, data, 4, e_));
    assert_memory_equal(data, "3456", 4);
    CHECK_OK(folder_read(f, 0, 10, data, 0, e_));
    CHECK_FAILS(folder_read(f, 0, 7, data, 4, e_), ERR_FORMAT, "'a': 4 bytes at byte 7 were asked for, the file has 10");
    CHECK_FAILS(folder_read(f, 0, UINT64_MAX, data, 4, e_), ERR_FORMAT, "the file has 10");
    CLEANUP_BUFFER struct buffer b = {0}, c = {0}, none = {0};
    CHECK_OK(folder_load(f, "a", 10, &b, e_));
    assert_string_equal((char *)b.data, "0123456789");
    CHECK_FAILS(folder_load(f, "a", 9, &none, e_), ERR_FORMAT, "'a' has 10 bytes, at most 9");
    CHECK_OK(folder_load(f, "sub/b", 10, &c, e_));
    assert_int_equal(c.size, 0);
    CHECK_FAILS(folder_load(f, "config.json", 10, &none, e_), ERR_FORMAT, "file 'config.json' does not exist");
    CHECK_FAILS(folder_load(f, "sub", 10, &none, e_), ERR_FORMAT, "'sub' is not a regular file");
    CHECK_FAILS(folder_load(f, "../a", 10, &none, e_), ERR_FORMAT, "does not exist");
    assert_null(none.data);
    int fd, again;
    uint64_t offset;
    CHECK_OK(folder_place(f, 0, &fd, &offset, e_));
    CHECK_OK(folder_place(f, 0, &again, &offset, e_));
    assert_int_equal(offset, 0);
    assert_int_equal(fd, again);
    assert_int_equal(pread(fd, data, 2, 8), 2);
    assert_memory_equal(data, "89", 2);
}

/* A fifo or a device where a file should be must neither hang nor fill memory. */
static void test_not_regular(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(at("config.json"), 0666), 0);
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP_BUFFER struct buffer b = {0};
    alarm(5);
    CHECK_OK(folder_open(&f, dir, e_));
    CHECK_FAILS(folder_load(f, "config.json", 10, &b, e_), ERR_FORMAT, "'config.json' is not a regular file");
    /* Swapped in after the list was made. */
    put("a", "text");
    CLEANUP(folder) struct folder *g = NULL;
    CHECK_OK(folder_open(&g, dir, e_));
    assert_int_equal(unlink(at("a")), 0);
    assert_int_equal(mkfifo(at("a"), 0666), 0);
    CHECK_FAILS(folder_load(g, "a", 10, &b, e_), ERR_FORMAT, "'a' is not a regular file");
    CHECK_FAILS(folder_open(&(struct folder *){NULL}, at("config.json"), e_), ERR_FORMAT, "is not a folder");
    CHECK_FAILS(folder_open(&(struct folder *){NULL}, at("absent"), e_), ERR_FORMAT, "does not exist");
    alarm(0);
}

static void test_changes_are_noticed(void **state)
{
    (void)state;
    static const struct { const char *after, *why; } rows[] = {{"longer than before", "it is being changed"}, {"x", "it is being changed"}};
    char data[8];
    for (size_t i = 0; i < 2; i++) {
        put("a", "text");
        CLEANUP(folder) struct folder *f = NULL;
        CHECK_OK(folder_open(&f, dir, e_));
        put("a", rows[i].after);
        CHECK_FAILS(folder_read(f, 0, 0, data, 1, e_), ERR_FORMAT, rows[i].why);
    }
    put("a", "text");
    CLEANUP(folder) struct folder *f = NULL;
    CHECK_OK(folder_open(&f, dir, e_));
    CHECK_OK(folder_read(f, 0, 0, data, 4, e_));
    assert_int_equal(truncate(at("a"), 2), 0);
    CHECK_FAILS(folder_read(f, 0, 0, data, 4, e_), ERR_FORMAT, "ends at byte 2, 4 were expected");
    assert_int_equal(unlink(at("a")), 0);
    put("a", "new!");
    CHECK_OK(folder_read(f, 0, 0, data, 2, e_));     /* the file that was opened, not the one that has its name now */
    assert_memory_equal(data, "te", 2);
}

static void test_names(void **state)
{
    (void)state;
    put("a\\b", "x");
    CHECK_FAILS(folder_open(&(struct folder *){NULL}, dir, e_), ERR_FORMAT, "'a\\b' is not a plain relative path");
}

/* Members that lie one behind the other in one file, as layers do. */
static void test_places(void **state)
{
    (void)state;
    put("blob", "aaabbbbcc");
    CLEANUP(folder) struct folder *f = NULL;
    CHECK_OK(folder_open(&f, dir, e_));
    static const struct { const char *name, *path; uint64_t offset, size; const char *why; } bad[] = {
        {"../x", "blob", 0, 1, "not a plain relative path"}, {"/x", "blob", 0, 1, "not a plain"}, {"x", "../blob", 0, 1, "not a plain"},
        {"x", "blob", UINT64_MAX, 2, "ends beyond any file"}, {"x", "blob", INT64_MAX, 2, "ends beyond any file"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(folder_add(f, bad[i].name, bad[i].path, bad[i].offset, bad[i].size, e_), ERR_FORMAT, bad[i].why);
}

struct shared { const struct folder *f; const char *want; };

static bool read_some(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    struct shared *s = ctx;
    (void)worker;
    char c;
    uint32_t member = (uint32_t)(item % folder_count(s->f));
    if (!folder_read(s->f, member, item % 7, &c, 1, err)) return false;
    return c == s->want[item % 7] ? true : error_set(err, ERR_INTERNAL, "wrong byte");
}

static void test_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        put(name, "abcdefg");
    }
    CLEANUP(folder) struct folder *f = NULL;
    CHECK_OK(folder_open(&f, dir, e_));
    struct pool *p;
    CHECK_OK(pool_open(&p, 8, e_));
    struct shared s = {f, "abcdefg"};
    CHECK_OK(pool_try(p, 5000, read_some, &s, e_));
    pool_close(p);
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d) return 0;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static void test_descriptors_come_back(void **state)
{
    (void)state;
    put("a", "x");
    put("s/b", "x");
    int before = open_descriptors();
    for (int i = 0; i < 20; i++) {
        CLEANUP(folder) struct folder *f = NULL;
        char c;
        CHECK_OK(folder_open(&f, dir, e_));
        CHECK_OK(folder_read(f, 0, 0, &c, 1, e_));
        CHECK_OK(folder_read(f, 1, 0, &c, 1, e_));
    }
    assert_int_equal(open_descriptors(), before);
    folder_close(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_members), TEST(test_reading), TEST(test_not_regular), TEST(test_changes_are_noticed),
                                       TEST(test_names), TEST(test_places), TEST(test_threads), TEST(test_descriptors_come_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
