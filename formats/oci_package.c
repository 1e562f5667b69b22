#include "formats/oci_package.h"

#include <errno.h>

static bool is_index(const struct oci_descriptor *d)
{
    return strcmp(d->media_type, OCI_MEDIA_INDEX) == 0;
}

static const char *tag_of(const struct oci_descriptor *d)
{
    return oci_annotation(d->annotations, OCI_ANNOTATION_REF);
}

static bool load_images(const struct oci_layout *l, const struct oci_descriptor *d, struct oci_index *out,
                        struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    return oci_blob_load(l, d, OCI_DOCUMENT_BYTES_MAX, "index", &text, NULL, err) &&
           oci_images_parse(buffer_view(&text), "index", out, err);
}

static bool lists(const struct oci_index *images, const struct digest *d)
{
    for (uint32_t i = 0; i < images->n_manifests; i++)
        if (digest_equal(&images->manifests[i].digest, d)) return true;
    return false;
}

/* Marks the entries that a tagged index lists: they are parts of a package. */
static bool mark_parts(const struct oci_layout *l, const struct oci_index *index, bool *part, struct error *err)
{
    for (uint32_t i = 0; i < index->n_manifests; i++) {
        CLEANUP(oci_index) struct oci_index images = {0};
        const struct oci_descriptor *d = &index->manifests[i];
        if (!is_index(d) || !tag_of(d)) continue;
        if (!load_images(l, d, &images, err)) return false;
        for (uint32_t k = 0; k < index->n_manifests; k++)
            if (k != i && lists(&images, &index->manifests[k].digest)) part[k] = true;
    }
    return true;
}

static bool may_be_package(const struct oci_descriptor *d)
{
    const char *kind = oci_annotation(d->annotations, OCI_ANNOTATION_KIND);
    return tag_of(d) && !d->artifact_type &&
           (!kind || strcmp(kind, OCI_KIND_IMAGE) == 0 || strcmp(kind, OCI_KIND_INDEX) == 0);
}

const struct oci_descriptor *oci_only_package(const struct oci_layout *l, const struct oci_index *index,
                                              struct error *err)
{
    CLEANUP(free) bool *part = calloc(index->n_manifests + 1u, sizeof *part);
    const struct oci_descriptor *found = NULL;
    if (!part) {
        error_memory(err, index->n_manifests);
        return NULL;
    }
    if (!mark_parts(l, index, part, err)) return NULL;
    for (uint32_t i = 0; i < index->n_manifests; i++) {
        const struct oci_descriptor *d = &index->manifests[i];
        if (part[i] || !may_be_package(d)) continue;
        if (found) {
            error_set(err, ERR_USAGE, "there are several images, '%.128s' and '%.128s': say which (oci:DIR:TAG)",
                      tag_of(found), tag_of(d));
            return NULL;
        }
        found = d;
    }
    if (!found) error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": holds no tagged image");
    return found;
}

static bool open_package(struct oci_package *p, const struct oci_layout *l, const char *tag, struct error *err)
{
    if (!oci_layout_marker(l, err) || !oci_layout_index(l, &p->index, err)) return false;
    p->entry = tag ? oci_index_find(&p->index, tag) : oci_only_package(l, &p->index, err);
    if (!p->entry) return tag ? error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": no image has the tag '%s'", tag) : false;
    return !is_index(p->entry) || load_images(l, p->entry, &p->images, err);
}

bool oci_package_open(struct oci_package *p, const struct oci_layout *l, const char *tag, struct error *err)
{
    *p = (struct oci_package){0};
    if (open_package(p, l, tag, err)) return true;
    oci_package_close(p);
    return false;
}

void oci_package_close(struct oci_package *p)
{
    oci_index_close(&p->index);
    oci_index_close(&p->images);
    *p = (struct oci_package){0};
}

bool oci_package_manifest(const struct oci_layout *l, const struct oci_descriptor *image, struct oci_manifest *out,
                          struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    *out = (struct oci_manifest){0};
    if (!oci_blob_load(l, image, OCI_DOCUMENT_BYTES_MAX, "manifest", &text, NULL, err) ||
        !oci_manifest_parse(buffer_view(&text), "manifest", out, err))
        return false;
    if (!out->has_subject) return true;
    oci_manifest_close(out);
    return error_set(err, ERR_FORMAT, "manifest: is a referrer, not an image");
}

bool oci_base_layers(const struct oci_manifest *m, const char *what, uint32_t *out, struct error *err)
{
    const char *text = oci_annotation(m->annotations, OCI_ANNOTATION_BASE_LAYERS);
    char *end = NULL;
    *out = 0;
    if (!text) return true;
    errno = 0;
    unsigned long n = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    if (!end || *end || errno || n > m->n_layers)
        return error_set(err, ERR_FORMAT, "%s: " OCI_ANNOTATION_BASE_LAYERS ": expected at most %u, found \"%.64s\"",
                         what, m->n_layers, text);
    *out = (uint32_t)n;
    return true;
}

bool oci_is_weights(const char *title)
{
    static const char *const ends[] = {".safetensors", ".gguf", ".bin", ".pt", ".pth"};
    size_t n = strlen(title);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t k = strlen(ends[i]);
        if (n > k && strcmp(title + n - k, ends[i]) == 0) return true;
    }
    return false;
}
