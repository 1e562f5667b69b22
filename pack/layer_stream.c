#include "pack/layer_stream.h"

#include "core/file_share.h"
#include "core/memory.h"

struct run {
    const struct layer_stream *s;
    struct file_out *out;
    struct tar_layer tar;
    struct sha256 *layer_hash, *file_hash;
    uint64_t at; /* where the next bytes go */
    bool shared; /* the data is in the layer already */
    uint8_t *chunk, *next;
    size_t chunk_bytes, next_bytes;
    uint64_t next_offset; /* of `next` in the file */
};

enum { STEP_READ, STEP_WRITE, STEP_HASH_LAYER, STEP_HASH_FILE, STEP_COUNT };

/* From the layer when it has the data: what is hashed is what lies there, whatever happens to the source meanwhile. */
static bool read_chunk(const struct run *r, uint8_t *dst, uint64_t offset, size_t n, struct error *err)
{
    if (r->shared) return file_read_at(r->out->fd, r->tar.path, r->s->base + r->tar.data_offset + offset, dst, n, err);
    return folder_read(r->s->folder, r->s->member, offset, dst, n, err);
}

static bool write_chunk(struct run *r, struct error *err)
{
    if (r->shared) return true;
    r->at += r->chunk_bytes;
    return file_out_write_at(r->out, r->at - r->chunk_bytes, r->chunk, r->chunk_bytes, err);
}

/* What is done with a chunk at the same time; no step touches what another changes. */
static bool step(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    struct run *r = ctx;
    (void)worker;
    switch (item) {
    case STEP_READ: return !r->next_bytes || read_chunk(r, r->next, r->next_offset, r->next_bytes, err);
    case STEP_WRITE: return write_chunk(r, err);
    case STEP_HASH_LAYER: sha256_add(r->layer_hash, r->chunk, r->chunk_bytes); return true;
    default: sha256_add(r->file_hash, r->chunk, r->chunk_bytes); return true;
    }
}

static size_t chunk_at(const struct run *r, uint64_t offset)
{
    return (size_t)u64_min(r->s->chunk_bytes, r->tar.data_bytes - offset);
}

static bool copy_with_pool(struct run *r, struct error *err)
{
    r->next_bytes = chunk_at(r, 0);
    if (!step(r, STEP_READ, 0, err)) return false;
    while (r->next_bytes) {
        uint8_t *swap = r->chunk;
        r->chunk = r->next;
        r->chunk_bytes = r->next_bytes;
        r->next = swap;
        r->next_offset += r->chunk_bytes;
        r->next_bytes = chunk_at(r, r->next_offset);
        if (!pool_try(r->s->pool, STEP_COUNT, step, r, err) || !r->s->tell(r->s->ctx, r->tar.path, r->chunk_bytes, err))
            return false;
    }
    return true;
}

static bool copy_alone(struct run *r, struct error *err)
{
    for (uint64_t at = 0; (r->chunk_bytes = chunk_at(r, at)) > 0; at += r->chunk_bytes) {
        if (!read_chunk(r, r->chunk, at, r->chunk_bytes, err) || !write_chunk(r, err)) return false;
        sha256_add_pair(r->layer_hash, r->chunk, r->chunk_bytes, r->file_hash, r->chunk, r->chunk_bytes);
        if (!r->s->tell(r->s->ctx, r->tar.path, r->chunk_bytes, err)) return false;
    }
    return true;
}

static bool write_frame(struct run *r, const uint8_t *data, size_t n, struct error *err)
{
    sha256_add(r->layer_hash, data, n);
    r->at += n;
    return file_out_write_at(r->out, r->at - n, data, n, err);
}

/* The header ends on a page, so the data behind it can be the source's own blocks. */
static bool share_data(struct run *r, struct error *err)
{
    int fd;
    uint64_t offset;
    if (!folder_place(r->s->folder, r->s->member, &fd, &offset, err) ||
        !file_out_share(r->out, r->at, fd, offset, r->tar.data_bytes, &r->shared, err))
        return false;
    if (r->shared) r->at += r->tar.data_bytes;
    return true;
}

static bool write_all(struct run *r, const struct buffer *head, struct error *err)
{
    static const uint8_t zeros[4 * TAR_BLOCK_BYTES];
    return sha256_open(&r->layer_hash, err) && sha256_open(&r->file_hash, err) &&
           write_frame(r, head->data, head->size, err) && share_data(r, err) &&
           (r->s->pool ? copy_with_pool(r, err) : copy_alone(r, err)) &&
           write_frame(r, zeros, tar_layer_tail(&r->tar), err);
}

bool layer_stream_write(const struct layer_stream *s, const char *path_in_image, struct file_out *out,
                        struct oci_layer *layer, struct error *err)
{
    CLEANUP_BUFFER struct buffer head = {0};
    CLEANUP(free) uint8_t *chunks = NULL;
    struct run r = {.s = s, .out = out, .at = s->base};
    if (!tar_layer_header(path_in_image, folder_size(s->folder, s->member), &head, &r.tar, err) ||
        !memory_alloc(&chunks, s->pool ? 2 : 1, s->chunk_bytes, err))
        return false;
    r.chunk = chunks;
    r.next = s->pool ? chunks + s->chunk_bytes : NULL;
    bool ok = write_all(&r, &head, err);
    layer->layer_bytes = r.tar.total_bytes;
    ok = sha256_close(r.layer_hash, ok ? &layer->digest : NULL, err) && ok;
    return sha256_close(r.file_hash, ok ? &layer->file_digest : NULL, err) && ok;
}
