/* Which files of a folder are one GGUF model, and opening all of them. */
#include "formats/gguf.h"

#include "core/text.h"

#include <ctype.h>
#include <stdio.h>

bool gguf_is_name(const char *name)
{
    return text_ends_with(name, ".gguf");
}

static bool is_model(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    return !slash && gguf_is_name(name) && strncmp(base, "mmproj", 6) != 0;
}

bool gguf_split_name(const char *name, size_t *stem, uint32_t *number, uint32_t *count)
{
    static const char form[] = "-00000-of-00000.gguf";
    size_t n = strlen(name), k = sizeof form - 1;
    if (n <= k) return false;
    const char *p = name + n - k;
    for (size_t i = 0; i < k; i++)
        if (form[i] == '0' ? !isdigit((unsigned char)p[i]) : p[i] != form[i]) return false;
    *stem = n - k;
    *number = *count = 0;
    for (int i = 0; i < 5; i++) {
        *number = 10 * *number + (uint32_t)(p[1 + i] - '0');
        *count = 10 * *count + (uint32_t)(p[10 + i] - '0');
    }
    return *number >= 1 && *number <= *count;
}

void gguf_part_name(char out[GGUF_PART_NAME_MAX], const char *name, size_t stem, uint32_t number, uint32_t count)
{
    snprintf(out, GGUF_PART_NAME_MAX, "%.*s-%05u-of-%05u.gguf", (int)u64_min(stem, GGUF_PART_NAME_MAX - 32), name,
             number, count);
}

bool gguf_folder_has(const struct folder *f)
{
    bool has = false;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        if (text_ends_with(folder_name(f, i), ".safetensors")) return false;
        has |= is_model(folder_name(f, i));
    }
    return has;
}

static bool several(const struct folder *f, uint32_t a, uint32_t b, struct error *err)
{
    return error_set(err, ERR_USAGE, "folder '%.256s' holds several GGUF models: name one file, '%.128s' or '%.128s'",
                     folder_path(f), folder_name(f, a), folder_name(f, b));
}

static bool all_parts(const struct folder *f, uint32_t first, size_t stem, uint32_t count, uint32_t *members,
                      struct error *err)
{
    if (count > GGUF_FILES_MAX)
        return error_set(err, ERR_UNSUPPORTED, "'%.256s' is one of %u files, at most %u are read",
                         folder_name(f, first), count, GGUF_FILES_MAX);
    for (uint32_t k = 0; k < count; k++) {
        char name[GGUF_PART_NAME_MAX];
        gguf_part_name(name, folder_name(f, first), stem, k + 1, count);
        members[k] = folder_find(f, name);
        if (members[k] == NAME_NONE)
            return error_set(err, ERR_FORMAT, "folder '%.256s': '%.256s' is one of %u files, but '%.256s' is not there",
                             folder_path(f), folder_name(f, first), count, name);
    }
    return true;
}

bool gguf_members(const struct folder *f, uint32_t *members, uint32_t *n, struct error *err)
{
    uint32_t first = NAME_NONE, number, count = 0;
    size_t stem = 0;
    *n = 0;
    if (!gguf_folder_has(f)) return true;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        size_t s = 0;
        uint32_t c = 0;
        const char *name = folder_name(f, i);
        if (!is_model(name)) continue;
        if (!gguf_split_name(name, &s, &number, &c)) c = 0;
        if (first == NAME_NONE) {
            first = i, stem = s, count = c;
            continue;
        }
        if (!c || c != count || s != stem || strncmp(name, folder_name(f, first), stem) != 0)
            return several(f, first, i, err);
    }
    *n = count ? count : 1;
    members[0] = first;
    return !count || all_parts(f, first, stem, count, members, err);
}

static bool check_split(const struct gguf *g, const struct folder *f, uint32_t k, uint32_t n,
                        const struct gguf_split *s, struct error *err)
{
    const char *name = folder_name(f, g->files[k].member);
    if (n == 1 && s->count <= 1) return true;
    if (s->count != n || s->number != k)
        return error_set(err, ERR_FORMAT, "'%.256s' says that it is number %llu of %llu; its name says %u of %u", name,
                         (unsigned long long)s->number + 1, (unsigned long long)s->count, k + 1, n);
    return true;
}

static bool read_all(struct gguf *g, const struct folder *f, const uint32_t *members, uint32_t n, struct error *err)
{
    uint64_t announced = 0;
    bool has = false;
    for (uint32_t k = 0; k < n; k++) {
        struct gguf_split s;
        if (!gguf_read_file(g, f, members[k], &s, err) || !check_split(g, f, k, n, &s, err)) return false;
        if (k == 0) announced = s.tensors, has = s.has_tensors;
    }
    if (has && announced != g->n_tensors)
        return error_set(err, ERR_FORMAT, "'%.256s': key 'split.tensors.count' is %llu, the files hold %u tensors",
                         folder_name(f, members[0]), (unsigned long long)announced, g->n_tensors);
    CLEANUP(free) const char **names = malloc((g->n_tensors + 1) * sizeof *names);
    if (!names) return error_memory(err, g->n_tensors * sizeof *names);
    for (uint32_t i = 0; i < g->n_tensors; i++) names[i] = g->tensors[i].name;
    return name_index_build(&g->tensor_index, names, g->n_tensors, "GGUF: tensors", err);
}

bool gguf_open(struct gguf **out, const struct folder *f, struct error *err)
{
    uint32_t members[GGUF_FILES_MAX], n;
    *out = NULL;
    if (!gguf_members(f, members, &n, err)) return false;
    if (n == 0) return error_set(err, ERR_FORMAT, "folder '%.256s' holds no GGUF model", folder_path(f));
    struct gguf *g = calloc(1, sizeof *g);
    if (!g) return error_memory(err, sizeof *g);
    g->folder = f;
    g->arena = arena_new();
    g->files = calloc(n, sizeof *g->files);
    bool ok = g->arena && g->files ? read_all(g, f, members, n, err) : error_memory(err, n * sizeof *g->files);
    if (ok) *out = g;
    else gguf_close(g);
    return ok;
}

void gguf_close(struct gguf *g)
{
    if (!g) return;
    for (uint32_t i = 0; i < g->n_files; i++) buffer_free(&g->files[i].header);
    free(g->files);
    free(g->tensors);
    name_index_free(&g->value_index);
    name_index_free(&g->tensor_index);
    arena_free(g->arena);
    free(g);
}
