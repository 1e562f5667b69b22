#include "formats/signed.h"

#include "formats/referrer.h"
#include "formats/simple_signing.h"

#define SIGNATURES_MAX 64u /* read of one image; more say nothing more */

struct search {
    const struct oci_layout *layout;
    const struct digest *image;
    const struct key *key;
    uint32_t n_seen;
    bool found;
};

/* What cannot be read is no signature; a failure of ours is one. */
static bool pass_over(const struct error *unread, struct error *err)
{
    return unread->code != ERR_MEMORY && unread->code != ERR_INTERNAL
               ? true
               : error_set(err, unread->code, "%s", unread->text);
}

static bool look_at_bundle(struct search *s, const struct oci_manifest *m, struct error *err)
{
    CLEANUP(envelope) struct envelope e = {0};
    struct error unread = ERROR_INIT;
    bool differs;
    if (!referrer_load(s->layout, m, "bundle", &e, &differs, &unread)) return pass_over(&unread, err);
    if (strcmp(e.predicate_type, ENVELOPE_PREDICATE_SIGN) != 0) return true;
    s->n_seen++;
    return envelope_verify(&e, s->key, &s->found, err);
}

static bool look_at_legacy(struct search *s, const struct oci_manifest *m, struct error *err)
{
    for (uint32_t i = 0; i < m->n_layers && i < SIMPLE_SIGNATURES_MAX && !s->found; i++) {
        CLEANUP(simple_signing) struct simple_signing g = {0};
        struct error unread = ERROR_INIT;
        bool differs;
        if (!simple_load(s->layout, &m->layers[i], &g, &differs, &unread)) {
            if (!pass_over(&unread, err)) return false;
            continue;
        }
        if (!digest_equal(&g.image, s->image)) continue;
        s->n_seen++;
        if (!simple_verify(&g, s->key, &s->found, err)) return false;
    }
    return true;
}

static bool look_at(struct search *s, const struct oci_descriptor *entry, const char *legacy_tag, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(oci_manifest) struct oci_manifest m = {0};
    struct error unread = ERROR_INIT;
    const char *tag = oci_annotation(entry->annotations, OCI_ANNOTATION_REF);
    if (strcmp(entry->media_type, OCI_MEDIA_MANIFEST) != 0) return true;
    if (!oci_blob_load(s->layout, entry, OCI_DOCUMENT_BYTES_MAX, "referrer", &text, NULL, &unread) ||
        !oci_manifest_parse(buffer_view(&text), "referrer", &m, &unread))
        return pass_over(&unread, err);
    if (tag && strcmp(tag, legacy_tag) == 0) return look_at_legacy(s, &m, err);
    if (!m.has_subject || !digest_equal(&m.subject.digest, s->image) || !referrer_is_bundle(&m)) return true;
    return look_at_bundle(s, &m, err);
}

bool signed_check(const struct oci_layout *l, const struct digest *image, const struct key *key, struct error *err)
{
    CLEANUP(oci_index) struct oci_index index = {0};
    struct search s = {.layout = l, .image = image, .key = key};
    char tag[SIMPLE_TAG_SIZE], digest[OCI_DIGEST_SIZE];
    simple_tag(image, tag);
    oci_digest_text(image, digest);
    if (!crypto_self_test(err) || !oci_layout_index(l, &index, err)) return false;
    for (uint32_t i = 0; i < index.n_manifests && !s.found && s.n_seen < SIGNATURES_MAX; i++)
        if (!look_at(&s, &index.manifests[i], tag, err)) return false;
    if (s.found) return true;
    return s.n_seen
               ? error_class(err, "signature", "none of the %u signatures of %s is by the given key", s.n_seen, digest)
               : error_class(err, "no-signature", "%s is not signed", digest);
}
