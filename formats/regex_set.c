/* What stands in brackets, and what escaped letters stand for. */
#include "formats/regex_impl.h"

#include <ctype.h>
#include <string.h>

static bool fail(const char **why, const char *text)
{
    *why = text;
    return false;
}

static void add_range(struct regex_set *s, uint32_t low, uint32_t high)
{
    for (uint32_t c = low; c <= high; c++) s->ascii[c / 64] |= (uint64_t)1 << c % 64;
}

static void invert(struct regex_set *s)
{
    s->ascii[0] = ~s->ascii[0];
    s->ascii[1] = ~s->ascii[1];
    s->others = !s->others;
}

bool regex_set_class(struct regex_set *s, char letter)
{
    struct regex_set c = {{0, 0}, false};
    switch (tolower((unsigned char)letter)) {
    case 'd': add_range(&c, '0', '9'); break;
    case 'w':
        for (uint32_t i = 0; i < 128; i++)
            if (regex_is_word(i)) add_range(&c, i, i);
        break;
    case 's': /* as str.isspace has it: with the four separators of ASCII */
        add_range(&c, '\t', '\r');
        add_range(&c, 28, ' ');
        break;
    default: return false;
    }
    if (isupper((unsigned char)letter)) invert(&c);
    s->ascii[0] |= c.ascii[0];
    s->ascii[1] |= c.ascii[1];
    s->others |= c.others;
    return true;
}

uint32_t regex_escaped_letter(char c, const char **why)
{
    static const char from[] = "nrtfva", to[] = "\n\r\t\f\v\a";
    const char *found = c ? strchr(from, c) : NULL;
    if (found) return (uint32_t)to[found - from];
    if (c && (ispunct((unsigned char)c) || c == ' ')) return (uint32_t)c;
    *why = !c                          ? REGEX_BAD
           : isdigit((unsigned char)c) ? REGEX_REFERENCES
                                       : "of escapes, \\d \\w \\s \\b \\A \\Z, \\n and the like, and escaped "
                                         "punctuation are read here";
    return 0;
}

/* One end of a range, or a class that joins the set: then *is_class. */
static bool member(const char **at, struct regex_set *s, uint32_t *letter, bool *is_class, const char **why)
{
    *is_class = false;
    if (**at != '\\') {
        *letter = regex_letter(*at, at);
        return *letter < 128 ? true : fail(why, "in brackets only letters of ASCII are read here");
    }
    char c = *++*at;
    *at += c != '\0';
    *is_class = regex_set_class(s, c);
    *letter = *is_class ? 0 : c == 'b' ? '\b' : regex_escaped_letter(c, why);
    return *is_class || *letter != 0;
}

/* A letter, a class or a range. */
static bool item(const char **at, struct regex_set *s, const char **why)
{
    uint32_t low, high;
    bool class_low, class_high = false;
    if (!member(at, s, &low, &class_low, why)) return false;
    high = low;
    bool range = **at == '-' && (*at)[1] != ']' && (*at)[1];
    if (range) {
        ++*at;
        if (!member(at, s, &high, &class_high, why)) return false;
        if (class_low || class_high || high < low) return fail(why, REGEX_BAD);
    }
    if (!class_low) add_range(s, low, high);
    return true;
}

bool regex_set_read(const char **at, struct regex_set *out, const char **why)
{
    *out = (struct regex_set){{0, 0}, false};
    bool inverted = *++*at == '^';
    *at += inverted;
    const char *first = *at;
    while (**at != ']' || *at == first) {
        if (!**at) return fail(why, REGEX_BAD);
        if (!item(at, out, why)) return false;
    }
    ++*at;
    if (inverted) invert(out);
    return true;
}
