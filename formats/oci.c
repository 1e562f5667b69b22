/* The manifest; indexes are in oci_index.c, the image config in oci_config.c, references in oci_ref.c. */
#include "formats/oci_descriptor.h"

void oci_manifest_close(struct oci_manifest *m)
{
    json_decref(m->doc);
    free(m->layers);
    *m = (struct oci_manifest){0};
}

static bool read_manifest(struct oci_manifest *m, const char *what, struct error *err)
{
    /* "manifests" is not among them: no document is both a manifest and an index (CVE-2021-41190). */
    static const char *const keys[] = {"schemaVersion", "mediaType", "artifactType", "config",
                                       "layers",        "subject",   "annotations",  NULL};
    json_t *config, *subject;
    char where[256];
    if (!json_known_keys(m->doc, what, keys, err) ||
        !oci_fixed(m->doc, "mediaType", OCI_MEDIA_MANIFEST, false, what, err) ||
        !json_get_object(m->doc, "config", what, &config, err) ||
        !oci_annotations_parse(m->doc, what, &m->annotations, err) ||
        !oci_descriptors_parse(m->doc, "layers", OCI_LAYERS_MAX, what, &m->layers, &m->n_layers, err))
        return false;
    snprintf(where, sizeof where, "%.200s: config", what);
    if (!oci_descriptor_parse(config, where, &m->config, err)) return false;
    if (json_object_get(m->doc, "artifactType") &&
        !oci_media_type_parse(m->doc, "artifactType", what, &m->artifact_type, err))
        return false;
    m->has_subject = json_object_get(m->doc, "subject") != NULL;
    snprintf(where, sizeof where, "%.200s: subject", what);
    return !m->has_subject || (json_get_object(m->doc, "subject", what, &subject, err) &&
                               oci_descriptor_parse(subject, where, &m->subject, err));
}

bool oci_manifest_parse(struct bytes text, const char *what, struct oci_manifest *out, struct error *err)
{
    *out = (struct oci_manifest){0};
    if (oci_document(text, what, &out->doc, err) && read_manifest(out, what, err)) return true;
    oci_manifest_close(out);
    return false;
}

bool oci_manifest_text(const struct oci_manifest *m, char **out, size_t *out_size, struct error *err)
{
    CLEANUP(json) json_t *j = json_pack("{s:i,s:s}", "schemaVersion", 2, "mediaType", OCI_MEDIA_MANIFEST);
    if (!j) return error_memory(err, 0);
    if (m->artifact_type && !json_put(j, "artifactType", json_string(m->artifact_type), err)) return false;
    return oci_descriptor_put(j, "config", &m->config, err) &&
           oci_descriptors_put(j, "layers", m->layers, m->n_layers, err) &&
           (!m->has_subject || oci_descriptor_put(j, "subject", &m->subject, err)) &&
           oci_annotations_put(j, m->annotations, err) && json_canonical(j, out, out_size, err);
}
