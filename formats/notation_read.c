#include "formats/notation.h"
#include "formats/notation_names.h"
#include "formats/oci_descriptor.h"

#include <time.h>

static bool decode(const json_t *doc, const char *key, const char *what, json_t **out, struct error *err)
{
    const char *text;
    CLEANUP(free) uint8_t *data = NULL;
    size_t n = 0;
    if (!json_get_string(doc, key, what, &text, err)) return false;
    if (!base64url_decode(text, NOTATION_BYTES_MAX, &data, &n, err)) return error_wrap(err, "%s: %s", what, key);
    return json_parse(bytes_of(data, n), JSON_DIALECT_STRICT, what, out, err);
}

static bool fixed(const json_t *obj, const char *key, const char *value, const char *what, struct error *err)
{
    const char *found;
    if (!json_get_string(obj, key, what, &found, err)) return false;
    return strcmp(found, value) == 0 ||
           error_set(err, ERR_FORMAT, "%s: %s: expected \"%s\", found \"%.128s\"", what, key, value, found);
}

/* RFC 3339 with whole or broken seconds, in UTC ("Z") or with an offset. */
static bool read_time(const json_t *obj, const char *key, const char *what, int64_t *out, struct error *err)
{
    const char *text, *rest;
    struct tm tm = {0};
    int sign, hours, minutes, used = 0;
    if (!json_get_string(obj, key, what, &text, err)) return false;
    rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest && *rest == '.') rest += 1 + strspn(rest + 1, "0123456789");
    if (!rest || strlen(text) > 40) return error_set(err, ERR_FORMAT, "%s: %s: '%.40s' is not a time", what, key, text);
    *out = (int64_t)timegm(&tm);
    if (strcmp(rest, "Z") == 0) return true;
    sign = *rest == '-' ? -1 : 1;
    if ((*rest != '+' && *rest != '-') || sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || rest[1 + used])
        return error_set(err, ERR_FORMAT, "%s: %s: '%.40s' is not a time", what, key, text);
    *out -= sign * (hours * 3600 + minutes * 60);
    return true;
}

/* Exactly the headers that are understood here may be critical. */
static bool check_critical(const json_t *header, const char *what, bool has_expiry, struct error *err)
{
    json_t *list;
    bool scheme = false, expiry = false;
    if (!json_get_array(header, "crit", what, &list, err)) return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && strcmp(s, NOTATION_SCHEME) == 0 && !scheme) scheme = true;
        else if (s && strcmp(s, NOTATION_EXPIRY) == 0 && !expiry) expiry = true;
        else return error_set(err, ERR_UNSUPPORTED, "%s: crit: header '%.128s' is not understood", what, s ? s : "");
    }
    if (scheme && expiry == has_expiry) return true;
    return error_set(err, ERR_FORMAT, "%s: crit: does not name " NOTATION_SCHEME " and what else must be", what);
}

static bool read_protected(const json_t *doc, const char *what, struct notation *out, struct error *err)
{
    static const char *const keys[] = {"alg", "cty", "crit", NOTATION_SCHEME, NOTATION_TIME, NOTATION_EXPIRY, NULL};
    CLEANUP(json) json_t *h = NULL;
    const char *algorithm;
    out->expiry = INT64_MAX;
    if (!decode(doc, "protected", what, &h, err) || !json_known_keys(h, what, keys, err) ||
        !fixed(h, "cty", NOTATION_PAYLOAD_MEDIA, what, err) ||
        !fixed(h, NOTATION_SCHEME, NOTATION_SCHEME_X509, what, err) ||
        !json_get_string(h, "alg", what, &algorithm, err) ||
        !check_critical(h, what, json_object_get(h, NOTATION_EXPIRY) != NULL, err) ||
        !read_time(h, NOTATION_TIME, what, &out->signing_time, err) ||
        (json_object_get(h, NOTATION_EXPIRY) && !read_time(h, NOTATION_EXPIRY, what, &out->expiry, err)))
        return false;
    static const char *const known[] = {"ES256", "ES384", "ES512", "PS256", "PS384", "PS512"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], algorithm) == 0) {
            strcpy(out->algorithm, algorithm);
            return true;
        }
    return error_set(err, ERR_UNSUPPORTED, "%s: alg: '%.32s' is not an algorithm of notation's", what, algorithm);
}

static bool read_header(const json_t *doc, const char *what, struct notation *out, struct error *err)
{
    static const char *const keys[] = {"x5c", "io.cncf.notary.signingAgent", "io.cncf.notary.timestampSignature", NULL};
    json_t *header, *list;
    if (!json_get_object(doc, "header", what, &header, err) || !json_known_keys(header, what, keys, err) ||
        !json_get_array(header, "x5c", what, &list, err))
        return false;
    if (json_array_size(list) == 0 || json_array_size(list) > CERT_CHAIN_MAX)
        return error_set(err, ERR_FORMAT, "%s: expected 1 to %u certificates, found %zu", what, CERT_CHAIN_MAX,
                         json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        CLEANUP(free) uint8_t *der = NULL;
        size_t n = 0;
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !base64_decode(text, CERT_BYTES_MAX, &der, &n, err))
            return error_set(err, ERR_FORMAT, "%s: certificate %zu is not base64", what, i + 1);
        if (!cert_chain_add(&out->chain, bytes_of(der, n), what, err)) return false;
    }
    return true;
}

static bool read_payload(const json_t *doc, const char *what, struct notation *out, struct error *err)
{
    static const char *const keys[] = {"targetArtifact", NULL};
    json_t *target;
    return decode(doc, "payload", what, &out->payload_doc, err) && json_known_keys(out->payload_doc, what, keys, err) &&
           json_get_object(out->payload_doc, keys[0], what, &target, err) &&
           oci_descriptor_parse(target, what, &out->target, err);
}

static bool read_envelope(const json_t *doc, const char *what, struct notation *out, struct error *err)
{
    static const char *const keys[] = {"payload", "protected", "header", "signature", NULL};
    const char *payload, *protected, *signature;
    if (!json_known_keys(doc, what, keys, err) || !read_protected(doc, what, out, err) ||
        !read_header(doc, what, out, err) || !read_payload(doc, what, out, err) ||
        !json_get_string(doc, "payload", what, &payload, err) ||
        !json_get_string(doc, "protected", what, &protected, err) ||
        !json_get_string(doc, "signature", what, &signature, err))
        return false;
    if (!base64url_decode(signature, SIGNATURE_BYTES_MAX, &out->signature, &out->signature_bytes, err))
        return error_wrap(err, "%s: signature", what);
    return asprintf(&out->input, "%s.%s", protected, payload) >= 0 || error_memory(err, strlen(payload));
}

bool notation_parse(struct bytes text, const char *what, struct notation *out, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    *out = (struct notation){0};
    if (text.size > NOTATION_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "%s: has %zu bytes, at most %zu are read", what, text.size,
                         NOTATION_BYTES_MAX);
    if (json_parse(text, JSON_DIALECT_STRICT, what, &doc, err) && read_envelope(doc, what, out, err)) return true;
    notation_close(out);
    return false;
}
