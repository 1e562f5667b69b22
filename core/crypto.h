/* Hashing, keys and signatures: the only files that include OpenSSL are core/crypto*.c.
 *
 * ECDSA over P-256 with SHA-256 is the default: the only kind that cosign, containers-policy, model-signing and
 * notation all verify. Other kinds are taken only for uses in which their verifiers take them, with the hash that they
 * take (core/crypto_kind.c, docs/signing.md). Every OpenSSL return is compared with 1. An ECDSA signature must be
 * canonical DER with nothing behind it. */
#ifndef CORE_CRYPTO_H
#define CORE_CRYPTO_H

#include "core/bytes.h"
#include "core/error.h"

#define DIGEST_BYTES 32u
#define DIGEST_HEX_SIZE 65u      /* 64 characters and a terminator */
#define SIGNATURE_BYTES_MAX 512u /* RSA 4096; DER of two 256-bit integers is at most 72 */

struct digest {
    uint8_t bytes[DIGEST_BYTES];
}; /* SHA-256 */

/* Incremental SHA-256. */
struct sha256;
MUST_CHECK bool sha256_open(struct sha256 **out, struct error *err);
void sha256_add(struct sha256 *h, const void *data, size_t n); /* a failure is kept for sha256_close */
/* Adds to two different hashes, in hardly more time than to one where the CPU has SHA instructions: the longer the
 * shorter of both is, the better. */
void sha256_add_pair(struct sha256 *a, const void *data_a, size_t n_a, struct sha256 *b, const void *data_b,
                     size_t n_b);
/* Writes the digest and frees h. `out` NULL: only frees. */
bool sha256_close(struct sha256 *h, struct digest *out, struct error *err);
MUST_CHECK bool sha256_of(struct bytes data, struct digest *out, struct error *err);
/* SHA-256 of n bytes of an open file from offset on, read in pieces. */
MUST_CHECK bool sha256_of_file(int fd, const char *name, uint64_t offset, uint64_t n, struct digest *out,
                               struct error *err);

/* What git calls a file with these bytes: SHA-1 of "blob SIZE", a NUL, and the bytes; 40 hex digits. A name, no
 * proof. */
#define GIT_ID_HEX_SIZE 41u
MUST_CHECK bool git_blob_id(struct bytes data, char out[GIT_ID_HEX_SIZE], struct error *err);

void digest_hex(const struct digest *d, char out[DIGEST_HEX_SIZE]);
/* 64 lower-case hex digits exactly. */
bool digest_parse(const char *hex, struct digest *out);
bool digest_equal(const struct digest *a, const struct digest *b);

/* Standard alphabet, padded. *out: caller frees. Decoding refuses anything else (white space too). */
MUST_CHECK bool base64_encode(struct bytes data, char **out, struct error *err);
MUST_CHECK bool base64_decode(const char *text, size_t max, uint8_t **out, size_t *out_size, struct error *err);
/* The alphabet for URLs, without padding (JWS). */
MUST_CHECK bool base64url_encode(struct bytes data, char **out, struct error *err);
MUST_CHECK bool base64url_decode(const char *text, size_t max, uint8_t **out, size_t *out_size, struct error *err);

/* Secrets: wiped, and not by a call that the compiler may leave out. */
void secret_wipe(void *p, size_t n);
MUST_CHECK bool secret_random(void *p, size_t n, struct error *err);

/* Keys. A private key can also verify. */
struct key;
void key_close(struct key *k); /* NULL is fine; wipes */

/* Who asks for a passphrase or a token's PIN, when one turns out to be needed. */
#define KEY_SECRET_MAX 1024u
struct key_secret {
    /* Fills `out` (terminated); an empty text means there is none. `what` names the key for a prompt. */
    bool (*ask)(void *ctx, const char *what, char out[KEY_SECRET_MAX], struct error *err);
    void *ctx;
};
/* A private key by its name: "pkcs11:..." is a token's (core/pkcs11.h), anything else a file: PEM with PKCS#8 (plain or
 * encrypted), SEC1, or cosign's own form. Refuses a file that others may read, and a symbolic link. */
MUST_CHECK bool key_open(const char *name, const struct key_secret *secret, struct key **out, struct error *err);
/* The same of a file, with a passphrase that is known; it may be NULL. */
MUST_CHECK bool key_load_private(const char *path, const char *passphrase, struct key **out, struct error *err);
MUST_CHECK bool key_load_public(const char *path, struct key **out, struct error *err); /* PEM SubjectPublicKeyInfo */
/* What key_load_public reads, from memory; `what` names it in errors. */
MUST_CHECK bool key_read_public(struct bytes pem, const char *what, struct key **out, struct error *err);

enum key_format { KEY_FORMAT_PKCS8, KEY_FORMAT_COSIGN };
/* Writes two new PEM files: private (mode 0600, encrypted when a passphrase is given; cosign's form always is, an empty
 * passphrase counts there) and public. Neither may exist. */
MUST_CHECK bool key_generate_as(enum key_format format, const char *private_path, const char *public_path,
                                const char *passphrase, struct error *err);
MUST_CHECK bool key_generate(const char *private_path, const char *public_path, const char *passphrase,
                             struct error *err); /* PKCS#8 */
/* The public half as PEM SubjectPublicKeyInfo (64 columns, final newline). *out: caller frees. */
MUST_CHECK bool key_public_pem(const struct key *k, char **out, size_t *out_size, struct error *err);
/* SHA-256 of the DER SubjectPublicKeyInfo: the key's identity, also cosign's public-key hint (base64 of it). */
MUST_CHECK bool key_id(const struct key *k, struct digest *out, struct error *err);

/* What a signature is for: the same key signs with another hash, or not at all, depending on who verifies. */
enum key_use {
    KEY_USE_SIGSTORE, /* bundles and simple signing: cosign, containers-policy */
    KEY_USE_OMS,      /* OpenSSF model signing */
    KEY_USE_JWS,      /* notation: r and s side by side instead of DER */
    KEY_USE_COUNT
};
const char *key_use_name(enum key_use use);
/* "ECDSA P-256" */
const char *key_kind_name(const struct key *k);
/* The name of the algorithm in a JWS header, "ES256"; NULL: none. */
const char *key_jws_name(const struct key *k);
/* ERR_UNSUPPORTED, with who does not take it, when keys of this kind are not for this use. */
MUST_CHECK bool key_check_use(const struct key *k, enum key_use use, struct error *err);

/* ECDSA is randomised: two signatures of the same bytes differ; both verify. */
MUST_CHECK bool key_sign_for(const struct key *k, enum key_use use, struct bytes message,
                             uint8_t out[SIGNATURE_BYTES_MAX], size_t *out_size, struct error *err);
/* *valid says whether it fits; false is returned only when that could not be found out (memory, a broken library, a key
 * that is not for this use). */
MUST_CHECK bool key_verify_for(const struct key *k, enum key_use use, struct bytes message, struct bytes signature,
                               bool *valid, struct error *err);
/* KEY_USE_SIGSTORE. */
MUST_CHECK bool key_sign(const struct key *k, struct bytes message, uint8_t out[SIGNATURE_BYTES_MAX], size_t *out_size,
                         struct error *err);
MUST_CHECK bool key_verify(const struct key *k, struct bytes message, struct bytes signature, bool *valid,
                           struct error *err);
/* Signs and checks with a throw-away key, and that one flipped bit is refused: run before trusting the library. */
MUST_CHECK bool crypto_self_test(struct error *err);

#endif
