/* The engines of the tables; declared in pack/profile_rows.h. */
#include "pack/profile_rows_parts.h"

#include <math.h>

/* {is: ..., from: "..."}: the object, so that the readers above find the value under "is". */
static const json_t *fact(struct rows_reader *r, const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    if (!v) {
        rows_fail(r, row, "no fact", key);
        return NULL;
    }
    const char *from = json_string_value(json_object_get(v, "from"));
    if (json_has(v, "is") && from && *from) return v;
    rows_fail(r, row, "expected {is: ..., from: ...} for key", key);
    return NULL;
}

static bool fact_list(struct rows_reader *r, const json_t *row, const char *key, const char *const **out)
{
    const json_t *f = fact(r, row, key);
    return f && rows_list(r, f, "is", false, out);
}

static bool fact_text(struct rows_reader *r, const json_t *row, const char *key, const char **out)
{
    const json_t *f = fact(r, row, key);
    return f && rows_text(r, f, "is", true, out);
}

static bool fact_flag(struct rows_reader *r, const json_t *row, const char *key, bool *out)
{
    const json_t *f = fact(r, row, key);
    return f && json_get_bool(f, "is", r->file, out, r->err);
}

static bool fact_count(struct rows_reader *r, const json_t *row, const char *key, uint32_t *out)
{
    const json_t *f = fact(r, row, key);
    uint64_t v = 0;
    if (!f || !json_get_u64(f, "is", r->file, 1, 65536, &v, r->err)) return false;
    *out = (uint32_t)v;
    return true;
}

static bool pairs(struct rows_reader *r, const json_t *row, const char *key, struct setting **out, uint32_t *n)
{
    json_t *v = json_object_get(row, key);
    *out = arena_alloc(r->rows->arena, json_object_size(v) + 1, sizeof **out);
    if (!*out) return error_memory(r->err, 0);
    const char *name;
    json_t *value;
    json_object_foreach (v, name, value) {
        if (!json_is_string(value)) return rows_fail(r, row, "expected a text for", name);
        struct setting *s = &(*out)[(*n)++];
        *s = (struct setting){arena_text(r->rows->arena, name), arena_text(r->rows->arena, json_string_value(value))};
        if (!s->key || !s->value) return error_memory(r->err, 0);
    }
    return true;
}

static bool has_source(struct rows_reader *r, const json_t *row)
{
    const char *from = json_string_value(json_object_get(row, "from"));
    return from && *from ? true : rows_fail(r, row, "a row without", "from");
}

static bool read_compute(struct rows_reader *r, const json_t *row, struct engine_row *e)
{
    struct compute_row *c = &e->compute[e->n_compute++];
    return json_known_keys(row, r->file, KEYS("algo", "gpus", "capability", "path", "by", "from"), r->err) &&
           has_source(r, row) && rows_text(r, row, "algo", true, &c->algo) &&
           rows_list(r, row, "gpus", true, &c->gpus) && rows_capability(r, row, "capability", &c->capability) &&
           rows_text(r, row, "path", true, &c->path) && rows_text(r, row, "by", true, &c->by);
}

static bool read_setting(struct rows_reader *r, const json_t *row, struct engine_row *e)
{
    struct setting_row *s = &e->settings[e->n_settings++];
    const json_t *when = json_object_get(row, "when");
    if (!json_known_keys(row, r->file, KEYS("when", "flags", "env", "from"), r->err) || !has_source(r, row))
        return false;
    if (!json_is_object(when)) return rows_fail(r, row, "a row without", "when");
    if (!json_known_keys(when, r->file, KEYS("experts", "linears", "gpus"), r->err)) return false;
    if (!rows_text(r, when, "experts", false, &s->experts) || !rows_text(r, when, "linears", false, &s->linears) ||
        !rows_list(r, when, "gpus", true, &s->gpus) || !pairs(r, row, "flags", &s->flags, &s->n_flags) ||
        !pairs(r, row, "env", &s->env, &s->n_env))
        return false;
    for (uint32_t i = 0; i < s->n_flags; i++) {
        if (!row_lists(e->flags, s->flags[i].key))
            return rows_fail(r, row, "not a flag of this version:", s->flags[i].key);
        if (!row_word_is_plain(s->flags[i].value)) return rows_fail(r, row, "not a plain word:", s->flags[i].value);
    }
    for (uint32_t i = 0; i < s->n_env; i++)
        if (strpbrk(s->env[i].value, " \n\t'\"\\$")) return rows_fail(r, row, "not a plain word:", s->env[i].value);
    return true;
}

static bool read_parser(struct rows_reader *r, const json_t *row, struct engine_row *e)
{
    struct parser_row *p = &e->parsers[e->n_parsers++];
    if (!json_known_keys(row, r->file, KEYS("reasoning", "tool", "models", "template_has", "template_lacks", "from"),
                         r->err) ||
        !has_source(r, row) || !rows_text(r, row, "reasoning", false, &p->reasoning) ||
        !rows_text(r, row, "tool", false, &p->tool) || !rows_list(r, row, "models", true, &p->models) ||
        !rows_list(r, row, "template_has", false, &p->has) || !rows_list(r, row, "template_lacks", false, &p->lacks))
        return false;
    if (!p->reasoning == !p->tool) return rows_fail(r, row, "expected one of 'reasoning' and", "tool");
    if (!*p->has)
        return rows_fail(r, row, "a parser that any template would justify:", p->reasoning ? p->reasoning : p->tool);
    const char *name = p->reasoning ? p->reasoning : p->tool;
    return row_lists(p->reasoning ? e->reasoning_parsers : e->tool_parsers, name)
               ? true
               : rows_fail(r, row, "not a parser of this version:", name);
}

static bool read_each(struct rows_reader *r, const json_t *row, const char *key, size_t size, void *out,
                      struct engine_row *e, bool (*read)(struct rows_reader *, const json_t *, struct engine_row *))
{
    const json_t *v = json_object_get(row, key);
    void *rows = arena_alloc(r->rows->arena, json_array_size(v) + 1, size);
    if (!rows) return error_memory(r->err, 0);
    memcpy(out, &rows, sizeof rows);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!read(r, json_array_get(v, i), e)) return false;
    return true;
}

static bool read_facts(struct rows_reader *r, const json_t *row, struct engine_row *e)
{
    double utilisation = 0, stretch = 0;
    const json_t *f = fact(r, row, "utilisation");
    if (!f || !rows_number(r, f, "is", 1, &utilisation) || !(f = fact(r, row, "kv_group_stretch")) ||
        !rows_number(r, f, "is", 100, &stretch) || !(f = fact(r, row, "mixed_capability")) ||
        !rows_capability(r, f, "is", &e->mixed_capability))
        return false;
    e->utilisation_permille = (uint32_t)lround(utilisation * 1000);
    e->kv_group_stretch_percent = (uint32_t)lround(stretch * 100);
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

/* They are written into configuration files as they are. */
static bool check_words(struct rows_reader *r, const json_t *row, const char *const *words)
{
    for (; *words; words++)
        if (!row_word_is_plain(*words)) return rows_fail(r, row, "not a plain word:", *words);
    return true;
}

static bool read_engine(struct rows_reader *r, const json_t *row, struct engine_row *e)
{
    if (!json_known_keys(row, r->file,
                         KEYS("engine", "version", "writer", "read", "known", "utilisation", "kv_block_tokens",
                              "kv_group_stretch", "quant_algos", "mixed_algos", "mixed_capability", "kv_algos",
                              "kv_dtypes", "quantized_tables", "ssm_dtypes", "ssm_fallback", "ssm_rounding",
                              "context_env", "mtp_layers_max", "remote_code", "flags", "reasoning_parsers",
                              "tool_parsers", "compute", "settings", "parsers"),
                         r->err) ||
        !rows_text(r, row, "engine", true, &e->name) || !rows_text(r, row, "version", true, &e->version) ||
        !rows_text(r, row, "writer", false, &e->writer) || !rows_list(r, row, "known", false, &e->known) ||
        !rows_digest(row, &e->digest, r->err))
        return false;
    if (engine_row_find(r->rows, e->name, e->version)) return rows_fail(r, row, "there twice:", e->version);
    return !e->writer ||
           (read_facts(r, row, e) && check_words(r, row, e->kv_dtypes) && check_words(r, row, e->ssm_dtypes) &&
            check_words(r, row, e->reasoning_parsers) && check_words(r, row, e->tool_parsers));
}

bool rows_read_engines(struct rows_reader *r, const json_t *root)
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
