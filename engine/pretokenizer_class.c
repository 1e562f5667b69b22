#include "engine/pretokenizer_rewrite.h"
#include "engine/unicode.h"

#include <stdio.h>

/* White_Space, in classes: PCRE2's own \s also has U+180E. */
#define SPACE                                                                                                          \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NO_SPACE                                                                                                       \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* Oniguruma's word characters; PCRE2's own \w has fewer. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

bool rewrite_refuse(struct rewrite *r, const char *what)
{
    return error_set(r->err, ERR_UNSUPPORTED, "%s at byte %zu of the pattern is not supported", what,
                     (size_t)(r->p - r->start));
}

void rewrite_put_char(struct text *out, uint32_t c)
{
    text_add(out, "\\x{%x}", c);
}

bool rewrite_is_alnum(uint32_t c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

bool rewrite_next_is(const struct rewrite *r, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(r->end - r->p) >= n && memcmp(r->p, text, n) == 0;
}

static void put(struct rewrite *r, const char *text)
{
    text_put(r->out, text, strlen(text));
}

/* \p{Name}, \P{Name}, \p{^Name}; the name begins at r->p. One or two letters name a general category, others a script:
 * without "sc:" PCRE2 would take script extensions. */
static bool rewrite_property(struct rewrite *r, bool negated)
{
    static const char categories[] =
        " C Cc Cf Cn Co L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs ";
    char name[32], key[36];
    size_t n = 0;
    if (r->fold[r->depth]) return rewrite_refuse(r, "a property where case counts for nothing");
    if (r->p == r->end || *r->p++ != '{') return rewrite_refuse(r, "a property without braces");
    if (r->p < r->end && *r->p == '^') {
        negated = !negated;
        r->p++;
    }
    while (r->p < r->end && (rewrite_is_alnum(*r->p) || *r->p == '_') && n < sizeof name - 1) name[n++] = (char)*r->p++;
    name[n] = '\0';
    if (n == 0 || r->p == r->end || *r->p++ != '}') return rewrite_refuse(r, "this name of a property");
    snprintf(key, sizeof key, " %s ", name);
    if (n <= 2 && !strstr(categories, key)) return rewrite_refuse(r, "this name of a category");
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
    if (braces && (r->p == r->end || *r->p++ != '}')) return rewrite_refuse(r, "this number of a character");
    /* Without braces, numbers above 7F are single bytes of a character. */
    if (n < (braces ? 1u : 2u) || v > (braces ? 0x10ffffu : 0x7fu) || (v >= 0xd800 && v <= 0xdfff))
        return rewrite_refuse(r, "this number of a character");
    *c = v;
    return true;
}

bool rewrite_escape(struct rewrite *r, bool in_class, uint32_t *c)
{
    static const char from[] = "rntf", to[] = "\r\n\t\f";
    static const struct {
        char letter;
        const char *inside, *outside;
    } sets[] = {
        {'s', SPACE, "[" SPACE "]"}, {'S', NO_SPACE, "[^" SPACE "]"}, {'d', "\\p{Nd}", "\\p{Nd}"},
        {'D', "\\P{Nd}", "\\P{Nd}"}, {'w', WORD, "[" WORD "]"},
    };
    *c = CHAR_NONE;
    if (r->p == r->end) return rewrite_refuse(r, "a backslash at the end");
    uint8_t e = *r->p++;
    const char *simple = e ? memchr(from, e, sizeof from - 1) : NULL;
    if (simple) *c = (uint8_t)to[simple - from];
    if (simple) return true;
    if (e == 'x') return hex_char(r, c);
    if (e == 'p' || e == 'P') return rewrite_property(r, e == 'P');
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (sets[i].letter != e || (e == 'w' && r->dialect == PATTERN_RUST)) continue;
        put(r, in_class ? sets[i].inside : sets[i].outside);
        return true;
    }
    if (e < 0x21 || e > 0x7e || rewrite_is_alnum(e) || strchr("<>`'_", e)) {
        r->p--;
        return rewrite_refuse(r, "this escape");
    }
    *c = e;
    return true;
}

/* One character or set of a class. */
static bool class_item(struct rewrite *r, uint32_t *c)
{
    if (*r->p == '[' || rewrite_next_is(r, "&&") || rewrite_next_is(r, "~~"))
        return rewrite_refuse(r, "a set inside a set");
    if (*r->p == '\\') {
        r->p++;
        return rewrite_escape(r, true, c);
    }
    size_t size = utf8_lead_size(*r->p);
    *c = utf8_char(r->p, size);
    r->p += size;
    return true;
}

/* What stands behind "&&" in a class, a class itself and the last thing in it: a look at the character before the class
 * is matched. `start` is where the class, closed by now, begins in the output. */
static bool intersect(struct rewrite *r, size_t start)
{
    struct text inner = TEXT_INIT, first = TEXT_INIT, *out = r->out;
    r->p += 2;
    if (!rewrite_next_is(r, "[")) return rewrite_refuse(r, "an intersection without a class behind it");
    if (++r->classes > 2) return rewrite_refuse(r, "a class inside so many others");
    r->out = &inner;
    bool ok = rewrite_class(r);
    r->out = out;
    if (ok && !rewrite_next_is(r, "]")) ok = rewrite_refuse(r, "more behind an intersection");
    r->classes--;
    r->p++;
    text_put(&first, out->data + start, out->size - start);
    out->size = start;
    text_put(out, "(?:(?=", 6);
    text_put(out, inner.data, inner.size);
    text_put(out, ")", 1);
    text_put(out, first.data, first.size);
    text_put(out, "])", 2);
    out->failed = out->failed || inner.failed || first.failed;
    text_free(&inner);
    text_free(&first);
    r->item_is_group = true;
    return ok;
}

bool rewrite_class(struct rewrite *r)
{
    size_t start = r->out->size;
    put(r, "[");
    r->p++;
    if (rewrite_next_is(r, "^")) {
        put(r, "^");
        r->p++;
    }
    bool negated = r->out->size > start + 1;
    if (rewrite_next_is(r, "]")) return rewrite_refuse(r, "a class that begins with ']'");
    for (bool first = true; r->p < r->end && *r->p != ']'; first = false) {
        uint32_t low, high;
        if (!first && !negated && rewrite_next_is(r, "&&")) return intersect(r, start);
        if (*r->p == '-' && !first && !rewrite_next_is(r, "-]")) return rewrite_refuse(r, "a hyphen here");
        if (!class_item(r, &low)) return false;
        bool range = rewrite_next_is(r, "-") && !rewrite_next_is(r, "-]");
        if (range && low == CHAR_NONE) return rewrite_refuse(r, "a hyphen after a set");
        if (low == CHAR_NONE) continue;
        rewrite_put_char(r->out, low);
        high = low;
        if (range) {
            r->p++;
            if (r->p == r->end || !class_item(r, &high))
                return r->p == r->end ? rewrite_refuse(r, "an open class") : false;
            if (high == CHAR_NONE || high < low) return rewrite_refuse(r, "this range");
            put(r, "-");
            rewrite_put_char(r->out, high);
        }
        if (r->fold[r->depth] && high > 0x7f)
            return rewrite_refuse(r, "a class beyond ASCII where case counts for nothing");
    }
    if (r->p == r->end) return rewrite_refuse(r, "an open class");
    r->p++;
    put(r, "]");
    return true;
}
