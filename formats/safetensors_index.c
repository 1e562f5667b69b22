/* model.safetensors.index.json: {"metadata": {"total_size": N}, "weight_map": {tensor: file}}. Read twice, each time
 * token by token in constant memory: once for the files it names, and once more, when their headers are known, to hold
 * every entry against them. */
#include "formats/safetensors.h"

#include "core/json_scan.h"

#include <errno.h>
#include <math.h>

struct index_reader {
    const struct folder *folder;
    struct buffer text;
    struct json_scan scan;
    char *name, *file; /* decoded tensor and file of the current entry */
    char *last_file;   /* entries of one file come in runs: its member is looked up once */
    uint32_t member;
    struct error *err;
    /* For the second reading. */
    struct checkpoint *ck;
    bool *seen; /* [tensors] */
    bool has_total, has_map;
    double total;
};

typedef bool (*entry_fn)(struct index_reader *r);

bool safetensors_has_index(const struct folder *f)
{
    return folder_find(f, SAFETENSORS_INDEX_NAME) != NAME_NONE;
}

static bool bad(struct index_reader *r, const char *problem)
{
    if (r->scan.problem) problem = r->scan.problem;
    return error_set(r->err, ERR_FORMAT, SAFETENSORS_INDEX_NAME ": byte %zu: %s", r->scan.at, problem);
}

static bool find_member(struct index_reader *r)
{
    if (r->member != NAME_NONE && strcmp(r->file, r->last_file) == 0) return true;
    strcpy(r->last_file, r->file);
    if (!path_is_safe(r->file))
        return error_set(r->err, ERR_FORMAT,
                         SAFETENSORS_INDEX_NAME ": tensor '%.256s': '%.256s' is not a file name inside the folder",
                         r->name, r->file);
    r->member = folder_find(r->folder, r->file);
    if (r->member != NAME_NONE) return true;
    return error_set(r->err, ERR_FORMAT,
                     SAFETENSORS_INDEX_NAME ": tensor '%.256s': file '%.256s' does not exist in the folder", r->name,
                     r->file);
}

static bool read_map(struct index_reader *r, entry_fn entry)
{
    if (r->has_map) return bad(r, "weight_map is there twice");
    r->has_map = true;
    if (json_scan_next(&r->scan) != JSON_TOKEN_OBJECT) return bad(r, "weight_map must be an object");
    enum json_token t;
    while ((t = json_scan_next(&r->scan)) == JSON_TOKEN_KEY) {
        size_t size = json_unescape(r->scan.token, r->name);
        if (memchr(r->name, '\0', size)) return bad(r, "a tensor name holds a NUL byte");
        if (json_scan_next(&r->scan) != JSON_TOKEN_STRING) return bad(r, "expected the name of a file");
        size = json_unescape(r->scan.token, r->file);
        if (memchr(r->file, '\0', size)) return bad(r, "a file name holds a NUL byte");
        if (!find_member(r) || !entry(r)) return false;
    }
    return t == JSON_TOKEN_OBJECT_END ? true : bad(r, "expected the next entry");
}

static bool skip_value(struct index_reader *r)
{
    return json_scan_skip(&r->scan) ? true : bad(r, "expected a value");
}

/* Integers, and floats that stand for one: some writers sum in floating point. */
static bool read_total(struct index_reader *r)
{
    char text[64], *end;
    if (r->has_total) return bad(r, "total_size is there twice");
    enum json_token t = json_scan_next(&r->scan);
    if (t == JSON_TOKEN_NULL) return true;
    if (t != JSON_TOKEN_NUMBER || r->scan.token.size >= sizeof text)
        return bad(r, "total_size must be a number of bytes");
    memcpy(text, r->scan.token.data, r->scan.token.size);
    text[r->scan.token.size] = '\0';
    r->total = strtod(text, &end);
    if (!(r->total >= 0) || !isfinite(r->total) || floor(r->total) != r->total)
        return bad(r, "total_size must be a number of bytes");
    r->has_total = true;
    return true;
}

static bool read_metadata(struct index_reader *r)
{
    enum json_token t = json_scan_next(&r->scan);
    if (t == JSON_TOKEN_NULL) return true;
    if (t != JSON_TOKEN_OBJECT) return bad(r, "metadata must be an object");
    while ((t = json_scan_next(&r->scan)) == JSON_TOKEN_KEY) {
        bool is_total = json_token_is(r->scan.token, "total_size");
        if (is_total ? !read_total(r) : !skip_value(r)) return false;
    }
    return t == JSON_TOKEN_OBJECT_END ? true : bad(r, "expected the next entry");
}

static bool read_index(struct index_reader *r, entry_fn entry)
{
    if (!folder_load(r->folder, SAFETENSORS_INDEX_NAME, SAFETENSORS_INDEX_MAX, &r->text, r->err)) return false;
    size_t n = r->text.size + 1;
    r->name = malloc(n);
    r->file = malloc(n);
    r->last_file = malloc(n);
    if (!r->name || !r->file || !r->last_file) return error_memory(r->err, n);
    r->member = NAME_NONE;
    json_scan_begin(&r->scan, buffer_view(&r->text), false);
    if (json_scan_next(&r->scan) != JSON_TOKEN_OBJECT) return bad(r, "expected an object");
    enum json_token t;
    while ((t = json_scan_next(&r->scan)) == JSON_TOKEN_KEY) {
        struct bytes key = r->scan.token;
        bool ok = json_token_is(key, "weight_map") ? read_map(r, entry)
                  : json_token_is(key, "metadata") ? read_metadata(r)
                                                   : skip_value(r);
        if (!ok) return false;
    }
    if (t != JSON_TOKEN_OBJECT_END || json_scan_next(&r->scan) != JSON_TOKEN_END)
        return bad(r, "expected the end of the object");
    return r->has_map ? true : error_set(r->err, ERR_FORMAT, SAFETENSORS_INDEX_NAME ": weight_map is missing");
}

static void release(struct index_reader *r)
{
    buffer_free(&r->text);
    free(r->name);
    free(r->file);
    free(r->last_file);
    free(r->seen);
}

static bool mark_shard(struct index_reader *r)
{
    r->seen[r->member] = true;
    return true;
}

bool safetensors_index_shards(const struct folder *f, bool *wanted, struct error *err)
{
    struct index_reader r = {.folder = f, .seen = wanted, .err = err};
    bool ok = read_index(&r, mark_shard);
    r.seen = NULL; /* the caller's */
    release(&r);
    return ok;
}

static bool check_entry(struct index_reader *r)
{
    uint32_t i = checkpoint_find(r->ck, r->name);
    if (i == NAME_NONE)
        return error_set(r->err, ERR_FORMAT, SAFETENSORS_INDEX_NAME ": tensor '%.256s' is not in '%.256s'", r->name,
                         r->file);
    uint32_t found = checkpoint_tensor(r->ck, i)->member;
    if (found != r->member)
        return error_set(r->err, ERR_FORMAT,
                         SAFETENSORS_INDEX_NAME ": tensor '%.256s' should be in '%.256s', it is in '%.256s'", r->name,
                         r->file, folder_name(r->folder, found));
    if (r->seen[i])
        return error_set(r->err, ERR_FORMAT, SAFETENSORS_INDEX_NAME ": tensor '%.256s' is there twice", r->name);
    r->seen[i] = true;
    return true;
}

/* Readers ignore total_size, and it is published wrong: the FP8 files of DeepSeek-V3 carry the size of the BF16 ones,
 * and exporters copy it from the model they started from. So it is told, not refused. */
static bool check_total(struct index_reader *r)
{
    uint64_t sum = checkpoint_bytes(r->ck);
    if (!r->has_total || r->total == (double)sum) return true;
    return checkpoint_add_remark(r->ck, r->err,
                                 SAFETENSORS_INDEX_NAME ": metadata.total_size is %.0f, the tensors have %llu bytes",
                                 r->total, (unsigned long long)sum);
}

static bool check_complete(struct index_reader *r)
{
    for (uint32_t i = 0; i < checkpoint_count(r->ck); i++) {
        const struct tensor_info *t = checkpoint_tensor(r->ck, i);
        if (!r->seen[i])
            return error_set(r->err, ERR_FORMAT, "'%.256s': tensor '%.256s' is not in " SAFETENSORS_INDEX_NAME,
                             folder_name(r->folder, t->member), t->name);
    }
    return true;
}

bool safetensors_index_check(struct checkpoint *ck, struct error *err)
{
    uint32_t n = checkpoint_count(ck);
    struct index_reader r = {
        .folder = checkpoint_folder(ck), .ck = ck, .seen = calloc(n ? n : 1, sizeof(bool)), .err = err};
    bool ok = r.seen ? read_index(&r, check_entry) : error_memory(err, n);
    ok = ok && check_complete(&r) && check_total(&r);
    release(&r);
    return ok;
}
