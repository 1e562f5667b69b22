#include "core/json.h"

#include "core/json_scan.h"
#include "core/text.h"

#include <math.h>

static bool scan_error(const struct json_scan *s, const char *what, struct error *err)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < s->at && i < s->text.size; i++) {
        column++;
        if (s->text.data[i] != '\n') continue;
        line++;
        column = 1;
    }
    return error_set(err, ERR_FORMAT, "%s: line %zu, column %zu: %s", what, line, column, s->problem);
}

/* Bytes that a token will cost in the tree; see JSON_MEMORY_MAX. */
static uint64_t token_cost(enum json_token t, size_t size)
{
    switch (t) {
    case JSON_TOKEN_OBJECT: return 224;
    case JSON_TOKEN_ARRAY: return 128;
    case JSON_TOKEN_KEY: return 104 + size;
    case JSON_TOKEN_STRING: return 72 + size;
    case JSON_TOKEN_NUMBER: return 40;
    case JSON_TOKEN_NONFINITE: return 224 + 104 + 80;
    default: return 8;
    }
}

/* One pass that refuses what jansson would take (depth, size) and turns bare non-finite words into objects. */
static bool check_and_rewrite(struct bytes text, enum json_dialect dialect, const char *what, struct text *rewritten,
                              struct error *err)
{
    struct json_scan s;
    json_scan_begin(&s, text, dialect == JSON_DIALECT_HF);
    uint64_t cost = 0;
    size_t copied = 0;
    for (;;) {
        enum json_token t = json_scan_next(&s);
        if (t == JSON_TOKEN_ERROR) return scan_error(&s, what, err);
        if (t == JSON_TOKEN_END) break;
        cost += token_cost(t, s.token.size);
        if (cost > JSON_MEMORY_MAX)
            return error_set(err, ERR_FORMAT, "%s: holds more values than fit into %llu bytes of memory", what,
                             (unsigned long long)JSON_MEMORY_MAX);
        if (t != JSON_TOKEN_NONFINITE) continue;
        if (s.depth == 0) return error_set(err, ERR_FORMAT, "%s: a bare non-finite number is not a document", what);
        text_put(rewritten, text.data + copied, s.start - copied);
        text_add(rewritten, "{\"__float__\":\"%.*s\"}", (int)s.token.size, (const char *)s.token.data);
        copied = s.at;
    }
    if (copied) text_put(rewritten, text.data + copied, text.size - copied);
    return rewritten->failed ? error_memory(err, text.size) : true;
}

bool json_parse(struct bytes text, enum json_dialect dialect, const char *what, json_t **out, struct error *err)
{
    *out = NULL;
    __attribute__((cleanup(cleanup_text))) struct text rewritten = TEXT_INIT;
    if (!check_and_rewrite(text, dialect, what, &rewritten, err)) return false;
    struct bytes src = rewritten.data ? bytes_of(rewritten.data, rewritten.size) : text;
    json_error_t je;
    *out = json_loadb((const char *)src.data, src.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (*out) return true;
    if (json_error_code(&je) == json_error_out_of_memory) return error_memory(err, src.size);
    if (json_error_code(&je) == json_error_out_of_memory || je.line < 0) return error_memory(err, text.size);
    return error_set(err, ERR_FORMAT, "%s: line %d, column %d: %s", what, je.line, je.column, je.text);
}

const char *json_brief(const json_t *value)
{
    static _Thread_local char text[96];
    static const char *const kinds[] = {[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array"};
    if (!value) return "nothing";
    if (json_is_object(value) || json_is_array(value)) return kinds[json_typeof(value)];
    char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!dump) return "a value";
    snprintf(text, sizeof text, "%.80s", dump);
    free(dump);
    return text;
}

static bool wrong(const char *what, const char *key, const char *expected, const json_t *found, struct error *err)
{
    return error_set(err, ERR_FORMAT, "%s: key '%s': expected %s, found %s", what, key, expected, json_brief(found));
}

bool json_has(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return v && !json_is_null(v);
}

bool json_get(const json_t *obj, const char *key, const char *what, json_t **out, struct error *err)
{
    if (!json_is_object(obj))
        return error_set(err, ERR_FORMAT, "%s: expected an object, found %s", what, json_brief(obj));
    *out = json_object_get(obj, key);
    return *out ? true : error_set(err, ERR_FORMAT, "%s: key '%s' is missing", what, key);
}

bool json_get_object(const json_t *obj, const char *key, const char *what, json_t **out, struct error *err)
{
    if (!json_get(obj, key, what, out, err)) return false;
    return json_is_object(*out) ? true : wrong(what, key, "an object", *out, err);
}

bool json_get_array(const json_t *obj, const char *key, const char *what, json_t **out, struct error *err)
{
    if (!json_get(obj, key, what, out, err)) return false;
    return json_is_array(*out) ? true : wrong(what, key, "an array", *out, err);
}

bool json_get_string(const json_t *obj, const char *key, const char *what, const char **out, struct error *err)
{
    json_t *v = NULL;
    if (!json_get(obj, key, what, &v, err)) return false;
    if (!json_is_string(v)) return wrong(what, key, "a string", v, err);
    *out = json_string_value(v);
    return true;
}

bool json_get_bool(const json_t *obj, const char *key, const char *what, bool *out, struct error *err)
{
    json_t *v = NULL;
    if (!json_get(obj, key, what, &v, err)) return false;
    if (!json_is_boolean(v)) return wrong(what, key, "true or false", v, err);
    *out = json_is_true(v);
    return true;
}

bool json_get_u64(const json_t *obj, const char *key, const char *what, uint64_t min, uint64_t max, uint64_t *out,
                  struct error *err)
{
    json_t *v = NULL;
    if (!json_get(obj, key, what, &v, err)) return false;
    json_int_t i = json_integer_value(v);
    if (json_is_integer(v) && i >= 0 && (uint64_t)i >= min && (uint64_t)i <= max) {
        *out = (uint64_t)i;
        return true;
    }
    char range[96];
    snprintf(range, sizeof range, "an integer from %llu to %llu", (unsigned long long)min, (unsigned long long)max);
    return wrong(what, key, range, v, err);
}

bool json_number(const json_t *value, double *out)
{
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    const char *word = json_string_value(json_object_get(value, "__float__"));
    if (!word || json_object_size(value) != 1) return false;
    if (strcmp(word, "Infinity") == 0) *out = (double)INFINITY;
    else if (strcmp(word, "-Infinity") == 0) *out = -(double)INFINITY;
    else if (strcmp(word, "NaN") == 0) *out = (double)NAN;
    else return false;
    return true;
}

bool json_get_number(const json_t *obj, const char *key, const char *what, double *out, struct error *err)
{
    json_t *v = NULL;
    if (!json_get(obj, key, what, &v, err)) return false;
    return json_number(v, out) ? true : wrong(what, key, "a number", v, err);
}

bool json_opt_string(const json_t *obj, const char *key, const char *what, const char **out, struct error *err)
{
    return json_has(obj, key) ? json_get_string(obj, key, what, out, err) : true;
}

bool json_opt_bool(const json_t *obj, const char *key, const char *what, bool *out, struct error *err)
{
    return json_has(obj, key) ? json_get_bool(obj, key, what, out, err) : true;
}

bool json_opt_u64(const json_t *obj, const char *key, const char *what, uint64_t min, uint64_t max, uint64_t *out,
                  struct error *err)
{
    return json_has(obj, key) ? json_get_u64(obj, key, what, min, max, out, err) : true;
}

bool json_opt_number(const json_t *obj, const char *key, const char *what, double *out, struct error *err)
{
    return json_has(obj, key) ? json_get_number(obj, key, what, out, err) : true;
}

bool json_known_keys(const json_t *obj, const char *what, const char *const *keys, struct error *err)
{
    if (!json_is_object(obj))
        return error_set(err, ERR_FORMAT, "%s: expected an object, found %s", what, json_brief(obj));
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)obj, key, value) {
        const char *const *k = keys;
        while (*k && strcmp(*k, key) != 0) k++;
        if (*k) continue;
        __attribute__((cleanup(cleanup_text))) struct text list = TEXT_INIT;
        for (k = keys; *k; k++) text_add(&list, "%s%s", k == keys ? "" : ", ", *k);
        return error_set(err, ERR_FORMAT, "%s: unknown key '%.128s'; known are %s", what, key,
                         list.data ? list.data : "none");
    }
    return true;
}

static bool dump(const json_t *value, size_t flags, const char *tail, char **out, size_t *out_size, struct error *err)
{
    char *text = json_dumps(value, flags | JSON_ENCODE_ANY);
    size_t n = text ? strlen(text) : 0, tail_size = strlen(tail);
    char *whole = text ? realloc(text, n + tail_size + 1) : NULL;
    if (!whole) {
        free(text);
        return error_memory(err, n);
    }
    memcpy(whole + n, tail, tail_size + 1);
    *out = whole;
    if (out_size) *out_size = n + tail_size;
    return true;
}

bool json_canonical(const json_t *value, char **out, size_t *out_size, struct error *err)
{
    return dump(value, JSON_COMPACT | JSON_SORT_KEYS, "", out, out_size, err);
}

bool json_pretty(const json_t *value, char **out, size_t *out_size, struct error *err)
{
    return dump(value, JSON_INDENT(2) | JSON_PRESERVE_ORDER, "\n", out, out_size, err);
}

bool json_put(json_t *obj, const char *key, json_t *value, struct error *err)
{
    return json_object_set_new(obj, key, value) == 0 ? true : error_memory(err, 0);
}

/* Indents every line of a pretty-printed value but the first, so that it sits well inside the outer object. */
static bool put_value(struct text *t, const json_t *value, struct error *err)
{
    CLEANUP(free) char *v = NULL;
    if (!dump(value, JSON_INDENT(2) | JSON_PRESERVE_ORDER, "", &v, NULL, err)) return false;
    for (const char *p = v; *p; p++) {
        text_put(t, p, 1);
        if (*p == '\n') text_put(t, "  ", 2);
    }
    return true;
}

static bool put_member(struct text *t, bool first, const char *key, const json_t *value, struct error *err)
{
    CLEANUP(json) json_t *name = json_string(key);
    CLEANUP(free) char *quoted = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    if (!quoted) return error_memory(err, 0);
    text_add(t, "%s\n  %s: ", first ? "" : ",", quoted);
    return put_value(t, value, err);
}

bool json_splice(struct bytes text, enum json_dialect dialect, const json_t *members, const char *what, char **out,
                 size_t *out_size, struct error *err)
{
    struct json_scan s;
    json_scan_begin(&s, text, dialect == JSON_DIALECT_HF);
    if (json_scan_next(&s) != JSON_TOKEN_OBJECT) return error_set(err, ERR_FORMAT, "%s: expected a JSON object", what);
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    text_put(&t, text.data, s.at);
    size_t end_of_last = s.at;
    bool first = true;
    enum json_token token;
    while ((token = json_scan_next(&s)) == JSON_TOKEN_KEY) {
        CLEANUP(free) char *key = malloc(s.token.size + 1);
        if (!key) return error_memory(err, s.token.size);
        json_unescape(s.token, key);
        size_t key_start = s.start;
        if (!json_scan_skip(&s)) return scan_error(&s, what, err);
        const json_t *replacement = json_object_get(members, key);
        if (!replacement) {
            size_t from = end_of_last; /* behind the comma that separates it from the member before, if there is one */
            while (from < key_start && text.data[from] != ',') from++;
            from = from < key_start ? from + 1 : end_of_last;
            if (!first) text_put(&t, ",", 1);
            text_put(&t, text.data + from, s.at - from);
            first = false;
        }
        end_of_last = s.at;
    }
    if (token != JSON_TOKEN_OBJECT_END) return scan_error(&s, what, err);
    size_t tail = s.start;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)members, key, value) {
        if (json_is_null(value)) continue;
        if (!put_member(&t, first, key, value, err)) return false;
        first = false;
    }
    text_put(&t, "\n", 1);
    text_put(&t, text.data + tail, text.size - tail);
    return text_take(&t, out, out_size, err);
}

bool json_splice_inside(struct bytes text, enum json_dialect dialect, const char *inside, const json_t *members,
                        const char *what, char **out, size_t *out_size, struct error *err)
{
    struct json_scan s;
    json_scan_begin(&s, text, dialect == JSON_DIALECT_HF);
    if (json_scan_next(&s) != JSON_TOKEN_OBJECT) return error_set(err, ERR_FORMAT, "%s: expected a JSON object", what);
    while (json_scan_next(&s) == JSON_TOKEN_KEY) {
        bool found = json_token_is(s.token, inside);
        size_t from = s.at;
        if (!json_scan_skip(&s)) return scan_error(&s, what, err);
        if (!found) continue;
        while (from < s.at && text.data[from] != '{') from++; /* an object, or json_splice says so */
        CLEANUP(free) char *value = NULL;
        size_t n;
        if (!json_splice(bytes_of(text.data + from, s.at - from), dialect, members, what, &value, &n, err))
            return false;
        __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
        text_put(&t, text.data, from);
        text_put(&t, value, n);
        text_put(&t, text.data + s.at, text.size - s.at);
        return text_take(&t, out, out_size, err);
    }
    return error_set(err, ERR_FORMAT, "%s: key '%s' is missing", what, inside);
}
