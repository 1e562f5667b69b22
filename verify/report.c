#include "verify/report.h"

#include "core/version.h"

#include <math.h>
#include <stdarg.h>

static const char *const verdict_names[] = {
    [VERDICT_PASS] = "pass", [VERDICT_FAIL] = "fail", [VERDICT_UNDECIDED] = "undecided"};

struct check {
    const char *check_class;
    enum verdict verdict;
    bool has_figure, at_most;
    double measured, allowed;
    char name[256], detail[512];
};

struct report {
    struct check *checks;
    size_t n, capacity;
    json_t *attached;
    bool failed; /* a check was lost for want of memory: the report must not pass */
};

bool report_open(struct report **out, struct error *err)
{
    struct report *r = calloc(1, sizeof *r);
    *out = r;
    if (r && !(r->attached = json_object())) {
        free(r);
        *out = r = NULL;
    }
    return r ? true : error_memory(err, sizeof *r);
}

void report_close(struct report *r)
{
    if (!r) return;
    json_decref(r->attached);
    free(r->checks);
    free(r);
}

static struct check *next_check(struct report *r)
{
    if (r->n == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 32;
        struct check *p = realloc(r->checks, capacity * sizeof *p);
        if (!p) {
            r->failed = true;
            return NULL;
        }
        r->checks = p;
        r->capacity = capacity;
    }
    struct check *c = &r->checks[r->n++];
    *c = (struct check){0};
    return c;
}

static void fill(struct check *c, const char *check_class, enum verdict v, const char *name, const char *fmt,
                 va_list ap)
{
    char raw[sizeof c->detail];
    c->check_class = check_class;
    c->verdict = v;
    error_printable(c->name, sizeof c->name, name, strlen(name));
    vsnprintf(raw, sizeof raw, fmt, ap);
    error_printable(c->detail, sizeof c->detail, raw, strlen(raw));
}

void report_add(struct report *r, const char *check_class, enum verdict v, const char *name, const char *fmt, ...)
{
    struct check *c = next_check(r);
    if (!c) return;
    va_list ap;
    va_start(ap, fmt);
    fill(c, check_class, v, name, fmt, ap);
    va_end(ap);
}

void report_add_figure(struct report *r, const char *check_class, const char *name, double measured, double allowed,
                       bool at_most, const char *fmt, ...)
{
    struct check *c = next_check(r);
    if (!c) return;
    /* Written so that a NaN fails. */
    bool pass = at_most ? measured <= allowed : measured >= allowed;
    va_list ap;
    va_start(ap, fmt);
    fill(c, check_class, pass ? VERDICT_PASS : VERDICT_FAIL, name, fmt, ap);
    va_end(ap);
    c->has_figure = true;
    c->at_most = at_most;
    c->measured = measured;
    c->allowed = allowed;
}

void report_attach(struct report *r, const char *key, json_t *value)
{
    if (json_object_set_new(r->attached, key, value) != 0) r->failed = true;
}

uint32_t report_count(const struct report *r, enum verdict v)
{
    uint32_t n = 0;
    for (size_t i = 0; i < r->n; i++) n += r->checks[i].verdict == v;
    return n;
}

enum verdict report_verdict(const struct report *r)
{
    if (report_count(r, VERDICT_FAIL)) return VERDICT_FAIL;
    return report_count(r, VERDICT_UNDECIDED) || r->failed || r->n == 0 ? VERDICT_UNDECIDED : VERDICT_PASS;
}

bool report_result(const struct report *r, struct error *err)
{
    if (r->failed) return error_memory(err, 0);
    enum verdict v = report_verdict(r);
    if (v == VERDICT_PASS) return true;
    if (r->n == 0) return error_set(err, ERR_UNDECIDED, "nothing was checked");
    for (size_t i = 0; i < r->n; i++) {
        const struct check *c = &r->checks[i];
        if (c->verdict != v) continue;
        if (strcmp(c->name, c->check_class) == 0) error_class(err, c->check_class, "%s", c->detail);
        else error_class(err, c->check_class, "%s: %s", c->name, c->detail);
        if (err && v == VERDICT_UNDECIDED) err->code = ERR_UNDECIDED;
        return false;
    }
    return error_set(err, ERR_INTERNAL, "a verdict without a check");
}

static json_t *figure(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static bool check_json(const struct check *c, json_t *list, struct error *err)
{
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:s,s:s,s:s}", "check", c->check_class, "name", c->name, "verdict",
                          verdict_names[c->verdict], "detail", c->detail);
    if (!j) return error_memory(err, 0);
    if (c->has_figure && (!json_put(j, "measured", figure(c->measured), err) ||
                          !json_put(j, c->at_most ? "at_most" : "at_least", figure(c->allowed), err)))
        return false;
    return json_array_append(list, j) == 0 ? true : error_memory(err, 0);
}

bool report_json(const struct report *r, json_t **out, struct error *err)
{
    if (r->failed) return error_memory(err, 0);
    json_t *list = json_array();
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:s,s:s,s:o}", "schema", "ingot.report/1", "tool", INGOT_VERSION, "verdict",
                          verdict_names[report_verdict(r)], "checks", list);
    if (!j) return error_memory(err, 0);
    for (size_t i = 0; i < r->n; i++)
        if (!check_json(&r->checks[i], list, err)) return false;
    if (json_object_update_missing(j, r->attached) != 0) return error_memory(err, 0);
    *out = take_ptr(&j);
    return true;
}
