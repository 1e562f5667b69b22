#include "tests/checks.h"

#include "core/file.h"
#include "formats/envelope.h"
#include "formats/oci.h"

#include <fcntl.h>

#define COSIGN "tests/vectors/cosign/"

struct keys { const char *folder; struct key *own, *other; };

static void keys_open(struct keys *k)
{
    char a[128], b[128], c[128], d[128];
    k->folder = check_folder();
    snprintf(a, sizeof a, "%s/a.pem", k->folder);
    snprintf(b, sizeof b, "%s/a.pub", k->folder);
    snprintf(c, sizeof c, "%s/b.pem", k->folder);
    snprintf(d, sizeof d, "%s/b.pub", k->folder);
    CHECK_OK(key_generate(a, b, NULL, e_));
    CHECK_OK(key_generate(c, d, NULL, e_));
    CHECK_OK(key_load_private(a, NULL, &k->own, e_));
    CHECK_OK(key_load_public(d, &k->other, e_));
}

static void keys_close(struct keys *k)
{
    key_close(k->own);
    key_close(k->other);
    check_folder_remove(k->folder);
}

/* The example of the DSSE protocol specification (secure-systems-lab/dsse, protocol.md, "Test Vectors"). */
static void test_signed_bytes(void **state)
{
    (void)state;
    CLEANUP(free) char *text = NULL;
    size_t n;
    CHECK_OK(envelope_signed_bytes("http://example.com/HelloWorld", bytes_text("hello world"), &text, &n, e_));
    assert_string_equal(text, "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    assert_int_equal(n, strlen(text));
}

static void test_statement(void **state)
{
    (void)state;
    CLEANUP(free) char *text = NULL;
    struct digest d;
    assert_true(digest_parse("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", &d));
    CHECK_OK(envelope_statement(&d, ENVELOPE_PREDICATE_SIGN, NULL, &text, NULL, e_));
    assert_string_equal(text, "{\"_type\":\"https://in-toto.io/Statement/v1\",\"predicate\":{},"
                              "\"predicateType\":\"https://sigstore.dev/cosign/sign/v1\",\"subject\":[{\"digest\":{\"sha256\":"
                              "\"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"}}]}");
}

/* What cosign 3.1.3 has signed: tests/vectors/cosign/README.md. */
static void test_cosign_bundle(void **state)
{
    (void)state;
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(envelope) struct envelope e;
    struct key *key, *other;
    bool valid;
    char hex[DIGEST_HEX_SIZE];
    CHECK_OK(file_load(AT_FDCWD, COSIGN "bundle.json", 4096, &text, e_));
    CHECK_OK(key_load_public(COSIGN "key.pub", &key, e_));
    CHECK_OK(key_load_public(COSIGN "other.pub", &other, e_));
    CHECK_OK(envelope_parse(buffer_view(&text), "bundle", &e, e_));
    digest_hex(&e.subject, hex);
    assert_string_equal(hex, "f7341029cf342fd2806a064f01481b6adddc470e5fcbac0548872dcd69f402da");
    assert_string_equal(e.predicate_type, ENVELOPE_PREDICATE_SIGN);
    CHECK_OK(envelope_verify(&e, key, &valid, e_));
    assert_true(valid);
    CHECK_OK(envelope_verify(&e, other, &valid, e_));
    assert_false(valid);
    e.payload[20] ^= 1;
    CHECK_OK(envelope_verify(&e, key, &valid, e_));
    assert_false(valid);
    CLEANUP_BUFFER struct buffer manifest = {0};
    CLEANUP(oci_manifest) struct oci_manifest m;
    CHECK_OK(file_load(AT_FDCWD, COSIGN "manifest.json", 4096, &manifest, e_));
    CHECK_OK(oci_manifest_parse(buffer_view(&manifest), "manifest", &m, e_));
    assert_true(m.has_subject && digest_equal(&m.subject.digest, &e.subject) && m.n_layers == 1);
    key_close(key);
    key_close(other);
}

static void test_sign_and_verify(void **state)
{
    (void)state;
    struct keys k;
    struct digest d = {{1, 2, 3}};
    CLEANUP(free) char *statement = NULL;
    CLEANUP(free) char *bundle = NULL;
    CLEANUP(envelope) struct envelope e;
    size_t n, m;
    bool valid;
    keys_open(&k);
    CHECK_OK(envelope_statement(&d, "https://example.com/x", NULL, &statement, &n, e_));
    CHECK_OK(envelope_sign(k.own, bytes_of(statement, n), &bundle, &m, e_));
    CHECK_OK(envelope_parse(bytes_of(bundle, m), "bundle", &e, e_));
    assert_true(digest_equal(&e.subject, &d));
    assert_string_equal(e.predicate_type, "https://example.com/x");
    assert_int_equal(e.payload_bytes, n);
    check_bytes(e.payload, statement, n, "payload");
    CHECK_OK(envelope_verify(&e, k.own, &valid, e_));
    assert_true(valid);
    CHECK_OK(envelope_verify(&e, k.other, &valid, e_));
    assert_false(valid);
    /* The smallest form, member by member: no hint, no key id, no log. */
    assert_non_null(strstr(bundle, "\"verificationMaterial\":{\"publicKey\":{}}"));
    assert_null(strstr(bundle, "keyid"));
    keys_close(&k);
}

/* "e30=" is {}; a sound statement about D is put in for %s where one is needed. */
static char *bundle_of(const char *material, const char *dsse_head, const char *statement, const char *signatures)
{
    CLEANUP(free) char *payload = NULL;
    CHECK_OK(base64_encode(bytes_text(statement), &payload, e_));
    size_t n = strlen(payload) + 2000;
    char *text = malloc(n);
    snprintf(text, n, "{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\",\"verificationMaterial\":%s,\"dsseEnvelope\":{%s\"payload\":\"%s\","
             "\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":%s}}", material, dsse_head, payload, signatures);
    return text;
}

#define HEX "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define SUBJECT "[{\"digest\":{\"sha256\":\"" HEX "\"}}]"
#define STATEMENT(type, subject, rest) "{\"_type\":\"" type "\",\"subject\":" subject rest "}"
#define V1 "https://in-toto.io/Statement/v1"
#define TYPE ",\"predicateType\":\"a\""
#define GOOD STATEMENT(V1, SUBJECT, TYPE)
#define KEY "{\"publicKey\":{}}"
#define SIG "[{\"sig\":\"AAAA\"}]"

static void test_parse(void **state)
{
    (void)state;
    static const struct { const char *material, *head, *statement, *signatures; enum error_code code; const char *why; } rows[] = {
        {KEY, "", GOOD, SIG, ERR_NONE, ""},
        {"{\"publicKey\":{\"hint\":\"x\"},\"tlogEntries\":[],\"timestampVerificationData\":{}}", "", GOOD, "[{\"sig\":\"AAAA\",\"keyid\":\"\"}]", ERR_NONE, ""},
        {KEY, "", STATEMENT(V1, SUBJECT, TYPE ",\"predicate\":{\"a\":[1]}"), SIG, ERR_NONE, ""},
        {KEY, "", STATEMENT(V1, "[{\"name\":\"n\",\"annotations\":{},\"digest\":{\"sha256\":\"" HEX "\"}}]", TYPE), SIG, ERR_NONE, ""},
        {"{}", "", GOOD, SIG, ERR_FORMAT, "one kind of verification material, found 0"}, {"[]", "", GOOD, SIG, ERR_FORMAT, "expected an object"},
        {"{\"certificate\":{\"rawBytes\":\"\"}}", "", GOOD, SIG, ERR_FORMAT, "not an X.509 certificate"},
        {"{\"x509CertificateChain\":{}}", "", GOOD, SIG, ERR_FORMAT, "'certificates' is missing"},
        {"{\"x509CertificateChain\":{\"certificates\":[]}}", "", GOOD, SIG, ERR_FORMAT, "expected 1 to 8 certificates, found 0"},
        {"{\"x509CertificateChain\":{\"certificates\":[1,2,3,4,5,6,7,8,9]}}", "", GOOD, SIG, ERR_FORMAT, "found 9"},
        {"{\"x509CertificateChain\":{\"certificates\":[{\"rawBytes\":\"AAAA\"}]}}", "", GOOD, SIG, ERR_FORMAT, "not an X.509 certificate"},
        {"{\"publicKey\":{},\"certificate\":{\"rawBytes\":\"AAAA\"}}", "", GOOD, SIG, ERR_FORMAT, "one kind of verification material, found 2"},
        {"{\"publicKey\":{},\"other\":1}", "", GOOD, SIG, ERR_FORMAT, "unknown key 'other'"},
        {"{\"publicKey\":{\"key\":\"\"}}", "", GOOD, SIG, ERR_FORMAT, "unknown key 'key'"},
        {KEY, "\"x\":1,", GOOD, SIG, ERR_FORMAT, "unknown key 'x'"}, {KEY, "\"payload\":\"e30=\",", GOOD, SIG, ERR_FORMAT, "duplicate"},
        {KEY, "", GOOD, "[]", ERR_FORMAT, "expected one signature, found 0"}, {KEY, "", GOOD, "{}", ERR_FORMAT, "expected an array"},
        {KEY, "", GOOD, "[{\"sig\":\"AAAA\"},{\"sig\":\"AAAA\"}]", ERR_FORMAT, "expected one signature, found 2"},
        {KEY, "", GOOD, "[{\"sig\":\"AAA\"}]", ERR_FORMAT, "base64"}, {KEY, "", GOOD, "[{\"sig\":\"AA\\nAA\"}]", ERR_FORMAT, "base64"},
        {KEY, "", GOOD, "[{\"sig\":\"AAAA\",\"keyid\":\"me\"}]", ERR_FORMAT, "key id"}, {KEY, "", GOOD, "[{\"sig\":\"AAAA\",\"cert\":\"\"}]", ERR_FORMAT, "unknown key 'cert'"}, {KEY, "", GOOD, "[1]", ERR_FORMAT, "expected an object"},
        {KEY, "", GOOD, "[{\"sig\":\"AAAA\",\"keyid\":1}]", ERR_FORMAT, "expected a string"},
        {"{\"publicKey\":{\"hint\":1}}", "", GOOD, SIG, ERR_FORMAT, "expected a string"},
        {KEY, "", STATEMENT(V1, "[{\"digest\":{\"sha256\":\"" HEX "\"},\"uri\":\"x\"}]", TYPE), SIG, ERR_FORMAT, "unknown key 'uri'"},
        {KEY, "", STATEMENT(V1, "[{\"name\":1,\"digest\":{\"sha256\":\"" HEX "\"}}]", TYPE), SIG, ERR_FORMAT, "expected a string"},
        {KEY, "", GOOD, "[{}]", ERR_FORMAT, "'sig' is missing"},
        {KEY, "", "", SIG, ERR_FORMAT, "ends too early"}, {KEY, "", "{}", SIG, ERR_FORMAT, "'_type' is missing"},
        {KEY, "", STATEMENT("https://in-toto.io/Statement/v0.1", SUBJECT, TYPE), SIG, ERR_NONE, ""},
        {KEY, "", STATEMENT("https://in-toto.io/Statement/v0.2", SUBJECT, TYPE), SIG, ERR_FORMAT, "expected \"" V1 "\""},
        {KEY, "", STATEMENT(V1, "[]", TYPE), SIG, ERR_FORMAT, "expected one subject, found 0"},
        {KEY, "", STATEMENT(V1, "[{},{}]", TYPE), SIG, ERR_FORMAT, "expected one subject, found 2"},
        {KEY, "", STATEMENT(V1, "[{\"name\":\"x\"}]", TYPE), SIG, ERR_FORMAT, "'digest' is missing"},
        {KEY, "", STATEMENT(V1, "[{\"digest\":{\"sha512\":\"" HEX "\"}}]", TYPE), SIG, ERR_FORMAT, "unknown key 'sha512'"},
        {KEY, "", STATEMENT(V1, "[{\"digest\":{\"sha256\":\"0\"}}]", TYPE), SIG, ERR_FORMAT, "64 lower-case"},
        {KEY, "", STATEMENT(V1, SUBJECT, ""), SIG, ERR_FORMAT, "'predicateType' is missing"},
        {KEY, "", STATEMENT(V1, SUBJECT, ",\"predicateType\":\"\""), SIG, ERR_FORMAT, "empty"},
        {KEY, "", STATEMENT(V1, SUBJECT, TYPE ",\"predicate\":1"), SIG, ERR_FORMAT, "expected an object"},
        {KEY, "", STATEMENT(V1, SUBJECT, TYPE ",\"more\":1"), SIG, ERR_FORMAT, "unknown key 'more'"},
        {KEY, "", STATEMENT(V1, SUBJECT, TYPE TYPE), SIG, ERR_FORMAT, "duplicate"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(envelope) struct envelope e;
        CLEANUP(free) char *text = bundle_of(rows[i].material, rows[i].head, rows[i].statement, rows[i].signatures);
        if (rows[i].code == ERR_NONE) CHECK_OK(envelope_parse(bytes_text(text), "bundle", &e, e_));
        else CHECK_FAILS(envelope_parse(bytes_text(text), "bundle", &e, e_), rows[i].code, rows[i].why);
    }
    static const struct { const char *from, *to, *why; } edits[] = {
        {"bundle.v0.3+json", "bundle.v0.2+json", "v0.2"}, {"in-toto+json", "in-tota+json", "in-tota"}, {"dsseEnvelope", "messageSignature", "unknown key"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        CLEANUP(free) char *text = bundle_of(KEY, "", GOOD, SIG);
        CLEANUP(free) char *changed = malloc(strlen(text) + 32);
        char *at = strstr(text, edits[i].from);
        sprintf(changed, "%.*s%s%s", (int)(at - text), text, edits[i].to, at + strlen(edits[i].from));
        struct envelope e;
        CHECK_FAILS(envelope_parse(bytes_text(changed), "bundle", &e, e_), ERR_FORMAT, edits[i].why);
    }
    char type[1200], statement[1500];
    memset(type, 'a', sizeof type);
    for (size_t n = 1024; n <= 1025; n++) {
        CLEANUP(envelope) struct envelope e;
        snprintf(statement, sizeof statement, "{\"_type\":\"" V1 "\",\"subject\":" SUBJECT ",\"predicateType\":\"%.*s\"}", (int)n, type);
        CLEANUP(free) char *text = bundle_of(KEY, "", statement, SIG);
        if (n == 1024) CHECK_OK(envelope_parse(bytes_text(text), "bundle", &e, e_));
        else CHECK_FAILS(envelope_parse(bytes_text(text), "bundle", &e, e_), ERR_FORMAT, "empty or too long");
    }
    struct envelope e;
    char *huge = calloc(1, ENVELOPE_BYTES_MAX + 1);
    CHECK_FAILS(envelope_parse(bytes_of(huge, ENVELOPE_BYTES_MAX + 1), "bundle", &e, e_), ERR_FORMAT, "at most");
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed_bytes), cmocka_unit_test(test_statement), cmocka_unit_test(test_cosign_bundle),
        cmocka_unit_test(test_sign_and_verify), cmocka_unit_test(test_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
