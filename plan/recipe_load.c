/* Where recipes come from: files, and those that are built in. */
#include "core/embed.h"
#include "core/file.h"
#include "plan/recipe_foreign.h"
#include "plan/recipe_words.h"

#include <fcntl.h>
#include <sys/stat.h>

/* By what stands at the top: a recipe of ours, of ModelOpt's or of llm-compressor's. */
bool recipe_from_text(struct recipe **out, struct bytes text, const char *file, struct error *err)
{
    CLEANUP(yaml) struct yaml *docs = NULL;
    CLEANUP(yaml) struct yaml *doc = NULL;
    CLEANUP(json) json_t *translated = NULL;
    if (!yaml_parse_documents(text, file, &docs, err)) return false;
    const json_t *first = json_array_get(yaml_root(docs), 0), *second = json_array_get(yaml_root(docs), 1);
    if (modelopt_is_recipe(first) || modelopt_is_recipe(second)) {
        if (!modelopt_recipe(docs, NULL, file, &translated, err)) return false;
    } else if (llmcompressor_is_recipe(first)) {
        if (!llmcompressor_recipe(docs, file, &translated, err)) return false;
    }
    if (translated) return recipe_make(out, translated, NULL, file, err);
    return yaml_parse(text, file, &doc, err) && recipe_make(out, yaml_root(doc), doc, file, err);
}

static bool load_documents(const char *path, struct yaml **docs, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    return file_load(AT_FDCWD, path, RECIPE_BYTES_MAX, &text, err) &&
           yaml_parse_documents(buffer_view(&text), path, docs, err);
}

/* ModelOpt's other form: a folder with metadata.yaml and quantize.yaml (or .yml). */
static bool recipe_from_folder(struct recipe **out, const char *folder, struct error *err)
{
    static const char *const names[2][2] = {{"metadata.yaml", "metadata.yml"}, {"quantize.yaml", "quantize.yml"}};
    CLEANUP(yaml) struct yaml *metadata = NULL;
    CLEANUP(yaml) struct yaml *body = NULL;
    CLEANUP(json) json_t *translated = NULL;
    CLEANUP(free) char *path = malloc(strlen(folder) + 32);
    size_t n = strlen(folder);
    if (!path) return error_memory(err, n);
    while (n > 1 && folder[n - 1] == '/') n--;
    for (int i = 0; i < 2; i++) {
        snprintf(path, n + 32, "%.*s/%s", (int)n, folder, names[i][0]);
        if (access(path, F_OK) != 0) snprintf(path, n + 32, "%.*s/%s", (int)n, folder, names[i][1]);
        if (!load_documents(path, i ? &body : &metadata, err)) return false;
    }
    const json_t *root = json_array_get(yaml_root(metadata), 0);
    if (!json_is_object(root)) return error_set(err, ERR_FORMAT, "%.256s: metadata: expected a mapping", folder);
    return modelopt_recipe(body, root, path, &translated, err) && recipe_make(out, translated, NULL, folder, err);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool goes_by(const json_t *json, const char *name)
{
    const char *own = json_string_value(json_object_get(json, "name"));
    if (own && strcmp(own, name) == 0) return true;
    size_t i;
    json_t *alias;
    json_array_foreach (json_object_get(json, "aliases"), i, alias)
        if (strcmp(json_string_value(alias), name) == 0) return true;
    return false;
}

/* Not those of recipes/units. */
static bool is_recipe_path(const char *path)
{
    return strncmp(path, "recipes/", 8) == 0 && !strchr(path + 8, '/');
}

/* *found false when no built-in recipe has that name. */
static bool load_builtin(struct recipe **out, const char *name, bool *found, struct error *err)
{
    *found = false;
    for (const struct embedded_file *f = embedded_files; f->path; f++) {
        if (!is_recipe_path(f->path)) continue;
        CLEANUP(yaml) struct yaml *doc = NULL;
        if (!yaml_parse(bytes_of(f->data, f->size), f->path, &doc, err)) return false;
        if (!goes_by(yaml_root(doc), name)) continue;
        *found = true;
        return recipe_make(out, yaml_root(doc), doc, name, err);
    }
    return true;
}

static bool looks_like_path(const char *s)
{
    const char *dot = strrchr(s, '.');
    return strchr(s, '/') ||
           (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0 || strcmp(dot, ".json") == 0));
}

bool recipe_load(struct recipe **out, const char *path_or_name, struct error *err)
{
    bool found = false;
    *out = NULL;
    if (!looks_like_path(path_or_name)) {
        if (!load_builtin(out, path_or_name, &found, err)) return false;
        if (found) return true;
        if (access(path_or_name, F_OK) != 0 && strcmp(path_or_name, "auto") == 0)
            return error_set(err, ERR_USAGE,
                             "recipe 'auto' is made for one checkpoint and one budget: `ingot search DIR --data FILE "
                             "--bits N -o auto.yaml`, then --recipe auto.yaml");
        if (access(path_or_name, F_OK) != 0)
            return error_set(err, ERR_USAGE, "recipe '%.256s' is neither built in (`ingot list recipes`) nor a file",
                             path_or_name);
    }
    if (is_folder(path_or_name)) return recipe_from_folder(out, path_or_name, err);
    CLEANUP_BUFFER struct buffer text = {0};
    return file_load(AT_FDCWD, path_or_name, RECIPE_BYTES_MAX, &text, err) &&
           recipe_from_text(out, buffer_view(&text), path_or_name, err);
}

bool recipe_list(struct recipe_listing **out, uint32_t *n, struct arena *arena, struct error *err)
{
    size_t count = 0;
    for (const struct embedded_file *f = embedded_files; f->path; f++) count += is_recipe_path(f->path);
    *n = 0;
    *out = arena_alloc(arena, count + 1, sizeof **out);
    if (!*out) return error_memory(err, 0);
    for (const struct embedded_file *f = embedded_files; f->path; f++) {
        if (!is_recipe_path(f->path)) continue;
        CLEANUP(yaml) struct yaml *doc = NULL;
        if (!yaml_parse(bytes_of(f->data, f->size), f->path, &doc, err)) return false;
        const json_t *j = yaml_root(doc);
        const char *name = json_string_value(json_object_get(j, "name")),
                   *summary = json_string_value(json_object_get(j, "summary"));
        char *aliases = arena_text(arena, "");
        size_t i;
        json_t *a;
        json_array_foreach (json_object_get(j, "aliases"), i, a)
            if (aliases) aliases = arena_printf(arena, "%s%s%s", aliases, i ? ", " : "", json_string_value(a));
        struct recipe_listing *row = &(*out)[(*n)++];
        *row = (struct recipe_listing){arena_text(arena, name ? name : "?"), aliases,
                                       arena_text(arena, summary ? summary : "")};
        if (!row->name || !row->aliases || !row->summary) return error_memory(err, 0);
    }
    return true;
}
