/* What is pushed or pulled together: the documents below a root (an image, or an index of images), those that refer to
 * them, and all blobs that any of them names, each once.
 *
 * Transport changes no byte, so documents are read as far as transport needs and members that it does not know are
 * left alone; what the package means is verify's business. But what is needed is read strictly: unique keys, one kind
 * of document only (CVE-2021-41190), its own media type, sizes and counts with limits, SHA-256. */
#ifndef PACK_REGISTRY_GRAPH_H
#define PACK_REGISTRY_GRAPH_H

#include "pack/registry_blob.h"
#include "pack/registry_manifest.h"

#define GRAPH_DEPTH_MAX 4u /* indexes in indexes, referrers of referrers */
#define GRAPH_MODELPACK_MEDIA "application/vnd.cncf.model.manifest.v1+json"
#define GRAPH_BLOBS_MAX 16384u

enum graph_kind {
    GRAPH_IMAGE,     /* the root and what is below it */
    GRAPH_REFERRER,  /* by its subject */
    GRAPH_MODELPACK, /* the root's TAG-modelpack */
    GRAPH_TAGGED     /* by a tag of its own: cosign's older sha256-HEX.sig, and what else travels along by name */
};

struct graph_node {
    struct digest digest;
    const char *media_type;  /* static: one of four */
    char artifact_type[256]; /* its own, or its config's; "" for an index without one */
    struct buffer text;
    enum graph_kind kind;
    char tag[OCI_TAG_BYTES_MAX + 1];  /* GRAPH_TAGGED */
    char name[OCI_TAG_BYTES_MAX + 1]; /* "" or what comes behind the root's tag and "-": a profile's, "modelpack" */
    bool is_index, has_subject;
    bool is_top; /* the root, or what refers to something; not what is below one of these */
    struct digest subject;
    uint32_t depth; /* below the root, or of referring */
};

/* An entry of an index that is not read yet. */
struct graph_child {
    struct digest digest;
    uint64_t size;
    char media_type[96];              /* of what transport knows all are shorter */
    char name[OCI_TAG_BYTES_MAX + 1]; /* of the profile, or "" */
};

struct graph {
    struct graph_node *nodes; /* the root first */
    uint32_t *order;          /* their indexes such that what a document names comes before it */
    uint32_t n_nodes, n_order;
    struct registry_blob *blobs; /* unsorted until graph_sort_blobs */
    uint32_t n_blobs, capacity;
    uint64_t text_bytes; /* of all documents: at most OCI_MANIFESTS_BYTES_MAX */
};
void graph_close(struct graph *g);

/* Reads a document as a new node; its blobs are added. Takes d's text on success. `media_type`: what the registry or
 * the naming descriptor says, "" for nothing. *children (caller frees): the entries of an index. ERR_FORMAT. */
MUST_CHECK bool graph_add(struct graph *g, struct registry_document *d, const char *media_type, enum graph_kind kind,
                          uint32_t depth, struct graph_child **children, uint32_t *n_children, struct error *err);
/* The same with everything below it, which `load` fetches: a document of this digest and size. Takes d's text. */
typedef bool (*graph_load_fn)(void *ctx, const struct graph_child *c, struct registry_document *out, struct error *err);
MUST_CHECK bool graph_add_tree(struct graph *g, struct registry_document *d, const char *media_type,
                               enum graph_kind kind, uint32_t depth, graph_load_fn load, void *ctx, struct error *err);
const struct graph_node *graph_find(const struct graph *g, const struct digest *d); /* NULL: not there */
/* The largest first, each once; one digest with two sizes is ERR_FORMAT. */
MUST_CHECK bool graph_sort_blobs(struct graph *g, struct error *err);
uint64_t graph_blob_bytes(const struct graph *g);
/* The tag of a node that has a name; false: it would be no tag. */
bool graph_named_tag(const char *root_tag, const char *name, char out[OCI_TAG_BYTES_MAX + 1]);
/* Whether a document is a ModelPack manifest whose layers are all blobs of the graph. */
bool graph_is_modelpack(const struct graph *g, struct bytes text);
/* "sha256-HEX.sig", ".att" or ".sbom": *of is the digest it is about. */
bool graph_legacy_tag(const char *tag, struct digest *of);
/* The entry for an index of referrers. *out: new reference. */
MUST_CHECK bool graph_descriptor(const struct graph_node *n, json_t **out, struct error *err);
/* The subject of a document, when it has one that can be read. */
bool graph_subject(struct bytes text, struct digest *out);
/* Puts a document that travels by its tag (pack/registry_tagged.c). When the registry has another one there, which
 * other signers may have made, ours is added to it: their layers stay, ours come behind, and a reading after a wait
 * finds all. */
MUST_CHECK bool registry_tagged_put(struct registry_line *l, const struct graph_node *n, struct error *err);
/* `theirs` with the layers of `ours` that it lacks. *missing: how many. For tests too. */
MUST_CHECK bool registry_tagged_merge(struct bytes theirs, struct bytes ours, const char *what, char **out,
                                      size_t *out_size, uint32_t *missing, struct error *err);
/* A document's shape, without a graph: for fuzzing. */
MUST_CHECK bool graph_document_check(struct bytes text, struct error *err);

/* ---- everything that belongs to a package ---------------------------------------------------------------------------
 */
struct oci_layout;
/* From a layout (pack/push_collect.c): what `tag` names in its index, and, with `referrers`, what refers to it. */
MUST_CHECK bool graph_from_layout(struct graph *g, const struct oci_layout *l, const char *tag, bool referrers,
                                  struct error *err);
/* From a repository (pack/pull_collect.c): what `ref` names. */
MUST_CHECK bool graph_from_registry(struct graph *g, struct registry_line *l, const struct registry_ref *ref,
                                    bool referrers, struct error *err);
/* The index of a layout as JSON. *out: new reference. */
MUST_CHECK bool graph_layout_index(const struct oci_layout *l, json_t **out, json_t **manifests, struct error *err);

#endif
