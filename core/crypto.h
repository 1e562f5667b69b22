/* Hashing, keys and signatures: the only file that includes OpenSSL is core/crypto*.c.
 *
 * The one signature scheme written here is ECDSA over P-256 with SHA-256, DER encoded: the only one that cosign,
 * containers-policy, model-signing and notation all verify (reference: docs/formats.md, keys). Every OpenSSL return is
 * compared with 1. A signature must be canonical DER with nothing behind it. */
#ifndef CORE_CRYPTO_H
#define CORE_CRYPTO_H

#include "core/bytes.h"
#include "core/error.h"

#define DIGEST_BYTES 32u
#define DIGEST_HEX_SIZE 65u     /* 64 characters and a terminator */
#define SIGNATURE_BYTES_MAX 80u /* DER of two 256-bit integers is at most 72 */

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

void digest_hex(const struct digest *d, char out[DIGEST_HEX_SIZE]);
/* 64 lower-case hex digits exactly. */
bool digest_parse(const char *hex, struct digest *out);
bool digest_equal(const struct digest *a, const struct digest *b);

/* Standard alphabet, padded. *out: caller frees. Decoding refuses anything else (white space too). */
MUST_CHECK bool base64_encode(struct bytes data, char **out, struct error *err);
MUST_CHECK bool base64_decode(const char *text, size_t max, uint8_t **out, size_t *out_size, struct error *err);

/* Keys. A private key can also verify. */
struct key;
void key_close(struct key *k); /* NULL is fine; wipes */
/* PEM, PKCS#8 (plain or encrypted) or SEC1. `passphrase` may be NULL. Refuses a file that others may read. */
MUST_CHECK bool key_load_private(const char *path, const char *passphrase, struct key **out, struct error *err);
MUST_CHECK bool key_load_public(const char *path, struct key **out, struct error *err); /* PEM SubjectPublicKeyInfo */
/* Writes two new PEM files: private (mode 0600, encrypted when a passphrase is given) and public. Neither may exist. */
MUST_CHECK bool key_generate(const char *private_path, const char *public_path, const char *passphrase,
                             struct error *err);
/* SHA-256 of the DER SubjectPublicKeyInfo: the key's identity, also cosign's public-key hint (base64 of it). */
MUST_CHECK bool key_id(const struct key *k, struct digest *out, struct error *err);

/* ECDSA is randomised: two signatures of the same bytes differ; both verify. */
MUST_CHECK bool key_sign(const struct key *k, struct bytes message, uint8_t out[SIGNATURE_BYTES_MAX], size_t *out_size,
                         struct error *err);
/* *valid says whether it fits; false is returned only when that could not be found out (memory, a broken library). */
MUST_CHECK bool key_verify(const struct key *k, struct bytes message, struct bytes signature, bool *valid,
                           struct error *err);
/* Signs and checks with a throw-away key, and that one flipped bit is refused: run before trusting the library. */
MUST_CHECK bool crypto_self_test(struct error *err);

#endif
