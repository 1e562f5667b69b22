/* cosign's private key file: PEM around base64 of JSON around NaCl's secretbox with a key from scrypt. The form and its
 * limits (scrypt with N of 2^15 to 2^17, r 8, p 1): docs/signing.md. */
#include "core/cleanup.h"
#include "core/crypto_kind.h"
#include "core/json.h"
#include "core/text.h"
#include "core/xsalsa20.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>

#define SALT_BYTES 32u
#define TAG_BYTES 16u
#define PLAIN_BYTES_MAX 8192u
#define BODY_BYTES_MAX 16384u
#define SCRYPT_N_DEFAULT 65536u
/* 128 r N bytes and what the library takes beside them: N of 2^17 needs 128 MiB; the library's own limit is 32 MiB. */
#define SCRYPT_MEMORY_MAX ((uint64_t)160 << 20)

void secret_wipe(void *p, size_t n)
{
    if (p) OPENSSL_cleanse(p, n);
}

bool secret_random(void *p, size_t n, struct error *err)
{
    if (n <= INT32_MAX && RAND_bytes(p, (int)n) == 1) return true;
    return crypto_library_error(err, ERR_INTERNAL, "no random bytes");
}

static bool derive_key(const char *passphrase, const uint8_t *salt, uint64_t n, uint8_t out[XSALSA20_KEY_BYTES],
                       struct error *err)
{
    if (EVP_PBE_scrypt(passphrase, strlen(passphrase), salt, SALT_BYTES, n, 8, 1, SCRYPT_MEMORY_MAX, out,
                       XSALSA20_KEY_BYTES) == 1)
        return true;
    return crypto_library_error(err, ERR_MEMORY, "cannot derive a key with scrypt");
}

/* Poly1305 of data under the first 32 bytes of the key stream, as secretbox has it. */
static bool authenticate(const uint8_t *key, const uint8_t *nonce, const uint8_t *data, size_t n,
                         uint8_t tag[TAG_BYTES], struct error *err)
{
    uint8_t once[32] = {0};
    size_t got = 0;
    xsalsa20(key, nonce, 0, once, sizeof once);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "POLY1305", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    bool ok = ctx && EVP_MAC_init(ctx, once, sizeof once, NULL) == 1 && EVP_MAC_update(ctx, data, n) == 1 &&
              EVP_MAC_final(ctx, tag, &got, TAG_BYTES) == 1 && got == TAG_BYTES;
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    OPENSSL_cleanse(once, sizeof once);
    return ok ? true : crypto_library_error(err, ERR_INTERNAL, "Poly1305 failed");
}

/* ---- reading --------------------------------------------------------------------------------------------------------
 */

struct sealed {
    uint8_t *salt, *nonce, *box;
    size_t salt_bytes, nonce_bytes, box_bytes;
    uint64_t n;
};

static void sealed_free(struct sealed *s)
{
    free(s->salt);
    free(s->nonce);
    free(s->box);
}

static bool fixed(const json_t *obj, const char *key, const char *value, const char *what, struct error *err)
{
    const char *found;
    if (!json_get_string(obj, key, what, &found, err)) return false;
    return strcmp(found, value) == 0
               ? true
               : error_set(err, ERR_UNSUPPORTED, "%s: %s: expected \"%s\", found \"%.64s\"", what, key, value, found);
}

static bool bytes_member(const json_t *obj, const char *key, const char *what, size_t expected, size_t max,
                         uint8_t **out, size_t *n, struct error *err)
{
    const char *text;
    if (!json_get_string(obj, key, what, &text, err)) return false;
    if (!base64_decode(text, max, out, n, err)) return error_wrap(err, "%s: %s", what, key);
    if (expected && *n != expected)
        return error_set(err, ERR_FORMAT, "%s: %s: expected %zu bytes, found %zu", what, key, expected, *n);
    return true;
}

static bool read_kdf(const json_t *doc, const char *what, struct sealed *s, struct error *err)
{
    static const char *const keys[] = {"name", "params", "salt", NULL};
    static const char *const param_keys[] = {"N", "r", "p", NULL};
    json_t *kdf, *params;
    uint64_t r, p;
    if (!json_get_object(doc, "kdf", what, &kdf, err) || !json_known_keys(kdf, what, keys, err) ||
        !fixed(kdf, "name", "scrypt", what, err) || !json_get_object(kdf, "params", what, &params, err) ||
        !json_known_keys(params, what, param_keys, err) || !json_get_u64(params, "N", what, 0, INT64_MAX, &s->n, err) ||
        !json_get_u64(params, "r", what, 8, 8, &r, err) || !json_get_u64(params, "p", what, 1, 1, &p, err))
        return false;
    if (s->n != 1u << 15 && s->n != 1u << 16 && s->n != 1u << 17)
        return error_set(err, ERR_FORMAT, "%s: scrypt: N: expected 32768, 65536 or 131072, found %llu", what,
                         (unsigned long long)s->n);
    return bytes_member(kdf, "salt", what, SALT_BYTES, 64, &s->salt, &s->salt_bytes, err);
}

static bool read_sealed(struct bytes text, const char *what, struct sealed *s, struct error *err)
{
    static const char *const keys[] = {"kdf", "cipher", "ciphertext", NULL};
    static const char *const cipher_keys[] = {"name", "nonce", NULL};
    CLEANUP(json) json_t *doc = NULL;
    json_t *cipher;
    if (!json_parse(text, JSON_DIALECT_STRICT, what, &doc, err) || !json_known_keys(doc, what, keys, err) ||
        !read_kdf(doc, what, s, err) || !json_get_object(doc, "cipher", what, &cipher, err) ||
        !json_known_keys(cipher, what, cipher_keys, err) || !fixed(cipher, "name", "nacl/secretbox", what, err) ||
        !bytes_member(cipher, "nonce", what, XSALSA20_NONCE_BYTES, 64, &s->nonce, &s->nonce_bytes, err) ||
        !bytes_member(doc, "ciphertext", what, 0, PLAIN_BYTES_MAX, &s->box, &s->box_bytes, err))
        return false;
    return s->box_bytes > TAG_BYTES ? true : error_set(err, ERR_FORMAT, "%s: ciphertext is too short", what);
}

/* The base64 between the lines BEGIN and END, which must be the whole file but for white space. */
static bool pem_body(struct bytes pem, const char *path, char *body, struct error *err)
{
    static const char *const labels[] = {COSIGN_PEM_LABEL, COSIGN_PEM_LABEL_OLD};
    for (size_t i = 0; i < 2; i++) {
        char begin[80], end[80];
        int nb = snprintf(begin, sizeof begin, "-----BEGIN %s-----", labels[i]);
        int ne = snprintf(end, sizeof end, "-----END %s-----", labels[i]);
        const uint8_t *a = memmem(pem.data, pem.size, begin, (size_t)nb);
        if (!a) continue;
        a += nb;
        const uint8_t *b = memmem(a, pem.size - (size_t)(a - pem.data), end, (size_t)ne);
        size_t n = 0;
        for (const uint8_t *p = a; b && p < b; p++)
            if (*p != '\n' && *p != '\r' && n < BODY_BYTES_MAX) body[n++] = (char)*p;
        body[n] = '\0';
        for (const uint8_t *p = b ? b + ne : NULL; p && p < pem.data + pem.size; p++)
            if (!strchr(" \t\r\n", *p)) b = NULL;
        if (b) return true;
        break;
    }
    return error_set(err, ERR_FORMAT, "private key '%.512s': expected one PEM block and nothing behind it", path);
}

static bool open_box(const struct sealed *s, const char *path, const char *passphrase, uint8_t **out, size_t *out_size,
                     struct error *err)
{
    uint8_t key[XSALSA20_KEY_BYTES], tag[TAG_BYTES];
    size_t n = s->box_bytes - TAG_BYTES;
    if (!derive_key(passphrase, s->salt, s->n, key, err)) return false;
    bool ok = authenticate(key, s->nonce, s->box + TAG_BYTES, n, tag, err);
    if (ok && CRYPTO_memcmp(tag, s->box, TAG_BYTES) != 0)
        ok = error_set(err, ERR_USAGE, "private key '%.512s' is encrypted: %s", path,
                       *passphrase ? "the passphrase does not open it" : "it needs a passphrase");
    if (ok && !(*out = malloc(n))) ok = error_memory(err, n);
    if (ok) {
        memcpy(*out, s->box + TAG_BYTES, n);
        xsalsa20(key, s->nonce, 32, *out, n);
        *out_size = n;
    }
    OPENSSL_cleanse(key, sizeof key);
    return ok;
}

bool cosign_key_open(struct bytes pem, const char *path, const char *passphrase, uint8_t **out, size_t *out_size,
                     struct error *err)
{
    CLEANUP(free) char *body = malloc(BODY_BYTES_MAX + 1);
    CLEANUP(free) uint8_t *text = NULL;
    size_t n = 0;
    char what[600];
    struct sealed s = {0};
    *out = NULL;
    if (!body) return error_memory(err, BODY_BYTES_MAX);
    snprintf(what, sizeof what, "private key '%.512s'", path);
    if (!pem_body(pem, path, body, err)) return false;
    if (!base64_decode(body, BODY_BYTES_MAX, &text, &n, err)) return error_wrap(err, "%s", what);
    bool ok = read_sealed(bytes_of(text, n), what, &s, err) && open_box(&s, path, passphrase, out, out_size, err);
    sealed_free(&s);
    return ok;
}

/* ---- writing --------------------------------------------------------------------------------------------------------
 */

static bool box_json(const uint8_t *salt, const uint8_t *nonce, struct bytes box, char **out, size_t *n,
                     struct error *err)
{
    CLEANUP(free) char *salt64 = NULL;
    CLEANUP(free) char *nonce64 = NULL;
    CLEANUP(free) char *box64 = NULL;
    if (!base64_encode(bytes_of(salt, SALT_BYTES), &salt64, err) ||
        !base64_encode(bytes_of(nonce, XSALSA20_NONCE_BYTES), &nonce64, err) || !base64_encode(box, &box64, err))
        return false;
    CLEANUP(json)
    json_t *j = json_pack("{s:{s:s,s:{s:i,s:i,s:i},s:s},s:{s:s,s:s},s:s}", "kdf", "name", "scrypt", "params", "N",
                          (int)SCRYPT_N_DEFAULT, "r", 8, "p", 1, "salt", salt64, "cipher", "name", "nacl/secretbox",
                          "nonce", nonce64, "ciphertext", box64);
    return j ? json_canonical(j, out, n, err) : error_memory(err, 0);
}

static bool pem_text(struct bytes json, char **out, size_t *out_size, struct error *err)
{
    CLEANUP(free) char *body = NULL;
    if (!base64_encode(json, &body, err)) return false;
    struct text t = TEXT_INIT;
    text_add(&t, "-----BEGIN " COSIGN_PEM_LABEL "-----\n");
    for (const char *p = body; *p; p += strnlen(p, 64)) text_add(&t, "%.64s\n", p);
    text_add(&t, "-----END " COSIGN_PEM_LABEL "-----\n");
    return text_take(&t, out, out_size, err);
}

bool cosign_key_seal(struct bytes pkcs8, const char *passphrase, char **out, size_t *out_size, struct error *err)
{
    uint8_t salt[SALT_BYTES], nonce[XSALSA20_NONCE_BYTES], key[XSALSA20_KEY_BYTES], box[TAG_BYTES + PLAIN_BYTES_MAX];
    CLEANUP(free) char *json = NULL;
    size_t n = 0;
    if (pkcs8.size > PLAIN_BYTES_MAX) return error_set(err, ERR_INTERNAL, "a key of %zu bytes", pkcs8.size);
    if (!secret_random(salt, sizeof salt, err) || !secret_random(nonce, sizeof nonce, err) ||
        !derive_key(passphrase, salt, SCRYPT_N_DEFAULT, key, err))
        return false;
    memcpy(box + TAG_BYTES, pkcs8.data, pkcs8.size);
    xsalsa20(key, nonce, 32, box + TAG_BYTES, pkcs8.size);
    bool ok = authenticate(key, nonce, box + TAG_BYTES, pkcs8.size, box, err) &&
              box_json(salt, nonce, bytes_of(box, TAG_BYTES + pkcs8.size), &json, &n, err) &&
              pem_text(bytes_of(json, n), out, out_size, err);
    OPENSSL_cleanse(key, sizeof key);
    return ok;
}
