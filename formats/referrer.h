/* A bundle in a layout: a small manifest whose `subject` is the image and whose one layer is the bundle. It stands in
 * index.json as a plain entry, without a tag; registries and oras find it through its subject. */
#ifndef FORMATS_REFERRER_H
#define FORMATS_REFERRER_H

#include "formats/envelope.h"
#include "formats/oci_layout.h"

/* cosign's own annotations on such a manifest, so that one can tell which bundle holds which statement. */
#define REFERRER_ANNOTATION_CONTENT "dev.sigstore.bundle.content"
#define REFERRER_CONTENT "dsse-envelope"
#define REFERRER_ANNOTATION_PREDICATE "dev.sigstore.bundle.predicateType"
#define REFERRER_CONFIG_TEXT "{}" /* the empty config's bytes */

/* A new reference: what a bundle's manifest says of it; NULL: no memory. */
json_t *referrer_annotations(const char *predicate_type);
/* Whether it means to be a bundle: by its artifact type or by a layer's media type. */
bool referrer_is_bundle(const struct oci_manifest *m);
/* Reads the bundle: the manifest's shape, the blob's size and digest, the envelope, and that the statement is about the
 * manifest's subject. *differs as in oci_blob_load. The signature is not verified here. */
MUST_CHECK bool referrer_load(const struct oci_layout *l, const struct oci_manifest *m, const char *what,
                              struct envelope *out, bool *differs, struct error *err);

#endif
