/* From the tree of a pickle to tensors. A state dict is a dict of names and tensors. Training programs put it under a
 * key of their own (wrappers[], each once and in this order), and then everything beside it stays unread; dicts inside
 * it are names with dots. What is no tensor and holds none (numbers, texts, extra states of layers) is skipped. */
#include "formats/torch_file.h"

#include <stdio.h>

static const char *const wrappers[] = {"state_dict", "model_state_dict", "model", "module"};

struct walk {
    struct torch_list *list;
    const struct torch_storages *storages;
    const char *what;
    struct arena *arena;
    uint32_t visits;
    char name[TORCH_NAME_MAX + 1];
    struct error *err;
};

static bool bad(const struct walk *w, const char *why)
{
    return error_set(w->err, ERR_FORMAT, "'%.256s': tensor '%.256s' %s", w->what, w->name, why);
}

static int by_key(const void *key, const void *entry)
{
    return strcmp(key, ((const struct torch_storage *)entry)->key);
}

/* Sizes, strides and the offset of the first element against the bytes that the storage has. */
static bool check_bounds(const struct walk *w, const struct pickle_value *v, const struct torch_storage *s,
                         uint64_t elem, uint64_t first, uint64_t part, struct torch_tensor *t)
{
    const struct pickle_value *sizes = v->u.items[2], *strides = v->u.items[3];
    uint64_t last = 0, n = 1, offset, step;
    bool empty = false;
    if (sizes->n != strides->n) return bad(w, "has not as many strides as sizes");
    if (sizes->n > TENSOR_DIMS_MAX)
        return error_set(w->err, ERR_UNSUPPORTED, "'%.256s': tensor '%.256s' has %u dimensions, at most %u are read",
                         w->what, w->name, sizes->n, TENSOR_DIMS_MAX);
    if (!pickle_u64(v->u.items[1], INT64_MAX, &offset)) return bad(w, "begins at an offset that is none");
    t->n_dims = sizes->n;
    for (uint32_t i = 0; i < sizes->n; i++) {
        if (!pickle_u64(sizes->u.items[i], INT64_MAX, &t->dims[i])) return bad(w, "has a size that is none");
        if (!pickle_u64(strides->u.items[i], INT64_MAX, &step)) return bad(w, "has a stride that is none");
        empty |= t->dims[i] == 0;
        if (t->dims[i] < 2) continue; /* the stride of one element counts for nothing */
        uint64_t reach;
        if (!u64_mul(t->dims[i] - 1, step, &reach) || !u64_add(last, reach, &last))
            return bad(w, "reaches beyond its storage");
        t->steps[i] = step * elem; /* fits once the last element is inside */
        if (!u64_mul(n, t->dims[i], &n)) n = UINT64_MAX;
    }
    uint64_t end = 0;
    if (empty) return offset <= part || bad(w, "begins beyond its storage");
    if (!u64_add(last, 1, &end) || !u64_add(end, offset, &end) || end > part)
        return bad(w, "reaches beyond its storage");
    if (n > part)
        return error_set(w->err, ERR_UNSUPPORTED, "'%.256s': tensor '%.256s' has more elements than its storage",
                         w->what, w->name);
    t->offset = s->offset + (first + offset) * elem;
    return true;
}

static bool add_tensor(struct walk *w, const struct pickle_value *v)
{
    struct torch_storage_id id;
    struct torch_tensor t = {.name = w->name, .member = w->storages->member};
    if (!torch_storage_id(v->u.items[0], w->arena, w->what, &id, w->err)) return false;
    const struct torch_storage *s =
        bsearch(id.key, w->storages->list, w->storages->n, sizeof *w->storages->list, by_key);
    if (!s) return bad(w, "has a storage that is not in the file");
    uint64_t elem = dtype_bytes(id.type->dtype), bytes;
    if (!u64_mul(id.n, elem, &bytes) || bytes != s->bytes)
        return error_set(w->err, ERR_FORMAT,
                         "'%.256s': tensor '%.256s': storage %.64s is said to have %llu elements of %llu bytes, and has"
                         " %llu bytes",
                         w->what, w->name, id.key, (unsigned long long)id.n, (unsigned long long)elem,
                         (unsigned long long)s->bytes);
    t.dtype = id.type->dtype;
    if (v->u.items[4]) { /* bytes of a storage without a type */
        t.dtype = v->u.items[4]->global->dtype;
        uint64_t wide = dtype_bytes(t.dtype);
        if (id.first * elem % wide || elem != 1) return bad(w, "has a type that its storage has not");
        id.first = id.first * elem / wide;
        id.part = id.part * elem / wide;
        elem = wide;
    }
    t.offset = s->offset;
    return check_bounds(w, v, s, elem, id.first, id.part, &t) && torch_list_add(w->list, &t, w->err);
}

static bool too_often(const struct walk *w)
{
    return error_set(w->err, ERR_UNSUPPORTED, "'%.256s': the state dict is nested too deeply or too often", w->what);
}

static bool walk_dict(struct walk *w, const struct pickle_value *dict, uint32_t level);

static bool visit(struct walk *w, const struct pickle_value *v, uint32_t level)
{
    if (w->visits == TORCH_VISITS_MAX || level > PICKLE_DEPTH_MAX) return too_often(w);
    w->visits++;
    switch (v->kind) {
    case PICKLE_TENSOR: return add_tensor(w, v);
    case PICKLE_DICT: return walk_dict(w, v, level);
    case PICKLE_LIST:
    case PICKLE_TUPLE:
        if (v->n > TORCH_VISITS_MAX - w->visits) return too_often(w); /* one list may be there under many names */
        w->visits += v->n;
        for (uint32_t i = 0; i < v->n; i++)
            if (v->u.items[i]->kind == PICKLE_TENSOR)
                return error_set(w->err, ERR_UNSUPPORTED, "'%.256s': '%.256s' is %s of tensors, which have no names",
                                 w->what, w->name, pickle_kind_name(v));
        return true;
    default: return true;
    }
}

static bool ends_with(const char *name, size_t n, const char *end)
{
    size_t k = strlen(end);
    return n >= k && memcmp(name + n - k, end, k) == 0;
}

static bool walk_dict(struct walk *w, const struct pickle_value *dict, uint32_t level)
{
    size_t had = strlen(w->name);
    for (uint32_t i = 0; i < dict->n; i += 2) {
        const struct pickle_value *key = dict->u.items[i];
        size_t n = had;
        if (key->kind != PICKLE_TEXT) {
            if (dict->u.items[i + 1]->kind != PICKLE_TENSOR && dict->u.items[i + 1]->kind != PICKLE_DICT) continue;
            return error_set(w->err, ERR_FORMAT, "'%.256s': the state dict has a key that is %s", w->what,
                             pickle_kind_name(key));
        }
        for (uint32_t k = 0; k < key->n; k++)
            if (key->u.text[k] <= ' ' || key->u.text[k] > '~')
                return error_set(w->err, ERR_FORMAT, "'%.256s': the state dict has a name that is not printable ASCII",
                                 w->what);
        if (had + 1 + key->n > TORCH_NAME_MAX)
            return error_set(w->err, ERR_UNSUPPORTED, "'%.256s': a tensor's name has more than %u bytes", w->what,
                             TORCH_NAME_MAX);
        if (had) w->name[n++] = '.';
        memcpy(w->name + n, key->u.text, key->n);
        n += key->n;
        w->name[n] = '\0';
        if (!ends_with(w->name, n, "._extra_state") && !visit(w, dict->u.items[i + 1], level + 1)) return false;
        w->name[had] = '\0';
    }
    return true;
}

bool torch_state_read(struct torch_list *l, const struct pickle_value *root, const struct torch_storages *storages,
                      const char *what, struct error *err)
{
    struct walk w = {.list = l, .storages = storages, .what = what, .err = err};
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
        const struct pickle_value *inner = pickle_dict_get(root, wrappers[i]);
        if (inner && inner->kind == PICKLE_DICT) root = inner;
    }
    if (root->kind != PICKLE_DICT && root->kind != PICKLE_TENSOR)
        return error_set(err, ERR_FORMAT, "'%.256s' holds %s; a dict of tensors is expected", what,
                         pickle_kind_name(root));
    w.arena = arena_new();
    if (!w.arena) return error_memory(err, 0);
    bool ok = visit(&w, root, 0);
    arena_free(w.arena);
    return ok;
}
