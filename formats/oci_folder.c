/* The members of an image's /models as a folder, read where they lie in the layers, of a layout or of an archive. Sizes
 * and shapes are checked here; digests are verify's work, which reads everything. */
#include "formats/folder.h"
#include "formats/oci_archive.h"
#include "formats/oci_kept.h"
#include "formats/oci_package.h"
#include "formats/tar.h"

#include <fcntl.h>

#define MODELS_PREFIX "models/"

/* Where a thin layout's weights are looked for; NULL of others, whose weights must be there. */
struct thin {
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

/* A member that is read through a descriptor of its own of the place, which was opened before. */
static bool add_kept(struct folder *f, const char *name, const struct file_place *at, const struct tar_layer *tar,
                     struct error *err)
{
    int fd = fcntl(at->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return error_set_errno(err, "cannot open '%.256s' a second time", name);
    return folder_add_open(f, name, fd, at->offset + tar->data_offset, tar->data_bytes, err);
}

/* `kept`: the layer's place, when it is open already; or NULL. */
static bool add_layer(struct folder *f, const struct oci_layout *l, const struct oci_manifest *m, uint32_t layer,
                      const struct file_place *kept, struct thin *thin, struct error *err)
{
    const struct oci_descriptor *d = &m->layers[layer];
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    struct tar_layer tar;
    char what[64], hex[DIGEST_HEX_SIZE], path[sizeof OCI_BLOBS_FOLDER + DIGEST_HEX_SIZE];
    snprintf(what, sizeof what, "layer %u of %u", layer + 1, m->n_layers);
    const char *title = oci_annotation(d->annotations, OCI_ANNOTATION_TITLE);
    if (!kept && thin && title && oci_is_weights(title) && !oci_blob_is_there(l, &d->digest)) {
        const char *weights = oci_weights_name(d);
        return !weights || add_from_beside(f, thin, d, weights, what, err); /* NULL: an adapter's, no member */
    }
    if (strcmp(d->media_type, OCI_MEDIA_LAYER) != 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: media type \"%.128s\" cannot be read in place, only " OCI_MEDIA_LAYER, what,
                         d->media_type);
    if (!kept && !oci_blob_open(l, d, what, &at, NULL, err)) return false;
    if (!tar_layer_read(kept ? kept : &at, what, &tar, err)) return false;
    if (strncmp(tar.path, MODELS_PREFIX, strlen(MODELS_PREFIX)) != 0) return true;
    if (kept) return add_kept(f, tar.path + strlen(MODELS_PREFIX), kept, &tar, err);
    digest_hex(&d->digest, hex);
    snprintf(path, sizeof path, OCI_BLOBS_FOLDER "/%s", hex);
    return folder_add(f, tar.path + strlen(MODELS_PREFIX), l->archive ? oci_archive_name(l->archive) : path,
                      at.offset + tar.data_offset, tar.data_bytes, err);
}

/* All images of a package hold the same model, so the first serves. */
static bool add_image(struct folder *f, const struct oci_layout *l, const char *tag, struct error *err)
{
    CLEANUP(oci_package) struct oci_package p = {0};
    CLEANUP(oci_manifest) struct oci_manifest manifest = {0};
    uint32_t n_base;
    if (!oci_package_open(&p, l, tag, err) || !oci_package_manifest(l, oci_package_image(&p, 0), &manifest, err) ||
        !oci_base_layers(&manifest, "manifest", &n_base, err))
        return false;
    for (uint32_t i = n_base; i < manifest.n_layers; i++)
        if (!add_layer(f, l, &manifest, i, NULL, NULL, err)) return false;
    return true;
}

static bool open_layout(struct folder *f, const struct oci_ref *ref, struct error *err)
{
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    if (!oci_layout_open_ref(&layout, ref, err)) return false;
    if (!add_image(f, &layout, ref->tag, err))
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
    return open_layout(f, &ref, err);
}

/* ---- a package that is open already ---- */

struct kept_ctx {
    const struct oci_kept *kept;
    struct thin *thin; /* NULL: nothing may be missing */
};

static bool fill_kept(struct folder *f, void *ctx, struct error *err)
{
    const struct kept_ctx *c = ctx;
    const struct oci_kept *k = c->kept;
    uint32_t n_base;
    if (!k->manifest.doc) return error_set(err, ERR_FORMAT, "'%.512s': its manifest cannot be read", folder_path(f));
    int dir = fcntl(k->layout.dir, F_DUPFD_CLOEXEC, 0);
    if (dir < 0) return error_set_errno(err, "cannot open '%.512s' a second time", folder_path(f));
    folder_set_dir(f, dir);
    bool ok = oci_base_layers(&k->manifest, "manifest", &n_base, err);
    for (uint32_t i = ok ? n_base : 0; ok && i < k->manifest.n_layers; i++) {
        const struct file_place *at = i < k->n_layers && k->layers[i].fd >= 0 ? &k->layers[i] : NULL;
        ok = add_layer(f, &k->layout, &k->manifest, i, at, c->thin, err);
    }
    return ok || error_wrap(err, "'%.512s'", folder_path(f));
}

bool folder_open_kept(struct folder **out, const char *name, const struct oci_kept *k, const struct oci_weights *beside,
                      bool *missing, struct error *err)
{
    struct thin t = {.weights = beside};
    struct kept_ctx c = {k, oci_is_thin(&k->index) ? &t : NULL};
    bool ok = folder_open_by(out, name, fill_kept, &c, err);
    *missing = t.missing;
    return ok;
}

void oci_kept_close(struct oci_kept *k)
{
    for (uint32_t i = 0; i < k->n_layers; i++) cleanup_file_place(&k->layers[i]);
    free(k->layers);
    oci_manifest_close(&k->manifest);
    oci_index_close(&k->index);
    oci_layout_close(&k->layout);
    *k = (struct oci_kept)OCI_KEPT_INIT;
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
