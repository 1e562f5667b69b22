/* write_checkpoint SPEC.json FOLDER: writes {"shard_bytes": N, "tensors": [{"name", "dtype", "shape"}]} as safetensors.
 * Byte i of tensor k is (31 k + i) mod 251, so that a reader written by somebody else can check every byte. */
#include "core/json.h"
#include "formats/checkpoint.h"

#include <fcntl.h>

static bool read_spec(const json_t *j, struct tensor_spec *s, struct error *err)
{
    const char *dtype;
    json_t *shape;
    if (!json_get_string(j, "name", "spec", &s->name, err) || !json_get_string(j, "dtype", "spec", &dtype, err) ||
        !json_get_array(j, "shape", "spec", &shape, err))
        return false;
    if (!dtype_parse(dtype, strlen(dtype), &s->dtype)) return error_set(err, ERR_FORMAT, "unknown dtype");
    s->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t d = 0; d < s->n_dims && d < TENSOR_DIMS_MAX; d++) s->dims[d] = (uint64_t)json_integer_value(json_array_get(shape, d));
    return true;
}

static bool write_shard(const char *folder, const struct tensor_spec *specs, const struct shard_layout *l, uint32_t shard,
                        struct error *err)
{
    struct shard_writer *w;
    if (!shard_writer_open(&w, folder, specs, l, shard, err)) return false;
    bool ok = true;
    for (uint32_t i = l->first[shard]; ok && i < l->first[shard + 1]; i++) {
        CLEANUP(free) uint8_t *data = malloc(l->bytes[i] + 1);
        for (uint64_t b = 0; b < l->bytes[i]; b++) data[b] = (uint8_t)((31 * (uint64_t)i + b) % 251);
        ok = shard_writer_write(w, i, 0, data, l->bytes[i], err);
    }
    if (ok) return shard_writer_commit(w, err);
    shard_writer_abort(w);
    return false;
}

static bool run(const char *spec_path, const char *folder, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *spec = NULL;
    json_t *tensors;
    uint64_t shard_bytes;
    if (!file_load(AT_FDCWD, spec_path, 1 << 20, &text, err) || !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, "spec", &spec, err) ||
        !json_get_array(spec, "tensors", "spec", &tensors, err) ||
            !json_get_u64(spec, "shard_bytes", "spec", 1, INT64_MAX, &shard_bytes, err))
        return false;
    uint32_t n = (uint32_t)json_array_size(tensors);
    CLEANUP(free) struct tensor_spec *specs = calloc(n + 1, sizeof *specs);
    for (uint32_t i = 0; i < n; i++)
        if (!read_spec(json_array_get(tensors, i), &specs[i], err)) return false;
    struct shard_layout l;
    if (!shard_layout_make(&l, specs, n, shard_bytes, err)) return false;
    bool ok = shard_index_write(folder, specs, &l, err);
    for (uint32_t s = 0; ok && s < l.n_shards; s++) ok = write_shard(folder, specs, &l, s, err);
    shard_layout_free(&l);
    return ok;
}

int main(int argc, char **argv)
{
    struct error e = ERROR_INIT;
    if (argc == 3 && run(argv[1], argv[2], &e)) return 0;
    fprintf(stderr, "%s\n", e.text);
    return 1;
}
