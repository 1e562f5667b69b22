/* Writing shards and their index; where the tensors go is decided in safetensors_layout.c. */
#include "formats/safetensors.h"

#include "core/text.h"

#include <stdatomic.h>

struct shard_writer {
    struct file_out file;
    const struct tensor_spec *specs;
    const struct shard_layout *layout;
    uint32_t shard;
    _Atomic uint64_t *written; /* [tensors of the shard] bytes */
};

static bool open_file(struct shard_writer *w, const char *folder, struct error *err)
{
    char name[64];
    CLEANUP(free) char *path = NULL;
    shard_name(name, w->shard, w->layout->n_shards);
    return path_join(&path, folder, name, err) && file_out_open(&w->file, path, 0666, err);
}

/* The whole file is reserved at once: a full disk is noticed before the work, and no write moves the end, so that
 * several threads may write. */
static bool begin(struct shard_writer *w, struct error *err)
{
    const struct shard_layout *l = w->layout;
    uint32_t n = l->first[w->shard + 1] - l->first[w->shard];
    w->written = calloc(n ? n : 1, sizeof *w->written);
    CLEANUP(free) uint32_t *order = malloc((n ? n : 1) * sizeof *order);
    if (!w->written || !order) return error_memory(err, n * sizeof *w->written);
    safetensors_order(l, w->shard, order);
    __attribute__((cleanup(cleanup_text))) struct text header = TEXT_INIT;
    if (!safetensors_make_header(&header, w->specs, l, order, n, NULL, err)) return false;
    return file_out_reserve(&w->file, l->shard_bytes[w->shard], err) &&
           file_out_write_at(&w->file, 0, header.data, header.size, err);
}

bool shard_writer_open(struct shard_writer **out, const char *folder, const struct tensor_spec *specs,
                       const struct shard_layout *l, uint32_t shard, struct error *err)
{
    *out = NULL;
    struct shard_writer *w = calloc(1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w);
    *w = (struct shard_writer){.file = FILE_OUT_INIT, .specs = specs, .layout = l, .shard = shard};
    if (!open_file(w, folder, err) || !begin(w, err)) {
        shard_writer_abort(w);
        return false;
    }
    *out = w;
    return true;
}

bool shard_writer_write(struct shard_writer *w, uint32_t tensor, uint64_t offset, const void *data, size_t n,
                        struct error *err)
{
    const struct shard_layout *l = w->layout;
    if (tensor >= l->n_tensors || l->shard[tensor] != w->shard)
        return error_set(err, ERR_INTERNAL, "tensor %u does not belong to shard %u", tensor, w->shard + 1);
    if (offset > l->bytes[tensor] || n > l->bytes[tensor] - offset)
        return error_set(err, ERR_INTERNAL, "tensor '%.256s': %zu bytes written at byte %llu, it has %llu",
                         w->specs[tensor].name, n, (unsigned long long)offset, (unsigned long long)l->bytes[tensor]);
    if (!file_out_write_at(&w->file, l->header_bytes[w->shard] + l->offset[tensor] + offset, data, n, err))
        return error_wrap(err, "tensor '%.256s'", w->specs[tensor].name);
    atomic_fetch_add(&w->written[tensor - l->first[w->shard]], n);
    return true;
}

void shard_writer_start_flush(const struct shard_writer *w, uint32_t tensor, uint64_t offset, uint64_t n)
{
    file_out_start_flush(&w->file, w->layout->header_bytes[w->shard] + w->layout->offset[tensor] + offset, n);
}

static bool check_whole(const struct shard_writer *w, struct error *err)
{
    const struct shard_layout *l = w->layout;
    for (uint32_t i = l->first[w->shard]; i < l->first[w->shard + 1]; i++) {
        uint64_t written = atomic_load(&w->written[i - l->first[w->shard]]);
        if (written != l->bytes[i])
            return error_set(err, ERR_INTERNAL, "tensor '%.256s': %llu bytes were written, it has %llu",
                             w->specs[i].name, (unsigned long long)written, (unsigned long long)l->bytes[i]);
    }
    return true;
}

bool shard_writer_commit(struct shard_writer *w, struct error *err)
{
    bool ok = check_whole(w, err) && file_out_commit(&w->file, err);
    shard_writer_abort(w);
    return ok;
}

void shard_writer_abort(struct shard_writer *w)
{
    if (!w) return;
    file_out_abort(&w->file);
    free(w->written);
    free(w);
}

/* Two spaces, sorted, a newline at the end: as huggingface_hub writes it. */
bool shard_index_write(const char *folder, const struct tensor_spec *specs, const struct shard_layout *l,
                       struct error *err)
{
    if (l->n_shards == 1) return true;
    CLEANUP(free) const char **names = malloc((l->n_tensors ? l->n_tensors : 1) * sizeof *names);
    if (!names) return error_memory(err, l->n_tensors * sizeof *names);
    unsigned long long total = 0;
    for (uint32_t i = 0; i < l->n_tensors; i++) {
        names[i] = specs[i].name;
        total += l->bytes[i];
    }
    struct name_index ix;
    if (!name_index_build(&ix, names, l->n_tensors, "output tensors", err)) return false;
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    text_add(&t, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {", total);
    bool ok = true;
    for (uint32_t k = 0; k < ix.n && ok; k++) {
        char file[64];
        shard_name(file, l->shard[ix.entries[k].value], l->n_shards);
        text_add(&t, "%s\n    ", k ? "," : "");
        ok = safetensors_put_string(&t, ix.entries[k].name, err);
        text_add(&t, ": \"%s\"", file);
    }
    name_index_free(&ix);
    text_add(&t, "\n  }\n}\n");
    if (ok && t.failed) ok = error_memory(err, t.size);
    CLEANUP(free) char *path = NULL;
    return ok && path_join(&path, folder, SAFETENSORS_INDEX_NAME, err) &&
           file_save(path, bytes_of(t.data, t.size), 0666, err);
}
