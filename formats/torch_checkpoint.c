/* PyTorch's files as a checkpoint: pytorch_model.bin, its shards with an index, or the only file there is. */
#include "core/json.h"
#include "formats/torch_file.h"
#include "formats/torch_folder.h"

#include <stdio.h>

#define SINGLE "pytorch_model.bin"

/* Files that training leaves beside a model. */
static const char *const no_model[] = {"training_args.bin", "optimizer.",    "scheduler.",
                                       "rng_state",         "random_states", "scaler.",
                                       "adapter_model.",    "common.pt",     NULL};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n > k && strcmp(text + n - k, end) == 0;
}

bool torch_is_name(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    for (size_t i = 0; no_model[i]; i++)
        if (strncmp(base, no_model[i], strlen(no_model[i])) == 0) return false;
    return ends_with(base, ".bin") || ends_with(base, ".pt") || ends_with(base, ".pth") || ends_with(base, ".ckpt");
}

static bool is_candidate(const char *name)
{
    return !strchr(name, '/') && torch_is_name(name);
}

bool torch_probe(const struct folder *f)
{
    if (folder_find(f, TORCH_INDEX_NAME) != NAME_NONE) return true;
    for (uint32_t i = 0; i < folder_count(f); i++)
        if (is_candidate(folder_name(f, i))) return true;
    return false;
}

/* ---- one name for what goes by several ---- */

/* What wrappers around a model put in front of every name. */
struct prefix {
    const char *text;
    bool is_hf; /* Hugging Face's own names begin so too: only when they follow it */
};
static const struct prefix prefixes[] = {{"module.", false}, {"_orig_mod.", false}, {"model.", true}};

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

static bool all_begin(const struct torch_list *l, size_t at, const char *with)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (!begins(l->tensors[i].name + at, with)) return false;
    return l->n > 0;
}

static bool some_hf(const struct torch_list *l, size_t at)
{
    static const char *const roots[] = {"model.", "backbone.", "lm_head.", "language_model."};
    for (uint32_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < sizeof roots / sizeof *roots; k++)
            if (begins(l->tensors[i].name + at, roots[k])) return true;
    return false;
}

static size_t common_prefix(const struct torch_list *l)
{
    size_t at = 0;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t n = strlen(prefixes[i].text);
        if (!all_begin(l, at, prefixes[i].text) || (prefixes[i].is_hf && !some_hf(l, at + n))) continue;
        at += n;
        i = (size_t)-1; /* in any order, several times */
    }
    return at;
}

/* ---- files ---- */

struct opening {
    struct checkpoint *ck;
    const struct folder *folder;
    struct torch_list list;
    bool *wanted;
    json_t *map; /* of the index */
    struct error *err;
};

static bool read_index(struct opening *o)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *doc = NULL;
    json_t *map, *value;
    const char *name;
    if (!folder_load(o->folder, TORCH_INDEX_NAME, TORCH_INDEX_MAX, &text, o->err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, TORCH_INDEX_NAME, &doc, o->err) ||
        !json_get_object(doc, "weight_map", TORCH_INDEX_NAME, &map, o->err))
        return false;
    json_object_foreach (map, name, value) {
        const char *file = json_string_value(value);
        uint32_t member = file && path_is_safe(file) ? folder_find(o->folder, file) : NAME_NONE;
        if (!file || !path_is_safe(file))
            return error_set(o->err, ERR_FORMAT,
                             TORCH_INDEX_NAME ": tensor '%.256s': %.256s is not a file name inside the folder", name,
                             json_brief(value));
        if (member == NAME_NONE)
            return error_set(o->err, ERR_FORMAT,
                             TORCH_INDEX_NAME ": tensor '%.256s': file '%.256s' does not exist in the folder", name,
                             file);
        o->wanted[member] = true;
    }
    o->map = json_incref(map);
    return true;
}

/* Parts of several without an index: one that is missing would not be missed. */
static bool is_part(const char *name)
{
    unsigned k, n;
    int end = 0;
    return sscanf(name, "pytorch_model-%u-of-%u.bin%n", &k, &n, &end) == 2 && end > 0 && name[end] == '\0' && n != 1;
}

static bool choose(struct opening *o)
{
    const struct folder *f = o->folder;
    uint32_t n = 0, last = 0, single = folder_find(f, SINGLE);
    if (folder_find(f, TORCH_INDEX_NAME) != NAME_NONE) return read_index(o);
    for (uint32_t i = 0; i < folder_count(f); i++) {
        const char *name = folder_name(f, i);
        if (!is_candidate(name)) continue;
        if (is_part(name))
            return error_set(o->err, ERR_FORMAT, "folder '%.256s': " TORCH_INDEX_NAME " is missing ('%.128s' is there)",
                             folder_path(f), name);
        if (begins(name, "consolidated.") && ends_with(name, ".pth"))
            return error_set(o->err, ERR_UNSUPPORTED,
                             "'%.256s' is in the layout of Meta's own release, which is not read here; the Hugging Face"
                             " folder of the model is",
                             name);
        n++;
        last = i;
    }
    if (single == NAME_NONE && n != 1)
        return error_set(o->err, ERR_FORMAT,
                         "folder '%.256s': %u files may be PyTorch checkpoints, none is '" SINGLE
                         "'; name the one that is meant",
                         folder_path(f), n);
    o->wanted[single != NAME_NONE ? single : last] = true;
    return true;
}

/* Every entry of the index is in the file that it names, and every tensor has an entry. */
static bool check_index(struct opening *o)
{
    uint32_t n = 0;
    for (uint32_t i = 0; o->map && i < o->list.n; i++) {
        const struct torch_tensor *t = &o->list.tensors[i];
        const char *file = folder_name(o->folder, t->member),
                   *said = json_string_value(json_object_get(o->map, t->name));
        if (!said)
            return error_set(o->err, ERR_FORMAT, "'%.256s': tensor '%.256s' is not in " TORCH_INDEX_NAME, file,
                             t->name);
        if (strcmp(said, file) != 0)
            return error_set(o->err, ERR_FORMAT, TORCH_INDEX_NAME ": tensor '%.256s' is in '%.256s', not in '%.256s'",
                             t->name, file, said);
        n++;
    }
    if (!o->map || n == json_object_size(o->map)) return true;
    return error_set(o->err, ERR_FORMAT, TORCH_INDEX_NAME " has %zu tensors, the files that it names have %u",
                     json_object_size(o->map), n);
}

static bool read_files(struct opening *o)
{
    for (uint32_t i = 0; i < folder_count(o->folder); i++) {
        struct digest digest;
        if (!o->wanted[i]) continue;
        struct file_range r = {o->folder, i, 0, folder_size(o->folder, i), folder_name(o->folder, i)};
        if (!torch_file_read(&o->list, o->ck, &r, &digest, o->err) || !checkpoint_add_file(o->ck, i, &digest, o->err))
            return false;
    }
    return true;
}

/* In the order of the state dict: where old files have their storages follows from addresses in memory. */
static bool add_all(struct opening *o)
{
    size_t prefix = common_prefix(&o->list);
    if (prefix && !checkpoint_add_remark(o->ck, o->err, "every name begins with '%.*s', which is left out", (int)prefix,
                                         o->list.tensors[0].name))
        return false;
    for (uint32_t i = 0; i < o->list.n; i++) {
        const struct torch_tensor *t = &o->list.tensors[i];
        if (!torch_add(o->ck, t, t->name + prefix, o->err)) return false;
    }
    return true;
}

static bool open_torch(struct checkpoint *ck, struct error *err)
{
    struct opening o = {.ck = ck, .folder = checkpoint_folder(ck), .err = err};
    o.wanted = calloc(folder_count(o.folder) + 1, sizeof *o.wanted);
    bool ok = o.wanted ? choose(&o) && read_files(&o) && check_index(&o) && add_all(&o) : error_memory(err, 0);
    free(o.wanted);
    json_decref(o.map);
    torch_list_free(&o.list);
    return ok;
}

const struct checkpoint_format checkpoint_torch = {.name = "pytorch", .probe = torch_probe, .open = open_torch};
