/* Key files; kinds are in crypto_kind.c, signatures in crypto_sign.c, cosign's form in crypto_cosign.c. */
#include "core/cleanup.h"
#include "core/crypto_kind.h"
#include "core/file.h"
#include "core/pkcs11.h"
#include "core/pkcs11_uri.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#define KEY_FILE_BYTES_MAX 16384u

bool crypto_library_error(struct error *err, enum error_code code, const char *what)
{
    char reason[200] = "";
    unsigned long e = ERR_peek_last_error();
    if (e)
        snprintf(reason, sizeof reason, " (%s)",
                 ERR_reason_error_string(e) ? ERR_reason_error_string(e) : "no reason given");
    ERR_clear_error();
    return error_set(err, code, "%s%s", what, reason);
}

/* A public point must be on its curve and, in a private key, belong to the private number (a file may hold both). */
static bool is_sound(EVP_PKEY *pkey, const struct key_kind *kind, bool is_private)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    /* RSA's full check proves primes for seconds; a wrong modulus makes no signature that verifies. */
    bool sound = ctx && (kind->bits || EVP_PKEY_public_check(ctx) == 1) &&
                 (!is_private || kind->bits || EVP_PKEY_pairwise_check(ctx) == 1);
    EVP_PKEY_CTX_free(ctx);
    return sound;
}

bool key_accept(EVP_PKEY *pkey, bool is_private, const char *path, struct key **out, struct error *err)
{
    char found[96];
    const struct key_kind *kind = key_kind_of(pkey, found);
    bool sound = kind && is_sound(pkey, kind, is_private);
    struct key *k = sound ? calloc(1, sizeof *k) : NULL;
    if (!k) EVP_PKEY_free(pkey);
    ERR_clear_error();
    if (!kind)
        return error_set(err, ERR_UNSUPPORTED,
                         "key '%.512s': expected an ECDSA P-256 key (P-384, P-521, RSA 2048, 3072, 4096 and Ed25519 "
                         "count for some clients), found %s",
                         path, found);
    if (!sound) return error_set(err, ERR_FORMAT, "key '%.512s': the public point does not belong to it", path);
    if (!k) return error_memory(err, sizeof *k);
    *k = (struct key){.pkey = pkey, .kind = kind};
    *out = k;
    return true;
}

void key_close(struct key *k)
{
    if (!k) return;
    EVP_PKEY_free(k->pkey);
    pkcs11_close(k->token);
    free(k);
}

/* ---- private keys ---------------------------------------------------------------------------------------------------
 */

static bool open_private_file(const char *path, int *fd, size_t *size, struct error *err)
{
    struct stat st;
    CLEANUP(fd) int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (f < 0 && errno == ENOENT) return error_set(err, ERR_FORMAT, "file '%.512s' does not exist", path);
    if (f < 0 && errno == ELOOP)
        return error_set(err, ERR_USAGE, "private key '%.512s' is a symbolic link; name the file itself", path);
    if (f < 0 || fstat(f, &st) != 0) return error_set_errno(err, "cannot open '%.512s'", path);
    if (!S_ISREG(st.st_mode)) return error_set(err, ERR_FORMAT, "'%.512s' is not a regular file", path);
    if (st.st_size > KEY_FILE_BYTES_MAX) return error_set(err, ERR_FORMAT, "'%.512s' is too large for a key", path);
    *size = (size_t)st.st_size;
    *fd = f;
    f = -1;
    return true;
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

static bool has(struct bytes text, const char *words)
{
    return memmem(text.data, text.size, words, strlen(words)) != NULL;
}

/* What PEM_read_bio_PrivateKey calls back with. */
struct asking {
    const struct key_secret *secret;
    const char *path;
    char text[KEY_SECRET_MAX];
    bool asked, failed;
    struct error *err;
};

static bool ask(struct asking *a)
{
    if (a->asked) return !a->failed;
    a->asked = true;
    if (a->secret && a->secret->ask) a->failed = !a->secret->ask(a->secret->ctx, a->path, a->text, a->err);
    return !a->failed;
}

static int give_passphrase(char *buf, int size, int writing, void *ctx)
{
    (void)writing;
    struct asking *a = ctx;
    size_t n = ask(a) ? strlen(a->text) : 0;
    if (n == 0 || n > (size_t)size) return -1;
    memcpy(buf, a->text, n);
    return (int)n;
}

static bool read_pem(struct bytes text, struct asking *a, EVP_PKEY **out, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.size);
    *out = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, a) : NULL;
    BIO_free(bio);
    if (*out) return true;
    if (a->failed) return false;
    if (!has(text, "ENCRYPTED"))
        return crypto_library_error(err, ERR_FORMAT, "not a private key in PEM form") ||
               error_wrap(err, "'%.512s'", a->path);
    ERR_clear_error();
    return error_set(err, ERR_USAGE, "private key '%.512s' is encrypted: %s", a->path,
                     a->text[0] ? "the passphrase does not open it"
                                : "set INGOT_KEY_PASSPHRASE, or use --passphrase-env or --passphrase-fd");
}

static bool read_cosign(struct bytes text, struct asking *a, EVP_PKEY **out, struct error *err)
{
    uint8_t *der = NULL;
    size_t n = 0;
    if (!ask(a) || !cosign_key_open(text, a->path, a->text, &der, &n, err)) return false;
    const unsigned char *p = der;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)n);
    *out = info && p == der + n ? EVP_PKCS82PKEY(info) : NULL;
    PKCS8_PRIV_KEY_INFO_free(info);
    OPENSSL_cleanse(der, n);
    free(der);
    if (*out) return true;
    return crypto_library_error(err, ERR_FORMAT, "holds no PKCS#8 key") || error_wrap(err, "'%.512s'", a->path);
}

static bool read_private(int fd, size_t size, struct asking *a, struct key **out, struct error *err)
{
    uint8_t data[KEY_FILE_BYTES_MAX];
    struct bytes text = bytes_of(data, size);
    EVP_PKEY *pkey = NULL;
    if (!file_read_at(fd, a->path, 0, data, size, err)) return false;
    if (has(text, "BEGIN PUBLIC KEY"))
        return error_set(err, ERR_FORMAT, "'%.512s' is a public key; a signature is made with the private one",
                         a->path);
    if (!check_private_file(fd, a->path, err)) {
        OPENSSL_cleanse(data, size);
        return false;
    }
    bool is_cosign = has(text, "BEGIN " COSIGN_PEM_LABEL "-") || has(text, "BEGIN " COSIGN_PEM_LABEL_OLD "-");
    bool ok = is_cosign ? read_cosign(text, a, &pkey, err) : read_pem(text, a, &pkey, err);
    OPENSSL_cleanse(data, size);
    return ok && key_accept(pkey, true, a->path, out, err);
}

static bool open_file(const char *path, const struct key_secret *secret, struct key **out, struct error *err)
{
    CLEANUP(fd) int fd = -1;
    size_t size = 0;
    struct asking a = {.secret = secret, .path = path, .err = err};
    bool ok = open_private_file(path, &fd, &size, err) && read_private(fd, size, &a, out, err);
    OPENSSL_cleanse(a.text, sizeof a.text);
    return ok;
}

static bool open_token(const char *uri, const struct key_secret *secret, struct key **out, struct error *err)
{
    struct pkcs11_key *token = NULL;
    if (!pkcs11_open(uri, secret, &token, err)) return false;
    struct bytes der = pkcs11_public(token);
    const unsigned char *p = der.data;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)der.size);
    bool ok = pkey ? key_accept(pkey, false, "of the token", out, err)
                   : crypto_library_error(err, ERR_FORMAT, "the token's public key cannot be read");
    if (ok) (*out)->token = token;
    else pkcs11_close(token);
    return ok;
}

bool key_open(const char *name, const struct key_secret *secret, struct key **out, struct error *err)
{
    *out = NULL;
    bool is_token = strncmp(name, PKCS11_SCHEME, strlen(PKCS11_SCHEME)) == 0;
    return is_token ? open_token(name, secret, out, err) : open_file(name, secret, out, err);
}

static bool give_known(void *ctx, const char *what, char out[KEY_SECRET_MAX], struct error *err)
{
    (void)what;
    const char *known = ctx;
    if (known && strlen(known) >= KEY_SECRET_MAX) return error_set(err, ERR_USAGE, "the passphrase is too long");
    strcpy(out, known ? known : "");
    return true;
}

bool key_load_private(const char *path, const char *passphrase, struct key **out, struct error *err)
{
    struct key_secret s = {.ask = give_known, .ctx = (void *)(uintptr_t)passphrase};
    *out = NULL;
    return open_file(path, &s, out, err);
}

/* ---- public keys ----------------------------------------------------------------------------------------------------
 */

bool key_read_public(struct bytes pem, const char *what, struct key **out, struct error *err)
{
    *out = NULL;
    BIO *bio = pem.size <= KEY_FILE_BYTES_MAX ? BIO_new_mem_buf(pem.data, (int)pem.size) : NULL;
    EVP_PKEY *pkey = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (!pkey)
        return crypto_library_error(err, ERR_FORMAT, "not a public key in PEM form") ||
               error_wrap(err, "'%.512s'", what);
    return key_accept(pkey, false, what, out, err);
}

bool key_load_public(const char *path, struct key **out, struct error *err)
{
    *out = NULL;
    CLEANUP_BUFFER struct buffer text = {0};
    return file_load(AT_FDCWD, path, KEY_FILE_BYTES_MAX, &text, err) &&
           key_read_public(buffer_view(&text), path, out, err);
}

bool key_id(const struct key *k, struct digest *out, struct error *err)
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(k->pkey, &der);
    bool ok = n > 0 && sha256_of(bytes_of(der, (size_t)n), out, err);
    OPENSSL_free(der);
    return ok ? true : crypto_library_error(err, ERR_INTERNAL, "cannot encode a public key");
}

bool key_public_pem(const struct key *k, char **out, size_t *out_size, struct error *err)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL;
    long n = bio && PEM_write_bio_PUBKEY(bio, k->pkey) == 1 ? BIO_get_mem_data(bio, &data) : 0;
    *out = n > 0 ? strndup(data, (size_t)n) : NULL;
    *out_size = n > 0 ? (size_t)n : 0;
    BIO_free(bio);
    return *out ? true : crypto_library_error(err, ERR_INTERNAL, "cannot encode a public key");
}

/* ---- making ---------------------------------------------------------------------------------------------------------
 */

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

static bool write_pkcs8(BIO *out, EVP_PKEY *pkey, const char *passphrase, struct error *err)
{
    const EVP_CIPHER *cipher = passphrase ? EVP_aes_256_cbc() : NULL;
    if (passphrase && !*passphrase) return error_set(err, ERR_USAGE, "the passphrase for a new key is empty");
    int n = passphrase ? (int)strnlen(passphrase, KEY_SECRET_MAX) : 0;
    if (PEM_write_bio_PKCS8PrivateKey(out, pkey, cipher, passphrase, n, NULL, NULL) == 1) return true;
    return crypto_library_error(err, ERR_INTERNAL, "cannot encode a key");
}

static bool write_cosign(BIO *out, const EVP_PKEY *pkey, const char *passphrase, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    unsigned char *der = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    int k = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : 0;
    PKCS8_PRIV_KEY_INFO_free(info);
    bool ok = k > 0 ? cosign_key_seal(bytes_of(der, (size_t)k), passphrase ? passphrase : "", &text, &n, err)
                    : crypto_library_error(err, ERR_INTERNAL, "cannot encode a key");
    if (k > 0) OPENSSL_clear_free(der, (size_t)k);
    return ok && (BIO_write(out, text, (int)n) == (int)n || crypto_library_error(err, ERR_MEMORY, "cannot keep a key"));
}

bool key_generate_as(enum key_format format, const char *private_path, const char *public_path, const char *passphrase,
                     struct error *err)
{
    if (!refuse_existing(private_path, err) || !refuse_existing(public_path, err)) return false;
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    BIO *priv = BIO_new(BIO_s_secmem()), *pub = BIO_new(BIO_s_mem());
    bool ok = pkey && priv && pub && PEM_write_bio_PUBKEY(pub, pkey) == 1;
    if (!ok) crypto_library_error(err, ERR_INTERNAL, "cannot make a key");
    ok = ok && (format == KEY_FORMAT_COSIGN ? write_cosign(priv, pkey, passphrase, err)
                                            : write_pkcs8(priv, pkey, passphrase, err));
    ok = ok && bio_save(priv, private_path, 0600, err);
    if (ok && !(ok = bio_save(pub, public_path, 0666, err))) unlink(private_path); /* both or neither */
    BIO_free(priv);
    BIO_free(pub);
    EVP_PKEY_free(pkey);
    return ok;
}

bool key_generate(const char *private_path, const char *public_path, const char *passphrase, struct error *err)
{
    return key_generate_as(KEY_FORMAT_PKCS8, private_path, public_path, passphrase, err);
}
