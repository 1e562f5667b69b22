#include "tests/package_fixture.h"

#include "formats/folder.h"
#include "formats/tar.h"

#include <signal.h>
#include <sys/resource.h>

static struct fixture fx;

static int setup(void **state)
{
    (void)state;
    fixture_open(&fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_close(&fx);
    return 0;
}

static bool pack(const char *name, const struct progress *pr, uint32_t n_threads, bool replace, struct digest *image, struct error *err)
{
    struct pool *pool = NULL;
    struct pack_result r;
    if (n_threads) CHECK_OK(pool_open(&pool, n_threads, e_));
    struct pack_options o = {.source = fx.model, .profiles = fx.profiles, .ref = fixture_ref(&fx, name, "v1"), .progress = pr, .pool = pool,
                             .replace = replace};
    bool ok = pack_run(&o, &r, err);
    pool_close(pool);
    if (ok && image) *image = r.image;
    pack_result_free(&r);
    return ok;
}

static void same(const char *a, const char *b)
{
    run_command("diff -r %s/%s %s/%s", fx.root, a, fx.root, b);
}

static void absent(const char *name)
{
    run_command("! ls -A %s | grep -q %s", fx.root, name);
}

/* A file of several chunks, so that reading, writing and hashing overlap. */
static void add_large_file(size_t bytes)
{
    char path[160];
    uint64_t seed = 3;
    CLEANUP(free) uint8_t *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)(check_random(&seed) >> 5);
    snprintf(path, sizeof path, "%s/model-2.safetensors", fx.model);
    CHECK_OK(file_save(path, bytes_of(data, bytes), 0666, e_));
}

static void test_same_bytes(void **state)
{
    (void)state;
    struct digest a, b, c;
    add_large_file(((size_t)9 << 20) + 77);
    CHECK_OK(pack("a", NULL, 0, false, &a, e_));
    run_command("find %s -type f -exec touch -d @1 {} +", fx.model);
    CHECK_OK(pack("b", NULL, 4, false, &b, e_));
    run_command("cp -r %s %s/copy", fx.model, fx.root);
    setenv("TZ", "Asia/Tokyo", 1);
    umask(077);
    CHECK_OK(pack("c", NULL, 16, false, &c, e_));
    umask(022);
    unsetenv("TZ");
    same("a", "b");
    same("a", "c");
    assert_true(digest_equal(&a, &b) && digest_equal(&a, &c));
    struct pack_options o = {.source = fx.model, .ref = fixture_ref(&fx, "d", "v1")};
    struct pack_result r;
    CHECK_OK(pack_run(&o, &r, e_));
    assert_false(digest_equal(&r.image, &a));
    assert_int_equal(r.n_files, 4);
    pack_result_free(&r);
    struct error e;
    fixture_sign(&fx, "a", "v1", fx.key);
    if (fixture_verify(&fx, "a", "v1", fx.pub, &a, &e) != VERDICT_PASS) fail_msg("%s", e.text);
    run_command("rm -rf %s/[abcd] %s/copy %s/model-2.safetensors", fx.root, fx.root, fx.model);
}

/* The result says what an independent program finds in the blobs. */
static void test_result(void **state)
{
    (void)state;
    CLEANUP(json) json_t *annotations = json_pack("{s:s}", "ingot.plan", "p");
    struct pack_options o = {.source = fx.model, .profiles = fx.profiles, .ref = fixture_ref(&fx, "r", "v1"), .annotations = annotations};
    CLEANUP(pack_result) struct pack_result r;
    static const char *const paths[] = {"models/config.json", "models/model.safetensors", "models/sub/template.jinja", "profiles/vllm/b200.yaml"};
    uint64_t bytes = 0;
    CHECK_OK(pack_run(&o, &r, e_));
    assert_int_equal(r.n_files, 4);
    for (uint32_t i = 0; i < 4; i++) {
        char file[DIGEST_HEX_SIZE], layer[DIGEST_HEX_SIZE];
        assert_string_equal(r.files[i].path, paths[i]);
        digest_hex(&r.files[i].digest, file);
        digest_hex(&r.files[i].layer, layer);
        run_command("cd %s && echo '%s  %s' | sed 's#  models/#  model/#' | sha256sum -c --quiet", fx.root, file, paths[i]);
        run_command("cd %s/r/blobs/sha256 && echo '%s  %s' | sha256sum -c --quiet", fx.root, layer, layer);
        struct stat st;
        char path[256];
        blob_path(&fx, "r", layer, path);
        assert_int_equal(stat(path, &st), 0);
        bytes += (uint64_t)st.st_size;
    }
    assert_int_equal(r.bytes, bytes);
    CLEANUP(json) json_t *index = index_of(&fx, "r");
    CLEANUP(json) json_t *m = blob_json(&fx, "r", image_entry(index));
    assert_string_equal(oci_annotation(json_object_get(m, "annotations"), "ingot.plan"), "p");
    run_command("rm -rf %s/r", fx.root);
}

static void zip_layers(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_object_set_new(json_array_get(json_object_get(m, "layers"), 0), "mediaType", json_string("application/vnd.oci.image.layer.v1.tar+gzip"));
}

/* Read in place, the package is the model again. */
static void test_read_back(void **state)
{
    (void)state;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(folder) struct folder *g = NULL;
    CHECK_OK(pack("f", NULL, 0, false, NULL, e_));
    CHECK_OK(folder_open(&f, fixture_ref(&fx, "f", "v1"), e_));
    CHECK_OK(folder_open(&g, fx.model, e_));
    assert_int_equal(folder_count(f), folder_count(g));
    for (uint32_t i = 0; i < folder_count(g); i++) {
        CLEANUP_BUFFER struct buffer a = {0};
        CLEANUP_BUFFER struct buffer b = {0};
        int fd;
        uint64_t offset;
        assert_string_equal(folder_name(f, i), folder_name(g, i));
        CHECK_OK(folder_load(f, folder_name(g, i), 1 << 20, &a, e_));
        CHECK_OK(folder_load(g, folder_name(g, i), 1 << 20, &b, e_));
        assert_int_equal(a.size, b.size);
        check_bytes(a.data, b.data, a.size, folder_name(g, i));
        CHECK_OK(folder_place(f, i, &fd, &offset, e_));
        assert_int_equal(offset % TAR_PAGE_BYTES, 0);
    }
    struct folder *none;
    CHECK_FAILS(folder_open(&none, fixture_ref(&fx, "f", "v2"), e_), ERR_FORMAT, "no image has the tag 'v2'");
    CHECK_FAILS(folder_open(&none, fixture_ref(&fx, "absent", "v1"), e_), ERR_FORMAT, "does not exist");
    /* And can be packed again. */
    char source[160];
    struct pack_result r, s;
    strcpy(source, fixture_ref(&fx, "f", "v1"));
    struct pack_options o = {.source = source, .ref = fixture_ref(&fx, "again", "v1")};
    CHECK_OK(pack_run(&o, &r, e_));
    o.source = fx.model;
    o.replace = true;
    CHECK_OK(pack_run(&o, &s, e_));
    assert_true(digest_equal(&r.image, &s.image));
    pack_result_free(&r);
    pack_result_free(&s);
    run_command("cp -r %s/f %s/g && rm %s/g/oci-layout", fx.root, fx.root, fx.root);
    CHECK_FAILS(folder_open(&none, fixture_ref(&fx, "g", "v1"), e_), ERR_FORMAT, "'oci-layout' is missing");
    run_command("cp %s/f/oci-layout %s/g/ && cd %s/g/blobs/sha256 && chmod u+w * && sed -i s/config.json/konfig.json/ $(grep -l rootfs *)", fx.root, fx.root, fx.root);
    CHECK_OK(folder_open(&none, fixture_ref(&fx, "g", "v1"), e_));   /* digests of layers and config are verify's work */
    folder_close(none);
    edit_manifest(&fx, "g", zip_layers);
    CHECK_FAILS(folder_open(&none, fixture_ref(&fx, "g", "v1"), e_), ERR_UNSUPPORTED, "cannot be read in place");
    run_command("rm -rf %s/g", fx.root);
    run_command("truncate -s -1 $(ls -S %s/f/blobs/sha256/* | head -1)", fx.root);
    CHECK_FAILS(folder_open(&none, fixture_ref(&fx, "f", "v1"), e_), ERR_FORMAT, "expected 10240 bytes, found 10239");
    run_command("rm -rf %s/f %s/again", fx.root, fx.root);
}

static void test_refuses(void **state)
{
    (void)state;
    struct pack_result r;
    char source[160], ref[160];
    strcpy(ref, fixture_ref(&fx, "x", "v1"));
    struct pack_options o = {.source = source, .ref = ref};
    snprintf(source, sizeof source, "%s/absent", fx.root);
    CHECK_FAILS(pack_run(&o, &r, e_), ERR_FORMAT, "does not exist");
    CHECK_FAILS((o.source = fx.profiles, pack_run(&o, &r, e_)), ERR_FORMAT, "it has no config.json");
    o.source = fx.model;
    CHECK_FAILS((o.profiles = source, pack_run(&o, &r, e_)), ERR_FORMAT, "does not exist");
    o.profiles = NULL;
    CHECK_FAILS((o.ref = "dist:v1", pack_run(&o, &r, e_)), ERR_USAGE, "expected oci:DIR:TAG");
    o.ref = ref;
    CLEANUP(json) json_t *number = json_pack("{s:i}", "a", 1);
    CLEANUP(json) json_t *list = json_array();
    CHECK_FAILS((o.annotations = number, pack_run(&o, &r, e_)), ERR_USAGE, "annotation 'a'");
    CHECK_FAILS((o.annotations = list, pack_run(&o, &r, e_)), ERR_USAGE, "must be an object");
    for (int i = 0; i < 4; i++) {
        char text[OCI_TEXT_BYTES_MAX + 2];
        memset(text, 'a', sizeof text);
        text[OCI_TEXT_BYTES_MAX + (i == 3 ? 0 : 1)] = '\0';
        CLEANUP(json) json_t *edge = json_pack("{s:s}", i == 0 ? "" : i == 1 ? text : "k", i >= 2 ? text : "v");
        if (i < 3) CHECK_FAILS((o.annotations = edge, pack_run(&o, &r, e_)), ERR_USAGE, "is not a string of at most 4096 bytes");
        else CHECK_OK((o.annotations = edge, pack_run(&o, &r, e_)));
    }
    pack_result_free(&r);
    run_command("rm -r %s/x", fx.root);
    o.annotations = NULL;
    static const struct { const char *name, *why; } names[] = {{"a\nb", "printable"}, {"a\\b", "plain relative"}, {"bad\xff.bin", "printable"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s", fx.model, names[i].name);
        save_text(path, "x");
        CHECK_FAILS(pack_run(&o, &r, e_), ERR_FORMAT, names[i].why);
        unlink(path);
    }
    absent("x");
}

static void test_existing(void **state)
{
    (void)state;
    struct digest a, b;
    CHECK_OK(pack("e", NULL, 0, false, &a, e_));
    run_command("touch %s/e/keep", fx.root);
    CHECK_FAILS(pack("e", NULL, 0, false, NULL, e_), ERR_USAGE, "exists already");
    run_command("test -f %s/e/keep", fx.root);
    CHECK_OK(pack("e", NULL, 0, true, &b, e_));
    run_command("test ! -e %s/e/keep", fx.root);
    assert_true(digest_equal(&a, &b));
    run_command("rm -rf %s/e", fx.root);
    CHECK_OK(pack("deep/er/e", NULL, 0, false, &b, e_));   /* folders on the way are made */
    assert_true(digest_equal(&a, &b));
    run_command("rm -rf %s/deep", fx.root);
}

/* Stops after so many questions; counts what was told. */
struct stopper { uint32_t questions, limit, updates, notes; uint64_t last_done; char note[512]; };

static void on_update(void *ctx, const char *stage, const char *item, uint64_t done, uint64_t total)
{
    struct stopper *s = ctx;
    assert_string_equal(stage, "pack");
    assert_non_null(item);
    assert_true(done <= total && done >= s->last_done);
    s->last_done = done;
    s->updates++;
}

static void on_note(void *ctx, const char *stage, const char *text)
{
    struct stopper *s = ctx;
    (void)stage;
    s->notes++;
    snprintf(s->note, sizeof s->note, "%s", text);
}

static bool on_cancelled(void *ctx)
{
    struct stopper *s = ctx;
    return s->questions++ >= s->limit;
}

static struct progress progress_of(struct stopper *s)
{
    return (struct progress){.update = on_update, .note = on_note, .cancelled = on_cancelled, .ctx = s};
}

/* Stopped at every place where it asks, and taken up again: the same bytes, and finished layers are not written twice. */
static void test_resume(void **state)
{
    (void)state;
    add_large_file((size_t)9 << 20);
    struct stopper count = {.limit = UINT32_MAX};
    struct progress pr = progress_of(&count);
    CHECK_OK(pack("whole", &pr, 2, false, NULL, e_));
    assert_true(count.questions >= 8 && count.updates >= 5);
    for (uint32_t stop = 0; stop < count.questions; stop++) {
        struct stopper first = {.limit = stop}, second = {.limit = UINT32_MAX};
        struct progress a = progress_of(&first), b = progress_of(&second);
        CHECK_FAILS(pack("part", &a, 2, false, NULL, e_), ERR_CANCELLED, "");
        run_command("test ! -e %s/part", fx.root);
        CHECK_OK(pack("part", &b, 2, false, NULL, e_));
        assert_true(second.updates <= count.updates);
        if (stop == count.questions - 1) assert_true(second.updates < count.updates);
        same("whole", "part");
        run_command("rm -rf %s/part", fx.root);
    }
    /* Inputs that changed in between: nothing of the old run is used. */
    struct stopper late = {.limit = count.questions - 1};
    struct progress a = progress_of(&late);
    CHECK_FAILS(pack("part", &a, 2, false, NULL, e_), ERR_CANCELLED, "");
    run_command("printf 'gpu: h200\n' > %s/vllm/b200.yaml", fx.profiles);
    CHECK_OK(pack("part", NULL, 2, false, NULL, e_));
    run_command("rm -rf %s/whole", fx.root);
    CHECK_OK(pack("whole", NULL, 0, false, NULL, e_));
    same("whole", "part");
    run_command("printf 'gpu: b200\n' > %s/vllm/b200.yaml; rm -rf %s/whole %s/part %s/model-2.safetensors", fx.profiles, fx.root, fx.root, fx.model);
}

/* A stopped run with other annotations leaves no document behind. */
static void test_resume_other_annotations(void **state)
{
    (void)state;
    struct stopper all = {.limit = UINT32_MAX};
    struct progress pr = progress_of(&all);
    CHECK_OK(pack("part", &pr, 0, false, NULL, e_));
    run_command("rm -rf %s/part", fx.root);
    struct stopper late = {.limit = all.questions - 1};
    pr = progress_of(&late);
    CHECK_FAILS(pack("part", &pr, 0, false, NULL, e_), ERR_CANCELLED, "");
    run_command("test -d %s/.part.ingot-partial/blobs/sha256 && touch %s/.part.ingot-partial/blobs/sha256/stray", fx.root, fx.root);
    fixture_pack(&fx, "part", "v1", "other");
    run_command("test ! -e %s/part/blobs/sha256/stray", fx.root);
    run_command("rm -rf %s/part", fx.root);
}

static void test_disk_full(void **state)
{
    (void)state;
    struct rlimit old, small;
    add_large_file((size_t)6 << 20);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    static const rlim_t limits[] = {0, 100, 5000, 5 << 20};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        small = (struct rlimit){limits[i], old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        struct error e = ERROR_INIT;
        bool ok = pack("full", NULL, 2, false, NULL, &e);
        setrlimit(RLIMIT_FSIZE, &old);
        if (ok || e.code != ERR_IO) fail_msg("limit %llu: %s", (unsigned long long)limits[i], e.text);
        absent("full");
    }
    run_command("rm %s/model-2.safetensors", fx.model);
}

static void test_notes(void **state)
{
    (void)state;
    struct stopper s = {.limit = UINT32_MAX};
    struct progress pr = progress_of(&s);
    CHECK_OK(pack("n", &pr, 0, false, NULL, e_));
    assert_int_equal(s.notes, 0);
    run_command("cd %s && for i in $(seq 122); do : > sub/f$i; done; rm -rf %s/n", fx.model, fx.root);
    s = (struct stopper){.limit = UINT32_MAX};
    CHECK_OK(pack("n", &pr, 0, false, NULL, e_));
    assert_int_equal(s.notes, 1);
    assert_non_null(strstr(s.note, "126 layers"));
    run_command("rm -rf %s/sub/f* %s/n", fx.model, fx.root);
    /* A sparse file: only its size is looked at before the run is stopped. */
    run_command("truncate -s 10000M %s/a.safetensors && truncate -s +1 %s/a.safetensors", fx.model, fx.model);
    s = (struct stopper){.limit = 0};
    CHECK_FAILS(pack("n", &pr, 0, false, NULL, e_), ERR_CANCELLED, "");
    assert_int_equal(s.notes, 1);
    assert_non_null(strstr(s.note, "'models/a.safetensors' has 9.77 GiB"));
    run_command("rm -rf %s/a.safetensors %s/.n.ingot-partial", fx.model, fx.root);
}

/* A disk that has not enough room is refused before anything is written. */
static void test_space(void **state)
{
    (void)state;
    run_command("truncate -s 30T %s/a.safetensors 2>/dev/null || truncate -s 15T %s/a.safetensors", fx.model, fx.model);
    CHECK_FAILS(pack("s", NULL, 0, false, NULL, e_), ERR_IO, "the disk has");
    absent("[.]s[.]");
    run_command("rm %s/a.safetensors", fx.model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_result), cmocka_unit_test(test_read_back), cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_existing), cmocka_unit_test(test_resume), cmocka_unit_test(test_resume_other_annotations),
        cmocka_unit_test(test_disk_full), cmocka_unit_test(test_notes), cmocka_unit_test(test_space),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
