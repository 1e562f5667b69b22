/* index.json and the index of images that one of its tags may name. */
#include "formats/oci_descriptor.h"

void oci_index_close(struct oci_index *ix)
{
    json_decref(ix->doc);
    free(ix->manifests);
    *ix = (struct oci_index){0};
}

static bool kind_is_known(const char *kind)
{
    static const char *const known[] = {OCI_KIND_IMAGE, OCI_KIND_INDEX, OCI_KIND_SIGNATURES, OCI_KIND_ATTESTATIONS};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(kind, known[i]) == 0) return true;
    return false;
}

/* The tag and cosign's mark have fixed forms; other annotations are for who knows the manifest to judge
 * (verify/package.c): oras copies a referrer's own into its entry. */
static bool check_entry(const struct oci_descriptor *d, uint32_t i, const char *what, struct error *err)
{
    const char *tag = oci_annotation(d->annotations, OCI_ANNOTATION_REF),
               *kind = oci_annotation(d->annotations, OCI_ANNOTATION_KIND);
    if (strcmp(d->media_type, OCI_MEDIA_MANIFEST) != 0 && strcmp(d->media_type, OCI_MEDIA_INDEX) != 0)
        return error_set(err, ERR_FORMAT,
                         "%s: manifests[%u]: expected media type \"" OCI_MEDIA_MANIFEST "\" or \"" OCI_MEDIA_INDEX
                         "\", found \"%.128s\"",
                         what, i, d->media_type);
    if (tag && !oci_tag_is_valid(tag))
        return error_set(err, ERR_FORMAT, "%s: manifests[%u]: \"%.128s\" is not a tag", what, i, tag);
    return !kind || kind_is_known(kind) ? true
                                        : error_set(err, ERR_FORMAT,
                                                    "%s: manifests[%u]: kind: expected \"" OCI_KIND_IMAGE
                                                    "\" or another of cosign's, found \"%.128s\"",
                                                    what, i, kind);
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

static bool read_index(struct oci_index *ix, bool type_optional, const char *what, struct error *err)
{
    static const char *const keys[] = {"schemaVersion", "mediaType", "manifests", "annotations", NULL};
    if (!json_known_keys(ix->doc, what, keys, err) ||
        !oci_fixed(ix->doc, "mediaType", OCI_MEDIA_INDEX, type_optional, what, err) ||
        !oci_annotations_parse(ix->doc, what, &ix->annotations, err) ||
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
    /* oras writes no mediaType into index.json. */
    if (oci_document(text, what, &out->doc, err) && read_index(out, true, what, err)) return true;
    oci_index_close(out);
    return false;
}

static bool check_images(const struct oci_index *ix, const char *what, struct error *err)
{
    if (ix->n_manifests == 0) return error_set(err, ERR_FORMAT, "%s: is an index without images", what);
    for (uint32_t i = 0; i < ix->n_manifests; i++) {
        const struct oci_descriptor *d = &ix->manifests[i];
        if (strcmp(d->media_type, OCI_MEDIA_MANIFEST) != 0)
            return error_set(err, ERR_FORMAT,
                             "%s: manifests[%u]: expected media type \"" OCI_MEDIA_MANIFEST "\", found \"%.128s\"",
                             what, i, d->media_type);
        if (d->artifact_type)
            return error_set(err, ERR_FORMAT, "%s: manifests[%u]: is an artifact, not an image", what, i);
        if (oci_annotation(d->annotations, OCI_ANNOTATION_REF))
            return error_set(err, ERR_FORMAT, "%s: manifests[%u]: has a tag", what, i);
        if (!d->os) return error_set(err, ERR_FORMAT, "%s: manifests[%u]: key 'platform' is missing", what, i);
        for (uint32_t k = 0; k < i; k++)
            if (digest_equal(&ix->manifests[k].digest, &d->digest))
                return error_set(err, ERR_FORMAT, "%s: manifests[%u]: is there twice", what, i);
    }
    return true;
}

bool oci_images_parse(struct bytes text, const char *what, struct oci_index *out, struct error *err)
{
    *out = (struct oci_index){0};
    if (oci_document(text, what, &out->doc, err) && read_index(out, false, what, err) && check_images(out, what, err))
        return true;
    oci_index_close(out);
    return false;
}

bool oci_index_text(const struct oci_index *ix, char **out, size_t *out_size, struct error *err)
{
    CLEANUP(json) json_t *j = json_pack("{s:i,s:s}", "schemaVersion", 2, "mediaType", OCI_MEDIA_INDEX);
    if (!j) return error_memory(err, 0);
    return oci_descriptors_put(j, "manifests", ix->manifests, ix->n_manifests, err) &&
           oci_annotations_put(j, ix->annotations, err) && json_canonical(j, out, out_size, err);
}

const struct oci_descriptor *oci_index_find(const struct oci_index *ix, const char *tag)
{
    for (uint32_t i = 0; i < ix->n_manifests; i++) {
        const char *found = oci_annotation(ix->manifests[i].annotations, OCI_ANNOTATION_REF);
        if (found && strcmp(found, tag) == 0) return &ix->manifests[i];
    }
    return NULL;
}
