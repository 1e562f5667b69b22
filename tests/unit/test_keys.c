/* Key kinds, cosign's own file, PKCS#11 URIs and a token. Values of published papers and other programs are named as such. */
#include "tests/checks.h"

#include "core/cleanup.h"
#include "core/crypto.h"
#include "core/file.h"
#include "core/pkcs11.h"
#include "core/pkcs11_uri.h"
#include "core/xsalsa20.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

static const char *folder;

static int setup(void **state)
{
    (void)state;
    folder = check_folder();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_folder_remove(folder);
    return 0;
}

static const char *at(const char *name)
{
    static char paths[4][160];
    static unsigned next;
    char *p = paths[next++ % 4];
    snprintf(p, 160, "%s/%s", folder, name);
    return p;
}

static void put(const char *name, const char *text, unsigned mode)
{
    unlink(at(name));
    CHECK_OK(file_save(at(name), bytes_text(text), mode, e_));
}

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
        out[i] = (uint8_t)v;
    }
    return n;
}

/* NaCl's secretbox example (Bernstein, "Cryptography in NaCl", 2009, section 10); interop/cosign_key.py gives the same. */
static void test_xsalsa20(void **state)
{
    (void)state;
    static const char key_hex[] = "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389",
                      nonce_hex[] = "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37",
                      plain[] = "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4"
                                "1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52"
                                "f0a089bc76897040e082f937763848645e0705",
                      sealed[] = "8e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2"
                                 "270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3"
                                 "7973f622a43d14a6599b1f654cb45a74e355a5";
    uint8_t key[32], nonce[24], data[200], want[200];
    unhex(key_hex, key);
    unhex(nonce_hex, nonce);
    size_t n = unhex(plain, data);
    assert_int_equal(unhex(sealed, want), n);
    xsalsa20(key, nonce, 32, data, n);
    check_bytes(data, want, n, "sealed");
    xsalsa20(key, nonce, 32, data, 40); /* in two pieces */
    xsalsa20(key, nonce, 72, data + 40, n - 40);
    unhex(plain, want);
    check_bytes(data, want, n, "opened");
}

/* Made by interop/cosign_key.py (another implementation) of the key below, passphrase "s3cret". */
#include "tests/vectors/keys/cosign_key.h"

static bool same_key(const struct key *a, const struct key *b)
{
    struct digest x, y;
    CHECK_OK(key_id(a, &x, e_));
    CHECK_OK(key_id(b, &y, e_));
    return digest_equal(&x, &y);
}

static void test_cosign_key(void **state)
{
    (void)state;
    struct key *k, *plain, *pub;
    put("c.key", COSIGN_KEY, 0600);
    put("p.key", COSIGN_KEY_PLAIN, 0600);
    CHECK_OK(key_load_private(at("c.key"), "s3cret", &k, e_));
    CHECK_OK(key_load_private(at("p.key"), NULL, &plain, e_));
    assert_true(same_key(k, plain));
    key_close(k);
    key_close(plain);
    CHECK_FAILS(key_load_private(at("c.key"), "wrong", &k, e_), ERR_USAGE, "the passphrase does not open it");
    CHECK_FAILS(key_load_private(at("c.key"), NULL, &k, e_), ERR_USAGE, "needs a passphrase");
    put("old.key", COSIGN_KEY_OLD, 0600);
    CHECK_OK(key_load_private(at("old.key"), "s3cret", &k, e_));
    key_close(k);
    /* Ours, with and without a passphrase (cosign allows an empty one). */
    for (int i = 0; i < 2; i++) {
        const char *pass = i ? "two words" : NULL;
        char a[16], b[16];
        snprintf(a, sizeof a, "%d.key", i);
        snprintf(b, sizeof b, "%d.pub", i);
        CHECK_OK(key_generate_as(KEY_FORMAT_COSIGN, at(a), at(b), pass, e_));
        struct stat st;
        assert_int_equal(stat(at(a), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        CHECK_OK(key_load_private(at(a), pass, &k, e_));
        CHECK_OK(key_load_public(at(b), &pub, e_));
        assert_true(same_key(k, pub));
        key_close(k);
        key_close(pub);
        CHECK_FAILS(key_load_private(at(a), "else", &k, e_), ERR_USAGE, "does not open it");
    }
}

/* A file of JSON in cosign's PEM. */
static void put_cosign(const char *json)
{
    char text[8192];
    CLEANUP(free) char *body = NULL;
    CHECK_OK(base64_encode(bytes_text(json), &body, e_));
    snprintf(text, sizeof text, "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n%s\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n", body);
    put("bad.key", text, 0600);
}

#define SALT "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define NONCE "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KDF(n, r, p) "\"kdf\":{\"name\":\"scrypt\",\"params\":{\"N\":" n ",\"r\":" r ",\"p\":" p "},\"salt\":\"" SALT "\"}"
#define CIPHER "\"cipher\":{\"name\":\"nacl/secretbox\",\"nonce\":\"" NONCE "\"}"
#define BOX "\"ciphertext\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""

static void test_cosign_key_bad(void **state)
{
    (void)state;
    static const struct { const char *json; enum error_code code; const char *part; } rows[] = {
        {"{" KDF("1073741824", "8", "1") "," CIPHER "," BOX "}", ERR_FORMAT, "expected 32768, 65536 or 131072, found 1073741824"},
        {"{" KDF("65537", "8", "1") "," CIPHER "," BOX "}", ERR_FORMAT, "found 65537"},
        {"{" KDF("-65536", "8", "1") "," CIPHER "," BOX "}", ERR_FORMAT, "key 'N'"},
        {"{" KDF("65536", "1000000", "1") "," CIPHER "," BOX "}", ERR_FORMAT, "key 'r'"},
        {"{" KDF("65536", "8", "4096") "," CIPHER "," BOX "}", ERR_FORMAT, "key 'p'"},
        {"{" KDF("65536", "8", "1") "," KDF("65536", "8", "1") "," CIPHER "," BOX "}", ERR_FORMAT, "duplicate"},
        {"{" KDF("65536", "8", "1") "," CIPHER "," BOX "} x", ERR_FORMAT, "text after the value"},
        {"{" KDF("65536", "8", "1") "," CIPHER ",\"x\":1," BOX "}", ERR_FORMAT, "'x'"},
        {"{" KDF("65536", "8", "1") "," CIPHER ",\"ciphertext\":\"AAAA\"}", ERR_FORMAT, "too short"},
        {"{" KDF("65536", "8", "1") "," CIPHER ",\"ciphertext\":\"AA-A\"}", ERR_FORMAT, "not a base64 text"},
        {"{" KDF("65536", "8", "1") ",\"cipher\":{\"name\":\"aes\",\"nonce\":\"" NONCE "\"}," BOX "}", ERR_UNSUPPORTED, "nacl/secretbox"},
        {"{\"kdf\":{\"name\":\"argon2\",\"params\":{},\"salt\":\"\"}," CIPHER "," BOX "}", ERR_UNSUPPORTED, "expected \"scrypt\""},
        {"{\"kdf\":{\"name\":\"scrypt\",\"params\":{\"N\":65536,\"r\":8,\"p\":1},\"salt\":\"AAAA\"}," CIPHER "," BOX "}", ERR_FORMAT, "expected 32 bytes, found 3"},
        {"[]", ERR_FORMAT, "object"},
        {"", ERR_FORMAT, "private key"},
    };
    struct key *k;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put_cosign(rows[i].json);
        CHECK_FAILS(key_load_private(at("bad.key"), "x", &k, e_), rows[i].code, rows[i].part);
        assert_null(k);
    }
    put("bad.key", COSIGN_KEY "more", 0600);
    CHECK_FAILS(key_load_private(at("bad.key"), "s3cret", &k, e_), ERR_FORMAT, "nothing behind it");
    put("bad.key", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n", 0600);
    CHECK_FAILS(key_load_private(at("bad.key"), "s3cret", &k, e_), ERR_FORMAT, "one PEM block");
}

static void test_links(void **state)
{
    (void)state;
    struct key *k;
    put("p.key", COSIGN_KEY_PLAIN, 0600);
    assert_int_equal(symlink("p.key", at("link.key")), 0);
    CHECK_FAILS(key_load_private(at("link.key"), NULL, &k, e_), ERR_USAGE, "symbolic link");
    assert_int_equal(mkfifo(at("fifo.key"), 0600), 0);
    CHECK_FAILS(key_load_private(at("fifo.key"), NULL, &k, e_), ERR_FORMAT, "not a regular file");
    CHECK_FAILS(key_load_private(folder, NULL, &k, e_), ERR_FORMAT, "not a regular file");
}

#define PUB(body) "-----BEGIN PUBLIC KEY-----\n" body "\n-----END PUBLIC KEY-----\n"

/* RFC 8032, section 7.1, test 2: Ed25519. */
static void test_ed25519(void **state)
{
    (void)state;
    struct key *k;
    uint8_t sig[64], message = 0x72;
    bool valid;
    /* SubjectPublicKeyInfo: 302a300506032b6570032100 and the 32 bytes of the key. */
    put("ed.pub", PUB("MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="), 0666);
    unhex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00", sig);
    CHECK_OK(key_load_public(at("ed.pub"), &k, e_));
    CHECK_OK(key_verify(k, bytes_of(&message, 1), bytes_of(sig, 64), &valid, e_));
    assert_true(valid);
    for (size_t bit = 0; bit < 8 * sizeof sig; bit += 7) {
        sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_OK(key_verify(k, bytes_of(&message, 1), bytes_of(sig, 64), &valid, e_));
        assert_false(valid);
        sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK_OK(key_verify(k, bytes_of(&message, 1), bytes_of(sig, 63), &valid, e_));
    assert_false(valid);
    CHECK_FAILS(key_check_use(k, KEY_USE_OMS, e_), ERR_UNSUPPORTED, "model_signing does not verify signatures of Ed25519 keys");
    CHECK_FAILS(key_check_use(k, KEY_USE_JWS, e_), ERR_UNSUPPORTED, "notation does not verify");
    CHECK_FAILS(key_verify_for(k, KEY_USE_JWS, bytes_of(&message, 1), bytes_of(sig, 64), &valid, e_), ERR_UNSUPPORTED, "notation does not verify");
    assert_false(valid);
    key_close(k);
}

/* JWS has r and s side by side, RFC 7518 section 3.4: exactly as many bytes as the curve says. */
static void test_jws_size(void **state)
{
    (void)state;
    struct key *k;
    uint8_t sig[SIGNATURE_BYTES_MAX] = {0}, message = 0x72;
    size_t n;
    bool valid;
    CHECK_OK(key_generate(at("jws.key"), at("jws.pub"), NULL, e_));
    CHECK_OK(key_load_private(at("jws.key"), NULL, &k, e_));
    CHECK_OK(key_sign_for(k, KEY_USE_JWS, bytes_of(&message, 1), sig, &n, e_));
    assert_int_equal(n, 64); /* P-256 */
    for (size_t i = 60; i < 70; i++) {
        CHECK_OK(key_verify_for(k, KEY_USE_JWS, bytes_of(&message, 1), bytes_of(sig, i), &valid, e_));
        assert_int_equal(valid, i == 64);
    }
    CHECK_OK(key_verify_for(k, KEY_USE_SIGSTORE, bytes_of(&message, 1), bytes_of(sig, 64), &valid, e_));
    assert_false(valid);
    key_close(k);
}

static void test_uri(void **state)
{
    (void)state;
    struct pkcs11_uri u;
    CHECK_OK(pkcs11_uri_parse("pkcs11:token=My%20Token;object=a%3Bb;id=%00%01%ff;type=private;serial=12;slot-id=3?module-path=/x/y.so&pin-source=file:/p", &u, e_));
    assert_string_equal((char *)u.token.data, "My Token");
    assert_string_equal((char *)u.object.data, "a;b");
    assert_int_equal(u.id.size, 3);
    check_bytes(u.id.data, "\0\1\xff", 3, "id");
    assert_string_equal((char *)u.module_path.data, "/x/y.so");
    assert_string_equal((char *)u.pin_source.data, "file:/p");
    static const char *const bad[][2] = {
        {"pkcs11:", "names no key"}, {"pkcs11:token=a", "names no key"}, {"pkcs12:object=a", "does not begin"},
        {"pkcs11:object=a;object=b", "twice"}, {"pkcs11:object=a;id=%0", "two hex digits"}, {"pkcs11:object=a%", "two hex digits"},
        {"pkcs11:object=%zz", "two hex digits"}, {"pkcs11:object=a%00", "NUL"}, {"pkcs11:object=a;", "ends in"}, {"pkcs11:;object=a", "NAME=VALUE"},
        {"pkcs11:object=a b", "must be written as %20"}, {"pkcs11:object=\xc3\xa4", "must be written as %C3"}, {"pkcs11:object=a;type=cert", "expected private"},
        {"pkcs11:object=a;slot-id=-1", "expected a number"}, {"pkcs11:object=a;slot-id=12345678901", "expected a number"},
        {"pkcs11:object=a;colour=red", "'colour' is not known"}, {"pkcs11:object=a;pin-value=1", "seen by others"},
        {"pkcs11:object=a?pin-value=1234", "seen by others"}, {"pkcs11:object=a?module-path=x&module-path=y", "twice"}, {"pkcs11:object=a?", ""},
    };
    for (size_t i = 0; i + 1 < sizeof bad / sizeof *bad; i++) CHECK_FAILS(pkcs11_uri_parse(bad[i][0], &u, e_), ERR_USAGE, bad[i][1]);
    char longer[3000] = "pkcs11:object=";
    memset(longer + 14, 'a', 2000);
    CHECK_FAILS(pkcs11_uri_parse(longer, &u, e_), ERR_USAGE, "longer than 1024 bytes");
    struct key *k;
    CHECK_FAILS(key_open("pkcs11:object=a?module-path=/no/such/module.so", NULL, &k, e_), ERR_DEVICE, "cannot open the PKCS#11 module");
    CHECK_FAILS(key_open("pkcs11:object=a?module-path=libm.so.6", NULL, &k, e_), ERR_DEVICE, "is not a PKCS#11 module");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_xsalsa20), TEST(test_cosign_key), TEST(test_cosign_key_bad), TEST(test_links), TEST(test_ed25519), TEST(test_jws_size), TEST(test_uri),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
