#include "pack/oci_writer.h"

#include "core/crypto.h"
#include "core/staging.h"
#include "core/text.h"
#include "formats/oci_layout.h"
#include "pack/archive_out.h"
#include "pack/layer_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#define MEMORY_BYTES ((size_t)32 << 20)   /* for chunks of all threads */
#define CHUNK_BYTES_MAX ((size_t)4 << 20) /* fits the caches of most machines twice */
#define CHUNK_BYTES_MIN ((size_t)64 << 10)
#define LARGE_BYTES ((uint64_t)64 << 20) /* from here on the steps of one layer are worth a thread each */

struct oci_writer {
    pthread_mutex_t lock;       /* of progress and journal, while layers are written side by side */
    struct staging *staging;    /* NULL: an archive is written */
    struct archive_out archive; /* then */
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
    w->archive.file = (struct file_out)FILE_OUT_INIT;
    pthread_mutex_init(&w->lock, NULL);
    if (o->archive) {
        if (dir_make_parents(o->layout_dir, err) && archive_out_open(&w->archive, o->layout_dir, o->replace, err)) {
            *out = w;
            return true;
        }
    } else if (dir_make_parents(o->layout_dir, err) &&
               staging_open(&w->staging, o->layout_dir, o->key, o->replace, err) && make_folders(w, err)) {
        *out = w;
        return true;
    }
    oci_writer_close(w, false);
    return false;
}

void oci_writer_close(struct oci_writer *w, bool keep)
{
    if (!w) return;
    if (w->staging) staging_close(w->staging, keep);
    archive_out_close(&w->archive);
    if (w->blobs_fd >= 0) close(w->blobs_fd);
    pthread_mutex_destroy(&w->lock);
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
    if (!w->staging) return false;
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
static bool name_blob(struct oci_writer *w, const char *incoming, const struct digest *d, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    if (renameat(w->blobs_fd, incoming, w->blobs_fd, hex) != 0)
        return error_set_errno(err, "cannot rename to '%s'", hex);
    return dir_sync(w->blobs_fd, hex, err);
}

static bool tell(void *ctx, const char *item, uint64_t bytes, struct error *err)
{
    struct oci_writer *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->done_bytes += bytes;
    if (bytes) progress_update(w->progress, "pack", item, w->done_bytes, w->total_bytes);
    bool ok = progress_go_on(w->progress, err);
    pthread_mutex_unlock(&w->lock);
    return ok;
}

static struct layer_stream stream_of(struct oci_writer *w, const struct oci_layer_source *l, struct pool *pool)
{
    uint32_t n_threads = pool_threads(w->pool);
    size_t chunk = MEMORY_BYTES / (pool ? 2 : n_threads);
    chunk = chunk > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : chunk < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : chunk;
    return (struct layer_stream){
        .folder = l->folder, .member = l->member, .pool = pool, .chunk_bytes = chunk, .tell = tell, .ctx = w};
}

static bool write_into_archive(struct oci_writer *w, struct oci_layer_source *l, struct pool *pool, struct error *err)
{
    struct layer_stream s = stream_of(w, l, pool);
    s.base = l->data;
    if (!layer_stream_write(&s, l->path, &w->archive.file, &l->layer, err))
        return error_wrap(err, "file '%.256s'", l->path);
    return archive_out_name(&w->archive, l->at, &l->layer.digest, l->layer.layer_bytes, err);
}

static bool write_layer(struct oci_writer *w, struct oci_layer_source *l, uint32_t number, struct pool *pool,
                        struct error *err)
{
    struct file_out file;
    char incoming[32]; /* a layer whose digest is not known yet */
    CLEANUP(free) char *path = NULL;
    if (!w->staging) return write_into_archive(w, l, pool, err);
    struct layer_stream s = stream_of(w, l, pool);
    snprintf(incoming, sizeof incoming, "incoming.%u", number);
    if (!path_join(&path, w->blobs, incoming, err) || !file_out_open(&file, path, 0666, err)) return false;
    if (!layer_stream_write(&s, l->path, &file, &l->layer, err)) {
        file_out_abort(&file);
        return error_wrap(err, "file '%.256s'", l->path);
    }
    if (!file_out_commit(&file, err) || !name_blob(w, incoming, &l->layer.digest, err)) return false;
    pthread_mutex_lock(&w->lock);
    bool ok = record(w, number, &l->layer, err);
    pthread_mutex_unlock(&w->lock);
    return ok;
}

/* In an archive every layer has its place before the first is written. */
static bool take_places(struct oci_writer *w, struct oci_layer_source *list, uint32_t n, struct error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        CLEANUP_BUFFER struct buffer head = {0};
        struct tar_layer tar;
        if (!tar_layer_header(list[i].path, folder_size(list[i].folder, list[i].member), &head, &tar, err) ||
            !archive_out_take(&w->archive, tar.total_bytes, &list[i].at, &list[i].data, err))
            return false;
    }
    return archive_out_reserve(&w->archive, err);
}

struct layer_jobs {
    struct oci_writer *w;
    struct oci_layer_source *list;
    uint32_t *numbers, n; /* of those that are written side by side */
};

static bool write_job(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    struct layer_jobs *j = ctx;
    uint32_t i = j->numbers[item];
    (void)worker;
    return tell(j->w, NULL, 0, err) && write_layer(j->w, &j->list[i], i, NULL, err);
}

/* A layer's digest is known when its place is filled. That the base has it too means that the base is a package of the
 * same file. */
static bool note_layers(struct oci_writer *w, const struct oci_layer_source *list, uint32_t n, struct error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        if (archive_out_has(&w->archive, &list[i].layer.digest))
            return error_set(err, ERR_UNSUPPORTED,
                             "'%.256s' is a layer of the base too, and an archive holds a blob once: pack into a "
                             "folder (oci:DIR:TAG)",
                             list[i].path);
        if (!archive_out_note(&w->archive, &list[i].layer.digest, err)) return false;
    }
    return true;
}

bool oci_writer_add_layers(struct oci_writer *w, struct oci_layer_source *list, uint32_t n, struct error *err)
{
    CLEANUP(free) uint32_t *numbers = calloc(n + 1u, sizeof *numbers);
    struct layer_jobs j = {.w = w, .list = list, .numbers = numbers};
    uint64_t share = w->total_bytes / pool_threads(w->pool);
    if (!numbers) return error_memory(err, n * sizeof *numbers);
    if (!w->staging && !take_places(w, list, n, err)) return false;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bytes = folder_size(list[i].folder, list[i].member);
        bool large = pool_threads(w->pool) > 1 && bytes >= LARGE_BYTES && bytes > share + share / 2;
        if (recall(w, i, &list[i].layer)) w->done_bytes += bytes;
        else if (!large) numbers[j.n++] = i;
        else if (!tell(w, NULL, 0, err) || !write_layer(w, &list[i], i, w->pool, err)) return false;
    }
    return pool_try(w->pool, j.n, write_job, &j, err) && (w->staging || note_layers(w, list, n, err));
}

bool oci_writer_add_blob(struct oci_writer *w, struct bytes data, struct digest *out, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    CLEANUP(free) char *path = NULL;
    if (!sha256_of(data, out, err)) return false;
    if (!w->staging) return archive_out_blob(&w->archive, data, out, err);
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

#define COPY_BYTES ((size_t)1 << 20)

/* A place's bytes into `to` at `at`; *found is their digest. */
static bool copy_bytes(const struct file_place *from, struct file_out *to, uint64_t at, struct digest *found,
                       struct error *err)
{
    CLEANUP(free) uint8_t *chunk = malloc(COPY_BYTES);
    struct sha256 *h = NULL;
    bool ok = (chunk || error_memory(err, COPY_BYTES)) && sha256_open(&h, err);
    for (uint64_t done = 0; ok && done < from->size;) {
        size_t k = (size_t)u64_min(COPY_BYTES, from->size - done);
        ok = file_read_at(from->fd, "blob", from->offset + done, chunk, k, err) &&
             file_out_write_at(to, at + done, chunk, k, err);
        if (ok) sha256_add(h, chunk, k);
        done += k;
    }
    return sha256_close(h, ok ? found : NULL, err) && ok;
}

static bool check_copied(const struct oci_descriptor *d, const struct digest *found, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&d->digest, hex);
    return digest_equal(found, &d->digest) || error_set(err, ERR_FORMAT, "blob %s: its bytes have another digest", hex);
}

static bool copy_into_archive(struct oci_writer *w, const struct file_place *from, const struct oci_descriptor *d,
                              struct error *err)
{
    struct digest found;
    uint64_t at, data;
    return archive_out_note(&w->archive, &d->digest, err) && archive_out_take(&w->archive, d->size, &at, &data, err) &&
           copy_bytes(from, &w->archive.file, data, &found, err) && check_copied(d, &found, err) &&
           archive_out_name(&w->archive, at, &d->digest, d->size, err);
}

bool oci_writer_copy_blob(struct oci_writer *w, const struct oci_layout *from, const struct oci_descriptor *d,
                          struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    CLEANUP(free) char *path = NULL;
    struct file_out file;
    struct digest found;
    digest_hex(&d->digest, hex);
    if (!w->staging && archive_out_has(&w->archive, &d->digest)) return true;
    if (!oci_blob_open(from, d, "blob", &at, NULL, err)) return error_wrap(err, "blob %s", hex);
    if (!w->staging) return copy_into_archive(w, &at, d, err);
    if (!path_join(&path, w->blobs, hex, err) || !file_out_open(&file, path, 0666, err))
        return error_wrap(err, "blob %s", hex);
    if (copy_bytes(&at, &file, 0, &found, err) && check_copied(d, &found, err)) return file_out_commit(&file, err);
    file_out_abort(&file);
    return false;
}

static bool commit_archive(struct oci_writer *w, const struct oci_index *index, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    return oci_index_text(index, &text, &n, err) && archive_out_commit(&w->archive, bytes_of(text, n), err);
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
    bool ok = w->staging ? write_index(w, index, err) : commit_archive(w, index, err);
    if (ok && w->staging) {
        ok = staging_commit(w->staging, err);
        w->staging = NULL;
    }
    oci_writer_close(w, false);
    return ok;
}
