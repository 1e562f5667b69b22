/* The members of an image's /models as a folder, read where they lie in the layers. Sizes and shapes are checked here;
 * digests are verify's work, which reads everything. */
#include "formats/folder.h"
#include "formats/oci_layout.h"
#include "formats/tar.h"

#define MODELS_PREFIX "models/"

static bool add_layer(struct folder *f, const struct oci_layout *l, const struct oci_manifest *m, uint32_t layer,
                      struct error *err)
{
    const struct oci_descriptor *d = &m->layers[layer];
    CLEANUP(fd) int fd = -1;
    struct tar_layer tar;
    char what[64], hex[DIGEST_HEX_SIZE], path[sizeof OCI_BLOBS_FOLDER + DIGEST_HEX_SIZE];
    snprintf(what, sizeof what, "layer %u of %u", layer + 1, m->n_layers);
    if (strcmp(d->media_type, OCI_MEDIA_LAYER) != 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: media type \"%.128s\" cannot be read in place, only " OCI_MEDIA_LAYER, what,
                         d->media_type);
    if (!oci_blob_open(l, d, what, &fd, NULL, err) || !tar_layer_read(fd, d->size, what, &tar, err)) return false;
    if (strncmp(tar.path, MODELS_PREFIX, strlen(MODELS_PREFIX)) != 0) return true;
    digest_hex(&d->digest, hex);
    snprintf(path, sizeof path, OCI_BLOBS_FOLDER "/%s", hex);
    return folder_add(f, tar.path + strlen(MODELS_PREFIX), path, tar.data_offset, tar.data_bytes, err);
}

static bool add_image(struct folder *f, const struct oci_layout *l, const char *tag, struct error *err)
{
    CLEANUP(oci_index) struct oci_index index = {0};
    CLEANUP(oci_manifest) struct oci_manifest manifest = {0};
    CLEANUP_BUFFER struct buffer text = {0};
    if (!oci_layout_marker(l, err) || !oci_layout_index(l, &index, err)) return false;
    const struct oci_descriptor *d = oci_index_find(&index, tag);
    if (!d) return error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": no image has the tag '%s'", tag);
    if (!oci_blob_load(l, d, OCI_DOCUMENT_BYTES_MAX, "manifest", &text, NULL, err) ||
        !oci_manifest_parse(buffer_view(&text), "manifest", &manifest, err))
        return false;
    for (uint32_t i = 0; i < manifest.n_layers; i++)
        if (!add_layer(f, l, &manifest, i, err)) return false;
    return true;
}

static bool oci_open(struct folder *f, const char *rest, struct error *err)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    if (!oci_ref_split(rest, &ref, err) || !oci_layout_open(&layout, ref.dir, err)) return false;
    if (!add_image(f, &layout, ref.tag, err)) return error_wrap(err, "'" OCI_REF_PREFIX "%.512s'", rest);
    folder_set_dir(f, layout.dir);
    layout.dir = -1;
    return true;
}

const struct folder_kind folder_kind_oci = {.prefix = OCI_REF_PREFIX, .open = oci_open};
