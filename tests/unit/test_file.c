#include "tests/checks.h"

#include "core/cleanup.h"
#include "core/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char folder[64];

static const char *at(const char *name)
{
    static char paths[4][256];
    static int next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, check_folder());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_folder_remove(folder);
    return 0;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void expect(const char *name, const char *text)
{
    CLEANUP_BUFFER struct buffer b = {0};
    CHECK_OK(file_load(AT_FDCWD, at(name), 1000, &b, e_));
    assert_string_equal((const char *)b.data, text);
}

static int entries(void)
{
    int n = 0;
    DIR *d = opendir(folder);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void test_output_appears_whole(void **state)
{
    (void)state;
    struct file_out f;
    put("out", "old");
    CHECK_OK(file_out_open(&f, at("out"), 0666, e_));
    CHECK_OK(file_out_write(&f, "ne", 2, e_));
    expect("out", "old");
    CHECK_OK(file_out_write_at(&f, 1, "ew", 2, e_));
    assert_int_equal(f.size, 3);
    CHECK_OK(file_out_commit(&f, e_));
    expect("out", "new");
    assert_int_equal(entries(), 1);
    file_out_abort(&f);
}

static void test_abort_leaves_nothing(void **state)
{
    (void)state;
    struct file_out f;
    CHECK_OK(file_out_open(&f, at("out"), 0666, e_));
    CHECK_OK(file_out_write(&f, "x", 1, e_));
    file_out_abort(&f);
    assert_int_equal(entries(), 0);
    file_out_abort(&f);
    CHECK_FAILS(file_out_open(&f, at("missing/out"), 0666, e_), ERR_FORMAT, "does not exist");
    CHECK_FAILS(file_out_open(&f, at(".."), 0666, e_), ERR_USAGE, "does not end in a name");
    assert_int_equal(entries(), 0);
}

static void test_second_writer(void **state)
{
    (void)state;
    struct file_out f, g;
    CHECK_OK(file_out_open(&f, at("out"), 0666, e_));
    CHECK_OK(file_out_write(&f, "first", 5, e_));
    CHECK_FAILS(file_out_open(&g, at("out"), 0666, e_), ERR_IO, "another process is writing");
    CHECK_OK(file_out_write(&f, "!", 1, e_));
    CHECK_OK(file_out_commit(&f, e_));
    expect("out", "first!");
    CHECK_OK(file_save(at("out"), bytes_text("again"), 0666, e_));
    expect("out", "again");
}

/* 20 processes at once: whatever appears is one of their texts, whole, and at least one of them got through. */
static void test_many_writers(void **state)
{
    (void)state;
    pid_t pids[20];
    for (int i = 0; i < 20; i++) {
        pids[i] = fork();
        if (pids[i] != 0) continue;
        char text[4096];
        memset(text, 'a' + i, sizeof text);
        struct error e = ERROR_INIT;
        bool ok = file_save(at("out"), bytes_of(text, sizeof text), 0666, &e);
        _exit(ok ? 0 : e.code == ERR_IO && strstr(e.text, "another process") ? 1 : 2);
    }
    int won = 0;
    for (int i = 0; i < 20; i++) {
        int status;
        waitpid(pids[i], &status, 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        won += WEXITSTATUS(status) == 0;
    }
    assert_true(won >= 1);
    CLEANUP_BUFFER struct buffer b = {0};
    CHECK_OK(file_load(AT_FDCWD, at("out"), 5000, &b, e_));
    assert_int_equal(b.size, 4096);
    for (size_t i = 1; i < b.size; i++) assert_int_equal(b.data[i], b.data[0]);
    assert_int_equal(entries(), 1);
}

/* What a killed run left behind has its own mode and perhaps a second name: none of it may carry over. */
static void test_leftover_temporary(void **state)
{
    (void)state;
    struct stat st;
    put(".out.ingot-tmp", "leftover, longer than the new text");
    assert_int_equal(chmod(at(".out.ingot-tmp"), 0666), 0);
    assert_int_equal(link(at(".out.ingot-tmp"), at("second-name")), 0);
    CHECK_OK(file_save(at("out"), bytes_text("secret"), 0600, e_));
    expect("out", "secret");
    expect("second-name", "leftover, longer than the new text");
    assert_int_equal(stat(at("out"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    put("victim", "untouched");
    assert_int_equal(symlink("victim", at(".out.ingot-tmp")), 0);
    CHECK_OK(file_save(at("out"), bytes_text("again"), 0600, e_));
    expect("victim", "untouched");
    expect("out", "again");
    assert_int_equal(entries(), 3);
}

static void test_output_replaces_a_link(void **state)
{
    (void)state;
    put("target", "kept");
    assert_int_equal(symlink("target", at("out")), 0);
    CHECK_OK(file_save(at("out"), bytes_text("new"), 0666, e_));
    expect("target", "kept");
    expect("out", "new");
}

static void test_reserve(void **state)
{
    (void)state;
    struct file_out f;
    CHECK_OK(file_out_open(&f, at("out"), 0666, e_));
    CHECK_OK(file_out_reserve(&f, 5, e_));
    CHECK_OK(file_out_write_at(&f, 3, "de", 2, e_));
    CHECK_OK(file_out_write_at(&f, 0, "abc", 3, e_));
    assert_int_equal(f.size, 5);
    CHECK_OK(file_out_commit(&f, e_));
    expect("out", "abcde");
    CHECK_OK(file_out_open(&f, at("out"), 0666, e_));
    CHECK_FAILS(file_out_reserve(&f, UINT64_MAX, e_), ERR_FORMAT, "too many for any file");
    CHECK_FAILS(file_out_reserve(&f, (uint64_t)1 << 62, e_), ERR_IO, "cannot reserve");
    file_out_abort(&f);
    expect("out", "abcde");
}

/* A full disk: nothing under the final name, nothing left behind. */
static void test_full_device(void **state)
{
    (void)state;
    int fd = open("/dev/full", O_RDWR);
    if (fd < 0) skip();
    struct file_out f;
    CHECK_OK(file_out_open(&f, at("out"), 0666, e_));
    assert_true(dup2(fd, f.fd) >= 0);
    CHECK_FAILS(file_out_write(&f, "x", 1, e_), ERR_IO, "cannot write 'out': No space left on device");
    file_out_abort(&f);
    close(fd);
    assert_int_equal(entries(), 0);
}

static void test_inputs_are_regular(void **state)
{
    (void)state;
    CLEANUP_BUFFER struct buffer b = {0};
    int fd;
    uint64_t size;
    assert_int_equal(mkfifo(at("fifo"), 0666), 0);
    alarm(5);    /* a reader that waits for a writer would hang here */
    CHECK_FAILS(file_load(AT_FDCWD, at("fifo"), 10, &b, e_), ERR_FORMAT, "is not a regular file");
    CHECK_FAILS(file_load(AT_FDCWD, "/dev/zero", 10, &b, e_), ERR_FORMAT, "is not a regular file");
    CHECK_FAILS(file_load(AT_FDCWD, folder, 10, &b, e_), ERR_FORMAT, "is not a regular file");
    alarm(0);
    CHECK_FAILS(file_load(AT_FDCWD, at("absent"), 10, &b, e_), ERR_FORMAT, "does not exist");
    assert_null(b.data);
    put("eleven", "01234567890");
    CHECK_FAILS(file_load(AT_FDCWD, at("eleven"), 10, &b, e_), ERR_FORMAT, "has 11 bytes, at most 10");
    CHECK_OK(file_load(AT_FDCWD, at("eleven"), 11, &b, e_));
    assert_int_equal(b.data[11], 0);
    assert_int_equal(symlink("eleven", at("link")), 0);
    CHECK_OK(file_open(AT_FDCWD, at("link"), &fd, &size, e_));
    assert_int_equal(size, 11);
    close(fd);
}

static void test_read_notices_the_end(void **state)
{
    (void)state;
    char data[8];
    int fd;
    uint64_t size;
    put("ten", "0123456789");
    CHECK_OK(file_open(AT_FDCWD, at("ten"), &fd, &size, e_));
    CHECK_OK(file_read_at(fd, "ten", 6, data, 4, e_));
    assert_memory_equal(data, "6789", 4);
    CHECK_FAILS(file_read_at(fd, "ten", 6, data, 5, e_), ERR_FORMAT, "'ten' ends at byte 10, 11 were expected");
    CHECK_FAILS(file_read_at(fd, "ten", UINT64_MAX, data, 2, e_), ERR_FORMAT, "beyond any file");
    CHECK_FAILS(file_read_at(fd, "ten", INT64_MAX, data, 2, e_), ERR_FORMAT, "beyond any file");
    close(fd);
}

static void test_map(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 3 * page + 100;
    char *text = malloc(n);
    memset(text, 'x', n);
    CHECK_OK(file_save(at("map"), bytes_of(text, n), 0666, e_));
    int fd;
    uint64_t size;
    struct file_map m, part;
    CHECK_OK(file_open(AT_FDCWD, at("map"), &fd, &size, e_));
    CHECK_OK(file_map(fd, "map", 0, size, &m, e_));
    CHECK_OK(file_map(fd, "map", page, page, &part, e_));
    CHECK_FAILS(file_map(fd, "map", 1, 10, &(struct file_map){.slot = 0}, e_), ERR_FORMAT, "does not begin on a page");
    check_bytes(m.bytes.data, text, n, "map");
    CHECK_OK(file_map_intact(&m, "map", e_));
    /* Cut inside the last page: no signal, the bytes read as zero, and the check must still notice. */
    assert_int_equal(truncate(at("map"), (off_t)(3 * page + 50)), 0);
    assert_int_equal(m.bytes.data[n - 1], 0);
    CHECK_FAILS(file_map_intact(&m, "map", e_), ERR_FORMAT, "truncated while it was read");
    CHECK_OK(file_map_intact(&part, "map", e_));
    /* Cut whole pages: touching one would kill the process. */
    assert_int_equal(truncate(at("map"), (off_t)page), 0);
    assert_int_equal(m.bytes.data[2 * page + 7], 0);
    assert_int_equal(m.bytes.data[page - 1], 'x');
    assert_int_equal(part.bytes.data[5], 0);
    CHECK_FAILS(file_map_intact(&part, "map", e_), ERR_FORMAT, "truncated while it was read");
    /* Grown back: what was read as zero is still wrong. */
    assert_int_equal(truncate(at("map"), (off_t)n), 0);
    CHECK_FAILS(file_map_intact(&part, "map", e_), ERR_FORMAT, "truncated while it was read");
    file_unmap(&m);
    file_unmap(&part);
    file_unmap(&m);
    CHECK_OK(file_map(fd, "map", 0, 0, &m, e_));
    CHECK_OK(file_map_intact(&m, "map", e_));
    file_unmap(&m);
    close(fd);
    free(text);
}

/* Every map holds a slot and a descriptor: both must come back. */
static void test_map_many(void **state)
{
    (void)state;
    put("small", "0123456789");
    int fd;
    uint64_t size;
    struct rlimit before, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){64, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    CHECK_OK(file_open(AT_FDCWD, at("small"), &fd, &size, e_));
    for (int i = 0; i < 300; i++) {
        struct file_map m;
        CHECK_OK(file_map(fd, "small", 0, size, &m, e_));
        assert_int_equal(m.bytes.data[3], '3');
        file_unmap(&m);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(fd);
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const safe[] = {"a", "a/b", "..a", "a..", "...", "a/.b", "a b"},
                      *const unsafe[] = {"", "/", "/a", ".", "..", "a/..", "a/../b", "../a", "a/./b", "./a", "a//b", "a/", "a\\b", "a/.."};
    for (size_t i = 0; i < sizeof safe / sizeof *safe; i++) assert_true(path_is_safe(safe[i]));
    for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++) assert_false(path_is_safe(unsafe[i]));
    static const struct { const char *path, *folder, *name; } rows[] = {
        {"b", ".", "b"}, {"a/b", "a", "b"}, {"a/b/", "a", "b"}, {"a/b//", "a", "b"}, {"/b", "/", "b"}, {"a//b", "a/", "b"}, {"/a/b", "/a", "b"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(free) char *dir = NULL;
        CLEANUP(free) char *name = NULL;
        CHECK_OK(path_split(rows[i].path, &dir, &name, e_));
        assert_string_equal(dir, rows[i].folder);
        assert_string_equal(name, rows[i].name);
    }
    static const char *const nameless[] = {"", "/", ".", "..", "a/.", "a/..", "//"};
    for (size_t i = 0; i < sizeof nameless / sizeof *nameless; i++) {
        char *dir, *name;
        CHECK_FAILS(path_split(nameless[i], &dir, &name, e_), ERR_USAGE, "does not end in a name");
    }
    char *joined;
    CHECK_OK(path_join(&joined, "a/", "b", e_));
    assert_string_equal(joined, "a/b");
    free(joined);
    uint64_t space;
    CHECK_OK(dir_space(at("not/there/yet"), &space, e_));
    CHECK_OK(dir_space("", &space, e_));
    CHECK_OK(dir_space("relative/and/absent", &space, e_));
    CHECK_OK(dir_make_parents("", e_));
    CHECK_OK(dir_make_parents(at("p/q/r"), e_));
    assert_int_equal(access(at("p/q"), F_OK), 0);
    assert_int_not_equal(access(at("p/q/r"), F_OK), 0);
    CHECK_OK(dir_make_parents(at("p/s/t//"), e_)); /* a slash behind the name makes it no parent */
    assert_int_equal(access(at("p/s"), F_OK), 0);
    assert_int_not_equal(access(at("p/s/t"), F_OK), 0);
}

static void test_within(void **state)
{
    (void)state;
    CHECK_OK(dir_make_parents(at("w/inner/x"), e_));
    CHECK_OK(dir_make_parents(at("w/inner2/x"), e_));
    assert_int_equal(symlink("w", at("wlink")), 0);
    CLEANUP(fd) int inner = -1;
    CHECK_OK(dir_open(at("w/inner"), &inner, e_));
    static const char *const around[] = {"w/inner", "w/inner/", "w", "wlink", "wlink/inner", "w/inner2/../inner"};
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) assert_true(dir_is_within(inner, at(around[i])));
    assert_true(dir_is_within(inner, "/"));
    assert_false(dir_is_within(inner, at("w/inner2")));
    assert_false(dir_is_within(inner, at("w/absent")));
}

static void test_remove_tree(void **state)
{
    (void)state;
    CHECK_OK(dir_make_parents(at("tree/a/b/c/x"), e_));
    put("tree/a/file", "x");
    put("outside", "kept");
    assert_int_equal(symlink("../outside", at("tree/link")), 0);
    assert_int_equal(symlink("..", at("tree/a/up")), 0);
    int fd;
    CHECK_OK(dir_open(folder, &fd, e_));
    CHECK_OK(dir_remove_tree(fd, "tree", e_));
    CHECK_OK(dir_remove_tree(fd, "tree", e_));
    close(fd);
    expect("outside", "kept");
    assert_int_equal(entries(), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_output_appears_whole), TEST(test_abort_leaves_nothing), TEST(test_second_writer), TEST(test_many_writers),
        TEST(test_leftover_temporary), TEST(test_output_replaces_a_link), TEST(test_reserve), TEST(test_full_device),
        TEST(test_inputs_are_regular), TEST(test_read_notices_the_end), TEST(test_map), TEST(test_map_many), TEST(test_paths),
        TEST(test_within), TEST(test_remove_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
