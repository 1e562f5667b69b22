#include "pack/registry_header.h"

#include <string.h>
#include <strings.h>

static bool is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t");
}

static const char *skip_token(const char *p)
{
    while (is_token(*p)) p++;
    return p;
}

/* A token or a quoted string at *p. No control bytes, which have no business in an address or a scope. */
static bool read_value(const char **p, char *out, size_t size)
{
    const char *s = *p;
    bool quoted = *s == '"';
    size_t n = 0;
    for (s += quoted; quoted ? *s && *s != '"' : is_token(*s) || (*s && strchr("/:=", *s)); s++) {
        if (quoted && *s == '\\') s++;
        if ((unsigned char)*s < 0x20 || *s == 0x7f || n + 1 >= size) return false;
        out[n++] = *s;
    }
    if (quoted && *s++ != '"') return false;
    out[n] = '\0';
    *p = s;
    return quoted || n > 0;
}

static char *place_of(struct auth_challenge *c, const char *name, size_t n)
{
    if (n == 5 && strncasecmp(name, "realm", n) == 0) return c->realm;
    if (n == 7 && strncasecmp(name, "service", n) == 0) return c->service;
    if (n == 5 && strncasecmp(name, "scope", n) == 0) return c->scope;
    return NULL;
}

static enum auth_scheme scheme_of(const char *name, size_t n)
{
    if (n == 6 && strncasecmp(name, "bearer", n) == 0) return AUTH_BEARER;
    return n == 5 && strncasecmp(name, "basic", n) == 0 ? AUTH_BASIC : AUTH_NONE;
}

/* name=value [, name=value]...; stops before what is not that, which is the next challenge. */
static bool read_parameters(const char **p, struct auth_challenge *c)
{
    char ignored[REGISTRY_PARAMETER_MAX];
    const char *s = skip_space(*p);
    for (;;) {
        const char *end = skip_token(s), *equals = skip_space(end);
        if (end == s || *equals != '=') break;
        char *place = place_of(c, s, (size_t)(end - s));
        if (place && *place) return false; /* said twice */
        s = skip_space(equals + 1);
        if (!read_value(&s, place ? place : ignored, REGISTRY_PARAMETER_MAX)) return false;
        s = skip_space(s);
        *p = s;
        if (*s != ',') break;
        while (*s == ',') s = skip_space(s + 1);
        *p = s;
    }
    return true;
}

bool auth_challenge_parse(const char *header, struct auth_challenge *out)
{
    *out = (struct auth_challenge){0};
    const char *p = skip_space(header);
    while (*p) {
        struct auth_challenge c = {0};
        const char *end = skip_token(p);
        bool ok = end > p && (*end == ' ' || *end == '\t' || *end == ',' || *end == '\0');
        c.scheme = scheme_of(p, (size_t)(end - p));
        p = skip_space(end);
        if (!ok || !read_parameters(&p, &c)) {
            *out = (struct auth_challenge){0};
            return false;
        }
        if (c.scheme > out->scheme) *out = c;
        const char *next = p;
        while (*next == ',') next = skip_space(next + 1);
        if (next == p && *p && p == skip_space(end)) { /* neither parameters nor a comma: "token68", not ours */
            next = skip_space(p + strcspn(p, ", \t"));
            while (*next == ',') next = skip_space(next + 1);
        }
        p = next;
    }
    return true;
}

static bool is_next(const char *parameters, size_t n)
{
    static const char rel[] = "rel=";
    for (size_t i = 0; i + sizeof rel - 1 < n; i++) {
        if (strncasecmp(parameters + i, rel, sizeof rel - 1) != 0) continue;
        const char *v = parameters + i + sizeof rel - 1;
        size_t left = n - i - (sizeof rel - 1);
        if (*v == '"') v++, left--;
        return left >= 4 && strncasecmp(v, "next", 4) == 0 && (left == 4 || strchr("\"; \t,", v[4]));
    }
    return false;
}

bool link_next_parse(const char *header, char *out, size_t size)
{
    for (const char *p = header; (p = strchr(p, '<'));) {
        const char *close = strchr(p, '>');
        if (!close) return false;
        size_t n = (size_t)(close - p - 1), parameters = strcspn(close + 1, "<");
        if (is_next(close + 1, parameters)) {
            if (n == 0 || n >= size) return false;
            for (size_t i = 0; i < n; i++)
                if ((unsigned char)p[1 + i] <= 0x20 || p[1 + i] == 0x7f) return false;
            memcpy(out, p + 1, n);
            out[n] = '\0';
            return true;
        }
        p = close + 1;
    }
    return false;
}

/* Decimal digits at *p, at most 18. */
static bool read_number(const char **p, uint64_t *out)
{
    size_t n = strspn(*p, "0123456789");
    if (n == 0 || n > 18) return false;
    *out = 0;
    for (size_t i = 0; i < n; i++) *out = *out * 10 + (uint64_t)((*p)[i] - '0');
    *p += n;
    return true;
}

bool upload_range_parse(const char *header, uint64_t *next, bool *sure)
{
    const char *p = skip_space(header);
    uint64_t first, last;
    if (strncasecmp(p, "bytes=", 6) == 0) p += 6;
    if (!read_number(&p, &first) || *p++ != '-' || !read_number(&p, &last) || *skip_space(p) || first != 0)
        return false;
    *next = last + 1;
    *sure = last > 0;
    return true;
}

bool content_range_parse(const char *header, uint64_t *first, uint64_t *last, uint64_t *total)
{
    const char *p = skip_space(header);
    if (strncasecmp(p, "bytes", 5) != 0 || (p[5] != ' ' && p[5] != '\t')) return false;
    p = skip_space(p + 5);
    if (!read_number(&p, first) || *p++ != '-' || !read_number(&p, last) || *p++ != '/') return false;
    *total = UINT64_MAX;
    if (*p == '*') p++;
    else if (!read_number(&p, total)) return false;
    return !*skip_space(p) && *first <= *last && *last < *total;
}

bool retry_after_parse(const char *header, uint64_t *seconds)
{
    const char *p = skip_space(header);
    return read_number(&p, seconds) && !*skip_space(p);
}
