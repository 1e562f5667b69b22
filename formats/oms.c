/* The statement: writing and reading. Folders are in oms_scan.c, signing and verifying in oms_sign.c. */
#include "formats/oms.h"

#include "core/file.h"

void oms_list_free(struct oms_list *l)
{
    for (uint32_t i = 0; i < l->n_files; i++) free(l->files[i].name);
    for (uint32_t i = 0; i < l->n_ignored; i++) free(l->ignored[i]);
    free(l->files);
    free(l->ignored);
    *l = (struct oms_list){0};
}

static bool root_of(const struct oms_list *l, struct digest *out, struct error *err)
{
    struct sha256 *h;
    if (!sha256_open(&h, err)) return false;
    for (uint32_t i = 0; i < l->n_files; i++) sha256_add(h, l->files[i].digest.bytes, DIGEST_BYTES);
    return sha256_close(h, out, err);
}

static json_t *resources_json(const struct oms_list *l)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < l->n_files; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&l->files[i].digest, hex);
        json_t *j = json_pack("{s:s,s:s,s:s}", "name", l->files[i].name, "algorithm", "sha256", "digest", hex);
        if (json_array_append_new(list, j) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *ignored_json(const struct oms_list *l)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < l->n_ignored; i++)
        if (json_array_append_new(list, json_string(l->ignored[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

bool oms_statement(const struct oms_list *list, const char *name, char **out, size_t *out_size, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&list->root, hex);
    CLEANUP(json) json_t *resources = resources_json(list);
    CLEANUP(json) json_t *ignored = ignored_json(list);
    if (!resources || !ignored) return error_memory(err, 0);
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:[{s:s,s:{s:s}}],s:s,s:{s:O,s:{s:s,s:s,s:b,s:O}}}", "_type", ENVELOPE_STATEMENT_TYPE,
                          "subject", "name", name, "digest", "sha256", hex, "predicateType", OMS_PREDICATE_TYPE,
                          "predicate", "resources", resources, "serialization", "method", "files", "hash_type",
                          "sha256", "allow_symlinks", 0, "ignore_paths", ignored);
    return j ? json_canonical(j, out, out_size, err) : error_memory(err, 0);
}

/* ---- reading --------------------------------------------------------------------------------------------------------
 */

static bool read_resource(const json_t *j, const char *what, struct oms_file *out, struct error *err)
{
    static const char *const keys[] = {"name", "algorithm", "digest", NULL};
    const char *name, *algorithm, *digest;
    if (!json_known_keys(j, what, keys, err) || !json_get_string(j, "name", what, &name, err) ||
        !json_get_string(j, "algorithm", what, &algorithm, err) || !json_get_string(j, "digest", what, &digest, err))
        return false;
    if (!path_is_safe(name)) return error_set(err, ERR_FORMAT, "%s: '%.256s' is not a plain relative path", what, name);
    if (strcmp(algorithm, "sha256") != 0)
        return error_set(err, ERR_UNSUPPORTED, "%s: file '%.256s': hashed with '%.64s'; only sha256 is checked", what,
                         name, algorithm);
    if (!digest_parse(digest, &out->digest))
        return error_set(err, ERR_FORMAT, "%s: file '%.256s': \"%.80s\" is not 64 lower-case hex digits", what, name,
                         digest);
    out->name = strdup(name);
    return out->name ? true : error_memory(err, strlen(name));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool check_names(const struct oms_list *l, const char *what, struct error *err)
{
    CLEANUP(free) const char **names = calloc(l->n_files + 1u, sizeof *names);
    if (!names) return error_memory(err, l->n_files * sizeof *names);
    for (uint32_t i = 0; i < l->n_files; i++) names[i] = l->files[i].name;
    qsort(names, l->n_files, sizeof *names, by_name);
    for (uint32_t i = 1; i < l->n_files; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return error_set(err, ERR_FORMAT, "%s: file '%.256s' is there twice", what, names[i]);
    return true;
}

static bool read_resources(const json_t *predicate, const char *what, struct oms_list *out, struct error *err)
{
    json_t *list;
    if (!json_get_array(predicate, "resources", what, &list, err)) return false;
    size_t n = json_array_size(list);
    if (n == 0 || n > OMS_FILES_MAX)
        return error_set(err, ERR_FORMAT, "%s: expected 1 to %u files, found %zu", what, OMS_FILES_MAX, n);
    out->files = calloc(n, sizeof *out->files);
    if (!out->files) return error_memory(err, n * sizeof *out->files);
    for (size_t i = 0; i < n; i++, out->n_files++)
        if (!read_resource(json_array_get(list, i), what, &out->files[i], err)) return false;
    return check_names(out, what, err);
}

/* How the files were hashed; another way gives other digests, and is refused rather than followed. */
static bool read_serialization(const json_t *predicate, const char *what, struct oms_list *out, struct error *err)
{
    static const char *const keys[] = {"method", "hash_type", "allow_symlinks", "ignore_paths", NULL};
    json_t *s, *list = NULL;
    const char *method, *hash;
    bool links = false;
    if (!json_get_object(predicate, "serialization", what, &s, err) || !json_known_keys(s, what, keys, err) ||
        !json_get_string(s, "method", what, &method, err) || !json_get_string(s, "hash_type", what, &hash, err) ||
        !json_opt_bool(s, "allow_symlinks", what, &links, err) ||
        (json_has(s, "ignore_paths") && !json_get_array(s, "ignore_paths", what, &list, err)))
        return false;
    if (strcmp(method, "files") != 0 || strcmp(hash, "sha256") != 0)
        return error_set(err, ERR_UNSUPPORTED, "%s: hashed by '%.64s' with '%.64s'; only files with sha256 are checked",
                         what, method, hash);
    size_t n = json_array_size(list);
    if (n > OMS_IGNORED_MAX)
        return error_set(err, ERR_FORMAT, "%s: %zu ignored paths, at most %u are read", what, n, OMS_IGNORED_MAX);
    out->ignored = calloc(n + 1, sizeof *out->ignored);
    if (!out->ignored) return error_memory(err, n * sizeof *out->ignored);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name || !path_is_safe(name))
            return error_set(err, ERR_FORMAT, "%s: ignored path %zu is not a plain relative path", what, i + 1);
        if (!(out->ignored[out->n_ignored] = strdup(name))) return error_memory(err, strlen(name));
        out->n_ignored++;
    }
    return true;
}

bool oms_read(const struct envelope *e, const char *what, struct oms_list *out, struct error *err)
{
    json_t *predicate;
    struct digest root;
    *out = (struct oms_list){0};
    if (strcmp(e->predicate_type, OMS_PREDICATE_TYPE) != 0)
        return error_set(err, ERR_FORMAT,
                         "%s: expected a statement of type \"" OMS_PREDICATE_TYPE "\", found \"%.128s\"", what,
                         e->predicate_type);
    bool ok = json_get_object(e->statement, "predicate", what, &predicate, err) &&
              read_resources(predicate, what, out, err) && read_serialization(predicate, what, out, err) &&
              root_of(out, &root, err);
    if (ok && !digest_equal(&root, &e->subject))
        ok = error_set(err, ERR_FORMAT, "%s: its subject is not the digest of its files", what);
    out->root = e->subject;
    if (!ok) oms_list_free(out);
    return ok;
}
