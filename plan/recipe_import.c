/* ModelOpt's files and what they import. Every file is read once; what it gives is shared by reference wherever it is
 * imported, so that no nesting of imports can make more of it than its lines. */
#include "core/arena.h"
#include "core/embed.h"
#include "core/file.h"
#include "core/json_scan.h"
#include "plan/recipe_foreign.h"
#include "plan/recipe.h"

#include <fcntl.h>

#define UNITS_PATH "recipes/units/modelopt.yaml"
#define FOLDERS_ABOVE_MAX 16u

struct unit {
    const char *key; /* the path of the file, or "" and the name of a standard unit */
    json_t *value;   /* NULL while it is being read */
};

struct loader {
    struct arena *arena;
    struct yaml *standard;
    struct unit units[IMPORT_FILES_MAX];
    uint32_t n_units, depth;
    size_t n_values;
    struct error *err;
};

/* Where a piece of text stands: its document, and what its names mean. */
struct scope {
    const char *label; /* for errors */
    const char *path;  /* of the file; NULL: a standard unit, whose names are those of its neighbours */
    const struct yaml *doc;
    const json_t *imports; /* names -> resolved values; NULL for standard units */
};

static bool load_unit(struct loader *l, const char *path, const struct scope *from, const char *at, const json_t **out);

static bool count(struct loader *l, size_t n, const char *at)
{
    l->n_values += n;
    if (l->n_values <= JSON_VALUES_MAX) return true;
    return error_set(l->err, ERR_FORMAT, "%s: with its imports the recipe has more than %u values", at,
                     JSON_VALUES_MAX);
}

static const char *place(struct loader *l, const struct scope *s, const json_t *node)
{
    uint32_t line = s->path ? yaml_line(s->doc, node) : 0;
    char *text = line ? arena_printf(l->arena, "%s: line %u", s->label, line) : arena_text(l->arena, s->label);
    return text ? text : s->label;
}

/* ---- names ---- */

static bool lookup(struct loader *l, const struct scope *s, const json_t *name, const char *at, const json_t **out)
{
    const char *text = json_string_value(name);
    if (!text) return error_set(l->err, ERR_FORMAT, "%s: $import: expected a name, found %s", at, json_brief(name));
    if (!s->imports) return load_unit(l, text, s, at, out);
    if ((*out = json_object_get(s->imports, text))) return true;
    return error_set(l->err, ERR_FORMAT, "%s: $import '%.128s': `imports` of this file declares no such name", at,
                     text);
}

static json_t *resolve(struct loader *l, const struct scope *s, const json_t *node, const char *at, bool root);

/* The members that `$import` brings, later names over earlier ones. */
static bool merge_imports(struct loader *l, const struct scope *s, const json_t *names, json_t *into, const char *at)
{
    size_t n = json_is_array(names) ? json_array_size(names) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *name = json_is_array(names) ? json_array_get(names, i) : names, *unit;
        if (!lookup(l, s, name, at, &unit)) return false;
        if (!json_is_object(unit))
            return error_set(l->err, ERR_FORMAT, "%s: $import '%.128s' is a list; here stands one mapping", at,
                             json_string_value(name));
        if (!count(l, json_object_size(unit), at)) return false;
        if (json_object_update(into, (json_t *)(uintptr_t)unit) != 0) return error_memory(l->err, 0);
    }
    return true;
}

static json_t *resolve_object(struct loader *l, const struct scope *s, const json_t *node, bool root)
{
    const char *at = place(l, s, node), *key;
    json_t *into = json_object(), *v;
    if (!into) return error_memory(l->err, 0), NULL;
    const json_t *names = json_object_get(node, "$import");
    bool ok = (!names || merge_imports(l, s, names, into, at)) && count(l, json_object_size(node) + 1, at);
    json_object_foreach ((json_t *)(uintptr_t)node, key, v) {
        if (!ok) break;
        if (strcmp(key, "$import") == 0 || (root && strcmp(key, "imports") == 0)) continue;
        json_t *r = resolve(l, s, v, at, false);
        ok = r && json_object_set_new(into, key, r) == 0;
    }
    if (ok && json_object_set_new(into, "$at", json_string(at)) == 0) return into;
    if (l->err->code == ERR_NONE) error_memory(l->err, 0);
    json_decref(into);
    return NULL;
}

/* `- $import: name` in a list: a list's elements take its place, a mapping becomes one element. */
static bool append(struct loader *l, const struct scope *s, json_t *into, const json_t *element, const char *at)
{
    const json_t *name = json_object_get(element, "$import"), *unit;
    if (!name || json_object_size(element) != 1) {
        json_t *r = resolve(l, s, element, at, false);
        return r && (json_array_append_new(into, r) == 0 || error_memory(l->err, 0));
    }
    at = place(l, s, element);
    if (!lookup(l, s, name, at, &unit)) return false;
    if (!json_is_array(unit)) {
        if (!count(l, 1, at)) return false;
        return json_array_append(into, (json_t *)(uintptr_t)unit) == 0 || error_memory(l->err, 0);
    }
    if (!count(l, json_array_size(unit), at)) return false;
    return json_array_extend(into, (json_t *)(uintptr_t)unit) == 0 || error_memory(l->err, 0);
}

/* A new reference, NULL with an error. */
static json_t *resolve(struct loader *l, const struct scope *s, const json_t *node, const char *at, bool root)
{
    if (json_is_object(node)) return resolve_object(l, s, node, root);
    if (!json_is_array(node)) return count(l, 1, at) ? json_incref((json_t *)(uintptr_t)node) : NULL;
    json_t *into = json_array();
    at = place(l, s, node);
    bool ok = into != NULL || error_memory(l->err, 0);
    for (size_t i = 0; ok && i < json_array_size(node); i++) ok = append(l, s, into, json_array_get(node, i), at);
    if (ok) return into;
    json_decref(into);
    return NULL;
}

/* ---- files ---- */

/* One document, or a header with `imports` and the content behind it. */
static bool split(struct loader *l, const struct scope *s, const json_t **header, const json_t **body)
{
    const json_t *docs = yaml_root(s->doc);
    size_t n = json_array_size(docs);
    *header = json_array_get(docs, 0);
    *body = json_array_get(docs, n > 1 ? 1 : 0);
    if (n < 1 || n > 2)
        return error_set(l->err, ERR_FORMAT,
                         "%s: expected one document, or one with `imports` and one behind it, "
                         "found %zu",
                         s->label, n);
    if (n == 2 && !json_is_object(*header))
        return error_set(l->err, ERR_FORMAT, "%s: the first of two documents: expected a mapping, found %s", s->label,
                         json_brief(*header));
    if (json_is_object(*body) || json_is_array(*body)) return true;
    return error_set(l->err, ERR_FORMAT, "%s: expected a mapping or a list, found %s", s->label, json_brief(*body));
}

static bool read_imports(struct loader *l, const struct scope *s, const json_t *declared, json_t *into)
{
    const char *name;
    json_t *path;
    const char *at = place(l, s, declared);
    if (!json_is_object(declared))
        return error_set(l->err, ERR_FORMAT, "%s: key 'imports': expected names with paths, found %s", s->label,
                         json_brief(declared));
    json_object_foreach ((json_t *)(uintptr_t)declared, name, path) {
        const json_t *unit;
        const char *text = json_string_value(path);
        if (!text || !*text)
            return error_set(l->err, ERR_FORMAT, "%s: import '%.128s': expected a path, found %s", at, name,
                             json_brief(path));
        if (!load_unit(l, text, s, at, &unit)) return false;
        if (json_object_set(into, name, (json_t *)(uintptr_t)unit) != 0) return error_memory(l->err, 0);
    }
    return true;
}

static bool resolve_file(struct loader *l, struct scope *s, json_t **out)
{
    const json_t *header, *body;
    CLEANUP(json) json_t *imports = json_object();
    if (!imports) return error_memory(l->err, 0);
    if (!split(l, s, &header, &body)) return false;
    const json_t *declared = json_object_get(header, "imports");
    if (header != body && json_object_get(body, "imports")) declared = json_object_get(body, "imports");
    if (json_is_null(declared)) declared = NULL;
    if (declared && !read_imports(l, s, declared, imports)) return false;
    s->imports = imports;
    *out = resolve(l, s, body, s->label, true);
    s->imports = NULL;
    if (!*out || header == body || !json_is_object(*out)) return *out != NULL;
    /* A mapping behind a header: the header's keys count where it has none of its own. */
    s->imports = imports;
    CLEANUP(json) json_t *first = resolve(l, s, header, s->label, true);
    s->imports = NULL;
    return first && (json_object_update_missing(*out, first) == 0 || error_memory(l->err, 0));
}

/* Stays inside the folder it is joined to. */
static bool path_is_tame(const char *path)
{
    if (*path == '/') return false;
    for (const char *p = path; *p; p += strcspn(p, "/"), p += *p == '/')
        if ((p[0] == '.' && (p[1] == '/' || !p[1])) || (p[0] == '.' && p[1] == '.' && (p[2] == '/' || !p[2])))
            return false;
    return true;
}

static bool with_suffix(const char *path)
{
    size_t n = strlen(path);
    return (n > 5 && strcmp(path + n - 5, ".yaml") == 0) || (n > 4 && strcmp(path + n - 4, ".yml") == 0);
}

/* The file that `path` means: in the folder of the file that imports it or in one above. NULL: none. */
static const char *find_file(struct loader *l, const char *path, const char *from)
{
    static const char *const suffixes[] = {"", ".yml", ".yaml"};
    const char *slash = strrchr(from, '/');
    size_t n = slash ? (size_t)(slash - from) + 1 : 0;
    for (uint32_t up = 0; up < FOLDERS_ABOVE_MAX; up++) {
        for (int k = with_suffix(path) ? 0 : 1; k < (with_suffix(path) ? 1 : 3); k++) {
            const char *file = arena_printf(l->arena, "%.*s%s%s", (int)n, from, path, suffixes[k]);
            if (file && access(file, F_OK) == 0) return file;
        }
        if (n < 2) break;
        for (n--; n > 0 && from[n - 1] != '/';) n--;
    }
    return NULL;
}

static struct unit *unit_known(struct loader *l, const char *key)
{
    for (uint32_t i = 0; i < l->n_units; i++)
        if (strcmp(l->units[i].key, key) == 0) return &l->units[i];
    return NULL;
}

static bool read_unit(struct loader *l, struct unit *u, const char *path, const json_t *standard, const char *at)
{
    struct scope s = {.label = path, .path = standard ? NULL : path};
    if (standard) {
        s.doc = l->standard;
        return (u->value = resolve(l, &s, standard, path, true)) != NULL;
    }
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(yaml) struct yaml *doc = NULL;
    if (!file_load(AT_FDCWD, path, RECIPE_BYTES_MAX, &text, l->err) ||
        !yaml_parse_documents(buffer_view(&text), path, &doc, l->err))
        return error_wrap(l->err, "%s", at);
    s.doc = doc;
    return resolve_file(l, &s, &u->value);
}

static bool load_unit(struct loader *l, const char *path, const struct scope *from, const char *at, const json_t **out)
{
    if (!path_is_tame(path))
        return error_set(l->err, ERR_UNSUPPORTED,
                         "%s: import '%.256s': expected a path below the recipe's folder or one above it, without '..'",
                         at, path);
    const char *file = from->path ? find_file(l, path, from->path) : NULL;
    size_t n = strlen(path) - (with_suffix(path) ? strlen(strrchr(path, '.')) : 0);
    char *name = arena_copy(l->arena, path, n);
    if (!name) return error_memory(l->err, n);
    const json_t *standard = file ? NULL : json_object_get(json_array_get(yaml_root(l->standard), 0), name);
    const char *key = file ? file : name;
    if (!file && !standard)
        return error_set(l->err, ERR_FORMAT,
                         "%s: import '%.256s' is neither a file beside the recipe or in a folder above it nor a "
                         "standard unit",
                         at, path);
    struct unit *u = unit_known(l, key);
    if (u && !u->value) return error_set(l->err, ERR_FORMAT, "%s: '%.256s' imports itself", at, key);
    if (!u) {
        if (l->n_units == IMPORT_FILES_MAX || l->depth == IMPORT_DEPTH_MAX)
            return error_set(l->err, ERR_FORMAT, "%s: imports are more than %u files or nested deeper than %u", at,
                             IMPORT_FILES_MAX, IMPORT_DEPTH_MAX);
        u = &l->units[l->n_units++];
        u->key = key;
        l->depth++;
        if (!read_unit(l, u, key, standard, at)) return false;
        l->depth--;
    }
    *out = u->value;
    return true;
}

static bool open_standard(struct loader *l)
{
    for (const struct embedded_file *f = embedded_files; f->path; f++)
        if (strcmp(f->path, UNITS_PATH) == 0)
            return yaml_parse_documents(bytes_of(f->data, f->size), f->path, &l->standard, l->err);
    return error_set(l->err, ERR_INTERNAL, "%s is not built in", UNITS_PATH);
}

bool modelopt_resolve(const struct yaml *docs, const char *file, json_t **out, struct error *err)
{
    struct error local = ERROR_INIT;
    struct loader *l = calloc(1, sizeof *l);
    *out = NULL;
    if (l) l->arena = arena_new();
    if (!l || !l->arena) {
        free(l);
        return error_memory(err, sizeof *l);
    }
    l->err = &local;
    struct scope s = {.label = file, .path = file, .doc = docs};
    l->units[l->n_units++].key = arena_text(l->arena, file); /* a file that imports this one closes a circle */
    bool ok = l->units[0].key ? open_standard(l) && resolve_file(l, &s, out) : error_memory(&local, 0);
    for (uint32_t i = 0; i < l->n_units; i++) json_decref(l->units[i].value);
    yaml_close(l->standard);
    arena_free(l->arena);
    free(l);
    if (!ok) {
        json_decref(*out);
        *out = NULL;
        if (err) *err = local;
    }
    return ok;
}

const char *modelopt_at(const json_t *node, const char *otherwise)
{
    const char *at = json_string_value(json_object_get(node, "$at"));
    return at ? at : otherwise;
}
