/* Making and verifying signatures. */
#include "core/crypto_kind.h"
#include "core/pkcs11.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#define COORDINATE_BYTES_MAX 66u /* P-521 */

/* ---- DER of ECDSA ---------------------------------------------------------------------------------------------------
 */

/* Canonical DER SEQUENCE of two positive, non-zero integers of at most `n_coordinate` bytes, and nothing behind it.
 * `raw`, when given, becomes r and s side by side. */
static bool read_der(struct bytes sig, size_t n_coordinate, uint8_t *raw)
{
    const uint8_t *p = sig.data;
    if (sig.size < 8 || sig.size > 2 * n_coordinate + 9 || p[0] != 0x30) return false;
    size_t at = p[1] == 0x81 ? 3 : 2, length = p[at - 1];
    if (length != sig.size - at || (at == 3) != (length > 127)) return false;
    for (int i = 0; i < 2; i++) {
        if (at + 2 > sig.size || p[at] != 0x02) return false;
        size_t n = p[at + 1];
        at += 2;
        if (n == 0 || n > n_coordinate + 1 || n > sig.size - at || p[at] & 0x80) return false;
        if (n == n_coordinate + 1 && p[at] != 0) return false;
        if (p[at] == 0 && (n == 1 || !(p[at + 1] & 0x80))) return false; /* zero, or a needless leading zero */
        size_t zero = p[at] == 0, k = n - zero;
        if (raw) {
            memset(raw, 0, n_coordinate - k);
            memcpy(raw + n_coordinate - k, p + at + zero, k);
            raw += n_coordinate;
        }
        at += n;
    }
    return at == sig.size;
}

static size_t put_integer(uint8_t *out, const uint8_t *v, size_t n)
{
    while (n > 1 && *v == 0) v++, n--;
    size_t zero = *v >> 7;
    out[0] = 0x02;
    out[1] = (uint8_t)(n + zero);
    out[2] = 0;
    memcpy(out + 2 + zero, v, n);
    return 2 + zero + n;
}

/* r and s, each of n bytes, as DER; returns its size. */
static size_t write_der(const uint8_t *raw, size_t n, uint8_t *out)
{
    uint8_t body[2 * (COORDINATE_BYTES_MAX + 3)];
    size_t k = put_integer(body, raw, n), at = 0;
    k += put_integer(body + k, raw + n, n);
    out[at++] = 0x30;
    if (k > 127) out[at++] = 0x81;
    out[at++] = (uint8_t)k;
    memcpy(out + at, body, k);
    return at + k;
}

/* ---- with the library or a token ------------------------------------------------------------------------------------
 */

static bool set_padding(EVP_PKEY_CTX *ctx, const struct key *k, const struct key_scheme *s)
{
    if (!k->kind->bits) return true;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, s->pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1 &&
           (!s->pss || EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

static bool sign_here(const struct key *k, const struct key_scheme *s, struct bytes message, uint8_t *out,
                      size_t *out_size, struct error *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    *out_size = SIGNATURE_BYTES_MAX;
    bool ok = ctx && EVP_DigestSignInit_ex(ctx, &pctx, s->hash, NULL, NULL, k->pkey, NULL) == 1 &&
              set_padding(pctx, k, s) && EVP_DigestSign(ctx, out, out_size, message.data, message.size) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? true : crypto_library_error(err, ERR_INTERNAL, "cannot sign");
}

static bool sign_by_token(const struct key *k, const struct key_scheme *s, struct bytes message, uint8_t *out,
                          size_t *out_size, struct error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE], raw[PKCS11_RAW_MAX];
    size_t n = 0, n_raw = 0;
    if (EVP_Q_digest(NULL, s->hash, NULL, message.data, message.size, digest, &n) != 1)
        return crypto_library_error(err, ERR_INTERNAL, "cannot hash");
    /* Some tokens do not cut a digest to the order's length themselves: only P-521 takes every digest whole. */
    if (n > k->kind->coordinate_bytes) n = k->kind->coordinate_bytes;
    if (!pkcs11_sign(k->token, bytes_of(digest, n), raw, &n_raw, err)) return false;
    if (n_raw != 2 * k->kind->coordinate_bytes)
        return error_set(err, ERR_DEVICE, "token: a signature of %zu bytes, expected %u", n_raw,
                         2 * k->kind->coordinate_bytes);
    *out_size = write_der(raw, n_raw / 2, out);
    return true;
}

bool key_sign_for(const struct key *k, enum key_use use, struct bytes message, uint8_t out[SIGNATURE_BYTES_MAX],
                  size_t *out_size, struct error *err)
{
    const struct key_scheme *s = &k->kind->schemes[use];
    uint8_t raw[2 * COORDINATE_BYTES_MAX];
    uint32_t n = k->kind->coordinate_bytes;
    if (!key_check_use(k, use, err) ||
        !(k->token ? sign_by_token(k, s, message, out, out_size, err) : sign_here(k, s, message, out, out_size, err)))
        return false;
    if (use != KEY_USE_JWS || !n) return true;
    if (!read_der(bytes_of(out, *out_size), n, raw)) return error_set(err, ERR_INTERNAL, "a signature that is no DER");
    memcpy(out, raw, 2 * n);
    *out_size = 2 * n;
    return true;
}

/* JWS has r and s side by side; the library wants DER. False: not what a signature of this key can look like. */
static bool to_der(const struct key *k, enum key_use use, struct bytes *signature, uint8_t *room)
{
    uint32_t n = k->kind->coordinate_bytes;
    if (!n) return true;
    if (use == KEY_USE_JWS) {
        if (signature->size != 2 * n) return false;
        *signature = bytes_of(room, write_der(signature->data, n, room));
    }
    return read_der(*signature, n, NULL);
}

bool key_verify_for(const struct key *k, enum key_use use, struct bytes message, struct bytes signature, bool *valid,
                    struct error *err)
{
    const struct key_scheme *s = &k->kind->schemes[use];
    uint8_t room[2 * COORDINATE_BYTES_MAX + 16];
    EVP_PKEY_CTX *pctx = NULL;
    *valid = false;
    if (!key_check_use(k, use, err)) return false;
    if (!to_der(k, use, &signature, room)) return true;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestVerifyInit_ex(ctx, &pctx, s->hash, NULL, NULL, k->pkey, NULL) != 1 ||
        !set_padding(pctx, k, s)) {
        EVP_MD_CTX_free(ctx);
        return crypto_library_error(err, ERR_INTERNAL, "cannot verify");
    }
    *valid = EVP_DigestVerify(ctx, signature.data, signature.size, message.data, message.size) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return true;
}

bool key_sign(const struct key *k, struct bytes message, uint8_t out[SIGNATURE_BYTES_MAX], size_t *out_size,
              struct error *err)
{
    return key_sign_for(k, KEY_USE_SIGSTORE, message, out, out_size, err);
}

bool key_verify(const struct key *k, struct bytes message, struct bytes signature, bool *valid, struct error *err)
{
    return key_verify_for(k, KEY_USE_SIGSTORE, message, signature, valid, err);
}

bool crypto_self_test(struct error *err)
{
    uint8_t sig[SIGNATURE_BYTES_MAX], text[] = "the bytes that are signed";
    char found[96];
    size_t n;
    bool good = false, bad = true;
    struct key k = {.pkey = EVP_EC_gen("P-256")};
    if (!k.pkey) return crypto_library_error(err, ERR_INTERNAL, "cannot make a key");
    k.kind = key_kind_of(k.pkey, found);
    struct bytes message = bytes_of(text, sizeof text);
    bool ok = k.kind || error_set(err, ERR_INTERNAL, "the crypto library makes %s for P-256", found);
    ok = ok && key_sign(&k, message, sig, &n, err) && key_verify(&k, message, bytes_of(sig, n), &good, err);
    text[3] ^= 1;
    ok = ok && key_verify(&k, message, bytes_of(sig, n), &bad, err);
    EVP_PKEY_free(k.pkey);
    if (ok && (!good || bad)) return error_set(err, ERR_INTERNAL, "the crypto library fails its self-test");
    return ok;
}
