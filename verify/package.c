/* The documents of a package; signatures, layers and files are in files of their own. */
#include "verify/package_state.h"

#include <fcntl.h>

#include "formats/envelope.h"

static bool report_document(struct package *p, const char *name, const struct error *found, bool differs,
                            struct error *err)
{
    return package_judge(p->report, differs ? CHECK_DIGEST : CHECK_LAYOUT, name, found, err);
}

bool package_judge(struct report *r, const char *check_class, const char *name, const struct error *found,
                   struct error *err)
{
    size_t n = strlen(name);
    const char *text = found->text;
    if (strncmp(text, name, n) == 0 && strncmp(text + n, ": ", 2) == 0) text += n + 2;
    switch (found->code) {
    case ERR_FORMAT:
    case ERR_UNSUPPORTED:
    case ERR_MISMATCH: report_add(r, check_class, VERDICT_FAIL, name, "%s", text); return true;
    case ERR_IO: report_add(r, check_class, VERDICT_UNDECIDED, name, "%s", text); return true;
    default:
        if (err) *err = *found;
        return false;
    }
}

/* oci-layout, index.json and the tag; *go_on says whether the rest can be looked at. */
static bool check_index(struct package *p, bool *go_on, struct error *err)
{
    struct error found = ERROR_INIT;
    *go_on = false;
    if (oci_layout_marker(&p->layout, &found))
        report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, OCI_LAYOUT_FILE, "version 1.0.0");
    else if (!package_judge(p->report, CHECK_LAYOUT, OCI_LAYOUT_FILE, &found, err)) return false;
    if (!oci_layout_index(&p->layout, &p->index, &found))
        return package_judge(p->report, CHECK_LAYOUT, OCI_INDEX_FILE, &found, err);
    const struct oci_descriptor *d = oci_index_find(&p->index, p->ref.tag);
    if (!d) {
        report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, OCI_INDEX_FILE, "no image has the tag '%s'", p->ref.tag);
        return true;
    }
    char digest[OCI_DIGEST_SIZE];
    oci_digest_text(&d->digest, digest);
    p->image = (uint32_t)(d - p->index.manifests);
    p->has_image = true;
    report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, OCI_INDEX_FILE, "tag '%s' is image %s", p->ref.tag, digest);
    *go_on = true;
    return true;
}

static void check_wanted(struct package *p, const struct digest *wanted, const char *name)
{
    char found[OCI_DIGEST_SIZE], text[OCI_DIGEST_SIZE];
    oci_digest_text(&package_image(p)->digest, found);
    oci_digest_text(wanted, text);
    enum verdict v = digest_equal(&package_image(p)->digest, wanted) ? VERDICT_PASS : VERDICT_FAIL;
    report_add(p->report, CHECK_DIGEST, v, name, "expected %s, found %s", text, found);
}

static void entry_name(const struct package *p, uint32_t i, char name[32])
{
    if (i == p->image) snprintf(name, 32, p->images.doc ? "index" : "manifest");
    else snprintf(name, 32, "index entry %u", i + 1);
}

static bool is_listed(const struct package *p, const struct oci_descriptor *d)
{
    for (uint32_t i = 0; i < p->index.n_manifests; i++) {
        const struct oci_descriptor *entry = &p->index.manifests[i];
        if (digest_equal(&entry->digest, &d->digest))
            return entry->size == d->size && strcmp(entry->media_type, d->media_type) == 0;
    }
    return false;
}

/* index.json is not signed, so an entry may say nothing of its own but the tag and cosign's mark: other annotations
 * must be the manifest's (oras copies them). */
static bool entry_adds_nothing(const struct oci_descriptor *entry, const struct oci_manifest *m)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)entry->annotations, key, value) {
        const char *own = oci_annotation(m->annotations, key);
        if (strcmp(key, OCI_ANNOTATION_REF) == 0 || strcmp(key, OCI_ANNOTATION_KIND) == 0) continue;
        if (!own || strcmp(own, json_string_value(value)) != 0) return false;
    }
    return true;
}

/* What is wrong with an entry and its manifest, or NULL. */
static const char *entry_fault(const struct package *p, uint32_t i)
{
    const struct oci_descriptor *entry = &p->index.manifests[i];
    const struct oci_manifest *m = &p->manifests[i];
    const char *said = entry->artifact_type;
    if (strcmp(entry->media_type, OCI_MEDIA_INDEX) == 0)
        return oci_annotation(entry->annotations, OCI_ANNOTATION_REF) ? NULL : "it is an index without a tag";
    if (said && strcmp(said, m->artifact_type ? m->artifact_type : m->config.media_type) != 0)
        return "index.json gives it another artifact type";
    if (!entry_adds_nothing(entry, m)) return "index.json gives it annotations that it does not have itself";
    if (m->has_subject && !is_listed(p, &m->subject))
        return "it is attached to an image that is not in this layout, or not as described";
    if (!m->has_subject && !oci_annotation(entry->annotations, OCI_ANNOTATION_REF))
        return "it has neither a tag nor a subject";
    bool is_image = false;
    for (uint32_t k = 0; k < p->n_images; k++) is_image = is_image || p->image_entries[k] == i;
    if (!is_image) return NULL;
    if (m->has_subject || m->artifact_type) return "it is an artifact, not an image";
    if (strcmp(m->config.media_type, OCI_MEDIA_CONFIG) != 0) return "its config is not an image config";
    if (m->n_layers == 0) return "it has no layers";
    return NULL;
}

static bool check_manifest(struct package *p, uint32_t i, struct error *err)
{
    char name[32];
    struct error found = ERROR_INIT;
    CLEANUP_BUFFER struct buffer text = {0};
    bool differs;
    entry_name(p, i, name);
    if (strcmp(p->index.manifests[i].media_type, OCI_MEDIA_INDEX) == 0) return true; /* package_find_images */
    if (!oci_blob_load(&p->layout, &p->index.manifests[i], OCI_DOCUMENT_BYTES_MAX, name, &text, &differs, &found) ||
        !oci_manifest_parse(buffer_view(&text), name, &p->manifests[i], &found)) {
        p->all_read = false;
        return report_document(p, name, &found, differs, err);
    }
    if (i == p->image && !entry_fault(p, i))
        report_add(p->report, CHECK_DIGEST, VERDICT_PASS, name, "%zu bytes as named, %u layers", text.size,
                   p->manifests[i].n_layers);
    return true;
}

static bool check_manifests(struct package *p, struct error *err)
{
    uint32_t n = p->index.n_manifests;
    p->manifests = calloc(n, sizeof *p->manifests);
    if (!p->manifests) return error_memory(err, n * sizeof *p->manifests);
    p->all_read = true;
    if (!check_manifest(p, p->image, err)) return false;
    for (uint32_t i = 0; i < n; i++)
        if (i != p->image && !check_manifest(p, i, err)) return false;
    return true;
}

/* After the signature: that an image was exchanged is better said by its signature than by its old signature's subject.
 */
static void check_entries(struct package *p)
{
    for (uint32_t i = 0; i < p->index.n_manifests; i++) {
        char name[32];
        entry_name(p, i, name);
        bool is_index = strcmp(p->index.manifests[i].media_type, OCI_MEDIA_INDEX) == 0;
        const char *fault = p->manifests[i].doc || is_index ? entry_fault(p, i) : NULL;
        if (fault) report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, name, "%s", fault);
    }
}

static bool run(struct package *p, struct error *err)
{
    bool go_on;
    if (!crypto_self_test(err) || !oci_ref_parse(p->o->ref, &p->ref, err)) return false;
    struct error found = ERROR_INIT;
    int fd;
    uint64_t size;
    if (p->ref.is_archive ? !file_open(AT_FDCWD, p->ref.dir, &fd, &size, err) : !dir_open(p->ref.dir, &fd, err))
        return false;
    close(fd);
    if (!oci_layout_open_ref(&p->layout, &p->ref, &found))
        return package_judge(p->report, CHECK_LAYOUT, "layout", &found, err);
    if (!check_index(p, &go_on, err)) return false;
    if (!go_on) return true;
    if (p->o->beside && !oci_is_thin(&p->index))
        return error_set(err, ERR_USAGE, "option --weights: '%.256s' is not thin, it has its weights", p->o->ref);
    if (p->o->wanted) check_wanted(p, p->o->wanted, "wanted digest");
    if (p->o->policy && p->o->policy->has_digest) check_wanted(p, &p->o->policy->digest, "the policy's digest");
    if (!package_choose_signers(p, &go_on, err)) return false;
    if (!go_on) return true;
    if (!package_find_images(p, &go_on, err)) return false;
    if (!go_on) return true;
    if (!check_manifests(p, err) || !package_check_signatures(p, err)) return false;
    check_entries(p);
    return package_check_images(p, err) && package_check_files(p, err);
}

/* Into the hands of who asked for it; its layers are there (layer_check.c). What is moved is empty here. */
static void keep(struct package *p)
{
    struct oci_kept *k = p->o->kept;
    k->package = package_image(p)->digest;
    k->layout = p->layout;
    k->index = p->index;
    p->layout = (struct oci_layout)OCI_LAYOUT_INIT;
    p->index = (struct oci_index){0};
    if (!p->manifests) return;
    k->manifest = p->manifests[p->image_entries[0]];
    p->manifests[p->image_entries[0]] = (struct oci_manifest){0};
}

bool package_verify(const struct package_options *o, struct report *r, struct error *err)
{
    struct package p = {.o = o, .report = r, .layout = OCI_LAYOUT_INIT};
    bool ok = run(&p, err);
    uint32_t n_manifests = p.index.n_manifests;
    if (ok && o->kept && p.has_image) keep(&p);
    for (uint32_t i = 0; p.manifests && i < n_manifests; i++) oci_manifest_close(&p.manifests[i]);
    free(p.manifests);
    free(p.image_entries);
    seen_layers_free(&p.seen);
    oci_index_close(&p.images);
    oci_config_close(&p.config);
    oci_index_close(&p.index);
    oci_layout_close(&p.layout);
    oci_ref_close(&p.ref);
    return ok;
}
