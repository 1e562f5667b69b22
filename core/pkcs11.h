/* A private key in a token (an HSM, a smart card), used straight through its PKCS#11 module: opened by dlopen, no
 * engine and no provider of the crypto library between. The token only ever sees digests; hashing and DER stay here.
 * Elliptic curve keys on P-256, P-384 and P-521.
 *
 * The module is code of the user's choice and is trusted like the program itself; what it returns is checked for size
 * all the same. A wrong PIN is never tried twice: tokens lock after a few. */
#ifndef CORE_PKCS11_H
#define CORE_PKCS11_H

#include "core/crypto.h"

#define PKCS11_MODULE_ENV "PKCS11_MODULE" /* the module, when the URI has no module-path */
#define PKCS11_MODULE_DEFAULT "p11-kit-proxy.so"
#define PKCS11_DER_MAX 512u
#define PKCS11_RAW_MAX 132u /* r and s of P-521 */

struct pkcs11_key;

/* `uri` as in core/pkcs11_uri.h. ERR_USAGE: the URI, or the PIN is wrong; ERR_DEVICE: the module or the token refuses;
 * ERR_FORMAT: no such token or key, or more than one. */
MUST_CHECK bool pkcs11_open(const char *uri, const struct key_secret *secret, struct pkcs11_key **out,
                            struct error *err);
void pkcs11_close(struct pkcs11_key *k); /* NULL is fine; logs out and wipes */
/* The public half: DER of SubjectPublicKeyInfo. */
struct bytes pkcs11_public(const struct pkcs11_key *k);
/* ECDSA over a digest: r and s side by side, each as long as a coordinate. */
MUST_CHECK bool pkcs11_sign(const struct pkcs11_key *k, struct bytes digest, uint8_t out[PKCS11_RAW_MAX],
                            size_t *out_size, struct error *err);

#endif
