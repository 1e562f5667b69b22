/* Streams one file into one layer: every chunk is hashed twice (as part of the layer and of the file) and written, or,
 * where the file system can, the data is not copied at all but shared with the source, and hashed from there. The bytes
 * and digests do not depend on the number of threads. Private to pack/. */
#ifndef PACK_LAYER_STREAM_H
#define PACK_LAYER_STREAM_H

#include "pack/oci_writer.h"

struct layer_stream {
    const struct folder *folder;
    uint32_t member;
    struct pool *pool; /* the steps of a chunk side by side, and the next one's reading; NULL: this thread alone */
    size_t chunk_bytes;
    uint64_t base; /* where the layer begins in the file: 0, or its place in an archive */
    /* Told of every chunk that is done; false stops with `err` set. */
    bool (*tell)(void *ctx, const char *item, uint64_t bytes, struct error *err);
    void *ctx;
};

MUST_CHECK bool layer_stream_write(const struct layer_stream *s, const char *path_in_image, struct file_out *out,
                                   struct oci_layer *layer, struct error *err);

#endif
