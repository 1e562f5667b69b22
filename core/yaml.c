#include "core/yaml.h"

#include "core/json_scan.h"

#include <errno.h>
#include <math.h>
#include <yaml.h>

#define YAML_ANCHORS_MAX 256u

struct node_line {
    const json_t *node;
    uint32_t line;
};

struct yaml {
    json_t *root;
    struct node_line *lines;
    size_t n_lines, lines_capacity;
};

/* "&name", and what it stands before; NULL while that is being read. */
struct anchor {
    char *name;
    json_t *value;
};

struct reader {
    yaml_parser_t parser;
    struct yaml *doc;
    const char *what;
    struct error *err;
    size_t n_values;
    bool anchors; /* they may be there */
    struct anchor anchor[YAML_ANCHORS_MAX];
    uint32_t n_anchors;
};

static bool fail(struct reader *r, size_t line, const char *problem)
{
    if (r->err->code != ERR_NONE) return false;
    return error_set(r->err, ERR_FORMAT, "%s: line %zu: %s", r->what, line + 1, problem);
}

static bool next_event(struct reader *r, yaml_event_t *ev)
{
    if (yaml_parser_parse(&r->parser, ev)) return true;
    const char *problem = r->parser.problem ? r->parser.problem : "cannot be parsed";
    if (r->parser.error == YAML_MEMORY_ERROR) return error_memory(r->err, 0);
    return fail(r, r->parser.error == YAML_READER_ERROR ? 0 : r->parser.problem_mark.line, problem);
}

static bool keep_line(struct reader *r, const json_t *node, size_t line)
{
    struct yaml *y = r->doc;
    if (y->n_lines == y->lines_capacity) {
        size_t capacity = y->lines_capacity ? 2 * y->lines_capacity : 64;
        struct node_line *p = realloc(y->lines, capacity * sizeof *p);
        if (!p) return error_memory(r->err, capacity * sizeof *p);
        y->lines = p;
        y->lines_capacity = capacity;
    }
    y->lines[y->n_lines++] = (struct node_line){node, (uint32_t)line + 1};
    return true;
}

static json_t *typed_number(const char *s)
{
    static const struct {
        const char *word;
        double value;
    } words[] = {
        {".inf", (double)INFINITY}, {"+.inf", (double)INFINITY}, {"-.inf", -(double)INFINITY}, {".nan", (double)NAN}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(s, words[i].word) == 0)
            return json_pack("{s:s}", "__float__",
                             isnan(words[i].value) ? "NaN"
                             : words[i].value > 0  ? "Infinity"
                                                   : "-Infinity");
    if (!strchr("+-.0123456789", *s) || s[strspn(s, "+-.0123456789eE")]) return NULL;
    char *end;
    errno = 0;
    long long i = strtoll(s, &end, 10);
    if (*end == '\0' && errno == 0) return json_integer(i);
    errno = 0;
    double d = strtod(s, &end);
    return *end == '\0' && errno == 0 && isfinite(d) ? json_real(d) : NULL;
}

static json_t *scalar(const yaml_event_t *ev)
{
    const char *s = (const char *)ev->data.scalar.value;
    size_t n = ev->data.scalar.length;
    if (ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        static const char *const yes[] = {"true", "True", "TRUE"}, *const no[] = {"false", "False", "FALSE"},
                                 *const null[] = {"null", "Null", "NULL", "~", ""};
        for (size_t i = 0; i < 3; i++) {
            if (strcmp(s, yes[i]) == 0) return json_true();
            if (strcmp(s, no[i]) == 0) return json_false();
        }
        for (size_t i = 0; i < 5; i++)
            if (strcmp(s, null[i]) == 0) return json_null();
        json_t *number = typed_number(s);
        if (number) return number;
    }
    return json_stringn(s, n);
}

static json_t *value(struct reader *r, yaml_event_t *ev, uint32_t depth);

static bool mapping_member(struct reader *r, json_t *map, yaml_event_t *ev, uint32_t depth)
{
    if (ev->type != YAML_SCALAR_EVENT) return fail(r, ev->start_mark.line, "a key must be a plain word");
    const char *key = (const char *)ev->data.scalar.value;
    if (ev->data.scalar.anchor || ev->data.scalar.tag)
        return fail(r, ev->start_mark.line, "anchors and tags are not supported");
    if (strlen(key) != ev->data.scalar.length) return fail(r, ev->start_mark.line, "a key holds a NUL byte");
    if (json_object_get(map, key)) {
        return error_set(r->err, ERR_FORMAT, "%s: line %zu: key '%.128s' is there twice", r->what,
                         ev->start_mark.line + 1, key);
    }
    yaml_event_t child;
    if (!next_event(r, &child)) return false;
    json_t *v = value(r, &child, depth + 1);
    yaml_event_delete(&child);
    if (!v) return false;
    return json_object_set_new(map, key, v) == 0 ? true : fail(r, ev->start_mark.line, "a key is not valid UTF-8");
}

/* The rest of a mapping or sequence whose start event has been read. */
static json_t *collection(struct reader *r, bool is_map, size_t line, uint32_t depth)
{
    json_t *node = is_map ? json_object() : json_array();
    if (!node || !keep_line(r, node, line)) {
        json_decref(node);
        return NULL;
    }
    for (;;) {
        yaml_event_t ev;
        if (!next_event(r, &ev)) break;
        bool done = ev.type == (is_map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT), ok = true;
        if (!done && is_map) ok = mapping_member(r, node, &ev, depth);
        if (!done && !is_map) {
            json_t *v = value(r, &ev, depth + 1);
            ok = v && json_array_append_new(node, v) == 0;
        }
        yaml_event_delete(&ev);
        if (done) return node;
        if (!ok) break;
    }
    json_decref(node);
    return NULL;
}

static const char *anchor_of(const yaml_event_t *ev)
{
    if (ev->type == YAML_SCALAR_EVENT) return (const char *)ev->data.scalar.anchor;
    if (ev->type == YAML_MAPPING_START_EVENT) return (const char *)ev->data.mapping_start.anchor;
    return ev->type == YAML_SEQUENCE_START_EVENT ? (const char *)ev->data.sequence_start.anchor : NULL;
}

static bool has_tag(const yaml_event_t *ev)
{
    if (ev->type == YAML_SCALAR_EVENT) return ev->data.scalar.tag != NULL;
    if (ev->type == YAML_MAPPING_START_EVENT) return ev->data.mapping_start.tag != NULL;
    return ev->type == YAML_SEQUENCE_START_EVENT && ev->data.sequence_start.tag != NULL;
}

/* The value is shared, not copied: no aliases of aliases make a small file large. */
static json_t *alias(struct reader *r, const yaml_event_t *ev)
{
    const char *name = (const char *)ev->data.alias.anchor;
    if (!r->anchors) return fail(r, ev->start_mark.line, "aliases are not supported"), NULL;
    for (uint32_t i = r->n_anchors; i-- > 0;)
        if (strcmp(r->anchor[i].name, name) == 0) {
            if (r->anchor[i].value) return json_incref(r->anchor[i].value);
            return fail(r, ev->start_mark.line, "an alias inside what it stands for"), NULL;
        }
    return fail(r, ev->start_mark.line, "an alias without an anchor before it"), NULL;
}

static json_t *plain_value(struct reader *r, yaml_event_t *ev, uint32_t depth);

static json_t *value(struct reader *r, yaml_event_t *ev, uint32_t depth)
{
    size_t line = ev->start_mark.line;
    const char *anchor = anchor_of(ev);
    if (depth > JSON_DEPTH_MAX) return fail(r, line, "nested too deeply"), NULL;
    if (++r->n_values > JSON_VALUES_MAX) return fail(r, line, "too many values"), NULL;
    if (has_tag(ev) || (anchor && !r->anchors)) return fail(r, line, "anchors and tags are not supported"), NULL;
    if (!anchor) return plain_value(r, ev, depth);
    if (r->n_anchors == YAML_ANCHORS_MAX) return fail(r, line, "too many anchors"), NULL;
    struct anchor *a = &r->anchor[r->n_anchors];
    if (!(a->name = strdup(anchor))) return error_memory(r->err, 0), NULL;
    r->n_anchors++;
    json_t *v = plain_value(r, ev, depth);
    return a->value = json_incref(v);
}

static json_t *plain_value(struct reader *r, yaml_event_t *ev, uint32_t depth)
{
    size_t line = ev->start_mark.line;
    switch (ev->type) {
    case YAML_ALIAS_EVENT: return alias(r, ev);
    case YAML_SCALAR_EVENT: {
        if (memchr(ev->data.scalar.value, '\0', ev->data.scalar.length))
            return fail(r, line, "a text holds a NUL byte"), NULL;
        json_t *v = scalar(ev);
        if (!v) fail(r, line, "not valid UTF-8 text");
        return v;
    }
    case YAML_MAPPING_START_EVENT: return collection(r, true, line, depth);
    case YAML_SEQUENCE_START_EVENT: return collection(r, false, line, depth);
    default: return fail(r, line, "expected a value"), NULL;
    }
}

/* Reads one event of the given type and forgets it. */
static bool expect_event(struct reader *r, yaml_event_type_t type, const char *problem)
{
    yaml_event_t ev;
    if (!next_event(r, &ev)) return false;
    bool ok = ev.type == type;
    if (!ok) fail(r, ev.start_mark.line, problem);
    yaml_event_delete(&ev);
    return ok;
}

/* What follows a document's start; *out is a new reference. */
static bool document(struct reader *r, json_t **out)
{
    yaml_event_t ev;
    if (!next_event(r, &ev)) return false;
    *out = value(r, &ev, 1);
    yaml_event_delete(&ev);
    return *out && expect_event(r, YAML_DOCUMENT_END_EVENT, "expected the end of the document");
}

static bool one_document(struct reader *r)
{
    return expect_event(r, YAML_STREAM_START_EVENT, "expected a document") &&
           expect_event(r, YAML_DOCUMENT_START_EVENT, "the file is empty") && document(r, &r->doc->root) &&
           expect_event(r, YAML_STREAM_END_EVENT, "a second document in one file");
}

static bool all_documents(struct reader *r)
{
    if (!expect_event(r, YAML_STREAM_START_EVENT, "expected a document")) return false;
    if (!(r->doc->root = json_array())) return false;
    for (;;) {
        yaml_event_t ev;
        json_t *root = NULL;
        if (!next_event(r, &ev)) return false;
        bool end = ev.type == YAML_STREAM_END_EVENT;
        if (!end && json_array_size(r->doc->root) == YAML_DOCUMENTS_MAX)
            fail(r, ev.start_mark.line, "too many documents");
        yaml_event_delete(&ev);
        if (end || r->err->code != ERR_NONE) return end;
        if (!document(r, &root) || json_array_append_new(r->doc->root, root) != 0) return false;
    }
}

static int by_node(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct node_line *)a)->node, y = (uintptr_t)((const struct node_line *)b)->node;
    return (x > y) - (x < y);
}

static bool parse(struct bytes text, const char *what, bool (*read)(struct reader *), bool anchors, struct yaml **out,
                  struct error *err)
{
    struct error local = ERROR_INIT;
    *out = NULL;
    struct yaml *y = calloc(1, sizeof *y);
    struct reader r = {.doc = y, .what = what, .err = &local, .anchors = anchors};
    if (!y || !yaml_parser_initialize(&r.parser)) {
        free(y);
        return error_memory(err, sizeof *y);
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, text.data, text.size);
    bool ok = read(&r);
    yaml_parser_delete(&r.parser);
    for (uint32_t i = 0; i < r.n_anchors; i++) {
        free(r.anchor[i].name);
        json_decref(r.anchor[i].value);
    }
    if (ok) {
        if (y->n_lines) qsort(y->lines, y->n_lines, sizeof *y->lines, by_node);
        *out = y;
        return true;
    }
    yaml_close(y);
    if (local.code == ERR_NONE) error_memory(&local, 0);
    if (err) *err = local;
    return false;
}

bool yaml_parse(struct bytes text, const char *what, struct yaml **out, struct error *err)
{
    return parse(text, what, one_document, false, out, err);
}

bool yaml_parse_documents(struct bytes text, const char *what, struct yaml **out, struct error *err)
{
    return parse(text, what, all_documents, true, out, err);
}

const json_t *yaml_root(const struct yaml *y)
{
    return y->root;
}

uint32_t yaml_line(const struct yaml *y, const json_t *node)
{
    struct node_line key = {node, 0};
    const struct node_line *l = y->n_lines ? bsearch(&key, y->lines, y->n_lines, sizeof key, by_node) : NULL;
    return l ? l->line : 0;
}

void yaml_close(struct yaml *y)
{
    if (!y) return;
    json_decref(y->root);
    free(y->lines);
    free(y);
}
