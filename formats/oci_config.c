/* The image config. One without a base says nothing but what a runtime needs to unpack the layers: nothing is run from
 * a model. One with a base has the base's settings and history too. */
#include "formats/oci_descriptor.h"

#include <errno.h>
#include <time.h>

#define YEAR_10000 ((uint64_t)253402300800) /* seconds: the first that does not have four digits of years */

void oci_config_close(struct oci_config *c)
{
    json_decref(c->doc);
    free(c->diff_ids);
    free(c->created_by);
    *c = (struct oci_config){0};
}

bool oci_created(char out[OCI_CREATED_SIZE], struct error *err)
{
    const char *text = getenv("SOURCE_DATE_EPOCH");
    uint64_t seconds = 0;
    char *end = NULL;
    strcpy(out, OCI_CREATED);
    if (!text || !*text) return true;
    errno = 0;
    if (*text >= '0' && *text <= '9') seconds = strtoull(text, &end, 10);
    if (!end || *end || errno || seconds >= YEAR_10000)
        return error_set(err, ERR_USAGE, "SOURCE_DATE_EPOCH: expected seconds since 1970, found '%.64s'", text);
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, OCI_CREATED_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return true;
}

bool oci_created_is_valid(const char *text)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
    if (strlen(text) != sizeof shape - 1) return false;
    for (size_t i = 0; i < sizeof shape - 1; i++)
        if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i]) return false;
    return true;
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

/* Entries that made no layer belong to a base (its ENV and ENTRYPOINT lines). */
static bool read_history(struct oci_config *c, const json_t *list, const char *what, struct error *err)
{
    static const char *const keys[] = {"created", "created_by", "author", "comment", "empty_layer", NULL};
    uint32_t n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        char where[256];
        const char *created = NULL, *by = NULL;
        bool empty = false;
        snprintf(where, sizeof where, "%.200s: history[%zu]", what, i);
        const json_t *v = json_array_get(list, i);
        if (!json_known_keys(v, where, keys, err) || !json_opt_string(v, "created", where, &created, err) ||
            !json_opt_string(v, "created_by", where, &by, err) || !json_opt_bool(v, "empty_layer", where, &empty, err))
            return false;
        if (empty) continue;
        if (n < c->n_layers) c->created_by[n] = by;
        n++;
    }
    if (n == c->n_layers) return true;
    return error_set(err, ERR_FORMAT, "%s: has %u diff_ids and %u history entries", what, c->n_layers, n);
}

static bool read_config(struct oci_config *c, const char *what, struct error *err)
{
    static const char *const keys[] = {"created", "architecture", "os", "config", "rootfs", "history", NULL};
    static const char *const rootfs_keys[] = {"type", "diff_ids", NULL};
    json_t *settings, *rootfs, *diff_ids, *history;
    char where[256];
    snprintf(where, sizeof where, "%.200s: rootfs", what);
    if (!json_known_keys(c->doc, what, keys, err) || !json_get_string(c->doc, "created", what, &c->created, err) ||
        !json_get_string(c->doc, "architecture", what, &c->architecture, err) ||
        !json_get_string(c->doc, "os", what, &c->os, err) || !json_get_object(c->doc, "config", what, &settings, err) ||
        !json_get_object(c->doc, "rootfs", what, &rootfs, err) || !json_known_keys(rootfs, where, rootfs_keys, err) ||
        !oci_fixed(rootfs, "type", "layers", false, where, err) ||
        !json_get_array(rootfs, "diff_ids", where, &diff_ids, err) ||
        !json_get_array(c->doc, "history", what, &history, err))
        return false;
    if (!oci_created_is_valid(c->created))
        return error_set(err, ERR_FORMAT,
                         "%s: key 'created': expected a time like \"" OCI_CREATED "\", found \"%.64s\"", what,
                         c->created);
    size_t n = json_array_size(diff_ids);
    if (n > OCI_LAYERS_MAX)
        return error_set(err, ERR_FORMAT, "%s: has %zu diff_ids, at most %u are read", what, n, OCI_LAYERS_MAX);
    c->settings = settings;
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

bool oci_config_check_data(const struct oci_config *c, const char *what, struct error *err)
{
    static const char *const keys[] = {"created", "created_by", NULL};
    const json_t *entry;
    size_t i;
    if (!oci_fixed(c->doc, "architecture", OCI_ARCHITECTURE, false, what, err) ||
        !oci_fixed(c->doc, "os", OCI_OS, false, what, err))
        return false;
    if (json_object_size(c->settings) != 0)
        return error_set(err, ERR_FORMAT, "%s: key 'config': expected an empty object, found %zu members", what,
                         json_object_size(c->settings));
    json_array_foreach (json_object_get(c->doc, "history"), i, entry) {
        char where[256];
        snprintf(where, sizeof where, "%.200s: history[%zu]", what, i);
        if (!json_known_keys(entry, where, keys, err) || !oci_fixed(entry, "created", c->created, false, where, err))
            return false;
        if (!json_object_get(entry, "created_by"))
            return error_set(err, ERR_FORMAT, "%s: key 'created_by' is missing", where);
        if (strlen(c->created_by[i]) > OCI_TEXT_BYTES_MAX)
            return error_set(err, ERR_FORMAT, "%s: created_by is too long", where);
    }
    return true;
}

static bool history_json(const struct oci_config *c, const char *created, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = c->base_history ? json_deep_copy(c->base_history) : json_array();
    if (!list) return error_memory(err, 0);
    for (uint32_t i = 0; i < c->n_layers; i++)
        if (c->created_by[i] &&
            json_array_append_new(list, json_pack("{s:s,s:s}", "created", created, "created_by", c->created_by[i])))
            return error_memory(err, 0);
    *out = take_ptr(&list);
    return true;
}

bool oci_config_text(const struct oci_config *c, char **out, size_t *out_size, struct error *err)
{
    if (c->doc) return json_canonical(c->doc, out, out_size, err);
    const char *created = c->created ? c->created : OCI_CREATED;
    CLEANUP(json) json_t *diff_ids = json_array(), *history = NULL;
    CLEANUP(json) json_t *settings = c->settings ? json_deep_copy(c->settings) : json_object();
    if (!diff_ids || !settings) return error_memory(err, 0);
    for (uint32_t i = 0; i < c->n_layers; i++) {
        char digest[OCI_DIGEST_SIZE];
        oci_digest_text(&c->diff_ids[i], digest);
        if (json_array_append_new(diff_ids, json_string(digest)) != 0) return error_memory(err, 0);
    }
    if (!history_json(c, created, &history, err)) return false;
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:s,s:s,s:O,s:{s:s,s:O},s:O}", "created", created, "architecture",
                          c->architecture ? c->architecture : OCI_ARCHITECTURE, "os", c->os ? c->os : OCI_OS, "config",
                          settings, "rootfs", "type", "layers", "diff_ids", diff_ids, "history", history);
    return j ? json_canonical(j, out, out_size, err) : error_memory(err, 0);
}
