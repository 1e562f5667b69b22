/* From the tables' YAML to rows; declared in pack/profile_rows.h. */
#include "pack/profile_rows_parts.h"

#include <math.h>

bool rows_fail(struct rows_reader *r, const json_t *row, const char *fmt, const char *detail)
{
    char why[256];
    snprintf(why, sizeof why, "%s '%.128s'", fmt, detail);
    return error_set(r->err, ERR_FORMAT, "%s: line %u: %s", r->file, yaml_line(r->doc, row), why);
}

bool rows_text(struct rows_reader *r, const json_t *row, const char *key, bool required, const char **out)
{
    const char *s = NULL;
    bool ok =
        required ? json_get_string(row, key, r->file, &s, r->err) : json_opt_string(row, key, r->file, &s, r->err);
    if (!ok) return error_wrap(r->err, "line %u", yaml_line(r->doc, row));
    *out = s ? arena_text(r->rows->arena, s) : NULL;
    return !s || *out ? true : error_memory(r->err, 0);
}

bool rows_flag(struct rows_reader *r, const json_t *row, const char *key, bool *out)
{
    return json_opt_bool(row, key, r->file, out, r->err);
}

bool rows_list(struct rows_reader *r, const json_t *row, const char *key, bool null, const char *const **out)
{
    const json_t *v = json_object_get(row, key);
    *out = NULL;
    if (!v && null) return true;
    if (v && !json_is_array(v)) return rows_fail(r, row, "expected a list for key", key);
    const char **words = arena_alloc(r->rows->arena, json_array_size(v) + 1, sizeof *words);
    if (!words) return error_memory(r->err, 0);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *s = json_string_value(json_array_get(v, i));
        if (!s) return rows_fail(r, row, "expected a list of words for key", key);
        if (!(words[i] = arena_text(r->rows->arena, s))) return error_memory(r->err, 0);
    }
    *out = words;
    return true;
}

bool rows_capability(struct rows_reader *r, const json_t *row, const char *key, uint32_t *out)
{
    const char *s = NULL;
    if (!json_opt_string(row, key, r->file, &s, r->err)) return false;
    if (!s) return true;
    unsigned major, minor;
    char rest;
    if (sscanf(s, "%2u.%1u%c", &major, &minor, &rest) != 2 || major == 0)
        return rows_fail(r, row, "expected a capability like \"9.0\", found", s);
    *out = major * 10 + minor;
    return true;
}

bool rows_number(struct rows_reader *r, const json_t *row, const char *key, double max, double *out)
{
    if (!json_opt_number(row, key, r->file, out, r->err)) return false;
    return *out >= 0 && *out <= max ? true : rows_fail(r, row, "out of range: key", key);
}

bool rows_digest(const json_t *row, struct digest *out, struct error *err)
{
    CLEANUP(free) char *s = NULL;
    size_t n;
    return json_canonical(row, &s, &n, err) && sha256_of(bytes_of(s, n), out, err);
}

/* ---- GPUs ---- */

/* Each value that is there has a word of the grades map. */
static bool check_grades(struct rows_reader *r, const json_t *row, const json_t *grades)
{
    static const struct {
        const char *key, *grade;
    } graded[] = {{"capability", "capability"},
                  {"memory_gib", "memory_gib"},
                  {"bandwidth_gb_s", "bandwidth_gb_s"},
                  {"fp8", "formats"},
                  {"nvfp4", "formats"},
                  {"arch", "formats"},
                  {"unified", "formats"},
                  {"utilisation_max", "utilisation_max"}};
    const json_t *own = json_object_get(row, "grade");
    for (size_t i = 0; i < sizeof graded / sizeof *graded; i++) {
        if (!json_has(row, graded[i].key)) continue;
        const char *word = json_string_value(json_object_get(own, graded[i].grade));
        if (!word) return rows_fail(r, row, "no grade for key", graded[i].key);
        if (!json_has(grades, word)) return rows_fail(r, row, "not in the grades map:", word);
    }
    return true;
}

static bool read_gpu(struct rows_reader *r, const json_t *row, const json_t *grades, struct gpu_row *g)
{
    double memory = 0, bandwidth = 0, utilisation = 1;
    if (!json_known_keys(row, r->file,
                         KEYS("id", "aliases", "name", "capability", "memory_gib", "bandwidth_gb_s", "fp8", "nvfp4",
                              "unified", "arch", "utilisation_max", "grade", "note"),
                         r->err) ||
        !check_grades(r, row, grades) || !rows_text(r, row, "id", true, &g->id) ||
        !rows_text(r, row, "name", true, &g->name) || !rows_text(r, row, "note", false, &g->note) ||
        !rows_text(r, row, "arch", false, &g->arch) || !rows_list(r, row, "aliases", false, &g->aliases) ||
        !rows_capability(r, row, "capability", &g->capability) || !rows_number(r, row, "memory_gib", 65536, &memory) ||
        !rows_number(r, row, "bandwidth_gb_s", 1e6, &bandwidth) ||
        !rows_number(r, row, "utilisation_max", 1, &utilisation) || !rows_flag(r, row, "fp8", &g->fp8) ||
        !rows_flag(r, row, "nvfp4", &g->nvfp4) || !rows_flag(r, row, "unified", &g->unified))
        return false;
    const char *grade = json_string_value(json_object_get(json_object_get(row, "grade"), "memory_gib"));
    if (grade && !(g->memory_grade = arena_text(r->rows->arena, grade))) return error_memory(r->err, 0);
    if (gpu_row_find(r->rows, g->id)) return rows_fail(r, row, "there twice:", g->id);
    for (const char *const *a = g->aliases; *a; a++)
        if (gpu_row_find(r->rows, *a)) return rows_fail(r, row, "there twice:", *a);
    g->memory_bytes = (uint64_t)(memory * 1073741824.0);
    g->bandwidth_gb_s = (uint32_t)bandwidth;
    g->utilisation_max_permille = (uint32_t)lround(utilisation * 1000);
    return rows_digest(row, &g->digest, r->err);
}

bool rows_read_gpus(struct rows_reader *r, const json_t *root)
{
    json_t *rows, *grades;
    if (!json_known_keys(root, r->file, KEYS("grades", "gpus"), r->err) ||
        !json_get_object(root, "grades", r->file, &grades, r->err) ||
        !json_get_array(root, "gpus", r->file, &rows, r->err))
        return false;
    size_t n = json_array_size(rows);
    r->rows->gpus = arena_alloc(r->rows->arena, n + 1, sizeof *r->rows->gpus);
    if (!r->rows->gpus) return error_memory(r->err, 0);
    for (size_t i = 0; i < n; i++) {
        struct gpu_row g = {0};
        if (!read_gpu(r, json_array_get(rows, i), grades, &g)) return false;
        r->rows->gpus[r->rows->n_gpus++] = g;
    }
    return true;
}

static bool read_file(struct profile_rows *rows, struct bytes data, const char *file,
                      bool (*read)(struct rows_reader *, const json_t *), struct error *err)
{
    CLEANUP(yaml) struct yaml *doc = NULL;
    if (!yaml_parse(data, file, &doc, err)) return false;
    struct rows_reader r = {rows, doc, file, err};
    return read(&r, yaml_root(doc));
}

bool profile_rows_read(struct profile_rows **out, struct bytes gpus, struct bytes engines, struct error *err)
{
    CLEANUP(profile_rows) struct profile_rows *rows = calloc(1, sizeof *rows);
    *out = NULL;
    if (!rows || !(rows->arena = arena_new())) return error_memory(err, sizeof *rows);
    struct error local = ERROR_INIT;
    bool ok = read_file(rows, gpus, "profiles/gpus.yaml", rows_read_gpus, &local) &&
              read_file(rows, engines, "profiles/engines.yaml", rows_read_engines, &local);
    if (!ok) {
        if (err) *err = local;
        return false;
    }
    *out = take_ptr(&rows);
    return true;
}
