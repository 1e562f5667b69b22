/* The documents of an OCI image layout: descriptor, manifest, index, image config; and the name of an image in a
 * layout, "oci:DIR:TAG".
 *
 * Parsing is strict, because these documents say which files are opened and what a signature covers: unique keys, no
 * member that is not named here, digests and media types checked as text, counts and sizes capped. Strings and
 * annotations of a parsed struct are borrowed from its document (`doc`), which the struct owns; a struct made by hand
 * for writing leaves `doc` NULL and owns nothing. Facts and sources: docs/formats.md (OCI image-spec 1.1). */
#ifndef FORMATS_OCI_H
#define FORMATS_OCI_H

#include "core/crypto.h"
#include "core/json.h"

#define OCI_MEDIA_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_MEDIA_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_MEDIA_CONFIG "application/vnd.oci.image.config.v1+json"
#define OCI_MEDIA_LAYER "application/vnd.oci.image.layer.v1.tar"
#define OCI_MEDIA_EMPTY "application/vnd.oci.empty.v1+json" /* of a blob that holds "{}" */

#define OCI_ANNOTATION_REF "org.opencontainers.image.ref.name" /* on an index entry: its tag */
#define OCI_ANNOTATION_TITLE                                                                                           \
    "org.opencontainers.image.title" /* on a layer: the path of its file; oras skips layers without it */
#define OCI_ANNOTATION_KIND "kind"   /* on an index entry: how cosign finds the image on disk */
#define OCI_KIND_IMAGE "dev.cosignproject.cosign/image"
/* Ours, on a layer: SHA-256 of the file inside, so that an unpacked file can be checked against the signed manifest. */
#define OCI_ANNOTATION_FILE_SHA256 "ingot.file.sha256"
#define OCI_CREATED "1970-01-01T00:00:00Z" /* the one time that is ever written */

/* Registries take manifests of up to 4 MiB (docker-registry's own limit). */
#define OCI_DOCUMENT_BYTES_MAX ((size_t)4 << 20)
#define OCI_LAYERS_MAX 8192u
#define OCI_MANIFESTS_MAX 1024u /* entries of an index: images and their referrers */
#define OCI_MANIFESTS_BYTES_MAX                                                                                        \
    ((uint64_t)16 << 20) /* of all manifests that an index names: who verifies holds them all */
#define OCI_ANNOTATIONS_MAX 64u
#define OCI_TEXT_BYTES_MAX 4096u /* of one annotation, media type or name */
#define OCI_BLOB_BYTES_MAX ((uint64_t)1 << 47)
#define OCI_TAG_BYTES_MAX 128u /* distribution-spec: [A-Za-z0-9_][A-Za-z0-9._-]{0,127} */

struct oci_descriptor {
    const char *media_type;
    const char *artifact_type; /* NULL: absent */
    struct digest digest;      /* SHA-256 is the only algorithm taken */
    uint64_t size;             /* bytes */
    const json_t *annotations; /* object of strings; NULL: absent */
};

struct oci_manifest {
    json_t *doc;
    const char *artifact_type; /* NULL: absent */
    struct oci_descriptor config;
    struct oci_descriptor *layers;
    uint32_t n_layers;
    bool has_subject;
    struct oci_descriptor subject; /* what a referrer (a signature) speaks of */
    const json_t *annotations;     /* NULL: absent */
};

struct oci_index {
    json_t *doc;
    struct oci_descriptor *manifests;
    uint32_t n_manifests;
};

/* Config of a data-only image for linux/amd64: what runtimes need to mount or unpack it, and no more. */
struct oci_config {
    json_t *doc;
    struct digest *diff_ids; /* of the uncompressed layers, in layer order */
    const char **created_by; /* one history entry per layer */
    uint32_t n_layers;
};

/* The value of an annotation, or NULL. `annotations` may be NULL. */
const char *oci_annotation(const json_t *annotations, const char *key);
/* "sha256:" and 64 lower-case hex digits. */
#define OCI_DIGEST_SIZE (sizeof "sha256:" - 1 + DIGEST_HEX_SIZE)
void oci_digest_text(const struct digest *d, char out[OCI_DIGEST_SIZE]);
bool oci_digest_parse(const char *text, struct digest *out);

/* ---- reading: ERR_FORMAT says what, where, expected, found; *out is empty then -------------------------------------
 */
MUST_CHECK bool oci_manifest_parse(struct bytes text, const char *what, struct oci_manifest *out, struct error *err);
MUST_CHECK bool oci_index_parse(struct bytes text, const char *what, struct oci_index *out, struct error *err);
MUST_CHECK bool oci_config_parse(struct bytes text, const char *what, struct oci_config *out, struct error *err);
void oci_manifest_close(struct oci_manifest *m);
void oci_index_close(struct oci_index *ix);
void oci_config_close(struct oci_config *c);

static inline void cleanup_oci_manifest(struct oci_manifest *m)
{
    oci_manifest_close(m);
}

static inline void cleanup_oci_index(struct oci_index *ix)
{
    oci_index_close(ix);
}

static inline void cleanup_oci_config(struct oci_config *c)
{
    oci_config_close(c);
}

/* The entry with this ref name; NULL when there is none. (Two of one name do not parse.) */
const struct oci_descriptor *oci_index_find(const struct oci_index *ix, const char *tag);

/* ---- writing: canonical JSON; the caller frees *out ----------------------------------------------------------------
 */
MUST_CHECK bool oci_manifest_text(const struct oci_manifest *m, char **out, size_t *out_size, struct error *err);
MUST_CHECK bool oci_index_text(const struct oci_index *ix, char **out, size_t *out_size, struct error *err);
MUST_CHECK bool oci_config_text(const struct oci_config *c, char **out, size_t *out_size, struct error *err);

/* ---- naming an image ------------------------------------------------------------------------------------------------
 */
#define OCI_REF_PREFIX "oci:"
#define OCI_TAG_DEFAULT "latest"
struct oci_ref {
    char *dir;
    char *tag;
};
/* "oci:DIR:TAG" or "oci:DIR" (tag "latest"). DIR holds no colon: skopeo ends it at the first one. ERR_USAGE. */
MUST_CHECK bool oci_ref_parse(const char *text, struct oci_ref *out, struct error *err);
/* The same without the prefix. */
MUST_CHECK bool oci_ref_split(const char *rest, struct oci_ref *out, struct error *err);
void oci_ref_close(struct oci_ref *ref);

static inline void cleanup_oci_ref(struct oci_ref *ref)
{
    oci_ref_close(ref);
}

bool oci_tag_is_valid(const char *tag);

#endif
