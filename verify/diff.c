#include "verify/diff_impl.h"

#define JSON_BYTES_MAX ((size_t)32 << 20) /* of a file that is compared key by key */
#define KEYS_DEPTH_MAX 64u                /* below that a value is one */
#define BRIEF_MAX 160u

bool diff_add(struct diff *d, json_t *row)
{
    if (!row) return error_memory(d->err, 0);
    if (json_array_size(d->rows) >= DIFF_ROWS_MAX) {
        d->left_off++;
        json_decref(row);
        return true;
    }
    return json_array_append_new(d->rows, row) == 0 || error_memory(d->err, 0);
}

bool diff_add_one(struct diff *d, const char *what, const char *name, bool in_a)
{
    return diff_add(d, json_pack("{s:s,s:s,s:s}", "what", what, "name", name, "how", in_a ? "only in a" : "only in b"));
}

/* ---- keys ---- */

static void brief(char out[BRIEF_MAX], const json_t *v)
{
    CLEANUP(free) char *text = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    snprintf(out, BRIEF_MAX, "%s", text ? text : "(nothing)");
}

static bool key_row(struct diff *d, const char *path, const json_t *a, const json_t *b)
{
    char x[BRIEF_MAX], y[BRIEF_MAX];
    brief(x, a);
    brief(y, b);
    return diff_add(d, json_pack("{s:s,s:s,s:s,s:s+,s:s+}", "what", "key", "name", path, "how",
                                 !b   ? "only in a"
                                 : !a ? "only in b"
                                      : "values",
                                 "a", x, "", "b", y, ""));
}

/* Objects key by key, everything else whole. */
static bool keys(struct diff *d, const char *path, const json_t *a, const json_t *b, uint32_t depth)
{
    const char *key;
    json_t *v;
    if (!json_is_object(a) || !json_is_object(b) || depth == KEYS_DEPTH_MAX)
        return json_equal(a, b) || key_row(d, path, a, b);
    json_object_foreach ((json_t *)a, key, v) {
        CLEANUP(free) char *below = NULL;
        const json_t *other = json_object_get(b, key);
        if (asprintf(&below, "%s/%s", path, key) < 0) return error_memory(d->err, 0);
        if (other ? !keys(d, below, v, other, depth + 1) : !key_row(d, below, v, NULL)) return false;
    }
    json_object_foreach ((json_t *)b, key, v) {
        CLEANUP(free) char *below = NULL;
        if (json_object_get(a, key)) continue;
        if (asprintf(&below, "%s/%s", path, key) < 0) return error_memory(d->err, 0);
        if (!key_row(d, below, NULL, v)) return false;
    }
    return true;
}

/* ---- files ---- */

static bool has_tensors(const struct side *s, uint32_t member)
{
    uint32_t n = 0;
    const struct checkpoint_file *files = s->ck ? checkpoint_files(s->ck, &n) : NULL;
    for (uint32_t i = 0; i < n; i++)
        if (files[i].member == member) return true;
    return false;
}

/* Files that say where tensors lie, and those they lie in, have been compared by their tensors. */
static bool is_told(const struct side *s, uint32_t member)
{
    return has_tensors(s, member) || strcmp(folder_name(s->folder, member), "model.safetensors.index.json") == 0;
}

static bool digest_of(const struct side *s, uint32_t member, char hex[DIGEST_HEX_SIZE], struct error *err)
{
    int fd;
    uint64_t at;
    struct digest d;
    if (!folder_place(s->folder, member, &fd, &at, err) ||
        !sha256_of_file(fd, folder_name(s->folder, member), at, folder_size(s->folder, member), &d, err))
        return false;
    digest_hex(&d, hex);
    return true;
}

static json_t *parsed(const struct side *s, uint32_t member)
{
    const char *name = folder_name(s->folder, member);
    size_t n = strlen(name);
    CLEANUP_BUFFER struct buffer text = {0};
    json_t *doc;
    struct error ignored = ERROR_INIT;
    if (n < 5 || strcmp(name + n - 5, ".json") != 0 || folder_size(s->folder, member) > JSON_BYTES_MAX ||
        !folder_load(s->folder, name, JSON_BYTES_MAX, &text, &ignored) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_HF, name, &doc, &ignored))
        return NULL;
    return doc;
}

static bool file_pair(struct diff *d, uint32_t a, uint32_t b, bool *same)
{
    char x[DIGEST_HEX_SIZE], y[DIGEST_HEX_SIZE];
    const char *name = folder_name(d->a.folder, a);
    if (!digest_of(&d->a, a, x, d->err) || !digest_of(&d->b, b, y, d->err)) return false;
    *same = strcmp(x, y) == 0;
    if (*same) return true;
    size_t before = json_array_size(d->rows) + d->left_off;
    CLEANUP(json) json_t *left = parsed(&d->a, a);
    CLEANUP(json) json_t *right = left ? parsed(&d->b, b) : NULL;
    if (left && right && !keys(d, name, left, right, 0)) return false;
    if (left && right && json_array_size(d->rows) + d->left_off > before) return true;
    /* Not JSON, or other white space. */
    return diff_add(d, json_pack("{s:s,s:s,s:s,s:{s:I,s:s},s:{s:I,s:s}}", "what", "file", "name", name, "how", "values",
                                 "a", "bytes", (json_int_t)folder_size(d->a.folder, a), "sha256", x, "b", "bytes",
                                 (json_int_t)folder_size(d->b.folder, b), "sha256", y));
}

static bool files(struct diff *d, uint32_t *n_all, uint32_t *n_same)
{
    *n_all = *n_same = 0;
    for (uint32_t i = 0; i < folder_count(d->a.folder); i++) {
        const char *name = folder_name(d->a.folder, i);
        uint32_t k = folder_find(d->b.folder, name);
        bool same = false;
        if (is_told(&d->a, i)) continue;
        (*n_all)++;
        if (k == NAME_NONE ? !diff_add_one(d, "file", name, true) : !file_pair(d, i, k, &same)) return false;
        *n_same += same;
    }
    for (uint32_t i = 0; i < folder_count(d->b.folder); i++) {
        const char *name = folder_name(d->b.folder, i);
        if (is_told(&d->b, i) || folder_find(d->a.folder, name) != NAME_NONE) continue;
        (*n_all)++;
        if (!diff_add_one(d, "file", name, false)) return false;
    }
    return true;
}

/* ---- both ---- */

static bool open_side(struct side *s, const char *path, struct error *err)
{
    return (folder_open(&s->folder, path, err) && checkpoint_open(&s->ck, s->folder, err)) ||
           error_wrap(err, "'%.256s'", path);
}

static void close_side(struct side *s)
{
    checkpoint_close(s->ck);
    folder_close(s->folder);
}

bool diff_run(const char *a, const char *b, struct pool *pool, uint64_t isa, const struct progress *pr, json_t **out,
              struct error *err)
{
    struct diff d = {.isa = isa, .pool = pool, .pr = pr, .rows = json_array(), .err = err};
    uint32_t n_tensors, n_tensors_same, n_files, n_files_same;
    bool ok = d.rows || error_memory(err, 0);
    ok = ok && open_side(&d.a, a, err) && open_side(&d.b, b, err) && diff_tensors(&d, &n_tensors, &n_tensors_same) &&
         files(&d, &n_files, &n_files_same) && diff_adapters(&d, a, b, &n_files, &n_files_same);
    close_side(&d.a);
    close_side(&d.b);
    if (ok) {
        bool same = json_array_size(d.rows) == 0;
        *out = json_pack("{s:s,s:s,s:s,s:b,s:I,s:I,s:I,s:I,s:O,s:I}", "schema", "ingot.diff/1", "a", a, "b", b, "same",
                         same, "tensors", (json_int_t)n_tensors, "tensors_same", (json_int_t)n_tensors_same, "files",
                         (json_int_t)n_files, "files_same", (json_int_t)n_files_same, "differences", d.rows, "left_off",
                         (json_int_t)d.left_off);
        ok = *out || error_memory(err, 0);
    }
    json_decref(d.rows);
    return ok;
}
