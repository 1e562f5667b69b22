#include "formats/envelope.h"

#define PREDICATE_TYPE_BYTES_MAX 1024u

static bool check_fixed(const json_t *obj, const char *key, const char *value, const char *what, struct error *err)
{
    const char *found;
    if (!json_get_string(obj, key, what, &found, err)) return false;
    if (strcmp(found, value) == 0) return true;
    return error_set(err, ERR_FORMAT, "%s: key '%s': expected \"%s\", found \"%.128s\"", what, key, value, found);
}

static bool add_certificate(struct envelope *e, const json_t *j, const char *what, struct error *err)
{
    static const char *const keys[] = {"rawBytes", NULL};
    CLEANUP(free) uint8_t *der = NULL;
    size_t n = 0;
    const char *text;
    if (!json_known_keys(j, what, keys, err) || !json_get_string(j, "rawBytes", what, &text, err)) return false;
    if (!base64_decode(text, CERT_BYTES_MAX, &der, &n, err)) return error_wrap(err, "%s: certificate", what);
    return cert_chain_add(&e->chain, bytes_of(der, n), what, err);
}

static bool read_chain(struct envelope *e, const json_t *material, const char *what, struct error *err)
{
    static const char *const keys[] = {"certificates", NULL};
    json_t *chain, *list;
    if (!json_get_object(material, "x509CertificateChain", what, &chain, err) ||
        !json_known_keys(chain, what, keys, err) || !json_get_array(chain, "certificates", what, &list, err))
        return false;
    if (json_array_size(list) == 0 || json_array_size(list) > CERT_CHAIN_MAX)
        return error_set(err, ERR_FORMAT, "%s: expected 1 to %u certificates, found %zu", what, CERT_CHAIN_MAX,
                         json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!add_certificate(e, json_array_get(list, i), what, err)) return false;
    return true;
}

/* A key's hint is free text: cosign writes base64 of SHA-256 of the key, others nothing. It decides nothing here. */
static bool read_material(struct envelope *e, const json_t *bundle, const char *what, struct error *err)
{
    static const char *const keys[] = {"publicKey",   "x509CertificateChain",      "certificate",
                                       "tlogEntries", "timestampVerificationData", NULL};
    static const char *const key_keys[] = {"hint", NULL};
    json_t *material, *public_key, *certificate;
    const char *hint = "";
    if (!json_get_object(bundle, "verificationMaterial", what, &material, err) ||
        !json_known_keys(material, what, keys, err))
        return false;
    int n = 0;
    for (int i = 0; i < 3; i++) n += json_object_get(material, keys[i]) != NULL;
    if (n != 1) return error_set(err, ERR_FORMAT, "%s: expected one kind of verification material, found %d", what, n);
    if (json_object_get(material, "x509CertificateChain")) return read_chain(e, material, what, err);
    if (json_object_get(material, "certificate"))
        return json_get_object(material, "certificate", what, &certificate, err) &&
               add_certificate(e, certificate, what, err);
    return json_get_object(material, "publicKey", what, &public_key, err) &&
           json_known_keys(public_key, what, key_keys, err) && json_opt_string(public_key, "hint", what, &hint, err);
}

static bool read_signature(struct envelope *e, const json_t *dsse, const char *what, struct error *err)
{
    static const char *const keys[] = {"sig", "keyid", NULL};
    json_t *list;
    const char *sig, *keyid = "";
    if (!json_get_array(dsse, "signatures", what, &list, err)) return false;
    if (json_array_size(list) != 1)
        return error_set(err, ERR_FORMAT, "%s: expected one signature, found %zu", what, json_array_size(list));
    const json_t *s = json_array_get(list, 0);
    if (!json_known_keys(s, what, keys, err) || !json_get_string(s, "sig", what, &sig, err) ||
        !json_opt_string(s, "keyid", what, &keyid, err))
        return false;
    if (*keyid)
        return error_set(err, ERR_FORMAT, "%s: has the key id \"%.64s\", which other verifiers refuse", what, keyid);
    if (!base64_decode(sig, ENVELOPE_SIGNATURE_BYTES_MAX, &e->signature, &e->signature_bytes, err))
        return error_wrap(err, "%s: signature", what);
    return true;
}

static bool read_subject(struct envelope *e, const char *what, struct error *err)
{
    static const char *const keys[] = {"name", "digest", "annotations", NULL}; /* cosign writes empty annotations */
    static const char *const digest_keys[] = {"sha256", NULL};
    json_t *list, *digest;
    const char *hex, *name = "";
    if (!json_get_array(e->statement, "subject", what, &list, err)) return false;
    if (json_array_size(list) != 1)
        return error_set(err, ERR_FORMAT, "%s: expected one subject, found %zu", what, json_array_size(list));
    const json_t *s = json_array_get(list, 0);
    if (!json_known_keys(s, what, keys, err) || !json_opt_string(s, "name", what, &name, err) ||
        !json_get_object(s, "digest", what, &digest, err) || !json_known_keys(digest, what, digest_keys, err) ||
        !json_get_string(digest, "sha256", what, &hex, err))
        return false;
    return digest_parse(hex, &e->subject)
               ? true
               : error_set(err, ERR_FORMAT, "%s: subject \"%.80s\" is not 64 lower-case hex digits", what, hex);
}

static bool check_type(const json_t *statement, const char *what, struct error *err)
{
    const char *found;
    if (!json_get_string(statement, "_type", what, &found, err)) return false;
    if (strcmp(found, ENVELOPE_STATEMENT_TYPE) == 0 || strcmp(found, ENVELOPE_STATEMENT_TYPE_OLD) == 0) return true;
    return error_set(err, ERR_FORMAT, "%s: key '_type': expected \"" ENVELOPE_STATEMENT_TYPE "\", found \"%.128s\"",
                     what, found);
}

static bool read_statement(struct envelope *e, const char *what, struct error *err)
{
    static const char *const keys[] = {"_type", "subject", "predicateType", "predicate", NULL};
    json_t *predicate;
    char where[256];
    snprintf(where, sizeof where, "%.200s: statement", what);
    if (!json_parse(bytes_of(e->payload, e->payload_bytes), JSON_DIALECT_STRICT, where, &e->statement, err) ||
        !json_known_keys(e->statement, where, keys, err) || !check_type(e->statement, where, err) ||
        !read_subject(e, where, err) || !json_get_string(e->statement, "predicateType", where, &e->predicate_type, err))
        return false;
    if (!*e->predicate_type || strlen(e->predicate_type) > PREDICATE_TYPE_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "%s: the predicate type is empty or too long", where);
    /* cosign's first v3 releases wrote no predicate at all. */
    return !json_object_get(e->statement, "predicate") ||
           json_get_object(e->statement, "predicate", where, &predicate, err);
}

static bool read_bundle(struct envelope *e, const json_t *bundle, const char *what, struct error *err)
{
    static const char *const keys[] = {"mediaType", "verificationMaterial", "dsseEnvelope", NULL};
    static const char *const dsse_keys[] = {"payload", "payloadType", "signatures", NULL};
    json_t *dsse;
    const char *payload;
    if (!json_known_keys(bundle, what, keys, err) ||
        !check_fixed(bundle, "mediaType", ENVELOPE_BUNDLE_MEDIA, what, err) || !read_material(e, bundle, what, err) ||
        !json_get_object(bundle, "dsseEnvelope", what, &dsse, err) || !json_known_keys(dsse, what, dsse_keys, err) ||
        !check_fixed(dsse, "payloadType", ENVELOPE_PAYLOAD_TYPE, what, err) ||
        !json_get_string(dsse, "payload", what, &payload, err) || !read_signature(e, dsse, what, err))
        return false;
    if (!base64_decode(payload, ENVELOPE_BYTES_MAX, &e->payload, &e->payload_bytes, err))
        return error_wrap(err, "%s: payload", what);
    return read_statement(e, what, err);
}

bool envelope_parse(struct bytes bundle, const char *what, struct envelope *out, struct error *err)
{
    *out = (struct envelope){0};
    if (bundle.size > ENVELOPE_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "%s: has %zu bytes, at most %zu are read", what, bundle.size,
                         ENVELOPE_BYTES_MAX);
    CLEANUP(json) json_t *doc = NULL;
    if (json_parse(bundle, JSON_DIALECT_STRICT, what, &doc, err) && read_bundle(out, doc, what, err)) return true;
    envelope_close(out);
    return false;
}
