/* Notation's signature on an image (Notary Project, X.509): a flattened JWS that names the image's descriptor and holds
 * the signer's certificate chain (docs/signing.md, forms). Strict in both directions: known members, critical headers
 * that are understood, the algorithm that belongs to the leaf's key. */
#ifndef FORMATS_NOTATION_H
#define FORMATS_NOTATION_H

#include "core/cert.h"
#include "formats/oci.h"

#define NOTATION_MEDIA "application/vnd.cncf.notary.signature" /* the manifest's config */
#define NOTATION_LAYER_MEDIA "application/jose+json"
#define NOTATION_ANNOTATION_THUMBPRINT "io.cncf.notary.x509chain.thumbprint#S256"
#define NOTATION_BYTES_MAX ((size_t)512 << 10)

struct notation {
    json_t *payload_doc;
    struct oci_descriptor target; /* what is signed: media type (borrowed), digest, size */
    struct cert_chain *chain;
    int64_t signing_time, expiry; /* seconds since 1970; expiry INT64_MAX: none */
    char *input;                  /* the bytes that are signed */
    uint8_t *signature;
    size_t signature_bytes;
    char algorithm[8];
};

/* *out: the envelope's text; caller frees. `now`: seconds since 1970, inside the chain's validity. */
MUST_CHECK bool notation_sign(const struct key *key, const struct cert_chain *chain, const struct oci_descriptor *image,
                              int64_t now, char **out, size_t *out_size, struct error *err);
/* What its manifest says: the certificates' thumbprints. A new reference. */
MUST_CHECK bool notation_annotations(const struct cert_chain *chain, json_t **out, struct error *err);

/* ERR_FORMAT, ERR_UNSUPPORTED. Nothing is verified. */
MUST_CHECK bool notation_parse(struct bytes text, const char *what, struct notation *out, struct error *err);
/* Whether the signature fits this key. */
MUST_CHECK bool notation_fits(const struct notation *n, const struct key *key, bool *valid, struct error *err);
/* By its certificates: the chain must hold at `at` and when it was signed, the signature be by the leaf's key, and
 * not be past its own expiry. Not valid: `why`. */
MUST_CHECK bool notation_verify(const struct notation *n, const struct cert_chain *roots, int64_t at, bool *valid,
                                char why[CERT_WHY_SIZE], struct error *err);
void notation_close(struct notation *n);

static inline void cleanup_notation(struct notation *n)
{
    notation_close(n);
}

#endif
