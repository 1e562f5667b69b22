#include "formats/folder.h"

#define CHUNK_BYTES ((size_t)4 << 20)

bool folder_copy(const struct folder *f, uint32_t member, const char *to, struct digest *digest, struct error *err)
{
    const char *name = folder_name(f, member);
    CLEANUP(free) char *path = NULL;
    CLEANUP(free) uint8_t *chunk = malloc(CHUNK_BYTES);
    struct file_out out = FILE_OUT_INIT;
    struct sha256 *h;
    if (!chunk) return error_memory(err, CHUNK_BYTES);
    if (!path_join(&path, to, name, err) || !dir_make_parents(path, err) || !sha256_open(&h, err)) return false;
    bool ok = file_out_open(&out, path, 0666, err);
    for (uint64_t at = 0, size = folder_size(f, member); ok && at < size; at += CHUNK_BYTES) {
        size_t n = (size_t)u64_min(CHUNK_BYTES, size - at);
        ok = folder_read(f, member, at, chunk, n, err) && file_out_write(&out, chunk, n, err);
        if (ok) sha256_add(h, chunk, n);
    }
    ok = sha256_close(h, ok ? digest : NULL, err) && ok;
    if (ok) return file_out_commit(&out, err);
    file_out_abort(&out);
    return false;
}
