#include "formats/simple_signing.h"

#define SIGNATURE_BYTES_READ 1024u

static const char what[] = "legacy signature";

void simple_tag(const struct digest *image, char out[SIMPLE_TAG_SIZE])
{
    memcpy(out, "sha256-", 7);
    digest_hex(image, out + 7);
    memcpy(out + 7 + 64, ".sig", 5);
}

/* Components of lower-case letters, digits and separators between; the first may be a host with a port. */
static bool repository_is_sound(const char *s, size_t n)
{
    static const char host[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    bool any = false;
    for (size_t at = 0; at < n;) {
        size_t k = 0;
        while (at + k < n && s[at + k] != '/') k++;
        const char *p = s + at;
        size_t good = 0;
        bool is_host = at == 0 && at + k < n; /* something follows it */
        for (size_t i = 0; i < k; i++) {
            bool port = is_host && i && p[i] == ':' && i + 1 < k;
            bool lower = (p[i] >= 'a' && p[i] <= 'z') || (p[i] >= '0' && p[i] <= '9');
            bool between = strchr("._-", p[i]) && i && i + 1 < k;
            good += port || lower || between || (is_host && p[i] && strchr(host, p[i]));
        }
        if (k == 0 || good != k) return false;
        any = true;
        at += k + 1;
        if (at == n) return false; /* ends in '/' */
    }
    return any;
}

bool simple_check_reference(const char *reference, struct error *err)
{
    size_t n = strlen(reference);
    const char *slash = strrchr(reference, '/'), *colon = strrchr(reference, ':');
    if (n > SIMPLE_REFERENCE_BYTES_MAX)
        return error_set(err, ERR_USAGE, "docker reference: %zu bytes, at most %u are written", n,
                         SIMPLE_REFERENCE_BYTES_MAX);
    if (colon && (!slash || colon > slash) && oci_tag_is_valid(colon + 1) &&
        repository_is_sound(reference, (size_t)(colon - reference)))
        return true;
    return error_set(err, ERR_USAGE,
                     "docker reference: expected HOST/REPOSITORY:TAG in lower case, found '%.256s' (without a tag the "
                     "default rule of containers-policy refuses it)",
                     reference);
}

bool simple_payload(const char *reference, const struct digest *image, char **out, size_t *out_size, struct error *err)
{
    char digest[OCI_DIGEST_SIZE];
    oci_digest_text(image, digest);
    CLEANUP(json)
    json_t *j = json_pack("{s:{s:{s:s},s:{s:s},s:s},s:n}", "critical", "identity", "docker-reference", reference,
                          "image", "docker-manifest-digest", digest, "type", SIMPLE_TYPE, "optional");
    return j ? json_canonical(j, out, out_size, err) : error_memory(err, 0);
}

bool simple_config(const struct oci_descriptor *layers, uint32_t n, char **out, size_t *out_size, struct error *err)
{
    static const char epoch[] = "0001-01-01T00:00:00Z"; /* Go's zero time, which cosign writes */
    CLEANUP(json) json_t *ids = json_array();
    CLEANUP(json) json_t *history = json_array();
    for (uint32_t i = 0; i < n; i++) {
        char digest[OCI_DIGEST_SIZE];
        oci_digest_text(&layers[i].digest, digest);
        if (json_array_append_new(ids, json_string(digest)) != 0 ||
            json_array_append_new(history, json_pack("{s:s}", "created", epoch)) != 0)
            return error_memory(err, 0);
    }
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:s,s:{},s:O,s:s,s:{s:s,s:O}}", "architecture", "", "created", epoch, "config",
                          "history", history, "os", "", "rootfs", "type", "layers", "diff_ids", ids);
    return j ? json_canonical(j, out, out_size, err) : error_memory(err, 0);
}

static bool read_payload(const json_t *doc, struct simple_signing *out, struct error *err)
{
    static const char *const keys[] = {"critical", "optional", NULL},
                             *const critical_keys[] = {"identity", "image", "type", NULL},
                             *const identity_keys[] = {"docker-reference", NULL},
                             *const image_keys[] = {"docker-manifest-digest", NULL};
    json_t *critical, *identity, *image;
    const char *type, *digest;
    if (!json_known_keys(doc, what, keys, err) || !json_get_object(doc, "critical", what, &critical, err) ||
        !json_known_keys(critical, what, critical_keys, err) || !json_get_string(critical, "type", what, &type, err) ||
        !json_get_object(critical, "identity", what, &identity, err) ||
        !json_known_keys(identity, what, identity_keys, err) ||
        !json_get_string(identity, identity_keys[0], what, &out->reference, err) ||
        !json_get_object(critical, "image", what, &image, err) || !json_known_keys(image, what, image_keys, err) ||
        !json_get_string(image, image_keys[0], what, &digest, err))
        return false;
    const json_t *optional = json_object_get(doc, "optional");
    if (optional && !json_is_null(optional) && !json_is_object(optional))
        return error_set(err, ERR_FORMAT, "%s: key 'optional': expected null or an object", what);
    if (strcmp(type, SIMPLE_TYPE) != 0)
        return error_set(err, ERR_FORMAT, "%s: key 'type': expected \"" SIMPLE_TYPE "\", found \"%.128s\"", what, type);
    return oci_digest_parse(digest, &out->image)
               ? true
               : error_set(err, ERR_FORMAT, "%s: \"%.128s\" is not \"sha256:\" and 64 lower-case hex digits", what,
                           digest);
}

bool simple_parse(struct bytes payload, struct simple_signing *out, struct error *err)
{
    *out = (struct simple_signing){0};
    if (payload.size > SIMPLE_PAYLOAD_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "%s: has %zu bytes, at most %zu are read", what, payload.size,
                         SIMPLE_PAYLOAD_BYTES_MAX);
    if (json_parse(payload, JSON_DIALECT_STRICT, what, &out->doc, err) && read_payload(out->doc, out, err)) return true;
    simple_close(out);
    return false;
}

bool simple_load(const struct oci_layout *l, const struct oci_descriptor *layer, struct simple_signing *out,
                 bool *differs, struct error *err)
{
    const char *sig = oci_annotation(layer->annotations, SIMPLE_ANNOTATION_SIGNATURE);
    CLEANUP_BUFFER struct buffer payload = {0};
    *out = (struct simple_signing){0};
    *differs = false;
    if (strcmp(layer->media_type, SIMPLE_MEDIA) != 0)
        return error_set(err, ERR_FORMAT, "%s: expected a layer of type \"" SIMPLE_MEDIA "\", found \"%.128s\"", what,
                         layer->media_type);
    if (!sig) return error_set(err, ERR_FORMAT, "%s: has no annotation " SIMPLE_ANNOTATION_SIGNATURE, what);
    if (!oci_blob_load(l, layer, SIMPLE_PAYLOAD_BYTES_MAX, what, &payload, differs, err) ||
        !simple_parse(buffer_view(&payload), out, err))
        return false;
    if (!base64_decode(sig, SIGNATURE_BYTES_READ, &out->signature, &out->signature_bytes, err)) {
        simple_close(out);
        return error_wrap(err, "%s", what);
    }
    out->payload = payload;
    payload = (struct buffer){0};
    return true;
}

bool simple_verify(const struct simple_signing *s, const struct key *key, bool *valid, struct error *err)
{
    return key_verify_for(key, KEY_USE_SIGSTORE, buffer_view(&s->payload), bytes_of(s->signature, s->signature_bytes),
                          valid, err);
}

void simple_close(struct simple_signing *s)
{
    buffer_free(&s->payload);
    free(s->signature);
    json_decref(s->doc);
    *s = (struct simple_signing){0};
}
