/* Signs a package: each of its images, and the index of them where there is one, because a client may resolve to
 * either. Nothing of an image is touched, so no digest changes. A key signs each of them once in each form: what is
 * there already is left alone; other keys' signatures stay. pack/attach.h says how the layout is written. */
#ifndef PACK_SIGN_H
#define PACK_SIGN_H

#include "core/crypto.h"

struct cert_chain;

struct sign_options {
    const char *ref; /* "oci:DIR:TAG"; a thin layout is enough */
    const struct key *key;
    const struct cert_chain *chain; /* of the key, needed for x509 and notation; or NULL */
    bool no_bundle;                 /* leave out the sigstore bundle of the bare key, which cosign verifies */
    bool x509;                      /* adds a bundle with the chain, which is verified against a root and a time */
    const char *docker_reference;   /* HOST/REPOSITORY:TAG: adds the legacy signature that containers-policy reads */
    bool notation;                  /* adds a notation signature */
};

struct sign_result {
    struct digest image;  /* of the package: what its tag names */
    struct digest key_id; /* SHA-256 of the public key (DER) */
    uint32_t n_subjects;  /* manifests, and an index, that are signed */
    uint32_t n_added, n_there;
    bool was_signed; /* everything was there: nothing has been changed */
};

/* ERR_FORMAT when the bytes of a manifest are not those that index.json names: what is broken is not signed. ERR_USAGE:
 * another process is writing to the layout, or the options fit no signature. */
MUST_CHECK bool sign_package(const struct sign_options *o, struct sign_result *out, struct error *err);
/* The bundle alone. */
MUST_CHECK bool sign_run(const char *ref, const struct key *key, struct sign_result *out, struct error *err);

#endif
