#include "engine/residual.h"

#include "core/file.h"
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

bool residual_open(struct residual *r, uint64_t n_rows, uint64_t cols, const char *spill_dir, uint64_t memory_bytes,
                   struct error *err)
{
    *r = (struct residual){.n_rows = n_rows, .cols = cols, .fd = -1};
    uint64_t bytes;
    if (!u64_mul(n_rows, cols, &bytes) || !u64_mul(bytes, sizeof(float), &bytes))
        return error_set(err, ERR_MEMORY, "the batch's residual stream does not fit in 64 bits");
    if (!spill_dir || bytes <= memory_bytes) return memory_alloc(&r->memory, n_rows * cols, sizeof(float), err);
    r->fd = open(spill_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (r->fd < 0) return error_set_errno(err, "cannot make a spill file in '%.512s'", spill_dir);
    int rc = posix_fallocate(r->fd, 0, (off_t)bytes);
    if (rc == 0) return true;
    errno = rc;
    return error_set_errno(err, "cannot reserve %llu bytes for the residual stream in '%.512s'",
                           (unsigned long long)bytes, spill_dir);
}

void residual_close(struct residual *r)
{
    free(r->memory);
    if (r->fd >= 0) close(r->fd);
    *r = (struct residual)RESIDUAL_INIT;
}

bool residual_read(const struct residual *r, uint64_t first, uint64_t n, float *out, struct error *err)
{
    size_t row_bytes = r->cols * sizeof *out;
    if (r->fd >= 0) return file_read_at(r->fd, "spill file", first * row_bytes, out, n * row_bytes, err);
    memcpy(out, r->memory + first * r->cols, n * row_bytes);
    return true;
}

bool residual_write(struct residual *r, uint64_t first, uint64_t n, const float *rows, struct error *err)
{
    size_t row_bytes = r->cols * sizeof *rows, bytes = n * row_bytes;
    if (r->fd < 0) {
        memcpy(r->memory + first * r->cols, rows, bytes);
        return true;
    }
    for (size_t done = 0; done < bytes;) {
        ssize_t k = pwrite(r->fd, (const char *)rows + done, bytes - done, (off_t)(first * row_bytes + done));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return error_set_errno(err, "cannot write the spill file");
        done += (size_t)k;
    }
    return true;
}
