/* The members of an image's /models as a folder, read where they lie in the layers, of a layout or of an archive. Sizes
 * and shapes are checked here; digests are verify's work, which reads everything. */
#include "formats/folder.h"
#include "formats/oci_archive.h"
#include "formats/oci_package.h"
#include "formats/oci_weights.h"
#include "formats/tar.h"

#define MODELS_PREFIX "models/"

/* Where a thin layout's weights are looked for; NULL of others, whose weights must be there. */
struct thin {
    const char *ref;
    const struct oci_weights *weights; /* NULL: nowhere */
    bool missing;
};

/* Weights that a thin layout lacks, from beside it. */
static bool add_from_beside(struct folder *f, struct thin *t, const struct oci_descriptor *d, const char *name,
                            const char *what, struct error *err)
{
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    enum weights_found found = WEIGHTS_NONE;
    struct tar_layer tar = {0};
    if (t->weights && !oci_weights_find(t->weights, d, what, &at, &found, err)) return false;
    if (found == WEIGHTS_NONE) {
        t->missing = true;
        return true;
    }
    if (found == WEIGHTS_FILE) tar.data_bytes = at.size;
    else if (!tar_layer_read(&at, what, &tar, err)) return false;
    int fd = at.fd;
    at.fd = -1;
    return folder_add_open(f, name, fd, at.offset + tar.data_offset, tar.data_bytes, err);
}

static bool add_layer(struct folder *f, const struct oci_layout *l, const struct oci_manifest *m, uint32_t layer,
                      struct thin *thin, struct error *err)
{
    const struct oci_descriptor *d = &m->layers[layer];
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    struct tar_layer tar;
    char what[64], hex[DIGEST_HEX_SIZE], path[sizeof OCI_BLOBS_FOLDER + DIGEST_HEX_SIZE];
    snprintf(what, sizeof what, "layer %u of %u", layer + 1, m->n_layers);
    const char *title = oci_annotation(d->annotations, OCI_ANNOTATION_TITLE);
    if (thin && title && oci_is_weights(title) && !oci_blob_is_there(l, &d->digest)) {
        const char *weights = oci_weights_name(d);
        return !weights || add_from_beside(f, thin, d, weights, what, err); /* NULL: an adapter's, no member */
    }
    if (strcmp(d->media_type, OCI_MEDIA_LAYER) != 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: media type \"%.128s\" cannot be read in place, only " OCI_MEDIA_LAYER, what,
                         d->media_type);
    if (!oci_blob_open(l, d, what, &at, NULL, err) || !tar_layer_read(&at, what, &tar, err)) return false;
    if (strncmp(tar.path, MODELS_PREFIX, strlen(MODELS_PREFIX)) != 0) return true;
    digest_hex(&d->digest, hex);
    snprintf(path, sizeof path, OCI_BLOBS_FOLDER "/%s", hex);
    return folder_add(f, tar.path + strlen(MODELS_PREFIX), l->archive ? oci_archive_name(l->archive) : path,
                      at.offset + tar.data_offset, tar.data_bytes, err);
}

/* All images of a package hold the same model, so the first serves. */
static bool add_image(struct folder *f, const struct oci_layout *l, const char *tag, struct thin *thin,
                      struct error *err)
{
    CLEANUP(oci_package) struct oci_package p = {0};
    CLEANUP(oci_manifest) struct oci_manifest manifest = {0};
    uint32_t n_base;
    if (!oci_package_open(&p, l, tag, err) || !oci_package_manifest(l, oci_package_image(&p, 0), &manifest, err) ||
        !oci_base_layers(&manifest, "manifest", &n_base, err))
        return false;
    for (uint32_t i = n_base; i < manifest.n_layers; i++)
        if (!add_layer(f, l, &manifest, i, thin, err)) return false;
    return true;
}

static bool open_layout(struct folder *f, const struct oci_ref *ref, struct thin *thin, struct error *err)
{
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    if (!oci_layout_open_ref(&layout, ref, err)) return false;
    if (!add_image(f, &layout, ref->tag, thin, err))
        return error_wrap(err, "'%s%.512s:%s'", ref->is_archive ? OCI_ARCHIVE_PREFIX : OCI_REF_PREFIX, ref->dir,
                          ref->tag);
    folder_set_dir(f, layout.dir);
    layout.dir = -1;
    return true;
}

static bool open_ref(struct folder *f, const char *rest, bool is_archive, struct error *err)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    if (!oci_ref_split(rest, &ref, err)) return false;
    ref.is_archive = is_archive;
    return open_layout(f, &ref, NULL, err);
}

static bool fill_thin(struct folder *f, void *ctx, struct error *err)
{
    struct thin *t = ctx;
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    return oci_ref_parse(t->ref, &ref, err) && open_layout(f, &ref, t, err);
}

bool folder_open_thin(struct folder **out, const char *ref, const struct oci_weights *w, bool *missing,
                      struct error *err)
{
    struct thin t = {.ref = ref, .weights = w};
    bool ok = folder_open_by(out, ref, fill_thin, &t, err);
    *missing = t.missing;
    return ok;
}

static bool oci_open(struct folder *f, const char *rest, struct error *err)
{
    return open_ref(f, rest, false, err);
}

static bool archive_open(struct folder *f, const char *rest, struct error *err)
{
    return open_ref(f, rest, true, err);
}

const struct folder_kind folder_kind_oci_archive = {.prefix = OCI_ARCHIVE_PREFIX, .open = archive_open};

const struct folder_kind folder_kind_oci = {.prefix = OCI_REF_PREFIX, .open = oci_open};
