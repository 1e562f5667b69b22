#include "pack/archive_out.h"

#include "core/cleanup.h"
#include "formats/oci_layout.h"
#include "formats/tar.h"

#include <errno.h>
#include <sys/stat.h>

/* One member of the archive that is small enough to be at hand. */
static bool put_document(struct archive_out *a, const char *name, struct bytes data, struct error *err)
{
    CLEANUP_BUFFER struct buffer head = {0};
    if (!tar_member_header(a->end, name, data.size, &head, err) ||
        !file_out_write_at(&a->file, a->end, head.data, head.size, err) ||
        !file_out_write_at(&a->file, a->end + head.size, data.data, data.size, err))
        return false;
    return u64_align(a->end + head.size + data.size, TAR_BLOCK_BYTES, &a->end) || error_memory(err, data.size);
}

bool archive_out_open(struct archive_out *a, const char *path, bool replace, struct error *err)
{
    CLEANUP_BUFFER struct buffer head = {0};
    struct stat st;
    *a = (struct archive_out){.file = FILE_OUT_INIT};
    bool there = lstat(path, &st) == 0;
    if (!there && errno != ENOENT) return error_set_errno(err, "cannot examine '%.512s'", path);
    if (there && !S_ISREG(st.st_mode))
        return error_set(err, ERR_USAGE, "output '%.512s' is there, and is not a regular file", path);
    if (there && !replace)
        return error_set(err, ERR_USAGE, "output '%.512s' exists already (--force replaces it)", path);
    if (file_out_open(&a->file, path, 0666, err) && tar_member_directory("blobs/", &head, err) &&
        tar_member_directory(OCI_BLOBS_FOLDER "/", &head, err) &&
        file_out_write_at(&a->file, 0, head.data, head.size, err)) {
        a->end = head.size;
        return true;
    }
    archive_out_close(a);
    return false;
}

static bool blob_header(uint64_t at, const struct digest *d, uint64_t size, struct buffer *out, struct error *err)
{
    char hex[DIGEST_HEX_SIZE], name[sizeof OCI_BLOBS_FOLDER + DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    snprintf(name, sizeof name, OCI_BLOBS_FOLDER "/%s", hex);
    return tar_member_header(at, name, size, out, err);
}

bool archive_out_take(struct archive_out *a, uint64_t size, uint64_t *at, uint64_t *data, struct error *err)
{
    CLEANUP_BUFFER struct buffer head = {0};
    static const struct digest none; /* a header is as long for every digest */
    uint64_t end;
    if (!blob_header(a->end, &none, size, &head, err)) return false;
    *at = a->end;
    *data = a->end + head.size;
    if (!u64_add(*data, size, &end) || !u64_align(end, TAR_BLOCK_BYTES, &end) || end > TAR_DATA_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "'%.256s' would be larger than any file", a->file.name);
    a->end = end;
    return true;
}

bool archive_out_reserve(struct archive_out *a, struct error *err)
{
    return file_out_reserve(&a->file, a->end, err);
}

bool archive_out_name(struct archive_out *a, uint64_t at, const struct digest *d, uint64_t size, struct error *err)
{
    CLEANUP_BUFFER struct buffer head = {0};
    return blob_header(at, d, size, &head, err) && file_out_write_at(&a->file, at, head.data, head.size, err);
}

bool archive_out_has(const struct archive_out *a, const struct digest *d)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (digest_equal(&a->list[i], d)) return true;
    return false;
}

bool archive_out_note(struct archive_out *a, const struct digest *d, struct error *err)
{
    if (a->n == a->capacity) {
        uint32_t capacity = a->capacity ? 2 * a->capacity : 64;
        struct digest *p = realloc(a->list, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        a->list = p;
        a->capacity = capacity;
    }
    a->list[a->n++] = *d;
    return true;
}

bool archive_out_blob(struct archive_out *a, struct bytes data, const struct digest *d, struct error *err)
{
    uint64_t at, place;
    if (archive_out_has(a, d)) return true;
    return archive_out_note(a, d, err) && archive_out_take(a, data.size, &at, &place, err) &&
           archive_out_name(a, at, d, data.size, err) && file_out_write_at(&a->file, place, data.data, data.size, err);
}

bool archive_out_commit(struct archive_out *a, struct bytes index, struct error *err)
{
    static const uint8_t zeros[2 * TAR_BLOCK_BYTES];
    bool ok = put_document(a, OCI_INDEX_FILE, index, err) &&
              put_document(a, OCI_LAYOUT_FILE, bytes_text(OCI_LAYOUT_TEXT), err) &&
              /* What fills up the last blocks was never written: it reads as zeros once the file is that long. */
              file_out_write_at(&a->file, a->end, zeros, sizeof zeros, err) && file_out_commit(&a->file, err);
    archive_out_close(a);
    return ok;
}

void archive_out_close(struct archive_out *a)
{
    file_out_abort(&a->file);
    free(a->list);
    *a = (struct archive_out){.file = FILE_OUT_INIT};
}
