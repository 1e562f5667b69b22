/* Writes an OCI image layout, or the same as one archive (pack/archive_out.h): blobs by their digest, then the index,
 * in a hidden partial folder that gets its name when everything is there and flushed. Each layer is written once, and
 * its digest and that of the file inside are computed from the same bytes on their way: no second read. A run that was
 * stopped goes on behind the last finished layer. */
#ifndef PACK_OCI_WRITER_H
#define PACK_OCI_WRITER_H

#include "core/pool.h"
#include "core/progress.h"
#include "formats/folder.h"
#include "formats/oci_layout.h"
#include "formats/tar.h"

struct oci_writer;

struct oci_layer {
    struct digest digest; /* of the layer, also its diff id: layers are not compressed */
    uint64_t layer_bytes;
    struct digest file_digest; /* of the one file inside */
};

struct oci_writer_options {
    const char *layout_dir;
    bool archive;    /* layout_dir is one file to write: no partial folder, so a stopped run begins anew */
    const char *key; /* as in staging_open */
    bool replace;
    struct pool *pool;               /* may be NULL */
    const struct progress *progress; /* may be NULL */
    uint64_t total_bytes;            /* of all files, for the progress */
};

MUST_CHECK bool oci_writer_open(struct oci_writer **out, const struct oci_writer_options *o, struct error *err);
/* One member of a folder, to be written under path_in_image; *out is filled. */
struct oci_layer_source {
    const char *path;
    const struct folder *folder;
    uint32_t member;
    struct oci_layer layer;
    uint64_t at, data; /* the writer's own: where it lies in an archive, with its header and without */
};
/* All layers: several at once, and of one that is larger than the others together its chunks' steps. Once. */
MUST_CHECK bool oci_writer_add_layers(struct oci_writer *w, struct oci_layer_source *list, uint32_t n,
                                      struct error *err);
/* A layer whose file is `text`. */
MUST_CHECK bool oci_writer_add_text(struct oci_writer *w, const char *path_in_image, struct bytes text,
                                    struct oci_layer *out, struct error *err);
/* Whether a stopped run has left this layer finished: then it needs no space. */
bool oci_writer_has_layer(const struct oci_writer *w, uint32_t number);
MUST_CHECK bool oci_writer_add_blob(struct oci_writer *w, struct bytes data, struct digest *out, struct error *err);
/* A blob of another layout, checked on its way. */
MUST_CHECK bool oci_writer_copy_blob(struct oci_writer *w, const struct oci_layout *from,
                                     const struct oci_descriptor *d, struct error *err);
/* Writes oci-layout and index.json, and gives the layout its name. Frees w, also on failure. */
MUST_CHECK bool oci_writer_commit(struct oci_writer *w, const struct oci_index *index, struct error *err);
/* Lets go; keep leaves finished layers for the next run. NULL is fine. */
void oci_writer_close(struct oci_writer *w, bool keep);

#endif
