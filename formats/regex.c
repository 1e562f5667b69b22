/* From a pattern to a program, in one pass: each piece is written at the program's end, and moved or repeated there
 * when a repeat follows. Which patterns are good is Python's re (3.11). */
#include "formats/regex_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH_MAX 1000000u /* where counting of widths stops: no name is as long */

static const char no_memory[] = "no memory", bad[] = REGEX_BAD, references[] = REGEX_REFERENCES,
                  flags[] = "flags are not read here", long_program[] = "its repeats make it too long";

/* How many letters a piece takes: at least and at most. */
struct width {
    uint32_t least, most;
};

struct maker {
    struct regex *r;
    struct regex_step *steps; /* [REGEX_STEPS_MAX] */
    uint32_t n;
    const char *at, *why;
    uint32_t depth;
};

static bool fail(struct maker *m, const char *why)
{
    m->why = why;
    return false;
}

static bool put(struct maker *m, enum regex_op op, int32_t a, int32_t b)
{
    if (m->n == REGEX_STEPS_MAX) return fail(m, long_program);
    m->steps[m->n++] = (struct regex_step){op, a, b};
    return true;
}

static uint32_t width_times(uint32_t width, uint32_t count)
{
    uint64_t all = (uint64_t)width * count;
    return all < WIDTH_MAX ? (uint32_t)all : WIDTH_MAX;
}

static uint32_t width_sum(uint32_t a, uint32_t b)
{
    return a + b < WIDTH_MAX ? a + b : WIDTH_MAX;
}

static bool put_set(struct maker *m, const struct regex_set *s)
{
    struct regex_set *grown = realloc(m->r->sets, (m->r->n_sets + 1) * sizeof *grown);
    if (!grown) return fail(m, no_memory);
    m->r->sets = grown;
    grown[m->r->n_sets] = *s;
    return put(m, REGEX_SET, (int32_t)m->r->n_sets++, 0);
}

static bool brackets(struct maker *m)
{
    struct regex_set s;
    return regex_set_read(&m->at, &s, &m->why) && put_set(m, &s);
}

/* ---- pieces ---- */

static bool either(struct maker *m, struct width *width);

/* What a lookaround holds goes out of the program into one of its own. */
static bool look_around(struct maker *m, bool behind, bool negative)
{
    uint32_t start = m->n;
    struct width width;
    if (!either(m, &width) || !put(m, REGEX_ACCEPT, 0, 0)) return false;
    if (behind && width.least != width.most) return fail(m, "what is looked at behind has no one width");
    if (m->r->n_looks == REGEX_LOOKS_MAX) return fail(m, "it looks around in too many places");
    struct regex_look *l = &m->r->looks[m->r->n_looks];
    *l = (struct regex_look){{calloc(m->n - start, sizeof *m->steps), m->n - start}, behind, negative, width.least};
    if (!l->body.steps) return fail(m, no_memory);
    memcpy(l->body.steps, m->steps + start, l->body.n * sizeof *m->steps);
    m->n = start;
    return put(m, REGEX_LOOK, (int32_t)m->r->n_looks++, 0);
}

/* `(?P<name>`: a name that nothing refers to. */
static bool skip_name(struct maker *m)
{
    const char *p = m->at;
    if (!isalpha((unsigned char)*p) && *p != '_') return fail(m, bad);
    while (regex_is_word((uint8_t)*p)) p++;
    if (*p != '>') return fail(m, bad);
    m->at = p + 1;
    return true;
}

/* Behind "(?". *take: which pieces it is. */
static bool group_kind(struct maker *m, bool *looks, bool *behind, bool *negative)
{
    char c = *m->at++;
    *looks = *behind = *negative = false;
    if (c == ':') return true;
    if (c == 'P' && *m->at == '<') {
        m->at++;
        return skip_name(m);
    }
    *behind = c == '<';
    if (*behind) c = *m->at++;
    *looks = c == '=' || c == '!';
    *negative = c == '!';
    if (*looks) return true;
    if (c == '\0' || *behind) return fail(m, bad);
    return fail(m, c == 'P'   ? references
                   : c == '>' ? "atomic groups are not read here"
                   : c == '(' ? "conditions are not read here"
                   : c == '#' ? "comments are not read here"
                              : flags);
}

static bool group(struct maker *m, struct width *width)
{
    bool looks = false, behind = false, negative = false;
    if (m->depth++ == REGEX_DEPTH_MAX) return fail(m, "groups in too many groups");
    m->at++;
    if (*m->at == '?') {
        m->at++;
        if (!group_kind(m, &looks, &behind, &negative)) return false;
    }
    if (!(looks ? look_around(m, behind, negative) : either(m, width))) return false;
    if (*m->at++ != ')') return fail(m, bad);
    if (looks) *width = (struct width){0, 0};
    m->depth--;
    return true;
}

static bool at_place(struct maker *m, enum regex_place place, struct width *width)
{
    *width = (struct width){0, 0};
    return put(m, REGEX_AT, (int32_t)place, 0);
}

static bool escape(struct maker *m, struct width *width)
{
    struct regex_set s = {{0, 0}, false};
    char c = *++m->at;
    if (c) m->at++;
    switch (c) {
    case 'b': return at_place(m, REGEX_BOUNDARY, width);
    case 'B': return at_place(m, REGEX_NO_BOUNDARY, width);
    case 'A': return at_place(m, REGEX_BEGIN, width);
    case 'Z': return at_place(m, REGEX_END, width);
    default: break;
    }
    if (regex_set_class(&s, c)) return put_set(m, &s);
    uint32_t letter = regex_escaped_letter(c, &m->why);
    return letter && put(m, REGEX_CHAR, (int32_t)letter, 0);
}

/* ---- repeats ---- */

struct count {
    uint32_t least, most; /* most: UINT32_MAX for no end */
};

static const char *read_number(const char *p, uint32_t *out)
{
    for (; isdigit((unsigned char)*p); p++)
        *out = *out < REGEX_STEPS_MAX ? *out * 10 + (uint32_t)(*p - '0') : *out; /* more is too much anyway */
    return p;
}

/* `{n}`, `{n,}`, `{,m}`, `{n,m}`; NULL: the brace stands for itself. */
static const char *read_braces(const char *p, struct count *c)
{
    uint32_t least = 0, most = 0;
    if (p[1] == '}') return NULL;
    const char *end = read_number(p + 1, &least);
    bool given = end > p + 1;
    *c = (struct count){least, given ? least : UINT32_MAX};
    if (*end == ',') {
        const char *second = end + 1;
        end = read_number(second, &most);
        c->most = end > second ? most : UINT32_MAX;
    }
    return *end == '}' ? end + 1 : NULL;
}

/* One piece without its repeat. */
static bool atom(struct maker *m, struct width *width)
{
    struct count c;
    *width = (struct width){1, 1};
    switch (*m->at) {
    case '(': return group(m, width);
    case '[': return brackets(m);
    case '\\': return escape(m, width);
    case '^': m->at++; return at_place(m, REGEX_BEGIN, width);
    case '$': m->at++; return at_place(m, REGEX_END_OR_NEWLINE, width);
    case '.': m->at++; return put(m, REGEX_ANY, 0, 0);
    case '*':
    case '+':
    case '?': return fail(m, bad); /* Python: nothing to repeat */
    case '{':
        if (read_braces(m->at, &c)) return fail(m, bad);
        break;
    default: break;
    }
    return put(m, REGEX_CHAR, (int32_t)regex_letter(m->at, &m->at), 0);
}

/* *found: a repeat stands here, and was read. */
static bool read_repeat(struct maker *m, struct count *c, bool *found)
{
    const char *end = m->at + 1;
    *found = true;
    switch (*m->at) {
    case '*': *c = (struct count){0, UINT32_MAX}; break;
    case '+': *c = (struct count){1, UINT32_MAX}; break;
    case '?': *c = (struct count){0, 1}; break;
    case '{': end = read_braces(m->at, c); break;
    default: end = NULL;
    }
    if (!end) {
        *found = false;
        return true;
    }
    if (c->most < c->least) return fail(m, bad);
    if (*end == '+') return fail(m, "possessive repeats are not read here");
    m->at = *end == '?' ? end + 1 : end; /* lazy: fits the same names */
    return true;
}

static bool copy_piece(struct maker *m, const struct regex_step *piece, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!put(m, piece[i].op, piece[i].a, piece[i].b)) return false;
    return true;
}

/* The piece of n steps at the program's end, so often: all that must be there, then either a loop or the rest, of which
 * each may be left out. */
static bool repeat(struct maker *m, uint32_t n, struct count c)
{
    struct regex_step *piece = malloc((n ? n : 1) * sizeof *piece);
    if (!piece) return fail(m, no_memory);
    if (n) memcpy(piece, m->steps + m->n - n, n * sizeof *piece);
    m->n -= n;
    bool ok = true, loop = c.most == UINT32_MAX;
    for (uint32_t i = 0; ok && n && i < c.least; i++) ok = copy_piece(m, piece, n);
    int32_t size = (int32_t)n;
    if (loop)
        ok = ok && put(m, REGEX_SPLIT, 1, size + 2) && copy_piece(m, piece, n) && put(m, REGEX_JUMP, -size - 1, 0);
    for (uint32_t i = c.least; ok && n && !loop && i < c.most; i++)
        ok = put(m, REGEX_SPLIT, 1, size + 1) && copy_piece(m, piece, n);
    free(piece);
    return ok;
}

static bool is_place(const struct maker *m, uint32_t start)
{
    return m->n == start + 1 && m->steps[start].op == REGEX_AT;
}

static bool piece(struct maker *m, struct width *width)
{
    uint32_t start = m->n;
    struct count c;
    bool found, grouped = *m->at == '(';
    if (!atom(m, width) || !read_repeat(m, &c, &found)) return false;
    if (!found) return true;
    if (is_place(m, start) && !grouped) return fail(m, bad); /* Python: nothing to repeat */
    if (!repeat(m, m->n - start, c)) return false;
    width->least = width_times(width->least, c.least);
    width->most = width_times(width->most, c.most);
    if (!read_repeat(m, &c, &found)) return false;
    return found ? fail(m, bad) : true; /* Python: multiple repeat */
}

static bool sequence(struct maker *m, struct width *width)
{
    struct width one;
    *width = (struct width){0, 0};
    while (*m->at && *m->at != '|' && *m->at != ')') {
        if (!piece(m, &one)) return false;
        width->least = width_sum(width->least, one.least);
        width->most = width_sum(width->most, one.most);
    }
    return true;
}

/* `a|b|c`: a split in front of all but the last, a jump to the end behind it; jumps are set when the end is known. */
static bool either(struct maker *m, struct width *width)
{
    uint32_t start = m->n, last_jump = 0;
    struct width one;
    if (!sequence(m, width)) return false;
    while (*m->at == '|') {
        m->at++;
        if (m->n + 2 > REGEX_STEPS_MAX) return fail(m, long_program);
        memmove(m->steps + start + 1, m->steps + start, (m->n - start) * sizeof *m->steps);
        m->n++;
        m->steps[start] = (struct regex_step){REGEX_SPLIT, 1, (int32_t)(m->n + 1 - start)};
        uint32_t jump = m->n;
        if (!put(m, REGEX_JUMP, (int32_t)last_jump, 0)) return false; /* for now: the one before */
        last_jump = jump;
        start = m->n;
        if (!sequence(m, &one)) return false;
        width->least = one.least < width->least ? one.least : width->least;
        width->most = one.most > width->most ? one.most : width->most;
    }
    while (last_jump) {
        uint32_t before = (uint32_t)m->steps[last_jump].a;
        m->steps[last_jump].a = (int32_t)(m->n - last_jump);
        last_jump = before;
    }
    return true;
}

static bool whole(struct maker *m)
{
    struct width width;
    if (!either(m, &width)) return false;
    if (*m->at) return fail(m, bad); /* a ")" too many */
    if (!put(m, REGEX_ACCEPT, 0, 0)) return false;
    m->r->main = (struct regex_program){calloc(m->n, sizeof *m->steps), m->n};
    if (!m->r->main.steps) return fail(m, no_memory);
    memcpy(m->r->main.steps, m->steps, m->n * sizeof *m->steps);
    return true;
}

struct regex *regex_compile(const char *pattern, const char **why)
{
    struct maker m = {.r = calloc(1, sizeof *m.r), .steps = calloc(REGEX_STEPS_MAX, sizeof *m.steps), .at = pattern};
    bool ok = m.r && m.steps;
    if (ok && strlen(pattern) > REGEX_PATTERN_MAX) ok = fail(&m, "it is too long");
    ok = ok && whole(&m);
    free(m.steps);
    *why = m.why == no_memory ? NULL : m.why;
    if (ok) return m.r;
    regex_free(m.r);
    return NULL;
}

void regex_free(struct regex *r)
{
    if (!r) return;
    for (uint32_t i = 0; i < r->n_looks; i++) free(r->looks[i].body.steps);
    free(r->main.steps);
    free(r->sets);
    free(r);
}
