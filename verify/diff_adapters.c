/* Adapters of two packages, by the digests of their layers: they are no members of the model's folder. */
#include "formats/oci_package.h"
#include "verify/diff_impl.h"

struct adapters {
    struct oci_ref ref;
    struct oci_layout layout;
    struct oci_package package;
    struct oci_manifest manifest; /* of the first image: it has every file */
};

static void close_adapters(struct adapters *a)
{
    oci_manifest_close(&a->manifest);
    oci_package_close(&a->package);
    oci_layout_close(&a->layout);
    oci_ref_close(&a->ref);
}

static bool open_adapters(struct adapters *a, const char *ref, struct error *err)
{
    return oci_ref_parse(ref, &a->ref, err) && oci_layout_open_ref(&a->layout, &a->ref, err) &&
           oci_package_open(&a->package, &a->layout, a->ref.tag, err) &&
           oci_package_manifest(&a->layout, oci_package_image(&a->package, 0), &a->manifest, err);
}

static const char *title_of(const struct oci_descriptor *d)
{
    const char *title = oci_annotation(d->annotations, OCI_ANNOTATION_TITLE);
    return title && strncmp(title, OCI_ADAPTERS_FOLDER, strlen(OCI_ADAPTERS_FOLDER)) == 0 ? title : NULL;
}

static const struct oci_descriptor *find(const struct oci_manifest *m, const char *title)
{
    for (uint32_t i = 0; i < m->n_layers; i++) {
        const char *t = title_of(&m->layers[i]);
        if (t && strcmp(t, title) == 0) return &m->layers[i];
    }
    return NULL;
}

static bool changed(struct diff *d, const char *title, const struct oci_descriptor *a, const struct oci_descriptor *b)
{
    const char *x = oci_annotation(a->annotations, OCI_ANNOTATION_FILE_SHA256),
               *y = oci_annotation(b->annotations, OCI_ANNOTATION_FILE_SHA256);
    return diff_add(d, json_pack("{s:s,s:s,s:s,s:{s:I,s:s},s:{s:I,s:s}}", "what", "file", "name", title, "how",
                                 "values", "a", "bytes", (json_int_t)a->size, "sha256", x ? x : "", "b", "bytes",
                                 (json_int_t)b->size, "sha256", y ? y : ""));
}

static bool compare(struct diff *d, const struct oci_manifest *a, const struct oci_manifest *b, uint32_t *n_all,
                    uint32_t *n_same)
{
    for (uint32_t i = 0; i < a->n_layers; i++) {
        const char *title = title_of(&a->layers[i]);
        if (!title) continue;
        const struct oci_descriptor *other = find(b, title);
        bool same = other && digest_equal(&a->layers[i].digest, &other->digest);
        (*n_all)++;
        *n_same += same;
        if (!other ? !diff_add_one(d, "file", title, true) : !same && !changed(d, title, &a->layers[i], other))
            return false;
    }
    for (uint32_t i = 0; i < b->n_layers; i++) {
        const char *title = title_of(&b->layers[i]);
        if (!title || find(a, title)) continue;
        (*n_all)++;
        if (!diff_add_one(d, "file", title, false)) return false;
    }
    return true;
}

static bool is_package(const char *path)
{
    return strncmp(path, OCI_REF_PREFIX, strlen(OCI_REF_PREFIX)) == 0 ||
           strncmp(path, OCI_ARCHIVE_PREFIX, strlen(OCI_ARCHIVE_PREFIX)) == 0;
}

bool diff_adapters(struct diff *d, const char *a, const char *b, uint32_t *n_all, uint32_t *n_same)
{
    struct adapters x = {.layout = OCI_LAYOUT_INIT}, y = {.layout = OCI_LAYOUT_INIT};
    if (!is_package(a) || !is_package(b)) return true;
    bool ok = open_adapters(&x, a, d->err) && open_adapters(&y, b, d->err) &&
              compare(d, &x.manifest, &y.manifest, n_all, n_same);
    close_adapters(&x);
    close_adapters(&y);
    return ok;
}
