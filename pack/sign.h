/* Signs an image in a layout: a sigstore bundle over its manifest digest is added as a referrer. The image itself, and
 * so its digest, is not touched. Blobs are written first, index.json is replaced in one step at the end; signing holds
 * the lock of index.json, so of two signers at the same time one fails at once and no signature is lost. */
#ifndef PACK_SIGN_H
#define PACK_SIGN_H

#include "core/crypto.h"

struct sign_result {
    struct digest image;  /* the manifest digest that is signed */
    struct digest key_id; /* SHA-256 of the public key (DER) */
    bool was_signed;      /* a valid signature by this key was there: nothing has been changed */
};

/* `ref` is "oci:DIR:TAG". A key adds one signature; other keys' stay. ERR_FORMAT when the manifest's bytes are not
 * those that index.json names: what is broken is not signed. Left-overs of a signer that was killed are removed. */
MUST_CHECK bool sign_run(const char *ref, const struct key *key, struct sign_result *out, struct error *err);

#endif
