#include "tests/checks.h"

#include "core/crypto.h"
#include "pack/docker_auth.h"
#include "pack/registry.h"
#include "pack/registry_curl.h"
#include "pack/registry_graph.h"
#include "pack/registry_header.h"

#define HEX64 "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

/* ---- names: distribution-spec, "Pulling manifests" ------------------------------------------------------------------
 */
static void test_names(void **state)
{
    (void)state;
    static const struct { const char *text, *host, *repository, *tag; bool digest; } good[] = {
        {"ghcr.io/org/model", "ghcr.io", "org/model", "", false},
        {"ghcr.io/org/model:v1.0_x-Y", "ghcr.io", "org/model", "v1.0_x-Y", false},
        {"127.0.0.1:5000/a@sha256:" HEX64, "127.0.0.1:5000", "a", "", true},
        {"[::1]:5000/a-b/c__d/e.f/g---h:t@sha256:" HEX64, "[::1]:5000", "a-b/c__d/e.f/g---h", "t", true},
        {"localhost/x", "localhost", "x", "", false},
        {"localhost:1/x", "localhost:1", "x", "", false},
    };
    static const char *const bad[] = {
        "", "/", "a", "a/b", "ghcr.io", "ghcr.io/", "ghcr.io/A", "ghcr.io//a", "ghcr.io/a/", "ghcr.io/a..b", "ghcr.io/a___b", "ghcr.io/-a",
        "ghcr.io/a-", "ghcr.io/a:", "ghcr.io/a:.x", "ghcr.io/a@", "ghcr.io/a@sha256:" HEX64 "0", "ghcr.io/a@sha512:" HEX64, "ghcr.io/a b",
        "ghcr.io/a%2fb", "ghcr.io/a?b", "ghcr.io/a#b", "-x.io/a", "x-.io/a", "x..io/a", "x.io:/a", "x.io:0/a", "x.io:65536/a", "x.io:1x/a",
        "u@x.io/a", "http://x.io/a", "[::1/a", "[]/a", "[::g]/a", "[fe80::1%eth0]/a", "x_y.io/a", "ghcr.io/a:t:u", "ghcr.io/a/../b",
        "ghcr.io/a@sha256:44136FA355B3678A1146AD16F7E8649E94FB4FC21FE77E8310C060F61CAAFF8A", "ghcr.io/a\n",
    };
    struct registry_ref r;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CHECK_OK(registry_ref_parse(good[i].text, &r, e_));
        assert_string_equal(r.host, good[i].host);
        assert_string_equal(r.repository, good[i].repository);
        assert_string_equal(r.tag, good[i].tag);
        assert_int_equal(r.has_digest, good[i].digest);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error e = ERROR_INIT;
        if (registry_ref_parse(bad[i], &r, &e)) fail_msg("'%s' is taken for a name", bad[i]);
        assert_int_equal(e.code, ERR_USAGE);
    }
}

static void test_loopback(void **state)
{
    (void)state;
    static const char *const yes[] = {"localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:443"};
    static const char *const no[] = {"localhost.example", "127.0.0.1.example", "128.0.0.1", "[::2]", "[::ffff:127.0.0.1]", "0.0.0.0", "localhos", "x", ""};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!registry_host_is_loopback(yes[i])) fail_msg("'%s' is not taken for loopback", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (registry_host_is_loopback(no[i])) fail_msg("'%s' is taken for loopback", no[i]);
}

/* ---- headers --------------------------------------------------------------------------------------------------------
 */
static void test_challenges(void **state)
{
    (void)state;
    static const struct { const char *text; bool ok; enum auth_scheme scheme; const char *realm, *service, *scope; } rows[] = {
        /* the example of the distribution project's token specification */
        {"Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:samalba/my-app:pull,push\"", true, AUTH_BEARER,
         "https://auth.docker.io/token", "registry.docker.io", "repository:samalba/my-app:pull,push"},
        {"Basic realm=\"a \\\"b\\\"\"", true, AUTH_BASIC, "a \"b\"", "", ""},
        {"basic REALM=x", true, AUTH_BASIC, "x", "", ""},
        {"Negotiate, Bearer realm=\"r\"", true, AUTH_BEARER, "r", "", ""},
        {"Negotiate abc==, Basic realm=\"r\"", true, AUTH_BASIC, "r", "", ""},
        {"Basic realm=\"b\", charset=\"UTF-8\", Bearer realm=\"r\" , service = \"s\"", true, AUTH_BEARER, "r", "s", ""},
        {"Bearer realm=\"first\", Bearer realm=\"second\"", true, AUTH_BEARER, "first", "", ""},
        {"Digest realm=\"x\", nonce=\"y\"", true, AUTH_NONE, "", "", ""},
        {"", true, AUTH_NONE, "", "", ""},
        {"Bearer realm=\"unterminated", false, AUTH_NONE, "", "", ""},
        {"Bearer realm=\"a\", realm=\"b\"", false, AUTH_NONE, "", "", ""},
        {"Bearer realm=\"a\x01\"", false, AUTH_NONE, "", "", ""},
        {"=", false, AUTH_NONE, "", "", ""},
        {"Bearer realm=", false, AUTH_NONE, "", "", ""},
    };
    struct auth_challenge c;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (auth_challenge_parse(rows[i].text, &c) != rows[i].ok) fail_msg("'%s': ok should be %d", rows[i].text, rows[i].ok);
        if (c.scheme != rows[i].scheme) fail_msg("'%s': scheme %d", rows[i].text, c.scheme);
        assert_string_equal(c.realm, rows[i].realm);
        assert_string_equal(c.service, rows[i].service);
        assert_string_equal(c.scope, rows[i].scope);
    }
    char text[2100] = "Bearer realm=\"";
    memset(text + 14, 'x', 1024);
    strcpy(text + 14 + 1024, "\"");
    assert_false(auth_challenge_parse(text, &c));
    text[14 + 1023] = '"';
    text[14 + 1024] = '\0';
    assert_true(auth_challenge_parse(text, &c) && strlen(c.realm) == 1023);
}

static void test_links(void **state)
{
    (void)state;
    static const struct { const char *text, *next; } rows[] = {
        {"</v2/a/referrers/x?page=2>; rel=\"next\"", "/v2/a/referrers/x?page=2"},
        {"<https://x/y>;rel=next", "https://x/y"},
        {"<a>; rel=\"prev\", <b>; title=\"t\"; rel=\"next\"", "b"},
        {"<a>; rel=\"nextish\"", NULL},
        {"<a>; rel=\"prev\"", NULL},
        {"<a", NULL},
        {"<>; rel=next", NULL},
        {"<a b>; rel=next", NULL},
        {"", NULL},
        {"a; rel=next", NULL},
    };
    char next[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool found = link_next_parse(rows[i].text, next, sizeof next);
        if (found != (rows[i].next != NULL)) fail_msg("'%s': found %d", rows[i].text, found);
        if (found) assert_string_equal(next, rows[i].next);
    }
    assert_false(link_next_parse("<abcdef>; rel=next", next, 6));
    assert_true(link_next_parse("<abcde>; rel=next", next, 6));
}

static void test_ranges(void **state)
{
    (void)state;
    uint64_t a, b, total;
    bool sure;
    assert_true(upload_range_parse("0-9", &a, &sure) && a == 10 && sure);
    assert_true(upload_range_parse("bytes=0-9", &a, &sure) && a == 10 && sure);
    assert_true(upload_range_parse("0-0", &a, &sure) && a == 1 && !sure);
    static const char *const no_upload[] = {"", "1-9", "0-", "-9", "0-9x", "0-99999999999999999999", "bytes 0-9", "0--1"};
    for (size_t i = 0; i < sizeof no_upload / sizeof *no_upload; i++)
        if (upload_range_parse(no_upload[i], &a, &sure)) fail_msg("'%s' is taken for a range", no_upload[i]);
    assert_true(content_range_parse("bytes 5-9/10", &a, &b, &total) && a == 5 && b == 9 && total == 10);
    assert_true(content_range_parse("bytes 0-0/*", &a, &b, &total) && a == 0 && b == 0 && total == UINT64_MAX);
    static const char *const no_content[] = {"", "5-9/10", "bytes 5-9", "bytes 9-5/10", "bytes 5-10/10", "bytes */10", "bytes 5-9/10x", "bytes=5-9/10", "bytes 5-9/"};
    for (size_t i = 0; i < sizeof no_content / sizeof *no_content; i++)
        if (content_range_parse(no_content[i], &a, &b, &total)) fail_msg("'%s' is taken for a content range", no_content[i]);
    assert_true(retry_after_parse(" 120 ", &a) && a == 120);
    assert_false(retry_after_parse("Fri, 31 Dec 1999 23:59:59 GMT", &a));
    assert_false(retry_after_parse("-1", &a));
    assert_false(retry_after_parse("", &a));
}

/* ---- credentials ----------------------------------------------------------------------------------------------------
 */
static void test_docker_config(void **state)
{
    (void)state;
    /* "YW5uOnM6eA==" is ann:s:x, "Ym9iOnk=" is bob:y (base64 of coreutils) */
    static const struct { const char *text, *host, *repository, *user, *password, *helper; } rows[] = {
        {"{\"auths\":{\"r.io\":{\"auth\":\"YW5uOnM6eA==\"}}}", "r.io", "a", "ann", "s:x", NULL},
        {"{\"auths\":{\"https://r.io/v1/\":{\"auth\":\"YW5uOnM6eA==\"}}}", "r.io", "a", "ann", "s:x", NULL},
        {"{\"auths\":{\"r.io\":{\"username\":\"u\",\"password\":\"p\"}}}", "r.io", "a", "u", "p", NULL},
        {"{\"auths\":{\"r.io\":{\"auth\":\"YW5uOnM6eA==\"},\"r.io/a/b\":{\"auth\":\"Ym9iOnk=\"}}}", "r.io", "a/b/c", "bob", "y", NULL},
        {"{\"auths\":{\"r.io\":{\"auth\":\"YW5uOnM6eA==\"},\"r.io/a/b\":{\"auth\":\"Ym9iOnk=\"}}}", "r.io", "a/bc", "ann", "s:x", NULL},
        {"{\"auths\":{\"r.io:5000\":{\"auth\":\"YW5uOnM6eA==\"}}}", "r.io", "a", NULL, NULL, NULL},
        {"{\"auths\":{\"evil-r.io\":{\"auth\":\"YW5uOnM6eA==\"}}}", "r.io", "a", NULL, NULL, NULL},
        {"{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"YW5uOnM6eA==\"}}}", "docker.io", "a", "ann", "s:x", NULL},
        {"{\"auths\":{\"r.io\":{}},\"credsStore\":\"desktop\"}", "r.io", "a", NULL, NULL, "desktop"},
        {"{\"auths\":{\"r.io\":{\"auth\":\"YW5uOnM6eA==\"}},\"credHelpers\":{\"r.io\":\"gcloud\"}}", "r.io", "a", NULL, NULL, "gcloud"},
        {"{\"auths\":{\"r.io\":{\"auth\":\"YW5uOnM6eA==\"}},\"credHelpers\":{\"s.io\":\"gcloud\"}}", "r.io", "a", "ann", "s:x", NULL},
        {"{}", "r.io", "a", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct docker_auth a;
        char *helper = NULL;
        CHECK_OK(docker_config_parse(bytes_text(rows[i].text), "f", rows[i].host, rows[i].repository, &a, &helper, e_));
        if (!!a.user != !!rows[i].user || (a.user && strcmp(a.user, rows[i].user) != 0)) fail_msg("row %zu: user '%s'", i, a.user ? a.user : "none");
        if (!!a.password != !!rows[i].password || (a.password && strcmp(a.password, rows[i].password) != 0)) fail_msg("row %zu: another password", i);
        if (!!helper != !!rows[i].helper || (helper && strcmp(helper, rows[i].helper) != 0)) fail_msg("row %zu: helper '%s'", i, helper ? helper : "none");
        docker_auth_free(&a);
        free(helper);
    }
    static const struct { const char *text, *why; } bad[] = {
        {"[]", "expected an object"},
        {"{\"auths\":1}", "to be objects"},
        {"{\"auths\":{\"r.io\":1}}", "expected an object"},
        {"{\"auths\":{\"r.io\":{\"auth\":1}}}", "is not a string"},
        {"{\"auths\":{\"r.io\":{\"auth\":\"hidden-secret!\"}}}", "is not base64"},
        {"{\"auths\":{\"r.io\":{\"auth\":\"YWJj\"}}}", "USER:PASSWORD"}, /* abc */
        {"{\"credsStore\":\"a/b\"}", "name of a credential helper"},
        {"{\"credHelpers\":{\"r.io\":\"\"}}", "name of a credential helper"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct docker_auth a;
        char *helper = NULL;
        CHECK_FAILS(docker_config_parse(bytes_text(bad[i].text), "f", "r.io", "a", &a, &helper, e_), ERR_FORMAT, bad[i].why);
        assert_null(strstr(check_error()->text, "hidden-secret"));
        assert_null(a.user);
        assert_null(helper);
    }
    struct docker_auth a;
    CHECK_OK(docker_answer_parse(bytes_text("{\"ServerURL\":\"r.io\",\"Username\":\"u\",\"Secret\":\"s\"}"), "h", &a, e_));
    assert_string_equal(a.user, "u");
    assert_string_equal(a.password, "s");
    docker_auth_free(&a);
    CHECK_OK(docker_answer_parse(bytes_text("{\"Username\":\"<token>\",\"Secret\":\"s\"}"), "h", &a, e_));
    assert_null(a.password);
    assert_string_equal(a.identity_token, "s");
    docker_auth_free(&a);
    CHECK_FAILS(docker_answer_parse(bytes_text("{\"Username\":\"u\",\"Secret\":\"s\\n\"}"), "h", &a, e_), ERR_FORMAT, "control character");
}

/* ---- lists that several signers share -------------------------------------------------------------------------------
 */
static void test_fallback_merge(void **state)
{
    (void)state;
    struct digest subject, other;
    assert_true(digest_parse(HEX64, &subject));
    other = subject;
    other.bytes[0] ^= 1;
    json_t *a = json_pack("{s:s,s:i}", "digest", "sha256:aa", "size", 1), *b = json_pack("{s:s,s:i}", "digest", "sha256:bb", "size", 2);
    struct fallback_entry entries[] = {{subject, a}, {other, b}};
    char *text = NULL;
    size_t n;
    uint32_t missing;
    CHECK_OK(registry_fallback_merge(bytes_of("", 0), &subject, entries, 2, &text, &n, &missing, e_));
    assert_int_equal(missing, 1);
    assert_string_equal(text, "{\"manifests\":[{\"digest\":\"sha256:aa\",\"size\":1}],\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"schemaVersion\":2}");
    char *again = NULL;
    CHECK_OK(registry_fallback_merge(bytes_of(text, n), &subject, entries, 2, &again, &n, &missing, e_));
    assert_int_equal(missing, 0);
    free(again);
    free(text);
    CHECK_OK(registry_fallback_merge(bytes_text("{\"schemaVersion\":2,\"x\":[1],\"manifests\":[{\"digest\":\"sha256:cc\",\"y\":2}]}"), &subject, entries, 2, &text, &n, &missing, e_));
    assert_int_equal(missing, 1);
    assert_string_equal(text, "{\"manifests\":[{\"digest\":\"sha256:cc\",\"y\":2},{\"digest\":\"sha256:aa\",\"size\":1}],\"schemaVersion\":2,\"x\":[1]}");
    free(text);
    CHECK_FAILS(registry_fallback_merge(bytes_text("{}"), &subject, entries, 2, &text, &n, &missing, e_), ERR_FORMAT, "'manifests' is missing");
    CHECK_FAILS(registry_fallback_merge(bytes_text("<html>"), &subject, entries, 2, &text, &n, &missing, e_), ERR_FORMAT, "sha256-44136fa3");
    json_decref(a);
    json_decref(b);
}

static void test_tagged_merge(void **state)
{
    (void)state;
    static const char one[] = "{\"layers\":[{\"annotations\":{\"s\":\"1\"},\"digest\":\"sha256:aa\"}],\"schemaVersion\":2}",
                      two[] = "{\"layers\":[{\"annotations\":{\"s\":\"2\"},\"digest\":\"sha256:aa\"}],\"schemaVersion\":2}";
    char *text = NULL;
    size_t n;
    uint32_t missing;
    CHECK_OK(registry_tagged_merge(bytes_text(one), bytes_text(two), "t", &text, &n, &missing, e_));
    assert_int_equal(missing, 1);
    assert_string_equal(text, "{\"layers\":[{\"annotations\":{\"s\":\"1\"},\"digest\":\"sha256:aa\"},{\"annotations\":{\"s\":\"2\"},\"digest\":\"sha256:aa\"}],\"schemaVersion\":2}");
    char *again = NULL;
    CHECK_OK(registry_tagged_merge(bytes_of(text, n), bytes_text(two), "t", &again, &n, &missing, e_));
    assert_int_equal(missing, 0);
    free(text);
    free(again);
    CHECK_FAILS(registry_tagged_merge(bytes_text("{}"), bytes_text(two), "t", &text, &n, &missing, e_), ERR_FORMAT, "'layers' is missing");
}

static void test_legacy_tags(void **state)
{
    (void)state;
    struct digest d;
    assert_true(graph_legacy_tag("sha256-" HEX64 ".sig", &d));
    assert_true(graph_legacy_tag("sha256-" HEX64 ".att", &d));
    assert_true(graph_legacy_tag("sha256-" HEX64 ".sbom", &d));
    static const char *const no[] = {"sha256-" HEX64, "sha256-" HEX64 ".", "sha256-" HEX64 ".sigx", "sha256:" HEX64 ".sig", "sha256-44.sig", "v1", ""};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (graph_legacy_tag(no[i], &d)) fail_msg("'%s' is taken for a tag of cosign's", no[i]);
}

/* ---- addresses ------------------------------------------------------------------------------------------------------
 */
static void test_addresses(void **state)
{
    (void)state;
    char *url = NULL;
    struct error e = ERROR_INIT;
    if (!http_url_join("https://a/", "b", &url, &e)) {
        assert_int_equal(e.code, ERR_UNSUPPORTED); /* no libcurl here */
        skip();
    }
    assert_string_equal(url, "https://a/b");
    free(url);
    static const struct { const char *base, *target, *want; } rows[] = {
        {"https://a:5/v2/x/", "/v2/y?z=1", "https://a:5/v2/y?z=1"},
        {"https://a/v2/", "https://b/c", "https://b/c"},
        {"https://a/v2/", "//b/c", "https://b/c"},
        {"https://a/v2/", "file:///etc/passwd", NULL},
        {"https://a/v2/", "ftp://b/", NULL},
        {"https://a/v2/", "https://user:pw@b/", NULL},
        {"https://a/v2/", "gopher://b/_x", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool ok = http_url_join(rows[i].base, rows[i].target, &url, &e);
        if (ok != (rows[i].want != NULL)) fail_msg("'%s': ok is %d", rows[i].target, ok);
        if (ok) assert_string_equal(url, rows[i].want);
        free(url);
    }
    assert_true(http_same_origin("https://a/x", "https://a:443/y"));
    assert_true(http_same_origin("https://A/x", "https://a/y"));
    assert_false(http_same_origin("https://a/x", "http://a/x"));
    assert_false(http_same_origin("https://a/x", "https://a:444/x"));
    assert_false(http_same_origin("https://a/x", "https://b/x"));
    assert_false(http_same_origin("https://a/x", "https://a.b/x"));
    assert_false(http_same_origin("https://a/x", "not an address"));
}

/* ---- how far a connection trusts: what libcurl is told, whatever stands in the environment ------------------------------
 */
static CURLcode (*real_setopt)(CURL *, CURLoption, ...);
static struct { CURLoption option; void *value; } told[64];
static size_t n_told;

/* Numbers of 64 bits and pointers are passed alike where this runs. */
static CURLcode note_setopt(CURL *easy, CURLoption option, ...)
{
    va_list ap;
    va_start(ap, option);
    void *value = va_arg(ap, void *);
    va_end(ap);
    if (n_told < sizeof told / sizeof *told) {
        told[n_told].option = option;
        told[n_told++].value = value;
    }
    return real_setopt(easy, option, value);
}

/* The last value of an option; `missing` when it was not told. */
static void *told_of(CURLoption option, void *missing)
{
    for (size_t i = n_told; i-- > 0;)
        if (told[i].option == option) return told[i].value;
    return missing;
}

static void exchange_with(const char *ca_file)
{
    struct http *h;
    struct http_options o = {.ca_file = ca_file};
    struct http_request rq = {.method = HTTP_GET, .url = "https://127.0.0.1:1/v2/", .reply_max = 1};
    struct http_reply rp;
    struct error e = ERROR_INIT;
    n_told = 0;
    CHECK_OK(http_open(&h, &o, e_));
    assert_false(http_exchange(h, &rq, &rp, &e)); /* nobody listens there */
    http_reply_free(&rp);
    http_close(h);
    assert_true(n_told < sizeof told / sizeof *told);
}

static void test_trust(void **state)
{
    (void)state;
    char marker;
    struct error e = ERROR_INIT;
    struct curl_functions *f = (struct curl_functions *)(uintptr_t)curl_functions(&e);
    if (!f) {
        assert_int_equal(e.code, ERR_UNSUPPORTED);
        skip();
    }
    real_setopt = f->curl_easy_setopt_fn;
    f->curl_easy_setopt_fn = note_setopt;
    static const char *const words[] = {"CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_INSECURE"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) setenv(words[i], "/nowhere", 1);
    exchange_with(NULL);
    assert_ptr_equal(told_of(CURLOPT_SSL_VERIFYPEER, NULL), (void *)1);
    assert_ptr_equal(told_of(CURLOPT_SSL_VERIFYHOST, NULL), (void *)2);
    assert_ptr_equal(told_of(CURLOPT_FOLLOWLOCATION, &marker), NULL);
    assert_ptr_equal(told_of(CURLOPT_CAINFO, &marker), &marker);
    assert_ptr_equal(told_of(CURLOPT_NETRC, &marker), &marker);
    /* Instead of the system's certificates, which are a file and a folder. */
    exchange_with("own.pem");
    assert_string_equal(told_of(CURLOPT_CAINFO, NULL), "own.pem");
    assert_ptr_equal(told_of(CURLOPT_CAPATH, &marker), NULL);
    assert_ptr_equal(told_of(CURLOPT_SSL_VERIFYPEER, NULL), (void *)1);
    f->curl_easy_setopt_fn = real_setopt;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) unsetenv(words[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_loopback),      cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_links),          cmocka_unit_test(test_ranges),        cmocka_unit_test(test_docker_config),
        cmocka_unit_test(test_fallback_merge), cmocka_unit_test(test_tagged_merge),  cmocka_unit_test(test_legacy_tags),
        cmocka_unit_test(test_addresses),      cmocka_unit_test(test_trust),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
