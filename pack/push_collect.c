/* What a tag of a layout names, and what in the layout refers to it. */
#include "core/cleanup.h"
#include "formats/oci_layout.h"
#include "pack/pack.h"
#include "pack/registry_graph.h"

#include <fcntl.h>

struct collecting {
    struct graph *g;
    const struct oci_layout *layout;
    json_t *entries; /* of index.json; borrowed */
};

bool graph_layout_index(const struct oci_layout *l, json_t **out, json_t **manifests, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    uint64_t version;
    *out = NULL;
    if (oci_layout_index_text(l, &text, err) &&
        json_parse(buffer_view(&text), JSON_DIALECT_STRICT, OCI_INDEX_FILE, out, err) &&
        json_get_u64(*out, "schemaVersion", OCI_INDEX_FILE, 2, 2, &version, err) &&
        json_get_array(*out, "manifests", OCI_INDEX_FILE, manifests, err)) {
        if (json_array_size(*manifests) <= OCI_MANIFESTS_MAX) return true;
        error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": has more than %u entries", OCI_MANIFESTS_MAX);
    }
    json_decref(*out);
    *out = NULL;
    return false;
}

static bool load(void *ctx, const struct graph_child *c, struct registry_document *out, struct error *err)
{
    const struct collecting *k = ctx;
    struct oci_descriptor d = {.digest = c->digest, .size = c->size};
    bool differs;
    *out = (struct registry_document){.digest = c->digest};
    if (oci_blob_load(k->layout, &d, OCI_DOCUMENT_BYTES_MAX, "manifest", &out->text, &differs, err)) return true;
    return differs ? error_class(err, "digest", "%s", "a manifest of the package is not the one that is named") : false;
}

/* The digest and size of an entry, when they can be read. */
static bool entry_child(const json_t *entry, struct graph_child *out)
{
    const char *digest = json_string_value(json_object_get(entry, "digest")),
               *type = json_string_value(json_object_get(entry, "mediaType"));
    json_int_t size = json_integer_value(json_object_get(entry, "size"));
    if (!digest || !oci_digest_parse(digest, &out->digest) || size < 0) return false;
    out->size = (uint64_t)size;
    snprintf(out->media_type, sizeof out->media_type, "%s", type ? type : "");
    return true;
}

static const char *entry_tag(const json_t *entry)
{
    return oci_annotation(json_object_get(entry, "annotations"), OCI_ANNOTATION_REF);
}

static bool add_root(struct collecting *k, const char *tag, struct error *err)
{
    const json_t *root = NULL;
    struct graph_child c;
    __attribute__((cleanup(cleanup_registry_document))) struct registry_document d = {0};
    for (size_t i = 0; i < json_array_size(k->entries); i++) {
        const json_t *entry = json_array_get(k->entries, i);
        const char *found = entry_tag(entry);
        if (!found || strcmp(found, tag) != 0) continue;
        if (root) return error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": tag '%s' is there twice", tag);
        root = entry;
    }
    if (!root) return error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": no image has the tag '%s'", tag);
    if (!entry_child(root, &c)) return error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": the entry '%s' is not whole", tag);
    return load(k, &c, &d, err) && graph_add_tree(k->g, &d, c.media_type, GRAPH_IMAGE, 0, load, k, err);
}

/* The ModelPack manifest of the same blobs, which has the root's tag and a word behind it. */
static bool add_modelpack(struct collecting *k, const char *tag, struct error *err)
{
    char wanted[OCI_TAG_BYTES_MAX + 1];
    if (!graph_named_tag(tag, PACK_MODELPACK_NAME, wanted)) return true;
    for (size_t i = 0; i < json_array_size(k->entries); i++) {
        const json_t *entry = json_array_get(k->entries, i);
        const char *found = entry_tag(entry);
        struct graph_child c;
        __attribute__((cleanup(cleanup_registry_document))) struct registry_document d = {0};
        if (!found || strcmp(found, wanted) != 0 || !entry_child(entry, &c) || graph_find(k->g, &c.digest)) continue;
        if (!load(k, &c, &d, err)) return false;
        if (!graph_is_modelpack(k->g, buffer_view(&d.text))) return true;
        uint32_t at = k->g->n_nodes;
        if (!graph_add_tree(k->g, &d, c.media_type, GRAPH_MODELPACK, 0, load, k, err)) return false;
        snprintf(k->g->nodes[at].name, sizeof k->g->nodes[at].name, "%s", PACK_MODELPACK_NAME);
        return true;
    }
    return true;
}

/* An entry that speaks of something in the graph. What cannot be read is not known to, and is another image's trouble;
 * what can and fails is this one's. */
static bool add_if_about(struct collecting *k, const json_t *entry, bool *added, struct error *err)
{
    struct graph_child c;
    struct digest subject;
    __attribute__((cleanup(cleanup_registry_document))) struct registry_document d = {0};
    struct error unread = ERROR_INIT;
    const char *tag = entry_tag(entry);
    *added = false;
    if (!entry_child(entry, &c) || graph_find(k->g, &c.digest)) return true;
    bool tagged = tag && graph_legacy_tag(tag, &subject) && graph_find(k->g, &subject);
    if (!load(k, &c, &d, &unread)) {
        if (!tagged && unread.code != ERR_MEMORY) return true;
        if (err) *err = unread;
        return false;
    }
    const struct graph_node *about = NULL;
    if (!tagged && (!graph_subject(buffer_view(&d.text), &subject) || !(about = graph_find(k->g, &subject))))
        return true;
    uint32_t depth = about && about->kind == GRAPH_REFERRER ? about->depth + 1 : 0, at = k->g->n_nodes;
    if (!graph_add_tree(k->g, &d, c.media_type, tagged ? GRAPH_TAGGED : GRAPH_REFERRER, depth, load, k, err))
        return false;
    if (tagged) snprintf(k->g->nodes[at].tag, sizeof k->g->nodes[at].tag, "%.128s", tag);
    *added = true;
    return true;
}

bool graph_from_layout(struct graph *g, const struct oci_layout *l, const char *tag, bool referrers, struct error *err)
{
    struct collecting k = {.g = g, .layout = l};
    CLEANUP(json) json_t *doc = NULL;
    if (!oci_layout_marker(l, err) || !graph_layout_index(l, &doc, &k.entries, err) || !add_root(&k, tag, err))
        return false;
    if (referrers && !add_modelpack(&k, tag, err)) return false;
    /* Until nothing new is found: a signature of an attestation may stand before it. */
    for (bool more = referrers; more;) {
        more = false;
        for (size_t i = 0; i < json_array_size(k.entries); i++) {
            bool added;
            if (!add_if_about(&k, json_array_get(k.entries, i), &added, err)) return false;
            more |= added;
        }
    }
    return graph_sort_blobs(g, err);
}
