#include "core/cert.h"
#include "core/cleanup.h"
#include "core/crypto_kind.h"
#include "core/file.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define CHAIN_FILE_BYTES_MAX ((size_t)CERT_CHAIN_MAX * CERT_BYTES_MAX * 2)
#define SECURITY_LEVEL 2 /* 112 bits: no SHA-1, RSA from 2048 bits on */

struct certificate {
    X509 *x509;
    unsigned char *der;
    size_t der_bytes;
};

struct cert_chain {
    struct certificate items[CERT_CHAIN_MAX];
    uint32_t n;
};

void cert_chain_close(struct cert_chain *c)
{
    if (!c) return;
    for (uint32_t i = 0; i < c->n; i++) {
        X509_free(c->items[i].x509);
        OPENSSL_free(c->items[i].der);
    }
    free(c);
}

/* ---- reading --------------------------------------------------------------------------------------------------------
 */

/* Takes x over. */
static bool take(struct cert_chain **c, X509 *x, const char *what, struct error *err)
{
    struct certificate item = {.x509 = x};
    int n = i2d_X509(x, &item.der);
    struct cert_chain *fresh = *c ? *c : calloc(1, sizeof *fresh);
    bool ok = n > 0 && fresh && fresh->n < CERT_CHAIN_MAX;
    if (n > 0 && fresh && !ok) error_set(err, ERR_FORMAT, "%s: more than %u certificates", what, CERT_CHAIN_MAX);
    else if (!ok) error_memory(err, sizeof *fresh);
    if (!ok) {
        X509_free(x);
        OPENSSL_free(item.der);
        if (!*c) free(fresh);
        return false;
    }
    item.der_bytes = (size_t)n;
    fresh->items[fresh->n++] = item;
    *c = fresh;
    return true;
}

bool cert_chain_add(struct cert_chain **c, struct bytes der, const char *what, struct error *err)
{
    const unsigned char *p = der.data;
    if (der.size > CERT_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "%s: a certificate of %zu bytes, at most %u are read", what, der.size,
                         CERT_BYTES_MAX);
    X509 *x = d2i_X509(NULL, &p, (long)der.size);
    ERR_clear_error();
    if (x && p != der.data + der.size) {
        X509_free(x);
        return error_set(err, ERR_FORMAT, "%s: bytes behind a certificate", what);
    }
    if (!x) return error_set(err, ERR_FORMAT, "%s: not an X.509 certificate", what);
    uint32_t i = *c ? (*c)->n : 0;
    if (!take(c, x, what, err)) return false;
    /* Two encodings of one certificate would be two certificates to who compares bytes. */
    struct bytes again = cert_chain_der(*c, i);
    if (again.size == der.size && memcmp(again.data, der.data, der.size) == 0) return true;
    (*c)->n--;
    X509_free((*c)->items[i].x509);
    OPENSSL_free((*c)->items[i].der);
    if (!(*c)->n) {
        free(*c);
        *c = NULL;
    }
    return error_set(err, ERR_FORMAT, "%s: the certificate is not canonical DER", what);
}

static bool read_pem(BIO *bio, const char *path, struct cert_chain **out, struct error *err)
{
    for (;;) {
        X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        unsigned long e = ERR_peek_last_error();
        if (!x && ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE) break;
        if (!x)
            return crypto_library_error(err, ERR_FORMAT, "a certificate cannot be read") ||
                   error_wrap(err, "'%.512s'", path);
        if (!take(out, x, path, err)) return false;
    }
    ERR_clear_error();
    return *out ? true : error_set(err, ERR_FORMAT, "'%.512s' holds no certificate in PEM form", path);
}

bool cert_chain_load(const char *path, struct cert_chain **out, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    *out = NULL;
    if (!file_load(AT_FDCWD, path, CHAIN_FILE_BYTES_MAX, &text, err)) return false;
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.size);
    bool ok = bio ? read_pem(bio, path, out, err) : error_memory(err, text.size);
    BIO_free(bio);
    if (ok) return true;
    cert_chain_close(*out);
    *out = NULL;
    return false;
}

uint32_t cert_chain_count(const struct cert_chain *c)
{
    return c ? c->n : 0;
}

struct bytes cert_chain_der(const struct cert_chain *c, uint32_t i)
{
    return bytes_of(c->items[i].der, c->items[i].der_bytes);
}

/* ---- what it says ---------------------------------------------------------------------------------------------------
 */

static void subject_of(const X509 *x, char *out, size_t size)
{
    char text[CERT_SUBJECT_SIZE] = "";
    BIO *bio = BIO_new(BIO_s_mem());
    int n = 0;
    if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0)
        n = BIO_read(bio, text, sizeof text - 1);
    BIO_free(bio);
    ERR_clear_error();
    error_printable(out, size, text, n > 0 ? (size_t)n : 0);
}

void cert_chain_subject(const struct cert_chain *c, char out[CERT_SUBJECT_SIZE])
{
    subject_of(c->items[0].x509, out, CERT_SUBJECT_SIZE);
}

bool cert_chain_thumbprint(const struct cert_chain *c, uint32_t i, struct digest *out, struct error *err)
{
    return sha256_of(cert_chain_der(c, i), out, err);
}

/* Seconds since 1970; false: not a time. */
static bool seconds(const ASN1_TIME *t, int64_t *out)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0, secs = 0;
    bool ok = epoch && ASN1_TIME_diff(&days, &secs, epoch, t) == 1;
    ASN1_TIME_free(epoch);
    ERR_clear_error();
    *out = (int64_t)days * 86400 + secs;
    return ok;
}

bool cert_chain_window(const struct cert_chain *c, int64_t *begin, int64_t *end, struct error *err)
{
    *begin = INT64_MIN;
    *end = INT64_MAX;
    for (uint32_t i = 0; i < c->n; i++) {
        int64_t a, b;
        if (!seconds(X509_get0_notBefore(c->items[i].x509), &a) || !seconds(X509_get0_notAfter(c->items[i].x509), &b))
            return error_set(err, ERR_FORMAT, "certificate %u: its dates cannot be read", i + 1);
        if (a > *begin) *begin = a;
        if (b < *end) *end = b;
    }
    return true;
}

bool cert_chain_key(const struct cert_chain *c, const char *what, struct key **out, struct error *err)
{
    *out = NULL;
    EVP_PKEY *pkey = X509_get_pubkey(c->items[0].x509);
    if (!pkey) {
        ERR_clear_error();
        return error_set(err, ERR_FORMAT, "%s: the certificate's public key cannot be read", what);
    }
    return key_accept(pkey, false, what, out, err);
}

/* ---- verifying ------------------------------------------------------------------------------------------------------
 */

static bool refuse(char why[CERT_WHY_SIZE], const X509 *x, const char *what)
{
    char subject[256];
    if (x) subject_of(x, subject, sizeof subject);
    snprintf(why, CERT_WHY_SIZE, x ? "certificate '%s': %s" : "%s%s", x ? subject : "", what);
    return false;
}

static bool usage_allows(X509 *x, uint32_t bit)
{
    return X509_get_key_usage(x) & bit; /* all bits are set where the extension is absent */
}

static bool signs_code(X509 *x, bool must_say)
{
    uint32_t e = X509_get_extended_key_usage(x);
    if (e == UINT32_MAX) return !must_say; /* absent */
    return e & (must_say ? XKU_CODE_SIGN : XKU_CODE_SIGN | XKU_ANYEKU);
}

/* What the leaf may do, and what its issuers may. */
static bool purpose_fits(X509 *x, bool leaf, char why[CERT_WHY_SIZE])
{
    if (leaf && X509_check_ca(x) != 0) return refuse(why, x, "is an authority's, not a signer's");
    if (leaf && (!(X509_get_extension_flags(x) & EXFLAG_KUSAGE) || !usage_allows(x, KU_DIGITAL_SIGNATURE)))
        return refuse(why, x, "its key usage does not say digitalSignature");
    if (!leaf && X509_check_ca(x) != 1) return refuse(why, x, "is not an authority's (basicConstraints)");
    if (!leaf && !usage_allows(x, KU_KEY_CERT_SIGN)) return refuse(why, x, "may not sign certificates (key usage)");
    if (!signs_code(x, leaf)) return refuse(why, x, "is not for signing code (extended key usage)");
    return true;
}

static bool purposes_fit(const STACK_OF(X509) * chain, char why[CERT_WHY_SIZE])
{
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (!purpose_fits(sk_X509_value(chain, i), i == 0, why)) return false;
    return true;
}

struct verification {
    X509_STORE *store;
    X509_STORE_CTX *ctx;
    STACK_OF(X509) * between;
};

static bool prepare(struct verification *v, const struct cert_chain *c, const struct cert_chain *roots, int64_t at)
{
    v->store = X509_STORE_new();
    v->ctx = X509_STORE_CTX_new();
    v->between = sk_X509_new_null();
    if (!v->store || !v->ctx || !v->between) return false;
    for (uint32_t i = 0; i < roots->n; i++)
        if (X509_STORE_add_cert(v->store, roots->items[i].x509) != 1) return false;
    for (uint32_t i = 1; i < c->n; i++)
        if (sk_X509_push(v->between, c->items[i].x509) <= 0) return false;
    if (X509_STORE_CTX_init(v->ctx, v->store, c->items[0].x509, v->between) != 1) return false;
    X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(v->ctx);
    X509_VERIFY_PARAM_set_time(p, (time_t)at);
    X509_VERIFY_PARAM_set_depth(p, (int)CERT_CHAIN_MAX);
    X509_VERIFY_PARAM_set_auth_level(p, SECURITY_LEVEL);
    return X509_VERIFY_PARAM_set_purpose(p, X509_PURPOSE_ANY) == 1 &&
           X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_CHECK_SS_SIGNATURE) == 1;
}

bool cert_chain_verify(const struct cert_chain *c, const struct cert_chain *roots, int64_t at, bool *valid,
                       char why[CERT_WHY_SIZE], struct error *err)
{
    struct verification v = {0};
    *valid = false;
    *why = '\0';
    bool ready = prepare(&v, c, roots, at);
    if (ready && X509_verify_cert(v.ctx) != 1) {
        int code = X509_STORE_CTX_get_error(v.ctx);
        refuse(why, X509_STORE_CTX_get_current_cert(v.ctx), X509_verify_cert_error_string(code));
    } else if (ready) *valid = purposes_fit(X509_STORE_CTX_get0_chain(v.ctx), why);
    X509_STORE_CTX_free(v.ctx);
    sk_X509_free(v.between);
    X509_STORE_free(v.store);
    return ready ? (ERR_clear_error(), true) : crypto_library_error(err, ERR_INTERNAL, "cannot verify certificates");
}

bool cert_chain_check_signer(const struct cert_chain *c, const struct key *key, int64_t at, struct error *err)
{
    struct key *leaf = NULL;
    struct digest a, b;
    int64_t begin, end;
    char why[CERT_WHY_SIZE];
    bool ok = cert_chain_key(c, "certificate chain", &leaf, err) && key_id(leaf, &a, err) && key_id(key, &b, err);
    key_close(leaf);
    if (!ok || !cert_chain_window(c, &begin, &end, err)) return false;
    if (!digest_equal(&a, &b))
        return error_set(err, ERR_USAGE, "the first certificate of the chain is not of the key that signs");
    if (!purpose_fits(c->items[0].x509, true, why)) return error_set(err, ERR_USAGE, "%s", why);
    if (at >= begin && at <= end) return true;
    return error_set(err, ERR_USAGE,
                     at < begin ? "the certificate chain is not valid yet" : "the certificate chain has expired");
}
