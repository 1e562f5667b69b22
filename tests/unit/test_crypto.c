#include "tests/checks.h"

#include "core/cleanup.h"
#include "core/crypto.h"
#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>

static char folder[64];

static const char *at(const char *name)
{
    static char paths[4][256];
    static int next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static void put(const char *name, const char *text, unsigned mode)
{
    CHECK_OK(file_save(at(name), bytes_text(text), mode, e_));
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, check_folder());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_folder_remove(folder);
    return 0;
}

/* FIPS 180-2, appendix B, and the empty message. */
static void test_sha256(void **state)
{
    (void)state;
    char *million = malloc(1000001);
    memset(million, 'a', 1000000);
    million[1000000] = '\0';
    const struct { const char *text, *want; } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct digest d, parsed;
        struct sha256 *h;
        char hex[DIGEST_HEX_SIZE];
        size_t n = strlen(rows[i].text);
        CHECK_OK(sha256_of(bytes_text(rows[i].text), &d, e_));
        digest_hex(&d, hex);
        assert_string_equal(hex, rows[i].want);
        assert_true(digest_parse(hex, &parsed) && digest_equal(&d, &parsed));
        CHECK_OK(sha256_open(&h, e_));
        for (size_t k = 0; k < n; k += 61) sha256_add(h, rows[i].text + k, n - k < 61 ? n - k : 61);
        CHECK_OK(sha256_close(h, &d, e_));
        assert_true(digest_equal(&d, &parsed));
        CHECK_OK(file_save(at("data"), bytes_text(rows[i].text), 0666, e_));
        CLEANUP(fd) int fd = open(at("data"), O_RDONLY);
        CHECK_OK(sha256_of_file(fd, "data", 0, n, &d, e_));
        assert_true(digest_equal(&d, &parsed));
        if (n < 3) continue;
        CHECK_FAILS(sha256_of_file(fd, "data", 1, n, &d, e_), ERR_FORMAT, "it is truncated");
        CHECK_OK(sha256_of(bytes_of(rows[i].text + 1, n - 2), &parsed, e_));
        CHECK_OK(sha256_of_file(fd, "data", 1, n - 2, &d, e_));
        assert_true(digest_equal(&d, &parsed));
    }
    free(million);
    struct sha256 *h;
    CHECK_OK(sha256_open(&h, e_));
    CHECK_OK(sha256_close(h, NULL, e_));
    CHECK_OK(sha256_close(NULL, NULL, e_));
}

/* Our own blocks against the library's whole message: every length around two blocks, cut anywhere; two hashes at once,
 * of lengths and beginnings that have nothing to do with each other. */
static void test_sha256_pair(void **state)
{
    (void)state;
    static uint8_t data[4096];
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)check_random(&seed);
    for (size_t n = 0; n <= 300; n++) {
        size_t m = check_random(&seed) % sizeof data, cut_n = n ? check_random(&seed) % n : 0,
               cut_m = m ? check_random(&seed) % m : 0;
        struct sha256 *a, *b, *c;
        struct digest want_n, want_m, got;
        CHECK_OK(sha256_of(bytes_of(data, n), &want_n, e_));
        CHECK_OK(sha256_of(bytes_of(data, m), &want_m, e_));
        CHECK_OK(sha256_open(&a, e_));
        CHECK_OK(sha256_open(&b, e_));
        CHECK_OK(sha256_open(&c, e_));
        sha256_add_pair(a, data, cut_n, b, data, cut_m);
        sha256_add_pair(b, data + cut_m, m - cut_m, a, data + cut_n, n - cut_n);
        sha256_add(c, data, cut_n);
        sha256_add(c, data + cut_n, n - cut_n);
        CHECK_OK(sha256_close(a, &got, e_));
        assert_memory_equal(got.bytes, want_n.bytes, sizeof got.bytes);
        CHECK_OK(sha256_close(b, &got, e_));
        assert_memory_equal(got.bytes, want_m.bytes, sizeof got.bytes);
        CHECK_OK(sha256_close(c, &got, e_));
        assert_memory_equal(got.bytes, want_n.bytes, sizeof got.bytes);
    }
}

static void test_digest_text(void **state)
{
    (void)state;
    struct digest d;
    char good[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_true(digest_parse(good, &d));
    good[10] = 'F';
    assert_false(digest_parse(good, &d));
    good[10] = '.';
    assert_false(digest_parse(good, &d));
    good[10] = '\0';
    assert_false(digest_parse(good, &d) || digest_parse("", &d));
}

/* RFC 4648, section 10; then what a decoder that signatures depend on must refuse. */
static void test_base64(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xff\xfe\xfb", "//77"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(free) char *text = NULL;
        CLEANUP(free) uint8_t *data = NULL;
        size_t n, size = strlen(rows[i][0]);
        CHECK_OK(base64_encode(bytes_text(rows[i][0]), &text, e_));
        assert_string_equal(text, rows[i][1]);
        CHECK_OK(base64_decode(text, size, &data, &n, e_));
        assert_int_equal(n, size);
        check_bytes(data, rows[i][0], n, "decoded");
        uint8_t *none;
        if (size) CHECK_FAILS(base64_decode(text, size - 1, &none, &n, e_), ERR_FORMAT, "not a base64 text");
    }
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Zg===", "====", "=Zg=", "Zm9v\n", " Zm9v", "Zm9v Zg==", "Zm-_", "Zh==", "Zm9=",
                                      "Zg==Zg==", "Zm9vZg=a", "Zm\xff" "v", "ab=c"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t *data;
        size_t n;
        CHECK_FAILS(base64_decode(bad[i], 100, &data, &n, e_), ERR_FORMAT, "not a base64 text");
        assert_null(data);
    }
}

/* RFC 6979, appendix A.2.5: P-256, SHA-256, message "sample". */
static const char rfc_r[] = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
                  rfc_s[] = "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
#define RFC_PUBLIC "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7\n" \
                   "Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==\n-----END PUBLIC KEY-----\n"
#define SEC1(body) "-----BEGIN EC PRIVATE KEY-----\n" body "\n-----END EC PRIVATE KEY-----\n"
#define RFC_PRIVATE SEC1("MHcCAQEEIMmvqdhFunUWa1whV2ex1pNOUMPbNuibEnuKYisSD2choAoGCCqGSM49\nAwEHoUQDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7" \
                         "Yfps5mliLmDyn7Z5A/4QCLi8\nmaQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==")
/* The same private number beside a point that is on the curve but belongs to the private number 2. */
#define FOREIGN_POINT SEC1("MHcCAQEEIMmvqdhFunUWa1whV2ex1pNOUMPbNuibEnuKYisSD2choAoGCCqGSM49\nAwEHoUQDQgAEfPJ7GI0DT36KUjgDBLUaw8CJaeJ3" \
                           "8hs1pgtI/EdmmXgHd1UQ247Q\nQCk9msafdDDbun2t5jzpgimeBLedInhz0Q==")

static uint8_t digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* One DER integer of `hex` with `zeros` bytes of zero in front. */
static size_t put_integer(uint8_t *out, const char *hex, size_t zeros)
{
    size_t n = strlen(hex) / 2;
    out[0] = 2;
    out[1] = (uint8_t)(n + zeros);
    memset(out + 2, 0, zeros);
    for (size_t i = 0; i < n; i++) out[2 + zeros + i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return 2 + zeros + n;
}

struct signature { uint8_t data[SIGNATURE_BYTES_MAX]; size_t size; };

static struct signature make(const char *r, size_t r_zeros, const char *s, size_t s_zeros)
{
    struct signature sig = {.data = {0x30}};
    size_t n = 2 + put_integer(sig.data + 2, r, r_zeros);
    sig.size = n + put_integer(sig.data + n, s, s_zeros);
    sig.data[1] = (uint8_t)(sig.size - 2);
    return sig;
}

static bool fits(const struct key *k, const char *message, const struct signature *sig)
{
    bool valid = true;
    CHECK_OK(key_verify(k, bytes_text(message), bytes_of(sig->data, sig->size), &valid, e_));
    return valid;
}

static void test_verify_published(void **state)
{
    (void)state;
    struct key *k;
    put("rfc.pub", RFC_PUBLIC, 0666);
    CHECK_OK(key_load_public(at("rfc.pub"), &k, e_));
    struct signature good = make(rfc_r, 1, rfc_s, 1);
    assert_true(fits(k, "sample", &good));
    assert_false(fits(k, "sampl", &good) || fits(k, "samplf", &good) || fits(k, "", &good));
    for (size_t bit = 0; bit < 8 * good.size; bit++) {
        struct signature bad = good;
        bad.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (fits(k, "sample", &bad)) fail_msg("bit %zu flipped, still valid", bit);
    }
    for (size_t n = 0; n < good.size; n++) {
        struct signature cut = good;
        cut.size = n;
        assert_false(fits(k, "sample", &cut));
    }
    key_close(k);
}

/* Encodings that some verifiers take for the same numbers, and numbers that some take for anything. */
static void test_verify_refuses(void **state)
{
    (void)state;
    static const char order[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    struct key *k;
    put("rfc.pub", RFC_PUBLIC, 0666);
    CHECK_OK(key_load_public(at("rfc.pub"), &k, e_));
    struct signature bad[] = {
        make(rfc_r, 2, rfc_s, 1), make(rfc_r, 1, rfc_s, 2), make(rfc_r, 0, rfc_s, 1), make(rfc_r, 1, rfc_s, 0),
        make("00", 0, "00", 0), make("", 0, "", 0), make("00", 0, rfc_s, 1), make(rfc_r, 1, "00", 0), make(order, 1, order, 1),
        make(rfc_r, 1, rfc_s, 1), make(rfc_r, 1, rfc_s, 1), make(rfc_r, 1, rfc_s, 1), make(rfc_r, 1, rfc_s, 1), make(rfc_r, 1, rfc_s, 1)};
    bad[9].data[bad[9].size++] = 0;                               /* a byte behind it */
    bad[10].data[bad[10].size++] = 0;
    bad[10].data[1]++;                                            /* the same inside the sequence */
    memmove(bad[11].data + 3, bad[11].data + 2, bad[11].size);    /* length in two bytes */
    bad[11].data[1] = 0x81;
    bad[11].data[2] = (uint8_t)(bad[11].size++ - 2);
    bad[12].data[1] = 0x80;                                       /* indefinite length */
    bad[12].data[bad[12].size++] = 0;
    bad[12].data[bad[12].size++] = 0;
    memmove(bad[13].data, bad[13].data + 4, 32);                  /* r and s without DER */
    memmove(bad[13].data + 32, bad[13].data + 39, 32);
    bad[13].size = 64;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (fits(k, "sample", &bad[i])) fail_msg("row %zu is taken for a signature", i);
    key_close(k);
}

static void test_sign(void **state)
{
    (void)state;
    struct key *private, *public, *other;
    struct digest a, b;
    CHECK_OK(key_generate(at("k.pem"), at("k.pub"), NULL, e_));
    CHECK_OK(key_load_private(at("k.pem"), NULL, &private, e_));
    CHECK_OK(key_load_public(at("k.pub"), &public, e_));
    put("rfc.pub", RFC_PUBLIC, 0666);
    CHECK_OK(key_load_public(at("rfc.pub"), &other, e_));
    CHECK_OK(key_id(private, &a, e_));
    CHECK_OK(key_id(public, &b, e_));
    assert_true(digest_equal(&a, &b));
    CHECK_OK(key_id(other, &b, e_));
    assert_false(digest_equal(&a, &b));
    for (int i = 0; i < 200; i++) {       /* short r or s come up about once in 128 */
        struct signature sig;
        CHECK_OK(key_sign(private, bytes_text("message"), sig.data, &sig.size, e_));
        assert_true(sig.size <= SIGNATURE_BYTES_MAX);
        assert_true(fits(public, "message", &sig) && fits(private, "message", &sig));
        assert_false(fits(public, "messagf", &sig) || fits(other, "message", &sig));
    }
    CHECK_OK(crypto_self_test(e_));
    key_close(private);
    key_close(public);
    key_close(other);
    key_close(NULL);
}

static void test_key_files(void **state)
{
    (void)state;
    struct key *k;
    struct stat st;
    CHECK_OK(key_generate(at("k.pem"), at("k.pub"), NULL, e_));
    assert_int_equal(stat(at("k.pem"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    CHECK_FAILS(key_generate(at("k.pem"), at("new.pub"), NULL, e_), ERR_USAGE, "exists already");
    CHECK_FAILS(key_generate(at("new.pem"), at("k.pub"), NULL, e_), ERR_USAGE, "exists already");
    CHECK_FAILS(key_generate(at("new.pem"), at("no/new.pub"), NULL, e_), ERR_FORMAT, "does not exist");
    assert_int_not_equal(access(at("new.pem"), F_OK), 0);         /* both or neither */
    static const unsigned modes[] = {0604, 0640, 0660, 0601, 0620};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(chmod(at("k.pem"), modes[i]), 0);
        CHECK_FAILS(key_load_private(at("k.pem"), NULL, &k, e_), ERR_USAGE, "may be read by others");
        assert_null(k);
    }
    assert_int_equal(chmod(at("k.pem"), 0400), 0);
    CHECK_OK(key_load_private(at("k.pem"), NULL, &k, e_));
    key_close(k);
    CHECK_FAILS(key_load_public(at("k.pem"), &k, e_), ERR_FORMAT, "not a public key");
    CHECK_FAILS(key_load_private(at("absent"), NULL, &k, e_), ERR_FORMAT, "does not exist");
}

static void test_passphrase(void **state)
{
    (void)state;
    struct key *k;
    CHECK_OK(key_generate(at("k.pem"), at("k.pub"), "correct horse", e_));
    CHECK_FAILS(key_load_private(at("k.pem"), NULL, &k, e_), ERR_USAGE, "is encrypted: set INGOT_KEY_PASSPHRASE");
    CHECK_FAILS(key_load_private(at("k.pem"), "wrong", &k, e_), ERR_USAGE, "the passphrase does not open it");
    CHECK_FAILS(key_load_private(at("k.pem"), "", &k, e_), ERR_USAGE, "is encrypted");
    CHECK_OK(key_load_private(at("k.pem"), "correct horse", &k, e_));
    key_close(k);
}

#define PEM(what, body) "-----BEGIN " what "-----\n" body "\n-----END " what "-----\n"

/* Keys of other kinds, made with the openssl command. */
static void test_other_keys(void **state)
{
    (void)state;
    static const struct { const char *text; enum error_code code; const char *why; } rows[] = {
        {PEM("PUBLIC KEY",
             "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE6jTXF7XFgMGcdjcWECNx47NfzgHqYEYS\n1IdPDQSBAXdCkiURO0nxxkPdWp31fj5u1WYSEXDY91yCIXd+"
             "Pwjx3zD1EeDg/9Zu\nOXwFpsjARipr9tT8wB0lPsu4xECJj+Je"), ERR_NONE, "ECDSA P-384"},
        {PEM("PUBLIC KEY", "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAE6KSQ1VVsBAtvqB5kbVrEgEcOpM8z7fIj\nA3LJC1ZkQdAvAzDipJqm56S4/AU+tyznnMhQF4Pvk"
             "IaMRgz4cXMXpw=="), ERR_UNSUPPORTED, "found curve secp256k1"},
        {PEM("PUBLIC KEY", "MCowBQYDK2VwAyEAVQFGS7HQ9tv4xS4jalK6knWZyuzG/gXXJEXNLp/NDMU="), ERR_NONE, "Ed25519"},
        {PEM("PUBLIC KEY", "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC8lAPhNsM37E2Q4lLfbtOBUiPv\nf4W5WC79UQCkcykGEsvLlvPToT105Vx9SefoVaFxLrJe"
             "3IoUbrB4Df+FOF7ZRnmM\nyqj92SMpjJmmDzrlOuqGzP85/0pqQeAUcMLDMkqnUylt2zRWeEmSKTcXgOZbyRlc\nfSLb1h/r8nXGjPoUPwIDAQAB"),
         ERR_UNSUPPORTED, "found RSA with 1024 bits"},
        /* The point of RFC_PUBLIC with its last byte changed. */
        {PEM("PUBLIC KEY",
             "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7\nYfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8K"
             "U1EYimA=="), ERR_FORMAT, "not a public key"},
        {"", ERR_FORMAT, "not a public key"},
        {PEM("PUBLIC KEY", "AAAA"), ERR_FORMAT, "not a public key"},
        {RFC_PRIVATE, ERR_FORMAT, "not a public key"},
    };
    struct key *k;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put("k.pub", rows[i].text, 0666);
        if (rows[i].code == ERR_NONE) {
            CHECK_OK(key_load_public(at("k.pub"), &k, e_));
            assert_string_equal(key_kind_name(k), rows[i].why);
            key_close(k);
            continue;
        }
        CHECK_FAILS(key_load_public(at("k.pub"), &k, e_), rows[i].code, rows[i].why);
        assert_null(k);
    }
    put("k.pem", RFC_PRIVATE, 0600);
    CHECK_OK(key_load_private(at("k.pem"), NULL, &k, e_));
    key_close(k);
    put("k.pem", FOREIGN_POINT, 0600);
    CHECK_FAILS(key_load_private(at("k.pem"), NULL, &k, e_), ERR_FORMAT, "does not belong");
    put("k.pem", RFC_PUBLIC, 0600);
    CHECK_FAILS(key_load_private(at("k.pem"), NULL, &k, e_), ERR_FORMAT, "is a public key");
    char big[20000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    put("k.pem", big, 0600);
    CHECK_FAILS(key_load_private(at("k.pem"), NULL, &k, e_), ERR_FORMAT, "too large for a key");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sha256), TEST(test_sha256_pair), TEST(test_digest_text), TEST(test_base64), TEST(test_verify_published), TEST(test_verify_refuses),
        TEST(test_sign), TEST(test_key_files), TEST(test_passphrase), TEST(test_other_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
