#include "pack/oci_writer.h"

#include "core/crypto.h"
#include "core/staging.h"
#include "core/text.h"
#include "formats/oci_layout.h"
#include "pack/layer_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define INCOMING_NAME "incoming" /* a layer whose digest is not known yet */

struct oci_writer {
    struct staging *staging;
    struct pool *pool;
    const struct progress *progress;
    uint64_t done_bytes, total_bytes;
    char *blobs; /* path of blobs/sha256 in the partial folder */
    int blobs_fd;
};

static bool make_folders(struct oci_writer *w, struct error *err)
{
    const char *root = staging_path(w->staging);
    CLEANUP(free) char *outer = NULL;
    if (!path_join(&outer, root, "blobs", err) || !path_join(&w->blobs, outer, "sha256", err)) return false;
    if ((mkdir(outer, 0777) != 0 && errno != EEXIST) || (mkdir(w->blobs, 0777) != 0 && errno != EEXIST))
        return error_set_errno(err, "cannot make folder '%.512s'", w->blobs);
    CLEANUP(fd) int root_fd = -1;
    CLEANUP(fd) int outer_fd = -1;
    return dir_open(root, &root_fd, err) && dir_open(outer, &outer_fd, err) && dir_open(w->blobs, &w->blobs_fd, err) &&
           dir_sync(root_fd, "blobs", err) && dir_sync(outer_fd, "sha256", err);
}

bool oci_writer_open(struct oci_writer **out, const struct oci_writer_options *o, struct error *err)
{
    *out = NULL;
    struct oci_writer *w = calloc(1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w);
    w->pool = o->pool;
    w->progress = o->progress;
    w->total_bytes = o->total_bytes;
    w->blobs_fd = -1;
    if (dir_make_parents(o->layout_dir, err) && staging_open(&w->staging, o->layout_dir, o->key, o->replace, err) &&
        make_folders(w, err)) {
        *out = w;
        return true;
    }
    oci_writer_close(w, false);
    return false;
}

void oci_writer_close(struct oci_writer *w, bool keep)
{
    if (!w) return;
    staging_close(w->staging, keep);
    if (w->blobs_fd >= 0) close(w->blobs_fd);
    free(w->blobs);
    free(w);
}

static void journal_name(char name[32], uint32_t number)
{
    snprintf(name, 32, "layer.%u", number);
}

/* "DIGEST BYTES FILE_DIGEST" */
static bool recall(const struct oci_writer *w, uint32_t number, struct oci_layer *out)
{
    char name[32], digest[DIGEST_HEX_SIZE], file_digest[DIGEST_HEX_SIZE], extra;
    unsigned long long layer_bytes;
    struct stat st;
    journal_name(name, number);
    const char *line = staging_recorded(w->staging, name);
    if (!line || sscanf(line, "%64s %llu %64s%c", digest, &layer_bytes, file_digest, &extra) != 3) return false;
    out->layer_bytes = layer_bytes;
    return digest_parse(digest, &out->digest) && digest_parse(file_digest, &out->file_digest) &&
           fstatat(w->blobs_fd, digest, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == layer_bytes;
}

bool oci_writer_has_layer(const struct oci_writer *w, uint32_t number)
{
    struct oci_layer layer;
    return recall(w, number, &layer);
}

static bool record(struct oci_writer *w, uint32_t number, const struct oci_layer *layer, struct error *err)
{
    char name[32], line[2 * DIGEST_HEX_SIZE + 32], digest[DIGEST_HEX_SIZE], file_digest[DIGEST_HEX_SIZE];
    journal_name(name, number);
    digest_hex(&layer->digest, digest);
    digest_hex(&layer->file_digest, file_digest);
    snprintf(line, sizeof line, "%s %llu %s", digest, (unsigned long long)layer->layer_bytes, file_digest);
    return staging_record(w->staging, name, line, err);
}

/* From its first name to its digest. */
static bool name_blob(struct oci_writer *w, const struct digest *d, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    if (renameat(w->blobs_fd, INCOMING_NAME, w->blobs_fd, hex) != 0)
        return error_set_errno(err, "cannot rename to '%s'", hex);
    return dir_sync(w->blobs_fd, hex, err);
}

bool oci_writer_add_layer(struct oci_writer *w, uint32_t number, const char *path_in_image, const struct folder *f,
                          uint32_t member, struct oci_layer *out, struct error *err)
{
    struct file_out file;
    CLEANUP(free) char *path = NULL;
    if (recall(w, number, out)) {
        w->done_bytes += folder_size(f, member);
        return true;
    }
    if (!path_join(&path, w->blobs, INCOMING_NAME, err) || !file_out_open(&file, path, 0666, err)) return false;
    struct layer_stream s = {.folder = f,
                             .member = member,
                             .pool = w->pool,
                             .progress = w->progress,
                             .done_bytes = &w->done_bytes,
                             .total_bytes = w->total_bytes};
    if (!layer_stream_write(&s, path_in_image, &file, out, err)) {
        file_out_abort(&file);
        return error_wrap(err, "file '%.256s'", path_in_image);
    }
    return file_out_commit(&file, err) && name_blob(w, &out->digest, err) && record(w, number, out, err);
}

bool oci_writer_add_blob(struct oci_writer *w, struct bytes data, struct digest *out, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    CLEANUP(free) char *path = NULL;
    if (!sha256_of(data, out, err)) return false;
    digest_hex(out, hex);
    return path_join(&path, w->blobs, hex, err) && file_save(path, data, 0666, err);
}

bool oci_writer_add_text(struct oci_writer *w, const char *path_in_image, struct bytes text, struct oci_layer *out,
                         struct error *err)
{
    static const uint8_t zeros[4 * TAR_BLOCK_BYTES];
    CLEANUP_BUFFER struct buffer head = {0};
    struct tar_layer tar;
    CLEANUP(text) struct text t = TEXT_INIT;
    if (!tar_layer_header(path_in_image, text.size, &head, &tar, err)) return false;
    text_put(&t, head.data, head.size);
    text_put(&t, text.data, text.size);
    text_put(&t, zeros, tar_layer_tail(&tar));
    if (t.failed) return error_memory(err, t.capacity);
    out->layer_bytes = tar.total_bytes;
    return sha256_of(text, &out->file_digest, err) &&
           oci_writer_add_blob(w, bytes_of(t.data, t.size), &out->digest, err);
}

static bool write_index(struct oci_writer *w, const struct oci_index *index, struct error *err)
{
    const char *root = staging_path(w->staging);
    CLEANUP(free) char *marker_path = NULL;
    CLEANUP(free) char *index_path = NULL;
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    return path_join(&marker_path, root, OCI_LAYOUT_FILE, err) && path_join(&index_path, root, OCI_INDEX_FILE, err) &&
           oci_index_text(index, &text, &n, err) && file_save(marker_path, bytes_text(OCI_LAYOUT_TEXT), 0666, err) &&
           file_save(index_path, bytes_of(text, n), 0666, err);
}

bool oci_writer_commit(struct oci_writer *w, const struct oci_index *index, struct error *err)
{
    bool ok = write_index(w, index, err);
    if (ok) {
        ok = staging_commit(w->staging, err);
        w->staging = NULL;
    }
    oci_writer_close(w, false);
    return ok;
}
