#include "formats/oci_base.h"

#include "formats/oci_descriptor.h"

void oci_base_close(struct oci_base *b)
{
    json_decref(b->manifest);
    json_decref(b->config);
    json_decref(b->history);
    free(b->layers);
    free(b->diff_ids);
    *b = (struct oci_base){0};
}

static bool load_json(const struct oci_layout *l, const struct oci_descriptor *d, const char *what, json_t **out,
                      struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    return oci_blob_load(l, d, OCI_DOCUMENT_BYTES_MAX, what, &text, NULL, err) &&
           json_parse(buffer_view(&text), JSON_DIALECT_STRICT, what, out, err);
}

static bool read_manifest(struct oci_base *b, struct oci_descriptor *config, struct error *err)
{
    static const char what[] = "base manifest";
    json_t *j;
    if (!json_get_object(b->manifest, "config", what, &j, err) || !oci_descriptor_parse(j, what, config, err) ||
        !oci_descriptors_parse(b->manifest, "layers", OCI_BASE_LAYERS_MAX, what, &b->layers, &b->n_layers, err))
        return false;
    /* umoci writes no media type; what another one says is not an image. */
    if (!oci_fixed(b->manifest, "mediaType", OCI_MEDIA_MANIFEST, true, what, err) ||
        json_object_get(b->manifest, "manifests") || strcmp(config->media_type, OCI_MEDIA_CONFIG) != 0)
        return error_set(err, ERR_UNSUPPORTED, "%s: is not an OCI image", what);
    for (uint32_t i = 0; i < b->n_layers; i++) {
        b->layers[i].annotations = NULL;
        b->layers[i].artifact_type = NULL;
    }
    return true;
}

static bool read_diff_ids(struct oci_base *b, struct error *err)
{
    static const char what[] = "base config";
    json_t *rootfs, *list;
    if (!json_get_object(b->config, "rootfs", what, &rootfs, err) ||
        !json_get_array(rootfs, "diff_ids", what, &list, err))
        return false;
    if (json_array_size(list) != b->n_layers)
        return error_set(err, ERR_FORMAT, "%s: has %zu diff ids, the manifest has %u layers", what,
                         json_array_size(list), b->n_layers);
    b->diff_ids = calloc(b->n_layers + 1u, sizeof *b->diff_ids);
    if (!b->diff_ids) return error_memory(err, b->n_layers * sizeof *b->diff_ids);
    for (uint32_t i = 0; i < b->n_layers; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v) || !oci_digest_parse(json_string_value(v), &b->diff_ids[i]))
            return error_set(err, ERR_FORMAT, "%s: diff_ids[%u]: expected a sha256 digest, found %s", what, i,
                             json_brief(v));
    }
    return true;
}

/* One entry with the members that the specification has, each of its type. */
static json_t *history_entry(const json_t *from)
{
    static const char *const texts[] = {"created", "created_by", "author", "comment"};
    json_t *out = json_object();
    for (size_t i = 0; out && i < sizeof texts / sizeof *texts; i++) {
        const char *v = json_string_value(json_object_get(from, texts[i]));
        if (v) json_object_set_new(out, texts[i], json_string(v));
    }
    if (out && json_is_true(json_object_get(from, "empty_layer"))) json_object_set_new(out, "empty_layer", json_true());
    return out;
}

/* A history that does not tell of every layer once (it is optional) is replaced by one that says nothing. */
static bool read_history(struct oci_base *b, struct error *err)
{
    const json_t *entry, *list = json_object_get(b->config, "history");
    size_t i, n = 0;
    b->history = json_array();
    if (!b->history) return error_memory(err, 0);
    json_array_foreach (list, i, entry) {
        if (json_array_append_new(b->history, history_entry(entry)) != 0) return error_memory(err, 0);
        n += !json_is_true(json_object_get(entry, "empty_layer"));
    }
    if (n == b->n_layers) return true;
    json_array_clear(b->history);
    for (i = 0; i < b->n_layers; i++)
        if (json_array_append_new(b->history, json_pack("{s:s}", "created_by", "base")) != 0)
            return error_memory(err, 0);
    return true;
}

static bool read_config(struct oci_base *b, struct error *err)
{
    static const char what[] = "base config";
    json_t *settings = NULL;
    if (!json_get_string(b->config, "architecture", what, &b->architecture, err) ||
        !json_get_string(b->config, "os", what, &b->os, err))
        return false;
    if (json_has(b->config, "config") && !json_get_object(b->config, "config", what, &settings, err)) return false;
    b->settings = settings;
    return read_diff_ids(b, err) && read_history(b, err);
}

static bool open_base(struct oci_base *b, const struct oci_layout *l, const char *tag, const struct digest *wanted,
                      struct error *err)
{
    CLEANUP(oci_index) struct oci_index index = {0};
    struct oci_descriptor config;
    char a[OCI_DIGEST_SIZE], c[OCI_DIGEST_SIZE];
    if (!oci_layout_marker(l, err) || !oci_layout_index(l, &index, err)) return false;
    const struct oci_descriptor *d = oci_index_find(&index, tag);
    if (!d) return error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": no image has the tag '%s'", tag);
    b->digest = d->digest;
    if (wanted && !digest_equal(wanted, &d->digest)) {
        oci_digest_text(wanted, a);
        oci_digest_text(&d->digest, c);
        return error_set(err, ERR_FORMAT, "the base must be %s, '%s' is %s", a, tag, c);
    }
    if (strcmp(d->media_type, OCI_MEDIA_MANIFEST) != 0)
        return error_set(err, ERR_UNSUPPORTED, "'%s' names an index of images; a base is one image", tag);
    return load_json(l, d, "base manifest", &b->manifest, err) && read_manifest(b, &config, err) &&
           load_json(l, &config, "base config", &b->config, err) && read_config(b, err);
}

bool oci_base_open(struct oci_base *b, const struct oci_layout *l, const char *tag, const struct digest *wanted,
                   struct error *err)
{
    *b = (struct oci_base){0};
    if (open_base(b, l, tag, wanted, err)) return true;
    oci_base_close(b);
    return false;
}
