#include "tests/checks.h"

#include "core/memory.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"

#include <sys/stat.h>

static char dir[64];

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

static void put_bytes(const char *name, const void *data, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) fail_msg("cannot write %s", path);
}

/* A file with this header text and n_data bytes 0, 1, 2 ... behind it. */
static void put(const char *name, const char *header, size_t n_data)
{
    size_t n = strlen(header);
    uint8_t *data = malloc(8 + n + n_data);
    store_le64(data, n);
    memcpy(data + 8, header, n);
    for (size_t i = 0; i < n_data; i++) data[8 + n + i] = (uint8_t)i;
    put_bytes(name, data, 8 + n + n_data);
    free(data);
}

static struct folder *folder;

static bool open_checkpoint(struct checkpoint **ck, struct error *err)
{
    *ck = NULL;
    folder_close(folder);
    return folder_open(&folder, dir, err) && checkpoint_open(ck, folder, err);
}

/* With quotes written as ' for legibility. */
static void put_quoted(const char *name, const char *header, size_t n_data)
{
    char text[2048];
    snprintf(text, sizeof text, "%s", header);
    for (char *p = text; *p; p++)
        if (*p == '\'') *p = '"';
    put(name, text, n_data);
}

#define A "'a':{'dtype':'U8','shape':[1],'data_offsets':[0,1]}"
#define ONE(name) "{'" name "':{'dtype':'U8','shape':[1],'data_offsets':[0,1]}}"
#define SHAPE(s, e) "{'a':{'dtype':'U8','shape':[" s "],'data_offsets':[0," e "]}}"
#define OFFSETS(o) "{'a':{'dtype':'U8','shape':[1],'data_offsets':" o "}}"
#define DTYPE(d) "{'a':{'dtype':" d ",'shape':[8],'data_offsets':[0,8]}}"
#define META(m) "{" A ",'__metadata__':" m "}"

/* Each of these is taken by the reference reader too (safetensors 0.8.0). */
static void test_accepts(void **state)
{
    (void)state;
    static const struct { const char *header; size_t n_data; uint32_t n_tensors; } rows[] = {
        {"{}", 0, 0}, {"{" A "}", 1, 1}, {"{" A "}      ", 1, 1}, {"{" A "}\n\t\r ", 1, 1}, {" {" A "}", 1, 1},
        {"{ 'a' : { 'shape' : [ 1 ] ,\n'data_offsets':[ 0 , 1 ],'dtype':'U8' } }", 1, 1},
        {META("{}"), 1, 1}, {META("{'format':'pt','x':''}"), 1, 1}, {META("null"), 1, 1}, {"{'__metadata__':{'a':'b'}}", 0, 0},
        {"{'__metadata__':{'dtype':'U8','shape':'x'}}", 0, 0}, {"{'\\u005f_metadata__':{'a':'b'}}", 0, 0},
        {SHAPE("", "1"), 1, 1}, {SHAPE("1,1,1,1,1,1,1,1", "1"), 1, 1}, {SHAPE("0", "0"), 0, 1},
        {SHAPE("0,18446744073709551615", "0"), 0, 1},
        {"{'a':{'dtyp\\u0065':'U\\u0038','shape':[1],'data_offsets':[0,1]}}", 1, 1}, {ONE("\\u00e9\\ud83d\\ude00"), 1, 1}, {ONE(""), 1, 1},
        {ONE("a\\n\\u001b[31m"), 1, 1},
        {"{'b':{'dtype':'U8','shape':[2],'data_offsets':[1,3]}," A "}", 3, 2},       /* not in the order of the bytes */
        /* empty tensors before, between and behind others */
        {"{'z':{'dtype':'U8','shape':[0],'data_offsets':[1,1]}," A ",'y':{'dtype':'F32','shape':[2,0],'data_offsets':[0,0]},"
         "'b':{'dtype':'U8','shape':[1],'data_offsets':[1,2]},'x':{'dtype':'U8','shape':[0],'data_offsets':[2,2]}}", 2, 5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(checkpoint) struct checkpoint *ck = NULL;
        put_quoted("model.safetensors", rows[i].header, rows[i].n_data);
        struct error e = ERROR_INIT;
        if (!open_checkpoint(&ck, &e)) fail_msg("%s: %s", rows[i].header, e.text);
        assert_int_equal(checkpoint_count(ck), rows[i].n_tensors);
        assert_int_equal(checkpoint_bytes(ck), rows[i].n_data);
    }
}

static void test_dtypes(void **state)
{
    (void)state;
    /* The list of the format's documentation and its reader: name, bits. */
    static const struct { const char *name; uint32_t bits; } rows[] = {
        {"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8}, {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
        {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16}, {"I32", 32}, {"U32", 32}, {"F32", 32},
        {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64}};
    assert_int_equal(sizeof rows / sizeof *rows, DTYPE_Q8_0); /* which is GGUF's, and the last */
    enum dtype ignored;
    assert_false(dtype_parse("Q8_0", 4, &ignored));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char header[256];
        snprintf(header, sizeof header, "{'a':{'dtype':'%s','shape':[3,8],'data_offsets':[0,%u]}}", rows[i].name, 3 * rows[i].bits);
        put_quoted("model.safetensors", header, 3 * rows[i].bits);
        CLEANUP(checkpoint) struct checkpoint *ck = NULL;
        CHECK_OK(open_checkpoint(&ck, e_));
        const struct tensor_info *t = checkpoint_tensor(ck, 0);
        assert_string_equal(dtype_name(t->dtype), rows[i].name);
        assert_int_equal(dtype_bits(t->dtype), rows[i].bits);
        assert_int_equal(dtype_bytes(t->dtype), rows[i].bits / 8);
        assert_int_equal(t->n_elems, 24);
        assert_int_equal(t->bytes, 3 * rows[i].bits);
        assert_int_equal(t->n_dims, 2);
        assert_int_equal(t->dims[0], 3);
        assert_int_equal(t->dims[1], 8);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct { const char *header; size_t n_data; const char *why; enum error_code code; } rows[] = {
        {"", 0, "ends too early", ERR_FORMAT}, {"{", 0, "ends too early", ERR_FORMAT},
        {"[]", 0, "not what a safetensors header", ERR_FORMAT},
        {"null", 0, "not what a safetensors header", ERR_FORMAT}, {"{" A "}x", 1, "text after the value", ERR_FORMAT},
        {"{" A "}{}", 1, "text after the value", ERR_FORMAT}, {"{" A ",}", 1, "expected a key", ERR_FORMAT},
        {"\xef\xbb\xbf{" A "}", 1, "not a JSON value", ERR_FORMAT}, {"{'\xff':{}}", 0, "invalid UTF-8", ERR_FORMAT},
        {"{'\\ud800':{}}", 0, "bad escape", ERR_FORMAT}, {"{'a\nb':{}}", 0, "control byte", ERR_FORMAT},
        {"{'a':1}", 0, "expected an object", ERR_FORMAT}, {"{'a':['U8',[1],[0,1]]}", 1, "expected an object", ERR_FORMAT},
        {"{'a':{}}", 0, "dtype is missing", ERR_FORMAT}, {"{'a':{'dtype':'U8','data_offsets':[0,1]}}", 1, "shape is missing", ERR_FORMAT},
        {"{'a':{'dtype':'U8','shape':[1]}}", 1, "data_offsets is missing", ERR_FORMAT},
        {"{'a':{'dtype':'U8','dtype':'U8','shape':[1],'data_offsets':[0,1]}}", 1, "field 'dtype' is there twice", ERR_FORMAT},
        {"{'a':{'dtype':'U8','shape':[1],'sh\\u0061pe':[1],'data_offsets':[0,1]}}", 1, "is there twice", ERR_FORMAT},
        {"{'a':{'dtype':'U8','shape':[1],'data_offsets':[0,1],'data_offsets':[0,1]}}", 1, "'data_offsets' is there twice", ERR_FORMAT},
        {"{'a':{'dtype':'U8','shape':[1],'data_offsets':[0,1],'stride':1}}", 1, "field 'stride' is not known", ERR_UNSUPPORTED},
        {DTYPE("'U9'"), 8, "unknown dtype 'U9'", ERR_FORMAT}, {DTYPE("'u8'"), 8, "unknown dtype", ERR_FORMAT},
        {DTYPE("''"), 8, "unknown dtype", ERR_FORMAT}, {DTYPE("8"), 8, "dtype must be a string", ERR_FORMAT},
        {DTYPE("'U8\\u0000'"), 8, "unknown dtype", ERR_FORMAT}, {DTYPE("'F4'"), 8, "make 4 bytes", ERR_FORMAT},
        {DTYPE("'UUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUU'"), 8, "unknown dtype", ERR_FORMAT},
        {"{'a':{'dtype':'F4','shape':[3],'data_offsets':[0,2]}}", 2, "do not fill whole bytes", ERR_FORMAT},
        {SHAPE("-1", "1"), 1, "must hold integers", ERR_FORMAT}, {SHAPE("1.0", "1"), 1, "must hold integers", ERR_FORMAT},
        {SHAPE("1e0", "1"), 1, "must hold integers", ERR_FORMAT}, {SHAPE("-0", "0"), 0, "must hold integers", ERR_FORMAT},
        {SHAPE("'1'", "1"), 1, "must hold integers", ERR_FORMAT}, {SHAPE("[1]", "1"), 1, "must hold integers", ERR_FORMAT},
        {SHAPE("true", "1"), 1, "must hold integers", ERR_FORMAT}, {SHAPE("01", "1"), 1, "expected ','", ERR_FORMAT},
        {SHAPE("18446744073709551616", "0"), 0, "must hold integers", ERR_FORMAT},
        {SHAPE("1,1,1,1,1,1,1,1,1", "1"), 1, "more than 8 numbers", ERR_UNSUPPORTED},
        {"{'a':{'dtype':'U8','shape':1,'data_offsets':[0,1]}}", 1, "must be a list", ERR_FORMAT},
        /* Products that wrap to what the offsets say. */
        {SHAPE("4194305,4194305,211106198978564", "4"), 4, "the product of its shape overflows", ERR_FORMAT},
        {SHAPE("18446744073709551615,2,0", "0"), 0, "the product of its shape overflows", ERR_FORMAT},
        {"{'a':{'dtype':'F32','shape':[4611686018427387905],'data_offsets':[0,4]}}", 4, "its size in bits overflows", ERR_FORMAT},
        {"{'a':{'dtype':'U8','shape':[2305843009213693953],'data_offsets':[0,1]}}", 1, "its size in bits overflows", ERR_FORMAT},
        {OFFSETS("[0]"), 1, "must hold two numbers", ERR_FORMAT}, {OFFSETS("[0,1,1]"), 1, "more than 2 numbers", ERR_FORMAT},
        {OFFSETS("[]"), 1, "must hold two numbers", ERR_FORMAT}, {OFFSETS("null"), 1, "must be a list", ERR_FORMAT},
        {OFFSETS("[1,0]"), 1, "data_offsets are 1 to 0", ERR_FORMAT}, {OFFSETS("[0,2]"), 2, "make 1 bytes", ERR_FORMAT},
        {OFFSETS("[1,2]"), 2, "begins at byte 1", ERR_FORMAT}, {OFFSETS("[1,2]"), 1, "it is truncated", ERR_FORMAT},
        {OFFSETS("[18446744073709551615,0]"), 1, "data_offsets are", ERR_FORMAT},
        {OFFSETS("[18446744073709551614,18446744073709551615]"), 1, "it is truncated", ERR_FORMAT},
        {"{" A "}", 0, "it is truncated", ERR_FORMAT}, {"{" A "}", 2, "describes 1 bytes of data, the file has 2", ERR_FORMAT},
        {"{}", 1, "describes 0 bytes of data, the file has 1", ERR_FORMAT},
        {"{" A ",'b':{'dtype':'U8','shape':[1],'data_offsets':[0,1]}}", 1, "begins at byte 0 of the data, the one before it ends at 1",
         ERR_FORMAT},
        {"{" A ",'b':{'dtype':'U8','shape':[1],'data_offsets':[2,3]}}", 3, "begins at byte 2 of the data, the one before it ends at 1",
         ERR_FORMAT},
        {"{'a':{'dtype':'U8','shape':[2],'data_offsets':[0,2]},'z':{'dtype':'U8','shape':[0],'data_offsets':[1,1]}}", 2, "begins at byte 1",
         ERR_FORMAT},
        {"{" A ",'a':{'dtype':'U8','shape':[1],'data_offsets':[1,2]}}", 2, "tensor 'a' is there twice", ERR_FORMAT},
        {"{" A ",'\\u0061':{'dtype':'U8','shape':[1],'data_offsets':[1,2]}}", 2, "tensor 'a' is there twice", ERR_FORMAT},
        {ONE("a\\u0000b"), 1, "NUL byte", ERR_FORMAT},
        {META("{'a':1}"), 1, "expected a string", ERR_FORMAT}, {META("{'a':null}"), 1, "expected a string", ERR_FORMAT},
        {META("[]"), 1, "must be an object", ERR_FORMAT}, {META("'x'"), 1, "must be an object", ERR_FORMAT},
        {META("{'a':{'b':'c'}}"), 1, "expected a string", ERR_FORMAT},
        {META("{'a':'b','\\u0061':'c'}"), 1, "name 'a' is there twice", ERR_FORMAT},
        {META("{}") " ", 0, "it is truncated", ERR_FORMAT},
        {"{'__metadata__':{},'__metadata__':{}}", 0, "__metadata__ is there twice", ERR_FORMAT},
        {META("{'a':'b'"), 1, "ends too early", ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct checkpoint *ck;
        put_quoted("model.safetensors", rows[i].header, rows[i].n_data);
        struct error e = ERROR_INIT;
        if (open_checkpoint(&ck, &e)) fail_msg("%s: taken", rows[i].header);
        if (e.code != rows[i].code || !strstr(e.text, rows[i].why)) fail_msg("%s: %s, expected '%s'", rows[i].header, e.text, rows[i].why);
        assert_non_null(strstr(e.text, "model.safetensors"));
    }
}

/* The eight bytes before the header. */
static void test_lengths(void **state)
{
    (void)state;
    struct checkpoint *ck;
    uint8_t file[12] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    for (size_t n = 0; n < 8; n++) {
        put_bytes("model.safetensors", file, n);
        CHECK_FAILS(open_checkpoint(&ck, e_), ERR_FORMAT, "too few for a safetensors file");
    }
    put_bytes("model.safetensors", file, 9);
    CHECK_FAILS(open_checkpoint(&ck, e_), ERR_FORMAT, "the header length is 2 bytes, the file has 1 after it: it is truncated");
    static const uint64_t lengths[] = {3, 100000000, 100000001, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7,
                                       UINT64_MAX - 8};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        store_le64(file, lengths[i]);
        put_bytes("model.safetensors", file, 10);
        CHECK_FAILS(open_checkpoint(&ck, e_), ERR_FORMAT, lengths[i] > 100000000 ? "at most 100000000 are allowed" : "it is truncated");
    }
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n";
    put_bytes("model.safetensors", lfs, sizeof lfs - 1);
    CHECK_FAILS(open_checkpoint(&ck, e_), ERR_FORMAT, "is a Git LFS pointer");
}

/* Cut at every place, and one byte longer: never taken. */
static void test_every_truncation(void **state)
{
    (void)state;
    const char *header = "{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                         "\"y\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]}}  ";
    size_t n = strlen(header), whole = 8 + n + 11;
    uint8_t *file = calloc(1, whole + 1);
    store_le64(file, n);
    memcpy(file + 8, header, n);
    struct checkpoint *ck;
    for (size_t size = 0; size <= whole + 1; size++) {
        put_bytes("model.safetensors", file, size);
        struct error e = ERROR_INIT;
        if (open_checkpoint(&ck, &e) != (size == whole)) fail_msg("%zu of %zu bytes: %s", size, whole, e.text);
        checkpoint_close(ck);
    }
    free(file);
}

static void test_order_and_bytes(void **state)
{
    (void)state;
    put_quoted("model.safetensors",
               "{'c':{'dtype':'U8','shape':[2],'data_offsets':[5,7]},'b':{'dtype':'I16','shape':[2],'data_offsets':[0,4]},"
               "'e2':{'dtype':'U8','shape':[0],'data_offsets':[4,4]},'a':{'dtype':'U8','shape':[1],'data_offsets':[4,5]},"
               "'e1':{'dtype':'U8','shape':[0],'data_offsets':[4,4]}}", 7);
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    CHECK_OK(open_checkpoint(&ck, e_));
    static const char *const want[] = {"b", "e2", "e1", "a", "c"};
    for (uint32_t i = 0; i < 5; i++) {
        assert_string_equal(checkpoint_tensor(ck, i)->name, want[i]);
        assert_int_equal(checkpoint_find(ck, want[i]), i);
    }
    assert_int_equal(checkpoint_find(ck, "d"), NAME_NONE);
    assert_string_equal(checkpoint_format_name(ck), "safetensors");
    assert_ptr_equal(checkpoint_folder(ck), folder);
    uint8_t data[4] = {9, 9, 9, 9};
    CHECK_OK(checkpoint_read(ck, 4, 0, data, 2, e_));
    assert_true(data[0] == 5 && data[1] == 6);
    CHECK_OK(checkpoint_read(ck, 0, 1, data, 3, e_));
    assert_true(data[0] == 1 && data[2] == 3);
    CHECK_OK(checkpoint_read(ck, 1, 0, data, 0, e_));
    CHECK_FAILS(checkpoint_read(ck, 3, 0, data, 2, e_), ERR_INTERNAL, "tensor 'a': 2 bytes at byte 0");
    CHECK_FAILS(checkpoint_read(ck, 3, UINT64_MAX, data, 1, e_), ERR_INTERNAL, "tensor 'a'");
    /* The digest is over the length and the text, and nothing else. */
    uint32_t n;
    CLEANUP_BUFFER struct buffer file = {0};
    CHECK_OK(folder_load(folder, "model.safetensors", 4096, &file, e_));
    struct digest want_digest;
    CHECK_OK(sha256_of(bytes_of(file.data, file.size - 7), &want_digest, e_));
    const struct checkpoint_file *files = checkpoint_files(ck, &n);
    assert_int_equal(n, 1);
    assert_true(digest_equal(&files[0].header, &want_digest));
}

/* A header of 20 MB with 330 000 tensors, in an order that fits neither names nor bytes: memory stays within a small
 * multiple of the header, time near linear. (The largest header allowed, 100 MB, takes 0.3 GB and one second.) */
static void test_large_header(void **state)
{
    (void)state;
    enum { TENSORS = 330000, STEP = 123457 };
    char *text = malloc((size_t)TENSORS * 96 + 3), *p = text;
    for (uint64_t i = 0; i < TENSORS; i++) {
        unsigned at = (unsigned)(i * STEP % TENSORS);
        p += sprintf(p, "%c\"%x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%u,%u]}", i ? ',' : '{', at * 77777u, at, at + 1);
    }
    strcpy(p, "}");
    put("model.safetensors", text, TENSORS);
    size_t header_bytes = strlen(text);
    free(text);
    uint64_t before = memory_peak();
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    CHECK_OK(open_checkpoint(&ck, e_));
    assert_int_equal(checkpoint_count(ck), TENSORS);
    assert_int_equal(checkpoint_tensor(ck, 1000)->offset - checkpoint_tensor(ck, 0)->offset, 1000);
    print_message("header %zu MB, memory + %llu MB\n", header_bytes >> 20, (unsigned long long)(memory_peak() - before) >> 20);
#ifndef __SANITIZE_ADDRESS__
    assert_true(memory_peak() - before < 5 * header_bytes);
#endif
}

/* Hostile names come out as one printable line. */
static void test_message(void **state)
{
    (void)state;
    struct checkpoint *ck;
    char header[1200], name[1000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"?\"}}", name);
    put("model.safetensors", header, 0);
    CHECK_FAILS(open_checkpoint(&ck, e_), ERR_FORMAT, "unknown dtype '?'");
    put_quoted("model.safetensors", "{'a\\n\\u001b\\u202e':{'dtype':'?\\u0007'}}", 0);
    CHECK_FAILS(open_checkpoint(&ck, e_), ERR_FORMAT, "tensor 'a\\x0a\\x1b\\xe2\\x80\\xae': unknown dtype '?\\u0007'");
}

static int close_folder(void **state)
{
    (void)state;
    folder_close(folder);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_accepts), TEST(test_dtypes), TEST(test_refuses), TEST(test_lengths),
                                       TEST(test_every_truncation), TEST(test_order_and_bytes), TEST(test_large_header), TEST(test_message)};
    return cmocka_run_group_tests(tests, NULL, close_folder);
}
