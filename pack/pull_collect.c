/* What a name in a registry stands for, and what there refers to it. */
#include "core/cleanup.h"
#include "pack/pack.h"
#include "pack/registry_graph.h"

struct collecting {
    struct graph *g;
    struct registry_line *line;
};

static bool get(struct registry_line *l, const struct digest *d, uint64_t size, struct registry_document *out,
                struct error *err)
{
    char name[OCI_DIGEST_SIZE];
    bool found;
    oci_digest_text(d, name);
    if (!registry_manifest_get(l, name, d, out, &found, err)) return false;
    if (!found) return error_set(err, ERR_NETWORK, "manifest %s: the registry names it and does not have it", name);
    if (out->text.size == size) return true;
    return error_class(err, "digest", "manifest %s: expected %llu bytes, found %zu", name, (unsigned long long)size,
                       out->text.size);
}

static bool load(void *ctx, const struct graph_child *c, struct registry_document *out, struct error *err)
{
    const struct collecting *k = ctx;
    if (c->size > OCI_DOCUMENT_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "a manifest of %llu bytes is named; at most %zu are read",
                         (unsigned long long)c->size, OCI_DOCUMENT_BYTES_MAX);
    return get(k->line, &c->digest, c->size, out, err);
}

static bool add_root(struct collecting *k, const struct registry_ref *ref, struct error *err)
{
    __attribute__((cleanup(cleanup_registry_document))) struct registry_document d = {0};
    char digest[OCI_DIGEST_SIZE];
    oci_digest_text(&ref->digest, digest);
    const char *name = ref->has_digest ? digest : *ref->tag ? ref->tag : OCI_TAG_DEFAULT;
    bool found;
    if (!registry_manifest_get(k->line, name, ref->has_digest ? &ref->digest : NULL, &d, &found, err)) return false;
    if (!found)
        return error_set(err, ERR_NETWORK, "the registry has no '%s' in %s/%s", name, ref->host, ref->repository);
    char type[sizeof d.media_type];
    snprintf(type, sizeof type, "%s", d.media_type);
    return graph_add_tree(k->g, &d, type, GRAPH_IMAGE, 0, load, k, err);
}

static bool add_referrers(struct collecting *k, uint32_t node, struct error *err)
{
    struct registry_referrer *list;
    uint32_t n;
    struct digest subject = k->g->nodes[node].digest;
    uint32_t depth = k->g->nodes[node].kind == GRAPH_REFERRER ? k->g->nodes[node].depth + 1 : 0;
    if (!registry_referrers(k->line, &subject, &list, &n, err)) return false;
    CLEANUP(free) struct registry_referrer *items = list;
    for (uint32_t i = 0; i < n; i++) {
        __attribute__((cleanup(cleanup_registry_document))) struct registry_document d = {0};
        struct digest about;
        if (graph_find(k->g, &items[i].digest)) continue;
        if (!get(k->line, &items[i].digest, items[i].size, &d, err)) return false;
        /* A list may be wrong, or old; what does not speak of this subject does not belong to it. */
        if (!graph_subject(buffer_view(&d.text), &about) || !digest_equal(&about, &subject)) continue;
        char type[sizeof d.media_type];
        snprintf(type, sizeof type, "%s", d.media_type);
        struct error own = ERROR_INIT;
        if (graph_add_tree(k->g, &d, type, GRAPH_REFERRER, depth, load, k, &own)) continue;
        if (own.code != ERR_UNSUPPORTED) {
            if (err) *err = own;
            return false;
        }
        /* Anybody who may push can attach things; one of a kind that we do not carry must not bar the image. */
        progress_note(registry_options(k->line->registry)->progress, "pull", "left out: %s", own.text);
    }
    return true;
}

static bool add_tagged(struct collecting *k, uint32_t node, struct error *err)
{
    static const char *const ends[] = {"sig", "att", "sbom"};
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&k->g->nodes[node].digest, hex);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        __attribute__((cleanup(cleanup_registry_document))) struct registry_document d = {0};
        char tag[OCI_TAG_BYTES_MAX + 1];
        bool found;
        snprintf(tag, sizeof tag, "sha256-%s.%s", hex, ends[i]);
        if (!registry_manifest_get(k->line, tag, NULL, &d, &found, err)) return false;
        if (!found || graph_find(k->g, &d.digest)) continue;
        char type[sizeof d.media_type];
        snprintf(type, sizeof type, "%s", d.media_type);
        uint32_t at = k->g->n_nodes;
        if (!graph_add_tree(k->g, &d, type, GRAPH_TAGGED, 0, load, k, err)) return false;
        snprintf(k->g->nodes[at].tag, sizeof k->g->nodes[at].tag, "%s", tag);
    }
    return true;
}

static bool add_modelpack(struct collecting *k, const struct registry_ref *ref, struct error *err)
{
    __attribute__((cleanup(cleanup_registry_document))) struct registry_document d = {0};
    const char *root = *ref->tag ? ref->tag : ref->has_digest ? NULL : OCI_TAG_DEFAULT;
    char tag[OCI_TAG_BYTES_MAX + 1];
    bool found;
    if (!root || !graph_named_tag(root, PACK_MODELPACK_NAME, tag)) return true;
    if (!registry_manifest_get(k->line, tag, NULL, &d, &found, err)) return false;
    /* A tag can be anybody's: what is not over the same blobs is another thing. */
    if (!found || graph_find(k->g, &d.digest) || !graph_is_modelpack(k->g, buffer_view(&d.text))) return true;
    char type[sizeof d.media_type];
    snprintf(type, sizeof type, "%s", d.media_type);
    uint32_t at = k->g->n_nodes;
    if (!graph_add_tree(k->g, &d, type, GRAPH_MODELPACK, 0, load, k, err)) return false;
    snprintf(k->g->nodes[at].name, sizeof k->g->nodes[at].name, "%s", PACK_MODELPACK_NAME);
    return true;
}

bool graph_from_registry(struct graph *g, struct registry_line *l, const struct registry_ref *ref, bool referrers,
                         struct error *err)
{
    struct collecting k = {.g = g, .line = l};
    if (!add_root(&k, ref, err) || (referrers && !add_modelpack(&k, ref, err))) return false;
    /* The list grows while it is gone through: a signature may itself be attested. */
    for (uint32_t i = 0; referrers && i < g->n_nodes; i++) {
        if (!add_referrers(&k, i, err)) return false;
        if (g->nodes[i].kind == GRAPH_IMAGE && !add_tagged(&k, i, err)) return false;
    }
    return graph_sort_blobs(g, err);
}
