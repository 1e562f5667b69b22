#include "cli/release.h"

#include "core/file.h"
#include "core/yaml.h"

#include <fcntl.h>
#include <sys/stat.h>

#define RELEASE_BYTES_MAX ((size_t)1 << 20)

/* A path of the file, taken from the file's folder. */
static bool resolve(const char *folder, const char *text, char **out, struct error *err)
{
    if (*text != '/') return path_join(out, folder, text, err);
    *out = strdup(text);
    return *out ? true : error_memory(err, strlen(text));
}

static bool opt_path(const json_t *j, const char *key, const char *what, const char *folder, char **out,
                     struct error *err)
{
    const char *text = NULL;
    return json_opt_string(j, key, what, &text, err) && (!text || resolve(folder, text, out, err));
}

/* A recipe is a path when there is such a file beside the release file; otherwise a built-in name. */
static bool read_recipe(struct release *r, const char *what, const char *folder, struct error *err)
{
    const char *text = NULL;
    if (!json_get_string(r->json, "recipe", what, &text, err) || !resolve(folder, text, &r->recipe, err)) return false;
    if (access(r->recipe, F_OK) == 0) return true;
    free(r->recipe);
    r->recipe = strdup(text);
    return r->recipe ? true : error_memory(err, strlen(text));
}

static bool read_calibration(struct release *r, const char *what, const char *folder, struct error *err)
{
    static const char *const keys[] = {"data", "max_tokens", NULL};
    json_t *c;
    r->max_tokens = 512;
    if (!json_has(r->json, "calibration")) return true;
    return json_get_object(r->json, "calibration", what, &c, err) &&
           json_known_keys(c, "release: calibration", keys, err) &&
           opt_path(c, "data", "release: calibration", folder, &r->data, err) &&
           json_opt_u64(c, "max_tokens", "release: calibration", 1, 1u << 24, &r->max_tokens, err);
}

static bool read_profile(struct release_profile *p, const json_t *j, struct error *err)
{
    static const char *const keys[] = {"engine", "gpu", "context", "sequences", "draft", NULL};
    const char *what = "release: profiles";
    return json_known_keys(j, what, keys, err) && json_get_string(j, "engine", what, &p->engine, err) &&
           json_get_string(j, "gpu", what, &p->gpu, err) &&
           json_opt_u64(j, "context", what, 1, UINT32_MAX, &p->context, err) &&
           json_opt_u64(j, "sequences", what, 1, 1000000, &p->sequences, err) &&
           json_opt_u64(j, "draft", what, 0, 64, &p->draft, err);
}

static bool read_profiles(struct release *r, const char *what, struct error *err)
{
    json_t *list, *row;
    size_t i;
    if (!json_has(r->json, "profiles")) return true;
    if (!json_get_array(r->json, "profiles", what, &list, err)) return false;
    if (json_array_size(list) > RELEASE_PROFILES_MAX)
        return error_set(err, ERR_FORMAT, "%s: more than %u profiles", what, RELEASE_PROFILES_MAX);
    json_array_foreach (list, i, row)
        if (!read_profile(&r->profiles[r->n_profiles++], row, err)) return error_wrap(err, "%s", what);
    return true;
}

static bool read_keys(struct release *r, const char *what, const char *folder, struct error *err)
{
    static const char *const keys[] = {"private", "public", "builder", NULL};
    json_t *k;
    if (!json_has(r->json, "key")) return true;
    if (!json_get_object(r->json, "key", what, &k, err) || !json_known_keys(k, "release: key", keys, err) ||
        !opt_path(k, "private", "release: key", folder, &r->private_key, err) ||
        !opt_path(k, "public", "release: key", folder, &r->public_key, err) ||
        !opt_path(k, "builder", "release: key", folder, &r->builder_key, err))
        return false;
    if (r->private_key && r->public_key) return true;
    return error_set(err, ERR_FORMAT, "%s: key needs both 'private' and 'public'", what);
}

static bool read_release(struct release *r, const char *what, const char *folder, struct error *err)
{
    static const char *const keys[] = {"name",   "source", "recipe",     "calibration",      "profiles",   "tag", "key",
                                       "policy", "prompt", "source_key", "source_signature", "builder_id", NULL};
    const char *source = NULL;
    r->tag = "latest";
    r->prompt = "Hello";
    if (!json_known_keys(r->json, what, keys, err) || !json_get_string(r->json, "name", what, &r->name, err) ||
        !json_get_string(r->json, "source", what, &source, err) || !resolve(folder, source, &r->source, err) ||
        !json_opt_string(r->json, "tag", what, &r->tag, err) ||
        !json_opt_string(r->json, "prompt", what, &r->prompt, err) ||
        !json_opt_string(r->json, "builder_id", what, &r->builder_id, err) ||
        !opt_path(r->json, "source_key", what, folder, &r->source_key, err) ||
        !opt_path(r->json, "source_signature", what, folder, &r->source_signature, err))
        return false;
    return read_recipe(r, what, folder, err) && read_calibration(r, what, folder, err) && read_profiles(r, what, err) &&
           read_keys(r, what, folder, err) && opt_path(r->json, "policy", what, folder, &r->policy, err);
}

static bool load(struct release *r, const char *path, struct error *err)
{
    CLEANUP(free) char *folder = NULL;
    CLEANUP(free) char *name = NULL;
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(yaml) struct yaml *doc = NULL;
    if (!path_split(path, &folder, &name, err) || !file_load(AT_FDCWD, path, RELEASE_BYTES_MAX, &text, err) ||
        !yaml_parse(buffer_view(&text), path, &doc, err))
        return false;
    r->json = json_deep_copy(yaml_root(doc));
    return r->json ? read_release(r, path, folder, err) : error_memory(err, text.size);
}

bool release_load(struct release *out, const char *path, struct error *err)
{
    struct stat st;
    CLEANUP(free) char *inside = NULL;
    *out = (struct release){0};
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) && !path_join(&inside, path, "release.yaml", err)) return false;
    if (load(out, inside ? inside : path, err)) return true;
    release_close(out);
    return false;
}

void release_close(struct release *r)
{
    free(r->source);
    free(r->recipe);
    free(r->data);
    free(r->policy);
    free(r->source_key);
    free(r->builder_key);
    free(r->source_signature);
    free(r->private_key);
    free(r->public_key);
    json_decref(r->json);
    *r = (struct release){0};
}
