#include "pack/attach.h"

#include "formats/referrer.h"
#include "pack/sign_sweep.h"

#include <unistd.h>

const struct attach_form attach_form_bundle = {ENVELOPE_BUNDLE_MEDIA, OCI_MEDIA_EMPTY, ENVELOPE_BUNDLE_MEDIA};

/* The bytes of every subject are those that are named, and no subject is a referrer. */
static bool check_subjects(const struct attach *a, struct error *err)
{
    for (uint32_t i = 0; i < attach_subjects(a); i++) {
        CLEANUP(oci_manifest) struct oci_manifest m = {0};
        if (i == 0 && oci_package_has_index(&a->package)) continue; /* read already */
        if (!oci_package_manifest(&a->layout, attach_subject(a, i), &m, err)) return false;
    }
    return true;
}

static bool grow(struct attach *a, const struct oci_descriptor *d, struct error *err)
{
    if (a->n_entries == OCI_MANIFESTS_MAX)
        return error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": is full: it has %u entries", a->n_entries);
    struct oci_descriptor *p = realloc(a->entries, (a->n_entries + 1u) * sizeof *p);
    if (!p) return error_memory(err, (a->n_entries + 1u) * sizeof *p);
    a->entries = p;
    p[a->n_entries++] = *d;
    return true;
}

bool attach_entry(struct attach *a, const struct oci_descriptor *entry, struct error *err)
{
    return grow(a, entry, err);
}

static bool load(struct attach *a, struct error *err)
{
    if (!oci_package_open(&a->package, &a->layout, a->ref.tag, err) || !check_subjects(a, err) ||
        !sign_sweep(&a->layout, &a->package.index, err))
        return false;
    for (uint32_t i = 0; i < a->package.index.n_manifests; i++)
        if (!grow(a, &a->package.index.manifests[i], err)) return false;
    a->n_old = a->n_entries;
    a->texts = json_array();
    return a->texts ? true : error_memory(err, 0);
}

bool attach_open(struct attach *a, const char *ref, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    *a = (struct attach){.layout = OCI_LAYOUT_INIT, .index_file = FILE_OUT_INIT};
    if (!oci_ref_parse(ref, &a->ref, err)) return false;
    if (a->ref.is_archive) {
        error_set(err, ERR_USAGE,
                  "'%.512s' is an archive, to which nothing is added: make a thin layout of it (ingot thin), add to "
                  "that, and ingot merge it into a package that is a folder",
                  ref);
        attach_close(a);
        return false;
    }
    if (oci_layout_open(&a->layout, a->ref.dir, err) && path_join(&path, a->ref.dir, OCI_INDEX_FILE, err) &&
        path_join(&a->blobs, a->ref.dir, OCI_BLOBS_FOLDER, err) && file_out_open(&a->index_file, path, 0666, err) &&
        load(a, err))
        return true;
    attach_close(a);
    return false;
}

bool attach_blob(struct attach *a, struct bytes data, struct oci_descriptor *out, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    CLEANUP(free) char *path = NULL;
    out->size = data.size;
    if (!sha256_of(data, &out->digest, err)) return false;
    digest_hex(&out->digest, hex);
    a->wrote = true;
    return path_join(&path, a->blobs, hex, err) && file_save(path, data, 0666, err);
}

static bool add_manifest(struct attach *a, const struct oci_manifest *m, struct oci_descriptor *entry,
                         struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    return oci_manifest_text(m, &text, &n, err) && attach_blob(a, bytes_of(text, n), entry, err);
}

bool attach_referrer(struct attach *a, const struct oci_descriptor *subject, const struct attach_form *form,
                     struct bytes body, const json_t *annotations, struct error *err)
{
    struct oci_descriptor layer = {.media_type = form->layer_type},
                          entry = {.media_type = OCI_MEDIA_MANIFEST,
                                   .artifact_type = form->artifact_type ? form->artifact_type : form->config_type};
    struct oci_manifest m = {
        .artifact_type = form->artifact_type,
        .config = {.media_type = form->config_type},
        .layers = &layer,
        .n_layers = 1,
        .has_subject = true,
        .subject = {.media_type = subject->media_type, .digest = subject->digest, .size = subject->size},
        .annotations = annotations,
    };
    return attach_blob(a, body, &layer, err) && attach_blob(a, bytes_text(REFERRER_CONFIG_TEXT), &m.config, err) &&
           add_manifest(a, &m, &entry, err) && grow(a, &entry, err);
}

bool attach_find(const struct attach *a, const struct oci_descriptor *subject, attach_look_fn look, void *ctx,
                 bool *found, struct error *err)
{
    *found = false;
    for (uint32_t i = 0; i < a->n_entries && !*found; i++) {
        CLEANUP_BUFFER struct buffer text = {0};
        CLEANUP(oci_manifest) struct oci_manifest m = {0};
        struct error unread = ERROR_INIT;
        if (!a->entries[i].media_type || strcmp(a->entries[i].media_type, OCI_MEDIA_MANIFEST) != 0) continue;
        /* One that cannot be read is not ours to judge here: verify will. */
        if (!oci_blob_load(&a->layout, &a->entries[i], OCI_DOCUMENT_BYTES_MAX, "referrer", &text, NULL, &unread) ||
            !oci_manifest_parse(buffer_view(&text), "referrer", &m, &unread)) {
            if (unread.code == ERR_MEMORY) return error_memory(err, text.size);
            continue;
        }
        if (!m.has_subject || !digest_equal(&m.subject.digest, &subject->digest)) continue;
        if (!look(ctx, a, &m, i, found, err)) return false;
    }
    return true;
}

bool attach_tagged(struct attach *a, const char *tag, const char *kind, const struct oci_manifest *m,
                   const struct oci_manifest *old, struct error *err)
{
    struct oci_descriptor entry = {.media_type = OCI_MEDIA_MANIFEST};
    json_t *annotations = json_pack("{s:s,s:s}", OCI_ANNOTATION_KIND, kind, OCI_ANNOTATION_REF, tag);
    if (json_array_append_new(a->texts, annotations) != 0) return error_memory(err, 0);
    entry.annotations = annotations;
    if (!add_manifest(a, m, &entry, err)) return false;
    for (uint32_t i = 0; i < a->n_entries; i++) {
        const char *t = oci_annotation(a->entries[i].annotations, OCI_ANNOTATION_REF);
        if (!t || strcmp(t, tag) != 0) continue;
        if (a->n_replaced + 2 > 2 * ATTACH_REPLACED_MAX)
            return error_set(err, ERR_FORMAT, "more than %u legacy signatures in one layout", ATTACH_REPLACED_MAX);
        a->replaced[a->n_replaced++] = a->entries[i].digest;
        if (old) a->replaced[a->n_replaced++] = old->config.digest;
        a->entries[i] = entry;
        return true;
    }
    return grow(a, &entry, err);
}

bool attach_drop(struct attach *a, uint32_t entry, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(oci_manifest) struct oci_manifest m = {0};
    if (!oci_blob_load(&a->layout, &a->entries[entry], OCI_DOCUMENT_BYTES_MAX, "referrer", &text, NULL, err) ||
        !oci_manifest_parse(buffer_view(&text), "referrer", &m, err))
        return false;
    if (a->n_replaced + 2 > 2 * ATTACH_REPLACED_MAX)
        return error_set(err, ERR_FORMAT, "more than %u statements to replace in one layout", ATTACH_REPLACED_MAX);
    a->replaced[a->n_replaced++] = a->entries[entry].digest;
    if (m.n_layers == 1) a->replaced[a->n_replaced++] = m.layers[0].digest;
    a->entries[entry].media_type = NULL; /* left out of the index */
    return true;
}

static void compact(struct attach *a)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_entries; i++)
        if (a->entries[i].media_type) a->entries[n++] = a->entries[i];
    a->n_entries = n;
}

static bool write_index(struct attach *a, struct error *err)
{
    struct oci_index index = {
        .manifests = a->entries, .n_manifests = a->n_entries, .annotations = a->package.index.annotations};
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    return oci_index_text(&index, &text, &n, err) && file_out_write(&a->index_file, text, n, err) &&
           file_out_commit(&a->index_file, err);
}

/* A killed writer leaves these; the next one's sweep finds them. */
static void remove_replaced(const struct attach *a)
{
    for (uint32_t i = 0; i < a->n_replaced; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&a->replaced[i], hex);
        if (unlinkat(a->layout.blobs, hex, 0) != 0) continue;
    }
}

bool attach_commit(struct attach *a, struct error *err)
{
    if (a->n_entries == a->n_old && !a->n_replaced) return true;
    compact(a);
    if (!write_index(a, err)) return false;
    a->wrote = false;
    remove_replaced(a);
    return true;
}

/* The lock is held until everything that was written in vain is gone. */
void attach_close(struct attach *a)
{
    struct error ignored = ERROR_INIT;
    CLEANUP(oci_index) struct oci_index now = {0};
    /* By index.json as it is on disk now: when only the last flush failed, it has the new name already. What cannot be
     * removed the next one tries again. */
    if (a->wrote && oci_layout_index(&a->layout, &now, &ignored) && !sign_sweep(&a->layout, &now, &ignored))
        a->wrote = false;
    file_out_abort(&a->index_file);
    oci_package_close(&a->package);
    oci_layout_close(&a->layout);
    oci_ref_close(&a->ref);
    json_decref(a->texts);
    free(a->entries);
    free(a->blobs);
    *a = (struct attach){.layout = OCI_LAYOUT_INIT, .index_file = FILE_OUT_INIT};
}
