/* An OCI image layout on disk: oci-layout, index.json, blobs/sha256/HEX. Files are opened beneath the layout's own
 * folders, never through a symbolic link, and only when they are regular files: a digest is checked as text before it
 * becomes a name, and a fifo or a device is refused before it is opened. */
#ifndef FORMATS_OCI_LAYOUT_H
#define FORMATS_OCI_LAYOUT_H

#include "core/file.h"
#include "formats/oci.h"

#define OCI_LAYOUT_FILE "oci-layout"
#define OCI_LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"
#define OCI_INDEX_FILE "index.json"
#define OCI_BLOBS_FOLDER "blobs/sha256"

struct oci_archive;

struct oci_layout {
    int dir, blobs; /* descriptors of the layout and of blobs/sha256; of an archive: of its folder, and -1 */
    struct oci_archive *archive; /* the layout is one file (formats/oci_archive.h); else NULL */
};
#define OCI_LAYOUT_INIT                                                                                                \
    {                                                                                                                  \
        .dir = -1, .blobs = -1                                                                                         \
    }

/* The two folders. A missing layout is ERR_FORMAT that names `path`; so is an archive. */
MUST_CHECK bool oci_layout_open(struct oci_layout *l, const char *path, struct error *err);
/* The same for an archive, whose headers are all read. */
MUST_CHECK bool oci_layout_open_archive(struct oci_layout *l, const char *path, struct error *err);
/* Either, as the name says. */
MUST_CHECK bool oci_layout_open_ref(struct oci_layout *l, const struct oci_ref *ref, struct error *err);
void oci_layout_close(struct oci_layout *l);

static inline void cleanup_oci_layout(struct oci_layout *l)
{
    oci_layout_close(l);
}

/* The files oci-layout (it must say version 1.0.0) and index.json. */
MUST_CHECK bool oci_layout_marker(const struct oci_layout *l, struct error *err);
MUST_CHECK bool oci_layout_index(const struct oci_layout *l, struct oci_index *out, struct error *err);
MUST_CHECK bool oci_layout_index_text(const struct oci_layout *l, struct buffer *out, struct error *err);

/* A blob as an open place whose size is the descriptor's, and whose descriptor of the file the caller closes
 * (cleanup_file_place); `what` names it in errors. *differs (may be NULL) is set when
 * the failure is that the bytes are not those that were named, and not that there is no such file. */
MUST_CHECK bool oci_blob_open(const struct oci_layout *l, const struct oci_descriptor *d, const char *what,
                              struct file_place *out, bool *differs, struct error *err);
/* The same without a descriptor: the size is told. */
MUST_CHECK bool oci_blob_find(const struct oci_layout *l, const struct digest *d, const char *what,
                              struct file_place *out, struct error *err);
/* Whether there is a file of this name at all. */
bool oci_blob_is_there(const struct oci_layout *l, const struct digest *d);
/* A whole blob, of at most `max` bytes (refused before reading), whose digest is the descriptor's too. */
MUST_CHECK bool oci_blob_load(const struct oci_layout *l, const struct oci_descriptor *d, size_t max, const char *what,
                              struct buffer *out, bool *differs, struct error *err);

#endif
