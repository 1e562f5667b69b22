#include "tests/checks.h"

#include "core/text.h"
#include "formats/oci.h"

#define D1 "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define D2 "sha256:0cbd1a25ccf514fbf50407f72b20912ceb220570d6f8b8a32d0f47e705e6a292"
#define MM "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\""
#define HEAD "{\"schemaVersion\":2," MM ","
#define CONFIG "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"" D1 "\",\"size\":2}"
#define LAYER "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"" D2 "\",\"size\":5632}"
#define ENTRY(more) "{" MM ",\"digest\":\"" D1 "\",\"size\":2" more "}"
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":[" entries "]}"

struct row { const char *text, *why; };

static bool parse_manifest(const char *text, struct error *err)
{
    CLEANUP(oci_manifest) struct oci_manifest m;
    return oci_manifest_parse(bytes_text(text), "manifest", &m, err);
}

static bool parse_index(const char *text, struct error *err)
{
    CLEANUP(oci_index) struct oci_index ix;
    return oci_index_parse(bytes_text(text), "index", &ix, err);
}

static bool parse_config(const char *text, struct error *err)
{
    CLEANUP(oci_config) struct oci_config c;
    return oci_config_parse(bytes_text(text), "config", &c, err) && oci_config_check_data(&c, "config", err);
}

static bool parse_images(const char *text, struct error *err)
{
    CLEANUP(oci_index) struct oci_index ix;
    return oci_images_parse(bytes_text(text), "images", &ix, err);
}

static void refuse(bool (*parse)(const char *, struct error *), const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) CHECK_FAILS(parse(rows[i].text, e_), ERR_FORMAT, rows[i].why);
}

static void test_manifest(void **state)
{
    (void)state;
    CLEANUP(oci_manifest) struct oci_manifest m;
    CHECK_OK(oci_manifest_parse(bytes_text(HEAD "\"artifactType\":\"application/x.y\"," CONFIG ",\"layers\":[" LAYER "],\"annotations\":{\"a\":\"b\"},"
                                           "\"subject\":" LAYER "}"), "manifest", &m, e_));
    char text[OCI_DIGEST_SIZE];
    oci_digest_text(&m.layers[0].digest, text);
    assert_string_equal(text, D2);
    assert_int_equal(m.n_layers, 1);
    assert_int_equal(m.layers[0].size, 5632);
    assert_string_equal(m.config.media_type, OCI_MEDIA_CONFIG);
    assert_string_equal(m.artifact_type, "application/x.y");
    assert_true(m.has_subject && m.subject.size == 5632);
    assert_string_equal(oci_annotation(m.annotations, "a"), "b");
    assert_null(oci_annotation(m.annotations, "b"));
    assert_null(oci_annotation(NULL, "b"));
    static const struct row bad[] = {
        {"", "ends too early"}, {"[]", "expected an object"}, {"{}", "'schemaVersion' is missing"},
        {"{\"schemaVersion\":1," MM "," CONFIG ",\"layers\":[]}", "integer from 2 to 2"},
        {"{\"schemaVersion\":2," CONFIG ",\"layers\":[]}", "'mediaType' is missing"},
        {"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\"," CONFIG ",\"layers\":[]}", "found \"application/vnd.oci.image.index"},
        {HEAD CONFIG ",\"layers\":[],\"manifests\":[]}", "unknown key 'manifests'"}, {HEAD CONFIG ",\"layers\":[],\"layers\":[]}", "duplicate"},
        {HEAD "\"layers\":[]}", "'config' is missing"}, {HEAD CONFIG "}", "'layers' is missing"}, {HEAD CONFIG ",\"layers\":{}}", "expected an array"},
        {HEAD CONFIG ",\"layers\":[1]}", "layers[0]: expected an object"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D2 "\"}]}", "'size' is missing"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D2 "\",\"size\":-1}]}", "integer from 0"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D2 "\",\"size\":1.0}]}", "integer from 0"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D2 "\",\"size\":9223372036854775807}]}", "integer from 0"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D2 "\",\"size\":1,\"urls\":[]}]}", "unknown key 'urls'"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"ab\",\"digest\":\"" D2 "\",\"size\":1}]}", "not a media type"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"a/b/c\",\"digest\":\"" D2 "\",\"size\":1}]}", "not a media type"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"sha256:../../../etc/passwd\",\"size\":1}]}", "64 lower-case hex"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"sha512:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":1}]}",
         "64 lower-case hex"},
        {HEAD CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"sha256:44136FA355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":1}]}",
         "64 lower-case hex"},
        {HEAD CONFIG ",\"layers\":[],\"annotations\":{\"a\":1}}", "expected a string, found 1"},
        {HEAD CONFIG ",\"layers\":[],\"annotations\":[]}", "expected an object"}, {HEAD CONFIG ",\"layers\":[],\"annotations\":{\"\":\"a\"}}", "is empty"},
        {HEAD CONFIG ",\"layers\":[],\"subject\":null}", "expected an object"}, {HEAD CONFIG ",\"layers\":[],\"artifactType\":\"\"}", "not a media type"},
        {HEAD CONFIG ",\"layers\":[]} x", "after the value"},
    };
    refuse(parse_manifest, bad, sizeof bad / sizeof *bad);
}

static void test_index(void **state)
{
    (void)state;
    CLEANUP(oci_index) struct oci_index ix;
    CHECK_OK(oci_index_parse(bytes_text(INDEX(ENTRY(",\"annotations\":{\"kind\":\"dev.cosignproject.cosign/image\",\"org.opencontainers.image.ref.name\":\"v1\"}")
                                              "," ENTRY(",\"artifactType\":\"a/b\""))), "index", &ix, e_));
    assert_int_equal(ix.n_manifests, 2);
    assert_ptr_equal(oci_index_find(&ix, "v1"), &ix.manifests[0]);
    assert_null(oci_index_find(&ix, "v2"));
    CHECK_OK(parse_index(" { \"schemaVersion\" : 2 , \"manifests\" : [ ] } \n", e_));
    static const struct row bad[] = {
        {"{\"schemaVersion\":2,\"manifests\":[],\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"}", "expected \"application/vnd.oci.image.index"},
        {"{\"schemaVersion\":2,\"manifests\":[],\"annotations\":[]}", "expected an object"},
        {"{\"schemaVersion\":2,\"manifests\":[],\"annotations\":{\"a\":1}}", "expected a string"},
        {"{\"schemaVersion\":2,\"manifests\":[],\"subject\":{}}", "unknown key 'subject'"},
        {"{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}", "unknown key 'layers'"},
        {INDEX("{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"" D1 "\",\"size\":2}"), "manifests[0]: expected media type"},
        {INDEX(ENTRY(",\"annotations\":{\"org.opencontainers.image.ref.name\":\"a b\"}")), "\"a b\" is not a tag"},
        {INDEX(ENTRY(",\"annotations\":{\"kind\":\"x\"}")), "kind: expected"},
        {INDEX(ENTRY(",\"platform\":{}")), "'architecture' is missing"},
        {INDEX(ENTRY(",\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\",\"variant\":\"v3\"}")), "unknown key 'variant'"},
        {INDEX(ENTRY(",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}") "," ENTRY(",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}")),
         "tag 'v1' is there twice"},
    };
    refuse(parse_index, bad, sizeof bad / sizeof *bad);
}

/* An index of images: what index.json may hold besides, it may not. */
static void test_images(void **state)
{
    (void)state;
#define PLATFORM ",\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}"
#define ENTRY2(more) "{" MM ",\"digest\":\"" D2 "\",\"size\":2" more "}"
#define IMAGES(entries) "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[" entries "],\"annotations\":{\"a\":\"b\"}}"
    CLEANUP(oci_index) struct oci_index ix;
    CHECK_OK(oci_images_parse(bytes_text(IMAGES(ENTRY(PLATFORM) "," ENTRY2(PLATFORM))), "images", &ix, e_));
    assert_int_equal(ix.n_manifests, 2);
    assert_string_equal(ix.manifests[1].architecture, "amd64");
    assert_string_equal(ix.manifests[1].os, "linux");
    assert_string_equal(oci_annotation(ix.annotations, "a"), "b");
    static const struct row bad[] = {
        {INDEX(ENTRY(PLATFORM)), "'mediaType' is missing"},
        {IMAGES(""), "without images"},
        {IMAGES(ENTRY("")), "'platform' is missing"},
        {IMAGES(ENTRY(PLATFORM) "," ENTRY(PLATFORM)), "is there twice"},
        {IMAGES(ENTRY(PLATFORM ",\"artifactType\":\"a/b\"")), "is an artifact"},
        {IMAGES(ENTRY(PLATFORM ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}")), "has a tag"},
        {IMAGES("{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"digest\":\"" D1 "\",\"size\":2" PLATFORM "}"),
         "expected media type \"application/vnd.oci.image.manifest"},
    };
    refuse(parse_images, bad, sizeof bad / sizeof *bad);
}

/* SOURCE_DATE_EPOCH. The expected times: date -u -d @N. */
static void test_created(void **state)
{
    (void)state;
    static const struct { const char *epoch, *time; } good[] = {
        {"", "1970-01-01T00:00:00Z"}, {"0", "1970-01-01T00:00:00Z"}, {"1", "1970-01-01T00:00:01Z"}, {"1763000000", "2025-11-13T02:13:20Z"},
        {"253402300799", "9999-12-31T23:59:59Z"},
    };
    static const char *const bad[] = {"-1", "x", "1x", " 1", "+1", "253402300800", "99999999999999999999999", "1.5"};
    char text[OCI_CREATED_SIZE];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        setenv("SOURCE_DATE_EPOCH", good[i].epoch, 1);
        CHECK_OK(oci_created(text, e_));
        assert_string_equal(text, good[i].time);
        assert_true(oci_created_is_valid(text));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("SOURCE_DATE_EPOCH", bad[i], 1);
        CHECK_FAILS(oci_created(text, e_), ERR_USAGE, "expected seconds since 1970");
    }
    unsetenv("SOURCE_DATE_EPOCH");
    assert_false(oci_created_is_valid("1970-01-01T00:00:00"));
    assert_false(oci_created_is_valid("1970-01-01 00:00:00Z"));
    assert_false(oci_created_is_valid("197O-01-01T00:00:00Z"));
}

/* Media types and annotations at the edges of what is taken. */
static void test_words(void **state)
{
    (void)state;
    char long127[128], long128[129], long4096[OCI_TEXT_BYTES_MAX + 1], long4097[OCI_TEXT_BYTES_MAX + 2];
    memset(long127, 'a', sizeof long127);
    memset(long128, 'a', sizeof long128);
    memset(long4096, 'a', sizeof long4096);
    memset(long4097, 'a', sizeof long4097);
    long127[127] = long128[128] = long4096[OCI_TEXT_BYTES_MAX] = long4097[OCI_TEXT_BYTES_MAX + 1] = '\0';
    const struct { const char *type, *subtype, *key, *value; bool good; } rows[] = {
        {"a", "/b", "k", "v", true}, {"a", ":b", "k", "v", false}, {"", "/b", "k", "v", false}, {"a", "/", "k", "v", false}, {"a", "", "k", "v", false},
        {"a b", "/c", "k", "v", false}, {"a", "/b c", "k", "v", false}, {"a", "/b/c", "k", "v", false}, {long127, "/b", "k", "v", true},
        {long128, "/b", "k", "v", false}, {"a/", long127, "k", "v", true}, {"a/", long128, "k", "v", false}, {"a", "/b", long4096, "v", true},
        {"a", "/b", long4097, "v", false}, {"a", "/b", "k", long4096, true}, {"a", "/b", "k", long4097, false}, {"a", "/b", "", "v", false},
        {"a", "/b", "k", "", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(text) struct text t = TEXT_INIT;
        text_add(&t, HEAD "\"config\":{\"mediaType\":\"%s%s\",\"digest\":\"" D1 "\",\"size\":2},\"layers\":[],\"annotations\":{\"%s\":\"%s\"}}",
                 rows[i].type, rows[i].subtype, rows[i].key, rows[i].value);
        struct error e = ERROR_INIT;
        if (parse_manifest(t.data, &e) != rows[i].good) fail_msg("row %zu: %s", i, e.text);
    }
}

#define CREATED "\"created\":\"1970-01-01T00:00:00Z\""
#define CONFIG_DOC(config, type, ids, history) "{\"architecture\":\"amd64\",\"os\":\"linux\"," CREATED ",\"config\":" config \
    ",\"rootfs\":{\"type\":" type ",\"diff_ids\":[" ids "]},\"history\":[" history "]}"

static void test_config(void **state)
{
    (void)state;
    CLEANUP(oci_config) struct oci_config c;
    CHECK_OK(oci_config_parse(bytes_text(CONFIG_DOC("{}", "\"layers\"", "\"" D1 "\",\"" D2 "\"",
                                                    "{" CREATED ",\"created_by\":\"a\"},{" CREATED ",\"created_by\":\"b\"}")), "config", &c, e_));
    char text[OCI_DIGEST_SIZE];
    assert_int_equal(c.n_layers, 2);
    oci_digest_text(&c.diff_ids[1], text);
    assert_string_equal(text, D2);
    assert_string_equal(c.created_by[1], "b");
    static const struct row bad[] = {
        {CONFIG_DOC("{}", "\"layers\"", "\"" D1 "\"", ""), "1 diff_ids and 0 history"},
        {CONFIG_DOC("{\"Entrypoint\":[\"/bin/sh\"]}", "\"layers\"", "", ""), "expected an empty object"},
        {CONFIG_DOC("{}", "\"layer\"", "", ""), "expected \"layers\""}, {CONFIG_DOC("{}", "\"layers\"", "1", "{}"), "diff_ids[0]"},
        {CONFIG_DOC("{}", "\"layers\"", "\"" D1 "\"", "{" CREATED "}"), "'created_by' is missing"},
        {CONFIG_DOC("{}", "\"layers\"", "\"" D1 "\"", "{" CREATED ",\"created_by\":\"\",\"empty_layer\":true}"), "1 diff_ids and 0 history"},
        {CONFIG_DOC("{}", "\"layers\"", "\"" D1 "\"", "{" CREATED ",\"created_by\":\"\",\"empty_layer\":false}"), "unknown key 'empty_layer'"},
        {CONFIG_DOC("{}", "\"layers\"", "\"" D1 "\"", "{\"created\":\"2026-01-01T00:00:00Z\",\"created_by\":\"\"}"), "expected \"1970"},
        {"{\"architecture\":\"arm64\",\"os\":\"linux\"," CREATED ",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},\"history\":[]}",
         "expected \"amd64\""},
        {"{\"architecture\":\"amd64\",\"os\":\"linux\"," CREATED ",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},\"history\":[],\"author\":\"x\"}",
         "unknown key 'author'"},
        {"{\"architecture\":\"amd64\",\"os\":\"windows\"," CREATED ",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},\"history\":[]}",
         "expected \"linux\""},
        {"{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"1970-01-01T00:00:01\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},"
         "\"history\":[]}", "expected a time like \"1970-01-01T00:00:00Z\""},
        {CONFIG_DOC("{}", "\"layers\",\"x\":1", "", ""), "unknown key 'x'"},
        {"[]", "expected an object"},
    };
    refuse(parse_config, bad, sizeof bad / sizeof *bad);
}

/* A document one item above its limit, built here so that the limit is reached by count and not by size. */
static void test_caps(void **state)
{
    (void)state;
    struct text layers = TEXT_INIT, entries = TEXT_INIT, annotations = TEXT_INIT;
    text_add(&layers, HEAD CONFIG ",\"layers\":[" LAYER);
    for (uint32_t i = 0; i < OCI_LAYERS_MAX; i++) text_add(&layers, "," LAYER);
    text_add(&layers, "]}");
    CHECK_FAILS(parse_manifest(layers.data, e_), ERR_FORMAT, "at most 8192");
    text_add(&entries, "{\"schemaVersion\":2,\"manifests\":[" ENTRY(""));
    for (uint32_t i = 0; i < OCI_MANIFESTS_MAX; i++) text_add(&entries, "," ENTRY(""));
    text_add(&entries, "]}");
    CHECK_FAILS(parse_index(entries.data, e_), ERR_FORMAT, "at most 1024");
    CHECK_FAILS(parse_index(INDEX("{" MM ",\"digest\":\"" D1 "\",\"size\":8388608},{" MM ",\"digest\":\"" D2 "\",\"size\":8388609}"), e_), ERR_FORMAT,
                "its manifests have 16777217 bytes");
    CHECK_OK(parse_index(INDEX("{" MM ",\"digest\":\"" D1 "\",\"size\":8388608},{" MM ",\"digest\":\"" D2 "\",\"size\":8388608}"), e_));
    text_add(&annotations, HEAD CONFIG ",\"layers\":[],\"annotations\":{\"a\":\"\"");
    for (uint32_t i = 0; i < OCI_ANNOTATIONS_MAX; i++) text_add(&annotations, ",\"a%u\":\"\"", i);
    text_add(&annotations, "}}");
    CHECK_FAILS(parse_manifest(annotations.data, e_), ERR_FORMAT, "at most 64");
    struct text config = TEXT_INIT;
    text_add(&config, "{\"architecture\":\"amd64\",\"os\":\"linux\"," CREATED ",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D1 "\"");
    for (uint32_t i = 0; i < OCI_LAYERS_MAX; i++) text_add(&config, ",\"" D1 "\"");
    text_add(&config, "]},\"history\":[]}");
    CHECK_FAILS(parse_config(config.data, e_), ERR_FORMAT, "has 8193 diff_ids, at most 8192");
    text_free(&config);
    text_add(&config, "{\"architecture\":\"amd64\",\"os\":\"linux\"," CREATED ",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D1 "\"]},"
             "\"history\":[{" CREATED ",\"created_by\":\"%0*d\"}]}", (int)OCI_TEXT_BYTES_MAX + 1, 0);
    CHECK_FAILS(parse_config(config.data, e_), ERR_FORMAT, "created_by is too long");
    text_free(&config);
    text_free(&layers);
    text_free(&entries);
    text_free(&annotations);
    char *huge = malloc(OCI_DOCUMENT_BYTES_MAX + 2);
    memset(huge, ' ', OCI_DOCUMENT_BYTES_MAX + 1);
    huge[OCI_DOCUMENT_BYTES_MAX + 1] = '\0';
    CHECK_FAILS(parse_manifest(huge, e_), ERR_FORMAT, "at most 4194304");
    CHECK_FAILS(parse_index(huge, e_), ERR_FORMAT, "at most 4194304");
    CHECK_FAILS(parse_config(huge, e_), ERR_FORMAT, "at most 4194304");
    memset(huge, '[', 100000);
    CHECK_FAILS(parse_index((huge[100000] = '\0', huge), e_), ERR_FORMAT, "nested too deeply");
    free(huge);
}

/* What is read is written back as the same document. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char manifest[] = "{\"annotations\":{\"a\":\"b\"},\"artifactType\":\"a/b\",\"config\":{\"digest\":\"" D1 "\",\"mediaType\":\"a/b\",\"size\":2},"
        "\"layers\":[{\"annotations\":{\"t\":\"\xc3\xa9\"},\"digest\":\"" D2 "\",\"mediaType\":\"c/d\",\"size\":140737488355328}],"
        "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"schemaVersion\":2,\"subject\":{\"digest\":\"" D2 "\",\"mediaType\":\"e/f\",\"size\":0}}";
    static const char index[] = "{\"manifests\":[{\"artifactType\":\"a/b\",\"digest\":\"" D1 "\",\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
        "\"size\":2}],\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"schemaVersion\":2}";
    static const char config[] = "{\"architecture\":\"amd64\",\"config\":{},\"created\":\"1970-01-01T00:00:00Z\",\"history\":[{\"created\":\"1970-01-01T00:00:00Z\","
        "\"created_by\":\"models/a\"}],\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"" D1 "\"],\"type\":\"layers\"}}";
    CLEANUP(oci_manifest) struct oci_manifest m;
    CLEANUP(oci_index) struct oci_index ix;
    CLEANUP(oci_config) struct oci_config c;
    CLEANUP(free) char *a = NULL;
    CLEANUP(free) char *b = NULL;
    CLEANUP(free) char *d = NULL;
    CHECK_OK(oci_manifest_parse(bytes_text(manifest), "manifest", &m, e_));
    CHECK_OK(oci_manifest_text(&m, &a, NULL, e_));
    assert_string_equal(a, manifest);
    CHECK_OK(oci_index_parse(bytes_text(index), "index", &ix, e_));
    CHECK_OK(oci_index_text(&ix, &b, NULL, e_));
    assert_string_equal(b, index);
    CHECK_OK(oci_config_parse(bytes_text(config), "config", &c, e_));
    CHECK_OK(oci_config_text(&c, &d, NULL, e_));
    assert_string_equal(d, config);
}

static void test_refs(void **state)
{
    (void)state;
    static const struct { const char *text, *dir, *tag; } good[] = {
        {"oci:dist:v1", "dist", "v1"}, {"oci:dist", "dist", "latest"}, {"oci:/a/b c/d:V_1.2-x", "/a/b c/d", "V_1.2-x"}, {"oci:.:_", ".", "_"},
    };
    static const char *const bad[] = {"dist:v1", "", "oci:", "oci::v1", "oci:dist:", "oci:dist:a b", "oci:dist:.a", "oci:dist:-a", "oci:a:b:c", "oci:dist:a/b"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CLEANUP(oci_ref) struct oci_ref ref;
        CHECK_OK(oci_ref_parse(good[i].text, &ref, e_));
        assert_string_equal(ref.dir, good[i].dir);
        assert_string_equal(ref.tag, good[i].tag);
    }
    struct oci_ref ref;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK_FAILS(oci_ref_parse(bad[i], &ref, e_), ERR_USAGE, "");
    char tag[OCI_TAG_BYTES_MAX + 2];
    memset(tag, 'a', sizeof tag);
    tag[OCI_TAG_BYTES_MAX + 1] = '\0';
    assert_false(oci_tag_is_valid(tag));
    tag[OCI_TAG_BYTES_MAX] = '\0';
    assert_true(oci_tag_is_valid(tag));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest), cmocka_unit_test(test_index), cmocka_unit_test(test_config),
        cmocka_unit_test(test_images), cmocka_unit_test(test_created), cmocka_unit_test(test_words), cmocka_unit_test(test_caps), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
