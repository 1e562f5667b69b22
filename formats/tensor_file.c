#include "formats/tensor_file.h"

#include "core/text.h"
#include "formats/safetensors.h"

struct tensor_file {
    struct file_out file;
    struct shard_layout layout;
    uint64_t written; /* bytes of tensors */
};

static bool begin(struct tensor_file *f, const char *path, const struct tensor_spec *specs, uint32_t n,
                  const json_t *metadata, struct error *err)
{
    CLEANUP(free) uint32_t *order = malloc((n + 1) * sizeof *order);
    __attribute__((cleanup(cleanup_text))) struct text header = TEXT_INIT;
    if (!order) return error_memory(err, n * sizeof *order);
    if (!shard_layout_make(&f->layout, specs, n, UINT64_MAX, err)) return false;
    safetensors_order(&f->layout, 0, order);
    if (!safetensors_make_header(&header, specs, &f->layout, order, n, metadata, err)) return false;
    /* The layout counted on a model's metadata: ours may be longer. */
    f->layout.header_bytes[0] = header.size;
    return file_out_open(&f->file, path, 0666, err) && file_out_write_at(&f->file, 0, header.data, header.size, err);
}

bool tensor_file_open(struct tensor_file **out, const char *path, const struct tensor_spec *specs, uint32_t n,
                      const json_t *metadata, struct error *err)
{
    *out = NULL;
    struct tensor_file *f = calloc(1, sizeof *f);
    if (!f) return error_memory(err, sizeof *f);
    f->file = (struct file_out)FILE_OUT_INIT;
    if (!begin(f, path, specs, n, metadata, err)) {
        tensor_file_abort(f);
        return false;
    }
    *out = f;
    return true;
}

bool tensor_file_write(struct tensor_file *f, uint32_t tensor, uint64_t offset, const void *data, size_t n,
                       struct error *err)
{
    const struct shard_layout *l = &f->layout;
    if (tensor >= l->n_tensors || offset > l->bytes[tensor] || n > l->bytes[tensor] - offset)
        return error_set(err, ERR_INTERNAL, "tensor %u: %zu bytes at byte %llu do not belong to it", tensor, n,
                         (unsigned long long)offset);
    f->written += n;
    return file_out_write_at(&f->file, l->header_bytes[0] + l->offset[tensor] + offset, data, n, err);
}

bool tensor_file_commit(struct tensor_file *f, struct error *err)
{
    uint64_t want = 0;
    for (uint32_t i = 0; i < f->layout.n_tensors; i++) want += f->layout.bytes[i];
    bool ok = f->written == want || error_set(err, ERR_INTERNAL, "%llu tensor bytes were written, the file holds %llu",
                                              (unsigned long long)f->written, (unsigned long long)want);
    ok = ok && file_out_commit(&f->file, err);
    tensor_file_abort(f);
    return ok;
}

void tensor_file_abort(struct tensor_file *f)
{
    if (!f) return;
    file_out_abort(&f->file);
    shard_layout_free(&f->layout);
    free(f);
}

bool tensor_file_read(struct folder **folder, struct checkpoint **ck, const char *path, struct error *err)
{
    *folder = NULL;
    *ck = NULL;
    CLEANUP(free) char *ref = NULL;
    if (asprintf(&ref, "file:%s", path) < 0) return error_memory(err, strlen(path));
    if (folder_open(folder, ref, err) && checkpoint_open(ck, *folder, err)) return true;
    folder_close(*folder);
    *folder = NULL;
    return false;
}
