/* Keys and signatures; hashing is in crypto.c. */
#include "core/cleanup.h"
#include "core/crypto.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#define KEY_FILE_BYTES_MAX 16384u

struct key {
    EVP_PKEY *pkey;
};

static bool library_error(struct error *err, enum error_code code, const char *what)
{
    char reason[200] = "";
    unsigned long e = ERR_peek_last_error();
    if (e)
        snprintf(reason, sizeof reason, " (%s)",
                 ERR_reason_error_string(e) ? ERR_reason_error_string(e) : "no reason given");
    ERR_clear_error();
    return error_set(err, code, "%s%s", what, reason);
}

static int give_passphrase(char *buf, int size, int writing, void *ctx)
{
    (void)writing;
    const char *p = ctx;
    size_t n = p ? strlen(p) : 0;
    if (n == 0 || n > (size_t)size) return -1;
    memcpy(buf, p, n);
    return (int)n;
}

/* Only P-256, with a public point that is on the curve and, in a private key, belongs to the private number (a file may
 * hold both). Takes ownership of pkey. */
static bool accept_key(EVP_PKEY *pkey, bool is_private, const char *path, struct key **out, struct error *err)
{
    char group[64] = "";
    bool right = EVP_PKEY_is_a(pkey, "EC") == 1 &&
                 EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, NULL) == 1 &&
                 strcmp(group, "prime256v1") == 0;
    bool sound = false;
    if (right) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
        sound = ctx && EVP_PKEY_public_check(ctx) == 1 && (!is_private || EVP_PKEY_pairwise_check(ctx) == 1);
        EVP_PKEY_CTX_free(ctx);
    }
    struct key *k = sound ? calloc(1, sizeof *k) : NULL;
    if (!k) EVP_PKEY_free(pkey);
    ERR_clear_error();
    if (!right)
        return error_set(err, ERR_UNSUPPORTED, "key '%.512s': expected an ECDSA P-256 key, found %s%s", path,
                         group[0] ? "curve " : "another kind of key", group);
    if (!sound) return error_set(err, ERR_FORMAT, "key '%.512s': the public point does not belong to it", path);
    if (!k) return error_memory(err, sizeof *k);
    k->pkey = pkey;
    *out = k;
    return true;
}

void key_close(struct key *k)
{
    if (!k) return;
    EVP_PKEY_free(k->pkey);
    free(k);
}

static bool check_private_file(int fd, const char *path, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return error_set_errno(err, "cannot examine '%.512s'", path);
    if (st.st_mode & 077)
        return error_set(err, ERR_USAGE, "private key '%.512s' may be read by others (mode %03o); run: chmod 600", path,
                         (unsigned)(st.st_mode & 0777));
    return true;
}

bool key_load_private(const char *path, const char *passphrase, struct key **out, struct error *err)
{
    *out = NULL;
    CLEANUP(fd) int fd = -1;
    uint64_t size;
    uint8_t text[KEY_FILE_BYTES_MAX];
    if (!file_open(AT_FDCWD, path, &fd, &size, err)) return false;
    if (size > sizeof text) return error_set(err, ERR_FORMAT, "'%.512s' is too large for a key", path);
    if (!file_read_at(fd, path, 0, text, (size_t)size, err)) return false;
    if (memmem(text, (size_t)size, "BEGIN PUBLIC KEY", 16))
        return error_set(err, ERR_FORMAT, "'%.512s' is a public key; a signature is made with the private one", path);
    if (!check_private_file(fd, path, err)) {
        OPENSSL_cleanse(text, sizeof text);
        return false;
    }
    bool encrypted = memmem(text, (size_t)size, "ENCRYPTED", 9) != NULL;
    BIO *bio = BIO_new_mem_buf(text, (int)size);
    EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, (void *)(uintptr_t)passphrase) : NULL;
    BIO_free(bio);
    OPENSSL_cleanse(text, sizeof text);
    if (!pkey && encrypted) {
        ERR_clear_error();
        return error_set(err, ERR_USAGE, "private key '%.512s' is encrypted: %s", path,
                         passphrase ? "the passphrase does not open it" : "set INGOT_KEY_PASSPHRASE");
    }
    if (!pkey)
        return library_error(err, ERR_FORMAT, "not a private key in PEM form") || error_wrap(err, "'%.512s'", path);
    return accept_key(pkey, true, path, out, err);
}

bool key_load_public(const char *path, struct key **out, struct error *err)
{
    *out = NULL;
    CLEANUP_BUFFER struct buffer text = {0};
    if (!file_load(AT_FDCWD, path, KEY_FILE_BYTES_MAX, &text, err)) return false;
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.size);
    EVP_PKEY *pkey = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (!pkey)
        return library_error(err, ERR_FORMAT, "not a public key in PEM form") || error_wrap(err, "'%.512s'", path);
    return accept_key(pkey, false, path, out, err);
}

static bool bio_save(BIO *bio, const char *path, unsigned mode, struct error *err)
{
    char *data;
    long n = BIO_get_mem_data(bio, &data);
    return file_save(path, bytes_of(data, n > 0 ? (size_t)n : 0), mode, err);
}

static bool refuse_existing(const char *path, struct error *err)
{
    if (access(path, F_OK) != 0) return true;
    return error_set(err, ERR_USAGE, "'%.512s' exists already; a key is never overwritten", path);
}

bool key_generate(const char *private_path, const char *public_path, const char *passphrase, struct error *err)
{
    if (!refuse_existing(private_path, err) || !refuse_existing(public_path, err)) return false;
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    BIO *priv = BIO_new(BIO_s_secmem()), *pub = BIO_new(BIO_s_mem());
    bool ok = pkey && priv && pub;
    if (ok) {
        const EVP_CIPHER *cipher = passphrase ? EVP_aes_256_cbc() : NULL;
        ok = PEM_write_bio_PKCS8PrivateKey(priv, pkey, cipher, NULL, 0, give_passphrase,
                                           (void *)(uintptr_t)passphrase) == 1 &&
             PEM_write_bio_PUBKEY(pub, pkey) == 1;
    }
    if (!ok) library_error(err, ERR_INTERNAL, "cannot make a key");
    else if (!bio_save(priv, private_path, 0600, err)) ok = false;
    else if (!(ok = bio_save(pub, public_path, 0666, err))) unlink(private_path); /* both or neither */
    BIO_free(priv);
    BIO_free(pub);
    EVP_PKEY_free(pkey);
    return ok;
}

bool key_id(const struct key *k, struct digest *out, struct error *err)
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(k->pkey, &der);
    bool ok = n > 0 && sha256_of(bytes_of(der, (size_t)n), out, err);
    OPENSSL_free(der);
    return ok ? true : library_error(err, ERR_INTERNAL, "cannot encode a public key");
}

bool key_sign(const struct key *k, struct bytes message, uint8_t out[SIGNATURE_BYTES_MAX], size_t *out_size,
              struct error *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    *out_size = SIGNATURE_BYTES_MAX;
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->pkey) == 1 &&
              EVP_DigestSign(ctx, out, out_size, message.data, message.size) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? true : library_error(err, ERR_INTERNAL, "cannot sign");
}

/* Canonical DER SEQUENCE of two positive, non-zero integers of at most 32 bytes, and nothing behind it. */
static bool signature_is_canonical(struct bytes sig)
{
    const uint8_t *p = sig.data;
    if (sig.size < 8 || sig.size > 72 || p[0] != 0x30 || p[1] != sig.size - 2) return false;
    size_t at = 2;
    for (int i = 0; i < 2; i++) {
        if (at + 2 > sig.size || p[at] != 0x02) return false;
        size_t n = p[at + 1];
        at += 2;
        if (n == 0 || n > 33 || n > sig.size - at || p[at] & 0x80) return false;
        if (n == 33 && p[at] != 0) return false;
        if (p[at] == 0 && (n == 1 || !(p[at + 1] & 0x80))) return false; /* zero, or a needless leading zero */
        at += n;
    }
    return at == sig.size;
}

bool key_verify(const struct key *k, struct bytes message, struct bytes signature, bool *valid, struct error *err)
{
    *valid = false;
    if (!signature_is_canonical(signature)) return true;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, k->pkey) != 1) {
        EVP_MD_CTX_free(ctx);
        return library_error(err, ERR_INTERNAL, "cannot verify");
    }
    *valid = EVP_DigestVerify(ctx, signature.data, signature.size, message.data, message.size) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return true;
}

bool crypto_self_test(struct error *err)
{
    uint8_t sig[SIGNATURE_BYTES_MAX], text[] = "the bytes that are signed";
    size_t n;
    bool good = false, bad = true;
    struct key k = {.pkey = EVP_EC_gen("P-256")};
    if (!k.pkey) return library_error(err, ERR_INTERNAL, "cannot make a key");
    struct bytes message = bytes_of(text, sizeof text);
    bool ok = key_sign(&k, message, sig, &n, err) && key_verify(&k, message, bytes_of(sig, n), &good, err);
    text[3] ^= 1;
    ok = ok && key_verify(&k, message, bytes_of(sig, n), &bad, err);
    EVP_PKEY_free(k.pkey);
    if (ok && (!good || bad)) return error_set(err, ERR_INTERNAL, "the crypto library fails its self-test");
    return ok;
}
