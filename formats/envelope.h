/* A signed statement about an image: an in-toto statement, signed as a DSSE envelope, carried by a sigstore bundle
 * v0.3.
 *
 * Written in the smallest form that cosign 3 accepts for a plain public key: no key id (cosign refuses one it does not
 * know), no log entry; with certificates, the chain in the place of the public key's hint. Read strictly: unique and
 * known members, one signature, one subject, sizes and counts capped. Log entries and time stamps that other signers
 * add are not looked at; they prove nothing about the key we are given. Layout and trials: docs/formats.md, signatures.
 */
#ifndef FORMATS_ENVELOPE_H
#define FORMATS_ENVELOPE_H

#include "core/cert.h"
#include "core/crypto.h"
#include "core/json.h"

#define ENVELOPE_BUNDLE_MEDIA "application/vnd.dev.sigstore.bundle.v0.3+json"
#define ENVELOPE_PAYLOAD_TYPE "application/vnd.in-toto+json"
#define ENVELOPE_STATEMENT_TYPE "https://in-toto.io/Statement/v1"
/* Read as well: `cosign attest` 3.1.3 still writes it. */
#define ENVELOPE_STATEMENT_TYPE_OLD "https://in-toto.io/Statement/v0.1"
/* The predicate that means "this image is signed". `cosign verify` itself takes any statement; we do not. */
#define ENVELOPE_PREDICATE_SIGN "https://sigstore.dev/cosign/sign/v1"

#define ENVELOPE_BYTES_MAX ((size_t)16 << 20) /* of a bundle: bills of material are the large ones */
#define ENVELOPE_SIGNATURE_BYTES_MAX 1024u    /* RSA 4096 of others takes 512; ours takes 72 */

struct envelope {
    uint8_t *payload; /* the statement's bytes, as signed */
    size_t payload_bytes;
    uint8_t *signature;
    size_t signature_bytes;
    json_t *statement;          /* the payload, parsed */
    struct cert_chain *chain;   /* of the signer, leaf first; NULL: a bare key */
    struct digest subject;      /* SHA-256 of what the statement is about: an image manifest */
    const char *predicate_type; /* borrowed from statement */
};

/* DSSE pre-authentication encoding, the bytes that are signed: "DSSEv1 <len> <type> <len> <payload>". *out: caller
 * frees. */
MUST_CHECK bool envelope_signed_bytes(const char *payload_type, struct bytes payload, char **out, size_t *out_size,
                                      struct error *err);
/* Canonical JSON of a statement about one subject. `predicate` NULL: an empty object. *out: caller frees. */
MUST_CHECK bool envelope_statement(const struct digest *subject, const char *predicate_type, const json_t *predicate,
                                   char **out, size_t *out_size, struct error *err);
/* Who signs, and what the bundle says of that. */
struct envelope_signer {
    const struct key *key;
    enum key_use use;
    const struct cert_chain *chain; /* of the key, or NULL */
    const char *hint;               /* of the public key, or NULL; ignored with a chain */
};
/* Signs a statement's bytes and gives the bundle. The signature is checked before it is handed out. *out: caller frees.
 */
MUST_CHECK bool envelope_sign_by(const struct envelope_signer *s, struct bytes payload, char **out, size_t *out_size,
                                 struct error *err);
/* A bare key, for KEY_USE_SIGSTORE. */
MUST_CHECK bool envelope_sign(const struct key *key, struct bytes payload, char **out, size_t *out_size,
                              struct error *err);

/* ERR_FORMAT for a broken bundle. Nothing is verified. */
MUST_CHECK bool envelope_parse(struct bytes bundle, const char *what, struct envelope *out, struct error *err);
/* Whether the signature fits the payload under this key: the one place where a bundle is verified. */
MUST_CHECK bool envelope_verify_for(const struct envelope *e, enum key_use use, const struct key *key, bool *valid,
                                    struct error *err);
MUST_CHECK bool envelope_verify(const struct envelope *e, const struct key *key, bool *valid, struct error *err);
/* By the certificates in it: the chain must hold at `at` (core/cert.h) and the signature fit the leaf's key. Not valid:
 * `why` says what does not hold. */
MUST_CHECK bool envelope_verify_chain(const struct envelope *e, enum key_use use, const struct cert_chain *roots,
                                      int64_t at, bool *valid, char why[CERT_WHY_SIZE], struct error *err);
void envelope_close(struct envelope *e);

static inline void cleanup_envelope(struct envelope *e)
{
    envelope_close(e);
}

#endif
