#include "pack/sign.h"

#include "formats/referrer.h"
#include "pack/sign_sweep.h"

struct signing {
    const struct key *key;
    struct oci_ref ref;
    struct oci_layout layout;
    struct oci_index index;
    const struct oci_descriptor *image;
    char *blobs; /* path of the blobs' folder */
};

static bool load_image(struct signing *s, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(oci_manifest) struct oci_manifest m = {0};
    if (!oci_layout_marker(&s->layout, err) || !oci_layout_index(&s->layout, &s->index, err)) return false;
    s->image = oci_index_find(&s->index, s->ref.tag);
    if (!s->image) return error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": no image has the tag '%s'", s->ref.tag);
    CLEANUP(oci_index) struct oci_index images = {0};
    if (strcmp(s->image->media_type, OCI_MEDIA_INDEX) == 0)
        return oci_blob_load(&s->layout, s->image, OCI_DOCUMENT_BYTES_MAX, "index", &text, NULL, err) &&
               oci_images_parse(buffer_view(&text), "index", &images, err);
    if (!oci_blob_load(&s->layout, s->image, OCI_DOCUMENT_BYTES_MAX, "manifest", &text, NULL, err) ||
        !oci_manifest_parse(buffer_view(&text), "manifest", &m, err))
        return false;
    return !m.has_subject ? true : error_set(err, ERR_FORMAT, "manifest: is a referrer, not an image");
}

/* A valid signature by this key among the entries. One that cannot be read is not ours to judge here: verify will. */
static bool find_own(const struct signing *s, bool *found, struct error *err)
{
    *found = false;
    for (uint32_t i = 0; i < s->index.n_manifests && !*found; i++) {
        CLEANUP_BUFFER struct buffer text = {0};
        CLEANUP(oci_manifest) struct oci_manifest m = {0};
        CLEANUP(envelope) struct envelope e = {0};
        struct error unread = ERROR_INIT;
        bool differs;
        if (!oci_blob_load(&s->layout, &s->index.manifests[i], OCI_DOCUMENT_BYTES_MAX, "referrer", &text, NULL,
                           &unread) ||
            !oci_manifest_parse(buffer_view(&text), "referrer", &m, &unread) || !m.has_subject ||
            !digest_equal(&m.subject.digest, &s->image->digest) || !referrer_is_bundle(&m) ||
            !referrer_load(&s->layout, &m, "referrer", &e, &differs, &unread)) {
            if (unread.code != ERR_MEMORY) continue;
            return error_memory(err, text.size);
        }
        if (strcmp(e.predicate_type, ENVELOPE_PREDICATE_SIGN) == 0 && !envelope_verify(&e, s->key, found, err))
            return false;
    }
    return true;
}

static bool save_blob(const struct signing *s, const char *text, size_t n, struct oci_descriptor *out,
                      struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    CLEANUP(free) char *path = NULL;
    out->size = n;
    if (!sha256_of(bytes_of(text, n), &out->digest, err)) return false;
    digest_hex(&out->digest, hex);
    return path_join(&path, s->blobs, hex, err) && file_save(path, bytes_of(text, n), 0666, err);
}

/* Statement, bundle, referrer manifest; *out is the manifest's index entry. */
static bool make_bundle(const struct signing *s, struct oci_descriptor *out, struct error *err)
{
    CLEANUP(free) char *statement = NULL;
    CLEANUP(free) char *bundle = NULL;
    CLEANUP(free) char *manifest = NULL;
    size_t statement_bytes = 0, bundle_bytes = 0, manifest_bytes = 0;
    struct oci_descriptor empty, layer = {.media_type = ENVELOPE_BUNDLE_MEDIA};
    *out = (struct oci_descriptor){.media_type = OCI_MEDIA_MANIFEST, .artifact_type = ENVELOPE_BUNDLE_MEDIA};
    return envelope_statement(&s->image->digest, ENVELOPE_PREDICATE_SIGN, NULL, &statement, &statement_bytes, err) &&
           envelope_sign(s->key, bytes_of(statement, statement_bytes), &bundle, &bundle_bytes, err) &&
           save_blob(s, bundle, bundle_bytes, &layer, err) &&
           save_blob(s, REFERRER_CONFIG_TEXT, strlen(REFERRER_CONFIG_TEXT), &empty, err) &&
           referrer_text(s->image, &layer, ENVELOPE_PREDICATE_SIGN, &manifest, &manifest_bytes, err) &&
           save_blob(s, manifest, manifest_bytes, out, err);
}

static bool write_index(const struct signing *s, const struct oci_descriptor *added, struct file_out *file,
                        struct error *err)
{
    uint32_t n = s->index.n_manifests;
    if (n == OCI_MANIFESTS_MAX) return error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": is full: it has %u entries", n);
    CLEANUP(free) struct oci_descriptor *entries = calloc(n + 1u, sizeof *entries);
    CLEANUP(free) char *text = NULL;
    size_t text_bytes = 0;
    if (!entries) return error_memory(err, n * sizeof *entries);
    memcpy(entries, s->index.manifests, n * sizeof *entries);
    entries[n] = *added;
    struct oci_index index = {.manifests = entries, .n_manifests = n + 1};
    return oci_index_text(&index, &text, &text_bytes, err) && file_out_write(file, text, text_bytes, err);
}

static bool add_signature(struct signing *s, struct file_out *index_file, struct sign_result *out, struct error *err)
{
    struct oci_descriptor added;
    if (!load_image(s, err) || !sign_sweep(&s->layout, &s->index, err) || !find_own(s, &out->was_signed, err))
        return false;
    out->image = s->image->digest;
    if (out->was_signed) return true;
    return make_bundle(s, &added, err) && write_index(s, &added, index_file, err);
}

/* What a failed signing wrote goes again: everything that the index, as it now is on disk, does not name. */
static void undo(const struct signing *s)
{
    CLEANUP(oci_index) struct oci_index index = {0};
    struct error ignored = ERROR_INIT;
    if (oci_layout_index(&s->layout, &index, &ignored) && !sign_sweep(&s->layout, &index, &ignored))
        return; /* the next signer tries again */
}

/* The index' temporary is the lock, so it is opened before the index is read. */
static bool sign_locked(struct signing *s, struct sign_result *out, struct error *err)
{
    struct file_out index_file;
    CLEANUP(free) char *path = NULL;
    if (!path_join(&path, s->ref.dir, OCI_INDEX_FILE, err) ||
        !path_join(&s->blobs, s->ref.dir, OCI_BLOBS_FOLDER, err) || !file_out_open(&index_file, path, 0666, err))
        return false;
    bool ok = add_signature(s, &index_file, out, err);
    if (ok && !out->was_signed) ok = file_out_commit(&index_file, err);
    else file_out_abort(&index_file);
    if (!ok) undo(s);
    return ok;
}

bool sign_run(const char *ref, const struct key *key, struct sign_result *out, struct error *err)
{
    *out = (struct sign_result){0};
    struct signing s = {.key = key, .layout = OCI_LAYOUT_INIT};
    bool ok = crypto_self_test(err) && oci_ref_parse(ref, &s.ref, err) && key_id(key, &out->key_id, err) &&
              oci_layout_open(&s.layout, s.ref.dir, err) && sign_locked(&s, out, err);
    oci_index_close(&s.index);
    oci_layout_close(&s.layout);
    oci_ref_close(&s.ref);
    free(s.blobs);
    return ok;
}
