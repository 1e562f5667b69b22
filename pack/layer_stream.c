#include "pack/layer_stream.h"

#include "core/memory.h"

#define CHUNK_BYTES ((size_t)4 << 20) /* fits the caches of most machines twice */

struct run {
    const struct layer_stream *s;
    struct file_out *out;
    struct tar_layer tar;
    struct sha256 *layer_hash, *file_hash;
    uint8_t *chunk, *next;
    size_t chunk_bytes, next_bytes;
    uint64_t next_offset; /* of `next` in the file */
};

enum { STEP_READ, STEP_WRITE, STEP_HASH_LAYER, STEP_HASH_FILE, STEP_COUNT };

/* What is done with a chunk at the same time; no step touches what another changes. */
static bool step(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    struct run *r = ctx;
    (void)worker;
    switch (item) {
    case STEP_READ:
        return !r->next_bytes || folder_read(r->s->folder, r->s->member, r->next_offset, r->next, r->next_bytes, err);
    case STEP_WRITE: return file_out_write(r->out, r->chunk, r->chunk_bytes, err);
    case STEP_HASH_LAYER: sha256_add(r->layer_hash, r->chunk, r->chunk_bytes); return true;
    default: sha256_add(r->file_hash, r->chunk, r->chunk_bytes); return true;
    }
}

static size_t chunk_at(const struct run *r, uint64_t offset)
{
    return (size_t)u64_min(CHUNK_BYTES, r->tar.data_bytes - offset);
}

static bool copy_data(struct run *r, struct error *err)
{
    const char *name = r->tar.path;
    r->next_bytes = chunk_at(r, 0);
    if (!step(r, STEP_READ, 0, err)) return false;
    while (r->next_bytes) {
        uint8_t *swap = r->chunk;
        r->chunk = r->next;
        r->chunk_bytes = r->next_bytes;
        r->next = swap;
        r->next_offset += r->chunk_bytes;
        r->next_bytes = chunk_at(r, r->next_offset);
        if (!progress_go_on(r->s->progress, err) || !pool_try(r->s->pool, STEP_COUNT, step, r, err)) return false;
        *r->s->done_bytes += r->chunk_bytes;
        progress_update(r->s->progress, "pack", name, *r->s->done_bytes, r->s->total_bytes);
    }
    return true;
}

static bool write_frame(struct run *r, const uint8_t *data, size_t n, struct error *err)
{
    sha256_add(r->layer_hash, data, n);
    return file_out_write(r->out, data, n, err);
}

static bool write_all(struct run *r, const struct buffer *head, struct error *err)
{
    static const uint8_t zeros[4 * TAR_BLOCK_BYTES];
    return sha256_open(&r->layer_hash, err) && sha256_open(&r->file_hash, err) &&
           write_frame(r, head->data, head->size, err) && copy_data(r, err) &&
           write_frame(r, zeros, tar_layer_tail(&r->tar), err);
}

bool layer_stream_write(const struct layer_stream *s, const char *path_in_image, struct file_out *out,
                        struct oci_layer *layer, struct error *err)
{
    CLEANUP_BUFFER struct buffer head = {0};
    CLEANUP(free) uint8_t *chunks = NULL;
    struct run r = {.s = s, .out = out};
    if (!tar_layer_header(path_in_image, folder_size(s->folder, s->member), &head, &r.tar, err) ||
        !memory_alloc(&chunks, 2, CHUNK_BYTES, err))
        return false;
    r.chunk = chunks;
    r.next = chunks + CHUNK_BYTES;
    bool ok = write_all(&r, &head, err);
    layer->layer_bytes = r.tar.total_bytes;
    ok = sha256_close(r.layer_hash, ok ? &layer->digest : NULL, err) && ok;
    return sha256_close(r.file_hash, ok ? &layer->file_digest : NULL, err) && ok;
}
