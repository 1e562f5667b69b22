#include "tests/checks.h"

#include "core/pool.h"
#include "formats/checkpoint.h"

#include <dirent.h>

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

static void test_tensor_size(void **state)
{
    (void)state;
    static const struct { enum dtype dtype; uint32_t n; uint64_t dims[4], n_elems, bytes; const char *why; } rows[] = {
        {DTYPE_F32, 0, {0}, 1, 4, NULL}, {DTYPE_BF16, 2, {3, 5}, 15, 30, NULL}, {DTYPE_U8, 3, {7, 0, 9}, 0, 0, NULL},
        {DTYPE_F4, 2, {3, 2}, 6, 3, NULL}, {DTYPE_F6_E2M3, 1, {4}, 4, 3, NULL},
        {DTYPE_U8, 1, {UINT64_MAX / 8}, UINT64_MAX / 8, UINT64_MAX / 8, NULL},
        {DTYPE_F4, 1, {3}, 0, 0, "do not fill whole bytes"}, {DTYPE_F6_E3M2, 1, {3}, 0, 0, "do not fill whole bytes"},
        {DTYPE_U8, 2, {(uint64_t)1 << 32, (uint64_t)1 << 32}, 0, 0, "the product of its shape overflows"},
        {DTYPE_F64, 1, {(uint64_t)1 << 58}, 0, 0, "its size in bits overflows"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t n, bytes;
        if (rows[i].why) {
            CHECK_FAILS(tensor_size("t", rows[i].dtype, rows[i].n, rows[i].dims, &n, &bytes, e_), ERR_FORMAT, rows[i].why);
            continue;
        }
        CHECK_OK(tensor_size("t", rows[i].dtype, rows[i].n, rows[i].dims, &n, &bytes, e_));
        assert_int_equal(n, rows[i].n_elems);
        assert_int_equal(bytes, rows[i].bytes);
    }
    static const uint64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    uint64_t n, bytes;
    CHECK_FAILS(tensor_size("t", DTYPE_U8, 9, nine, &n, &bytes, e_), ERR_UNSUPPORTED, "has 9 dimensions");
}

/* The rule of checkpoint.h, on a case small enough to work out by hand. */
static void test_layout(void **state)
{
    (void)state;
    static const struct tensor_spec specs[] = {
        {"a", DTYPE_U8, 1, {3}}, {"b", DTYPE_U8, 1, {64}}, {"c", DTYPE_BF16, 1, {1}}, {"d", DTYPE_U8, 1, {0}}, {"e", DTYPE_F32, 0, {0}},
        {"f", DTYPE_U8, 1, {128}},                      /* 3 + 64 + 2 + 0 + 4 = 73, and 128 more would be past 200 */
        {"g", DTYPE_U8, 1, {72}}, {"h", DTYPE_U8, 1, {1}}, {"big", DTYPE_U8, 1, {300}}, {"i", DTYPE_U8, 1, {0}}, {"j", DTYPE_U8, 1, {1}}};
    static const struct { uint32_t shard; uint64_t offset; } want[] = {{0, 70}, {0, 0}, {0, 68}, {0, 64}, {0, 64}, {1, 0},
                                                                       {1, 128}, {2, 0}, {3, 0}, {4, 0}, {4, 0}};
    struct shard_layout l;
    CHECK_OK(shard_layout_make(&l, specs, 11, 200, e_));
    assert_int_equal(l.n_shards, 5);
    assert_int_equal(l.n_tensors, 11);
    for (uint32_t i = 0; i < 11; i++) {
        if (l.shard[i] != want[i].shard || l.offset[i] != want[i].offset)
            fail_msg("tensor %s: shard %u offset %llu", specs[i].name, l.shard[i], (unsigned long long)l.offset[i]);
    }
    static const uint32_t first[] = {0, 5, 7, 8, 9, 11};
    for (uint32_t s = 0; s <= 5; s++) assert_int_equal(l.first[s], first[s]);
    static const uint64_t data[] = {73, 200, 1, 300, 1};
    for (uint32_t s = 0; s < 5; s++) {
        assert_int_equal(l.header_bytes[s] % 4096, 0);
        assert_int_equal(l.shard_bytes[s] - l.header_bytes[s], data[s]);
    }
    shard_layout_free(&l);
    shard_layout_free(&l);
    char name[64];
    shard_name(name, 0, 1);
    assert_string_equal(name, "model.safetensors");
    shard_name(name, 1, 12);
    assert_string_equal(name, "model-00002-of-00012.safetensors");
}

static void test_layout_refuses(void **state)
{
    (void)state;
    struct shard_layout l;
    static const struct tensor_spec twice[] = {{"a", DTYPE_U8, 1, {1}}, {"b", DTYPE_U8, 1, {1}}, {"a", DTYPE_U8, 1, {1}}},
                                    bad_text[] = {{"a\xff", DTYPE_U8, 1, {1}}},
                                    huge[] = {{"a", DTYPE_U8, 1, {(uint64_t)1 << 60}}, {"b", DTYPE_U8, 1, {(uint64_t)1 << 60}},
                                              {"c", DTYPE_U8, 1, {(uint64_t)1 << 60}}, {"d", DTYPE_U8, 1, {(uint64_t)1 << 60}}},
                                    broken[] = {{"a", DTYPE_F4, 1, {1}}};
    CHECK_FAILS(shard_layout_make(&l, twice, 3, 10, e_), ERR_FORMAT, "name 'a' is there twice");
    CHECK_FAILS(shard_layout_make(&l, bad_text, 1, 10, e_), ERR_FORMAT, "is not valid UTF-8");
    CHECK_FAILS(shard_layout_make(&l, huge, 4, UINT64_MAX, e_), ERR_FORMAT, "too large for any file");
    CHECK_FAILS(shard_layout_make(&l, broken, 1, 10, e_), ERR_FORMAT, "do not fill whole bytes");
    assert_null(l.offset);
}

#define N_SPECS 60u

struct made { struct tensor_spec specs[N_SPECS]; char names[N_SPECS][48]; struct shard_layout layout; };

static uint8_t byte_of(uint32_t tensor, uint64_t i)
{
    uint64_t s = tensor * 1000003u + i / 8;
    return (uint8_t)(check_random(&s) >> 8 * (i % 8));
}

static void make_specs(struct made *m, uint64_t seed)
{
    static const char *const odd[] = {"plain", "q\"uote", "back\\slash", "caf\xc3\xa9", "new\nline", "\xf0\x9f\x98\x80", "", "\x7f"};
    for (uint32_t i = 0; i < N_SPECS; i++) {
        struct tensor_spec *s = &m->specs[i];
        snprintf(m->names[i], sizeof m->names[i], "%s%llu.%u", odd[check_random(&seed) % 8], (unsigned long long)(check_random(&seed) % 97),
                 i);
        *s = (struct tensor_spec){.name = m->names[i], .dtype = (enum dtype)(check_random(&seed) % DTYPE_F4), .n_dims = (uint32_t)(check_random(&seed) % 4)};
        for (uint32_t d = 0; d < s->n_dims; d++) s->dims[d] = check_random(&seed) % 9;
        if (check_random(&seed) % 8 == 0) *s = (struct tensor_spec){.name = m->names[i], .dtype = DTYPE_F4, .n_dims = 2, .dims = {i, 2}};
    }
}

/* One shard, its bytes in pieces from the last to the first. */
static bool write_shard(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    struct made *m = ctx;
    (void)worker;
    struct shard_writer *w;
    uint32_t shard = (uint32_t)item;
    if (!shard_writer_open(&w, dir, m->specs, &m->layout, shard, err)) return false;
    for (uint32_t i = m->layout.first[shard + 1]; i-- > m->layout.first[shard];)
        for (uint64_t at = m->layout.bytes[i], n; at > 0; at -= n) {
            uint8_t piece[100];
            n = at < sizeof piece ? at : sizeof piece;
            for (uint64_t k = 0; k < n; k++) piece[k] = byte_of(i, at - n + k);
            if (!shard_writer_write(w, i, at - n, piece, (size_t)n, err)) {
                shard_writer_abort(w);
                return false;
            }
        }
    return shard_writer_commit(w, err);
}

static void write_all(struct made *m, uint32_t n_threads)
{
    struct pool *p;
    CHECK_OK(pool_open(&p, n_threads, e_));
    CHECK_OK(pool_try(p, m->layout.n_shards, write_shard, m, e_));
    pool_close(p);
    CHECK_OK(shard_index_write(dir, m->specs, &m->layout, e_));
}

static void check_read_back(const struct made *m)
{
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    CHECK_OK(folder_open(&f, dir, e_));
    CHECK_OK(checkpoint_open(&ck, f, e_));
    assert_int_equal(checkpoint_count(ck), N_SPECS);
    assert_null(checkpoint_remark(ck, 0));
    for (uint32_t i = 0; i < N_SPECS; i++) {
        uint32_t k = checkpoint_find(ck, m->specs[i].name);
        assert_int_not_equal(k, NAME_NONE);
        const struct tensor_info *t = checkpoint_tensor(ck, k);
        assert_int_equal(t->dtype, m->specs[i].dtype);
        assert_int_equal(t->n_dims, m->specs[i].n_dims);
        for (uint32_t d = 0; d < t->n_dims; d++) assert_int_equal(t->dims[d], m->specs[i].dims[d]);
        /* Aligned for its type, whatever comes before it. */
        if (dtype_bytes(t->dtype)) assert_int_equal(t->offset % dtype_bytes(t->dtype), 0);
        if (t->bytes % 64 == 0) assert_int_equal(t->offset % 64, 0);
        uint8_t data[8192];
        assert_true(t->bytes <= sizeof data);
        CHECK_OK(checkpoint_read(ck, k, 0, data, (size_t)t->bytes, e_));
        for (uint64_t b = 0; b < t->bytes; b++) assert_int_equal(data[b], byte_of(i, b));
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    static const uint64_t limits[] = {1, 1000, 8000, SHARD_BYTES_DEFAULT};
    static struct made m;
    for (uint64_t seed = 0; seed < 8; seed++) {
        make_specs(&m, seed);
        CHECK_OK(shard_layout_make(&m.layout, m.specs, N_SPECS, limits[seed % 4], e_));
        write_all(&m, 1);
        check_read_back(&m);
        shard_layout_free(&m.layout);
        teardown(NULL);
        setup(NULL);
    }
}

static void load_all(const struct made *m, struct buffer *out)
{
    for (uint32_t s = 0; s < m->layout.n_shards; s++) {
        char name[64], path[256];
        shard_name(name, s, m->layout.n_shards);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        CHECK_OK(file_load(-1, path, 1 << 20, &out[s], e_));
    }
}

/* The same bytes again, with any number of threads; nothing but the shards and the index is left in the folder. */
static void test_deterministic(void **state)
{
    (void)state;
    static struct made m;
    make_specs(&m, 7);
    CHECK_OK(shard_layout_make(&m.layout, m.specs, N_SPECS, 2000, e_));
    uint32_t n = m.layout.n_shards;
    assert_true(n > 3);
    struct buffer *before = calloc(n, sizeof *before), *after = calloc(n, sizeof *after);
    write_all(&m, 1);
    load_all(&m, before);
    write_all(&m, 4);
    load_all(&m, after);
    for (uint32_t s = 0; s < n; s++) {
        assert_int_equal(before[s].size, after[s].size);
        assert_int_equal(before[s].size, m.layout.shard_bytes[s]);
        check_bytes(after[s].data, before[s].data, before[s].size, "shard");
        buffer_free(&before[s]);
        buffer_free(&after[s]);
    }
    free(before);
    free(after);
    DIR *d = opendir(dir);
    uint32_t entries = 0;
    while (readdir(d)) entries++;
    closedir(d);
    assert_int_equal(entries, n + 1 + 2);
    shard_layout_free(&m.layout);
}

/* The whole file, byte for byte, from the format's description. */
static void test_bytes(void **state)
{
    (void)state;
    static const struct tensor_spec specs[] = {{"w", DTYPE_BF16, 2, {1, 2}}, {"s", DTYPE_F32, 0, {0}}, {"u\"", DTYPE_U8, 1, {64}}};
    static const char want[] = "{\"__metadata__\":{\"format\":\"pt\"},\"u\\\"\":{\"dtype\":\"U8\",\"shape\":[64],\"data_offsets\":[0,64]},"
                               "\"w\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[64,68]},"
                               "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[68,72]}}";
    struct shard_layout l;
    struct shard_writer *w;
    uint8_t data[64];
    memset(data, 'x', sizeof data);
    CHECK_OK(shard_layout_make(&l, specs, 3, SHARD_BYTES_DEFAULT, e_));
    CHECK_OK(shard_writer_open(&w, dir, specs, &l, 0, e_));
    CHECK_OK(shard_writer_write(w, 0, 0, "wWwW", 4, e_));
    CHECK_OK(shard_writer_write(w, 2, 0, data, 64, e_));
    CHECK_OK(shard_writer_write(w, 1, 2, "22", 2, e_));
    CHECK_OK(shard_writer_write(w, 1, 0, "11", 2, e_));
    CHECK_OK(shard_writer_commit(w, e_));
    CHECK_OK(shard_index_write(dir, specs, &l, e_));
    char path[128];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    CLEANUP_BUFFER struct buffer b = {0};
    CHECK_OK(file_load(-1, path, 10000, &b, e_));
    assert_int_equal(b.size, 4096 + 72);
    assert_int_equal(load_le64(b.data), 4096 - 8);
    assert_memory_equal(b.data + 8, want, sizeof want - 1);
    for (size_t i = 8 + sizeof want - 1; i < 4096; i++) assert_int_equal(b.data[i], ' ');
    for (size_t i = 0; i < 64; i++) assert_int_equal(b.data[4096 + i], 'x');
    assert_memory_equal(b.data + 4096 + 64, "wWwW1122", 8);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    shard_layout_free(&l);
}

/* As huggingface_hub writes it: json.dumps(..., indent=2, sort_keys=True) and a newline. */
static void test_index(void **state)
{
    (void)state;
    static const struct tensor_spec specs[] = {{"b", DTYPE_U8, 1, {6}}, {"a\"", DTYPE_U8, 1, {6}}, {"B", DTYPE_F32, 1, {1}}};
    struct shard_layout l;
    CHECK_OK(shard_layout_make(&l, specs, 3, 10, e_));
    CHECK_OK(shard_index_write(dir, specs, &l, e_));
    char path[128];
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    CLEANUP_BUFFER struct buffer b = {0};
    CHECK_OK(file_load(-1, path, 10000, &b, e_));
    assert_string_equal((char *)b.data,
                        "{\n  \"metadata\": {\n    \"total_size\": 16\n  },\n  \"weight_map\": {\n"
                        "    \"B\": \"model-00002-of-00002.safetensors\",\n"
                        "    \"a\\\"\": \"model-00002-of-00002.safetensors\",\n"
                        "    \"b\": \"model-00001-of-00002.safetensors\"\n  }\n}\n");
    shard_layout_free(&l);
}

static void test_writer_refuses(void **state)
{
    (void)state;
    static const struct tensor_spec specs[] = {{"a", DTYPE_U8, 1, {4}}, {"b", DTYPE_U8, 1, {4}}};
    struct shard_layout l;
    struct shard_writer *w;
    char path[128];
    CHECK_OK(shard_layout_make(&l, specs, 2, 4, e_));
    snprintf(path, sizeof path, "%s/model-00001-of-00002.safetensors", dir);
    CHECK_OK(shard_writer_open(&w, dir, specs, &l, 0, e_));
    CHECK_FAILS(shard_writer_write(w, 1, 0, "x", 1, e_), ERR_INTERNAL, "does not belong to shard 1");
    CHECK_FAILS(shard_writer_write(w, 7, 0, "x", 1, e_), ERR_INTERNAL, "does not belong");
    CHECK_FAILS(shard_writer_write(w, 0, 3, "xy", 2, e_), ERR_INTERNAL, "tensor 'a': 2 bytes written at byte 3");
    CHECK_FAILS(shard_writer_write(w, 0, UINT64_MAX, "xy", 2, e_), ERR_INTERNAL, "tensor 'a'");
    CHECK_OK(shard_writer_write(w, 0, 0, "xyz", 3, e_));
    CHECK_FAILS(shard_writer_commit(w, e_), ERR_INTERNAL, "tensor 'a': 3 bytes were written, it has 4");
    assert_int_not_equal(access(path, F_OK), 0);
    CHECK_OK(shard_writer_open(&w, dir, specs, &l, 0, e_));
    CHECK_OK(shard_writer_write(w, 0, 0, "xyz", 3, e_));
    CHECK_OK(shard_writer_write(w, 0, 0, "xyz", 3, e_));
    CHECK_FAILS(shard_writer_commit(w, e_), ERR_INTERNAL, "tensor 'a': 6 bytes were written, it has 4");
    CHECK_OK(shard_writer_open(&w, dir, specs, &l, 0, e_));
    shard_writer_abort(w);
    shard_writer_abort(NULL);
    CHECK_FAILS(shard_writer_open(&w, "/nowhere/at/all", specs, &l, 0, e_), ERR_FORMAT, "does not exist");
    assert_null(w);
    DIR *d = opendir(dir);
    uint32_t entries = 0;
    while (readdir(d)) entries++;
    closedir(d);
    assert_int_equal(entries, 2);
    shard_layout_free(&l);
}

/* Nothing at all is a checkpoint too. */
static void test_empty(void **state)
{
    (void)state;
    struct shard_layout l;
    struct shard_writer *w;
    CHECK_OK(shard_layout_make(&l, NULL, 0, 100, e_));
    CHECK_OK(shard_writer_open(&w, dir, NULL, &l, 0, e_));
    CHECK_OK(shard_writer_commit(w, e_));
    shard_layout_free(&l);
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    CHECK_OK(folder_open(&f, dir, e_));
    CHECK_OK(checkpoint_open(&ck, f, e_));
    assert_int_equal(checkpoint_count(ck), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_tensor_size), TEST(test_layout), TEST(test_layout_refuses), TEST(test_round_trip),
                                       TEST(test_deterministic), TEST(test_bytes), TEST(test_index), TEST(test_writer_refuses),
                                       TEST(test_empty)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
