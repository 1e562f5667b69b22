#include "pack/sign_sweep.h"

#include "formats/referrer.h"
#include "formats/simple_signing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define STRAY_BYTES_MAX ENVELOPE_BYTES_MAX /* a bare signature is under 2 KiB; bills of material are the large ones */

/* Digests that the index, or a manifest in it, names; sorted. */
struct named {
    struct digest *digests;
    size_t n, capacity;
};

static bool add_name(struct named *set, const struct digest *d, struct error *err)
{
    if (set->n == set->capacity) {
        size_t capacity = set->capacity ? 2 * set->capacity : 64;
        struct digest *p = realloc(set->digests, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        set->digests = p;
        set->capacity = capacity;
    }
    set->digests[set->n++] = *d;
    return true;
}

static bool is_named(const struct named *set, const struct digest *d)
{
    for (size_t i = 0; i < set->n; i++)
        if (digest_equal(&set->digests[i], d)) return true;
    return false;
}

/* False with err clear: a manifest cannot be read, so it is not known what it names, and nothing may be removed. */
static bool collect(const struct oci_layout *l, const struct oci_index *index, struct named *set, struct error *err)
{
    for (uint32_t i = 0; i < index->n_manifests; i++) {
        CLEANUP_BUFFER struct buffer text = {0};
        CLEANUP(oci_manifest) struct oci_manifest m = {0};
        if (strcmp(index->manifests[i].media_type, OCI_MEDIA_INDEX) == 0) { /* what it lists has entries of its own */
            if (!add_name(set, &index->manifests[i].digest, err)) return false;
            continue;
        }
        if (!oci_blob_load(l, &index->manifests[i], OCI_DOCUMENT_BYTES_MAX, "manifest", &text, NULL, NULL) ||
            !oci_manifest_parse(buffer_view(&text), "manifest", &m, NULL))
            return false;
        if (!add_name(set, &index->manifests[i].digest, err) || !add_name(set, &m.config.digest, err)) return false;
        for (uint32_t k = 0; k < m.n_layers; k++)
            if (!add_name(set, &m.layers[k].digest, err)) return false;
    }
    return true;
}

/* A manifest with a subject, or of legacy signatures. */
static bool is_signature_manifest(struct bytes text)
{
    CLEANUP(oci_manifest) struct oci_manifest m = {0};
    if (!oci_manifest_parse(text, "blob", &m, NULL)) return false;
    if (m.has_subject) return true;
    for (uint32_t i = 0; i < m.n_layers; i++)
        if (strcmp(m.layers[i].media_type, SIMPLE_MEDIA) != 0) return false;
    return m.n_layers > 0;
}

/* The config of legacy signatures is of no machine; a notation signature is a flattened JWS. */
static bool is_signature_document(struct bytes text)
{
    CLEANUP(json) json_t *doc = NULL;
    if (!json_parse(text, JSON_DIALECT_STRICT, "blob", &doc, NULL)) return false;
    const char *architecture = json_string_value(json_object_get(doc, "architecture"));
    if (architecture && !*architecture) return true;
    return json_object_get(doc, "payload") && json_object_get(doc, "protected") && json_object_get(doc, "signature");
}

/* The empty config, a bundle or another form of a signature, or its manifest. */
static bool is_part_of_signature(const struct oci_layout *l, const struct digest *d)
{
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    CLEANUP(free) uint8_t *data = NULL;
    CLEANUP(envelope) struct envelope e = {0};
    CLEANUP(simple_signing) struct simple_signing s = {0};
    if (!oci_blob_find(l, d, "blob", &at, NULL) || at.size > STRAY_BYTES_MAX || !(data = malloc((size_t)at.size + 1)) ||
        !file_read_at(at.fd, "blob", at.offset, data, (size_t)at.size, NULL))
        return false;
    uint64_t size = at.size;
    struct bytes text = bytes_of(data, (size_t)size);
    if (size == strlen(REFERRER_CONFIG_TEXT) && memcmp(data, REFERRER_CONFIG_TEXT, (size_t)size) == 0) return true;
    return envelope_parse(text, "blob", &e, NULL) || simple_parse(text, &s, NULL) || is_signature_manifest(text) ||
           is_signature_document(text);
}

/* ".HEX.ingot-tmp", as core/file.h names an unfinished output. */
static bool is_temporary(const char *name)
{
    static const char tail[] = ".ingot-tmp";
    size_t n = strlen(name);
    return name[0] == '.' && n > sizeof tail && strcmp(name + n - (sizeof tail - 1), tail) == 0;
}

static bool sweep_entry(const struct oci_layout *l, const struct named *set, const char *name, struct error *err)
{
    struct digest d;
    bool stray = is_temporary(name) || (digest_parse(name, &d) && !is_named(set, &d) && is_part_of_signature(l, &d));
    if (!stray || unlinkat(l->blobs, name, 0) == 0 || errno == ENOENT) return true;
    return error_set_errno(err, "cannot remove the left-over '%s'", name);
}

bool sign_sweep(const struct oci_layout *l, const struct oci_index *index, struct error *err)
{
    struct named set = {0};
    struct error local = ERROR_INIT;
    bool known = collect(l, index, &set, &local), ok = known || local.code == ERR_NONE;
    int fd = known ? openat(l->blobs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (known && !d) {
        if (fd >= 0) close(fd);
        ok = error_set_errno(&local, "cannot list folder '" OCI_BLOBS_FOLDER "'");
    }
    for (struct dirent *e; d && ok && (e = readdir(d));) ok = sweep_entry(l, &set, e->d_name, &local);
    if (d) closedir(d);
    free(set.digests);
    if (!ok && err) *err = local;
    return ok;
}
