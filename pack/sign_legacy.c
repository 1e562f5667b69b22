/* The legacy signature: one manifest per subject, under the tag sha256-HEX.sig; a further key, or a further reference,
 * is one more layer of it. */
#include "pack/sign_parts.h"

#include "formats/simple_signing.h"

struct legacy {
    struct oci_manifest old; /* `doc` NULL: there is none */
    struct oci_descriptor *layers;
    uint32_t n_layers;
    json_t *texts; /* of the new layer */
};

static void cleanup_legacy(struct legacy *g)
{
    oci_manifest_close(&g->old);
    free(g->layers);
    json_decref(g->texts);
}

/* What the tag names already. One that cannot be read is refused: a new one would throw signatures away. */
static bool load_old(const struct attach *a, const char *tag, struct legacy *g, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    const struct oci_descriptor *entry = NULL;
    for (uint32_t i = 0; i < a->n_entries; i++) {
        const char *t = oci_annotation(a->entries[i].annotations, OCI_ANNOTATION_REF);
        if (t && strcmp(t, tag) == 0) entry = &a->entries[i];
    }
    if (!entry) return true;
    if (!oci_blob_load(&a->layout, entry, OCI_DOCUMENT_BYTES_MAX, tag, &text, NULL, err) ||
        !oci_manifest_parse(buffer_view(&text), tag, &g->old, err))
        return false;
    if (g->old.n_layers < SIMPLE_SIGNATURES_MAX) return true;
    return error_set(err, ERR_FORMAT, "%s: has %u signatures already", tag, g->old.n_layers);
}

static bool find_own(const struct attach *a, const struct sign_options *o, const struct digest *image,
                     const struct legacy *g, bool *found, struct error *err)
{
    for (uint32_t i = 0; i < g->old.n_layers && !*found; i++) {
        CLEANUP(simple_signing) struct simple_signing s = {0};
        struct error unread = ERROR_INIT;
        bool differs;
        if (!simple_load(&a->layout, &g->old.layers[i], &s, &differs, &unread)) continue;
        if (digest_equal(&s.image, image) && strcmp(s.reference, o->docker_reference) == 0 &&
            !simple_verify(&s, o->key, found, err))
            return false;
    }
    return true;
}

/* Payload and its signature, as the last layer. */
static bool add_layer(struct attach *a, const struct sign_options *o, const struct digest *image, struct legacy *g,
                      struct error *err)
{
    uint8_t sig[SIGNATURE_BYTES_MAX];
    size_t n_sig = 0, n = 0;
    bool valid = false;
    CLEANUP(free) char *payload = NULL;
    CLEANUP(free) char *sig64 = NULL;
    struct oci_descriptor layer = {.media_type = SIMPLE_MEDIA};
    if (!simple_payload(o->docker_reference, image, &payload, &n, err) ||
        !key_sign(o->key, bytes_of(payload, n), sig, &n_sig, err) ||
        !key_verify(o->key, bytes_of(payload, n), bytes_of(sig, n_sig), &valid, err))
        return false;
    if (!valid) return error_set(err, ERR_INTERNAL, "a signature that was just made does not verify");
    if (!base64_encode(bytes_of(sig, n_sig), &sig64, err) || !attach_blob(a, bytes_of(payload, n), &layer, err))
        return false;
    g->texts = json_pack("{s:s}", SIMPLE_ANNOTATION_SIGNATURE, sig64);
    g->layers = calloc(g->old.n_layers + 1u, sizeof *g->layers);
    if (!g->texts || !g->layers) return error_memory(err, (g->old.n_layers + 1u) * sizeof *g->layers);
    layer.annotations = g->texts;
    if (g->old.n_layers) memcpy(g->layers, g->old.layers, g->old.n_layers * sizeof *g->layers);
    g->n_layers = g->old.n_layers;
    g->layers[g->n_layers++] = layer;
    return true;
}

bool sign_legacy(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject, bool *was_there,
                 struct error *err)
{
    char tag[SIMPLE_TAG_SIZE];
    CLEANUP(free) char *config = NULL;
    size_t n = 0;
    __attribute__((cleanup(cleanup_legacy))) struct legacy g = {0};
    simple_tag(&subject->digest, tag);
    if (!load_old(a, tag, &g, err) || !find_own(a, o, &subject->digest, &g, was_there, err)) return false;
    if (*was_there) return true;
    struct oci_manifest m = {.config = {.media_type = OCI_MEDIA_CONFIG}};
    if (!add_layer(a, o, &subject->digest, &g, err) || !simple_config(g.layers, g.n_layers, &config, &n, err) ||
        !attach_blob(a, bytes_of(config, n), &m.config, err))
        return false;
    m.layers = g.layers;
    m.n_layers = g.n_layers;
    return attach_tagged(a, tag, OCI_KIND_SIGNATURES, &m, g.old.doc ? &g.old : NULL, err);
}
