/* Which kinds of keys are taken, for what, with which hash: the table of docs/signing.md (keys), tried with
 * cosign 3.1.3, containers-policy 5.36.2, model_signing 1.1.1 and notation 1.3.2. */
#include "core/crypto_kind.h"

#include <openssl/core_names.h>

#define NO                                                                                                             \
    {                                                                                                                  \
        .allowed = false                                                                                               \
    }
#define WITH(h)                                                                                                        \
    {                                                                                                                  \
        .allowed = true, .hash = h                                                                                     \
    }
#define PSS(h)                                                                                                         \
    {                                                                                                                  \
        .allowed = true, .hash = h, .pss = true                                                                        \
    }
#define S256 "SHA2-256"
#define S384 "SHA2-384"
#define S512 "SHA2-512"

static const struct key_kind kinds[] = {
    {"ECDSA P-256", "EC", "prime256v1", 0, 32, "ES256", {WITH(S256), WITH(S256), WITH(S256)}},
    {"ECDSA P-384", "EC", "secp384r1", 0, 48, "ES384", {WITH(S256), WITH(S384), WITH(S384)}},
    {"ECDSA P-521", "EC", "secp521r1", 0, 66, "ES512", {WITH(S256), WITH(S512), WITH(S512)}},
    {"RSA 2048", "RSA", NULL, 2048, 0, "PS256", {WITH(S256), NO, PSS(S256)}},
    {"RSA 3072", "RSA", NULL, 3072, 0, "PS384", {WITH(S256), NO, PSS(S384)}},
    {"RSA 4096", "RSA", NULL, 4096, 0, "PS512", {WITH(S256), NO, PSS(S512)}},
    {"Ed25519", "ED25519", NULL, 0, 0, NULL, {WITH(NULL), NO, NO}},
};

static const char *const use_names[KEY_USE_COUNT] = {
    [KEY_USE_SIGSTORE] = "cosign", [KEY_USE_OMS] = "model_signing", [KEY_USE_JWS] = "notation"};

const char *key_use_name(enum key_use use)
{
    return use_names[use];
}

const struct key_kind *key_kind_of(const EVP_PKEY *pkey, char found[96])
{
    char group[64] = "";
    const char *type = EVP_PKEY_get0_type_name(pkey);
    uint32_t bits = (uint32_t)EVP_PKEY_get_bits(pkey);
    if (EVP_PKEY_is_a(pkey, "EC") == 1 &&
        EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, NULL) != 1)
        group[0] = '\0';
    if (group[0]) snprintf(found, 96, "curve %s", group);
    else if (EVP_PKEY_is_a(pkey, "RSA") == 1) snprintf(found, 96, "RSA with %u bits", bits);
    else snprintf(found, 96, "another kind of key (%.32s)", type ? type : "unknown");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct key_kind *k = &kinds[i];
        if (EVP_PKEY_is_a(pkey, k->type) != 1 || (k->group && strcmp(k->group, group) != 0) ||
            (k->bits && k->bits != bits))
            continue;
        return k;
    }
    return NULL;
}

const char *key_kind_name(const struct key *k)
{
    return k->kind->name;
}

const char *key_jws_name(const struct key *k)
{
    return k->kind->jws_name;
}

bool key_check_use(const struct key *k, enum key_use use, struct error *err)
{
    if (k->kind->schemes[use].allowed) return true;
    return error_set(err, ERR_UNSUPPORTED, "%s does not verify signatures of %s keys; ECDSA P-256 works everywhere",
                     use_names[use], k->kind->name);
}
