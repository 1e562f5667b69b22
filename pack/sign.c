#include "pack/sign_parts.h"

#include "core/cert.h"
#include "formats/referrer.h"
#include "formats/simple_signing.h"

#include <time.h>

struct own {
    const struct key *key;
    const struct cert_chain *chain; /* wanted in it; or NULL */
};

static bool same_chain(const struct cert_chain *a, const struct cert_chain *b)
{
    if (cert_chain_count(a) != cert_chain_count(b)) return false;
    for (uint32_t i = 0; i < cert_chain_count(a); i++) {
        struct bytes x = cert_chain_der(a, i), y = cert_chain_der(b, i);
        if (x.size != y.size || memcmp(x.data, y.data, x.size) != 0) return false;
    }
    return true;
}

/* A valid signature by this key among the referrers. */
static bool look_for_own(void *ctx, const struct attach *a, const struct oci_manifest *m, uint32_t entry, bool *stop,
                         struct error *err)
{
    (void)entry;
    const struct own *own = ctx;
    CLEANUP(envelope) struct envelope e = {0};
    struct error unread = ERROR_INIT;
    bool differs;
    if (!referrer_is_bundle(m)) return true;
    if (!referrer_load(&a->layout, m, "referrer", &e, &differs, &unread))
        return unread.code != ERR_MEMORY ? true : error_memory(err, 0);
    if (strcmp(e.predicate_type, ENVELOPE_PREDICATE_SIGN) != 0 || !same_chain(e.chain, own->chain)) return true;
    return envelope_verify(&e, own->key, stop, err);
}

static bool add_bundle(struct attach *a, const struct key *key, const struct cert_chain *chain,
                       const struct oci_descriptor *subject, bool *was_there, struct error *err)
{
    struct own own = {.key = key, .chain = chain};
    struct envelope_signer by = {.key = key, .use = KEY_USE_SIGSTORE, .chain = chain};
    CLEANUP(free) char *statement = NULL;
    CLEANUP(free) char *bundle = NULL;
    size_t statement_bytes = 0, bundle_bytes = 0;
    if (!attach_find(a, subject, look_for_own, &own, was_there, err)) return false;
    if (*was_there) return true;
    CLEANUP(json) json_t *annotations = referrer_annotations(ENVELOPE_PREDICATE_SIGN);
    if (!annotations) return error_memory(err, 0);
    return envelope_statement(&subject->digest, ENVELOPE_PREDICATE_SIGN, NULL, &statement, &statement_bytes, err) &&
           envelope_sign_by(&by, bytes_of(statement, statement_bytes), &bundle, &bundle_bytes, err) &&
           attach_referrer(a, subject, &attach_form_bundle, bytes_of(bundle, bundle_bytes), annotations, err);
}

bool sign_bundle(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject, bool *was_there,
                 struct error *err)
{
    return add_bundle(a, o->key, NULL, subject, was_there, err);
}

bool sign_x509(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject, bool *was_there,
               struct error *err)
{
    return add_bundle(a, o->key, o->chain, subject, was_there, err);
}

static bool check_options(const struct sign_options *o, struct error *err)
{
    if (o->docker_reference && !simple_check_reference(o->docker_reference, err)) return false;
    bool bundles = !o->no_bundle || o->x509;
    if (!bundles && !o->docker_reference && !o->notation)
        return error_set(err, ERR_USAGE, "no form of signature is left to write");
    if ((o->notation || o->x509) && !o->chain)
        return error_set(err, ERR_USAGE, "a signature with certificates: the chain is missing");
    if (o->notation && !key_check_use(o->key, KEY_USE_JWS, err)) return false;
    if ((bundles || o->docker_reference) && !key_check_use(o->key, KEY_USE_SIGSTORE, err)) return false;
    return !o->chain || cert_chain_check_signer(o->chain, o->key, (int64_t)time(NULL), err);
}

static bool sign_subject(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject,
                         struct sign_result *out, struct error *err)
{
    static const struct {
        bool (*sign)(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject,
                     bool *was_there, struct error *err);
    } forms[] = {{sign_bundle}, {sign_x509}, {sign_legacy}, {sign_notation}};
    const bool wanted[] = {!o->no_bundle, o->x509, o->docker_reference != NULL, o->notation};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        bool was_there = false;
        if (!wanted[i]) continue;
        if (!forms[i].sign(a, o, subject, &was_there, err)) return false;
        out->n_there += was_there;
        out->n_added += !was_there;
    }
    return true;
}

bool sign_package(const struct sign_options *o, struct sign_result *out, struct error *err)
{
    struct attach a;
    *out = (struct sign_result){0};
    if (!crypto_self_test(err) || !check_options(o, err) || !key_id(o->key, &out->key_id, err) ||
        !attach_open(&a, o->ref, err))
        return false;
    bool ok = true;
    out->image = attach_subject(&a, 0)->digest;
    out->n_subjects = attach_subjects(&a);
    for (uint32_t i = 0; ok && i < out->n_subjects; i++) ok = sign_subject(&a, o, attach_subject(&a, i), out, err);
    ok = ok && attach_commit(&a, err);
    attach_close(&a);
    out->was_signed = out->n_added == 0;
    return ok;
}

bool sign_run(const char *ref, const struct key *key, struct sign_result *out, struct error *err)
{
    struct sign_options o = {.ref = ref, .key = key};
    return sign_package(&o, out, err);
}
