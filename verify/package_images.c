/* The images of a package: which they are, their configs, and their layers, of which the first image has all. */
#include "verify/package_state.h"

#include "core/name_index.h"

static uint32_t entry_of(const struct package *p, const struct oci_descriptor *d)
{
    for (uint32_t i = 0; i < p->index.n_manifests; i++) {
        const struct oci_descriptor *entry = &p->index.manifests[i];
        if (digest_equal(&entry->digest, &d->digest) && entry->size == d->size &&
            strcmp(entry->media_type, d->media_type) == 0)
            return i;
    }
    return NAME_NONE;
}

static bool take_index(struct package *p, bool *go_on, struct error *err)
{
    struct error found = ERROR_INIT;
    CLEANUP_BUFFER struct buffer text = {0};
    bool differs = false;
    *go_on = false;
    if (!oci_blob_load(&p->layout, package_image(p), OCI_DOCUMENT_BYTES_MAX, "index", &text, &differs, &found) ||
        !oci_images_parse(buffer_view(&text), "index", &p->images, &found))
        return package_judge(p->report, differs ? CHECK_DIGEST : CHECK_LAYOUT, "index", &found, err);
    p->n_images = p->images.n_manifests;
    p->image_entries = calloc(p->n_images, sizeof *p->image_entries);
    if (!p->image_entries) return error_memory(err, p->n_images * sizeof *p->image_entries);
    *go_on = true;
    for (uint32_t i = 0; i < p->n_images; i++) {
        p->image_entries[i] = entry_of(p, &p->images.manifests[i]);
        if (p->image_entries[i] != NAME_NONE) continue;
        report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, "index", "its image %u has no entry in index.json", i + 1);
        *go_on = false;
    }
    if (*go_on)
        report_add(p->report, CHECK_DIGEST, VERDICT_PASS, "index", "%zu bytes as named, %u images", text.size,
                   p->n_images);
    return true;
}

bool package_find_images(struct package *p, bool *go_on, struct error *err)
{
    if (strcmp(package_image(p)->media_type, OCI_MEDIA_INDEX) == 0) return take_index(p, go_on, err);
    *go_on = true;
    p->n_images = 1;
    p->image_entries = calloc(1, sizeof *p->image_entries);
    if (!p->image_entries) return error_memory(err, sizeof *p->image_entries);
    p->image_entries[0] = p->image;
    return true;
}

/* What the index says of an image is what the image says itself. */
static const char *descriptor_fault(const struct package *p, const struct oci_manifest *m)
{
    if (!p->images.doc) return NULL;
    const struct oci_descriptor *d = &p->images.manifests[p->current];
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)d->annotations, key, value) {
        const char *own = oci_annotation(m->annotations, key);
        if (!own || strcmp(own, json_string_value(value)) != 0)
            return "the index gives it annotations that it does not have itself";
    }
    if (p->config.doc && (strcmp(d->architecture, p->config.architecture) != 0 || strcmp(d->os, p->config.os) != 0))
        return "the index gives it another platform";
    return NULL;
}

static bool check_config(struct package *p, struct error *err)
{
    const struct oci_manifest *m = package_manifest(p);
    struct error found = ERROR_INIT;
    CLEANUP_BUFFER struct buffer text = {0};
    bool differs = false;
    uint32_t n_base = 0;
    if (!oci_blob_load(&p->layout, &m->config, OCI_DOCUMENT_BYTES_MAX, "config", &text, &differs, &found) ||
        !oci_config_parse(buffer_view(&text), "config", &p->config, &found) ||
        !oci_base_layers(m, "manifest", &n_base, &found) ||
        (!n_base && !oci_config_check_data(&p->config, "config", &found)))
        return package_judge(p->report, differs ? CHECK_DIGEST : CHECK_LAYOUT, "config", &found, err);
    const char *fault = descriptor_fault(p, m);
    if (p->config.n_layers != m->n_layers)
        report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, "config", "has %u diff ids, the manifest has %u layers",
                   p->config.n_layers, m->n_layers);
    else if (fault) report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, "config", "image %u: %s", p->current + 1, fault);
    else if (n_base)
        report_add(p->report, CHECK_DIGEST, VERDICT_PASS, "config", "%zu bytes as named, an image for %s/%s on a base",
                   text.size, p->config.os, p->config.architecture);
    else
        report_add(p->report, CHECK_DIGEST, VERDICT_PASS, "config", "%zu bytes as named, a data image for linux/amd64",
                   text.size);
    return true;
}

bool package_check_images(struct package *p, struct error *err)
{
    if (!seen_layers_list(&p->seen, p, err)) return false;
    for (p->current = 0; p->current < p->n_images; p->current++) {
        oci_config_close(&p->config);
        if (!package_manifest(p)->doc) continue; /* said already */
        if (!check_config(p, err)) return false;
        package_check_minimum(p);
        if (!package_check_layers(p, err)) return false;
    }
    return true;
}
