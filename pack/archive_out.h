/* Writes an image layout as one tar file: blobs/, blobs/sha256/, the blobs in the order in which they were asked for,
 * index.json, oci-layout; then two zero blocks. Every header is as in formats/tar.h, and every blob begins on a page,
 * so what lies on a page of a layer (weights) lies on a page of the archive. The same blobs in the same order give the
 * same bytes.
 *
 * A blob's place follows from its size, so blobs can be written side by side; its header, which holds its digest, is
 * written last. The file has no name until it is whole (core/file.h). Private to pack/. */
#ifndef PACK_ARCHIVE_OUT_H
#define PACK_ARCHIVE_OUT_H

#include "core/crypto.h"
#include "core/file.h"

struct archive_out {
    struct file_out file;
    uint64_t end;        /* where the next member begins */
    struct digest *list; /* of the blobs that were added by digest, so that each is written once */
    uint32_t n, capacity;
};

/* ERR_USAGE when there is something of that name that is no regular file, or a file and not `replace`. */
MUST_CHECK bool archive_out_open(struct archive_out *a, const char *path, bool replace, struct error *err);
/* Takes the place of a blob of `size` bytes, from one thread: its header begins at *at, its data at *data. */
MUST_CHECK bool archive_out_take(struct archive_out *a, uint64_t size, uint64_t *at, uint64_t *data, struct error *err);
/* Disk space for everything that was taken so far; from then on writing is safe from several threads. */
MUST_CHECK bool archive_out_reserve(struct archive_out *a, struct error *err);
/* The header of a blob whose data is there; safe from several threads for reserved places. */
MUST_CHECK bool archive_out_name(struct archive_out *a, uint64_t at, const struct digest *d, uint64_t size,
                                 struct error *err);
/* Whether a blob was added by archive_out_blob or archive_out_note. */
bool archive_out_has(const struct archive_out *a, const struct digest *d);
MUST_CHECK bool archive_out_note(struct archive_out *a, const struct digest *d, struct error *err);
MUST_CHECK bool archive_out_blob(struct archive_out *a, struct bytes data, const struct digest *d, struct error *err);
/* Writes the documents and the end, and gives the file its name. Lets go, also on failure. */
MUST_CHECK bool archive_out_commit(struct archive_out *a, struct bytes index, struct error *err);
void archive_out_close(struct archive_out *a); /* fine after commit */

#endif
