/* From the tables' YAML to rows; declared in pack/profile_rows.h. */
#include "pack/profile_rows.h"

#include "core/yaml.h"

#include <math.h>

struct reader { struct profile_rows *rows; const struct yaml *doc; const char *file; struct error *err; };

#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

static bool fail(struct reader *r, const json_t *row, const char *fmt, const char *detail)
{
    char why[256];
    snprintf(why, sizeof why, "%s '%.128s'", fmt, detail);
    return error_set(r->err, ERR_FORMAT, "%s: line %u: %s", r->file, yaml_line(r->doc, row), why);
}

static bool text(struct reader *r, const json_t *row, const char *key, bool required, const char **out)
{
    const char *s = NULL;
    bool ok =
        required ? json_get_string(row, key, r->file, &s, r->err) : json_opt_string(row, key, r->file, &s, r->err);
    if (!ok) return error_wrap(r->err, "line %u", yaml_line(r->doc, row));
    *out = s ? arena_text(r->rows->arena, s) : NULL;
    return !s || *out ? true : error_memory(r->err, 0);
}

static bool flag(struct reader *r, const json_t *row, const char *key, bool *out)
{
    return json_opt_bool(row, key, r->file, out, r->err);
}

/* A list of texts; absent is an empty list, or NULL when `null` says so. */
static bool list(struct reader *r, const json_t *row, const char *key, bool null, const char *const **out)
{
    const json_t *v = json_object_get(row, key);
    *out = NULL;
    if (!v && null) return true;
    if (v && !json_is_array(v)) return fail(r, row, "expected a list for key", key);
    const char **words = arena_alloc(r->rows->arena, json_array_size(v) + 1, sizeof *words);
    if (!words) return error_memory(r->err, 0);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *s = json_string_value(json_array_get(v, i));
        if (!s) return fail(r, row, "expected a list of words for key", key);
        if (!(words[i] = arena_text(r->rows->arena, s))) return error_memory(r->err, 0);
    }
    *out = words;
    return true;
}

/* "12.1" -> 121; written as text, because 8.10 and 8.1 are the same number. */
static bool capability(struct reader *r, const json_t *row, const char *key, uint32_t *out)
{
    const char *s = NULL;
    if (!json_opt_string(row, key, r->file, &s, r->err)) return false;
    if (!s) return true;
    unsigned major, minor;
    char rest;
    if (sscanf(s, "%2u.%1u%c", &major, &minor, &rest) != 2 || major == 0)
        return fail(r, row, "expected a capability like \"9.0\", found", s);
    *out = major * 10 + minor;
    return true;
}

static bool number(struct reader *r, const json_t *row, const char *key, double max, double *out)
{
    if (!json_opt_number(row, key, r->file, out, r->err)) return false;
    return *out >= 0 && *out <= max ? true : fail(r, row, "out of range: key", key);
}

static bool row_digest(const json_t *row, struct digest *out, struct error *err)
{
    CLEANUP(free) char *s = NULL;
    size_t n;
    return json_canonical(row, &s, &n, err) && sha256_of(bytes_of(s, n), out, err);
}

/* ---- GPUs ---- */

/* Each value that is there has a word of the grades map. */
static bool check_grades(struct reader *r, const json_t *row, const json_t *grades)
{
    static const struct { const char *key, *grade; } graded[] = {{"capability", "capability"},
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
        if (!word) return fail(r, row, "no grade for key", graded[i].key);
        if (!json_has(grades, word)) return fail(r, row, "not in the grades map:", word);
    }
    return true;
}

static bool read_gpu(struct reader *r, const json_t *row, const json_t *grades, struct gpu_row *g)
{
    double memory = 0, bandwidth = 0, utilisation = 1;
    if (!json_known_keys(row, r->file,
                         KEYS("id", "aliases", "name", "capability", "memory_gib", "bandwidth_gb_s", "fp8", "nvfp4",
                              "unified", "arch", "utilisation_max", "grade", "note"),
                         r->err) ||
        !check_grades(r, row, grades) || !text(r, row, "id", true, &g->id) || !text(r, row, "name", true, &g->name) ||
        !text(r, row, "note", false, &g->note) || !text(r, row, "arch", false, &g->arch) ||
        !list(r, row, "aliases", false, &g->aliases) || !capability(r, row, "capability", &g->capability) ||
        !number(r, row, "memory_gib", 65536, &memory) || !number(r, row, "bandwidth_gb_s", 1e6, &bandwidth) ||
        !number(r, row, "utilisation_max", 1, &utilisation) || !flag(r, row, "fp8", &g->fp8) ||
        !flag(r, row, "nvfp4", &g->nvfp4) || !flag(r, row, "unified", &g->unified))
        return false;
    const char *grade = json_string_value(json_object_get(json_object_get(row, "grade"), "memory_gib"));
    if (grade && !(g->memory_grade = arena_text(r->rows->arena, grade))) return error_memory(r->err, 0);
    if (gpu_row_find(r->rows, g->id)) return fail(r, row, "there twice:", g->id);
    for (const char *const *a = g->aliases; *a; a++)
        if (gpu_row_find(r->rows, *a)) return fail(r, row, "there twice:", *a);
    g->memory_bytes = (uint64_t)(memory * 1073741824.0);
    g->bandwidth_gb_s = (uint32_t)bandwidth;
    g->utilisation_max_permille = (uint32_t)lround(utilisation * 1000);
    return row_digest(row, &g->digest, r->err);
}

static bool read_gpus(struct reader *r, const json_t *root)
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

/* ---- engines ---- */

/* {is: ..., from: "..."}: the object, so that the readers above find the value under "is". */
static const json_t *fact(struct reader *r, const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    if (!v) {
        fail(r, row, "no fact", key);
        return NULL;
    }
    const char *from = json_string_value(json_object_get(v, "from"));
    if (json_has(v, "is") && from && *from) return v;
    fail(r, row, "expected {is: ..., from: ...} for key", key);
    return NULL;
}

static bool fact_list(struct reader *r, const json_t *row, const char *key, const char *const **out)
{
    const json_t *f = fact(r, row, key);
    return f && list(r, f, "is", false, out);
}

static bool fact_text(struct reader *r, const json_t *row, const char *key, const char **out)
{
    const json_t *f = fact(r, row, key);
    return f && text(r, f, "is", true, out);
}

static bool fact_flag(struct reader *r, const json_t *row, const char *key, bool *out)
{
    const json_t *f = fact(r, row, key);
    return f && json_get_bool(f, "is", r->file, out, r->err);
}

static bool fact_count(struct reader *r, const json_t *row, const char *key, uint32_t *out)
{
    const json_t *f = fact(r, row, key);
    uint64_t v = 0;
    if (!f || !json_get_u64(f, "is", r->file, 1, 65536, &v, r->err)) return false;
    *out = (uint32_t)v;
    return true;
}

static bool pairs(struct reader *r, const json_t *row, const char *key, struct setting **out, uint32_t *n)
{
    json_t *v = json_object_get(row, key);
    *out = arena_alloc(r->rows->arena, json_object_size(v) + 1, sizeof **out);
    if (!*out) return error_memory(r->err, 0);
    const char *name;
    json_t *value;
    json_object_foreach(v, name, value)
    {
        if (!json_is_string(value)) return fail(r, row, "expected a text for", name);
        struct setting *s = &(*out)[(*n)++];
        *s = (struct setting){arena_text(r->rows->arena, name), arena_text(r->rows->arena, json_string_value(value))};
        if (!s->key || !s->value) return error_memory(r->err, 0);
    }
    return true;
}

static bool has_source(struct reader *r, const json_t *row)
{
    const char *from = json_string_value(json_object_get(row, "from"));
    return from && *from ? true : fail(r, row, "a row without", "from");
}

static bool read_compute(struct reader *r, const json_t *row, struct engine_row *e)
{
    struct compute_row *c = &e->compute[e->n_compute++];
    return json_known_keys(row, r->file, KEYS("algo", "gpus", "capability", "path", "by", "from"), r->err) &&
           has_source(r, row) && text(r, row, "algo", true, &c->algo) && list(r, row, "gpus", true, &c->gpus) &&
           capability(r, row, "capability", &c->capability) && text(r, row, "path", true, &c->path) &&
           text(r, row, "by", true, &c->by);
}

static bool read_setting(struct reader *r, const json_t *row, struct engine_row *e)
{
    struct setting_row *s = &e->settings[e->n_settings++];
    const json_t *when = json_object_get(row, "when");
    if (!json_known_keys(row, r->file, KEYS("when", "flags", "env", "from"), r->err) || !has_source(r, row))
        return false;
    if (!json_is_object(when)) return fail(r, row, "a row without", "when");
    if (!json_known_keys(when, r->file, KEYS("experts", "linears", "gpus"), r->err)) return false;
    if (!text(r, when, "experts", false, &s->experts) || !text(r, when, "linears", false, &s->linears) ||
        !list(r, when, "gpus", true, &s->gpus) || !pairs(r, row, "flags", &s->flags, &s->n_flags) ||
        !pairs(r, row, "env", &s->env, &s->n_env))
        return false;
    for (uint32_t i = 0; i < s->n_flags; i++)
        if (!row_lists(e->flags, s->flags[i].key)) return fail(r, row, "not a flag of this version:", s->flags[i].key);
    return true;
}

static bool read_parser(struct reader *r, const json_t *row, struct engine_row *e)
{
    struct parser_row *p = &e->parsers[e->n_parsers++];
    if (!json_known_keys(row, r->file, KEYS("reasoning", "tool", "models", "template_has", "template_lacks", "from"),
                         r->err) ||
        !has_source(r, row) || !text(r, row, "reasoning", false, &p->reasoning) ||
        !text(r, row, "tool", false, &p->tool) || !list(r, row, "models", true, &p->models) ||
        !list(r, row, "template_has", false, &p->has) || !list(r, row, "template_lacks", false, &p->lacks))
        return false;
    if (!p->reasoning == !p->tool) return fail(r, row, "expected one of 'reasoning' and", "tool");
    if (!*p->has)
        return fail(r, row, "a parser that any template would justify:", p->reasoning ? p->reasoning : p->tool);
    const char *name = p->reasoning ? p->reasoning : p->tool;
    return row_lists(p->reasoning ? e->reasoning_parsers : e->tool_parsers, name)
               ? true
               : fail(r, row, "not a parser of this version:", name);
}

static bool read_each(struct reader *r, const json_t *row, const char *key, size_t size, void *out,
                      struct engine_row *e, bool (*read)(struct reader *, const json_t *, struct engine_row *))
{
    const json_t *v = json_object_get(row, key);
    void *rows = arena_alloc(r->rows->arena, json_array_size(v) + 1, size);
    if (!rows) return error_memory(r->err, 0);
    memcpy(out, &rows, sizeof rows);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!read(r, json_array_get(v, i), e)) return false;
    return true;
}

static bool read_facts(struct reader *r, const json_t *row, struct engine_row *e)
{
    double utilisation = 0;
    const json_t *f = fact(r, row, "utilisation");
    if (!f || !number(r, f, "is", 1, &utilisation) || !(f = fact(r, row, "mixed_capability")) ||
        !capability(r, f, "is", &e->mixed_capability))
        return false;
    e->utilisation_permille = (uint32_t)lround(utilisation * 1000);
    return fact_count(r, row, "kv_block_tokens", &e->kv_block_tokens) &&
           fact_count(r, row, "mtp_layers_max", &e->mtp_layers_max) &&
           fact_list(r, row, "quant_algos", &e->quant_algos) && fact_list(r, row, "mixed_algos", &e->mixed_algos) &&
           fact_list(r, row, "kv_algos", &e->kv_algos) && fact_list(r, row, "kv_dtypes", &e->kv_dtypes) &&
           fact_list(r, row, "ssm_dtypes", &e->ssm_dtypes) && fact_list(r, row, "flags", &e->flags) &&
           fact_list(r, row, "reasoning_parsers", &e->reasoning_parsers) &&
           fact_list(r, row, "tool_parsers", &e->tool_parsers) && fact_list(r, row, "remote_code", &e->remote_code) &&
           fact_text(r, row, "ssm_fallback", &e->ssm_fallback) && fact_text(r, row, "context_env", &e->context_env) &&
           fact_flag(r, row, "quantized_tables", &e->quantized_tables) &&
           fact_flag(r, row, "ssm_rounding", &e->ssm_rounding) &&
           read_each(r, row, "compute", sizeof *e->compute, &e->compute, e, read_compute) &&
           read_each(r, row, "settings", sizeof *e->settings, &e->settings, e, read_setting) &&
           read_each(r, row, "parsers", sizeof *e->parsers, &e->parsers, e, read_parser);
}

static bool read_engine(struct reader *r, const json_t *row, struct engine_row *e)
{
    if (!json_known_keys(row, r->file,
                         KEYS("engine", "version", "writer", "read", "known", "utilisation", "kv_block_tokens",
                              "quant_algos", "mixed_algos", "mixed_capability", "kv_algos", "kv_dtypes",
                              "quantized_tables", "ssm_dtypes", "ssm_fallback", "ssm_rounding", "context_env",
                              "mtp_layers_max", "remote_code", "flags", "reasoning_parsers", "tool_parsers", "compute",
                              "settings", "parsers"),
                         r->err) ||
        !text(r, row, "engine", true, &e->name) || !text(r, row, "version", true, &e->version) ||
        !text(r, row, "writer", false, &e->writer) || !list(r, row, "known", false, &e->known) ||
        !row_digest(row, &e->digest, r->err))
        return false;
    if (engine_row_find(r->rows, e->name, e->version)) return fail(r, row, "there twice:", e->version);
    return !e->writer || read_facts(r, row, e);
}

static bool read_engines(struct reader *r, const json_t *root)
{
    json_t *rows;
    if (!json_known_keys(root, r->file, KEYS("engines"), r->err) ||
        !json_get_array(root, "engines", r->file, &rows, r->err))
        return false;
    size_t n = json_array_size(rows);
    r->rows->engines = arena_alloc(r->rows->arena, n + 1, sizeof *r->rows->engines);
    if (!r->rows->engines) return error_memory(r->err, 0);
    for (size_t i = 0; i < n; i++) {
        struct engine_row e = {0};
        if (!read_engine(r, json_array_get(rows, i), &e)) return false;
        r->rows->engines[r->rows->n_engines++] = e;
    }
    return true;
}

static bool read_file(struct profile_rows *rows, struct bytes data, const char *file,
                      bool (*read)(struct reader *, const json_t *), struct error *err)
{
    CLEANUP(yaml) struct yaml *doc = NULL;
    if (!yaml_parse(data, file, &doc, err)) return false;
    struct reader r = {rows, doc, file, err};
    return read(&r, yaml_root(doc));
}

bool profile_rows_read(struct profile_rows **out, struct bytes gpus, struct bytes engines, struct error *err)
{
    CLEANUP(profile_rows) struct profile_rows *rows = calloc(1, sizeof *rows);
    *out = NULL;
    if (!rows || !(rows->arena = arena_new())) return error_memory(err, sizeof *rows);
    struct error local = ERROR_INIT;
    bool ok = read_file(rows, gpus, "profiles/gpus.yaml", read_gpus, &local) &&
              read_file(rows, engines, "profiles/engines.yaml", read_engines, &local);
    if (!ok) {
        if (err) *err = local;
        return false;
    }
    *out = take_ptr(&rows);
    return true;
}
