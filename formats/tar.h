/* Image layers: a tar archive of one fixed shape that holds exactly one regular file, so that equal files are equal
 * layers, and so that the file's bytes can be mapped straight out of the layer.
 *
 *   directories   one member per parent ("models/", "models/sub/"): type 5, mode 0755
 *   x member      pax records: `path` when the path is over 100 bytes, `size` from 8 GiB on (ustar holds 11 octal
 *                 digits), then a `comment` of spaces, just long enough for the data to begin on a 4096-byte boundary
 *   file          type 0, mode 0644; size field 0 when the pax record says it (as GNU tar and Python write it)
 *   data          zero-padded to 512 bytes, then two zero blocks; nothing behind them
 *
 * A directory over 100 bytes is preceded by an x member with its `path` alone. Every header has mtime 0, owner 0, no
 * names; a long path's name field holds its first 100 bytes. So a layer's bytes follow from (path, data), and its
 * header from (path, size): the reader takes what a header claims, lays the header again, and compares. Read by GNU
 * tar, Python, libarchive and Go (docs/formats.md, layers). */
#ifndef FORMATS_TAR_H
#define FORMATS_TAR_H

#include "core/file.h"

#define TAR_BLOCK_BYTES 512u
#define TAR_PAGE_BYTES 4096u                        /* what mmap wants on the machines we serve */
#define TAR_NAME_BYTES 100u                         /* ustar's name field */
#define TAR_OCTAL_SIZE_MAX ((uint64_t)077777777777) /* ustar's size field: below 8 GiB */
#define TAR_PATH_BYTES_MAX 1024u
#define TAR_DEPTH_MAX 16u                      /* components of a path */
#define TAR_DATA_BYTES_MAX ((uint64_t)1 << 46) /* 64 TiB: past any file, far from overflow */
/* All that may stand before the data: 15 long directories of at most 2560 bytes, then the file's own headers. */
#define TAR_HEADER_BYTES_MAX ((size_t)48 << 10)

struct tar_layer {
    char path[TAR_PATH_BYTES_MAX + 1]; /* "models/config.json" */
    uint64_t data_bytes;               /* of the file */
    uint64_t data_offset;              /* where its first byte lies; a multiple of TAR_PAGE_BYTES */
    uint64_t total_bytes;              /* of the whole layer */
};

/* A path that a layer may hold: relative, plain components, printable UTF-8, and no component that begins with ".wh."
 * (an unpacker takes those for orders to delete). ERR_FORMAT says what is wrong. */
MUST_CHECK bool tar_path_check(const char *path, struct error *err);

/* ---- writing ------------------------------------------------------------------------------------------------------
 */
/* Everything before the data, from path and size alone; *out and *layer are filled. The caller frees *out. */
MUST_CHECK bool tar_layer_header(const char *path, uint64_t data_bytes, struct buffer *out, struct tar_layer *layer,
                                 struct error *err);
/* A directory, or the header of a regular file, as a member at byte `at` of an archive of many members (a multiple of
 * TAR_BLOCK_BYTES): the x member is as long as it takes for the file's data to begin on a page. Appends to *out, which
 * the caller frees. `name` has at most TAR_NAME_BYTES bytes. */
MUST_CHECK bool tar_member_directory(const char *name, struct buffer *out, struct error *err);
MUST_CHECK bool tar_member_header(uint64_t at, const char *name, uint64_t data_bytes, struct buffer *out,
                                  struct error *err);
/* Zero bytes that follow the data: padding and the two end blocks; less than 2048. */
static inline size_t tar_layer_tail(const struct tar_layer *layer)
{
    return (size_t)(layer->total_bytes - layer->data_offset - layer->data_bytes);
}

/* ---- reading ------------------------------------------------------------------------------------------------------
 */
/* `head` holds the first bytes of a layer of `total_bytes` (all of them, or at least TAR_HEADER_BYTES_MAX). Anything
 * but the shape above is ERR_FORMAT: "what: why". The data and the tail are not looked at. */
MUST_CHECK bool tar_layer_parse(struct bytes head, uint64_t total_bytes, const char *what, struct tar_layer *out,
                                struct error *err);
/* The same from an open file, and the tail must be zeros. Offsets of *out count from the layer's beginning. */
MUST_CHECK bool tar_layer_read(const struct file_place *at, const char *what, struct tar_layer *out, struct error *err);
/* A second opinion by libarchive: the same directories and the same one file, at the same place, and nothing else, so
 * that no unpacker sees another archive than we do. */
MUST_CHECK bool tar_layer_check(const struct file_place *at, const char *what, const struct tar_layer *layer,
                                struct error *err);

#endif
