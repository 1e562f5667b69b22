#include "tests/package_fixture.h"

#include <sys/file.h>
#include <sys/wait.h>

static struct fixture fx;
static struct digest image;

static int setup(void **state)
{
    (void)state;
    fixture_open(&fx);
    image = fixture_pack(&fx, "plain", "v1", "a");
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
    run_command("rm -rf %s/%s && cp -a %s/plain %s/%s", fx.root, name, fx.root, fx.root, name);
}

static void passes(const char *name, const struct key *key)
{
    struct error e;
    if (fixture_verify(&fx, name, "v1", key, &image, &e) != VERDICT_PASS) fail_msg("%s", e.text);
}

static size_t entries(const char *name)
{
    CLEANUP(json) json_t *index = index_of(&fx, name);
    return json_array_size(json_object_get(index, "manifests"));
}

static void test_sign(void **state)
{
    (void)state;
    struct sign_result r;
    struct digest id;
    fresh("t");
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.key, &r, e_));
    CHECK_OK(key_id(fx.pub, &id, e_));
    assert_true(digest_equal(&r.image, &image) && digest_equal(&r.key_id, &id) && !r.was_signed);
    passes("t", fx.pub);
    /* Nothing of the image is touched: every blob of the unsigned layout is there unchanged. */
    run_command("cd %s/plain/blobs/sha256 && for b in *; do cmp $b ../../../t/blobs/sha256/$b; done", fx.root);
    assert_int_equal(entries("t"), 2);
    /* Again with the same key: byte for byte the same. */
    run_command("cp -a %s/t %s/before", fx.root, fx.root);
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.key, &r, e_));
    assert_true(r.was_signed && digest_equal(&r.image, &image));
    run_command("diff -r %s/before %s/t && rm -rf %s/before", fx.root, fx.root, fx.root);
    /* Another key adds. */
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.other, &r, e_));
    assert_false(r.was_signed);
    assert_int_equal(entries("t"), 3);
    passes("t", fx.pub);
    passes("t", fx.other_pub);
}

static void test_refuses(void **state)
{
    (void)state;
    struct sign_result r;
    static const struct { const char *command; const char *part; } rows[] = {
        {"rm t/oci-layout", "'oci-layout' is missing"}, {"rm t/index.json", "'index.json' is missing"},
        {"for b in t/blobs/sha256/*; do head -c 2 $b | grep -q '{\"' && printf x >> $b; done; true", "manifest: expected"},
        {"for b in t/blobs/sha256/*; do head -c 14 $b | grep -q annotations && sed -i s/linux/linus/\\;s/recipe/racipe/ $b; done; true", "manifest: expected sha256:"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fresh("t");
        run_command("cd %s && %s", fx.root, rows[i].command);
        run_command("cp -a %s/t %s/before", fx.root, fx.root);
        CHECK_FAILS(sign_run(fixture_ref(&fx, "t", "v1"), fx.key, &r, e_), ERR_FORMAT, rows[i].part);
        run_command("diff -r %s/before %s/t && rm -rf %s/before", fx.root, fx.root, fx.root);
    }
    fresh("t");
    CHECK_FAILS(sign_run(fixture_ref(&fx, "t", "v2"), fx.key, &r, e_), ERR_FORMAT, "no image has the tag 'v2'");
    CHECK_FAILS(sign_run(fixture_ref(&fx, "absent", "v1"), fx.key, &r, e_), ERR_FORMAT, "does not exist");
    CHECK_FAILS(sign_run("t", fx.key, &r, e_), ERR_USAGE, "expected oci:DIR:TAG");
    /* A referrer that was given a tag is not an image. */
    fixture_sign(&fx, "t", "v1", fx.key);
    json_t *index = index_of(&fx, "t");
    json_object_set_new(json_array_get(json_object_get(index, "manifests"), 1), "annotations", json_pack("{s:s}", OCI_ANNOTATION_REF, "v2"));
    save_index(&fx, "t", index);
    CHECK_FAILS(sign_run(fixture_ref(&fx, "t", "v2"), fx.key, &r, e_), ERR_FORMAT, "is a referrer");
}

/* A bundle that cannot be read, or is by the key but about something else, does not count as signed. */
static void test_broken_signature_is_not_ours(void **state)
{
    (void)state;
    struct sign_result r;
    fresh("t");
    fixture_sign(&fx, "t", "v1", fx.key);
    run_command("cd %s/t/blobs/sha256 && b=$(grep -l dsseEnvelope * | head -1) && sed -i 's/\"sig\":\"./\"sig\":\"-/' $b", fx.root);
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.key, &r, e_));
    assert_false(r.was_signed);
    assert_int_equal(entries("t"), 3);
    struct error e;
    assert_int_equal(fixture_verify(&fx, "t", "v1", fx.pub, NULL, &e), VERDICT_FAIL);
    assert_string_equal(e.check, CHECK_DIGEST);
}

/* As after a kill between the blobs and the index: the old signature's blobs are left, nothing names them. */
static void test_left_overs(void **state)
{
    (void)state;
    struct sign_result r;
    struct error e;
    fresh("t");
    fixture_sign(&fx, "t", "v1", fx.key);
    run_command("cd %s && cp plain/index.json t/ && touch t/.index.json.ingot-tmp t/blobs/sha256/.abc.ingot-tmp", fx.root);
    assert_int_equal(fixture_verify(&fx, "t", "v1", fx.pub, NULL, &e), VERDICT_FAIL);
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.key, &r, e_));
    assert_false(r.was_signed);
    passes("t", fx.pub);
    /* What is not a signature is left for verify to complain about. */
    run_command("cd %s/t/blobs/sha256 && printf x > 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", fx.root);
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.other, &r, e_));
    run_command("test -e %s/t/blobs/sha256/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", fx.root);
    assert_int_equal(fixture_verify(&fx, "t", "v1", fx.pub, NULL, &e), VERDICT_FAIL);
    assert_string_equal(e.check, CHECK_LAYOUT);
}

static uint32_t blobs(const char *name)
{
    char command[256];
    unsigned n = 0;
    snprintf(command, sizeof command, "ls %s/%s/blobs/sha256 | wc -l", fx.root, name);
    FILE *f = popen(command, "r");
    assert_int_equal(fscanf(f, "%u", &n), 1);
    pclose(f);
    return n;
}

/* Only parts of signatures are taken for left-overs, and only while it is known what every manifest refers to. */
static void test_what_is_swept(void **state)
{
    (void)state;
    struct sign_result r;
    fresh("t");
    uint32_t before = blobs("t");
    fixture_sign(&fx, "t", "v1", fx.key);
    run_command("cd %s && cp plain/index.json t/ && cd t/blobs/sha256 && printf '[]' > 4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945 && touch .a-name-that-is-not-ours", fx.root);
    assert_int_equal(blobs("t"), before + 4);
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.other, &r, e_));   /* the old bundle and its manifest go, {} is used again */
    assert_int_equal(blobs("t"), before + 4);
    run_command("test -e %s/t/blobs/sha256/4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945", fx.root);
    run_command("test -e %s/t/blobs/sha256/.a-name-that-is-not-ours", fx.root);
    /* An image that nothing names any more is no signature. */
    fresh("t");
    run_command("cd %s/t && sed -i 's/\\[.*\\]/[]/' index.json", fx.root);
    CHECK_FAILS(sign_run(fixture_ref(&fx, "t", "v1"), fx.key, &r, e_), ERR_FORMAT, "no image has the tag");
    json_t *index = index_of(&fx, "plain");
    fixture_pack(&fx, "second", "v1", "b");
    run_command("cd %s && cp -n second/blobs/sha256/* t/blobs/sha256/", fx.root);
    save_index(&fx, "t", index);
    assert_int_equal(blobs("t"), before + 1);
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.key, &r, e_));
    assert_int_equal(blobs("t"), before + 4);
    /* A referrer that cannot be read: its bundle, and the left-over of another, stay. */
    fresh("t");
    fixture_sign(&fx, "t", "v1", fx.key);
    run_command("cd %s/t/blobs/sha256 && sed -i s/subject/subjact/ $(grep -l subject *)", fx.root);
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.other, &r, e_));
    assert_int_equal(blobs("t"), before + 5);
}

static void test_locked(void **state)
{
    (void)state;
    struct sign_result r;
    char path[256];
    fresh("t");
    snprintf(path, sizeof path, "%s/t/.index.json.ingot-tmp", fx.root);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    CHECK_FAILS(sign_run(fixture_ref(&fx, "t", "v1"), fx.key, &r, e_), ERR_IO, "another process");
    run_command("diff -r -x .index.json.ingot-tmp %s/plain %s/t", fx.root, fx.root);
    close(fd);
    CHECK_OK(sign_run(fixture_ref(&fx, "t", "v1"), fx.key, &r, e_));
    passes("t", fx.pub);
}

/* Signers at the same time: who succeeds has a signature that stays, the others fail at once. */
static void test_parallel(void **state)
{
    (void)state;
    enum { N = 6 };
    struct key *keys[N], *pubs[N];
    pid_t pids[N];
    size_t n_signed = 0;
    fresh("t");
    for (int i = 0; i < N; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        fixture_key(fx.root, name, &keys[i], &pubs[i]);
    }
    for (int i = 0; i < N; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct sign_result r;
            struct error e = ERROR_INIT;
            bool ok = sign_run(fixture_ref(&fx, "t", "v1"), keys[i], &r, &e);
            _exit(ok ? 0 : e.code == ERR_IO && strstr(e.text, "another process") ? 1 : 2);
        }
    }
    bool is_signed[N];
    for (int i = 0; i < N; i++) {   /* all of them first: a layout is not whole while somebody signs */
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        is_signed[i] = WEXITSTATUS(status) == 0;
        n_signed += is_signed[i];
    }
    for (int i = 0; i < N; i++) {
        if (is_signed[i]) passes("t", pubs[i]);
        key_close(keys[i]);
        key_close(pubs[i]);
    }
    assert_true(n_signed >= 1);
    assert_int_equal(entries("t"), n_signed + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sign), cmocka_unit_test(test_refuses), cmocka_unit_test(test_broken_signature_is_not_ours),
        cmocka_unit_test(test_left_overs), cmocka_unit_test(test_what_is_swept), cmocka_unit_test(test_locked), cmocka_unit_test(test_parallel),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
