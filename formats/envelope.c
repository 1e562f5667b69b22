/* Making statements and bundles; reading is in envelope_read.c. */
#include "formats/envelope.h"

#include "core/text.h"

bool envelope_signed_bytes(const char *payload_type, struct bytes payload, char **out, size_t *out_size,
                           struct error *err)
{
    struct text t = TEXT_INIT;
    text_add(&t, "DSSEv1 %zu %s %zu ", strlen(payload_type), payload_type, payload.size);
    text_put(&t, payload.data, payload.size);
    return text_take(&t, out, out_size, err);
}

bool envelope_statement(const struct digest *subject, const char *predicate_type, const json_t *predicate, char **out,
                        size_t *out_size, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(subject, hex);
    CLEANUP(json) json_t *content = predicate ? json_deep_copy(predicate) : json_object();
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:[{s:{s:s}}],s:s,s:O}", "_type", ENVELOPE_STATEMENT_TYPE, "subject", "digest",
                          "sha256", hex, "predicateType", predicate_type, "predicate", content);
    return j ? json_canonical(j, out, out_size, err) : error_memory(err, 0);
}

/* {"publicKey":{...}} or {"x509CertificateChain":{"certificates":[{"rawBytes":...}]}} */
static bool material_json(const struct envelope_signer *s, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    for (uint32_t i = 0; i < cert_chain_count(s->chain); i++) {
        CLEANUP(free) char *der64 = NULL;
        if (!base64_encode(cert_chain_der(s->chain, i), &der64, err)) return false;
        if (json_array_append_new(list, json_pack("{s:s}", "rawBytes", der64)) != 0) return error_memory(err, 0);
    }
    if (s->chain) *out = json_pack("{s:{s:O}}", "x509CertificateChain", "certificates", list);
    else if (s->hint) *out = json_pack("{s:{s:s},s:[]}", "publicKey", "hint", s->hint, "tlogEntries");
    else *out = json_pack("{s:{}}", "publicKey");
    return *out ? true : error_memory(err, 0);
}

static bool bundle_text(const struct envelope_signer *s, struct bytes payload, struct bytes signature, char **out,
                        size_t *out_size, struct error *err)
{
    CLEANUP(free) char *payload64 = NULL;
    CLEANUP(free) char *signature64 = NULL;
    CLEANUP(json) json_t *material = NULL;
    if (!base64_encode(payload, &payload64, err) || !base64_encode(signature, &signature64, err) ||
        !material_json(s, &material, err))
        return false;
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:O,s:{s:s,s:s,s:[{s:s}]}}", "mediaType", ENVELOPE_BUNDLE_MEDIA, "verificationMaterial",
                          material, "dsseEnvelope", "payload", payload64, "payloadType", ENVELOPE_PAYLOAD_TYPE,
                          "signatures", "sig", signature64);
    return j ? json_canonical(j, out, out_size, err) : error_memory(err, 0);
}

bool envelope_sign_by(const struct envelope_signer *s, struct bytes payload, char **out, size_t *out_size,
                      struct error *err)
{
    uint8_t signature[SIGNATURE_BYTES_MAX];
    size_t n = 0;
    CLEANUP(free) char *message = NULL;
    size_t message_bytes = 0;
    bool valid = false;
    if (!envelope_signed_bytes(ENVELOPE_PAYLOAD_TYPE, payload, &message, &message_bytes, err) ||
        !key_sign_for(s->key, s->use, bytes_of(message, message_bytes), signature, &n, err) ||
        !key_verify_for(s->key, s->use, bytes_of(message, message_bytes), bytes_of(signature, n), &valid, err))
        return false;
    if (!valid) return error_set(err, ERR_INTERNAL, "a signature that was just made does not verify");
    return bundle_text(s, payload, bytes_of(signature, n), out, out_size, err);
}

bool envelope_sign(const struct key *key, struct bytes payload, char **out, size_t *out_size, struct error *err)
{
    struct envelope_signer s = {.key = key, .use = KEY_USE_SIGSTORE};
    return envelope_sign_by(&s, payload, out, out_size, err);
}

bool envelope_verify_for(const struct envelope *e, enum key_use use, const struct key *key, bool *valid,
                         struct error *err)
{
    CLEANUP(free) char *message = NULL;
    size_t n = 0;
    *valid = false;
    return envelope_signed_bytes(ENVELOPE_PAYLOAD_TYPE, bytes_of(e->payload, e->payload_bytes), &message, &n, err) &&
           key_verify_for(key, use, bytes_of(message, n), bytes_of(e->signature, e->signature_bytes), valid, err);
}

bool envelope_verify(const struct envelope *e, const struct key *key, bool *valid, struct error *err)
{
    return envelope_verify_for(e, KEY_USE_SIGSTORE, key, valid, err);
}

/* The key that verified the bytes is taken out of the very certificate that was checked. */
bool envelope_verify_chain(const struct envelope *e, enum key_use use, const struct cert_chain *roots, int64_t at,
                           bool *valid, char why[CERT_WHY_SIZE], struct error *err)
{
    struct key *leaf = NULL;
    bool fits = false;
    *valid = false;
    *why = '\0';
    if (!e->chain) {
        snprintf(why, CERT_WHY_SIZE, "the bundle holds no certificate");
        return true;
    }
    if (!cert_chain_verify(e->chain, roots, at, &fits, why, err)) return false;
    if (!fits) return true;
    bool ok = cert_chain_key(e->chain, "certificate", &leaf, err) && envelope_verify_for(e, use, leaf, valid, err);
    key_close(leaf);
    if (ok && !*valid) snprintf(why, CERT_WHY_SIZE, "the signature is not by the key of its certificate");
    return ok;
}

void envelope_close(struct envelope *e)
{
    free(e->payload);
    free(e->signature);
    cert_chain_close(e->chain);
    json_decref(e->statement);
    *e = (struct envelope){0};
}
