/* An image layout in one tar file ("oci-archive:FILE:TAG"), read where it lies: the headers are walked once, the data
 * of documents and blobs is read in place. Written by formats/tar.h and pack/archive_out.h; others' archives (skopeo,
 * podman, tar itself) are read too: ustar and pax with `path` and `size`, sizes of GNU's binary form.
 *
 * An archive is believed as far as a layout is: its members are directories, oci-layout, index.json and
 * blobs/sha256/HEX, each once, within the file, in any order; anything else (another name, a link, a device, bytes
 * between or behind the members) is ERR_FORMAT. Nothing is ever unpacked, so no name becomes a file. */
#ifndef FORMATS_OCI_ARCHIVE_H
#define FORMATS_OCI_ARCHIVE_H

#include "core/crypto.h"
#include "core/file.h"

#define OCI_ARCHIVE_BLOBS_MAX 200000u /* as many files as verify takes in a folder */
/* Zeros behind the end of an archive: GNU tar fills up records of 10 KiB, other blockings are larger. */
#define OCI_ARCHIVE_TAIL_BYTES_MAX ((uint64_t)1 << 20)
#define OCI_ARCHIVE_PAX_BYTES_MAX ((size_t)16 << 10)

struct oci_archive;

/* `name` in the folder `dirfd`, a regular file. Keeps its own descriptor. */
MUST_CHECK bool oci_archive_open(struct oci_archive **out, int dirfd, const char *name, struct error *err);
/* The same of an open file, which is taken over, also on failure. `name` is for errors. */
MUST_CHECK bool oci_archive_read(struct oci_archive **out, int fd, uint64_t size, const char *name, struct error *err);
void oci_archive_close(struct oci_archive *a); /* NULL is fine */

const char *oci_archive_name(const struct oci_archive *a); /* of the file, without its folder */

/* Of the member "oci-layout" or "index.json"; of a blob. ERR_FORMAT when there is none. The place's descriptor is a
 * copy that the caller closes. */
MUST_CHECK bool oci_archive_document(const struct oci_archive *a, const char *name, struct file_place *out,
                                     struct error *err);
MUST_CHECK bool oci_archive_blob(const struct oci_archive *a, const struct digest *d, const char *what,
                                 struct file_place *out, struct error *err);
bool oci_archive_has(const struct oci_archive *a, const struct digest *d);

/* All blobs, sorted by digest. */
uint32_t oci_archive_count(const struct oci_archive *a);
uint64_t oci_archive_size(const struct oci_archive *a, uint32_t i, const struct digest **d);

#endif
