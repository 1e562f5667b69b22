/* Bases as other builders write them: what is carried over, and every slip that keeps an image from being a base. */
#include "tests/checks.h"

#include "core/file.h"
#include "formats/oci_base.h"

#include <fcntl.h>

#define MANIFEST OCI_MEDIA_MANIFEST
#define GZIP "application/vnd.docker.image.rootfs.diff.tar.gzip"
#define ONES "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define TWOS "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define THREES "sha256:3333333333333333333333333333333333333333333333333333333333333333"
#define LAYERS "[{\"mediaType\":\"" GZIP "\",\"digest\":\"" ONES "\",\"size\":7,\"annotations\":{\"a\":\"b\"}},{\"mediaType\":\"" GZIP "\",\"digest\":\"" TWOS "\",\"size\":8}]"
#define IDS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" TWOS "\",\"" THREES "\"]}"
#define PLATFORM "\"architecture\":\"arm64\",\"os\":\"linux\","
#define CONFIG "{" PLATFORM "\"config\":{\"Env\":[\"A=b\"],\"Entrypoint\":[\"/serve\"]},\"history\":[{\"created_by\":\"one\",\"secret\":1}," \
               "{\"created_by\":\"two\",\"empty_layer\":true},{\"comment\":\"three\"}]," IDS "}"

static const char *root;

static void save(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    CHECK_OK(file_save(path, bytes_text(text), 0666, e_));
}

/* Writes a blob; `out` becomes {"mediaType": type, "digest", "size"} without the closing brace. */
static void blob(const char *type, const char *text, char out[512])
{
    struct digest d;
    char hex[DIGEST_HEX_SIZE], name[128];
    CHECK_OK(sha256_of(bytes_text(text), &d, e_));
    digest_hex(&d, hex);
    snprintf(name, sizeof name, OCI_BLOBS_FOLDER "/%s", hex);
    save(name, text);
    snprintf(out, 512, "{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\",\"size\":%zu", type, hex, strlen(text));
}

/* A layout whose tag "v" is an image with this config and these layers; `head` begins its manifest. */
static void make(const char *head, const char *config_type, const char *config, const char *layers)
{
    char c[512], m[512], text[4096];
    blob(config_type, config, c);
    snprintf(text, sizeof text, "{\"schemaVersion\":2,%s\"config\":%s},\"layers\":%s}", head, c, layers);
    blob(MANIFEST, text, m);
    snprintf(text, sizeof text, "{\"schemaVersion\":2,\"manifests\":[%s,\"annotations\":{\"" OCI_ANNOTATION_REF "\":\"v\"}}]}", m);
    save(OCI_INDEX_FILE, text);
}

static bool open_tag(const char *tag, const struct digest *wanted, struct oci_base *b, struct error *err)
{
    CLEANUP(oci_layout) struct oci_layout l = OCI_LAYOUT_INIT;
    return oci_layout_open(&l, root, err) && oci_base_open(b, &l, tag, wanted, err);
}

static bool refused(const char *tag, const struct digest *wanted, struct error *err)
{
    struct oci_base b;
    bool ok = open_tag(tag, wanted, &b, err);
    if (ok) oci_base_close(&b);
    return ok;
}

static void test_carried(void **state)
{
    (void)state;
    struct oci_base b;
    char text[OCI_DIGEST_SIZE];
    make("\"mediaType\":\"" MANIFEST "\",", OCI_MEDIA_CONFIG, CONFIG, LAYERS);
    CHECK_OK(open_tag("v", NULL, &b, e_));
    assert_int_equal(b.n_layers, 2);
    assert_string_equal(b.layers[0].media_type, GZIP); /* of any builder */
    assert_int_equal(b.layers[1].size, 8);
    assert_null(b.layers[0].annotations); /* theirs are not ours to repeat */
    oci_digest_text(&b.diff_ids[0], text);
    assert_string_equal(text, TWOS);
    assert_string_equal(b.architecture, "arm64");
    assert_string_equal(json_string_value(json_array_get(json_object_get(b.settings, "Env"), 0)), "A=b");
    assert_int_equal(json_array_size(b.history), 3);
    assert_null(json_object_get(json_array_get(b.history, 0), "secret"));
    assert_true(json_is_true(json_object_get(json_array_get(b.history, 1), "empty_layer")));
    struct digest own = b.digest, other = own;
    oci_base_close(&b);
    other.bytes[0] ^= 1;
    CHECK_OK(open_tag("v", &own, &b, e_));
    oci_base_close(&b);
    CHECK_FAILS(refused("v", &other, e_), ERR_FORMAT, "the base must be sha256:");
}

/* Without settings, a media type or a history that tells of both layers. */
static void test_bare(void **state)
{
    (void)state;
    struct oci_base b;
    static const char *const histories[] = {"", "\"history\":[],", "\"history\":[{\"created_by\":\"one\"}],", "\"history\":[1,2,3],"};
    for (size_t i = 0; i < sizeof histories / sizeof *histories; i++) {
        char config[1024];
        snprintf(config, sizeof config, "{" PLATFORM "%s" IDS "}", histories[i]);
        make("", OCI_MEDIA_CONFIG, config, LAYERS);
        CHECK_OK(open_tag("v", NULL, &b, e_));
        assert_null(b.settings);
        assert_int_equal(json_array_size(b.history), 2);
        assert_string_equal(json_string_value(json_object_get(json_array_get(b.history, 1), "created_by")), "base");
        oci_base_close(&b);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct { const char *head, *type, *config, *layers; enum error_code code; const char *why; } rows[] = {
        {"", "application/vnd.docker.container.image.v1+json", CONFIG, LAYERS, ERR_UNSUPPORTED, "is not an OCI image"},
        {"\"mediaType\":\"" OCI_MEDIA_INDEX "\",", OCI_MEDIA_CONFIG, CONFIG, LAYERS, ERR_UNSUPPORTED, "is not an OCI image"},
        {"\"manifests\":[],", OCI_MEDIA_CONFIG, CONFIG, LAYERS, ERR_UNSUPPORTED, "is not an OCI image"},
        {"", OCI_MEDIA_CONFIG, "{\"os\":\"linux\"," IDS "}", LAYERS, ERR_FORMAT, "architecture"},
        {"", OCI_MEDIA_CONFIG, "{\"architecture\":\"amd64\"," IDS "}", LAYERS, ERR_FORMAT, "'os'"},
        {"", OCI_MEDIA_CONFIG, "{" PLATFORM "\"config\":[]," IDS "}", LAYERS, ERR_FORMAT, "config"},
        {"", OCI_MEDIA_CONFIG, "{" PLATFORM "\"rootfs\":{}}", LAYERS, ERR_FORMAT, "diff_ids"},
        {"", OCI_MEDIA_CONFIG, "{" PLATFORM "\"rootfs\":{\"diff_ids\":[\"" TWOS "\"]}}", LAYERS, ERR_FORMAT, "has 1 diff ids, the manifest has 2 layers"},
        {"", OCI_MEDIA_CONFIG, "{" PLATFORM "\"rootfs\":{\"diff_ids\":[\"" TWOS "\",7]}}", LAYERS, ERR_FORMAT, "diff_ids[1]: expected a sha256 digest"},
        {"", OCI_MEDIA_CONFIG, "{" PLATFORM "\"rootfs\":{\"diff_ids\":[\"" TWOS "\",\"sha256:../../x\"]}}", LAYERS, ERR_FORMAT, "diff_ids[1]"},
        {"", OCI_MEDIA_CONFIG, CONFIG, "{}", ERR_FORMAT, "layers"},
        {"", OCI_MEDIA_CONFIG, CONFIG, "[{\"mediaType\":\"" GZIP "\",\"digest\":\"sha256:../x\",\"size\":7}]", ERR_FORMAT, "64 lower-case hex digits"},
        {"", OCI_MEDIA_CONFIG, CONFIG, "[{\"mediaType\":\"" GZIP "\",\"digest\":\"" ONES "\",\"size\":-1}]", ERR_FORMAT, "size"},
        {"", OCI_MEDIA_CONFIG, "{" PLATFORM IDS "," IDS "}", LAYERS, ERR_FORMAT, "base config"},
        {"", OCI_MEDIA_CONFIG, "no JSON", LAYERS, ERR_FORMAT, "base config"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        make(rows[i].head, rows[i].type, rows[i].config, rows[i].layers);
        CHECK_FAILS(refused("v", NULL, e_), rows[i].code, rows[i].why);
    }
    make("", OCI_MEDIA_CONFIG, CONFIG, LAYERS);
    CHECK_FAILS(refused("w", NULL, e_), ERR_FORMAT, "no image has the tag 'w'");
}

/* An index of images behind the tag, and a config that is not the one that was named. */
static void test_misled(void **state)
{
    (void)state;
    char d[512], text[2048], path[256];
    blob(OCI_MEDIA_INDEX, "{\"schemaVersion\":2,\"manifests\":[]}", d);
    snprintf(text, sizeof text, "{\"schemaVersion\":2,\"manifests\":[%s,\"annotations\":{\"" OCI_ANNOTATION_REF "\":\"v\"}}]}", d);
    save(OCI_INDEX_FILE, text);
    CHECK_FAILS(refused("v", NULL, e_), ERR_UNSUPPORTED, "names an index of images");
    make("", OCI_MEDIA_CONFIG, CONFIG, LAYERS);
    blob(OCI_MEDIA_CONFIG, CONFIG, d);
    char *hex = strstr(d, "sha256:") + 7;
    hex[64] = '\0';
    snprintf(path, sizeof path, OCI_BLOBS_FOLDER "/%s", hex);
    snprintf(text, sizeof text, "%s", CONFIG);
    *strstr(text, "arm64") = 'A';
    save(path, text);
    CHECK_FAILS(refused("v", NULL, e_), ERR_FORMAT, "base config");
}

int main(void)
{
    char command[160];
    root = check_folder();
    snprintf(command, sizeof command, "mkdir -p %s/" OCI_BLOBS_FOLDER, root);
    if (system(command) != 0) return 1;
    save(OCI_LAYOUT_FILE, OCI_LAYOUT_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_carried),
        cmocka_unit_test(test_bare),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_misled),
    };
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    check_folder_remove(root);
    return bad;
}
