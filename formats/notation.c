/* Making and verifying; reading is in notation_read.c. */
#include "formats/notation.h"

#include "core/text.h"
#include "formats/notation_names.h"

#include <time.h>

static bool json64(json_t *j, char **out, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    if (!j) return error_memory(err, 0);
    return json_canonical(j, &text, &n, err) && base64url_encode(bytes_of(text, n), out, err);
}

static bool protected64(const char *algorithm, int64_t now, char **out, struct error *err)
{
    char when[32];
    struct tm tm;
    time_t t = (time_t)now;
    if (!gmtime_r(&t, &tm) || strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return error_set(err, ERR_INTERNAL, "the clock shows no time");
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:s,s:[s],s:s,s:s}", "alg", algorithm, "cty", NOTATION_PAYLOAD_MEDIA, "crit",
                          NOTATION_SCHEME, NOTATION_SCHEME, NOTATION_SCHEME_X509, NOTATION_TIME, when);
    return json64(j, out, err);
}

static bool payload64(const struct oci_descriptor *image, char **out, struct error *err)
{
    char digest[OCI_DIGEST_SIZE];
    oci_digest_text(&image->digest, digest);
    CLEANUP(json)
    json_t *j = json_pack("{s:{s:s,s:s,s:I}}", "targetArtifact", "mediaType", image->media_type, "digest", digest,
                          "size", (json_int_t)image->size);
    return json64(j, out, err);
}

static bool chain_json(const struct cert_chain *c, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    for (uint32_t i = 0; i < cert_chain_count(c); i++) {
        CLEANUP(free) char *der64 = NULL;
        if (!base64_encode(cert_chain_der(c, i), &der64, err)) return false;
        if (json_array_append_new(list, json_string(der64)) != 0) return error_memory(err, 0);
    }
    *out = take_ptr(&list);
    return *out ? true : error_memory(err, 0);
}

static bool sign_input(const struct key *key, const char *input, char **out, struct error *err)
{
    uint8_t sig[SIGNATURE_BYTES_MAX];
    size_t n = 0;
    bool valid = false;
    if (!key_sign_for(key, KEY_USE_JWS, bytes_text(input), sig, &n, err) ||
        !key_verify_for(key, KEY_USE_JWS, bytes_text(input), bytes_of(sig, n), &valid, err))
        return false;
    if (!valid) return error_set(err, ERR_INTERNAL, "a signature that was just made does not verify");
    return base64url_encode(bytes_of(sig, n), out, err);
}

bool notation_sign(const struct key *key, const struct cert_chain *chain, const struct oci_descriptor *image,
                   int64_t now, char **out, size_t *out_size, struct error *err)
{
    CLEANUP(free) char *protected = NULL;
    CLEANUP(free) char *payload = NULL;
    CLEANUP(free) char *input = NULL;
    CLEANUP(free) char *signature = NULL;
    CLEANUP(json) json_t *x5c = NULL;
    if (!key_check_use(key, KEY_USE_JWS, err) || !cert_chain_check_signer(chain, key, now, err) ||
        !protected64(key_jws_name(key), now, &protected, err) || !payload64(image, &payload, err))
        return false;
    if (asprintf(&input, "%s.%s", protected, payload) < 0) return error_memory(err, strlen(payload));
    if (!sign_input(key, input, &signature, err) || !chain_json(chain, &x5c, err)) return false;
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:s,s:{s:O},s:s}", "payload", payload, "protected", protected, "header", "x5c", x5c,
                          "signature", signature);
    return j ? json_canonical(j, out, out_size, err) : error_memory(err, 0);
}

bool notation_annotations(const struct cert_chain *chain, json_t **out, struct error *err)
{
    struct text t = TEXT_INIT;
    CLEANUP(free) char *list = NULL;
    for (uint32_t i = 0; i < cert_chain_count(chain); i++) {
        struct digest d;
        char hex[DIGEST_HEX_SIZE];
        if (!cert_chain_thumbprint(chain, i, &d, err)) {
            text_free(&t);
            return false;
        }
        digest_hex(&d, hex);
        text_add(&t, "%s\"%s\"", i ? "," : "[", hex);
    }
    text_add(&t, "]");
    if (!text_take(&t, &list, NULL, err)) return false;
    *out = json_pack("{s:s}", NOTATION_ANNOTATION_THUMBPRINT, list);
    return *out ? true : error_memory(err, 0);
}

bool notation_fits(const struct notation *n, const struct key *key, bool *valid, struct error *err)
{
    const char *name = key_jws_name(key);
    *valid = false;
    if (!name || strcmp(name, n->algorithm) != 0) return true; /* the key says which algorithm, never the input */
    return key_verify_for(key, KEY_USE_JWS, bytes_text(n->input), bytes_of(n->signature, n->signature_bytes), valid,
                          err);
}

bool notation_verify(const struct notation *n, const struct cert_chain *roots, int64_t at, bool *valid,
                     char why[CERT_WHY_SIZE], struct error *err)
{
    struct key *leaf = NULL;
    int64_t begin, end;
    if (!cert_chain_verify(n->chain, roots, at, valid, why, err)) return false;
    if (!*valid) return true;
    *valid = false;
    if (!cert_chain_window(n->chain, &begin, &end, err)) return false;
    if (n->signing_time < begin || n->signing_time > end)
        snprintf(why, CERT_WHY_SIZE, "it says that it was signed outside its certificates' time");
    else if (at > n->expiry) snprintf(why, CERT_WHY_SIZE, "the signature has expired");
    else {
        bool ok = cert_chain_key(n->chain, "certificate", &leaf, err) && notation_fits(n, leaf, valid, err);
        key_close(leaf);
        if (ok && !*valid) snprintf(why, CERT_WHY_SIZE, "the signature is not by the key of its certificate");
        return ok;
    }
    return true;
}

void notation_close(struct notation *n)
{
    json_decref(n->payload_doc);
    cert_chain_close(n->chain);
    free(n->input);
    free(n->signature);
    *n = (struct notation){0};
}
