#include "formats/oci_descriptor.h"

#define WHAT_BYTES 256u

void oci_digest_text(const struct digest *d, char out[OCI_DIGEST_SIZE])
{
    memcpy(out, "sha256:", 7);
    digest_hex(d, out + 7);
}

bool oci_digest_parse(const char *text, struct digest *out)
{
    return strncmp(text, "sha256:", 7) == 0 && digest_parse(text + 7, out);
}

const char *oci_annotation(const json_t *annotations, const char *key)
{
    return json_string_value(json_object_get(annotations, key));
}

bool oci_document(struct bytes text, const char *what, json_t **out, struct error *err)
{
    *out = NULL;
    if (text.size > OCI_DOCUMENT_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "%s: has %zu bytes, at most %zu are read", what, text.size,
                         OCI_DOCUMENT_BYTES_MAX);
    CLEANUP(json) json_t *doc = NULL;
    uint64_t version;
    if (!json_parse(text, JSON_DIALECT_STRICT, what, &doc, err) ||
        !json_get_u64(doc, "schemaVersion", what, 2, 2, &version, err))
        return false;
    *out = take_ptr(&doc);
    return true;
}

bool oci_fixed(const json_t *obj, const char *key, const char *value, bool optional, const char *what,
               struct error *err)
{
    const char *found;
    if (optional && !json_object_get(obj, key)) return true;
    if (!json_get_string(obj, key, what, &found, err)) return false;
    if (strcmp(found, value) == 0) return true;
    return error_set(err, ERR_FORMAT, "%s: key '%s': expected \"%s\", found \"%.128s\"", what, key, value, found);
}

bool oci_annotations_parse(const json_t *obj, const char *what, const json_t **out, struct error *err)
{
    json_t *a, *value;
    const char *key;
    *out = NULL;
    if (!json_object_get(obj, "annotations")) return true;
    if (!json_get_object(obj, "annotations", what, &a, err)) return false;
    if (json_object_size(a) > OCI_ANNOTATIONS_MAX)
        return error_set(err, ERR_FORMAT, "%s: has %zu annotations, at most %u are read", what, json_object_size(a),
                         OCI_ANNOTATIONS_MAX);
    json_object_foreach (a, key, value) {
        if (!json_is_string(value))
            return error_set(err, ERR_FORMAT, "%s: annotation '%.128s': expected a string, found %s", what, key,
                             json_brief(value));
        if (!*key || strlen(key) > OCI_TEXT_BYTES_MAX || json_string_length(value) > OCI_TEXT_BYTES_MAX)
            return error_set(err, ERR_FORMAT, "%s: annotation '%.128s' is empty or too long", what, key);
    }
    *out = a;
    return true;
}

/* type "/" subtype, of the letters RFC 6838 allows; at most 127 each. */
static bool media_type_is_sound(const char *s)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&-^_.+";
    size_t a = strspn(s, letters);
    if (a == 0 || a > 127 || s[a] != '/') return false;
    size_t b = strspn(s + a + 1, letters);
    return b > 0 && b <= 127 && s[a + 1 + b] == '\0';
}

bool oci_media_type_parse(const json_t *obj, const char *key, const char *what, const char **out, struct error *err)
{
    if (!json_get_string(obj, key, what, out, err)) return false;
    if (media_type_is_sound(*out)) return true;
    return error_set(err, ERR_FORMAT, "%s: key '%s': \"%.128s\" is not a media type", what, key, *out);
}

static bool platform_parse(const json_t *j, const char *what, struct oci_descriptor *out, struct error *err)
{
    static const char *const keys[] = {"architecture", "os", NULL};
    json_t *platform;
    return json_get_object(j, "platform", what, &platform, err) && json_known_keys(platform, what, keys, err) &&
           json_get_string(platform, "architecture", what, &out->architecture, err) &&
           json_get_string(platform, "os", what, &out->os, err);
}

bool oci_descriptor_parse(const json_t *j, const char *what, struct oci_descriptor *out, struct error *err)
{
    static const char *const keys[] = {"mediaType", "digest", "size", "annotations", "artifactType", "platform", NULL};
    const char *digest;
    *out = (struct oci_descriptor){0};
    if (!json_known_keys(j, what, keys, err) || !oci_media_type_parse(j, "mediaType", what, &out->media_type, err) ||
        !json_get_string(j, "digest", what, &digest, err) ||
        !json_get_u64(j, "size", what, 0, OCI_BLOB_BYTES_MAX, &out->size, err) ||
        !oci_annotations_parse(j, what, &out->annotations, err))
        return false;
    if (json_object_get(j, "artifactType") && !oci_media_type_parse(j, "artifactType", what, &out->artifact_type, err))
        return false;
    if (json_object_get(j, "platform") && !platform_parse(j, what, out, err)) return false;
    if (oci_digest_parse(digest, &out->digest)) return true;
    return error_set(err, ERR_FORMAT, "%s: \"%.128s\" is not \"sha256:\" and 64 lower-case hex digits", what, digest);
}

bool oci_descriptors_parse(const json_t *obj, const char *key, uint32_t max, const char *what,
                           struct oci_descriptor **out, uint32_t *n, struct error *err)
{
    json_t *list;
    if (!json_get_array(obj, key, what, &list, err)) return false;
    size_t size = json_array_size(list);
    if (size > max)
        return error_set(err, ERR_FORMAT, "%s: key '%s' has %zu items, at most %u are read", what, key, size, max);
    CLEANUP(free) struct oci_descriptor *items = calloc(size ? size : 1, sizeof *items);
    if (!items) return error_memory(err, size * sizeof *items);
    for (size_t i = 0; i < size; i++) {
        char where[WHAT_BYTES];
        snprintf(where, sizeof where, "%.200s: %s[%zu]", what, key, i);
        if (!oci_descriptor_parse(json_array_get(list, i), where, &items[i], err)) return false;
    }
    *n = (uint32_t)size;
    *out = take_ptr(&items);
    return true;
}

bool oci_annotations_put(json_t *obj, const json_t *annotations, struct error *err)
{
    if (!annotations) return true;
    json_t *copy = json_copy((json_t *)(uintptr_t)annotations); /* jansson counts references in what it is given */
    return json_put(obj, "annotations", copy, err);
}

static bool descriptor_json(const struct oci_descriptor *d, json_t **out, struct error *err)
{
    char digest[OCI_DIGEST_SIZE];
    oci_digest_text(&d->digest, digest);
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:s,s:I}", "mediaType", d->media_type, "digest", digest, "size", (json_int_t)d->size);
    if (!j) return error_memory(err, 0);
    if (d->artifact_type && !json_put(j, "artifactType", json_string(d->artifact_type), err)) return false;
    if (d->os && !json_put(j, "platform", json_pack("{s:s,s:s}", "architecture", d->architecture, "os", d->os), err))
        return false;
    if (!oci_annotations_put(j, d->annotations, err)) return false;
    *out = take_ptr(&j);
    return true;
}

bool oci_descriptor_put(json_t *obj, const char *key, const struct oci_descriptor *d, struct error *err)
{
    json_t *j = NULL;
    return descriptor_json(d, &j, err) && json_put(obj, key, j, err);
}

bool oci_descriptors_put(json_t *obj, const char *key, const struct oci_descriptor *list, uint32_t n, struct error *err)
{
    CLEANUP(json) json_t *array = json_array();
    if (!array) return error_memory(err, 0);
    for (uint32_t i = 0; i < n; i++) {
        json_t *j = NULL;
        if (!descriptor_json(&list[i], &j, err)) return false;
        if (json_array_append_new(array, j) != 0) return error_memory(err, 0);
    }
    return json_put(obj, key, take_ptr(&array), err);
}
