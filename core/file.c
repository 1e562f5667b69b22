#include "core/file.h"

#include "core/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define WRITE_CHUNK_BYTES ((size_t)1 << 30) /* Linux moves at most 2 GiB per call */

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}

bool file_open(int dirfd, const char *path, int *fd, uint64_t *size, struct error *err)
{
    /* O_NONBLOCK: opening a fifo must not wait for a writer; it has no effect on regular files. */
    CLEANUP(fd) int f = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    *fd = -1;
    if (f < 0) {
        if (errno == ENOENT) return error_set(err, ERR_FORMAT, "file '%.512s' does not exist", path);
        return error_set_errno(err, "cannot open '%.512s'", path);
    }
    struct stat st;
    if (fstat(f, &st) != 0) return error_set_errno(err, "cannot examine '%.512s'", path);
    if (!S_ISREG(st.st_mode)) return error_set(err, ERR_FORMAT, "'%.512s' is not a regular file", path);
    *size = (uint64_t)st.st_size;
    *fd = f;
    f = -1;
    return true;
}

bool file_read_at(int fd, const char *name, uint64_t offset, void *dst, size_t n, struct error *err)
{
    uint8_t *p = dst;
    uint64_t end;
    if (!u64_add(offset, n, &end) || end > INT64_MAX)
        return error_set(err, ERR_FORMAT, "'%.512s': offset %llu is beyond any file", name, (unsigned long long)offset);
    for (size_t got = 0; got < n;) {
        size_t want = n - got < WRITE_CHUNK_BYTES ? n - got : WRITE_CHUNK_BYTES;
        ssize_t k = pread(fd, p + got, want, (off_t)(offset + got));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0)
            return error_set_errno(err, "cannot read '%.512s' at byte %llu", name, (unsigned long long)(offset + got));
        if (k == 0)
            return error_set(err, ERR_FORMAT, "'%.512s' ends at byte %llu, %llu were expected: it is truncated", name,
                             (unsigned long long)(offset + got), (unsigned long long)end);
        got += (size_t)k;
    }
    return true;
}

bool file_load(int dirfd, const char *path, size_t max, struct buffer *out, struct error *err)
{
    *out = (struct buffer){0};
    CLEANUP(fd) int fd = -1;
    uint64_t size;
    if (!file_open(dirfd, path, &fd, &size, err)) return false;
    if (size > max)
        return error_set(err, ERR_FORMAT, "'%.512s' has %llu bytes, at most %zu are read", path,
                         (unsigned long long)size, max);
    CLEANUP_BUFFER struct buffer b = {.data = malloc((size_t)size + 1), .size = (size_t)size};
    if (!b.data) return error_memory(err, (size_t)size + 1);
    if (!file_read_at(fd, path, 0, b.data, b.size, err)) return false;
    b.data[b.size] = 0;
    *out = b;
    b = (struct buffer){0};
    return true;
}

static char *temporary_name(const char *name)
{
    size_t n = strlen(name) + sizeof "..ingot-tmp";
    char *t = malloc(n);
    if (t) snprintf(t, n, ".%s.ingot-tmp", name);
    return t;
}

/* Opens the temporary of another run, dead or alive: a lock that is taken means alive. One that is dead is removed, not
 * reused: it has the mode and perhaps the second name of another time. *gone: there is none any more. */
static bool clear_temporary(struct file_out *f, struct error *err)
{
    CLEANUP(fd) int old = openat(f->dirfd, f->temporary, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (old < 0 && errno == ENOENT) return true;
    if (old < 0 && errno != ELOOP && errno != ENXIO)
        return error_set_errno(err, "cannot open the leftover '%.512s'", f->temporary);
    if (old >= 0 && flock(old, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return error_set_errno(err, "cannot lock '%.512s'", f->temporary);
        return error_set(err, ERR_IO, "another process is writing '%.512s'", f->name);
    }
    struct stat ours, named;
    if (old >= 0 && (fstat(old, &ours) != 0 || fstatat(f->dirfd, f->temporary, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
                     ours.st_ino != named.st_ino || ours.st_dev != named.st_dev))
        return true; /* renamed or replaced meanwhile: look again */
    if (unlinkat(f->dirfd, f->temporary, 0) == 0 || errno == ENOENT) return true;
    return error_set_errno(err, "cannot remove the leftover '%.512s'", f->temporary);
}

/* Creates and locks the temporary. Between the two calls another process may take it for a dead one: then it has the
 * lock, or the name no longer leads to our file, and we begin again. */
static bool open_temporary(struct file_out *f, unsigned mode, struct error *err)
{
    for (;;) {
        f->fd = openat(f->dirfd, f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (f->fd < 0 && errno != EEXIST) return error_set_errno(err, "cannot create '%.512s'", f->temporary);
        if (f->fd < 0) {
            if (!clear_temporary(f, err)) return false;
            continue;
        }
        bool locked = flock(f->fd, LOCK_EX | LOCK_NB) == 0;
        if (!locked && errno != EWOULDBLOCK) return error_set_errno(err, "cannot lock '%.512s'", f->temporary);
        struct stat ours, named;
        if (fstat(f->fd, &ours) != 0) return error_set_errno(err, "cannot examine '%.512s'", f->temporary);
        if (locked && fstatat(f->dirfd, f->temporary, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
            ours.st_ino == named.st_ino && ours.st_dev == named.st_dev)
            return true;
        close(f->fd);
        f->fd = -1;
    }
}

bool file_out_open(struct file_out *f, const char *path, unsigned mode, struct error *err)
{
    *f = (struct file_out)FILE_OUT_INIT;
    CLEANUP(free) char *folder = NULL;
    if (!path_split(path, &folder, &f->name, err)) return false;
    f->temporary = temporary_name(f->name);
    if (!f->temporary) {
        file_out_abort(f);
        return error_memory(err, strlen(path));
    }
    if (!dir_open(folder, &f->dirfd, err) || !open_temporary(f, mode, err)) {
        /* The temporary may be another writer's: leave it, only let go. */
        if (f->fd >= 0) close(f->fd);
        f->fd = -1;
        file_out_abort(f);
        return false;
    }
    return true;
}

bool file_out_write_at(struct file_out *f, uint64_t offset, const void *data, size_t n, struct error *err)
{
    const uint8_t *p = data;
    for (size_t done = 0; done < n;) {
        size_t want = n - done < WRITE_CHUNK_BYTES ? n - done : WRITE_CHUNK_BYTES;
        ssize_t k = pwrite(f->fd, p + done, want, (off_t)(offset + done));
        if (k < 0 && errno == EINTR) continue;
        if (k == 0) errno = ENOSPC; /* no device we know does it; looping on it would never end */
        if (k <= 0) return error_set_errno(err, "cannot write '%.512s'", f->name);
        done += (size_t)k;
    }
    if (offset + n > f->size) f->size = offset + n;
    return true;
}

bool file_out_write(struct file_out *f, const void *data, size_t n, struct error *err)
{
    return file_out_write_at(f, f->size, data, n, err);
}

bool file_out_reserve(struct file_out *f, uint64_t size, struct error *err)
{
    if (size > INT64_MAX)
        return error_set(err, ERR_FORMAT, "'%.512s' would have %llu bytes, too many for any file", f->name,
                         (unsigned long long)size);
    /* fallocate itself, not posix_fallocate: where a file system has none, that one writes every block. */
    int rc;
    while ((rc = size ? fallocate(f->fd, 0, 0, (off_t)size) : 0) != 0 && errno == EINTR) {}
    if (rc != 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
        return error_set_errno(err, "cannot reserve %llu bytes for '%.512s'", (unsigned long long)size, f->name);
    if (ftruncate(f->fd, (off_t)size) != 0) return error_set_errno(err, "cannot set the size of '%.512s'", f->name);
    f->size = size;
    return true;
}

void file_out_start_flush(const struct file_out *f, uint64_t offset, uint64_t n)
{
    (void)sync_file_range(f->fd, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
}

bool file_out_commit(struct file_out *f, struct error *err)
{
    int fd = f->fd;
    bool ok = fsync(fd) == 0;
    if (!ok) error_set_errno(err, "cannot flush '%.512s' to disk", f->name);
    else if (renameat(f->dirfd, f->temporary, f->dirfd, f->name) != 0)
        ok = error_set_errno(err, "cannot rename to '%.512s'", f->name);
    if (ok) {
        free(f->temporary); /* it has its name now: nothing to unlink */
        f->temporary = NULL;
        ok = dir_sync(f->dirfd, f->name, err);
        f->fd = -1;
        if (close(fd) != 0 && ok) ok = error_set_errno(err, "cannot close '%.512s'", f->name);
    }
    file_out_abort(f);
    return ok;
}

void file_out_abort(struct file_out *f)
{
    if (f->fd >= 0) {
        if (f->temporary) unlinkat(f->dirfd, f->temporary, 0);
        close(f->fd);
    }
    if (f->dirfd >= 0) close(f->dirfd);
    free(f->name);
    free(f->temporary);
    *f = (struct file_out)FILE_OUT_INIT;
}

bool file_save(const char *path, struct bytes data, unsigned mode, struct error *err)
{
    struct file_out f;
    if (!file_out_open(&f, path, mode, err)) return false;
    if (file_out_write(&f, data.data, data.size, err)) return file_out_commit(&f, err);
    file_out_abort(&f);
    return false;
}
