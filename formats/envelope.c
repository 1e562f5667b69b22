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

static bool bundle_text(struct bytes payload, struct bytes signature, char **out, size_t *out_size, struct error *err)
{
    CLEANUP(free) char *payload64 = NULL;
    CLEANUP(free) char *signature64 = NULL;
    if (!base64_encode(payload, &payload64, err) || !base64_encode(signature, &signature64, err)) return false;
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:{s:{}},s:{s:s,s:s,s:[{s:s}]}}", "mediaType", ENVELOPE_BUNDLE_MEDIA,
                          "verificationMaterial", "publicKey", "dsseEnvelope", "payload", payload64, "payloadType",
                          ENVELOPE_PAYLOAD_TYPE, "signatures", "sig", signature64);
    return j ? json_canonical(j, out, out_size, err) : error_memory(err, 0);
}

bool envelope_sign(const struct key *key, struct bytes payload, char **out, size_t *out_size, struct error *err)
{
    uint8_t signature[SIGNATURE_BYTES_MAX];
    size_t n = 0;
    CLEANUP(free) char *message = NULL;
    size_t message_bytes = 0;
    bool valid = false;
    if (!envelope_signed_bytes(ENVELOPE_PAYLOAD_TYPE, payload, &message, &message_bytes, err) ||
        !key_sign(key, bytes_of(message, message_bytes), signature, &n, err) ||
        !key_verify(key, bytes_of(message, message_bytes), bytes_of(signature, n), &valid, err))
        return false;
    if (!valid) return error_set(err, ERR_INTERNAL, "a signature that was just made does not verify");
    return bundle_text(payload, bytes_of(signature, n), out, out_size, err);
}

bool envelope_verify(const struct envelope *e, const struct key *key, bool *valid, struct error *err)
{
    CLEANUP(free) char *message = NULL;
    size_t n = 0;
    *valid = false;
    return envelope_signed_bytes(ENVELOPE_PAYLOAD_TYPE, bytes_of(e->payload, e->payload_bytes), &message, &n, err) &&
           key_verify(key, bytes_of(message, n), bytes_of(e->signature, e->signature_bytes), valid, err);
}

void envelope_close(struct envelope *e)
{
    free(e->payload);
    free(e->signature);
    json_decref(e->statement);
    *e = (struct envelope){0};
}
