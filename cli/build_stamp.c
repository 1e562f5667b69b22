#include "cli/build_stamp.h"

#include "core/file.h"
#include "formats/folder.h"

#include <errno.h>
#include <fcntl.h>

static bool add_folder(struct sha256 *h, const char *path, struct error *err)
{
    CLEANUP(folder) struct folder *f = NULL;
    struct digest d;
    if (!folder_open(&f, path, err) || !folder_stamp(f, &d, err)) return false;
    sha256_add(h, d.bytes, sizeof d.bytes);
    return true;
}

static bool stamp(const char *first, const char *second, char hex[DIGEST_HEX_SIZE], struct error *err)
{
    struct sha256 *h;
    struct digest d;
    if (!sha256_open(&h, err)) return false;
    bool ok = add_folder(h, first, err) && (!second || add_folder(h, second, err));
    if (!sha256_close(h, ok ? &d : NULL, err) || !ok) return false;
    digest_hex(&d, hex);
    return true;
}

static bool stamp_path(const char *out, const char *stage, char **path, struct error *err)
{
    return asprintf(path, "%s/.%s.stamp", out, stage) >= 0 ? true : error_memory(err, strlen(out));
}

bool build_stamp_fits(const char *out, const char *stage, const char *first, const char *second)
{
    CLEANUP(free) char *path = NULL;
    CLEANUP_BUFFER struct buffer said = {0};
    char hex[DIGEST_HEX_SIZE];
    struct error ignored = ERROR_INIT;
    return stamp_path(out, stage, &path, &ignored) && file_load(AT_FDCWD, path, 256, &said, &ignored) &&
           stamp(first, second, hex, &ignored) && said.size == strlen(hex) && memcmp(said.data, hex, said.size) == 0;
}

bool build_stamp_save(const char *out, const char *stage, const char *first, const char *second, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    char hex[DIGEST_HEX_SIZE];
    return stamp_path(out, stage, &path, err) && stamp(first, second, hex, err) &&
           file_save(path, bytes_text(hex), 0666, err);
}

bool build_stamp_drop(const char *out, const char *stage, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    if (!stamp_path(out, stage, &path, err)) return false;
    if (unlink(path) == 0 || errno == ENOENT) return true;
    return error_set_errno(err, "cannot remove '%.512s'", path);
}
