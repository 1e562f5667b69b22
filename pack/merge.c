/* Signatures made on a thin layout, brought back to the package. */
#include "pack/attach.h"
#include "pack/thin.h"

#define PART_BYTES_MAX ((size_t)64 << 20) /* of one bundle or attestation; bills of material are the largest */

struct merge {
    struct attach to;
    struct oci_layout from;
    struct oci_index index;
    uint32_t n_added;
};

static bool copy_blob(struct merge *m, const struct oci_descriptor *d, struct error *err)
{
    CLEANUP_BUFFER struct buffer data = {0};
    struct oci_descriptor written;
    return oci_blob_load(&m->from, d, PART_BYTES_MAX, "blob", &data, NULL, err) &&
           attach_blob(&m->to, buffer_view(&data), &written, err);
}

static bool copy_parts(struct merge *m, const struct oci_manifest *manifest, struct error *err)
{
    if (!copy_blob(m, &manifest->config, err)) return false;
    for (uint32_t i = 0; i < manifest->n_layers; i++)
        if (!copy_blob(m, &manifest->layers[i], err)) return false;
    return true;
}

static const struct oci_descriptor *entry_of(const struct merge *m, const struct digest *d)
{
    for (uint32_t i = 0; i < m->to.n_entries; i++)
        if (digest_equal(&m->to.entries[i].digest, d)) return &m->to.entries[i];
    return NULL;
}

/* "sha256-HEX.sig" of an image that the package has. */
static bool is_legacy(const struct merge *m, const char *tag)
{
    char hex[DIGEST_HEX_SIZE];
    struct digest d;
    if (!tag || strncmp(tag, "sha256-", 7) != 0 || strlen(tag) != 7 + 64 + 4 || strcmp(tag + 7 + 64, ".sig") != 0)
        return false;
    memcpy(hex, tag + 7, 64);
    hex[64] = '\0';
    return digest_parse(hex, &d) && entry_of(m, &d);
}

static bool layers_within(const struct oci_manifest *inner, const struct oci_manifest *outer)
{
    for (uint32_t i = 0; i < inner->n_layers; i++) {
        bool found = false;
        for (uint32_t k = 0; k < outer->n_layers; k++)
            found = found || digest_equal(&inner->layers[i].digest, &outer->layers[k].digest);
        if (!found) return false;
    }
    return true;
}

static bool load_manifest(const struct oci_layout *l, const struct oci_descriptor *d, struct oci_manifest *out,
                          struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    return oci_blob_load(l, d, OCI_DOCUMENT_BYTES_MAX, "manifest", &text, NULL, err) &&
           oci_manifest_parse(buffer_view(&text), "manifest", out, err);
}

static bool merge_legacy(struct merge *m, const char *tag, const struct oci_manifest *manifest, struct error *err)
{
    CLEANUP(oci_manifest) struct oci_manifest old = {0};
    const struct oci_descriptor *was = oci_index_find(&m->to.package.index, tag);
    if (was && !load_manifest(&m->to.layout, was, &old, err)) return false;
    if (was && !layers_within(&old, manifest))
        return error_set(err, ERR_FORMAT,
                         "'%s' of the package has signatures that the other has not: they would be lost", tag);
    m->n_added++;
    return copy_parts(m, manifest, err) &&
           attach_tagged(&m->to, tag, OCI_KIND_SIGNATURES, manifest, was ? &old : NULL, err);
}

static bool merge_entry(struct merge *m, const struct oci_descriptor *entry, struct error *err)
{
    CLEANUP(oci_manifest) struct oci_manifest manifest = {0};
    const char *tag = oci_annotation(entry->annotations, OCI_ANNOTATION_REF);
    if (entry_of(m, &entry->digest) || strcmp(entry->media_type, OCI_MEDIA_MANIFEST) != 0) return true;
    if (!load_manifest(&m->from, entry, &manifest, err)) return false;
    if (is_legacy(m, tag)) return merge_legacy(m, tag, &manifest, err);
    if (!manifest.has_subject || tag || !entry_of(m, &manifest.subject.digest)) return true;
    m->n_added++;
    return copy_parts(m, &manifest, err) && copy_blob(m, entry, err) && attach_entry(&m->to, entry, err);
}

bool merge_run(const char *ref, const char *from, uint32_t *n_added, struct error *err)
{
    struct merge m = {.from = OCI_LAYOUT_INIT};
    bool ok = attach_open(&m.to, ref, err);
    if (!ok) return false;
    ok = oci_layout_open(&m.from, from, err) && oci_layout_marker(&m.from, err) &&
         oci_layout_index(&m.from, &m.index, err);
    for (uint32_t i = 0; ok && i < m.index.n_manifests; i++) ok = merge_entry(&m, &m.index.manifests[i], err);
    ok = ok && attach_commit(&m.to, err);
    *n_added = ok ? m.n_added : 0;
    attach_close(&m.to);
    oci_index_close(&m.index);
    oci_layout_close(&m.from);
    return ok;
}
