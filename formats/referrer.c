#include "formats/referrer.h"

json_t *referrer_annotations(const char *predicate_type)
{
    return json_pack("{s:s,s:s}", REFERRER_ANNOTATION_CONTENT, REFERRER_CONTENT, REFERRER_ANNOTATION_PREDICATE,
                     predicate_type);
}

bool referrer_is_bundle(const struct oci_manifest *m)
{
    if (m->artifact_type && strcmp(m->artifact_type, ENVELOPE_BUNDLE_MEDIA) == 0) return true;
    for (uint32_t i = 0; i < m->n_layers; i++)
        if (strcmp(m->layers[i].media_type, ENVELOPE_BUNDLE_MEDIA) == 0) return true;
    return false;
}

static bool check_shape(const struct oci_manifest *m, const char *what, struct error *err)
{
    struct digest empty;
    if (!m->has_subject) return error_set(err, ERR_FORMAT, "%s: a bundle without a subject", what);
    if (!m->artifact_type || strcmp(m->artifact_type, ENVELOPE_BUNDLE_MEDIA) != 0)
        return error_set(err, ERR_FORMAT, "%s: expected artifact type \"" ENVELOPE_BUNDLE_MEDIA "\", found \"%.128s\"",
                         what, m->artifact_type ? m->artifact_type : "");
    if (m->n_layers != 1 || strcmp(m->layers[0].media_type, ENVELOPE_BUNDLE_MEDIA) != 0)
        return error_set(err, ERR_FORMAT, "%s: expected one layer, a bundle; found %u layers", what, m->n_layers);
    if (!sha256_of(bytes_text(REFERRER_CONFIG_TEXT), &empty, err)) return false;
    if (strcmp(m->config.media_type, OCI_MEDIA_EMPTY) != 0 || m->config.size != strlen(REFERRER_CONFIG_TEXT) ||
        !digest_equal(&m->config.digest, &empty))
        return error_set(err, ERR_FORMAT, "%s: its config is not the empty one", what);
    return true;
}

bool referrer_load(const struct oci_layout *l, const struct oci_manifest *m, const char *what, struct envelope *out,
                   bool *differs, struct error *err)
{
    CLEANUP_BUFFER struct buffer config = {0};
    CLEANUP_BUFFER struct buffer text = {0};
    *out = (struct envelope){0};
    *differs = false;
    if (!check_shape(m, what, err) ||
        !oci_blob_load(l, &m->config, strlen(REFERRER_CONFIG_TEXT), what, &config, differs, err) ||
        !oci_blob_load(l, &m->layers[0], ENVELOPE_BYTES_MAX, what, &text, differs, err) ||
        !envelope_parse(buffer_view(&text), what, out, err))
        return false;
    const char *said = oci_annotation(m->annotations, REFERRER_ANNOTATION_PREDICATE);
    if (said && strcmp(said, out->predicate_type) != 0)
        error_set(err, ERR_FORMAT, "%s: is labelled \"%.128s\", the statement says \"%.128s\"", what, said,
                  out->predicate_type);
    else if (!digest_equal(&out->subject, &m->subject.digest)) {
        char wanted[OCI_DIGEST_SIZE], found[OCI_DIGEST_SIZE];
        oci_digest_text(&m->subject.digest, wanted);
        oci_digest_text(&out->subject, found);
        error_set(err, ERR_FORMAT, "%s: is attached to %s, its statement is about %s", what, wanted, found);
    } else return true;
    envelope_close(out);
    return false;
}
