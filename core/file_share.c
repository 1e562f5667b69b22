#include "core/file_share.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

bool file_out_share(struct file_out *f, uint64_t at, int from, uint64_t offset, uint64_t n, bool *shared,
                    struct error *err)
{
    struct file_clone_range r = {.src_fd = from, .src_offset = offset, .src_length = n, .dest_offset = at};
    *shared = n > 0 && ioctl(f->fd, FICLONERANGE, &r) == 0;
    if (*shared) {
        if (at + n > f->size) f->size = at + n;
        return true;
    }
    /* Whatever the reason, copying meets it again or does without. But nothing may have been left behind the end. */
    struct stat st;
    if (n == 0 || at != f->size || (fstat(f->fd, &st) == 0 && (uint64_t)st.st_size == f->size)) return true;
    return ftruncate(f->fd, (off_t)f->size) == 0 ? true : error_set_errno(err, "cannot cut '%.512s'", f->name);
}
