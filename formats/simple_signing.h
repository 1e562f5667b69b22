/* The older form of a signature on an image: a small JSON document ("simple signing"), whose bytes are signed, in a
 * manifest that is found by its tag, sha256-HEX.sig. What podman, skopeo and CRI-O read (docs/signing.md, forms).
 *
 * Written so that containers-policy takes it: the three members of `critical` and no other, the exact type. Read as
 * strictly; each layer of the manifest is one signature. */
#ifndef FORMATS_SIMPLE_SIGNING_H
#define FORMATS_SIMPLE_SIGNING_H

#include "formats/oci_layout.h"

#define SIMPLE_MEDIA "application/vnd.dev.cosign.simplesigning.v1+json"
#define SIMPLE_TYPE "cosign container image signature"
#define SIMPLE_ANNOTATION_SIGNATURE "dev.cosignproject.cosign/signature" /* on the layer: base64 */
#define SIMPLE_PAYLOAD_BYTES_MAX ((size_t)64 << 10)
#define SIMPLE_SIGNATURES_MAX 64u
#define SIMPLE_REFERENCE_BYTES_MAX 512u
#define SIMPLE_TAG_SIZE (sizeof "sha256-.sig" + 64u)

struct simple_signing {
    struct buffer payload; /* as signed */
    json_t *doc;
    const char *reference; /* "registry/repository:tag", borrowed */
    struct digest image;
    uint8_t *signature;
    size_t signature_bytes;
};

/* "sha256-HEX.sig" */
void simple_tag(const struct digest *image, char out[SIMPLE_TAG_SIZE]);
/* ERR_USAGE unless the text is [HOST[:PORT]/]REPOSITORY:TAG. Without a tag the default rule of containers-policy would
 * not take the signature. */
MUST_CHECK bool simple_check_reference(const char *reference, struct error *err);
/* The bytes to sign. *out: caller frees. */
MUST_CHECK bool simple_payload(const char *reference, const struct digest *image, char **out, size_t *out_size,
                               struct error *err);
/* The manifest's config for these layers, as cosign writes it. *out: caller frees. */
MUST_CHECK bool simple_config(const struct oci_descriptor *layers, uint32_t n, char **out, size_t *out_size,
                              struct error *err);
/* One layer: its media type, the payload's digest and shape, and the annotation. Nothing is verified. *differs as in
 * oci_blob_load. */
MUST_CHECK bool simple_load(const struct oci_layout *l, const struct oci_descriptor *layer, struct simple_signing *out,
                            bool *differs, struct error *err);
/* The same of bytes in memory; `out->payload` stays empty. */
MUST_CHECK bool simple_parse(struct bytes payload, struct simple_signing *out, struct error *err);
MUST_CHECK bool simple_verify(const struct simple_signing *s, const struct key *key, bool *valid, struct error *err);
void simple_close(struct simple_signing *s);

static inline void cleanup_simple_signing(struct simple_signing *s)
{
    simple_close(s);
}

#endif
