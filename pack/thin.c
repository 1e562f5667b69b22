#include "pack/thin.h"

#include "formats/oci_package.h"
#include "pack/oci_writer.h"

struct digest_set {
    struct digest *list;
    size_t n, capacity;
};

struct thin {
    struct oci_ref ref;
    struct oci_layout layout;
    struct oci_package package;
    struct digest_set left_out, copied;
    struct oci_writer *writer;
    const struct progress *progress;
    struct thin_result *result;
};

static bool set_has(const struct digest_set *s, const struct digest *d)
{
    for (size_t i = 0; i < s->n; i++)
        if (digest_equal(&s->list[i], d)) return true;
    return false;
}

static bool set_add(struct digest_set *s, const struct digest *d, struct error *err)
{
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        struct digest *p = realloc(s->list, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        s->list = p;
        s->capacity = capacity;
    }
    s->list[s->n++] = *d;
    return true;
}

static bool is_index(const struct oci_descriptor *d)
{
    return strcmp(d->media_type, OCI_MEDIA_INDEX) == 0;
}

static bool load_manifest(const struct thin *t, const struct oci_descriptor *d, struct oci_manifest *out,
                          struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    return oci_blob_load(&t->layout, d, OCI_DOCUMENT_BYTES_MAX, "manifest", &text, NULL, err) &&
           oci_manifest_parse(buffer_view(&text), "manifest", out, err);
}

/* What is left out: layers of a base, and those whose file holds weights. */
static bool leave_out(struct thin *t, const struct oci_manifest *m, struct error *err)
{
    uint32_t n_base;
    if (m->has_subject || strcmp(m->config.media_type, OCI_MEDIA_CONFIG) != 0) return true;
    if (!oci_base_layers(m, "manifest", &n_base, err)) return false;
    for (uint32_t i = 0; i < m->n_layers; i++) {
        const struct oci_descriptor *d = &m->layers[i];
        const char *title = oci_annotation(d->annotations, OCI_ANNOTATION_TITLE);
        bool weights = title && oci_is_weights(title);
        if ((i >= n_base && !weights) || set_has(&t->left_out, &d->digest)) continue;
        if (!set_add(&t->left_out, &d->digest, err)) return false;
        t->result->n_left_out++;
        t->result->bytes_left_out += d->size;
    }
    return true;
}

static bool copy_blob(struct thin *t, const struct oci_descriptor *d, struct error *err)
{
    if (set_has(&t->left_out, &d->digest) || set_has(&t->copied, &d->digest)) return true;
    t->result->n_blobs++;
    t->result->bytes += d->size;
    return progress_go_on(t->progress, err) && set_add(&t->copied, &d->digest, err) &&
           oci_writer_copy_blob(t->writer, &t->layout, d, err);
}

static bool copy_entry(struct thin *t, const struct oci_descriptor *entry, struct error *err)
{
    CLEANUP(oci_manifest) struct oci_manifest m = {0};
    if (!copy_blob(t, entry, err)) return false;
    if (is_index(entry)) return true;
    if (!load_manifest(t, entry, &m, err) || !copy_blob(t, &m.config, err)) return false;
    for (uint32_t i = 0; i < m.n_layers; i++)
        if (!copy_blob(t, &m.layers[i], err)) return false;
    return true;
}

static bool copy_all(struct thin *t, struct error *err)
{
    const struct oci_index *index = &t->package.index;
    for (uint32_t i = 0; i < index->n_manifests; i++) {
        CLEANUP(oci_manifest) struct oci_manifest m = {0};
        if (is_index(&index->manifests[i])) continue;
        if (!load_manifest(t, &index->manifests[i], &m, err) || !leave_out(t, &m, err)) return false;
    }
    for (uint32_t i = 0; i < index->n_manifests; i++)
        if (!copy_entry(t, &index->manifests[i], err)) return error_wrap(err, "index entry %u", i + 1);
    return true;
}

static bool commit(struct thin *t, struct error *err)
{
    CLEANUP(json)
    json_t *annotations = t->package.index.annotations ? json_deep_copy(t->package.index.annotations) : json_object();
    if (!annotations) return error_memory(err, 0);
    if (!json_put(annotations, OCI_ANNOTATION_THIN, json_string("true"), err)) return false;
    struct oci_index index = {.manifests = t->package.index.manifests,
                              .n_manifests = t->package.index.n_manifests,
                              .annotations = annotations};
    return oci_writer_commit(take_ptr(&t->writer), &index, err);
}

bool thin_run(const char *ref, const char *out, bool replace, const struct progress *progress,
              struct thin_result *result, struct error *err)
{
    *result = (struct thin_result){0};
    struct thin t = {.layout = OCI_LAYOUT_INIT, .progress = progress, .result = result};
    /* No key is like another run's: a thin layout is small, and is made anew. */
    struct oci_writer_options wo = {.layout_dir = out, .key = "thin", .replace = replace};
    bool ok = oci_ref_parse(ref, &t.ref, err) && oci_layout_open_ref(&t.layout, &t.ref, err) &&
              oci_package_open(&t.package, &t.layout, t.ref.tag, err);
    if (ok && dir_is_within(t.layout.dir, out))
        ok = error_set(err, ERR_USAGE, "output '%.512s' would replace the package, which is being read", out);
    ok = ok && oci_writer_open(&t.writer, &wo, err) && copy_all(&t, err) && commit(&t, err);
    if (ok) result->image = t.package.entry->digest;
    oci_writer_close(t.writer, false);
    free(t.left_out.list);
    free(t.copied.list);
    oci_package_close(&t.package);
    oci_layout_close(&t.layout);
    oci_ref_close(&t.ref);
    return ok;
}
