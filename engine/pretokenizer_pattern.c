#include "engine/pretokenizer_pattern.h"

#include "engine/unicode.h"

#include <stdio.h>

/* White_Space, in classes: PCRE2's own \s also has U+180E. */
#define SPACE "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NO_SPACE                                                                                                       \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* Oniguruma's word characters; PCRE2's own \w has fewer. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define CHAR_NONE UINT32_MAX

struct rewrite {
    const uint8_t *start, *p, *end;
    struct text *out;
    struct error *err;
    size_t item;               /* where the last thing that can be repeated begins in `out`; SIZE_MAX: there is none */
    bool item_is_group, counted;
    bool fold[PATTERN_DEPTH_MAX + 1];   /* case counts for nothing, by depth of groups */
    size_t group[PATTERN_DEPTH_MAX + 1];    /* where they begin in `out`; SIZE_MAX: look-around, which is not repeated */
    uint32_t depth;
    uint32_t last_letter;      /* the literal letter just before, in a group where case counts for nothing */
};

static bool refuse(struct rewrite *r, const char *what)
{
    return error_set(r->err, ERR_UNSUPPORTED, "%s at byte %zu of the pattern is not supported", what, (size_t)(r->p - r->start));
}

static void put(struct rewrite *r, const char *text)
{
    text_put(r->out, text, strlen(text));
}

static void put_char(struct text *out, uint32_t c)
{
    text_add(out, "\\x{%x}", c);
}

void pattern_literal(struct bytes text, struct text *out)
{
    for (size_t at = 0, size; at < text.size; at += size) {
        size = utf8_lead_size(text.data[at]);
        put_char(out, utf8_char(text.data + at, size));
    }
}

static bool is_alnum(uint32_t c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

static bool next_is(const struct rewrite *r, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(r->end - r->p) >= n && memcmp(r->p, text, n) == 0;
}

/* \p{Name}, \P{Name}, \p{^Name}; the name begins at r->p. One or two letters name a general category, others a script:
 * without "sc:" PCRE2 would take script extensions. */
static bool rewrite_property(struct rewrite *r, bool negated)
{
    static const char categories[] = " C Cc Cf Cn Co L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs ";
    char name[32], key[36];
    size_t n = 0;
    if (r->fold[r->depth]) return refuse(r, "a property where case counts for nothing");
    if (r->p == r->end || *r->p++ != '{') return refuse(r, "a property without braces");
    if (r->p < r->end && *r->p == '^') {
        negated = !negated;
        r->p++;
    }
    while (r->p < r->end && (is_alnum(*r->p) || *r->p == '_') && n < sizeof name - 1) name[n++] = (char)*r->p++;
    name[n] = '\0';
    if (n == 0 || r->p == r->end || *r->p++ != '}') return refuse(r, "this name of a property");
    snprintf(key, sizeof key, " %s ", name);
    if (n <= 2 && !strstr(categories, key)) return refuse(r, "this name of a category");
    text_add(r->out, "\\%c{%s%s}", negated ? 'P' : 'p', n > 2 ? "sc:" : "", name);
    return true;
}

static bool hex_char(struct rewrite *r, uint32_t *c)
{
    bool braces = r->p < r->end && *r->p == '{';
    uint32_t v = 0, n = 0;
    for (r->p += braces; r->p < r->end && n < (braces ? 6u : 2u); r->p++, n++) {
        uint32_t d = *r->p, low = d | 32;
        if (d >= '0' && d <= '9') v = v * 16 + d - '0';
        else if (low >= 'a' && low <= 'f') v = v * 16 + low - 'a' + 10;
        else break;
    }
    if (braces && (r->p == r->end || *r->p++ != '}')) return refuse(r, "this number of a character");
    /* Without braces, numbers above 7F are single bytes of a character. */
    if (n < (braces ? 1u : 2u) || v > (braces ? 0x10ffffu : 0x7fu) || (v >= 0xd800 && v <= 0xdfff))
        return refuse(r, "this number of a character");
    *c = v;
    return true;
}

/* What follows a backslash: a character (*c), or a set that is written out at once (*c is CHAR_NONE), in a class or, with
 * brackets, outside. */
static bool rewrite_escape(struct rewrite *r, bool in_class, uint32_t *c)
{
    static const char from[] = "rntf", to[] = "\r\n\t\f";
    static const struct { char letter; const char *inside, *outside; } sets[] = {
        {'s', SPACE, "[" SPACE "]"}, {'S', NO_SPACE, "[^" SPACE "]"}, {'d', "\\p{Nd}", "\\p{Nd}"},
        {'D', "\\P{Nd}", "\\P{Nd}"}, {'w', WORD, "[" WORD "]"},
    };
    *c = CHAR_NONE;
    if (r->p == r->end) return refuse(r, "a backslash at the end");
    uint8_t e = *r->p++;
    const char *simple = e ? memchr(from, e, sizeof from - 1) : NULL;
    if (simple) *c = (uint8_t)to[simple - from];
    if (simple) return true;
    if (e == 'x') return hex_char(r, c);
    if (e == 'p' || e == 'P') return rewrite_property(r, e == 'P');
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (sets[i].letter != e) continue;
        put(r, in_class ? sets[i].inside : sets[i].outside);
        return true;
    }
    if (e < 0x21 || e > 0x7e || is_alnum(e) || strchr("<>`'_", e)) {
        r->p--;
        return refuse(r, "this escape");
    }
    *c = e;
    return true;
}

/* One character or set of a class. */
static bool class_item(struct rewrite *r, uint32_t *c)
{
    if (*r->p == '[' || next_is(r, "&&")) return refuse(r, "a set inside a set");
    if (*r->p == '\\') {
        r->p++;
        return rewrite_escape(r, true, c);
    }
    size_t size = utf8_lead_size(*r->p);
    *c = utf8_char(r->p, size);
    r->p += size;
    return true;
}

static bool rewrite_class(struct rewrite *r)
{
    put(r, "[");
    r->p++;
    if (next_is(r, "^")) {
        put(r, "^");
        r->p++;
    }
    if (next_is(r, "]")) return refuse(r, "a class that begins with ']'");
    for (bool first = true; r->p < r->end && *r->p != ']'; first = false) {
        uint32_t low, high;
        if (*r->p == '-' && !first && !next_is(r, "-]")) return refuse(r, "a hyphen here");
        if (!class_item(r, &low)) return false;
        bool range = next_is(r, "-") && !next_is(r, "-]");
        if (range && low == CHAR_NONE) return refuse(r, "a hyphen after a set");
        if (low == CHAR_NONE) continue;
        put_char(r->out, low);
        high = low;
        if (range) {
            r->p++;
            if (r->p == r->end || !class_item(r, &high)) return r->p == r->end ? refuse(r, "an open class") : false;
            if (high == CHAR_NONE || high < low) return refuse(r, "this range");
            put(r, "-");
            put_char(r->out, high);
        }
        if (r->fold[r->depth] && high > 0x7f) return refuse(r, "a class beyond ASCII where case counts for nothing");
    }
    if (r->p == r->end) return refuse(r, "an open class");
    r->p++;
    put(r, "]");
    return true;
}

static bool open_group(struct rewrite *r)
{
    static const struct { const char *from, *to; bool repeatable, fold; } groups[] = {
        {"(?:", "(?:", true, false}, {"(?i:", "(?i:", true, true}, {"(?>", "(?>", true, false},
        {"(?=", "(?=", false, false}, {"(?!", "(?!", false, false}, {"(?<=", "(?<=", false, false},
        {"(?<!", "(?<!", false, false},
    };
    const char *to = NULL;
    bool repeatable = true, fold = r->fold[r->depth];
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        if (!next_is(r, groups[i].from)) continue;
        to = groups[i].to;
        repeatable = groups[i].repeatable;
        fold = fold || groups[i].fold;
        r->p += strlen(groups[i].from);
        break;
    }
    if (!to) {
        if (next_is(r, "(?") || next_is(r, "(*")) return refuse(r, "this kind of group");
        to = "(?:";
        r->p++;
    }
    if (r->depth == PATTERN_DEPTH_MAX) return refuse(r, "a group in so many others");
    r->depth++;
    r->fold[r->depth] = fold;
    r->group[r->depth] = repeatable ? r->out->size : SIZE_MAX;
    r->item = SIZE_MAX;
    put(r, to);
    return true;
}

static bool close_group(struct rewrite *r)
{
    if (r->depth == 0) return refuse(r, "a ')' without '('");
    put(r, ")");
    r->p++;
    r->item = r->group[r->depth--];
    r->item_is_group = true;
    return true;
}

/* {n}, {n,}, {n,m}, {,m}: least and most, UINT32_MAX for no end. */
static bool read_interval(struct rewrite *r, uint32_t *least, uint32_t *most)
{
    uint32_t v[2] = {0, 0}, digits[2] = {0, 0}, i = 0;
    const uint8_t *p = r->p + 1;
    for (; p < r->end && *p != '}' && digits[i] < 5; p++) {
        if (*p == ',' && i == 0) {
            i = 1;
            continue;
        }
        if (*p < '0' || *p > '9') break;
        v[i] = v[i] * 10 + (*p - '0');
        digits[i]++;
    }
    if (p == r->end || *p != '}' || (!digits[0] && !digits[1])) return refuse(r, "this '{'");
    *least = v[0];
    *most = i == 0 ? v[0] : digits[1] ? v[1] : UINT32_MAX;
    if (*most < *least || *least > PATTERN_REPEAT_MAX || (*most > PATTERN_REPEAT_MAX && *most != UINT32_MAX))
        return refuse(r, "this number of repetitions");
    r->p = p + 1;
    return true;
}

/* Counted: what is repeated becomes a group. */
static bool make_group(struct rewrite *r)
{
    struct text *out = r->out;
    text_put(out, "(?:)", 4);    /* room for both ends */
    if (out->failed) return error_memory(r->err, out->size);
    memmove(out->data + r->item + 3, out->data + r->item, out->size - 4 - r->item);
    memcpy(out->data + r->item, "(?:", 3);
    out->data[out->size - 1] = ')';
    return true;
}

static bool rewrite_quantifier(struct rewrite *r)
{
    uint32_t least = *r->p == '+', most = *r->p == '?' ? 1 : UINT32_MAX;
    bool interval = *r->p == '{';
    if (r->item == SIZE_MAX) return refuse(r, "a repetition here");
    if (!interval) r->p++;
    else if (!read_interval(r, &least, &most)) return false;
    /* Oniguruma reads {n}? and {n,m}+ in its own way. */
    if (interval && (next_is(r, "+") || (least == most && next_is(r, "?")))) return refuse(r, "a sign behind a number of repetitions");
    if (r->counted && !r->item_is_group && !make_group(r)) return false;
    if (most == UINT32_MAX) text_add(r->out, "{%u,}", least);
    else text_add(r->out, "{%u,%u}", least, most);
    if (next_is(r, "?") || next_is(r, "+")) text_put(r->out, r->p++, 1);
    r->item = SIZE_MAX;
    return true;
}

/* In Oniguruma two letters can be one: "ss" finds U+00DF where case counts for nothing. */
static bool check_fold(struct rewrite *r, uint32_t c)
{
    static const char pairs[][3] = {"ss", "ff", "fi", "fl", "st"};
    if (!r->fold[r->depth]) return true;
    if (c > 0x7f) return refuse(r, "a letter beyond ASCII where case counts for nothing");
    uint32_t low = is_alnum(c) ? c | 32 : 0;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (r->last_letter == (uint8_t)pairs[i][0] && low == (uint8_t)pairs[i][1]) return refuse(r, "a ligature where case counts for nothing");
    r->last_letter = low;
    return true;
}

static bool rewrite_literal(struct rewrite *r)
{
    uint32_t c;
    size_t before = r->out->size;
    if (*r->p == '\\') {
        r->p++;
        if (!rewrite_escape(r, false, &c)) return false;
    } else {
        size_t size = utf8_lead_size(*r->p);
        c = utf8_char(r->p, size);
        r->p += size;
    }
    r->item = before;
    r->item_is_group = false;
    if (c == CHAR_NONE) return true;
    put_char(r->out, c);
    return check_fold(r, c);
}

static bool rewrite_next(struct rewrite *r)
{
    uint8_t c = *r->p;
    if (c == '*' || c == '+' || c == '?' || c == '{') return rewrite_quantifier(r);
    if (c != '(' && c != '[' && c != ')' && c != '|' && c != '.' && c != '^' && c != '$') return rewrite_literal(r);
    r->last_letter = 0;
    if (c == '(') return open_group(r);
    if (c == ')') return close_group(r);
    r->item = c == '[' || c == '.' ? r->out->size : SIZE_MAX;
    r->item_is_group = false;
    if (c == '[') return rewrite_class(r);
    text_put(r->out, r->p++, 1);
    return true;
}

bool pattern_rewrite(const char *pattern, bool counted, struct text *out, struct error *err)
{
    size_t n = strlen(pattern);
    const uint8_t *p = (const uint8_t *)pattern;
    struct rewrite r = {.start = p, .p = p, .end = p + n, .out = out, .err = err, .item = SIZE_MAX, .counted = counted};
    if (n > PATTERN_BYTES_MAX)
        return error_set(err, ERR_UNSUPPORTED, "a pattern of %zu bytes is not supported, at most %u", n, PATTERN_BYTES_MAX);
    while (r.p < r.end)
        if (!rewrite_next(&r)) return false;
    if (r.depth) return refuse(&r, "a '(' without ')'");
    return out->failed ? error_memory(err, out->size) : true;
}
