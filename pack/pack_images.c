/* Config and manifest of every image of a package, and the index over them. */
#include "pack/pack_job.h"

/* Which files an image has; `image` 0 is the fallback, k + 1 that of profile k. */
static bool has_file(const struct pack_job *j, uint32_t image, uint32_t i)
{
    uint32_t p = j->sources[i].profile;
    return image == 0 || p == PACK_MODEL || p == PACK_ADAPTER || p == image - 1;
}

static uint32_t count_files(const struct pack_job *j, uint32_t image)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < j->result->n_files; i++) n += has_file(j, image, i);
    return n;
}

static bool write_config(const struct pack_job *j, struct oci_writer *w, uint32_t image, const json_t *annotations,
                         struct oci_descriptor *out, struct error *err)
{
    const struct pack_result *r = j->result;
    size_t n_max = r->n_files + j->base.n_layers, n = 0;
    CLEANUP(free) struct digest *diff_ids = calloc(n_max, sizeof *diff_ids);
    CLEANUP(free) const char **created_by = calloc(n_max, sizeof *created_by);
    CLEANUP(free) char *text = NULL;
    CLEANUP(json) json_t *settings = NULL;
    if (!diff_ids || !created_by) return error_memory(err, n_max * sizeof *diff_ids);
    if (j->o->base && !pack_base_settings(j, image, annotations, &settings, err)) return false;
    struct oci_config c = {.diff_ids = diff_ids,
                           .created_by = created_by,
                           .created = j->created,
                           .architecture = j->base.architecture,
                           .os = j->base.os,
                           .settings = settings,
                           .base_history = j->base.history,
                           .n_layers = j->base.n_layers};
    for (uint32_t i = 0; i < j->base.n_layers; i++) diff_ids[i] = j->base.diff_ids[i];
    for (uint32_t i = 0; i < r->n_files; i++) {
        if (!has_file(j, image, i)) continue;
        diff_ids[c.n_layers] = r->files[i].layer;
        created_by[c.n_layers++] = r->files[i].path;
    }
    if (!oci_config_text(&c, &text, &n, err)) return false;
    *out = (struct oci_descriptor){.media_type = OCI_MEDIA_CONFIG, .size = n};
    return oci_writer_add_blob(w, bytes_of(text, n), &out->digest, err);
}

/* *out: a new reference. */
static bool layer_annotations(const struct pack_job *j, uint32_t i, json_t **out, struct error *err)
{
    const struct pack_file *f = &j->result->files[i];
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&f->digest, hex);
    CLEANUP(json) json_t *a = json_pack("{s:s,s:s}", OCI_ANNOTATION_TITLE, f->path, OCI_ANNOTATION_FILE_SHA256, hex);
    if (!a) return error_memory(err, 0);
    if (j->sources[i].profile == PACK_ADAPTER) {
        const char *name = f->path + strlen(OCI_ADAPTERS_FOLDER);
        if (!json_put(a, OCI_ANNOTATION_ADAPTER, json_stringn(name, strcspn(name, "/")), err)) return false;
    }
    *out = take_ptr(&a);
    return true;
}

/* What the profile says, and on the manifest the labels too. *out: new reference, NULL without either. */
static bool image_annotations(const struct pack_job *j, uint32_t image, bool labels, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *a = labels ? json_deep_copy(j->annotations) : json_object();
    if (!a) return error_memory(err, 0);
    if (labels && !pack_base_annotate(j, a, err)) return false;
    if (j->n_list && image == 0 && !json_put(a, PACK_ANNOTATION_PROFILE, json_string(PACK_FALLBACK_NAME), err))
        return false;
    if (j->n_list && image > 0 && json_object_update(a, j->list[image - 1].annotations) != 0)
        return error_memory(err, 0);
    *out = json_object_size(a) ? take_ptr(&a) : NULL;
    return true;
}

static bool write_manifest(const struct pack_job *j, struct oci_writer *w, uint32_t image, const json_t *annotations,
                           struct oci_descriptor *out, struct error *err)
{
    const struct pack_result *r = j->result;
    uint32_t n_layers = j->base.n_layers;
    CLEANUP(json) json_t *owner = json_array(); /* of the layers' annotations */
    CLEANUP(free) struct oci_descriptor *layers = calloc(count_files(j, image) + n_layers, sizeof *layers);
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    if (!owner || !layers) return error_memory(err, r->n_files * sizeof *layers);
    for (uint32_t i = 0; i < n_layers; i++) layers[i] = j->base.layers[i];
    for (uint32_t i = 0; i < r->n_files; i++) {
        if (!has_file(j, image, i)) continue;
        struct oci_descriptor *d = &layers[n_layers];
        *d = (struct oci_descriptor){
            .media_type = OCI_MEDIA_LAYER, .digest = r->files[i].layer, .size = r->files[i].layer_bytes};
        json_t *a = NULL;
        if (!layer_annotations(j, i, &a, err)) return false;
        if (json_array_append_new(owner, a) != 0) return error_memory(err, 0);
        d->annotations = json_array_get(owner, n_layers++ - j->base.n_layers);
    }
    struct oci_manifest m = {.layers = layers, .n_layers = n_layers, .annotations = annotations};
    if (!write_config(j, w, image, annotations, &m.config, err) || !oci_manifest_text(&m, &text, &n, err)) return false;
    if (n > OCI_DOCUMENT_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "the manifest has %zu bytes, registries take at most %zu", n,
                         OCI_DOCUMENT_BYTES_MAX);
    *out = (struct oci_descriptor){.media_type = OCI_MEDIA_MANIFEST, .size = n};
    return oci_writer_add_blob(w, bytes_of(text, n), &out->digest, err);
}

/* The tag and cosign's mark of an entry of index.json; `owner` keeps them. */
static bool label_entry(struct oci_descriptor *d, const char *tag, const char *kind, json_t *owner, struct error *err)
{
    json_t *a = json_pack("{s:s}", OCI_ANNOTATION_REF, tag);
    if (json_array_append_new(owner, a) != 0) return error_memory(err, 0);
    d->annotations = a;
    return !kind || json_put(a, OCI_ANNOTATION_KIND, json_string(kind), err);
}

static bool keep_image(struct pack_job *j, uint32_t i, const char *name, const char *tag, const struct digest *d,
                       struct error *err)
{
    struct pack_image *out = &j->result->images[i];
    *out = (struct pack_image){.digest = *d, .name = strdup(name), .tag = strdup(tag)};
    j->result->n_images = i + 1;
    return out->name && out->tag ? true : error_memory(err, strlen(tag));
}

/* images[i] as the index describes it, entries[1 + i] as index.json does. */
static bool write_image(struct pack_job *j, struct oci_writer *w, uint32_t i, struct oci_descriptor *image,
                        struct oci_descriptor *entry, json_t *owner, struct error *err)
{
    CLEANUP(free) char *fallback = NULL;
    CLEANUP(json) json_t *annotations = NULL;
    json_t *profile = NULL;
    if (asprintf(&fallback, "%s-" PACK_FALLBACK_NAME, j->ref.tag) < 0) return error_memory(err, 0);
    if (!oci_tag_is_valid(fallback))
        return error_set(err, ERR_USAGE, "'%.256s': the tag is too long for those of the package's images", j->o->ref);
    const char *tag = i == 0 ? fallback : j->list[i - 1].tag;
    if (!image_annotations(j, i, true, &annotations, err) || !image_annotations(j, i, false, &profile, err))
        return false;
    if (json_array_append_new(owner, profile) != 0) return error_memory(err, 0);
    if (!write_manifest(j, w, i, annotations, entry, err)) return false;
    *image = *entry;
    image->annotations = profile;
    image->architecture = j->o->base ? j->base.architecture : OCI_ARCHITECTURE;
    image->os = j->o->base ? j->base.os : OCI_OS;
    return keep_image(j, i, i == 0 ? PACK_FALLBACK_NAME : j->list[i - 1].name, tag, &entry->digest, err) &&
           label_entry(entry, tag, i == 0 ? OCI_KIND_IMAGE : NULL, owner, err);
}

static bool write_index(struct pack_job *j, struct oci_writer *w, const struct oci_descriptor *images, uint32_t n,
                        struct oci_descriptor *out, struct error *err)
{
    struct oci_index index = {.manifests = (struct oci_descriptor *)(uintptr_t)images,
                              .n_manifests = n,
                              .annotations = json_object_size(j->annotations) ? j->annotations : NULL};
    CLEANUP(free) char *text = NULL;
    size_t bytes = 0;
    if (!oci_index_text(&index, &text, &bytes, err)) return false;
    *out = (struct oci_descriptor){.media_type = OCI_MEDIA_INDEX, .size = bytes};
    return oci_writer_add_blob(w, bytes_of(text, bytes), &out->digest, err);
}

static bool write_one(struct pack_job *j, struct oci_writer *w, struct oci_descriptor *entry, json_t *owner,
                      struct error *err)
{
    CLEANUP(json) json_t *annotations = NULL;
    return image_annotations(j, 0, true, &annotations, err) && write_manifest(j, w, 0, annotations, entry, err) &&
           keep_image(j, 0, PACK_FALLBACK_NAME, j->ref.tag, &entry->digest, err) &&
           label_entry(entry, j->ref.tag, OCI_KIND_IMAGE, owner, err);
}

bool pack_images_write(struct pack_job *j, struct oci_writer *w, struct oci_descriptor *entries, uint32_t *n,
                       json_t *owner, struct error *err)
{
    uint32_t n_images = j->n_list ? j->n_list + 1 : 1;
    CLEANUP(free) struct oci_descriptor *images = calloc(n_images, sizeof *images);
    j->result->images = calloc(n_images, sizeof *j->result->images);
    if (!images || !j->result->images) return error_memory(err, n_images * sizeof *images);
    *n = j->n_list ? n_images + 1 : 1;
    if (!j->n_list) {
        if (!write_one(j, w, &entries[0], owner, err)) return false;
    } else {
        for (uint32_t i = 0; i < n_images; i++)
            if (!write_image(j, w, i, &images[i], &entries[1 + i], owner, err)) return false;
        if (!write_index(j, w, images, n_images, &entries[0], err) ||
            !label_entry(&entries[0], j->ref.tag, OCI_KIND_INDEX, owner, err))
            return false;
    }
    j->result->image = entries[0].digest;
    return true;
}
