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
#define OCI_ANNOTATION_VERSION "org.opencontainers.image.version" /* on a manifest: of the package */
#define OCI_ANNOTATION_KIND "kind" /* on an index entry: how cosign finds the image on disk */
#define OCI_KIND_IMAGE "dev.cosignproject.cosign/image"
#define OCI_KIND_INDEX "dev.cosignproject.cosign/imageIndex"
#define OCI_KIND_SIGNATURES "dev.cosignproject.cosign/sigs" /* of an entry tagged sha256-HEX.sig */
#define OCI_KIND_ATTESTATIONS "dev.cosignproject.cosign/atts"
#define OCI_ANNOTATION_BASE_DIGEST "org.opencontainers.image.base.digest" /* on a manifest with a base */
#define OCI_ANNOTATION_BASE_NAME "org.opencontainers.image.base.name"
/* Ours, on a manifest with a base: how many of its layers, from the first on, are the base's. */
#define OCI_ANNOTATION_BASE_LAYERS "ingot.base.layers"
#define OCI_ANNOTATION_THIN "ingot.thin" /* ours, on index.json: "true" when the weights are elsewhere */
/* Ours, on a layer: SHA-256 of the file inside, so that an unpacked file can be checked against the signed manifest. */
#define OCI_ANNOTATION_FILE_SHA256 "ingot.file.sha256"
/* Ours: on a manifest the names of all adapters, sorted, with commas; on a layer that of the adapter it belongs to. */
#define OCI_ANNOTATION_ADAPTERS "ingot.adapters"
#define OCI_ANNOTATION_ADAPTER "ingot.adapter"
#define OCI_ADAPTERS_FOLDER "adapters/"    /* "adapters/NAME/adapter_config.json" */
#define OCI_CREATED "1970-01-01T00:00:00Z" /* written where SOURCE_DATE_EPOCH does not say another time */
#define OCI_CREATED_SIZE 24u
#define OCI_ARCHITECTURE "amd64" /* of an image without a base */
#define OCI_OS "linux"

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
    const char *artifact_type;     /* NULL: absent */
    struct digest digest;          /* SHA-256 is the only algorithm taken */
    uint64_t size;                 /* bytes */
    const json_t *annotations;     /* object of strings; NULL: absent */
    const char *architecture, *os; /* of an image in an index of images; NULL: absent */
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

/* index.json, which lists what is in a layout, or an index of images, which is one package (docs/package.md). */
struct oci_index {
    json_t *doc;
    struct oci_descriptor *manifests;
    uint32_t n_manifests;
    const json_t *annotations; /* NULL: absent */
};

/* Config of an image. Without a base it is a data image: `settings` is empty, and runtimes learn what they need to
 * mount or unpack it, and no more. */
struct oci_config {
    json_t *doc;
    const char *architecture, *os; /* for writing, NULL: OCI_ARCHITECTURE, OCI_OS */
    const char *created;           /* for writing, NULL: OCI_CREATED */
    const json_t *settings;        /* entrypoint, environment, ...; for writing, NULL: empty */
    const json_t *base_history;    /* for writing: a base's entries, before those of created_by; or NULL */
    struct digest *diff_ids;       /* of the uncompressed layers, in layer order, a base's first */
    uint32_t n_layers;
    const char **created_by; /* one per layer, in layer order; a base's layers may have none: NULL */
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
/* An index of images, as a tag of index.json may name one: at least one manifest, each with a platform, no tags, no
 * artifact types. The same struct, closed and written by the same functions. */
MUST_CHECK bool oci_images_parse(struct bytes text, const char *what, struct oci_index *out, struct error *err);
MUST_CHECK bool oci_config_parse(struct bytes text, const char *what, struct oci_config *out, struct error *err);
/* Of a parsed config: that it is one of an image without a base, and says nothing that pack does not say. */
MUST_CHECK bool oci_config_check_data(const struct oci_config *c, const char *what, struct error *err);
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
#define OCI_ARCHIVE_PREFIX "oci-archive:"
#define OCI_TAG_DEFAULT "latest"
struct oci_ref {
    char *dir; /* the folder; the file of an archive */
    char *tag;
    bool is_archive;
};
/* "oci:DIR:TAG" or "oci:DIR" (tag "latest"); "oci-archive:FILE:TAG", the same in one tar file. Neither name holds a
 * colon: skopeo ends it at the first one. ERR_USAGE. */
MUST_CHECK bool oci_ref_parse(const char *text, struct oci_ref *out, struct error *err);
/* The same without the prefix. */
MUST_CHECK bool oci_ref_split(const char *rest, struct oci_ref *out, struct error *err);
void oci_ref_close(struct oci_ref *ref);

static inline void cleanup_oci_ref(struct oci_ref *ref)
{
    oci_ref_close(ref);
}

bool oci_tag_is_valid(const char *tag);
/* "1970-01-01T00:00:00Z" or the time that the environment's SOURCE_DATE_EPOCH (seconds) says; ERR_USAGE when that is no
 * number of this or the next 7000 years. */
MUST_CHECK bool oci_created(char out[OCI_CREATED_SIZE], struct error *err);
bool oci_created_is_valid(const char *text);

#endif
