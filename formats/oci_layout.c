#include "formats/oci_layout.h"

#include "formats/oci_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define MARKER_BYTES_MAX 4096u

static bool open_folder(int parent, const char *name, int *fd, struct error *err)
{
    *fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd >= 0) return true;
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
        return error_set(err, ERR_FORMAT, "not an OCI image layout: it has no folder '%s'", name);
    return error_set_errno(err, "cannot open folder '%s'", name);
}

bool oci_layout_open(struct oci_layout *l, const char *path, struct error *err)
{
    *l = (struct oci_layout)OCI_LAYOUT_INIT;
    CLEANUP(fd) int blobs = -1;
    if (!dir_open(path, &l->dir, err)) return false;
    if (open_folder(l->dir, "blobs", &blobs, err) && open_folder(blobs, "sha256", &l->blobs, err)) return true;
    oci_layout_close(l);
    return error_wrap(err, "'%.512s'", path);
}

bool oci_layout_open_archive(struct oci_layout *l, const char *path, struct error *err)
{
    CLEANUP(free) char *folder = NULL;
    CLEANUP(free) char *name = NULL;
    *l = (struct oci_layout)OCI_LAYOUT_INIT;
    if (!path_split(path, &folder, &name, err) || !dir_open(folder, &l->dir, err)) return false;
    if (oci_archive_open(&l->archive, l->dir, name, err)) return true;
    oci_layout_close(l);
    return false;
}

bool oci_layout_open_ref(struct oci_layout *l, const struct oci_ref *ref, struct error *err)
{
    return ref->is_archive ? oci_layout_open_archive(l, ref->dir, err) : oci_layout_open(l, ref->dir, err);
}

void oci_layout_close(struct oci_layout *l)
{
    oci_archive_close(l->archive);
    if (l->dir >= 0) close(l->dir);
    if (l->blobs >= 0) close(l->blobs);
    *l = (struct oci_layout)OCI_LAYOUT_INIT;
}

/* Asked before opening, because opening a device can do something; and again afterwards, because names can move. */
static bool open_plain(int dirfd, const char *name, const char *what, struct file_place *out, struct error *err)
{
    struct stat st;
    *out = (struct file_place)FILE_PLACE_INIT;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return error_set(err, ERR_FORMAT, "%s: file '%s' is missing", what, name);
        return error_set_errno(err, "%s: cannot examine '%s'", what, name);
    }
    if (!S_ISREG(st.st_mode)) return error_set(err, ERR_FORMAT, "%s: '%s' is not a regular file", what, name);
    CLEANUP(fd) int f = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (f < 0 || fstat(f, &st) != 0) return error_set_errno(err, "%s: cannot open '%s'", what, name);
    if (!S_ISREG(st.st_mode)) return error_set(err, ERR_FORMAT, "%s: '%s' is not a regular file", what, name);
    *out = (struct file_place){.fd = f, .size = (uint64_t)st.st_size};
    f = -1;
    return true;
}

static bool load(const struct file_place *at, size_t max, const char *what, struct buffer *out, struct error *err)
{
    *out = (struct buffer){0};
    if (at->size > max)
        return error_set(err, ERR_FORMAT, "%s: has %llu bytes, at most %zu are read", what,
                         (unsigned long long)at->size, max);
    CLEANUP_BUFFER struct buffer b = {.data = malloc((size_t)at->size + 1), .size = (size_t)at->size};
    if (!b.data) return error_memory(err, (size_t)at->size + 1);
    if (!file_read_at(at->fd, what, at->offset, b.data, b.size, err)) return false;
    b.data[b.size] = 0;
    *out = b;
    b = (struct buffer){0};
    return true;
}

static bool load_plain(const struct oci_layout *l, const char *name, size_t max, struct buffer *out, struct error *err)
{
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    bool ok =
        l->archive ? oci_archive_document(l->archive, name, &at, err) : open_plain(l->dir, name, "layout", &at, err);
    return ok && load(&at, max, name, out, err);
}

bool oci_layout_marker(const struct oci_layout *l, struct error *err)
{
    static const char *const keys[] = {"imageLayoutVersion", NULL};
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *doc = NULL;
    const char *version;
    if (!load_plain(l, OCI_LAYOUT_FILE, MARKER_BYTES_MAX, &text, err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, OCI_LAYOUT_FILE, &doc, err) ||
        !json_known_keys(doc, OCI_LAYOUT_FILE, keys, err) ||
        !json_get_string(doc, keys[0], OCI_LAYOUT_FILE, &version, err))
        return false;
    return strcmp(version, "1.0.0") == 0
               ? true
               : error_set(err, ERR_FORMAT, OCI_LAYOUT_FILE ": expected layout version \"1.0.0\", found \"%.64s\"",
                           version);
}

bool oci_layout_index_text(const struct oci_layout *l, struct buffer *out, struct error *err)
{
    return load_plain(l, OCI_INDEX_FILE, OCI_DOCUMENT_BYTES_MAX, out, err);
}

bool oci_layout_index(const struct oci_layout *l, struct oci_index *out, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    *out = (struct oci_index){0};
    return oci_layout_index_text(l, &text, err) && oci_index_parse(buffer_view(&text), OCI_INDEX_FILE, out, err);
}

bool oci_blob_find(const struct oci_layout *l, const struct digest *d, const char *what, struct file_place *out,
                   struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    return l->archive ? oci_archive_blob(l->archive, d, what, out, err) : open_plain(l->blobs, hex, what, out, err);
}

bool oci_blob_is_there(const struct oci_layout *l, const struct digest *d)
{
    struct stat st;
    char hex[DIGEST_HEX_SIZE];
    if (l->archive) return oci_archive_has(l->archive, d);
    digest_hex(d, hex);
    return fstatat(l->blobs, hex, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool oci_blob_open(const struct oci_layout *l, const struct oci_descriptor *d, const char *what, struct file_place *out,
                   bool *differs, struct error *err)
{
    if (differs) *differs = false;
    if (!oci_blob_find(l, &d->digest, what, out, err)) return false;
    if (out->size == d->size) return true;
    if (differs) *differs = true;
    uint64_t found = out->size;
    cleanup_file_place(out);
    return error_set(err, ERR_FORMAT, "%s: expected %llu bytes, found %llu", what, (unsigned long long)d->size,
                     (unsigned long long)found);
}

bool oci_blob_load(const struct oci_layout *l, const struct oci_descriptor *d, size_t max, const char *what,
                   struct buffer *out, bool *differs, struct error *err)
{
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    CLEANUP_BUFFER struct buffer b = {0};
    struct digest found;
    char wanted[OCI_DIGEST_SIZE], got[OCI_DIGEST_SIZE];
    *out = (struct buffer){0};
    if (!oci_blob_open(l, d, what, &at, differs, err) || !load(&at, max, what, &b, err) ||
        !sha256_of(buffer_view(&b), &found, err))
        return false;
    if (!digest_equal(&found, &d->digest)) {
        if (differs) *differs = true;
        oci_digest_text(&d->digest, wanted);
        oci_digest_text(&found, got);
        return error_set(err, ERR_FORMAT, "%s: expected %s, found %s", what, wanted, got);
    }
    *out = b;
    b = (struct buffer){0};
    return true;
}
