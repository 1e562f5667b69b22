/* Reading safetensors headers. Which files are read is decided in safetensors_files.c and safetensors_index.c. */
#include "formats/safetensors.h"

#include "core/arena.h"
#include "core/json_scan.h"

#include <stdio.h>

struct reader {
    struct checkpoint *ck;
    struct json_scan scan;
    const char *file;
    char *name; /* scratch for one decoded string */
    uint32_t member;
    uint64_t data_start, data_bytes;
    struct error *err;
};

static bool bad_json(struct reader *r)
{
    return error_set(r->err, ERR_FORMAT, "'%.256s': header, byte %zu: %s", r->file, r->scan.at,
                     r->scan.problem ? r->scan.problem : "not what a safetensors header holds here");
}

static bool bad_entry(struct reader *r, const char *expected)
{
    if (r->scan.problem) return bad_json(r);
    return error_set(r->err, ERR_FORMAT, "'%.256s': tensor '%.256s': %s", r->file, r->name, expected);
}

/* A list of unsigned integers; the '[' is next. */
static bool read_numbers(struct reader *r, const char *field, uint64_t *out, uint32_t max, uint32_t *n)
{
    if (json_scan_next(&r->scan) != JSON_TOKEN_ARRAY)
        return bad_entry(r, "a field that must be a list of numbers is not one");
    *n = 0;
    for (;;) {
        enum json_token t = json_scan_next(&r->scan);
        if (t == JSON_TOKEN_ARRAY_END) return true;
        uint64_t v = 0;
        if (t != JSON_TOKEN_NUMBER || !json_token_u64(r->scan.token, &v))
            return bad_entry(r, "shape and data_offsets must hold integers from 0 to 2^64 - 1");
        if (*n == max)
            return error_set(r->err, max == 2 ? ERR_FORMAT : ERR_UNSUPPORTED,
                             "'%.256s': tensor '%.256s': %s has more than %u numbers", r->file, r->name, field, max);
        out[(*n)++] = v;
    }
}

struct entry {
    bool has_dtype, has_shape, has_offsets;
    struct tensor_info info;
    uint64_t offsets[2];
};

static bool read_field(struct reader *r, struct entry *e)
{
    struct bytes key = r->scan.token;
    uint32_t n = 0;
    if (json_token_is(key, "dtype") && !e->has_dtype) {
        e->has_dtype = true;
        char text[64];
        if (json_scan_next(&r->scan) != JSON_TOKEN_STRING) return bad_entry(r, "dtype must be a string");
        size_t size = r->scan.token.size < sizeof text ? json_unescape(r->scan.token, text) : sizeof text;
        if (size == sizeof text || !dtype_parse(text, size, &e->info.dtype))
            return error_set(r->err, ERR_FORMAT, "'%.256s': tensor '%.256s': unknown dtype '%.*s'", r->file, r->name,
                             (int)u64_min(r->scan.token.size, 64), (const char *)r->scan.token.data);
        return true;
    }
    if (json_token_is(key, "shape") && !e->has_shape) {
        e->has_shape = true;
        return read_numbers(r, "shape", e->info.dims, TENSOR_DIMS_MAX, &e->info.n_dims);
    }
    if (json_token_is(key, "data_offsets") && !e->has_offsets) {
        e->has_offsets = true;
        if (!read_numbers(r, "data_offsets", e->offsets, 2, &n)) return false;
        return n == 2 ? true : bad_entry(r, "data_offsets must hold two numbers");
    }
    bool known = json_token_is(key, "dtype") || json_token_is(key, "shape") || json_token_is(key, "data_offsets");
    /* The reference reader skips what it does not know. A field with a meaning would then be lost without a word. */
    return error_set(r->err, known ? ERR_FORMAT : ERR_UNSUPPORTED, "'%.256s': tensor '%.256s': field '%.*s' is %s",
                     r->file, r->name, (int)u64_min(key.size, 64), (const char *)key.data,
                     known ? "there twice" : "not known");
}

static bool read_entry(struct reader *r)
{
    struct entry e = {.info = {.name = r->name, .member = r->member}};
    if (json_scan_next(&r->scan) != JSON_TOKEN_OBJECT)
        return bad_entry(r, "expected an object with dtype, shape and data_offsets");
    enum json_token t;
    while ((t = json_scan_next(&r->scan)) == JSON_TOKEN_KEY)
        if (!read_field(r, &e)) return false;
    if (t != JSON_TOKEN_OBJECT_END) return bad_json(r);
    if (!e.has_dtype || !e.has_shape || !e.has_offsets)
        return bad_entry(r, !e.has_dtype   ? "dtype is missing"
                            : !e.has_shape ? "shape is missing"
                                           : "data_offsets is missing");
    uint64_t n_elems, bytes;
    if (!tensor_size(r->name, e.info.dtype, e.info.n_dims, e.info.dims, &n_elems, &bytes, r->err))
        return error_wrap(r->err, "'%.256s'", r->file);
    if (e.offsets[1] < e.offsets[0] || e.offsets[1] - e.offsets[0] != bytes)
        return error_set(r->err, ERR_FORMAT,
                         "'%.256s': tensor '%.256s': data_offsets are %llu to %llu, shape and dtype make %llu bytes",
                         r->file, r->name, (unsigned long long)e.offsets[0], (unsigned long long)e.offsets[1],
                         (unsigned long long)bytes);
    if (e.offsets[1] > r->data_bytes)
        return error_set(r->err, ERR_FORMAT,
                         "'%.256s': tensor '%.256s' ends at byte %llu of the data, the file has %llu: it is truncated",
                         r->file, r->name, (unsigned long long)e.offsets[1], (unsigned long long)r->data_bytes);
    e.info.offset = r->data_start + e.offsets[0];
    return checkpoint_add(r->ck, &e.info, r->err);
}

static bool twice_in_metadata(struct reader *r, const char *const *keys, uint32_t n)
{
    struct name_index ix;
    char what[300];
    snprintf(what, sizeof what, "'%.256s': __metadata__", r->file);
    if (!name_index_build(&ix, keys, n, what, r->err)) return true;
    name_index_free(&ix);
    return false;
}

/* String to string, or null, which the reference reader takes for absent. */
static bool read_metadata(struct reader *r, struct arena *texts)
{
    CLEANUP(free) const char **keys = NULL;
    uint32_t n = 0, capacity = 0;
    enum json_token t = json_scan_next(&r->scan);
    if (t == JSON_TOKEN_NULL) return true;
    if (t != JSON_TOKEN_OBJECT)
        return r->scan.problem ? bad_json(r)
                               : error_set(r->err, ERR_FORMAT, "'%.256s': __metadata__ must be an object", r->file);
    while ((t = json_scan_next(&r->scan)) == JSON_TOKEN_KEY) {
        if (n == SAFETENSORS_METADATA_MAX)
            return error_set(r->err, ERR_UNSUPPORTED, "'%.256s': __metadata__ has more than %u entries", r->file,
                             SAFETENSORS_METADATA_MAX);
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            const char **p = realloc(keys, capacity * sizeof *p);
            if (!p) return error_memory(r->err, capacity * sizeof *p);
            keys = p;
        }
        size_t size = json_unescape(r->scan.token, r->name);
        if (memchr(r->name, '\0', size))
            return error_set(r->err, ERR_FORMAT, "'%.256s': a __metadata__ key holds a NUL byte", r->file);
        if (!(keys[n++] = arena_copy(texts, r->name, size))) return error_memory(r->err, size);
        if (json_scan_next(&r->scan) != JSON_TOKEN_STRING)
            return r->scan.problem
                       ? bad_json(r)
                       : error_set(r->err, ERR_FORMAT, "'%.256s': __metadata__ key '%.256s': expected a string",
                                   r->file, r->name);
        size = json_unescape(r->scan.token, r->name);
        if (!checkpoint_add_metadata(r->ck, keys[n - 1], r->name, size, r->err)) return false;
    }
    if (t != JSON_TOKEN_OBJECT_END) return bad_json(r);
    return !twice_in_metadata(r, keys, n);
}

static bool read_metadata_once(struct reader *r, bool *seen)
{
    if (*seen) return error_set(r->err, ERR_FORMAT, "'%.256s': __metadata__ is there twice", r->file);
    *seen = true;
    struct arena *texts = arena_new();
    if (!texts) return error_memory(r->err, 0);
    bool ok = read_metadata(r, texts);
    arena_free(texts);
    return ok;
}

static bool read_members(struct reader *r)
{
    bool has_metadata = false;
    if (json_scan_next(&r->scan) != JSON_TOKEN_OBJECT) return bad_json(r);
    enum json_token t;
    while ((t = json_scan_next(&r->scan)) == JSON_TOKEN_KEY) {
        if (json_token_is(r->scan.token, "__metadata__")) {
            if (!read_metadata_once(r, &has_metadata)) return false;
            continue;
        }
        size_t size = json_unescape(r->scan.token, r->name);
        if (memchr(r->name, '\0', size))
            return error_set(r->err, ERR_FORMAT, "'%.256s': a tensor name holds a NUL byte", r->file);
        if (!read_entry(r)) return false;
    }
    return t == JSON_TOKEN_OBJECT_END && json_scan_next(&r->scan) == JSON_TOKEN_END ? true : bad_json(r);
}

/* The tensors, by offset, must cover the data from its first byte to its last without gap or overlap. */
static bool check_cover(struct reader *r, uint32_t first)
{
    uint64_t at = 0;
    for (uint32_t i = first; i < checkpoint_count(r->ck); i++) {
        const struct tensor_info *t = checkpoint_tensor(r->ck, i);
        uint64_t start = t->offset - r->data_start;
        if (start != at)
            return error_set(r->err, ERR_FORMAT,
                             "'%.256s': tensor '%.256s' begins at byte %llu of the data, the one before it ends"
                             " at %llu",
                             r->file, t->name, (unsigned long long)start, (unsigned long long)at);
        at = start + t->bytes;
    }
    if (at == r->data_bytes) return true;
    return error_set(r->err, ERR_FORMAT, "'%.256s': the header describes %llu bytes of data, the file has %llu",
                     r->file, (unsigned long long)at, (unsigned long long)r->data_bytes);
}

/* Everything a header must keep: valid JSON in UTF-8 with white space around it at most; each tensor named once, its
 * three fields once each; a known dtype; shape x dtype equal to the byte range, in checked arithmetic; the ranges
 * together exactly the data. An empty tensor may lie anywhere between two others. Values are not looked at. */
static bool header_parse(struct checkpoint *ck, uint32_t member, struct bytes text, uint64_t file_bytes,
                         struct error *err)
{
    struct reader r = {.ck = ck,
                       .file = folder_name(checkpoint_folder(ck), member),
                       .member = member,
                       .err = err,
                       .data_start = 8 + text.size,
                       .data_bytes = file_bytes - 8 - text.size};
    CLEANUP(free) char *name = r.name = malloc(text.size + 1);
    if (!name) return error_memory(err, text.size + 1);
    uint32_t first = checkpoint_count(ck);
    json_scan_begin(&r.scan, text, false);
    return read_members(&r) && checkpoint_sort(ck, first, err) && check_cover(&r, first);
}

/* The length field at the beginning of a file, held against the file's size. */
static bool check_length(const char *file, uint64_t size, const uint8_t *start, uint64_t *n, struct error *err)
{
    if (size < 8)
        return error_set(err, ERR_FORMAT, "'%.256s' has %llu bytes, too few for a safetensors file", file,
                         (unsigned long long)size);
    *n = load_le64(start);
    if (memcmp(start, "version ", 8) == 0)
        return error_set(err, ERR_FORMAT, "'%.256s' is a Git LFS pointer, not the weights themselves", file);
    if (*n > SAFETENSORS_HEADER_MAX)
        return error_set(err, ERR_FORMAT, "'%.256s': the header length is %llu bytes, at most %u are allowed", file,
                         (unsigned long long)*n, SAFETENSORS_HEADER_MAX);
    if (*n <= size - 8) return true;
    return error_set(err, ERR_FORMAT,
                     "'%.256s': the header length is %llu bytes, the file has %llu after it: it is truncated", file,
                     (unsigned long long)*n, (unsigned long long)(size - 8));
}

bool safetensors_read_header(struct checkpoint *ck, uint32_t member, struct error *err)
{
    const struct folder *f = checkpoint_folder(ck);
    uint64_t size = folder_size(f, member), n = 0;
    uint8_t start[8] = {0};
    if (!folder_read(f, member, 0, start, (size_t)u64_min(size, 8), err) ||
        !check_length(folder_name(f, member), size, start, &n, err))
        return false;
    CLEANUP(free) uint8_t *header = malloc((size_t)n + 8);
    if (!header) return error_memory(err, (size_t)n + 8);
    struct digest digest;
    return folder_read(f, member, 0, header, (size_t)n + 8, err) &&
           sha256_of(bytes_of(header, (size_t)n + 8), &digest, err) &&
           header_parse(ck, member, bytes_of(header + 8, (size_t)n), size, err) &&
           checkpoint_add_file(ck, member, &digest, err);
}

static bool safetensors_open(struct checkpoint *ck, struct error *err)
{
    uint32_t n = folder_count(checkpoint_folder(ck));
    CLEANUP(free) bool *wanted = calloc(n ? n : 1, sizeof *wanted);
    if (!wanted) return error_memory(err, n);
    if (!safetensors_choose(ck, wanted, err)) return false;
    for (uint32_t i = 0; i < n; i++)
        if (wanted[i] && !safetensors_read_header(ck, i, err)) return false;
    return !safetensors_has_index(checkpoint_folder(ck)) ||
           (checkpoint_index(ck, err) && safetensors_index_check(ck, err));
}

const struct checkpoint_format checkpoint_safetensors = {
    .name = "safetensors", .probe = safetensors_probe, .open = safetensors_open};
