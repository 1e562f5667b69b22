/* Verifies a package as it lies on disk, in one go: signatures, every document, every layer's bytes, and that there is
 * nothing else. Each check becomes a line of the report with its class word; nothing is unpacked, and everything is
 * capped before it is read. The classes:
 *
 * - signature, no-signature: the digest that the tag names, and each image of an index, has a cosign/sign/v1 statement,
 *   a legacy signature or one of notation by the key, and by as many signers as the policy asks for. Well-formed ones
 *   by others count for nothing and are listed; one that is attached to this image and is malformed, or speaks of
 *   another image, is a failure.
 * - certificate: the only signatures are by chains that do not hold.
 * - policy: attestations, licences, version, date, and that there is a rule for the name.
 * - parity: figures of a signed attestation of it that are beyond the policy's limits.
 * - digest: bytes, sizes and the wanted digest.
 * - layout: oci-layout, index.json, manifest, config, layers and files are shaped as pack makes them, every layer's tar
 *   is the same to two readers, and no file is there that nothing refers to.
 *
 * index.json itself is not signed: a moved tag is found only with a wanted digest, or an older release by a minimum
 * version. */
#ifndef VERIFY_PACKAGE_H
#define VERIFY_PACKAGE_H

#include "core/crypto.h"
#include "core/pool.h"
#include "core/progress.h"
#include "formats/oci_kept.h"
#include "verify/policy.h"
#include "verify/report.h"

struct package_options {
    const char *ref;                  /* "oci:DIR:TAG" */
    const struct key *key;            /* that must have signed; or NULL */
    const struct cert_chain *roots;   /* certificates that a signer must lead to, beside the key or alone; or NULL */
    const char *name;                 /* what the policy's rules know the package by; NULL: the tag */
    const struct policy *policy;      /* or NULL. With no key, roots and rule the signature stays undecided */
    int64_t at;                       /* when certificates must hold, in seconds since 1970 */
    bool before_attestations;         /* those that the policy asks for are not there yet: they are not looked at */
    const struct digest *wanted;      /* of the image manifest, or NULL */
    const struct oci_weights *beside; /* where layers are that a thin layout lacks (formats/oci_weights.h); or NULL */
    struct oci_kept *kept;            /* gets what was verified, left open, also when it failed; or NULL */
    struct pool *pool;                /* layers are read in parallel; or NULL */
    const struct progress *progress;  /* or NULL */
};

/* False only when nothing could be said about the package: a reference that names no layout, no memory, cancelled. What
 * is found goes into `r`: one line per check, and under "package" the image's digest and the list of its files. */
MUST_CHECK bool package_verify(const struct package_options *o, struct report *r, struct error *err);

#endif
