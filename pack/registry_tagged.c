/* Documents that travel by a tag of their own: cosign's older signatures and attestations are layers of one manifest
 * that all signers share. */
#include "pack/registry_graph.h"

#include <time.h>

#define ROUNDS_MAX 20u
#define SETTLE_MS 400 /* as in registry_referrers.c */

/* One payload has one digest whoever signs it: the signature is in the annotations. */
static bool has_layer(const json_t *layers, const json_t *layer)
{
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *l = json_array_get(layers, i);
        if (json_equal(json_object_get(l, "digest"), json_object_get(layer, "digest")) &&
            json_equal(json_object_get(l, "annotations"), json_object_get(layer, "annotations")))
            return true;
    }
    return false;
}

bool registry_tagged_merge(struct bytes theirs, struct bytes ours, const char *what, char **out, size_t *out_size,
                           uint32_t *missing, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    CLEANUP(json) json_t *own = NULL;
    json_t *layers, *own_layers;
    *out = NULL;
    *missing = 0;
    if (!json_parse(ours, JSON_DIALECT_STRICT, what, &own, err) ||
        !json_get_array(own, "layers", what, &own_layers, err) ||
        !json_parse(theirs, JSON_DIALECT_STRICT, what, &doc, err) || !json_get_array(doc, "layers", what, &layers, err))
        return false;
    for (size_t i = 0; i < json_array_size(own_layers); i++) {
        json_t *layer = json_array_get(own_layers, i);
        if (has_layer(layers, layer)) continue;
        /* json_equal takes two absent members for unlike: an object without a digest is added, and refused there. */
        if (json_array_append(layers, layer) != 0) return error_memory(err, 0);
        ++*missing;
    }
    if (json_array_size(layers) > OCI_LAYERS_MAX)
        return error_set(err, ERR_FORMAT, "%s: would have more than %u layers", what, OCI_LAYERS_MAX);
    return json_canonical(doc, out, out_size, err);
}

static bool put_once(struct registry_line *l, const struct graph_node *n, uint32_t *missing, struct error *err)
{
    __attribute__((cleanup(cleanup_registry_document))) struct registry_document d = {0};
    CLEANUP(free) char *text = NULL;
    size_t size = n->text.size;
    bool found, conflict = false;
    if (!registry_manifest_get(l, n->tag, NULL, &d, &found, err)) return false;
    *missing = !found;
    if (found && digest_equal(&d.digest, &n->digest)) return true;
    if (found &&
        !registry_tagged_merge(buffer_view(&d.text), buffer_view(&n->text), n->tag, &text, &size, missing, err))
        return false;
    if (*missing == 0) return true;
    struct manifest_put p = {.name = n->tag,
                             .media_type = n->media_type,
                             .text = text ? bytes_of(text, size) : buffer_view(&n->text),
                             .etag = found ? d.etag : ""};
    bool conditional = !found || *d.etag;
    return registry_manifest_put(l, &p, NULL, conditional ? &conflict : NULL, err);
}

bool registry_tagged_put(struct registry_line *l, const struct graph_node *n, struct error *err)
{
    for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
        uint32_t missing;
        if (!put_once(l, n, &missing, err)) return false;
        if (missing == 0) return true;
        nanosleep(&(struct timespec){.tv_nsec = SETTLE_MS * 1000000L}, NULL);
        if (!progress_go_on(registry_options(l->registry)->progress, err)) return false;
    }
    return error_set(err, ERR_NETWORK, "the registry forgets what is written to the tag '%s'", n->tag);
}
