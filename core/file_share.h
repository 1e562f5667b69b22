/* Sharing blocks between files, where the file system can (btrfs, XFS). */
#ifndef CORE_FILE_SHARE_H
#define CORE_FILE_SHARE_H

#include "core/file.h"

/* Puts n bytes of another file at byte `at` (the end, or within what is reserved) without copying them, as blocks that
 * both files share (FICLONERANGE). *shared false: this file system cannot, or not at these offsets, and nothing was
 * written. */
MUST_CHECK bool file_out_share(struct file_out *f, uint64_t at, int from, uint64_t offset, uint64_t n, bool *shared,
                               struct error *err);

#endif
