/* Verifies a package as it lies on disk, in one go: signature, every document, every layer's bytes, and that there is
 * nothing else. Each check becomes a line of the report with its class word; nothing is unpacked, and everything is
 * capped before it is read.
 *
 *   signature / no-signature   a cosign/sign/v1 statement over the digest that the tag names, by the given key. One is
 * enough. Well-formed ones by other keys count for nothing and are listed; one that is attached to this image and is
 * malformed, or speaks of another image, is a failure. digest                     bytes, sizes and the wanted digest
 *   layout                     oci-layout, index.json, manifest, config, layers and files are shaped as pack makes
 * them, every layer's tar is the same to two readers, and no file is there that nothing refers to
 *
 * index.json itself is not signed: a moved tag is found only with a wanted digest. */
#ifndef VERIFY_PACKAGE_H
#define VERIFY_PACKAGE_H

#include "core/crypto.h"
#include "core/pool.h"
#include "core/progress.h"
#include "verify/report.h"

struct package_options {
    const char *ref;                 /* "oci:DIR:TAG" */
    const struct key *key;           /* NULL: the signature stays undecided */
    const struct digest *wanted;     /* of the image manifest, or NULL */
    struct pool *pool;               /* layers are read in parallel; or NULL */
    const struct progress *progress; /* or NULL */
};

/* False only when nothing could be said about the package: a reference that names no layout, no memory, cancelled. What
 * is found goes into `r`: one line per check, and under "package" the image's digest and the list of its files. */
MUST_CHECK bool package_verify(const struct package_options *o, struct report *r, struct error *err);

#endif
