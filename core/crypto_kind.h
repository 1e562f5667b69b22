/* Kinds of keys and what each may be used for. Private to core/crypto*.c. */
#ifndef CORE_CRYPTO_KIND_H
#define CORE_CRYPTO_KIND_H

#include "core/crypto.h"

#include <openssl/evp.h>

/* How a kind signs for one use. `hash` NULL: pure Ed25519; `allowed` false: no verifier takes it. */
struct key_scheme {
    bool allowed;
    const char *hash; /* "SHA2-256" */
    bool pss;         /* RSA: PSS with a salt as long as the digest; else PKCS#1 v1.5 */
};

struct key_kind {
    const char *name;          /* "ECDSA P-256" */
    const char *type;          /* OpenSSL's: "EC", "RSA", "ED25519" */
    const char *group;         /* of EC keys */
    uint32_t bits;             /* of an RSA modulus; 0: not RSA */
    uint32_t coordinate_bytes; /* of EC keys: r and s have at most this many */
    const char *jws_name;      /* or NULL */
    struct key_scheme schemes[KEY_USE_COUNT];
};

struct pkcs11_key;

struct key {
    EVP_PKEY *pkey;           /* both halves; of a token's key the public one */
    struct pkcs11_key *token; /* who signs, or NULL: pkey */
    const struct key_kind *kind;
};

/* The row of a key, or NULL; `found` says what it is (for the refusal). */
const struct key_kind *key_kind_of(const EVP_PKEY *pkey, char found[96]);
/* Takes pkey over, and refuses kinds that nobody verifies and points that are not on their curve. */
MUST_CHECK bool key_accept(EVP_PKEY *pkey, bool is_private, const char *path, struct key **out, struct error *err);
/* What OpenSSL's error queue says, appended; the queue is empty then. Returns false. */
bool crypto_library_error(struct error *err, enum error_code code, const char *what);

/* crypto_cosign.c: cosign's own file, already known by its PEM label. */
#define COSIGN_PEM_LABEL "ENCRYPTED SIGSTORE PRIVATE KEY"
#define COSIGN_PEM_LABEL_OLD "ENCRYPTED COSIGN PRIVATE KEY"
/* *out: PKCS#8 DER; the caller wipes and frees it. ERR_USAGE: the passphrase does not open it. */
MUST_CHECK bool cosign_key_open(struct bytes pem, const char *path, const char *passphrase, uint8_t **out,
                                size_t *out_size, struct error *err);
/* *out: the PEM text; caller frees. */
MUST_CHECK bool cosign_key_seal(struct bytes pkcs8, const char *passphrase, char **out, size_t *out_size,
                                struct error *err);

#endif
