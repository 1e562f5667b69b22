/* Files: regular files only for reading (a fifo or a device is refused, not waited for), positioned reads that notice a
 * file which ends early, and outputs that appear under their name only when they are complete: written to a hidden
 * temporary in the same folder, fsynced, renamed, folder fsynced. A failed write, fsync or close discards the
 * temporary; fsync is never retried (after a failure the kernel has forgotten the pages). Symbolic links are followed
 * for inputs (the Hugging Face cache is made of them) and never for outputs. */
#ifndef CORE_FILE_H
#define CORE_FILE_H

#include "core/bytes.h"
#include "core/error.h"

#include <sys/types.h>
#include <unistd.h>

/* Owned bytes, one more than `size` is allocated and zero, so that text is terminated. */
struct buffer {
    uint8_t *data;
    size_t size;
};

static inline struct bytes buffer_view(const struct buffer *b)
{
    return bytes_of(b->data, b->size);
}

void buffer_free(struct buffer *b);

static inline void cleanup_buffer(struct buffer *b)
{
    buffer_free(b);
}

#define CLEANUP_BUFFER __attribute__((cleanup(cleanup_buffer)))

/* `dirfd` may be AT_FDCWD. *fd is the caller's to close. */
MUST_CHECK bool file_open(int dirfd, const char *path, int *fd, uint64_t *size, struct error *err);
/* Exactly n bytes at offset, or an error that names the file (`name`) and the place. */
MUST_CHECK bool file_read_at(int fd, const char *name, uint64_t offset, void *dst, size_t n, struct error *err);
/* A whole file of at most `max` bytes. */
MUST_CHECK bool file_load(int dirfd, const char *path, size_t max, struct buffer *out, struct error *err);

/* `size` bytes at `offset` of an open file: a file of its own, or a member of an archive. */
struct file_place {
    int fd;
    uint64_t offset, size;
};
#define FILE_PLACE_INIT                                                                                                \
    {                                                                                                                  \
        .fd = -1                                                                                                       \
    }

static inline void cleanup_file_place(struct file_place *p) /* of one that owns its descriptor */
{
    if (p->fd >= 0) close(p->fd);
    p->fd = -1;
}

/* A file mapped read-only, for small data that is used in place. When the file shrinks under the map, the missing pages
 * read as zero instead of killing the process, and file_map_intact says so: call it after the last use. */
struct file_map {
    struct bytes bytes;
    size_t slot;
};
MUST_CHECK bool file_map(int fd, const char *name, uint64_t offset, uint64_t size, struct file_map *out,
                         struct error *err);
MUST_CHECK bool file_map_intact(const struct file_map *m, const char *name, struct error *err);
void file_unmap(struct file_map *m);

/* One output file. Not visible until commit. A second writer of the same name fails at once. */
struct file_out {
    int fd;
    int dirfd;
    char *name;
    char *temporary;
    uint64_t size;
};
#define FILE_OUT_INIT                                                                                                  \
    {                                                                                                                  \
        .fd = -1, .dirfd = -1                                                                                          \
    }
MUST_CHECK bool file_out_open(struct file_out *f, const char *path, unsigned mode, struct error *err);
MUST_CHECK bool file_out_write(struct file_out *f, const void *data, size_t n, struct error *err); /* at the end */
MUST_CHECK bool file_out_write_at(struct file_out *f, uint64_t offset, const void *data, size_t n, struct error *err);
/* Makes the file `size` bytes long and takes the disk space now, where the file system can. Writes within it may then
 * come from several threads. */
MUST_CHECK bool file_out_reserve(struct file_out *f, uint64_t size, struct error *err);
/* Lets the disk begin with bytes that were written, so that a commit finds little left to wait for. A hint: it cannot
 * fail, and what goes wrong with the disk is the commit's to say. */
void file_out_start_flush(const struct file_out *f, uint64_t offset, uint64_t n);
MUST_CHECK bool file_out_commit(struct file_out *f, struct error *err);
void file_out_abort(struct file_out *f); /* fine after commit, and on FILE_OUT_INIT */

MUST_CHECK bool file_save(const char *path, struct bytes data, unsigned mode,
                          struct error *err); /* open, write, commit */

/* Folders. */
MUST_CHECK bool dir_open(const char *path, int *fd, struct error *err);
MUST_CHECK bool dir_make_parents(const char *path, struct error *err); /* `mkdir -p $(dirname path)` */
MUST_CHECK bool dir_sync(int dirfd, const char *name, struct error *err);
bool dir_remove_tree(int parent, const char *name, struct error *err); /* absent is fine; does not follow links */
bool dir_empty(int dirfd, const char *name, struct error *err);        /* removes everything inside */
bool dir_is_within(int dirfd, const char *outer);                      /* `outer` itself counts; absent: false */
/* Bytes that an ordinary user may still write on the file system of `path` (or of its nearest existing parent). */
MUST_CHECK bool dir_space(const char *path, uint64_t *out, struct error *err);

/* "a/b/" and "a/b" -> folder "a", name "b"; "b" -> ".", "b". Fails (ERR_USAGE) when there is no name. Both: caller
 * frees. */
MUST_CHECK bool path_split(const char *path, char **folder, char **name, struct error *err);
MUST_CHECK bool path_join(char **out, const char *folder, const char *name, struct error *err);
/* A relative path of plain components: not empty, not absolute, no "..", no "." component, no NUL, no backslash. */
bool path_is_safe(const char *path);

#endif
