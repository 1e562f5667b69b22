#include "tests/checks.h"

#include "core/cleanup.h"
#include "core/crypto.h"
#include "formats/tar.h"

#include <fcntl.h>
#include <locale.h>

static uint8_t data_byte(size_t i)
{
    return (uint8_t)(i * 7 + 3);
}

/* A whole layer in memory; the caller frees. */
static struct buffer whole_layer(const char *path, size_t n, struct tar_layer *layer)
{
    CLEANUP_BUFFER struct buffer head = {0};
    CHECK_OK(tar_layer_header(path, n, &head, layer, e_));
    struct buffer b = {.data = calloc(1, (size_t)layer->total_bytes + 1), .size = (size_t)layer->total_bytes};
    assert_non_null(b.data);
    memcpy(b.data, head.data, head.size);
    for (size_t i = 0; i < n; i++) b.data[layer->data_offset + i] = data_byte(i);
    return b;
}

static bool parse(const struct buffer *b, struct error *err)
{
    struct tar_layer layer;
    return tar_layer_parse(buffer_view(b), b->size, "layer", &layer, err);
}

/* As a file, so that the tail is looked at and libarchive is asked. */
static int as_file(const struct buffer *b)
{
    int fd = open("/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, b->data, b->size) == (ssize_t)b->size);
    return fd;
}

static void sum_header(uint8_t *h)
{
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++) sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum & 0777777u);
}

/* Layers made by an independent writer: tar_one(path, data, align=True) of the reference emitter (Python), SHA-256 of all bytes. */
static void test_same_bytes_as_reference(void **state)
{
    (void)state;
    static const struct { const char *path; size_t data_bytes; uint64_t total_bytes; const char *sha256; } rows[] = {
        {"config.json", 0, 5120, "5936b43643d6457fa747218435b14b04e7347062e55e682158df2ece749210f4"},
        {"models/config.json", 1, 5632, "22c7f9d556d162955657ef457c9ac53b89d27ddb3f72a080ddf69c1bee85e364"},
        {"models/model.safetensors", 512, 5632, "eb64aaa593bcf471c42470c4e88f2f360c6e62f555ddcdf4279c9db260ea7c34"},
        {"models/model.safetensors", 4096, 9216, "a0f947f2cf6bbf9c5d8653d57757cde15d95af9725c35a1485fe04375df7e28e"},
        {"models/a/b/c/d/e/f.bin", 100, 9728, "80d0b23d85be4d3aab3bef411780bac934541fd451bc898f8c98b1c7448ee27f"},
        {"models/a/b/c/d/e/f/g.bin", 513, 10240, "40915bc9329ffdee7041f3f4e7d400bdda7023783a234e33addc9275c4682ed6"},
        {"a/b/c/d/e/f.bin", 5000, 10240, "c3b2ce939c663f94ab9395263a3fde708dac530165bc5fa2e75eb877f6731629"},
        {"models/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", 12345, 17920,
         "977df583ed49d8f3f06fd9e1b82494dbddefb810f29eeee0037d1ef90b030bc7"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tar_layer layer;
        CLEANUP_BUFFER struct buffer b = whole_layer(rows[i].path, rows[i].data_bytes, &layer);
        struct digest d;
        char hex[DIGEST_HEX_SIZE];
        assert_int_equal(layer.total_bytes, rows[i].total_bytes);
        assert_int_equal(layer.data_offset % TAR_PAGE_BYTES, 0);
        CHECK_OK(sha256_of(buffer_view(&b), &d, e_));
        digest_hex(&d, hex);
        assert_string_equal(hex, rows[i].sha256);
    }
}

static char *repeat(const char *piece, size_t times, const char *end)
{
    char *p = calloc(1, strlen(piece) * times + strlen(end) + 1);
    for (size_t i = 0; i < times; i++) strcat(p, piece);
    return strcat(p, end);
}

/* Long names, long directories, letters beyond ASCII: both readers see the same, whatever the locale. */
static void test_round_trip(void **state)
{
    (void)state;
    char *paths[] = {
        repeat("x", 99, ""), repeat("x", 100, ""), repeat("x", 101, ""), repeat("models/", 1, "caf\xc3\xa9 model.json"),
        repeat("models/caf\xc3\xa9-", 11, "x.json"), repeat("dir45678901234567890123456789012345678901234567890/", 4, "file"),
        repeat("d/", 15, "f"), repeat("0123456789012345678901234567890123456789012345678901234567890123456789/", 14, "f"),
    };
    static const char *const locales[] = {"C", "C.UTF-8"};
    for (size_t k = 0; k < 2; k++) {
        if (!setlocale(LC_ALL, locales[k])) continue;
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
            struct tar_layer layer, seen;
            CLEANUP_BUFFER struct buffer b = whole_layer(paths[i], 700 * i, &layer);
            CLEANUP(fd) int fd = as_file(&b);
            CHECK_OK(tar_layer_read(&(struct file_place){fd, 0, b.size}, "layer", &seen, e_));
            assert_string_equal(seen.path, paths[i]);
            assert_int_equal(seen.data_bytes, 700 * i);
            assert_int_equal(seen.data_offset, layer.data_offset);
            assert_int_equal(seen.data_offset % TAR_PAGE_BYTES, 0);
            CHECK_OK(tar_layer_check(&(struct file_place){.fd = fd}, "layer", &seen, e_));
        }
    }
    setlocale(LC_ALL, "C");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) free(paths[i]);
}

/* At 8 GiB the ustar field is full. The file is sparse: only headers are written. */
static void test_large(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {TAR_OCTAL_SIZE_MAX, TAR_OCTAL_SIZE_MAX + 1, (uint64_t)9 << 30};
    for (size_t i = 0; i < 3; i++) {
        CLEANUP_BUFFER struct buffer head = {0};
        struct tar_layer layer, seen;
        CHECK_OK(tar_layer_header("models/big.safetensors", sizes[i], &head, &layer, e_));
        assert_int_equal(head.size, layer.data_offset);
        assert_int_equal(layer.data_offset % TAR_PAGE_BYTES, 0);
        CLEANUP(fd) int fd = as_file(&head);
        if (ftruncate(fd, (off_t)layer.total_bytes) != 0) skip();
        CHECK_OK(tar_layer_read(&(struct file_place){fd, 0, layer.total_bytes}, "layer", &seen, e_));
        assert_int_equal(seen.data_bytes, sizes[i]);
        CHECK_OK(tar_layer_check(&(struct file_place){.fd = fd}, "layer", &seen, e_));
    }
}

static void test_paths(void **state)
{
    (void)state;
    static const struct { const char *path, *why; } bad[] = {
        {"", "plain relative"}, {"/etc/passwd", "plain relative"}, {"models/../x", "plain relative"}, {"./x", "plain relative"},
        {"models//x", "plain relative"}, {"models/", "plain relative"}, {"a\\b", "plain relative"}, {"a\nb", "printable"},
        {"a\x7f", "printable"}, {"a\xff", "printable"}, {"\xe2\x80\xae" "a", "printable"}, {"models/.wh.config.json", "white-out"},
        {".wh..wh..opq", "white-out"}, {"a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", "more than 16"},
    };
    struct buffer head;
    struct tar_layer layer;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_FAILS(tar_path_check(bad[i].path, e_), ERR_FORMAT, bad[i].why);
        CHECK_FAILS(tar_layer_header(bad[i].path, 1, &head, &layer, e_), ERR_FORMAT, bad[i].why);
    }
    CLEANUP(free) char *longest = repeat("abcdefg/", TAR_DEPTH_MAX - 1, "");
    longest = realloc(longest, TAR_PATH_BYTES_MAX + 2);
    memset(longest + strlen(longest), 'x', TAR_PATH_BYTES_MAX + 2 - strlen(longest));
    longest[TAR_PATH_BYTES_MAX + 1] = '\0';
    CHECK_FAILS(tar_path_check(longest, e_), ERR_FORMAT, "has 1025 bytes");
    longest[TAR_PATH_BYTES_MAX] = '\0';
    CHECK_OK(tar_path_check(longest, e_));
    CHECK_FAILS(tar_layer_header("a", TAR_DATA_BYTES_MAX + 1, &head, &layer, e_), ERR_FORMAT, "at most");
    CLEANUP_BUFFER struct buffer b = {0};
    CHECK_OK(tar_layer_header(longest, 5, &b, &layer, e_));
    assert_true(b.size <= TAR_HEADER_BYTES_MAX);
}

/* One thing changed at a time, with the checksum made right again; member offsets of "models/config.json" are fixed. */
static void test_refuses(void **state)
{
    (void)state;
    enum { DIR = 0, PAX = 512, RECORDS = 1024, FILE_HEADER = 4096 - 512 };
    static const struct { size_t member, at; const char *bytes; size_t n; const char *why; } rows[] = {
        {FILE_HEADER, 156, "1", 1, "neither a directory"}, {FILE_HEADER, 156, "2", 1, "neither a directory"},
        {FILE_HEADER, 156, "3", 1, "neither a directory"}, {FILE_HEADER, 156, "4", 1, "neither a directory"},
        {FILE_HEADER, 156, "6", 1, "neither a directory"}, {FILE_HEADER, 156, "\0", 1, "neither a directory"},
        {PAX, 156, "g", 1, "neither a directory"}, {PAX, 156, "L", 1, "neither a directory"}, {PAX, 156, "5", 1, "directory with data"},
        {FILE_HEADER, 156, "5", 1, "directory with data"}, {DIR, 156, "x", 1, "second pax header"}, {DIR, 0, "/odels/", 7, "differs"},
        {FILE_HEADER, 0, "/", 1, "plain relative"}, {FILE_HEADER, 0, "../../", 6, "plain relative"}, {FILE_HEADER, 0, "modelz/", 7, "differs"},
        {FILE_HEADER, 100, "0000755", 7, "differs"}, {FILE_HEADER, 108, "0001750", 7, "differs"}, {FILE_HEADER, 136, "00000000001", 11, "differs"},
        {FILE_HEADER, 157, "target", 6, "differs"}, {FILE_HEADER, 265, "root", 4, "differs"}, {FILE_HEADER, 345, "prefix", 6, "differs"},
        {FILE_HEADER, 124, "00000000002", 11, "has 6144"}, {FILE_HEADER, 124, "\x80\0\0\0\0\0\0\0\0\0\0\1", 12, "not octal"},
        {FILE_HEADER, 124, "77777777777", 11, "has 6144"}, {FILE_HEADER, 257, "ustar  ", 7, "not a ustar header"},
        {DIR, 500, "x", 1, "differs"}, {RECORDS, 0, "99999", 5, "broken pax record"}, {RECORDS, 0, "2560 foooooo=", 13, "other than path"},
        {RECORDS, 0, "13 size=1024\n2547 comment=", 26, "two sizes"}, {RECORDS, 0, "12 size=1x\n\n2548 comment=", 25, "not a number"},
        {RECORDS, 0, "12 path=evil\n", 13, "broken pax"}, {RECORDS, 0, "13 path=evil\n2547 comment=", 26, "differs"},
        {RECORDS, 0, "x560", 4, "broken pax"}, {RECORDS, 0, "2560x", 5, "broken pax"}, {RECORDS, 0, "4 =\n", 4, "broken pax"},
        {RECORDS, 0, "5 a=\n", 5, "other than path"}, {RECORDS, 0, "14 path=a\0b..\n", 14, "too long or broken"}, {RECORDS, 0, "8 path=\n", 8, "too long or broken"},
        {RECORDS, 0, "15 size=123456x\n", 15, "broken pax"}, {RECORDS, 0, "15 size=12345/\n", 15, "not a number"},
        {RECORDS, 0, "15 size=12345:\n", 15, "not a number"}, {RECORDS, 0, "31 size=9999999999999999999999\n", 31, "not a number"},
        {RECORDS, 0, "13 sizes=1234\n", 14, "broken pax"}, {RECORDS, 0, "14 sizes=1234\n", 14, "other than path"},
        {FILE_HEADER, 124, "0000000000/", 11, "not octal"}, {FILE_HEADER, 124, "00000000008", 11, "not octal"}, {PAX, 124, "00000040001", 11, "too many pax records"},
        {PAX, 124, "00000037777", 11, "too many pax records"}, {RECORDS, 0, "2560 comment-", 13, "broken pax"}, {RECORDS, 0, "2560 path=aaa", 13, "too long"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tar_layer layer;
        CLEANUP_BUFFER struct buffer b = whole_layer("models/config.json", 1000, &layer);
        memcpy(b.data + rows[i].member + rows[i].at, rows[i].bytes, rows[i].n);
        if (rows[i].member != RECORDS) sum_header(b.data + rows[i].member);
        CHECK_FAILS(parse(&b, e_), ERR_FORMAT, rows[i].why);
    }
}

static void test_tail_and_size(void **state)
{
    (void)state;
    struct tar_layer layer, seen;
    CLEANUP_BUFFER struct buffer b = whole_layer("models/config.json", 1000, &layer);
    CLEANUP(fd) int fd = as_file(&b);
    CHECK_OK(tar_layer_read(&(struct file_place){fd, 0, b.size}, "layer", &seen, e_));
    CHECK_FAILS(tar_layer_read(&(struct file_place){fd, 0, b.size + 512}, "layer", &seen, e_), ERR_FORMAT, "ends at byte");
    assert_int_equal(ftruncate(fd, (off_t)b.size + 512), 0);
    CHECK_FAILS(tar_layer_read(&(struct file_place){fd, 0, b.size + 512}, "layer", &seen, e_), ERR_FORMAT, "has 6656 bytes");
    CHECK_FAILS(tar_layer_read(&(struct file_place){fd, 0, b.size - 512}, "layer", &seen, e_), ERR_FORMAT, "has 5632 bytes");
    CHECK_FAILS(tar_layer_read(&(struct file_place){fd, 0, 4000}, "layer", &seen, e_), ERR_FORMAT, "ends too early");
    CHECK_FAILS(tar_layer_read(&(struct file_place){fd, 0, 0}, "layer", &seen, e_), ERR_FORMAT, "ends too early");
    static const size_t places[] = {4096 + 1000, 4096 + 1023, 4096 + 1024, 6143};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pwrite(fd, "x", 1, (off_t)places[i]), 1);
        CHECK_FAILS(tar_layer_read(&(struct file_place){fd, 0, b.size}, "layer", &seen, e_), ERR_FORMAT, "behind the file's data");
        assert_int_equal(pwrite(fd, "", 1, (off_t)places[i]), 1);
    }
    CHECK_OK(tar_layer_read(&(struct file_place){fd, 0, b.size}, "layer", &seen, e_));
}

/* Every byte of the headers counts: no change of one byte is taken. */
static void test_every_header_byte(void **state)
{
    (void)state;
    struct tar_layer layer;
    CLEANUP_BUFFER struct buffer b = whole_layer("models/sub/config.json", 3, &layer);
    for (size_t i = 0; i < layer.data_offset; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            b.data[i] ^= (uint8_t)(1u << bit);
            struct error e = ERROR_INIT;
            if (parse(&b, &e)) fail_msg("bit %u of header byte %zu may be flipped", bit, i);
            b.data[i] ^= (uint8_t)(1u << bit);
        }
    CHECK_OK(parse(&b, e_));
}

/* libarchive's view must be able to differ. */
static void test_second_reader_refuses(void **state)
{
    (void)state;
    struct tar_layer layer, other;
    CLEANUP_BUFFER struct buffer one = whole_layer("models/config.json", 1000, &layer), two = whole_layer("models/evil.json", 10, &other);
    CLEANUP(fd) int fd = as_file(&one);
    CHECK_OK(tar_layer_check(&(struct file_place){.fd = fd}, "layer", &layer, e_));
    other = layer;
    strcpy(other.path, "models/config.jsom");
    CHECK_FAILS(tar_layer_check(&(struct file_place){.fd = fd}, "layer", &other, e_), ERR_FORMAT, "another name");
    strcpy(other.path, "models/config.jso");
    CHECK_FAILS(tar_layer_check(&(struct file_place){.fd = fd}, "layer", &other, e_), ERR_FORMAT, "another name");
    strcpy(other.path, "modelz/config.json");
    CHECK_FAILS(tar_layer_check(&(struct file_place){.fd = fd}, "layer", &other, e_), ERR_FORMAT, "another directory");
    strcpy(other.path, "config.json");
    CHECK_FAILS(tar_layer_check(&(struct file_place){.fd = fd}, "layer", &other, e_), ERR_FORMAT, "other than a regular file");
    other = layer;
    other.data_bytes--;
    CHECK_FAILS(tar_layer_check(&(struct file_place){.fd = fd}, "layer", &other, e_), ERR_FORMAT, "another file size");
    other = layer;
    other.data_offset++;
    CHECK_FAILS(tar_layer_check(&(struct file_place){.fd = fd}, "layer", &other, e_), ERR_FORMAT, "at another place");
    /* A second member where the end blocks should be. */
    struct buffer both = {.data = malloc(one.size + two.size), .size = one.size - 1024 + two.size};
    memcpy(both.data, one.data, one.size - 1024);
    memcpy(both.data + one.size - 1024, two.data, two.size);
    CLEANUP(fd) int fd2 = as_file(&both);
    other = layer;
    other.total_bytes = both.size;
    CHECK_FAILS(tar_layer_check(&(struct file_place){.fd = fd2}, "layer", &other, e_), ERR_FORMAT, "a second file");
    CHECK_FAILS(tar_layer_read(&(struct file_place){fd2, 0, both.size}, "layer", &other, e_), ERR_FORMAT, "has 1");
    free(both.data);
    memset(one.data, 'x', 512);
    CLEANUP(fd) int fd3 = as_file(&one);
    CHECK_FAILS(tar_layer_check(&(struct file_place){.fd = fd3}, "layer", &layer, e_), ERR_FORMAT, "libarchive cannot read");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_as_reference), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_large),
        cmocka_unit_test(test_paths), cmocka_unit_test(test_refuses), cmocka_unit_test(test_tail_and_size),
        cmocka_unit_test(test_every_header_byte), cmocka_unit_test(test_second_reader_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
