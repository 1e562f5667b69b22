#include "formats/torch_file.h"

#define HEAD_BYTES 512u
#define LEGACY_HEADER_MAX ((uint64_t)PICKLE_BYTES_MAX)
#define LEGACY_PROTOCOL 1001

/* torch's magic number, 0x1950a86a20f9469cfc6c, as the bytes of a pickled number. */
static const uint8_t magic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

void torch_list_free(struct torch_list *l)
{
    free(l->tensors);
    arena_free(l->names);
    *l = (struct torch_list){0};
}

bool torch_list_add(struct torch_list *l, const struct torch_tensor *t, struct error *err)
{
    if (!l->names) l->names = arena_new();
    if (!l->names) return error_memory(err, 0);
    if (l->n == TENSORS_MAX) return error_set(err, ERR_UNSUPPORTED, "there are more than %u tensors", TENSORS_MAX);
    if (l->n == l->capacity) {
        uint32_t capacity = l->capacity ? 2 * l->capacity : 64;
        struct torch_tensor *p = realloc(l->tensors, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        l->tensors = p;
        l->capacity = capacity;
    }
    l->tensors[l->n] = *t;
    l->tensors[l->n].name = arena_text(l->names, t->name);
    if (!l->tensors[l->n].name) return error_memory(err, 0);
    l->n++;
    return true;
}

bool torch_storage_id(const struct pickle_value *storage, struct arena *arena, const char *what,
                      struct torch_storage_id *out, struct error *err)
{
    const struct pickle_value *id = storage->u.items[0], *const *v = (const struct pickle_value *const *)id->u.items;
    *out = (struct torch_storage_id){0};
    if (v[1]->kind != PICKLE_GLOBAL || v[1]->global->dtype == DTYPE_COUNT || v[1]->global->call != PICKLE_CALL_NEVER ||
        v[2]->kind != PICKLE_TEXT || memchr(v[2]->u.text, 0, v[2]->n) || v[2]->n > 64 ||
        !pickle_u64(v[4], INT64_MAX, &out->n))
        return error_set(err, ERR_FORMAT, "'%.256s': a storage is not named by its type, key and size", what);
    out->type = v[1]->global;
    out->key = arena_copy(arena, v[2]->u.text, v[2]->n);
    out->part = out->n;
    if (!out->key) return error_memory(err, v[2]->n);
    if (id->n < 6 || v[5]->kind == PICKLE_NONE) return true;
    const struct pickle_value *view = v[5];
    if (view->kind != PICKLE_TUPLE || view->n != 3 || !pickle_u64(view->u.items[1], out->n, &out->first) ||
        !pickle_u64(view->u.items[2], out->n - out->first, &out->part))
        return error_set(err, ERR_FORMAT, "'%.256s': storage %.64s: a part of it is not inside", what, out->key);
    out->has_part = true;
    return true;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct torch_storage *)a)->key, ((const struct torch_storage *)b)->key);
}

/* ---- zip ---- */

static bool check_order(const struct torch_zip *z, const struct file_range *r, struct error *err)
{
    CLEANUP_BUFFER struct buffer order = {0};
    const struct zip_entry *e = torch_zip_find(z, "byteorder");
    if (!e) return true;
    if (!torch_zip_load(r, e, 64, &order, err)) return false;
    if (strcmp((const char *)order.data, "little") == 0) return true;
    return error_set(err, ERR_UNSUPPORTED, "'%.256s': byte order '%.16s'; little is read", r->what,
                     (const char *)order.data);
}

static bool list_storages(struct torch_storages *s, const struct torch_zip *z, const struct file_range *r,
                          struct checkpoint *ck, struct error *err)
{
    s->list = calloc(z->n, sizeof *s->list);
    if (!s->list) return error_memory(err, z->n * sizeof *s->list);
    for (uint32_t i = 0; i < z->n; i++) {
        const struct zip_entry *e = &z->entries[i];
        if (strncmp(e->name, "data/", 5) != 0) continue;
        s->list[s->n++] = (struct torch_storage){e->name + 5, r->offset + e->offset, e->size};
        if (ck && !checkpoint_add_sum(ck, r->member, r->offset + e->offset, e->size, e->crc32, e->name, err))
            return false;
    }
    qsort(s->list, s->n, sizeof *s->list, by_key);
    return true;
}

static bool read_zip(struct torch_list *l, struct checkpoint *ck, const struct file_range *r, struct digest *digest,
                     struct arena *arena, struct torch_storages *s, struct error *err)
{
    struct torch_zip z;
    struct pickle_tree tree;
    CLEANUP_BUFFER struct buffer text = {0};
    if (!torch_zip_open(&z, r, arena, err)) return false;
    *digest = z.directory;
    if (torch_zip_find(&z, "constants.pkl"))
        return error_set(err, ERR_UNSUPPORTED, "'%.256s' is a TorchScript program, which is not read here", r->what);
    if (!check_order(&z, r, err) || !torch_zip_load(r, torch_zip_find(&z, "data.pkl"), PICKLE_BYTES_MAX, &text, err) ||
        !pickle_read(buffer_view(&text), PICKLE_FOR_TENSORS, r->what, arena, &tree, err))
        return false;
    if (tree.used != text.size)
        return error_set(err, ERR_FORMAT, "'%.256s': something follows the pickle in data.pkl", r->what);
    return list_storages(s, &z, r, ck, err) && torch_state_read(l, tree.root, s, r->what, err);
}

/* ---- before 1.6 ---- */

struct legacy {
    const struct file_range *r;
    struct arena *arena;
    struct buffer head; /* the file's beginning, at most LEGACY_HEADER_MAX bytes */
    size_t at;
    struct error *err;
};

static bool next_pickle(struct legacy *g, struct pickle_tree *out)
{
    struct bytes rest = bytes_of(g->head.data + g->at, g->head.size - g->at);
    if (!pickle_read(rest, PICKLE_FOR_TENSORS, g->r->what, g->arena, out, g->err)) return false;
    g->at += out->used;
    return true;
}

static bool check_system(struct legacy *g)
{
    struct pickle_tree t;
    uint64_t n;
    if (!next_pickle(g, &t)) return false; /* the magic number, seen already */
    if (!next_pickle(g, &t)) return false;
    if (!pickle_u64(t.root, INT64_MAX, &n) || n != LEGACY_PROTOCOL)
        return error_set(g->err, ERR_UNSUPPORTED, "'%.256s': an unknown version of torch's format; %d is read",
                         g->r->what, LEGACY_PROTOCOL);
    if (!next_pickle(g, &t)) return false;
    const struct pickle_value *little = pickle_dict_get(t.root, "little_endian");
    if (!little || little->kind != PICKLE_BOOL || !little->u.i)
        return error_set(g->err, ERR_UNSUPPORTED, "'%.256s': it is not said to be little-endian", g->r->what);
    return true;
}

static struct torch_storage *storage_find(const struct torch_storages *s, const char *key)
{
    struct torch_storage k = {.key = key};
    return bsearch(&k, s->list, s->n, sizeof *s->list, by_key);
}

/* The size of every storage, from the tree: one key may be there many times, always alike. */
static bool size_storages(struct legacy *g, const struct pickle_value *last, struct torch_storages *s)
{
    uint32_t n = 0, k = 0;
    for (const struct pickle_value *v = last; v; v = v->u.items[1]) n++;
    s->list = calloc(n + 1, sizeof *s->list);
    if (!s->list) return error_memory(g->err, n * sizeof *s->list);
    for (const struct pickle_value *v = last; v; v = v->u.items[1]) {
        struct torch_storage_id id;
        uint64_t bytes;
        if (!torch_storage_id(v, g->arena, g->r->what, &id, g->err)) return false;
        if (!u64_mul(id.n, dtype_bytes(id.type->dtype), &bytes))
            return error_set(g->err, ERR_FORMAT, "'%.256s': storage %.64s: its size overflows", g->r->what, id.key);
        s->list[k++] = (struct torch_storage){.key = id.key, .bytes = bytes, .offset = id.n};
    }
    qsort(s->list, n, sizeof *s->list, by_key);
    for (uint32_t i = 0; i < n; i++) {
        struct torch_storage *to = s->n ? &s->list[s->n - 1] : NULL;
        if (!to || strcmp(to->key, s->list[i].key) != 0) s->list[s->n++] = s->list[i];
        else if (to->bytes != s->list[i].bytes || to->offset != s->list[i].offset)
            return error_set(g->err, ERR_FORMAT, "'%.256s': storage %.64s has two sizes", g->r->what, to->key);
    }
    return true;
}

/* The storages' bytes follow in the order of the last pickle's list of keys, each with its number of elements. */
static bool place_storages(struct legacy *g, const struct pickle_value *keys, struct torch_storages *s)
{
    uint64_t at = g->at;
    if (keys->kind != PICKLE_LIST || keys->n != s->n)
        return error_set(g->err, ERR_FORMAT, "'%.256s': the list of storages is not that of the tensors", g->r->what);
    CLEANUP(free) bool *seen = calloc(s->n + 1, sizeof *seen);
    if (!seen) return error_memory(g->err, s->n);
    for (uint32_t i = 0; i < keys->n; i++) {
        const struct pickle_value *v = keys->u.items[i];
        uint8_t count[8];
        char *key = v->kind == PICKLE_TEXT ? arena_copy(g->arena, v->u.text, v->n) : NULL;
        struct torch_storage *to = key ? storage_find(s, key) : NULL;
        if (!to || seen[to - s->list])
            return error_set(g->err, ERR_FORMAT, "'%.256s': the list of storages is not that of the tensors",
                             g->r->what);
        seen[to - s->list] = true;
        if (!range_read(g->r, at, count, sizeof count, g->err)) return false;
        if (load_le64(count) != to->offset)
            return error_set(g->err, ERR_FORMAT, "'%.256s': storage %.64s has %llu elements, %llu are expected",
                             g->r->what, key, (unsigned long long)load_le64(count), (unsigned long long)to->offset);
        at += sizeof count;
        if (to->bytes > g->r->size - at)
            return error_set(g->err, ERR_FORMAT, "'%.256s': storage %.64s ends behind the file: it is truncated",
                             g->r->what, key);
        to->offset = g->r->offset + at;
        at += to->bytes;
    }
    if (at != g->r->size)
        return error_set(g->err, ERR_FORMAT, "'%.256s': something follows the last storage", g->r->what);
    return true;
}

static bool read_legacy(struct torch_list *l, const struct file_range *r, struct digest *digest, struct arena *arena,
                        struct torch_storages *s, struct error *err)
{
    struct legacy g = {.r = r, .arena = arena, .err = err};
    struct pickle_tree tree, keys;
    g.head.size = (size_t)u64_min(r->size, LEGACY_HEADER_MAX);
    g.head.data = malloc(g.head.size + 1);
    bool ok = g.head.data ? range_read(r, 0, g.head.data, g.head.size, err) : error_memory(err, g.head.size);
    ok = ok && check_system(&g) && next_pickle(&g, &tree) && next_pickle(&g, &keys) &&
         size_storages(&g, tree.storages, s) && place_storages(&g, keys.root, s) &&
         sha256_of(bytes_of(g.head.data, g.at), digest, err) && torch_state_read(l, tree.root, s, r->what, err);
    buffer_free(&g.head);
    return ok;
}

/* ---- which of them ---- */

static bool is_legacy(const uint8_t *head, size_t n)
{
    for (size_t at = 0; at + sizeof magic < n && at < 16; at++)
        if (head[0] == 0x80 && memcmp(head + at, magic, sizeof magic) == 0) return true;
    return n >= 24 && memcmp(head, "L119547037146038801333356L", 24) == 0; /* protocols 0 and 1 */
}

/* Files of other programs, or of other times, under the endings that are used for torch's. */
static bool neither(const struct file_range *r, const uint8_t *head, size_t n, struct error *err)
{
    static const struct {
        size_t at, n;
        const char *bytes, *what;
    } known[] = {
        {257, 5, "ustar", "a tar archive, as PyTorch wrote before version 0.1.10"},
        {0, 4, "\x89HDF", "HDF5"},
        {0, 4, "GGUF", "GGUF"},
        {0, 2, "\x1f\x8b", "compressed with gzip"},
        {0, 6, "\x93NUMPY", "a NumPy array"},
        {0, 4, "\x28\xb5\x2f\xfd", "compressed with zstd"},
        {0, 10, "version ht", "a Git LFS pointer; the file itself was not fetched"},
        {0, 1, "\x80", "a Python pickle that torch.save did not write"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n >= known[i].at + known[i].n && memcmp(head + known[i].at, known[i].bytes, known[i].n) == 0)
            return error_set(err, ERR_UNSUPPORTED, "'%.256s' is %s, which is not read here", r->what, known[i].what);
    return error_set(err, ERR_FORMAT,
                     "'%.256s' is not a file of torch.save: neither a zip archive nor its magic number", r->what);
}

bool torch_file_read(struct torch_list *l, struct checkpoint *ck, const struct file_range *r, struct digest *digest,
                     struct error *err)
{
    uint8_t head[HEAD_BYTES] = {0};
    size_t n = (size_t)u64_min(r->size, sizeof head);
    struct torch_storages s = {.member = r->member};
    if (!range_read(r, 0, head, n, err)) return false;
    bool zip = torch_zip_probe(head, n);
    if (!zip && !is_legacy(head, n)) return neither(r, head, n, err);
    struct arena *arena = arena_new();
    if (!arena) return error_memory(err, 0);
    bool ok = zip ? read_zip(l, ck, r, digest, arena, &s, err) : read_legacy(l, r, digest, arena, &s, err);
    free(s.list);
    arena_free(arena);
    return ok;
}
