#include "pack/registry_graph.h"

#include "pack/pack.h"

static const struct {
    const char *name;
    bool is_index;
} media_types[] = {
    {OCI_MEDIA_MANIFEST, false},
    {OCI_MEDIA_INDEX, true},
    {"application/vnd.docker.distribution.manifest.v2+json", false},
    {"application/vnd.docker.distribution.manifest.list.v2+json", true},
};

void graph_close(struct graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) buffer_free(&g->nodes[i].text);
    free(g->nodes);
    free(g->order);
    free(g->blobs);
    *g = (struct graph){0};
}

const struct graph_node *graph_find(const struct graph *g, const struct digest *d)
{
    for (uint32_t i = 0; i < g->n_nodes; i++)
        if (digest_equal(&g->nodes[i].digest, d)) return &g->nodes[i];
    return NULL;
}

/* What is read of any descriptor. */
static bool read_descriptor(const json_t *j, const char *what, struct graph_child *out, struct error *err)
{
    const char *digest, *type = "";
    if (!json_get_string(j, "digest", what, &digest, err) ||
        !json_get_u64(j, "size", what, 0, OCI_BLOB_BYTES_MAX, &out->size, err) ||
        !json_opt_string(j, "mediaType", what, &type, err))
        return false;
    snprintf(out->media_type, sizeof out->media_type, "%s", type);
    const char *name = oci_annotation(json_object_get(j, "annotations"), PACK_ANNOTATION_PROFILE);
    snprintf(out->name, sizeof out->name, "%s", name && oci_tag_is_valid(name) ? name : "");
    if (oci_digest_parse(digest, &out->digest)) return true;
    return error_set(err, ERR_FORMAT, "%s: \"%.128s\" is not \"sha256:\" and 64 lower-case hex digits", what, digest);
}

static bool read_list(const json_t *doc, const char *key, uint32_t max, const char *what, struct graph_child **out,
                      uint32_t *n, struct error *err)
{
    json_t *list;
    if (!json_get_array(doc, key, what, &list, err)) return false;
    size_t size = json_array_size(list);
    if (size > max)
        return error_set(err, ERR_FORMAT, "%s: key '%s' has %zu items, at most %u are read", what, key, size, max);
    CLEANUP(free) struct graph_child *items = calloc(size + 1, sizeof *items);
    if (!items) return error_memory(err, size * sizeof *items);
    for (size_t i = 0; i < size; i++) {
        char where[160];
        snprintf(where, sizeof where, "%.128s: %s[%zu]", what, key, i);
        if (!read_descriptor(json_array_get(list, i), where, &items[i], err)) return false;
    }
    *n = (uint32_t)size;
    *out = take_ptr(&items);
    return true;
}

/* The kind that the document says, is said to be, and looks like: all the same. */
static bool read_kind(const json_t *doc, const char *media_type, const char *what, struct graph_node *n,
                      struct error *err)
{
    const char *own = "";
    bool index = json_object_get(doc, "manifests"),
         image = json_object_get(doc, "layers") || json_object_get(doc, "config");
    if (index && (image || json_object_get(doc, "fsLayers") || json_object_get(doc, "blobs")))
        return error_set(err, ERR_FORMAT, "%s: is a manifest and an index at once", what);
    if (!json_opt_string(doc, "mediaType", what, &own, err)) return false;
    if (*own && *media_type && strcmp(own, media_type) != 0)
        return error_set(err, ERR_FORMAT, "%s: expected media type \"%.128s\", found \"%.128s\"", what, media_type,
                         own);
    const char *type = *own ? own : media_type;
    for (size_t i = 0; i < sizeof media_types / sizeof *media_types; i++) {
        if (*type ? strcmp(media_types[i].name, type) != 0 : media_types[i].is_index != index) continue;
        n->media_type = media_types[i].name;
        n->is_index = media_types[i].is_index;
        if (n->is_index == index && image != index) return true;
        return error_set(err, ERR_FORMAT, "%s: \"%.128s\", but the document is %s", what, n->media_type,
                         index   ? "an index"
                         : image ? "a manifest"
                                 : "neither a manifest nor an index");
    }
    return error_set(err, ERR_UNSUPPORTED, "%s: media type \"%.128s\" is not one of an image or an index", what, type);
}

static bool add_blob(struct graph *g, const struct graph_child *c, struct error *err)
{
    if (g->n_blobs == GRAPH_BLOBS_MAX)
        return error_set(err, ERR_FORMAT, "the manifests name more than %u blobs", GRAPH_BLOBS_MAX);
    if (g->n_blobs == g->capacity) {
        uint32_t capacity = g->capacity ? 2 * g->capacity : 64;
        struct registry_blob *p = realloc(g->blobs, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        g->blobs = p;
        g->capacity = capacity;
    }
    g->blobs[g->n_blobs++] = (struct registry_blob){c->digest, c->size};
    return true;
}

static bool add_blobs(struct graph *g, const json_t *doc, const char *what, struct error *err)
{
    struct graph_child config;
    CLEANUP(free) struct graph_child *layers = NULL;
    uint32_t n = 0;
    char where[160];
    json_t *j;
    snprintf(where, sizeof where, "%.128s: config", what);
    if (!json_get_object(doc, "config", what, &j, err) || !read_descriptor(j, where, &config, err) ||
        !read_list(doc, "layers", OCI_LAYERS_MAX, what, &layers, &n, err) || !add_blob(g, &config, err))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!add_blob(g, &layers[i], err)) return false;
    return true;
}

/* Goes into JSON of ours; a media type, or nothing. */
static void read_artifact_type(const json_t *doc, struct graph_node *n)
{
    const char *type = json_string_value(json_object_get(doc, "artifactType"));
    if (!type) type = json_string_value(json_object_get(json_object_get(doc, "config"), "mediaType"));
    if (type && strlen(type) < sizeof n->artifact_type) snprintf(n->artifact_type, sizeof n->artifact_type, "%s", type);
}

static bool read_document(struct graph *g, struct bytes text, const char *media_type, const char *what,
                          struct graph_node *n, struct graph_child **children, uint32_t *n_children, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    struct graph_child subject;
    uint64_t version;
    json_t *j;
    char where[160];
    if (text.size > OCI_DOCUMENT_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "%s: has %zu bytes, at most %zu are read", what, text.size,
                         OCI_DOCUMENT_BYTES_MAX);
    if (!json_parse(text, JSON_DIALECT_STRICT, what, &doc, err) ||
        !json_get_u64(doc, "schemaVersion", what, 2, 2, &version, err) || !read_kind(doc, media_type, what, n, err))
        return false;
    snprintf(where, sizeof where, "%.128s: subject", what);
    if (json_has(doc, "subject")) {
        if (!json_get_object(doc, "subject", what, &j, err) || !read_descriptor(j, where, &subject, err)) return false;
        n->has_subject = true;
        n->subject = subject.digest;
    }
    read_artifact_type(doc, n);
    return n->is_index ? read_list(doc, "manifests", OCI_MANIFESTS_MAX, what, children, n_children, err)
                       : add_blobs(g, doc, what, err);
}

bool graph_add(struct graph *g, struct registry_document *d, const char *media_type, enum graph_kind kind,
               uint32_t depth, struct graph_child **children, uint32_t *n_children, struct error *err)
{
    struct graph_node n = {.digest = d->digest, .kind = kind, .depth = depth};
    char what[32];
    snprintf(what, sizeof what, "manifest %02x%02x%02x%02x%02x%02x...", d->digest.bytes[0], d->digest.bytes[1],
             d->digest.bytes[2], d->digest.bytes[3], d->digest.bytes[4], d->digest.bytes[5]);
    *children = NULL;
    *n_children = 0;
    if (depth > GRAPH_DEPTH_MAX)
        return error_set(err, ERR_FORMAT, "%s: is nested more than %u deep", what, GRAPH_DEPTH_MAX);
    if (g->n_nodes == OCI_MANIFESTS_MAX)
        return error_set(err, ERR_FORMAT, "the package has more than %u manifests", OCI_MANIFESTS_MAX);
    if (d->text.size > OCI_MANIFESTS_BYTES_MAX - g->text_bytes)
        return error_set(err, ERR_FORMAT, "the package's manifests have more than %llu bytes",
                         (unsigned long long)OCI_MANIFESTS_BYTES_MAX);
    struct graph_node *nodes = realloc(g->nodes, (g->n_nodes + 1u) * sizeof *nodes);
    if (!nodes) return error_memory(err, (g->n_nodes + 1u) * sizeof *nodes);
    g->nodes = nodes;
    uint32_t *order = realloc(g->order, (g->n_nodes + 1u) * sizeof *order);
    if (!order) return error_memory(err, (g->n_nodes + 1u) * sizeof *order);
    g->order = order;
    if (!read_document(g, buffer_view(&d->text), media_type, what, &n, children, n_children, err)) {
        free(*children);
        *children = NULL;
        return false;
    }
    n.text = d->text;
    d->text = (struct buffer){0};
    g->text_bytes += n.text.size;
    g->nodes[g->n_nodes++] = n;
    return true;
}

/* At most GRAPH_DEPTH_MAX deep: graph_add refuses more. */
static bool add_below(struct graph *g, struct registry_document *d, const char *media_type, enum graph_kind kind,
                      uint32_t depth, graph_load_fn load, void *ctx, struct error *err)
{
    struct graph_child *list;
    uint32_t n, at = g->n_nodes;
    if (!graph_add(g, d, media_type, kind, depth, &list, &n, err)) return false;
    CLEANUP(free) struct graph_child *children = list;
    for (uint32_t i = 0; i < n; i++) {
        __attribute__((cleanup(cleanup_registry_document))) struct registry_document child = {0};
        if (graph_find(g, &children[i].digest)) continue;
        if (!load(ctx, &children[i], &child, err) ||
            !add_below(g, &child, children[i].media_type, kind, depth + 1, load, ctx, err))
            return false;
        if (kind != GRAPH_IMAGE || depth > 0) continue;
        for (uint32_t k = at; k < g->n_nodes; k++)
            if (digest_equal(&g->nodes[k].digest, &children[i].digest))
                snprintf(g->nodes[k].name, sizeof g->nodes[k].name, "%s", children[i].name);
    }
    g->order[g->n_order++] = at;
    return true;
}

bool graph_add_tree(struct graph *g, struct registry_document *d, const char *media_type, enum graph_kind kind,
                    uint32_t depth, graph_load_fn load, void *ctx, struct error *err)
{
    uint32_t at = g->n_nodes;
    if (!add_below(g, d, media_type, kind, depth, load, ctx, err)) return false;
    g->nodes[at].is_top = true;
    return true;
}

bool graph_subject(struct bytes text, struct digest *out)
{
    CLEANUP(json) json_t *doc = NULL;
    const char *digest;
    if (!json_parse(text, JSON_DIALECT_STRICT, "document", &doc, NULL)) return false;
    digest = json_string_value(json_object_get(json_object_get(doc, "subject"), "digest"));
    return digest && oci_digest_parse(digest, out);
}

static int by_digest(const void *a, const void *b)
{
    const struct registry_blob *x = a, *y = b;
    return memcmp(x->digest.bytes, y->digest.bytes, DIGEST_BYTES);
}

static int by_size(const void *a, const void *b)
{
    const struct registry_blob *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    return by_digest(a, b);
}

bool graph_sort_blobs(struct graph *g, struct error *err)
{
    uint32_t n = 0;
    if (g->n_blobs) qsort(g->blobs, g->n_blobs, sizeof *g->blobs, by_digest);
    for (uint32_t i = 0; i < g->n_blobs; i++) {
        if (n == 0 || !digest_equal(&g->blobs[n - 1].digest, &g->blobs[i].digest)) {
            g->blobs[n++] = g->blobs[i];
            continue;
        }
        char digest[OCI_DIGEST_SIZE];
        oci_digest_text(&g->blobs[i].digest, digest);
        if (g->blobs[n - 1].size != g->blobs[i].size)
            return error_set(err, ERR_FORMAT, "blob %s is said to have %llu bytes and %llu bytes", digest,
                             (unsigned long long)g->blobs[n - 1].size, (unsigned long long)g->blobs[i].size);
    }
    g->n_blobs = n;
    if (n) qsort(g->blobs, n, sizeof *g->blobs, by_size);
    return true;
}

uint64_t graph_blob_bytes(const struct graph *g)
{
    uint64_t sum = 0; /* 2^14 of at most 2^47 fit */
    for (uint32_t i = 0; i < g->n_blobs; i++) sum += g->blobs[i].size;
    return sum;
}

bool graph_named_tag(const char *root_tag, const char *name, char out[OCI_TAG_BYTES_MAX + 1])
{
    int n = snprintf(out, OCI_TAG_BYTES_MAX + 1, "%s-%s", root_tag, name);
    return n > 0 && (unsigned)n <= OCI_TAG_BYTES_MAX && oci_tag_is_valid(out);
}

bool graph_is_modelpack(const struct graph *g, struct bytes text)
{
    CLEANUP(json) json_t *doc = NULL;
    CLEANUP(free) struct graph_child *layers = NULL;
    const char *type;
    uint32_t n = 0;
    if (!json_parse(text, JSON_DIALECT_STRICT, "manifest", &doc, NULL) ||
        !(type = json_string_value(json_object_get(doc, "artifactType"))) || strcmp(type, GRAPH_MODELPACK_MEDIA) != 0 ||
        !read_list(doc, "layers", OCI_LAYERS_MAX, "manifest", &layers, &n, NULL))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        bool known = false;
        for (uint32_t k = 0; k < g->n_blobs && !known; k++)
            known = digest_equal(&layers[i].digest, &g->blobs[k].digest);
        if (!known) return false;
    }
    return true;
}

bool graph_legacy_tag(const char *tag, struct digest *of)
{
    char hex[DIGEST_HEX_SIZE];
    if (strncmp(tag, "sha256-", 7) != 0 || strlen(tag) < 7 + 64 + 1) return false;
    const char *end = tag + 7 + 64;
    memcpy(hex, tag + 7, 64);
    hex[64] = '\0';
    return (strcmp(end, ".sig") == 0 || strcmp(end, ".att") == 0 || strcmp(end, ".sbom") == 0) && digest_parse(hex, of);
}

bool graph_descriptor(const struct graph_node *n, json_t **out, struct error *err)
{
    char digest[OCI_DIGEST_SIZE];
    oci_digest_text(&n->digest, digest);
    CLEANUP(json)
    json_t *j =
        json_pack("{s:s,s:s,s:I}", "mediaType", n->media_type, "digest", digest, "size", (json_int_t)n->text.size);
    if (!j) return error_memory(err, 0);
    if (*n->artifact_type && !json_put(j, "artifactType", json_string(n->artifact_type), err)) return false;
    *out = take_ptr(&j);
    return true;
}

bool graph_document_check(struct bytes text, struct error *err)
{
    struct graph g = {0};
    struct graph_node n = {0};
    struct graph_child *children = NULL;
    uint32_t n_children = 0;
    bool ok = read_document(&g, text, "", "document", &n, &children, &n_children, err);
    free(children);
    graph_close(&g);
    return ok;
}
