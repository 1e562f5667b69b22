/* Distributed checkpoints of torch (Megatron's torch_dist): .metadata, a pickle that says which part of which tensor
 * lies where, and __R_N.distcp files, rows of torch.save's archives. */
#include "core/name_index.h"
#include "formats/megatron.h"

#define STATE_MEMBERS_MAX 64u /* of one object of the metadata; torch's have up to ten */

static const char *base_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

static uint32_t find_metadata(const struct folder *f)
{
    for (uint32_t i = 0; i < folder_count(f); i++)
        if (strcmp(base_of(folder_name(f, i)), ".metadata") == 0) return i;
    return NAME_NONE;
}

bool mega_dist_probe(const struct folder *f)
{
    return find_metadata(f) != NAME_NONE;
}

struct dist {
    struct mega_set *set;
    struct checkpoint *ck;
    const struct folder *folder;
    uint32_t member;
    struct arena *arena;
    bool *listed;            /* [members] files that hold a part */
    struct name_index names; /* of the arrays, once all are known */
    struct error *err;
};

static bool bad(const struct dist *d, const char *why)
{
    return error_set(d->err, ERR_FORMAT, "'%.256s': %s", folder_name(d->folder, d->member), why);
}

/* The state of an object of that class, or NULL. A state has a handful of members; one that many objects share and
 * that has a million would be searched by each of them. */
static const struct pickle_value *state_of(const struct pickle_value *v, const char *class)
{
    if (!v || v->kind != PICKLE_OBJECT || strcmp(v->global->name, class) != 0) return NULL;
    const struct pickle_value *state = v->u.items[1];
    return state && state->kind == PICKLE_DICT && state->n > 2 * STATE_MEMBERS_MAX ? NULL : state;
}

static bool sizes_of(const struct pickle_value *v, uint32_t *n, uint64_t out[TENSOR_DIMS_MAX])
{
    if (!v || v->kind != PICKLE_TUPLE || v->n > TENSOR_DIMS_MAX) return false;
    *n = v->n;
    for (uint32_t i = 0; i < v->n; i++)
        if (!pickle_u64(v->u.items[i], INT64_MAX, &out[i])) return false;
    return true;
}

/* A tensor's type: the first of a tuple, or a member of a dict. */
static bool dtype_of(const struct pickle_value *properties, enum dtype *out)
{
    const struct pickle_value *v = properties;
    if (!v) return false;
    v = v->kind == PICKLE_TUPLE && v->n ? v->u.items[0] : pickle_dict_get(v, "dtype");
    if (!v || v->kind != PICKLE_GLOBAL || v->global->dtype == DTYPE_COUNT) return false;
    *out = v->global->dtype;
    return true;
}

static const char *text_of(struct dist *d, const struct pickle_value *v)
{
    if (!v || v->kind != PICKLE_TEXT || v->n > TORCH_NAME_MAX || memchr(v->u.text, 0, v->n)) return NULL;
    for (uint32_t i = 0; i < v->n; i++)
        if (v->u.text[i] <= ' ' || v->u.text[i] > '~') return NULL;
    return arena_copy(d->arena, v->u.text, v->n);
}

/* Names, types and sizes of all tensors; what is bytes (extra states, rng states) is left out. */
static bool read_tensors(struct dist *d, const struct pickle_value *dict)
{
    if (!dict || dict->kind != PICKLE_DICT) return bad(d, "it does not list its tensors");
    for (uint32_t i = 0; i < dict->n; i += 2) {
        const struct pickle_value *state = state_of(dict->u.items[i + 1], "TensorStorageMetadata");
        struct mega_array a = {0};
        int64_t layer;
        if (!state) continue;
        const char *full = text_of(d, dict->u.items[i]);
        if (!full) return bad(d, "a tensor has no name of printable ASCII");
        if (!sizes_of(pickle_dict_get(state, "size"), &a.n_dims, a.dims) ||
            !dtype_of(state_of(pickle_dict_get(state, "properties"), "TensorProperties"), &a.dtype))
            return error_set(d->err, ERR_FORMAT, "'%.256s': tensor '%.256s' has no sizes or no type that is known",
                             folder_name(d->folder, d->member), full);
        const char *name = mega_name(d->arena, full, &layer);
        if (!name) continue;
        a.name = mega_layer_name(d->arena, name, layer);
        uint32_t had = d->set->n;
        if (!a.name || !mega_set_array(d->set, &a, d->err)) return a.name ? false : error_memory(d->err, 0);
        if (d->set->n == had)
            return error_set(d->err, ERR_FORMAT, "'%.256s': tensor '%.256s' is there twice",
                             folder_name(d->folder, d->member), a.name);
    }
    return true;
}

static struct mega_array *find_array(struct dist *d, const char *full)
{
    int64_t layer;
    const char *name = mega_name(d->arena, full, &layer);
    if (name) name = mega_layer_name(d->arena, name, layer);
    uint32_t i = name ? name_index_find(&d->names, name) : NAME_NONE;
    return i == NAME_NONE ? NULL : &d->set->arrays[i];
}

static bool index_arrays(struct dist *d)
{
    CLEANUP(free) const char **names = calloc(d->set->n + 1u, sizeof *names);
    if (!names) return error_memory(d->err, d->set->n * sizeof *names);
    for (uint32_t i = 0; i < d->set->n; i++) names[i] = d->set->arrays[i].name;
    return name_index_build(&d->names, names, d->set->n, "arrays", d->err);
}

static bool open_part(struct dist *d, const struct pickle_value *info, struct file_range *r)
{
    const char *file = text_of(d, pickle_dict_get(info, "relative_path"));
    const struct pickle_value *transforms = pickle_dict_get(info, "transform_descriptors");
    if (transforms && transforms->kind != PICKLE_NONE && transforms->n)
        return error_set(d->err, ERR_UNSUPPORTED, "'%.256s': parts are compressed or encrypted, which is not read here",
                         folder_name(d->folder, d->member));
    const char *own = folder_name(d->folder, d->member);
    char *path = file ? arena_printf(d->arena, "%.*s%s", (int)(base_of(own) - own), own, file) : NULL;
    if (!path || !path_is_safe(path)) return bad(d, "a part has no file name inside the folder");
    r->member = folder_find(d->folder, path);
    if (r->member == NAME_NONE)
        return error_set(d->err, ERR_FORMAT, "'%.256s' names '%.256s', which does not exist in the folder", own, path);
    uint64_t size = folder_size(d->folder, r->member);
    if (!pickle_u64(pickle_dict_get(info, "offset"), size, &r->offset) ||
        !pickle_u64(pickle_dict_get(info, "length"), size - r->offset, &r->size))
        return error_set(d->err, ERR_FORMAT, "'%.256s': a part reaches beyond '%.256s': it is truncated", own, path);
    r->folder = d->folder;
    r->what = folder_name(d->folder, r->member);
    d->listed[r->member] = true;
    return true;
}

/* One part: an archive with one tensor, and where it belongs. */
struct part {
    struct mega_array *array;
    struct mega_chunk chunk;
    struct file_range range;
};

/* *wanted false: it is of something that is no weight. */
static bool read_part(struct dist *d, const struct pickle_value *index, const struct pickle_value *info, struct part *p,
                      bool *wanted)
{
    uint32_t n = 0;
    const char *full = text_of(d, pickle_dict_get(index, "fqn"));
    *p = (struct part){.array = full ? find_array(d, full) : NULL};
    *wanted = p->array != NULL;
    if (!full) return bad(d, "a part has no name");
    if (!p->array) return true;
    const struct pickle_value *at = pickle_dict_get(index, "offset");
    if (at && at->kind != PICKLE_NONE && (!sizes_of(at, &n, p->chunk.at) || n != p->array->n_dims))
        return error_set(d->err, ERR_FORMAT, "tensor '%.256s': a part has no place in it", full);
    return open_part(d, info, &p->range);
}

static bool add_part(struct dist *d, struct part *p)
{
    struct torch_list list = {0};
    struct digest digest;
    bool ok = torch_file_read(&list, d->ck, &p->range, &digest, d->err);
    if (ok && list.n != 1)
        ok = error_set(d->err, ERR_FORMAT, "tensor '%.256s': a part holds %u tensors", p->array->name, list.n);
    if (ok) p->chunk.part = list.tensors[0];
    p->chunk.part.name = NULL;
    torch_list_free(&list);
    return ok && mega_add_chunk(d->set, p->array, &p->chunk, d->err);
}

static int by_place(const void *a, const void *b)
{
    const struct file_range *x = &(*(struct part *const *)a)->range, *y = &(*(struct part *const *)b)->range;
    if (x->member != y->member) return x->member < y->member ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Each part has bytes of its own: else a small file could be read a million times. */
static bool check_apart(struct dist *d, struct part *parts, uint32_t n)
{
    CLEANUP(free) struct part **sorted = calloc(n + 1u, sizeof *sorted);
    if (!sorted) return error_memory(d->err, n * sizeof *sorted);
    for (uint32_t i = 0; i < n; i++) sorted[i] = &parts[i];
    qsort(sorted, n, sizeof *sorted, by_place);
    for (uint32_t i = 1; i < n; i++) {
        const struct file_range *x = &sorted[i - 1]->range, *y = &sorted[i]->range;
        if (x->member == y->member && y->offset < x->offset + x->size)
            return error_set(d->err, ERR_FORMAT, "'%.256s': parts of '%.256s' and '%.256s' overlap", y->what,
                             sorted[i - 1]->array->name, sorted[i]->array->name);
    }
    return true;
}

static bool read_parts(struct dist *d, const struct pickle_value *dict)
{
    uint32_t n = 0;
    if (!dict || dict->kind != PICKLE_DICT) return bad(d, "it does not say where its tensors are");
    if (dict->n / 2 > MEGA_CHUNKS_MAX)
        return error_set(d->err, ERR_UNSUPPORTED, "there are more than %u chunks", MEGA_CHUNKS_MAX);
    CLEANUP(free) struct part *parts = calloc(dict->n / 2 + 1u, sizeof *parts);
    if (!parts) return error_memory(d->err, dict->n / 2 * sizeof *parts);
    for (uint32_t i = 0; i < dict->n; i += 2) {
        const struct pickle_value *index = state_of(dict->u.items[i], "MetadataIndex"),
                                  *info = state_of(dict->u.items[i + 1], "_StorageInfo");
        bool wanted;
        if (!index || !info) return bad(d, "it does not say where its tensors are");
        if (!read_part(d, index, info, &parts[n], &wanted)) return false;
        n += wanted;
    }
    if (!check_apart(d, parts, n)) return false;
    for (uint32_t i = 0; i < n; i++)
        if (!add_part(d, &parts[i])) return false;
    return true;
}

static bool read_all(struct dist *d, struct bytes text)
{
    struct pickle_tree tree;
    struct digest digest;
    const char *what = folder_name(d->folder, d->member);
    if (!pickle_read(text, PICKLE_FOR_METADATA, what, d->arena, &tree, d->err)) return false;
    const struct pickle_value *state = state_of(tree.root, "Metadata");
    if (!state) return bad(d, "it is not the metadata of a distributed checkpoint");
    if (!read_tensors(d, pickle_dict_get(state, "state_dict_metadata")) || !index_arrays(d) ||
        (d->ck && !read_parts(d, pickle_dict_get(state, "storage_data"))) || !sha256_of(text, &digest, d->err))
        return false;
    for (uint32_t i = 0; i < folder_count(d->folder); i++)
        if (d->listed[i] && !checkpoint_add_file(d->ck, i, &digest, d->err)) return false;
    return true;
}

bool mega_dist_read(struct mega_set *s, const struct folder *f, struct checkpoint *ck, struct error *err)
{
    struct dist d = {.set = s, .ck = ck, .folder = f, .err = err};
    CLEANUP_BUFFER struct buffer text = {0};
    d.member = find_metadata(d.folder);
    if (!folder_load(d.folder, folder_name(d.folder, d.member), PICKLE_BYTES_MAX, &text, err)) return false;
    d.arena = arena_new();
    d.listed = calloc(folder_count(d.folder) + 1, sizeof *d.listed);
    bool ok = d.arena && d.listed ? read_all(&d, buffer_view(&text)) : error_memory(err, 0);
    name_index_free(&d.names);
    arena_free(d.arena);
    free(d.listed);
    return ok;
}
