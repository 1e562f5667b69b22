/* Megatron's older distributed checkpoints: a zarr array (version 2) per tensor, NAME/.zarray and NAME/0.0, NAME/0.1
 * ..., chunks without compression. */
#include "core/json.h"
#include "formats/megatron.h"

#include <stdio.h>

#define ZARRAY "/.zarray"
#define ZARRAY_BYTES_MAX ((size_t)1 << 20)

static bool is_array(const char *name)
{
    size_t n = strlen(name), k = strlen(ZARRAY);
    return n > k && strcmp(name + n - k, ZARRAY) == 0;
}

bool mega_zarr_probe(const struct folder *f)
{
    for (uint32_t i = 0; i < folder_count(f); i++)
        if (is_array(folder_name(f, i))) return true;
    return false;
}

struct zarr {
    struct mega_set *set;
    struct checkpoint *ck;
    const struct folder *folder;
    uint32_t member;
    const char *what;
    struct mega_array array;
    uint64_t chunk[TENSOR_DIMS_MAX];
    bool columns_first; /* order F */
    char separator;
    struct sha256 *hash;
    struct error *err;
};

static bool read_type(struct zarr *z, const char *text)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } types[] = {{"<f4", DTYPE_F32},  {"<f2", DTYPE_F16}, {"bfloat16", DTYPE_BF16}, {"<V2", DTYPE_BF16},
                 {"|V2", DTYPE_BF16}, {"<f8", DTYPE_F64}, {"<i8", DTYPE_I64},       {"<i4", DTYPE_I32},
                 {"<i2", DTYPE_I16},  {"|i1", DTYPE_I8},  {"|u1", DTYPE_U8},        {"|b1", DTYPE_BOOL}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(text, types[i].name) == 0) {
            z->array.dtype = types[i].dtype;
            return true;
        }
    return error_set(z->err, ERR_UNSUPPORTED, "'%.256s': type '%.64s', which is not read here", z->what, text);
}

static bool read_sizes(struct zarr *z, const json_t *doc, const char *key, uint32_t *n, uint64_t out[TENSOR_DIMS_MAX])
{
    json_t *list;
    if (!json_get_array(doc, key, z->what, &list, z->err)) return false;
    *n = (uint32_t)json_array_size(list);
    if (json_array_size(list) > TENSOR_DIMS_MAX)
        return error_set(z->err, ERR_UNSUPPORTED, "'%.256s': more than %u dimensions", z->what, TENSOR_DIMS_MAX);
    for (uint32_t i = 0; i < *n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 1)
            return error_set(z->err, ERR_FORMAT, "'%.256s': key '%s': expected sizes above 0", z->what, key);
        out[i] = (uint64_t)json_integer_value(v);
    }
    return true;
}

static bool read_header(struct zarr *z, const json_t *doc)
{
    const char *type, *order = "C", *separator = ".", *id = "a filter";
    uint64_t version;
    uint32_t n;
    if (!json_get_u64(doc, "zarr_format", z->what, 0, 99, &version, z->err) ||
        !json_get_string(doc, "dtype", z->what, &type, z->err) || !read_type(z, type) ||
        !read_sizes(z, doc, "shape", &z->array.n_dims, z->array.dims) || !read_sizes(z, doc, "chunks", &n, z->chunk) ||
        !json_opt_string(doc, "order", z->what, &order, z->err) ||
        !json_opt_string(doc, "dimension_separator", z->what, &separator, z->err))
        return false;
    if (version != 2)
        return error_set(z->err, ERR_UNSUPPORTED, "'%.256s': zarr version %u; 2 is read", z->what, (unsigned)version);
    if (json_has(doc, "compressor") || json_has(doc, "filters")) {
        const json_t *c = json_object_get(doc, "compressor");
        if (json_is_object(c) && json_is_string(json_object_get(c, "id")))
            id = json_string_value(json_object_get(c, "id"));
        return error_set(z->err, ERR_UNSUPPORTED,
                         "'%.256s': the chunks are compressed with %.64s; only plain ones can be read in place",
                         z->what, id);
    }
    if (n != z->array.n_dims || n == 0)
        return error_set(z->err, ERR_FORMAT, "'%.256s': shape and chunks have not the same dimensions", z->what);
    if ((order[0] != 'C' && order[0] != 'F') || order[1] || (separator[0] != '.' && separator[0] != '/') ||
        separator[1])
        return error_set(z->err, ERR_FORMAT, "'%.256s': order '%.16s', dimension_separator '%.16s'", z->what, order,
                         separator);
    z->columns_first = order[0] == 'F';
    z->separator = separator[0];
    return true;
}

/* A chunk has the bytes of a whole one also where the array ends inside it. */
static bool add_chunk(struct zarr *z, struct mega_array *a, const uint64_t *number, uint64_t bytes)
{
    char name[TORCH_NAME_MAX];
    struct mega_chunk c = {.part = {.dtype = a->dtype, .n_dims = a->n_dims}};
    uint64_t step = dtype_bytes(a->dtype);
    int n = snprintf(name, sizeof name, "%.*s", (int)(strlen(z->what) - strlen(ZARRAY) + 1), z->what);
    for (uint32_t i = 0; i < a->n_dims && n > 0 && (size_t)n < sizeof name; i++) {
        char sep[2] = {i ? z->separator : '\0', '\0'};
        n += snprintf(name + n, sizeof name - (size_t)n, "%s%llu", sep, (unsigned long long)number[i]);
    }
    if ((size_t)n >= sizeof name) return error_set(z->err, ERR_UNSUPPORTED, "'%.256s': the name is too long", z->what);
    c.part.member = folder_find(z->folder, name);
    if (c.part.member == NAME_NONE)
        return error_set(z->err, ERR_FORMAT, "'%.256s': chunk '%.256s' does not exist", z->what, name);
    if (folder_size(z->folder, c.part.member) != bytes)
        return error_set(z->err, ERR_FORMAT, "'%.256s' has %llu bytes, a chunk has %llu", name,
                         (unsigned long long)folder_size(z->folder, c.part.member), (unsigned long long)bytes);
    for (uint32_t k = 0; k < a->n_dims; k++) {
        uint32_t i = z->columns_first ? k : a->n_dims - 1 - k;
        c.part.steps[i] = step;
        step *= z->chunk[i];
        c.at[i] = number[i] * z->chunk[i];
        c.part.dims[i] = u64_min(z->chunk[i], a->dims[i] - c.at[i]);
    }
    return mega_add_chunk(z->set, a, &c, z->err);
}

static bool add_chunks(struct zarr *z, struct mega_array *a)
{
    uint64_t n = 1, bytes = dtype_bytes(a->dtype), counts[TENSOR_DIMS_MAX];
    for (uint32_t i = 0; i < a->n_dims; i++) {
        counts[i] = u64_div_up(a->dims[i], z->chunk[i]);
        if (!u64_mul(bytes, z->chunk[i], &bytes) || !u64_mul(n, counts[i], &n) || n > folder_count(z->folder))
            return error_set(z->err, ERR_FORMAT, "'%.256s': it has more chunks than the folder has files", z->what);
    }
    for (uint64_t k = 0; k < n; k++) {
        uint64_t number[TENSOR_DIMS_MAX], rest = k;
        for (uint32_t i = a->n_dims; i-- > 0; rest /= counts[i]) number[i] = rest % counts[i];
        if (!add_chunk(z, a, number, bytes)) return false;
    }
    return true;
}

static bool read_array(struct zarr *z)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *doc = NULL;
    int64_t layer;
    char *dir = arena_copy(z->set->arena, z->what, strlen(z->what) - strlen(ZARRAY));
    if (!dir) return error_memory(z->err, 0);
    const char *slash = strrchr(dir, '/'), *name = mega_name(z->set->arena, slash ? slash + 1 : dir, &layer);
    if (!name) return true;
    if (!folder_load(z->folder, z->what, ZARRAY_BYTES_MAX, &text, z->err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_HF, z->what, &doc, z->err) || !read_header(z, doc))
        return false;
    sha256_add(z->hash, z->what, strlen(z->what) + 1);
    sha256_add(z->hash, text.data, text.size);
    z->array.name = mega_layer_name(z->set->arena, name, layer);
    if (!z->array.name) return error_memory(z->err, 0);
    uint32_t had = z->set->n;
    struct mega_array *a = mega_set_array(z->set, &z->array, z->err);
    if (!a) return false;
    if (z->set->n == had)
        return error_set(z->err, ERR_FORMAT, "'%.256s': tensor '%.256s' is there twice", z->what, a->name);
    return !z->ck || add_chunks(z, a);
}

static bool read_arrays(struct zarr *z)
{
    uint32_t last = NAME_NONE;
    for (uint32_t i = 0; i < folder_count(z->folder); i++) {
        z->what = folder_name(z->folder, i);
        z->array = (struct mega_array){0};
        if (!is_array(z->what)) continue;
        last = i;
        if (!read_array(z)) return false;
    }
    z->member = last;
    return true;
}

bool mega_zarr_read(struct mega_set *s, const struct folder *f, struct checkpoint *ck, struct error *err)
{
    struct zarr z = {.set = s, .ck = ck, .folder = f, .err = err};
    struct digest digest;
    if (!sha256_open(&z.hash, err)) return false;
    bool ok = read_arrays(&z);
    return sha256_close(z.hash, ok ? &digest : NULL, err) && ok &&
           (!ck || checkpoint_add_file(ck, z.member, &digest, err));
}
