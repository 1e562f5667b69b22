/* Streams one file into one layer: while a chunk is hashed twice (as part of the layer and of the file) and written,
 * the next one is read. The bytes and digests do not depend on the number of threads. Private to pack/. */
#ifndef PACK_LAYER_STREAM_H
#define PACK_LAYER_STREAM_H

#include "pack/oci_writer.h"

struct layer_stream {
    const struct folder *folder;
    uint32_t member;
    struct pool *pool; /* may be NULL */
    const struct progress *progress;
    uint64_t *done_bytes, total_bytes; /* for progress */
};

MUST_CHECK bool layer_stream_write(const struct layer_stream *s, const char *path_in_image, struct file_out *out,
                                   struct oci_layer *layer, struct error *err);

#endif
