#include "tests/package_fixture.h"

#include "formats/folder.h"
#include "formats/tar.h"

#include <sys/sysmacros.h>

static struct fixture fx;
static struct digest image;

static int setup(void **state)
{
    (void)state;
    fixture_open(&fx);
    image = fixture_pack(&fx, "good", "v1", "a");
    fixture_sign(&fx, "good", "v1", fx.key);
    fixture_pack(&fx, "other", "v1", "b");
    fixture_sign(&fx, "other", "v1", fx.key);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_close(&fx);
    return 0;
}

static void fresh(const char *name)
{
    run_command("rm -rf %s/%s && cp -a %s/good %s/%s", fx.root, name, fx.root, fx.root, name);
}

static void expect_pass(const char *name, const char *tag, const struct key *key, const struct digest *wanted)
{
    struct error e;
    if (fixture_verify(&fx, name, tag, key, wanted, &e) != VERDICT_PASS) fail_msg("%s: %s", name, e.text);
}

static void expect_fail(const char *what, const char *name, const char *tag, const struct key *key, const struct digest *wanted,
                        const char *check, const char *part)
{
    struct error e;
    enum verdict v = fixture_verify(&fx, name, tag, key, wanted, &e);
    if (v != VERDICT_FAIL || e.code != ERR_MISMATCH) fail_msg("%s: expected a failure, found verdict %d: %s", what, v, e.text);
    if (strcmp(e.check, check) != 0) fail_msg("%s: class %s, expected %s (%s)", what, e.check, check, e.text);
    if (!strstr(e.text, part)) fail_msg("%s: '%s' does not contain '%s'", what, e.text, part);
}

static void test_good(void **state)
{
    (void)state;
    struct digest wrong = image;
    wrong.bytes[31] ^= 1;
    expect_pass("good", "v1", fx.pub, NULL);
    expect_pass("good", "v1", fx.pub, &image);
    expect_pass("good", "v1", fx.key, &image);
    expect_fail("wanted digest", "good", "v1", fx.pub, &wrong, CHECK_DIGEST, "wanted digest: expected sha256:");
    expect_fail("wrong key", "good", "v1", fx.other_pub, NULL, CHECK_SIGNATURE, "none of the 1 signatures");
    expect_fail("no such tag", "good", "v2", fx.pub, NULL, CHECK_LAYOUT, "no image has the tag 'v2'");
    struct error e;
    assert_int_equal(fixture_verify(&fx, "good", "v1", NULL, NULL, &e), VERDICT_UNDECIDED);
    assert_int_equal(e.code, ERR_UNDECIDED);
    assert_non_null(strstr(e.text, "no key was given"));
}

static void test_not_a_layout(void **state)
{
    (void)state;
    CLEANUP(report) struct report *r = NULL;
    CHECK_OK(report_open(&r, e_));
    struct package_options o = {.ref = fixture_ref(&fx, "absent", "v1"), .key = fx.pub};
    CHECK_FAILS(package_verify(&o, r, e_), ERR_FORMAT, "does not exist");
    o.ref = "good";
    CHECK_FAILS(package_verify(&o, r, e_), ERR_USAGE, "expected oci:DIR:TAG");
    expect_fail("a plain folder", "model", "v1", fx.pub, NULL, CHECK_LAYOUT, "no folder 'blobs'");
}

/* Verified, left open, and everything exchanged behind it: the model is read from what was verified. */
static void check_kept(const char *ref, const char *exchange)
{
    __attribute__((cleanup(cleanup_oci_kept))) struct oci_kept kept = OCI_KEPT_INIT;
    CLEANUP(report) struct report *r = NULL;
    CLEANUP(folder) struct folder *folder = NULL;
    struct package_options o = {.ref = ref, .key = fx.pub, .kept = &kept};
    bool missing;
    static const char *const names[] = {"config.json", "model.safetensors", "sub/template.jinja"};
    CHECK_OK(report_open(&r, e_));
    CHECK_OK(package_verify(&o, r, e_));
    assert_int_equal(report_verdict(r), VERDICT_PASS);
    assert_true(digest_equal(&kept.package, &image));
    run_command("%s", exchange);
    CHECK_OK(folder_open_kept(&folder, ref, &kept, NULL, &missing, e_));
    assert_false(missing);
    assert_int_equal(folder_count(folder), 3);
    for (uint32_t i = 0; i < 3; i++) {
        CLEANUP_BUFFER struct buffer found = {0}, want = {0};
        char path[160];
        snprintf(path, sizeof path, "%s/%s", fx.model, names[i]);
        CHECK_OK(folder_load(folder, names[i], 1 << 20, &found, e_));
        CHECK_OK(file_load(AT_FDCWD, path, 1 << 20, &want, e_));
        assert_int_equal(found.size, want.size);
        assert_memory_equal(found.data, want.data, want.size);
    }
}

static void test_read_is_what_was_verified(void **state)
{
    (void)state;
    char ref[160], command[512];
    fresh("moved");
    snprintf(ref, sizeof ref, "%s", fixture_ref(&fx, "moved", "v1"));
    /* The tag names another image, and every blob is another file of the same size. */
    snprintf(command, sizeof command,
             "cd %s/moved && cp ../other/index.json index.json && for b in blobs/sha256/*; do tr '\\000-\\377' '\\001-\\377x' <$b >x && mv x $b; done",
             fx.root);
    check_kept(ref, command);
    snprintf(command, sizeof command, "%s/moved.tar", fx.root);
    fresh("moved");
    run_command("tar -cf %s/moved.tar -C %s/moved oci-layout index.json blobs", fx.root, fx.root);
    snprintf(ref, sizeof ref, "oci-archive:%s/moved.tar:v1", fx.root);
    snprintf(command, sizeof command, "cd %s && tar -cf x -C other oci-layout index.json blobs && mv x moved.tar", fx.root);
    check_kept(ref, command);
}

/* What was not verified is not left open as if it had been. */
static void test_nothing_is_kept(void **state)
{
    (void)state;
    __attribute__((cleanup(cleanup_oci_kept))) struct oci_kept kept = OCI_KEPT_INIT;
    CLEANUP(report) struct report *r = NULL;
    struct folder *folder;
    struct package_options o = {.ref = fixture_ref(&fx, "good", "v2"), .key = fx.pub, .kept = &kept};
    bool missing;
    CHECK_OK(report_open(&r, e_));
    CHECK_OK(package_verify(&o, r, e_));
    assert_int_equal(report_verdict(r), VERDICT_FAIL);
    assert_null(kept.index.doc);
    assert_int_equal(kept.n_layers, 0);
    CHECK_FAILS(folder_open_kept(&folder, "good", &kept, NULL, &missing, e_), ERR_FORMAT, "its manifest cannot be read");
}

/* The same answer, line by line, whatever the number of threads; and the list of files is that of the source. */
static void test_report(void **state)
{
    (void)state;
    char *texts[3];
    for (uint32_t i = 0; i < 3; i++) {
        CLEANUP(report) struct report *r = NULL;
        CLEANUP(json) json_t *j = NULL;
        struct pool *pool = NULL;
        CHECK_OK(report_open(&r, e_));
        if (i) CHECK_OK(pool_open(&pool, 3 * i, e_));
        struct package_options o = {.ref = fixture_ref(&fx, "good", "v1"), .key = fx.pub, .pool = pool};
        CHECK_OK(package_verify(&o, r, e_));
        CHECK_OK(report_json(r, &j, e_));
        CHECK_OK(json_pretty(j, &texts[i], NULL, e_));
        pool_close(pool);
        const json_t *files = json_object_get(json_object_get(j, "package"), "files");
        static const struct { const char *path; json_int_t bytes; } want[] = {
            {"models/config.json", 28}, {"models/model.safetensors", 5000}, {"models/sub/template.jinja", 0}, {"profiles/vllm/b200.yaml", 10}};
        assert_int_equal(json_array_size(files), 4);
        for (size_t k = 0; k < 4; k++) {
            const json_t *file = json_array_get(files, k);
            assert_string_equal(json_string_value(json_object_get(file, "path")), want[k].path);
            assert_int_equal(json_integer_value(json_object_get(file, "bytes")), want[k].bytes);
        }
        /* SHA-256 of nothing (FIPS 180-4 examples). */
        assert_string_equal(json_string_value(json_object_get(json_array_get(files, 2), "sha256")),
                            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
    assert_string_equal(texts[0], texts[1]);
    assert_string_equal(texts[0], texts[2]);
    for (uint32_t i = 0; i < 3; i++) free(texts[i]);
}

static void expect_lines(const char *what, const char *name, const struct key *key, uint32_t n_failed, const char *part)
{
    CLEANUP(free) char *text = NULL;
    uint32_t n = fixture_report(&fx, name, "v1", key, &text);
    if (n != n_failed) fail_msg("%s: %u failed checks, expected %u: %s", what, n, n_failed, text);
    if (!strstr(text, part)) fail_msg("%s: no '%s' in %s", what, part, text);
}

/* What a passing report says, beside passing. */
static void test_passing_lines(void **state)
{
    (void)state;
    struct digest id;
    char hex[DIGEST_HEX_SIZE], line[160];
    CHECK_OK(key_id(fx.pub, &id, e_));
    digest_hex(&id, hex);
    snprintf(line, sizeof line, "is signed by key %s (https://sigstore.dev/cosign/sign/v1)", hex);
    expect_lines("key", "good", fx.pub, 0, line);
    expect_lines("manifest", "good", fx.pub, 0, "bytes as named, 4 layers\",\"name\":\"manifest\"");
    expect_lines("layout", "good", fx.pub, 0, "9 blobs, each referred to, and nothing else");
    fresh("t");
    fixture_sign(&fx, "t", "v1", fx.other);
    expect_lines("foreign signature", "t", fx.pub, 0, "it counts for nothing");
}

static uint32_t questions, limit;

static bool on_cancelled(void *ctx)
{
    (void)ctx;
    return questions++ >= limit;
}

static void on_update(void *ctx, const char *stage, const char *item, uint64_t done, uint64_t total)
{
    uint64_t *last = ctx;
    (void)item;
    assert_string_equal(stage, "verify");
    assert_true(done > *last && done <= total);
    *last = done;
}

static void test_progress(void **state)
{
    (void)state;
    CLEANUP(report) struct report *r = NULL;
    uint64_t last = 0;
    struct progress pr = {.update = on_update, .cancelled = on_cancelled, .ctx = &last};
    struct package_options o = {.ref = fixture_ref(&fx, "good", "v1"), .key = fx.pub, .progress = &pr};
    CHECK_OK(report_open(&r, e_));
    questions = 0;
    limit = UINT32_MAX;
    CHECK_OK(package_verify(&o, r, e_));
    assert_true(last > 4 * 4096 && questions == 4);
    for (limit = 0; limit < 4; limit++) {
        CLEANUP(report) struct report *stopped = NULL;
        CHECK_OK(report_open(&stopped, e_));
        questions = 0;
        last = 0;
        CHECK_FAILS(package_verify(&o, stopped, e_), ERR_CANCELLED, "");
    }
}

/* ---- every byte counts ---------------------------------------------------------------------------------------------- */

static uint32_t flip_file(const char *folder, const char *file, size_t stride, const uint8_t *masks, size_t n_masks)
{
    char path[512];
    uint32_t n = 0;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    CLEANUP_BUFFER struct buffer text = {0};
    CHECK_OK(file_load(AT_FDCWD, path, 1 << 20, &text, e_));
    CLEANUP(fd) int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < text.size; i += stride)
        for (size_t k = 0; k < n_masks; k++, n++) {
            uint8_t b = text.data[i] ^ masks[k];
            struct error e;
            assert_int_equal(pwrite(fd, &b, 1, (off_t)i), 1);
            if (fixture_verify(&fx, "flip", "v1", fx.pub, NULL, &e) != VERDICT_FAIL)
                fail_msg("byte %zu of %s may be changed from %02x to %02x: %s", i, file, text.data[i], b, e.text);
            assert_int_equal(pwrite(fd, &text.data[i], 1, (off_t)i), 1);
        }
    return n;
}

/* INGOT_TEST_FULL flips every bit of every byte; otherwise one bit of every byte of a document, and of every 97th of a layer. */
static void test_every_byte(void **state)
{
    (void)state;
    static const uint8_t all[] = {1, 2, 4, 8, 16, 32, 64, 128}, index_masks[] = {1, 4, 0x20};
    bool full = getenv("INGOT_TEST_FULL") != NULL;
    char folder[256], command[512], line[128];
    uint32_t n = 0;
    fresh("flip");
    snprintf(folder, sizeof folder, "%s/flip", fx.root);
    snprintf(command, sizeof command, "cd %s && find . -type f -printf '%%s %%P\\n'", folder);
    FILE *list = popen(command, "r");
    while (fgets(line, sizeof line, list)) {
        unsigned long size;
        char file[100];
        assert_int_equal(sscanf(line, "%lu %99s", &size, file), 2);
        bool is_index = strcmp(file, "index.json") == 0;
        n += flip_file(folder, file, full || size < 4096 ? 1 : 97, full ? all : is_index ? index_masks : all + size % 8, full ? 8 : is_index ? 3 : 1);
    }
    pclose(list);
    print_message("# %u changed bytes refused\n", n);
    assert_true(n > 3000);
    expect_pass("flip", "v1", fx.pub, NULL);
}

/* White space in index.json is the one thing nobody signs. */
static void test_index_white_space(void **state)
{
    (void)state;
    CLEANUP(free) char *text = NULL;
    char path[256];
    fresh("space");
    CLEANUP(json) json_t *index = index_of(&fx, "space");
    CHECK_OK(json_pretty(index, &text, NULL, e_));
    snprintf(path, sizeof path, "%s/space/index.json", fx.root);
    save_text(path, text);
    expect_pass("space", "v1", fx.pub, NULL);
}

static void annotate_entry(size_t entry, const char *key, const char *value)
{
    fresh("t");
    json_t *index = index_of(&fx, "t"), *d = json_array_get(json_object_get(index, "manifests"), entry), *a = json_object_get(d, "annotations");
    if (!a) json_object_set_new(d, "annotations", a = json_object());
    json_object_set_new(a, key, json_string(value));
    save_index(&fx, "t", index);
}

/* What index.json says of an entry beside its tag must be what the signed manifest says itself. */
static void test_index_annotations(void **state)
{
    (void)state;
    annotate_entry(0, "ingot.recipe", "a");
    expect_pass("t", "v1", fx.pub, NULL);
    annotate_entry(0, "ingot.recipe", "b");
    expect_fail("other value", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "annotations that it does not have");
    annotate_entry(0, "x", "b");
    expect_fail("other key", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "annotations that it does not have");
    annotate_entry(1, REFERRER_ANNOTATION_PREDICATE, ENVELOPE_PREDICATE_SIGN);
    expect_pass("t", "v1", fx.pub, NULL);
    annotate_entry(1, REFERRER_ANNOTATION_PREDICATE, "x");
    expect_fail("referrer", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "annotations that it does not have");
    annotate_entry(1, OCI_ANNOTATION_REF, "v1");
    expect_fail("tag twice", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "tag 'v1' is there twice");
    annotate_entry(1, OCI_ANNOTATION_REF, "v2");
    expect_fail("tag on a referrer", "t", "v2", fx.pub, NULL, CHECK_NO_SIGNATURE, "is not signed");
}

/* ---- tampering ------------------------------------------------------------------------------------------------------- */

static json_t *layers_of(json_t *manifest)
{
    return json_object_get(manifest, "layers");
}

static void swap_layers(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_t *layers = layers_of(m), *first = json_incref(json_array_get(layers, 0));
    json_array_set(layers, 0, json_array_get(layers, 1));
    json_array_set_new(layers, 1, first);
}

static void remove_layer(const struct fixture *f, const char *name, json_t *m)
{
    remove_blob(f, name, json_array_get(layers_of(m), 1));
    json_array_remove(layers_of(m), 1);
}

static void repeat_layer(const struct fixture *f, const char *name, json_t *m)
{
    json_array_append(layers_of(m), json_array_get(layers_of(m), 0));
    json_t *descriptor = json_object_get(m, "config");
    CLEANUP(json) json_t *config = blob_json(f, name, descriptor);
    json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids"), *history = json_object_get(config, "history");
    json_array_append(ids, json_array_get(ids, 0));
    json_array_append(history, json_array_get(history, 0));
    remove_blob(f, name, descriptor);
    put_json(f, name, descriptor, config);
}

static void edit_config(const struct fixture *f, const char *name, json_t *m, const char *path, const char *key, json_t *value)
{
    json_t *descriptor = json_object_get(m, "config");
    CLEANUP(json) json_t *config = blob_json(f, name, descriptor);
    json_object_set_new(path ? json_object_get(config, path) : config, key, value);
    remove_blob(f, name, descriptor);
    put_json(f, name, descriptor, config);
}

static void add_entrypoint(const struct fixture *f, const char *name, json_t *m)
{
    edit_config(f, name, m, "config", "Entrypoint", json_pack("[s]", "/models/config.json"));
}

static void wrong_diff_ids(const struct fixture *f, const char *name, json_t *m)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < json_array_size(layers_of(m)); i++) json_array_append(ids, json_object_get(json_array_get(layers_of(m), 0), "digest"));
    edit_config(f, name, m, "rootfs", "diff_ids", ids);
}

static void few_diff_ids(const struct fixture *f, const char *name, json_t *m)
{
    edit_config(f, name, m, NULL, "history", json_array());
    edit_config(f, name, m, "rootfs", "diff_ids", json_array());
}

static void other_config_type(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_object_set_new(json_object_get(m, "config"), "mediaType", json_string(OCI_MEDIA_EMPTY));
}

static void set_title(json_t *m, size_t layer, const char *title)
{
    json_t *annotations = json_object_get(json_array_get(layers_of(m), layer), "annotations");
    if (title) json_object_set_new(annotations, OCI_ANNOTATION_TITLE, json_string(title));
    else json_object_del(annotations, OCI_ANNOTATION_TITLE);
}

static void title_traversal(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    set_title(m, 0, "../../etc/passwd");
}

static void title_missing(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    set_title(m, 0, NULL);
}

static void file_digest_wrong(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_object_set_new(json_object_get(json_array_get(layers_of(m), 0), "annotations"), OCI_ANNOTATION_FILE_SHA256,
                        json_string("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"));
}

static void layer_annotation(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_object_set_new(json_object_get(json_array_get(layers_of(m), 0), "annotations"), "x", json_string("y"));
}

static void layer_artifact_type(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_object_set_new(json_array_get(layers_of(m), 0), "artifactType", json_string("a/b"));
}

static void layer_type(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_object_set_new(json_array_get(layers_of(m), 0), "mediaType", json_string("application/vnd.oci.image.layer.v1.tar+gzip"));
}

static void manifest_member(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_object_set_new(m, "manifests", json_array());
}

static void manifest_artifact(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_object_set_new(m, "artifactType", json_string("a/b"));
}

static void no_layers(const struct fixture *f, const char *name, json_t *m)
{
    for (size_t i = 0; i < json_array_size(layers_of(m)); i++) remove_blob(f, name, json_array_get(layers_of(m), i));
    json_array_clear(layers_of(m));
    few_diff_ids(f, name, m);
}

static void layer_digest_traversal(const struct fixture *f, const char *name, json_t *m)
{
    (void)f, (void)name;
    json_object_set_new(json_array_get(layers_of(m), 0), "digest", json_string("sha256:../../../../../../../../etc/passwd"));
}

/* Layer 0 with another tar inside, named and labelled rightly everywhere. */
static void exchange_layer(const struct fixture *f, const char *name, json_t *m, const void *data, size_t n)
{
    json_t *layer = json_array_get(layers_of(m), 0), *descriptor = json_object_get(m, "config");
    remove_blob(f, name, layer);
    put_blob(f, name, layer, data, n);
    json_object_del(json_object_get(layer, "annotations"), OCI_ANNOTATION_FILE_SHA256);
    CLEANUP(json) json_t *config = blob_json(f, name, descriptor);
    json_array_set(json_object_get(json_object_get(config, "rootfs"), "diff_ids"), 0, json_object_get(layer, "digest"));
    remove_blob(f, name, descriptor);
    put_json(f, name, descriptor, config);
}

static void other_tar(const struct fixture *f, const char *name, json_t *m, const char *path, const char *title, int type)
{
    CLEANUP_BUFFER struct buffer head = {0};
    struct tar_layer tar;
    CHECK_OK(tar_layer_header(path, 0, &head, &tar, e_));
    CLEANUP(free) uint8_t *data = calloc(1, (size_t)tar.total_bytes);
    memcpy(data, head.data, head.size);
    if (type) {   /* of the file's own header, which is the last block before the data */
        uint8_t *h = data + head.size - 512;
        unsigned sum = 0;
        h[156] = (uint8_t)type;
        memset(h + 148, ' ', 8);
        for (size_t i = 0; i < 512; i++) sum += h[i];
        snprintf((char *)h + 148, 8, "%06o", sum & 0777777u);
    }
    exchange_layer(f, name, m, data, (size_t)tar.total_bytes);
    set_title(m, 0, title);
}

static void tar_symlink(const struct fixture *f, const char *name, json_t *m)
{
    other_tar(f, name, m, "models/config.json", "models/config.json", '2');
}

static void tar_device(const struct fixture *f, const char *name, json_t *m)
{
    other_tar(f, name, m, "models/config.json", "models/config.json", '3');
}

static void tar_outside(const struct fixture *f, const char *name, json_t *m)
{
    other_tar(f, name, m, "etc/passwd", "etc/passwd", 0);
}

static void tar_file_and_folder(const struct fixture *f, const char *name, json_t *m)
{
    other_tar(f, name, m, "models/sub", "models/sub", 0);
}

static void tar_garbage(const struct fixture *f, const char *name, json_t *m)
{
    exchange_layer(f, name, m, "not a tar", 9);
}

static void tar_trailing(const struct fixture *f, const char *name, json_t *m)
{
    CLEANUP_BUFFER struct buffer head = {0};
    struct tar_layer tar;
    CHECK_OK(tar_layer_header("models/config.json", 0, &head, &tar, e_));
    CLEANUP(free) uint8_t *data = calloc(1, (size_t)tar.total_bytes + 512);
    memcpy(data, head.data, head.size);
    exchange_layer(f, name, m, data, (size_t)tar.total_bytes + 512);
}

static void test_edited_without_key(void **state)
{
    (void)state;
    static const struct { const char *what; edit_fn edit; } rows[] = {
        {"swapped layers", swap_layers}, {"removed layer", remove_layer}, {"repeated layer", repeat_layer}, {"entry point", add_entrypoint},
        {"title", title_traversal}, {"layer type", layer_type}, {"tar", tar_outside},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fresh("t");
        edit_manifest(&fx, "t", rows[i].edit);
        expect_fail(rows[i].what, "t", "v1", fx.pub, NULL, CHECK_NO_SIGNATURE, "is not signed");
    }
}

static void test_edited_and_signed(void **state)
{
    (void)state;
    static const struct { const char *what; edit_fn edit; const char *part; } rows[] = {
        {"swapped layers", swap_layers, "diff id is not"}, {"removed layer", remove_layer, "4 diff ids, the manifest has 3"},
        {"repeated layer", repeat_layer, "is there twice"}, {"entry point", add_entrypoint, "expected an empty object"},
        {"diff ids", wrong_diff_ids, "diff id is not"}, {"few diff ids", few_diff_ids, "0 diff ids"}, {"config type", other_config_type, "not an image config"},
        {"title", title_traversal, "its title is '../../etc/passwd'"}, {"no title", title_missing, "its title is ''"},
        {"file digest", file_digest_wrong, "its file is said to be"}, {"annotation", layer_annotation, "unknown key 'x'"},
        {"layer type", layer_type, "expected media type"}, {"layer artifact type", layer_artifact_type, "has an artifact type"}, {"artifact", manifest_artifact, "an artifact, not an image"},
        {"no layers", no_layers, "it has no layers"}, {"symbolic link", tar_symlink, "neither a directory nor a regular file"},
        {"device", tar_device, "neither a directory nor a regular file"}, {"outside", tar_outside, "outside models/"},
        {"file and folder", tar_file_and_folder, "is a file and a folder"}, {"garbage", tar_garbage, "ends too early"},
        {"trailing data", tar_trailing, "has 5632 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fresh("t");
        edit_and_sign(&fx, "t", rows[i].edit);
        expect_fail(rows[i].what, "t", "v1", fx.pub, NULL, CHECK_LAYOUT, rows[i].part);
    }
    /* What our own signer would not sign is refused as well, without it. */
    fresh("t");
    edit_manifest(&fx, "t", manifest_member);
    expect_fail("manifest and index", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "unknown key 'manifests'");
    fresh("t");
    edit_manifest(&fx, "t", layer_digest_traversal);
    expect_fail("digest traversal", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "64 lower-case hex");
}

/* ---- files of the layout -------------------------------------------------------------------------------------------- */

static char *layer_digest(const char *name, size_t layer)
{
    CLEANUP(json) json_t *index = index_of(&fx, name);
    CLEANUP(json) json_t *m = blob_json(&fx, name, image_entry(index));
    return strdup(json_string_value(json_object_get(json_array_get(layers_of(m), layer), "digest")) + 7);
}

static void test_files(void **state)
{
    (void)state;
    /* %L: the layout, %B: its blobs, %0 and %1: two layers' digests */
    static const struct { const char *what, *command, *check, *part; } rows[] = {
        {"truncated blob", "truncate -s -1 %B/%1", CHECK_DIGEST, "expected 10240 bytes, found 10239"},
        {"grown blob", "echo >> %B/%1", CHECK_DIGEST, "found 10241"},
        {"swapped blobs", "mv %B/%0 x && mv %B/%1 %B/%0 && mv x %B/%1", CHECK_DIGEST, "layer 1 of 4"},
        {"byte of the data", "printf x | dd of=%B/%1 bs=1 seek=5000 conv=notrunc status=none", CHECK_DIGEST, "layer 2 of 4 (models/model.safetensors): expected sha256:"},
        {"byte of the header", "printf x | dd of=%B/%1 bs=1 seek=0 conv=notrunc status=none", CHECK_DIGEST, "expected sha256:"},
        {"byte of the tail", "printf x | dd of=%B/%1 bs=1 seek=10239 conv=notrunc status=none", CHECK_DIGEST, "expected sha256:"},
        {"byte of the config", "sed -i s/linux/linus/ $(grep -l rootfs %B/*)", CHECK_DIGEST, "digest: config: expected sha256:"},
        {"byte of the manifest", "sed -i s/recipe/racipe/ $(grep -l ingot.recipe %B/*)", CHECK_DIGEST, "digest: manifest: expected sha256:"},
        {"byte of the bundle", "sed -i 's/.sig.:../&x/;s/x././' $(grep -l dsseEnvelope %B/*)", CHECK_DIGEST, "expected sha256:"},
        {"missing blob", "rm %B/%1", CHECK_LAYOUT, "is missing"},
        {"extra blob", "printf x > %B/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", CHECK_LAYOUT, "nothing refers to"},
        {"extra name", "cp %B/%0 %B/copy", CHECK_LAYOUT, "is not named by a digest"},
        {"upper case", "cp %B/%0 %B/2D711642B726B04401627CA9FBAC32F5C8530FB1903CC4DB02258717921A4881", CHECK_LAYOUT, "not named by a digest"},
        {"temporary", "touch %B/.%0.ingot-tmp", CHECK_LAYOUT, "sign again"},
        {"fifo", "rm %B/%1 && mkfifo %B/%1", CHECK_LAYOUT, "not a regular file"},
        {"fifo besides", "mkfifo %B/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", CHECK_LAYOUT, "not a regular file"},
        {"folder", "rm %B/%1 && mkdir %B/%1", CHECK_LAYOUT, "not a regular file"},
        {"symbolic link", "mv %B/%1 x && ln -s $PWD/x %B/%1", CHECK_LAYOUT, "not a regular file"},
        {"link to zeros", "rm %B/%1 && ln -s /dev/zero %B/%1", CHECK_LAYOUT, "not a regular file"},
        {"linked blobs", "mv %L/blobs x && ln -s $PWD/x %L/blobs", CHECK_LAYOUT, "no folder 'blobs'"},
        {"linked sha256", "mv %B x && ln -s $PWD/x %B", CHECK_LAYOUT, "no folder 'sha256'"},
        {"linked index", "mv %L/index.json x && ln -s $PWD/x %L/index.json", CHECK_LAYOUT, "not a regular file"},
        {"index fifo", "rm %L/index.json && mkfifo %L/index.json", CHECK_LAYOUT, "not a regular file"},
        {"no index", "rm %L/index.json", CHECK_LAYOUT, "'index.json' is missing"},
        {"no marker", "rm %L/oci-layout", CHECK_LAYOUT, "'oci-layout' is missing"},
        {"other version", "sed -i s/1.0.0/1.0.1/ %L/oci-layout", CHECK_LAYOUT, "found \"1.0.1\""},
        {"marker member", "sed -i 's/}/,\"x\":1}/' %L/oci-layout", CHECK_LAYOUT, "unknown key 'x'"},
        {"huge marker", "truncate -s 1G %L/oci-layout", CHECK_LAYOUT, "at most 4096"},
        {"huge index", "truncate -s 1T %L/index.json", CHECK_LAYOUT, "at most 4194304"},
        {"deep index", "printf '%%0100000d' 0 | tr 0 '[' > %L/index.json", CHECK_LAYOUT, "nested too deeply"},
        {"empty index", ": > %L/index.json", CHECK_LAYOUT, "ends too early"},
        {"twice the same key", "sed -i 's/\"schemaVersion\":2/\"schemaVersion\":2,\"schemaVersion\":2/' %L/index.json", CHECK_LAYOUT, "duplicate"},
        {"extra file", "touch %L/README.md", CHECK_LAYOUT, "README.md: does not belong"},
        {"extra folder", "mkdir %L/blobs/sha512", CHECK_LAYOUT, "sha512: does not belong"},
        {"empty folder", "mkdir %L/empty", CHECK_LAYOUT, "empty: does not belong"},
        {"many strays", "for i in $(seq 20); do touch %L/f$i; done", CHECK_LAYOUT, "does not belong"},
        {"full work folder", "mkdir %L/ingest && touch %L/ingest/x", CHECK_LAYOUT, "ingest: does not belong"},
    };
    CLEANUP(free) char *zero = layer_digest("good", 0), *one = layer_digest("good", 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char command[2048] = "";
        size_t n = 0;
        for (const char *p = rows[i].command; *p; p++) {
            if (*p != '%') n += (size_t)snprintf(command + n, sizeof command - n, "%c", *p);
            else if (*++p == 'L') n += (size_t)snprintf(command + n, sizeof command - n, "t");
            else if (*p == 'B') n += (size_t)snprintf(command + n, sizeof command - n, "t/blobs/sha256");
            else n += (size_t)snprintf(command + n, sizeof command - n, "%s", *p == '%' ? "%" : *p == '0' ? zero : one);
        }
        fresh("t");
        run_command("cd %s && rm -rf x && %s", fx.root, command);
        expect_fail(rows[i].what, "t", "v1", fx.pub, NULL, rows[i].check, rows[i].part);
    }
    fresh("t");
    run_command("mkdir %s/t/ingest", fx.root);   /* oras leaves one, empty */
    expect_pass("t", "v1", fx.pub, NULL);
    /* How many lines, and what is left out of the list. */
    fresh("t");
    run_command("cd %s && for i in $(seq 20); do touch t/f$i; done", fx.root);
    expect_lines("many strays", "t", fx.pub, 9, "20 files in all do not belong or are missing");
    fresh("t");
    run_command("cd %s/t/blobs/sha256 && sed -i s/linux/linus/ $(grep -l rootfs *)", fx.root);
    expect_lines("only the config", "t", fx.pub, 1, "expected sha256:");
    fresh("t");
    run_command("cd %s/t/blobs/sha256 && printf x | dd of=%s bs=1 seek=5000 conv=notrunc status=none", fx.root, one);
    expect_lines("a layer that is not the one named is not listed", "t", fx.pub, 1,
                 "\"models/config.json\",\"sha256\":\"3f4535dbd1773557154239e6f042d686984ca01c8d6cc2737f27422f6a9ca419\"},{\"bytes\":0,");
    fresh("t");
    char path[256];
    blob_path(&fx, "t", one, path);
    unlink(path);
    if (mknod(path, S_IFCHR | 0600, makedev(1, 5)) == 0)   /* /dev/zero: needs root */
        expect_fail("device", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "not a regular file");
}

/* ---- signatures ------------------------------------------------------------------------------------------------------ */

static void test_removed(void **state)
{
    (void)state;
    fresh("t");
    drop_signatures(&fx, "t");
    expect_fail("removed", "t", "v1", fx.pub, NULL, CHECK_NO_SIGNATURE, "is not signed (0 other");
    fresh("t");
    json_t *index = index_of(&fx, "t");
    json_array_remove(json_object_get(index, "manifests"), 1);
    save_index(&fx, "t", index);
    expect_fail("entry removed", "t", "v1", fx.pub, NULL, CHECK_NO_SIGNATURE, "is not signed");
}

static void test_foreign(void **state)
{
    (void)state;
    fresh("t");
    drop_signatures(&fx, "t");
    fixture_sign(&fx, "t", "v1", fx.other);
    expect_fail("foreign", "t", "v1", fx.pub, NULL, CHECK_SIGNATURE, "none of the 1 signatures");
    expect_pass("t", "v1", fx.other_pub, NULL);
    fixture_sign(&fx, "t", "v1", fx.key);
    expect_pass("t", "v1", fx.pub, &image);
    expect_pass("t", "v1", fx.other_pub, &image);
}

static const char *config_text = "{}";

/* Puts a bundle with this payload, signed by `key`, on the image of `name`, which loses its own signatures. */
static void attach(const char *name, const struct key *key, const char *payload, size_t payload_bytes, const char *label,
                   void (*spoil)(json_t *bundle, json_t *manifest))
{
    CLEANUP(free) char *bundle_text = NULL;
    CLEANUP(free) char *manifest_text = NULL;
    size_t n;
    struct oci_descriptor subject = {.media_type = OCI_MEDIA_MANIFEST}, layer = {.media_type = ENVELOPE_BUNDLE_MEDIA};
    drop_signatures(&fx, name);
    json_t *index = index_of(&fx, name), *entry = image_entry(index);
    assert_true(oci_digest_parse(json_string_value(json_object_get(entry, "digest")), &subject.digest));
    subject.size = (uint64_t)json_integer_value(json_object_get(entry, "size"));
    CHECK_OK(envelope_sign(key, bytes_of(payload, payload_bytes), &bundle_text, &n, e_));
    CHECK_OK(referrer_text(&subject, &layer, label, &manifest_text, &n, e_));
    CLEANUP(json) json_t *bundle = json_loads(bundle_text, 0, NULL), *manifest = json_loads(manifest_text, 0, NULL);
    if (spoil) spoil(bundle, manifest);
    put_json(&fx, name, json_array_get(json_object_get(manifest, "layers"), 0), bundle);
    put_blob(&fx, name, json_object_get(manifest, "config"), config_text, strlen(config_text));
    json_t *added = json_pack("{s:s}", "mediaType", OCI_MEDIA_MANIFEST);
    put_json(&fx, name, added, manifest);
    json_object_set_new(added, "artifactType", json_incref(json_object_get(manifest, "artifactType")));
    if (!json_object_get(manifest, "artifactType")) json_object_del(added, "artifactType");
    json_array_append_new(json_object_get(index, "manifests"), added);
    save_index(&fx, name, index);
}

static void attach_statement(const char *name, const struct key *key, const struct digest *about, const char *type,
                             void (*spoil)(json_t *bundle, json_t *manifest))
{
    CLEANUP(free) char *payload = NULL;
    size_t n;
    CHECK_OK(envelope_statement(about, type, NULL, &payload, &n, e_));
    attach(name, key, payload, n, type, spoil);
}

static json_t *signature_of(json_t *bundle)
{
    return json_array_get(json_object_get(json_object_get(bundle, "dsseEnvelope"), "signatures"), 0);
}

static void zero_signature(json_t *bundle, json_t *manifest)
{
    (void)manifest;
    json_object_set_new(signature_of(bundle), "sig", json_string("MAYCAQACAQA="));   /* r = s = 0 (CVE-2022-21449) */
}

static void empty_signature(json_t *bundle, json_t *manifest)
{
    (void)manifest;
    json_object_set_new(signature_of(bundle), "sig", json_string(""));
}

static void key_id_given(json_t *bundle, json_t *manifest)
{
    (void)manifest;
    json_object_set_new(signature_of(bundle), "keyid", json_string("x"));
}

static void foreign_member(json_t *bundle, json_t *manifest)
{
    (void)manifest;
    json_object_set_new(bundle, "x", json_null());
}

static void payload_broken(json_t *bundle, json_t *manifest)
{
    (void)manifest;
    json_object_set_new(json_object_get(bundle, "dsseEnvelope"), "payload", json_string("e30"));
}

static void subject_size(json_t *bundle, json_t *manifest)
{
    (void)bundle;
    json_object_set_new(json_object_get(manifest, "subject"), "size", json_integer(1));
}

static void other_label(json_t *bundle, json_t *manifest)
{
    (void)bundle;
    json_object_set_new(json_object_get(manifest, "annotations"), REFERRER_ANNOTATION_PREDICATE, json_string("x"));
}

static void subject_type(json_t *bundle, json_t *manifest)
{
    (void)bundle;
    json_object_set_new(json_object_get(manifest, "subject"), "mediaType", json_string("a/b"));
}

static void no_bundle_layer(json_t *bundle, json_t *manifest)
{
    (void)bundle;
    json_array_clear(layers_of(manifest));
    json_array_append_new(layers_of(manifest), json_pack("{s:s,s:s,s:i}", "mediaType", "a/b", "digest",
                                                         "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "size", 2));
}

static void no_artifact_type(json_t *bundle, json_t *manifest)
{
    (void)bundle;
    json_object_del(manifest, "artifactType");
}

static void config_type(json_t *bundle, json_t *manifest)
{
    (void)bundle;
    json_object_set_new(json_object_get(manifest, "config"), "mediaType", json_string("a/b"));
}

static void two_layers(json_t *bundle, json_t *manifest)
{
    (void)bundle;
    json_array_append(layers_of(manifest), json_array_get(layers_of(manifest), 0));
}

static void hidden_type(json_t *bundle, json_t *manifest)
{
    (void)bundle;
    json_object_set_new(manifest, "artifactType", json_string("application/x.y"));
}

static void unlabelled(json_t *bundle, json_t *manifest)
{
    (void)bundle;
    json_object_del(manifest, "annotations");
}

static void by_certificate(json_t *bundle, json_t *manifest)
{
    (void)manifest;
    json_object_set_new(bundle, "verificationMaterial", json_pack("{s:{s:s}}", "certificate", "rawBytes", ""));
}

static void test_attached(void **state)
{
    (void)state;
    static const struct { const char *what; void (*spoil)(json_t *, json_t *); const char *check, *part; } rows[] = {
        {"r = s = 0", zero_signature, CHECK_SIGNATURE, "none of the 1 signatures"}, {"empty", empty_signature, CHECK_SIGNATURE, "none of the 1 signatures"},
        {"key id", key_id_given, CHECK_SIGNATURE, "key id"}, {"foreign member", foreign_member, CHECK_SIGNATURE, "unknown key 'x'"},
        {"payload", payload_broken, CHECK_SIGNATURE, "base64"}, {"subject size", subject_size, CHECK_SIGNATURE, "another size"},
        {"label", other_label, CHECK_SIGNATURE, "is labelled \"x\""}, {"two layers", two_layers, CHECK_SIGNATURE, "expected one layer"},
        {"subject type", subject_type, CHECK_SIGNATURE, "media type"}, {"other layer", no_bundle_layer, CHECK_SIGNATURE, "expected one layer, a bundle"},
        {"no artifact type", no_artifact_type, CHECK_SIGNATURE, "expected artifact type"}, {"config", config_type, CHECK_SIGNATURE, "is not the empty one"},
        {"hidden type", hidden_type, CHECK_SIGNATURE, "expected artifact type"}, {"certificate", by_certificate, CHECK_SIGNATURE, "not an X.509 certificate"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fresh("t");
        attach_statement("t", fx.key, &image, ENVELOPE_PREDICATE_SIGN, rows[i].spoil);
        expect_fail(rows[i].what, "t", "v1", fx.pub, NULL, rows[i].check, rows[i].part);
    }
    static const char *const configs[] = {"[]", "{ }"};
    for (size_t i = 0; i < 2; i++) {
        fresh("t");
        config_text = configs[i];
        attach_statement("t", fx.key, &image, ENVELOPE_PREDICATE_SIGN, NULL);
        config_text = "{}";
        expect_fail("another config", "t", "v1", fx.pub, NULL, CHECK_SIGNATURE, "is not the empty one");
    }
    fresh("t");   /* the helper itself makes a sound one */
    attach_statement("t", fx.key, &image, ENVELOPE_PREDICATE_SIGN, NULL);
    expect_pass("t", "v1", fx.pub, NULL);
    fresh("t");
    attach_statement("t", fx.key, &image, ENVELOPE_PREDICATE_SIGN, unlabelled);
    expect_pass("t", "v1", fx.pub, NULL);
    fresh("t");
    attach_statement("t", fx.key, &image, "https://slsa.dev/provenance/v1", NULL);
    expect_fail("provenance only", "t", "v1", fx.pub, NULL, CHECK_NO_SIGNATURE, "is not signed (1 other");
    fixture_sign(&fx, "t", "v1", fx.key);
    expect_pass("t", "v1", fx.pub, NULL);
    fresh("t");
    attach("t", fx.key, "{\"_type\":\"x\"}", 13, ENVELOPE_PREDICATE_SIGN, NULL);
    expect_fail("malformed payload", "t", "v1", fx.pub, NULL, CHECK_SIGNATURE, "expected \"https://in-toto.io");
    /* Beside a good signature it is a failure all the same. */
    fixture_sign(&fx, "t", "v1", fx.key);
    expect_fail("malformed beside a good one", "t", "v1", fx.pub, NULL, CHECK_SIGNATURE, "expected \"https://in-toto.io");
}

static void test_replayed(void **state)
{
    (void)state;
    struct digest other = fixture_pack(&fx, "elsewhere", "v1", "c");
    fresh("t");
    attach_statement("t", fx.key, &other, ENVELOPE_PREDICATE_SIGN, NULL);
    expect_fail("replayed", "t", "v1", fx.pub, NULL, CHECK_SIGNATURE, "its statement is about sha256:");
    /* The other image's referrer as it is: it says itself that it belongs elsewhere. */
    fresh("t");
    drop_signatures(&fx, "t");
    CLEANUP(json) json_t *from = index_of(&fx, "other");
    json_t *index = index_of(&fx, "t");
    json_array_append(json_object_get(index, "manifests"), json_array_get(json_object_get(from, "manifests"), 1));
    save_index(&fx, "t", index);
    run_command("cd %s && cp -n other/blobs/sha256/* t/blobs/sha256/", fx.root);
    expect_fail("another image's referrer", "t", "v1", fx.pub, NULL, CHECK_NO_SIGNATURE, "is not signed");
}

/* Two signed images in one layout; the tag can be moved by anyone, and only a wanted digest tells. */
static void test_moved_tag(void **state)
{
    (void)state;
    fresh("t");
    CLEANUP(json) json_t *from = index_of(&fx, "other");
    json_t *index = index_of(&fx, "t"), *list = json_object_get(index, "manifests");
    json_array_extend(list, json_object_get(from, "manifests"));
    json_object_set_new(json_object_get(json_array_get(list, 2), "annotations"), OCI_ANNOTATION_REF, json_string("v2"));
    save_index(&fx, "t", index);
    run_command("cd %s && cp -n other/blobs/sha256/* t/blobs/sha256/", fx.root);
    expect_pass("t", "v1", fx.pub, &image);
    expect_pass("t", "v2", fx.pub, NULL);
    index = index_of(&fx, "t");
    list = json_object_get(index, "manifests");
    json_object_set_new(json_object_get(json_array_get(list, 0), "annotations"), OCI_ANNOTATION_REF, json_string("v0"));
    json_object_set_new(json_object_get(json_array_get(list, 2), "annotations"), OCI_ANNOTATION_REF, json_string("v1"));
    save_index(&fx, "t", index);
    expect_pass("t", "v1", fx.pub, NULL);
    expect_fail("moved tag", "t", "v1", fx.pub, &image, CHECK_DIGEST, "wanted digest");
    /* An unsigned image under the tag is found without. */
    index = index_of(&fx, "t");
    list = json_object_get(index, "manifests");
    json_array_remove(list, 3);
    save_index(&fx, "t", index);
    expect_fail("moved to unsigned", "t", "v1", fx.pub, NULL, CHECK_NO_SIGNATURE, "is not signed");
}

/* ---- other entries of the index ---------------------------------------------------------------------------------------- */

/* Adds a manifest to the index, as an entry without a tag. */
static void add_entry(const char *name, json_t *manifest)
{
    json_t *index = index_of(&fx, name), *entry = json_pack("{s:s}", "mediaType", OCI_MEDIA_MANIFEST);
    put_json(&fx, name, entry, manifest);
    json_array_append_new(json_object_get(index, "manifests"), entry);
    save_index(&fx, name, index);
    json_decref(manifest);
}

static json_t *descriptor_of(const char *name, const char *media_type, const char *data)
{
    json_t *d = json_pack("{s:s}", "mediaType", media_type);
    put_blob(&fx, name, d, data, strlen(data));
    return d;
}

/* An artifact of another tool: config and one layer. */
static json_t *artifact(const char *name, const char *type, json_t *subject)
{
    json_t *m = json_pack("{s:i,s:s,s:s,s:o,s:[o]}", "schemaVersion", 2, "mediaType", OCI_MEDIA_MANIFEST, "artifactType", type, "config",
                          descriptor_of(name, "a/b", "{\"c\":1}"), "layers", descriptor_of(name, "application/jose+json", "a signature of another kind"));
    if (subject) json_object_set_new(m, "subject", subject);
    return m;
}

static json_t *subject_of(const char *name, size_t entry)
{
    CLEANUP(json) json_t *index = index_of(&fx, name);
    json_t *d = json_array_get(json_object_get(index, "manifests"), entry);
    return json_pack("{s:s,s:O,s:O}", "mediaType", OCI_MEDIA_MANIFEST, "digest", json_object_get(d, "digest"), "size", json_object_get(d, "size"));
}

static void test_other_entries(void **state)
{
    (void)state;
    char path[256];
    fresh("t");
    add_entry("t", artifact("t", "application/x.y", subject_of("t", 0)));
    expect_pass("t", "v1", fx.pub, NULL);
    expect_lines("noted", "t", fx.pub, 0, "of type application/x.y; what it says is not checked");
    /* Its parts are still held to their digests. */
    run_command("cd %s/t/blobs/sha256 && sed -i 's/another kind/another mind/' $(grep -l 'another kind' *)", fx.root);
    expect_fail("artifact's layer", "t", "v1", fx.pub, NULL, CHECK_DIGEST, "artifact: expected sha256:");
    fresh("t");
    add_entry("t", artifact("t", "application/x.y", subject_of("t", 0)));
    run_command("cd %s/t/blobs/sha256 && rm $(grep -l '\"c\":1' *)", fx.root);
    expect_fail("artifact's config", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "is missing");
    /* Too large to be looked into, but it must be there in its size. */
    fresh("t");
    json_t *m = artifact("t", "application/x.y", subject_of("t", 0)), *layer = json_array_get(layers_of(m), 0);
    remove_blob(&fx, "t", layer);
    json_object_set_new(layer, "size", json_integer(17 << 20));
    blob_path(&fx, "t", json_string_value(json_object_get(layer, "digest")), path);
    add_entry("t", m);
    run_command("truncate -s 17M %s", path);
    expect_pass("t", "v1", fx.pub, NULL);
    run_command("truncate -s 16M %s", path);
    expect_fail("large part of another size", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "has another size");

    fresh("t");
    add_entry("t", artifact("t", "application/x.y", NULL));
    expect_fail("neither tag nor subject", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "neither a tag nor a subject");
    fresh("t");
    add_entry("t", artifact("t", "application/x.y", subject_of("other", 0)));
    expect_fail("attached to what is not there", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "not in this layout");
    for (size_t i = 0; i < 2; i++) {   /* attached to the referrer (entry 1), described wrongly */
        fresh("t");
        json_t *subject = subject_of("t", 1);
        json_object_set_new(subject, i ? "mediaType" : "size", i ? json_string("a/b") : json_integer(1));
        add_entry("t", artifact("t", "application/x.y", subject));
        expect_fail("subject described wrongly", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "not as described");
    }
}

static void test_many_attached(void **state)
{
    (void)state;
    fresh("t");
    json_t *index = index_of(&fx, "t"), *list = json_object_get(index, "manifests");
    for (int i = 1; i < 128; i++) json_array_append(list, json_array_get(list, 1));
    json_t *more = json_deep_copy(index);
    json_array_append(json_object_get(more, "manifests"), json_array_get(list, 1));
    save_index(&fx, "t", index);
    expect_pass("t", "v1", fx.pub, NULL);
    save_index(&fx, "t", more);
    expect_fail("too many", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "129 manifests are attached");
}

/* An image that says it is attached to something: a referrer under the image's tag, rightly signed. */
static void add_subject(const struct fixture *f, const char *name, json_t *m)
{
    (void)f;
    json_object_set_new(m, "subject", subject_of(name, 1));
}

static void test_image_with_subject(void **state)
{
    (void)state;
    struct digest d;
    fresh("t");
    drop_signatures(&fx, "t");
    add_entry("t", artifact("t", "application/x.y", subject_of("t", 0)));
    edit_manifest(&fx, "t", add_subject);
    CLEANUP(json) json_t *subject = subject_of("t", 0);
    assert_true(oci_digest_parse(json_string_value(json_object_get(subject, "digest")), &d));
    attach_statement("t", fx.key, &d, ENVELOPE_PREDICATE_SIGN, NULL);
    expect_fail("image with a subject", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "an artifact, not an image");
}

/* Another image with its own layers beside the verified one. */
static void test_other_image(void **state)
{
    (void)state;
    char path[256];
    CLEANUP(free) char *text = NULL;
    run_command("cp -r %s %s/keep && printf '{\"model_type\":\"other\"}' > %s/config.json", fx.model, fx.root, fx.model);
    fixture_pack(&fx, "second", "v2", "d");
    run_command("rm -rf %s && mv %s/keep %s", fx.model, fx.root, fx.model);
    for (int i = 0; i < 4; i++) {
        fresh("t");
        CLEANUP(json) json_t *from = index_of(&fx, "second");
        json_t *index = index_of(&fx, "t");
        CLEANUP(json) json_t *m = blob_json(&fx, "second", image_entry(from));
        if (i == 3) {   /* the manifests disagree about a blob they share */
            json_object_set_new(json_array_get(layers_of(m), 1), "size", json_integer(1));
            put_json(&fx, "second", image_entry(from), m);
        }
        json_array_extend(json_object_get(index, "manifests"), json_object_get(from, "manifests"));
        save_index(&fx, "t", index);
        run_command("cd %s && cp -n second/blobs/sha256/* t/blobs/sha256/", fx.root);
        if (i == 3) run_command("cd %s/t/blobs/sha256 && rm $(grep -l '\"ingot.recipe\":\"d\"' * | xargs grep -L '\"size\":1}')", fx.root);
        blob_path(&fx, "t", json_string_value(json_object_get(json_array_get(layers_of(m), 0), "digest")), path);
        if (i == 0) {
            expect_pass("t", "v1", fx.pub, NULL);
            expect_lines("noted", "t", fx.pub, 0, "1 more in this layout; their layers were not read");
        }
        if (i == 1) {
            run_command("truncate -s -1 %s", path);
            expect_fail("other image's blob truncated", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "has another size than the documents say");
        }
        if (i == 2) {
            unlink(path);
            expect_fail("other image's blob missing", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "is missing");
        }
        if (i == 3) expect_fail("two sizes of one blob", "t", "v1", fx.pub, NULL, CHECK_LAYOUT, "has another size than the documents say");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good), cmocka_unit_test(test_not_a_layout), cmocka_unit_test(test_report), cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_index_white_space), cmocka_unit_test(test_index_annotations), cmocka_unit_test(test_edited_without_key), cmocka_unit_test(test_edited_and_signed),
        cmocka_unit_test(test_files), cmocka_unit_test(test_removed), cmocka_unit_test(test_foreign), cmocka_unit_test(test_attached),
        cmocka_unit_test(test_replayed), cmocka_unit_test(test_moved_tag), cmocka_unit_test(test_passing_lines),
        cmocka_unit_test(test_progress), cmocka_unit_test(test_other_entries), cmocka_unit_test(test_image_with_subject),
        cmocka_unit_test(test_other_image), cmocka_unit_test(test_many_attached),
        cmocka_unit_test(test_read_is_what_was_verified), cmocka_unit_test(test_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
