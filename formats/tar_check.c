/* What libarchive sees in a layer; the only file that includes it. Only its tar reader is switched on. */
#include "core/cleanup.h"
#include "formats/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

#define READ_BYTES ((size_t)64 << 10)

struct source {
    const struct file_place *place;
    const char *what;
    uint64_t at, total_bytes;
    struct error *err; /* of our own reads */
    uint8_t chunk[READ_BYTES];
};

static void archive_close(struct archive *a)
{
    archive_read_free(a);
}

CLEANUP_DEFINE(archive, struct archive, archive_close)
CLEANUP_DEFINE(archive_entry, struct archive_entry, archive_entry_free)

static la_ssize_t source_read(struct archive *a, void *ctx, const void **data)
{
    struct source *s = ctx;
    size_t n = (size_t)u64_min(READ_BYTES, s->total_bytes - s->at);
    *data = s->chunk;
    if (!file_read_at(s->place->fd, s->what, s->place->offset + s->at, s->chunk, n, s->err)) {
        archive_set_error(a, EIO, "read error");
        return -1;
    }
    s->at += n;
    return (la_ssize_t)n;
}

static la_int64_t source_skip(struct archive *a, void *ctx, la_int64_t n)
{
    struct source *s = ctx;
    (void)a;
    if (n <= 0) return 0;
    uint64_t step = u64_min((uint64_t)n, s->total_bytes - s->at);
    s->at += step;
    return (la_int64_t)step;
}

static bool complain(struct archive *a, const struct source *s, struct error *err)
{
    if (s->err->code != ERR_NONE) {
        if (err) *err = *s->err;
        return false;
    }
    if (archive_errno(a) == ENOMEM) return error_memory(err, READ_BYTES);
    const char *why = archive_error_string(a);
    return error_set(err, ERR_FORMAT, "%s: libarchive cannot read the tar: %.256s", s->what,
                     why ? why : "no reason given");
}

static bool differs(const struct source *s, const char *what, struct error *err)
{
    return error_set(err, ERR_FORMAT, "%s: libarchive sees %s: two readers see two archives", s->what, what);
}

/* libarchive turns names into the locale's letters where it can; a pax path it also keeps as UTF-8. */
static bool name_is(struct archive_entry *e, const char *path, size_t bytes)
{
    const char *names[] = {archive_entry_pathname(e), archive_entry_pathname_utf8(e)};
    for (size_t i = 0; i < 2; i++)
        if (names[i] && strlen(names[i]) == bytes && memcmp(names[i], path, bytes) == 0) return true;
    return false;
}

/* A warning here means that a pax path does not fit the locale; name_is decides. */
static bool next_entry(struct archive *a, const struct source *s, struct archive_entry *e, struct error *err)
{
    int rc = archive_read_next_header2(a, e); /* into our own entry: libarchive does not check that it has one */
    return rc == ARCHIVE_OK || rc == ARCHIVE_WARN ? true : complain(a, s, err);
}

/* The parent that ends at `slash` of the path, as an entry. */
static bool check_directory(const struct source *s, struct archive_entry *e, const char *path, size_t bytes,
                            struct error *err)
{
    if (archive_entry_filetype(e) == AE_IFDIR && name_is(e, path, bytes)) return true;
    return differs(s, "another directory", err);
}

static bool check_file(const struct source *s, struct archive_entry *e, const struct tar_layer *l, struct error *err)
{
    if (archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e) || archive_entry_symlink(e))
        return differs(s, "something other than a regular file", err);
    if (!name_is(e, l->path, strlen(l->path))) return differs(s, "a file of another name", err);
    if (!archive_entry_size_is_set(e) || (uint64_t)archive_entry_size(e) != l->data_bytes)
        return differs(s, "another file size", err);
    return true;
}

/* The first bytes that libarchive gives out are those at our data offset. */
static bool check_place(struct archive *a, const struct source *s, const struct tar_layer *l, struct error *err)
{
    if (l->data_bytes == 0) return true;
    const void *seen;
    size_t n;
    la_int64_t offset;
    uint8_t ours[TAR_PAGE_BYTES];
    if (archive_read_data_block(a, &seen, &n, &offset) != ARCHIVE_OK) return complain(a, s, err);
    size_t k = n < sizeof ours ? n : sizeof ours;
    if (k == 0 || offset != 0 || k > l->data_bytes) return differs(s, "no data where we see some", err);
    if (!file_read_at(s->place->fd, s->what, s->place->offset + l->data_offset, ours, k, err)) return false;
    return memcmp(seen, ours, k) == 0 ? true : differs(s, "the file's data at another place", err);
}

static bool walk(struct archive *a, const struct source *s, const struct tar_layer *l, struct error *err)
{
    CLEANUP(archive_entry) struct archive_entry *e = archive_entry_new();
    if (!e) return error_memory(err, 0);
    for (const char *slash = strchr(l->path, '/'); slash; slash = strchr(slash + 1, '/')) {
        if (!next_entry(a, s, e, err)) return false;
        if (!check_directory(s, e, l->path, (size_t)(slash - l->path) + 1, err)) return false;
    }
    if (!next_entry(a, s, e, err)) return false;
    if (!check_file(s, e, l, err) || !check_place(a, s, l, err)) return false;
    int rc = archive_read_next_header2(a, e);
    if (rc == ARCHIVE_OK || rc == ARCHIVE_WARN) return differs(s, "a second file", err);
    return rc == ARCHIVE_EOF ? true : complain(a, s, err);
}

bool tar_layer_check(const struct file_place *at, const char *what, const struct tar_layer *layer, struct error *err)
{
    struct error read_error = ERROR_INIT;
    CLEANUP(free) struct source *s = calloc(1, sizeof *s);
    CLEANUP(archive) struct archive *a = archive_read_new();
    if (!s || !a) return error_memory(err, sizeof *s);
    *s = (struct source){.place = at, .what = what, .total_bytes = layer->total_bytes, .err = &read_error};
    if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_set_read_callback(a, source_read) != ARCHIVE_OK ||
        archive_read_set_skip_callback(a, source_skip) != ARCHIVE_OK ||
        archive_read_set_callback_data(a, s) != ARCHIVE_OK || archive_read_open1(a) != ARCHIVE_OK)
        return complain(a, s, err);
    return walk(a, s, layer, err);
}
