/* The image config. Ours says nothing but what a runtime needs to unpack the layers: nothing is run from a model. */
#include "formats/oci_descriptor.h"

#define ARCHITECTURE "amd64"
#define OS "linux"

void oci_config_close(struct oci_config *c)
{
    json_decref(c->doc);
    free(c->diff_ids);
    free(c->created_by);
    *c = (struct oci_config){0};
}

static bool read_diff_ids(struct oci_config *c, const json_t *list, const char *what, struct error *err)
{
    for (uint32_t i = 0; i < c->n_layers; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v) || !oci_digest_parse(json_string_value(v), &c->diff_ids[i]))
            return error_set(err, ERR_FORMAT, "%s: diff_ids[%u]: expected a sha256 digest, found %s", what, i,
                             json_brief(v));
    }
    return true;
}

static bool read_history(struct oci_config *c, const json_t *list, const char *what, struct error *err)
{
    static const char *const keys[] = {"created", "created_by", NULL};
    for (uint32_t i = 0; i < c->n_layers; i++) {
        char where[256];
        snprintf(where, sizeof where, "%.200s: history[%u]", what, i);
        const json_t *v = json_array_get(list, i);
        if (!json_known_keys(v, where, keys, err) || !oci_fixed(v, "created", OCI_CREATED, false, where, err) ||
            !json_get_string(v, "created_by", where, &c->created_by[i], err))
            return false;
        if (strlen(c->created_by[i]) > OCI_TEXT_BYTES_MAX)
            return error_set(err, ERR_FORMAT, "%s: created_by is too long", where);
    }
    return true;
}

static bool read_config(struct oci_config *c, const char *what, struct error *err)
{
    static const char *const keys[] = {"created", "architecture", "os", "config", "rootfs", "history", NULL};
    static const char *const rootfs_keys[] = {"type", "diff_ids", NULL};
    json_t *config, *rootfs, *diff_ids, *history;
    char where[256];
    snprintf(where, sizeof where, "%.200s: rootfs", what);
    if (!json_known_keys(c->doc, what, keys, err) || !oci_fixed(c->doc, "created", OCI_CREATED, false, what, err) ||
        !oci_fixed(c->doc, "architecture", ARCHITECTURE, false, what, err) ||
        !oci_fixed(c->doc, "os", OS, false, what, err) || !json_get_object(c->doc, "config", what, &config, err) ||
        !json_get_object(c->doc, "rootfs", what, &rootfs, err) || !json_known_keys(rootfs, where, rootfs_keys, err) ||
        !oci_fixed(rootfs, "type", "layers", false, where, err) ||
        !json_get_array(rootfs, "diff_ids", where, &diff_ids, err) ||
        !json_get_array(c->doc, "history", what, &history, err))
        return false;
    if (json_object_size(config) != 0)
        return error_set(err, ERR_FORMAT, "%s: key 'config': expected an empty object, found %zu members", what,
                         json_object_size(config));
    size_t n = json_array_size(diff_ids);
    if (n > OCI_LAYERS_MAX)
        return error_set(err, ERR_FORMAT, "%s: has %zu diff_ids, at most %u are read", what, n, OCI_LAYERS_MAX);
    if (json_array_size(history) != n)
        return error_set(err, ERR_FORMAT, "%s: has %zu diff_ids and %zu history entries", what, n,
                         json_array_size(history));
    c->n_layers = (uint32_t)n;
    c->diff_ids = calloc(n + 1, sizeof *c->diff_ids);
    c->created_by = calloc(n + 1, sizeof *c->created_by);
    if (!c->diff_ids || !c->created_by) return error_memory(err, n * sizeof *c->diff_ids);
    return read_diff_ids(c, diff_ids, what, err) && read_history(c, history, what, err);
}

bool oci_config_parse(struct bytes text, const char *what, struct oci_config *out, struct error *err)
{
    *out = (struct oci_config){0};
    if (text.size > OCI_DOCUMENT_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "%s: has %zu bytes, at most %zu are read", what, text.size,
                         OCI_DOCUMENT_BYTES_MAX);
    if (json_parse(text, JSON_DIALECT_STRICT, what, &out->doc, err) && read_config(out, what, err)) return true;
    oci_config_close(out);
    return false;
}

bool oci_config_text(const struct oci_config *c, char **out, size_t *out_size, struct error *err)
{
    CLEANUP(json) json_t *diff_ids = json_array(), *history = json_array();
    if (!diff_ids || !history) return error_memory(err, 0);
    for (uint32_t i = 0; i < c->n_layers; i++) {
        char digest[OCI_DIGEST_SIZE];
        oci_digest_text(&c->diff_ids[i], digest);
        if (json_array_append_new(diff_ids, json_string(digest)) != 0 ||
            json_array_append_new(history,
                                  json_pack("{s:s,s:s}", "created", OCI_CREATED, "created_by", c->created_by[i])) != 0)
            return error_memory(err, 0);
    }
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:s,s:s,s:{},s:{s:s,s:O},s:O}", "created", OCI_CREATED, "architecture", ARCHITECTURE,
                          "os", OS, "config", "rootfs", "type", "layers", "diff_ids", diff_ids, "history", history);
    return j ? json_canonical(j, out, out_size, err) : error_memory(err, 0);
}
