/* One GGUF file's header: values, then tensors, then padding up to the alignment. */
#include "formats/gguf.h"

#include "core/crypto.h"

#include <stdio.h>

#define FIRST_BYTES ((size_t)64 << 10)
#define VALUE_BYTES_MIN 13u  /* length of a key, a type, one byte */
#define TENSOR_BYTES_MIN 25u /* length of a name and a letter, number of dimensions, type, offset */

struct cursor {
    struct gguf *g;
    const struct folder *folder;
    uint32_t member;
    const char *file;
    uint64_t file_bytes;
    struct buffer *b; /* the beginning of the file, as much as was needed so far */
    size_t at;
    struct error *err;
};

static const uint8_t type_bytes[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

static bool bad(const struct cursor *c, const char *what)
{
    return error_set(c->err, ERR_FORMAT, "'%.256s': header, byte %zu: %s", c->file, c->at, what);
}

/* Makes n more bytes readable. A header claims lengths; the file's own size answers before memory does. */
static bool need(struct cursor *c, uint64_t n)
{
    uint64_t end;
    if (!u64_add(c->at, n, &end) || end > c->file_bytes)
        return error_set(
            c->err, ERR_FORMAT,
            "'%.256s': header, byte %zu: %llu more bytes are announced, the file has %llu: it is truncated", c->file,
            c->at, (unsigned long long)n, (unsigned long long)(c->file_bytes - c->at));
    if (end <= c->b->size) return true;
    if (end > GGUF_HEADER_MAX)
        return error_set(c->err, ERR_UNSUPPORTED, "'%.256s': the header has more than %llu bytes", c->file,
                         (unsigned long long)GGUF_HEADER_MAX);
    uint64_t want = 2 * (uint64_t)c->b->size;
    if (want < FIRST_BYTES) want = FIRST_BYTES;
    if (want < end) want = end;
    want = u64_min(u64_min(want, c->file_bytes), GGUF_HEADER_MAX);
    uint8_t *p = realloc(c->b->data, (size_t)want + 1);
    if (!p) return error_memory(c->err, (size_t)want + 1);
    c->b->data = p;
    size_t had = c->b->size;
    if (!folder_read(c->folder, c->member, had, p + had, (size_t)want - had, c->err)) return false;
    c->b->size = (size_t)want;
    return true;
}

static bool get_u32(struct cursor *c, uint32_t *out)
{
    if (!need(c, 4)) return false;
    *out = load_le32(c->b->data + c->at);
    c->at += 4;
    return true;
}

static bool get_u64(struct cursor *c, uint64_t *out)
{
    if (!need(c, 8)) return false;
    *out = load_le64(c->b->data + c->at);
    c->at += 8;
    return true;
}

/* A key or the name of a tensor: printable ASCII, so that it can stand in a sentence and in a file. */
static bool get_name(struct cursor *c, const char *what, uint32_t max, const char **out)
{
    uint64_t n;
    if (!get_u64(c, &n)) return false;
    if (n == 0 || n > max)
        return error_set(c->err, ERR_FORMAT, "'%.256s': header, byte %zu: %s of %llu bytes; 1 to %u are expected",
                         c->file, c->at - 8, what, (unsigned long long)n, max);
    if (!need(c, n)) return false;
    const char *text = (const char *)c->b->data + c->at;
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] > '~') return bad(c, "a key or name that is not printable ASCII");
    *out = arena_copy(c->g->arena, text, (size_t)n);
    c->at += (size_t)n;
    return *out ? true : error_memory(c->err, (size_t)n);
}

static bool skip_texts(struct cursor *c, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t size;
        if (!get_u64(c, &size) || !need(c, size)) return false;
        c->at += (size_t)size;
    }
    return true;
}

static bool skip_elements(struct cursor *c, const struct gguf_value *v)
{
    uint64_t bytes;
    if (v->type == GGUF_STRING) {
        /* Each has a length of 8 bytes: so many must at least be there. */
        if (v->n > (c->file_bytes - c->at) / 8) return bad(c, "an array of more texts than the file can hold");
        return skip_texts(c, v->n);
    }
    if (!u64_mul(v->n, type_bytes[v->type], &bytes)) return bad(c, "an array whose bytes cannot be counted");
    if (!need(c, bytes)) return false;
    for (uint64_t i = 0; v->type == GGUF_BOOL && i < v->n; i++)
        if (c->b->data[c->at + i] > 1) return bad(c, "a truth value that is neither 0 nor 1");
    c->at += (size_t)bytes;
    return true;
}

/* `data` holds the offset for now; the buffer may still move. */
static bool read_value(struct cursor *c, struct gguf_value *v, size_t *start)
{
    uint32_t type;
    *v = (struct gguf_value){.n = 1};
    if (!get_name(c, "a key", GGUF_KEY_MAX, &v->key) || !get_u32(c, &type)) return false;
    if (type == GGUF_ARRAY) {
        v->is_array = true;
        if (!get_u32(c, &type) || !get_u64(c, &v->n)) return false;
        if (type == GGUF_ARRAY)
            return error_set(c->err, ERR_UNSUPPORTED, "'%.256s': key '%.256s' is an array of arrays", c->file, v->key);
    }
    if (type >= GGUF_TYPE_COUNT)
        return error_set(c->err, ERR_FORMAT, "'%.256s': key '%.256s': type %u; the format has 0 to %d", c->file, v->key,
                         type, GGUF_TYPE_COUNT - 1);
    v->type = (enum gguf_type)type;
    *start = c->at;
    if (!skip_elements(c, v)) return error_wrap(c->err, "key '%.256s'", v->key);
    v->data.size = c->at - *start;
    return true;
}

static bool read_values(struct cursor *c, uint64_t n, struct gguf_value *values, size_t *starts)
{
    for (uint64_t i = 0; i < n; i++)
        if (!read_value(c, &values[i], &starts[i])) return false;
    return true;
}

static bool read_tensor(struct cursor *c, struct gguf_tensor *t)
{
    uint32_t type;
    uint64_t dims[GGUF_DIMS_MAX], n_blocks = 1;
    *t = (struct gguf_tensor){.member = c->member, .n_elems = 1};
    if (!get_name(c, "the name of a tensor", GGUF_NAME_MAX, &t->name) || !get_u32(c, &t->n_dims)) return false;
    if (t->n_dims < 1 || t->n_dims > GGUF_DIMS_MAX)
        return error_set(c->err, ERR_FORMAT, "'%.256s': tensor '%.256s': %u dimensions; 1 to %u are expected", c->file,
                         t->name, t->n_dims, GGUF_DIMS_MAX);
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (!get_u64(c, &dims[i])) return false;
        if (dims[i] == 0 || !u64_mul(t->n_elems, dims[i], &t->n_elems) || t->n_elems > INT64_MAX)
            return error_set(c->err, ERR_FORMAT,
                             "'%.256s': tensor '%.256s': a dimension is 0 or their product overflows", c->file,
                             t->name);
        t->dims[t->n_dims - 1 - i] = dims[i];
    }
    if (!get_u32(c, &type) || !get_u64(c, &t->offset)) return false;
    t->type = ggml_type_find(type);
    if (!t->type)
        return error_set(c->err, ERR_UNSUPPORTED, "'%.256s': tensor '%.256s' has type %u, which is not known", c->file,
                         t->name, type);
    enum dtype dtype = t->type->dtype;
    if (dims[0] % dtype_block_elems(dtype) != 0)
        return error_set(c->err, ERR_FORMAT, "'%.256s': tensor '%.256s': rows of %llu are not whole blocks of %u (%s)",
                         c->file, t->name, (unsigned long long)dims[0], dtype_block_elems(dtype), dtype_name(dtype));
    n_blocks = t->n_elems / dtype_block_elems(dtype);
    if (!u64_mul(n_blocks, dtype_block_bytes(dtype), &t->bytes))
        return error_set(c->err, ERR_FORMAT, "'%.256s': tensor '%.256s': its size overflows", c->file, t->name);
    return true;
}

static bool alignment(struct cursor *c, const struct gguf_value *values, uint64_t n, uint64_t *out)
{
    *out = GGUF_ALIGNMENT_DEFAULT;
    for (uint64_t i = 0; i < n; i++) {
        if (strcmp(values[i].key, "general.alignment") != 0) continue;
        if (values[i].is_array || values[i].type != GGUF_U32)
            return error_set(c->err, ERR_FORMAT, "'%.256s': key 'general.alignment' is not a U32", c->file);
        *out = load_le32(values[i].data.data);
        if (*out == 0 || (*out & (*out - 1)) || *out > GGUF_ALIGNMENT_MAX)
            return error_set(c->err, ERR_FORMAT,
                             "'%.256s': key 'general.alignment': expected a power of two up to %u, found %llu", c->file,
                             GGUF_ALIGNMENT_MAX, (unsigned long long)*out);
    }
    return true;
}

/* Tensors lie one behind the other in the order of the header, each padded to the alignment, as ggml's own reader
 * demands: so none can overlap and nothing can hide between them. */
static bool place_tensors(struct cursor *c, struct gguf_tensor *t, uint64_t n, uint64_t align, uint64_t data)
{
    uint64_t at = 0, end = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (t[i].offset != at)
            return error_set(c->err, ERR_FORMAT,
                             "'%.256s': tensor '%.256s' begins at byte %llu of the data, expected is %llu", c->file,
                             t[i].name, (unsigned long long)t[i].offset, (unsigned long long)at);
        if (!u64_add(at, t[i].bytes, &end) || end > c->file_bytes - data)
            return error_set(
                c->err, ERR_FORMAT,
                "'%.256s': tensor '%.256s' has %llu bytes from byte %llu of the data, the file has %llu: it "
                "is truncated",
                c->file, t[i].name, (unsigned long long)t[i].bytes, (unsigned long long)at,
                (unsigned long long)(c->file_bytes - data));
        if (!u64_align(end, align, &at)) return bad(c, "the offsets overflow");
        t[i].offset += data;
    }
    if (c->file_bytes - data <= at) return true; /* the padding behind the last one may be missing */
    return error_set(c->err, ERR_FORMAT, "'%.256s': the header describes %llu bytes of data, the file has %llu",
                     c->file, (unsigned long long)at, (unsigned long long)(c->file_bytes - data));
}

static bool read_counts(struct cursor *c, uint64_t *n_tensors, uint64_t *n_values)
{
    uint32_t magic, version;
    if (c->file_bytes < 24) return bad(c, "too few bytes for a GGUF file");
    if (!get_u32(c, &magic)) return false;
    if (magic != GGUF_MAGIC) return bad(c, "this is not a GGUF file: it does not begin with 'GGUF'");
    if (!get_u32(c, &version)) return false;
    if (version != 2 && version != 3)
        return error_set(
            c->err, ERR_UNSUPPORTED, "'%.256s' is a %sGGUF file of version %u; little-endian 2 and 3 are read", c->file,
            (version & 0xFFFF) == 0 ? "big-endian " : "", (version & 0xFFFF) == 0 ? version >> 24 : version);
    if (!get_u64(c, n_tensors) || !get_u64(c, n_values)) return false;
    uint64_t left = c->file_bytes - c->at;
    if (*n_values > left / VALUE_BYTES_MIN || *n_tensors > left / TENSOR_BYTES_MIN)
        return error_set(
            c->err, ERR_FORMAT,
            "'%.256s': the header announces %llu values and %llu tensors, more than its %llu bytes can hold", c->file,
            (unsigned long long)*n_values, (unsigned long long)*n_tensors, (unsigned long long)c->file_bytes);
    if (*n_values > GGUF_VALUES_MAX)
        return error_set(c->err, ERR_UNSUPPORTED, "'%.256s' has more than %u values", c->file, GGUF_VALUES_MAX);
    return true;
}

static bool take_split(struct cursor *c, const struct gguf_value *values, uint64_t n, struct gguf_split *s)
{
    *s = (struct gguf_split){0};
    bool has_number = false, has_count = false;
    for (uint64_t i = 0; i < n; i++) {
        const struct gguf_value *v = &values[i];
        bool number = strcmp(v->key, "split.no") == 0, count = strcmp(v->key, "split.count") == 0,
             tensors = strcmp(v->key, "split.tensors.count") == 0;
        has_number |= number, has_count |= count, s->has_tensors |= tensors;
        if ((number && !gguf_u64_at(v, 0, UINT16_MAX, &s->number, c->err)) ||
            (count && !gguf_u64_at(v, 0, UINT16_MAX, &s->count, c->err)) ||
            (tensors && !gguf_u64_at(v, 0, UINT32_MAX, &s->tensors, c->err)))
            return error_wrap(c->err, "'%.256s'", c->file);
    }
    return has_number == has_count || bad(c, "of the keys 'split.no' and 'split.count' only one is there");
}

static bool append(struct gguf *g, const struct gguf_tensor *t, uint64_t n, struct error *err)
{
    uint64_t total = g->n_tensors + n;
    if (total > UINT32_MAX - 1) return error_set(err, ERR_UNSUPPORTED, "more than %u tensors", UINT32_MAX - 1);
    struct gguf_tensor *p = realloc(g->tensors, (total ? total : 1) * sizeof *p);
    if (!p) return error_memory(err, total * sizeof *p);
    g->tensors = p;
    if (n) memcpy(p + g->n_tensors, t, n * sizeof *p);
    g->n_tensors = (uint32_t)total;
    return true;
}

static bool read_tensors(struct cursor *c, uint64_t n, struct gguf_tensor **out)
{
    struct gguf_tensor *t = NULL;
    uint64_t capacity = 0;
    *out = NULL;
    for (uint64_t i = 0; i < n; i++) {
        if (i == capacity) { /* grows with what has been read, not with what was announced */
            capacity = capacity ? 2 * capacity : 256;
            struct gguf_tensor *p = realloc(t, capacity * sizeof *p);
            if (!p) {
                free(t);
                return error_memory(c->err, capacity * sizeof *p);
            }
            t = p;
        }
        if (!read_tensor(c, &t[i])) {
            free(t);
            return false;
        }
    }
    *out = t;
    return true;
}

static bool read_header(struct cursor *c, struct gguf_value *values, uint64_t n_values, size_t *starts,
                        uint64_t n_tensors, struct gguf_split *split)
{
    CLEANUP(free) struct gguf_tensor *tensors = NULL;
    if (!read_values(c, n_values, values, starts)) return false;
    if (!read_tensors(c, n_tensors, &tensors)) return false;
    for (uint64_t i = 0; i < n_values; i++) values[i].data.data = c->b->data + starts[i];
    uint64_t align, data;
    if (!alignment(c, values, n_values, &align)) return false;
    if (!u64_align(c->at, align, &data)) return bad(c, "the padding overflows");
    if (data > c->file_bytes) {
        if (n_tensors) return bad(c, "the file ends before its tensors begin: it is truncated");
        data = c->file_bytes;
    }
    struct gguf_file *f = &c->g->files[c->g->n_files - 1];
    return place_tensors(c, tensors, n_tensors, align, data) && take_split(c, values, n_values, split) &&
           sha256_of(bytes_of(c->b->data, c->at), &f->digest, c->err) && append(c->g, tensors, n_tensors, c->err);
}

/* The values of the first file are the model's; those of the others only say which part they are. */
static bool keep_values(struct gguf *g, const struct gguf_value *values, uint64_t n, const char *file,
                        struct error *err)
{
    CLEANUP(free) const char **keys = malloc((n ? n : 1) * sizeof *keys);
    struct gguf_value *copy = arena_alloc(g->arena, n ? (size_t)n : 1, sizeof *copy);
    char what[300];
    if (!keys || !copy) return error_memory(err, n * sizeof *copy);
    for (uint64_t i = 0; i < n; i++) keys[i] = values[i].key;
    if (n) memcpy(copy, values, n * sizeof *copy);
    g->values = copy;
    g->n_values = (uint32_t)n;
    snprintf(what, sizeof what, "'%.256s': metadata", file);
    return name_index_build(&g->value_index, keys, (uint32_t)n, what, err);
}

bool gguf_read_file(struct gguf *g, const struct folder *f, uint32_t member, struct gguf_split *split,
                    struct error *err)
{
    struct gguf_file *file = &g->files[g->n_files++];
    *file = (struct gguf_file){.member = member};
    struct cursor c = {.g = g,
                       .folder = f,
                       .member = member,
                       .file = folder_name(f, member),
                       .file_bytes = folder_size(f, member),
                       .b = &file->header,
                       .err = err};
    uint64_t n_tensors, n_values;
    if (!read_counts(&c, &n_tensors, &n_values)) return false;
    CLEANUP(free) struct gguf_value *values = malloc((n_values ? n_values : 1) * sizeof *values);
    CLEANUP(free) size_t *starts = malloc((n_values ? n_values : 1) * sizeof *starts);
    if (!values || !starts) return error_memory(err, n_values * sizeof *values);
    return read_header(&c, values, n_values, starts, n_tensors, split) &&
           (g->n_files > 1 || keep_values(g, values, n_values, c.file, err));
}
