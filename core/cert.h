/* X.509 certificates of signing keys: a chain, leaf first, and roots that are trusted. Everything that decides (time,
 * purpose, depth, strength) is set here and never by the library's defaults or by the input (docs/signing.md). */
#ifndef CORE_CERT_H
#define CORE_CERT_H

#include "core/crypto.h"

#define CERT_CHAIN_MAX 8u     /* certificates in a chain, and roots in a file of roots */
#define CERT_BYTES_MAX 16384u /* of one certificate, DER */
#define CERT_SUBJECT_SIZE 512u

struct cert_chain;
void cert_chain_close(struct cert_chain *c); /* NULL is fine */
/* A PEM file with one certificate or more: a chain, leaf first, or roots. */
MUST_CHECK bool cert_chain_load(const char *path, struct cert_chain **out, struct error *err);
/* The same of DER, one certificate at a time; *c NULL: begins a chain. ERR_FORMAT: not a certificate, bytes behind it,
 * or too many. On failure *c stays as it was. */
MUST_CHECK bool cert_chain_add(struct cert_chain **c, struct bytes der, const char *what, struct error *err);

uint32_t cert_chain_count(const struct cert_chain *c);
struct bytes cert_chain_der(const struct cert_chain *c, uint32_t i); /* borrowed */
/* The leaf's subject, as RFC 2253 writes it, printable. */
void cert_chain_subject(const struct cert_chain *c, char out[CERT_SUBJECT_SIZE]);
/* SHA-256 of a certificate's DER. */
MUST_CHECK bool cert_chain_thumbprint(const struct cert_chain *c, uint32_t i, struct digest *out, struct error *err);
/* When every certificate is valid, in seconds since 1970: the latest beginning and the earliest end. */
MUST_CHECK bool cert_chain_window(const struct cert_chain *c, int64_t *begin, int64_t *end, struct error *err);
/* The leaf's public key; the caller closes it. */
MUST_CHECK bool cert_chain_key(const struct cert_chain *c, const char *what, struct key **out, struct error *err);

/* Whether the chain holds at `at` (seconds since 1970): every certificate, the root too, is valid then and signed by
 * the next; the last is one of `roots` or signed by one; issuers are authorities that may sign certificates; the leaf
 * may sign, signs code (extended key usage codeSigning) and is no authority. SHA-1 and keys below 112 bits of strength
 * are refused. *valid false: `why` (512 bytes) says which and what. False only when it could not be found out. */
#define CERT_WHY_SIZE 512u
MUST_CHECK bool cert_chain_verify(const struct cert_chain *c, const struct cert_chain *roots, int64_t at, bool *valid,
                                  char why[CERT_WHY_SIZE], struct error *err);
/* Before signing: the leaf belongs to the key, and the chain is in its time and for this purpose. ERR_USAGE. */
MUST_CHECK bool cert_chain_check_signer(const struct cert_chain *c, const struct key *key, int64_t at,
                                        struct error *err);

#endif
