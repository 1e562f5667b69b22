/* Manifest and index; the image config is in oci_config.c, references in oci_ref.c. */
#include "formats/oci_descriptor.h"

void oci_manifest_close(struct oci_manifest *m)
{
    json_decref(m->doc);
    free(m->layers);
    *m = (struct oci_manifest){0};
}

void oci_index_close(struct oci_index *ix)
{
    json_decref(ix->doc);
    free(ix->manifests);
    *ix = (struct oci_index){0};
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

/* The tag and cosign's mark have fixed forms; other annotations are for who knows the manifest to judge
 * (verify/package.c): oras copies a referrer's own into its entry. */
static bool check_entry(const struct oci_descriptor *d, uint32_t i, const char *what, struct error *err)
{
    const char *tag = oci_annotation(d->annotations, OCI_ANNOTATION_REF),
               *kind = oci_annotation(d->annotations, OCI_ANNOTATION_KIND);
    if (strcmp(d->media_type, OCI_MEDIA_MANIFEST) != 0)
        return error_set(err, ERR_FORMAT,
                         "%s: manifests[%u]: expected media type \"" OCI_MEDIA_MANIFEST "\", found \"%.128s\"", what, i,
                         d->media_type);
    if (tag && !oci_tag_is_valid(tag))
        return error_set(err, ERR_FORMAT, "%s: manifests[%u]: \"%.128s\" is not a tag", what, i, tag);
    if (kind && strcmp(kind, OCI_KIND_IMAGE) != 0)
        return error_set(err, ERR_FORMAT, "%s: manifests[%u]: kind: expected \"" OCI_KIND_IMAGE "\", found \"%.128s\"",
                         what, i, kind);
    return true;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool check_tags(const struct oci_index *ix, const char *what, struct error *err)
{
    CLEANUP(free) const char **tags = calloc(ix->n_manifests + 1u, sizeof *tags);
    uint32_t n = 0;
    if (!tags) return error_memory(err, ix->n_manifests * sizeof *tags);
    for (uint32_t i = 0; i < ix->n_manifests; i++) {
        const char *tag = oci_annotation(ix->manifests[i].annotations, OCI_ANNOTATION_REF);
        if (tag) tags[n++] = tag;
    }
    qsort(tags, n, sizeof *tags, by_text);
    for (uint32_t i = 1; i < n; i++)
        if (strcmp(tags[i - 1], tags[i]) == 0)
            return error_set(err, ERR_FORMAT, "%s: tag '%s' is there twice", what, tags[i]);
    return true;
}

static bool read_index(struct oci_index *ix, const char *what, struct error *err)
{
    static const char *const keys[] = {"schemaVersion", "mediaType", "manifests", NULL};
    /* oras writes no mediaType. */
    if (!json_known_keys(ix->doc, what, keys, err) ||
        !oci_fixed(ix->doc, "mediaType", OCI_MEDIA_INDEX, true, what, err) ||
        !oci_descriptors_parse(ix->doc, "manifests", OCI_MANIFESTS_MAX, what, &ix->manifests, &ix->n_manifests, err))
        return false;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < ix->n_manifests; i++) {
        if (!check_entry(&ix->manifests[i], i, what, err)) return false;
        bytes += ix->manifests[i].size; /* 1024 * 2^47 fits */
    }
    if (bytes > OCI_MANIFESTS_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "%s: its manifests have %llu bytes, at most %llu are read", what,
                         (unsigned long long)bytes, (unsigned long long)OCI_MANIFESTS_BYTES_MAX);
    return check_tags(ix, what, err);
}

bool oci_index_parse(struct bytes text, const char *what, struct oci_index *out, struct error *err)
{
    *out = (struct oci_index){0};
    if (oci_document(text, what, &out->doc, err) && read_index(out, what, err)) return true;
    oci_index_close(out);
    return false;
}

bool oci_index_text(const struct oci_index *ix, char **out, size_t *out_size, struct error *err)
{
    CLEANUP(json) json_t *j = json_pack("{s:i,s:s}", "schemaVersion", 2, "mediaType", OCI_MEDIA_INDEX);
    if (!j) return error_memory(err, 0);
    return oci_descriptors_put(j, "manifests", ix->manifests, ix->n_manifests, err) &&
           json_canonical(j, out, out_size, err);
}

const struct oci_descriptor *oci_index_find(const struct oci_index *ix, const char *tag)
{
    for (uint32_t i = 0; i < ix->n_manifests; i++) {
        const char *found = oci_annotation(ix->manifests[i].annotations, OCI_ANNOTATION_REF);
        if (found && strcmp(found, tag) == 0) return &ix->manifests[i];
    }
    return NULL;
}
