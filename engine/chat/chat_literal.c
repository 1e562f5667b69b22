#include "engine/chat/chat_literal.h"

#include "engine/chat/chat_text.h"
#include "engine/unicode.h"

#include <stdio.h>
#include <stdlib.h>

#define NUMBER_MAX 400u /* characters; 1e308 written out has 309 */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
    return 99;
}

/* Digits with single underscores between them, from `at`; the offset behind them. */
static size_t digits_end(const char *text, size_t size, size_t at, int base, bool may_begin_with_underscore)
{
    size_t end = at;
    for (;;) {
        size_t next = end + (end < size && text[end] == '_' && (end > at || may_begin_with_underscore));
        if (next >= size || digit_of(text[next]) >= base) return end;
        end = next + 1;
    }
}

static size_t integer_literal(const char *text, size_t from, size_t to, int base, struct chat_value *out,
                              const char **why)
{
    int64_t v = 0;
    for (size_t i = from; i < to; i++) {
        if (text[i] == '_') continue;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, digit_of(text[i]), &v))
            *why = "an integer beyond 64 bits";
    }
    *out = chat_int(v);
    return to;
}

/* The offset behind a fraction or an exponent at `end`; `end` itself when there is neither. */
static size_t real_end(const char *text, size_t size, size_t end)
{
    size_t at = end;
    if (at + 1 < size && text[at] == '.' && digit_of(text[at + 1]) < 10)
        at = end = digits_end(text, size, at + 1, 10, false);
    if (at < size && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        if (at < size && (text[at] == '+' || text[at] == '-')) at++;
        if (at < size && digit_of(text[at]) < 10) end = digits_end(text, size, at, 10, false);
    }
    return end;
}

size_t chat_number_literal(const char *text, size_t size, size_t at, bool behind_dot, struct chat_value *out,
                           const char **why)
{
    char plain[NUMBER_MAX + 1], kind = at + 1 < size ? text[at + 1] : 0;
    size_t n = 0, end = digits_end(text, size, at, 10, false), real = behind_dot ? end : real_end(text, size, end);
    if (real > end) {
        for (size_t i = at; i < real && n < NUMBER_MAX; i++)
            if (text[i] != '_') plain[n++] = text[i];
        plain[n] = 0;
        if (n == NUMBER_MAX) *why = "a number of more than 399 characters";
        *out = chat_real(strtod(plain, NULL));
        return real;
    }
    if (text[at] != '0') return integer_literal(text, at, end, 10, out, why);
    int base = kind == 'b' || kind == 'B' ? 2 : kind == 'o' || kind == 'O' ? 8 : kind == 'x' || kind == 'X' ? 16 : 1;
    if (base > 1) {
        end = digits_end(text, size, at + 2, base, true);
        if (end > at + 2) return integer_literal(text, at + 2, end, base, out, why);
    }
    *out = chat_int(0);
    return digits_end(text, size, at, 1, false);
}

/* \x41 and its kin, `n` digits of the base at most from p (exactly n where `whole`): the character, or -1. */
static int64_t code_of(const char *p, size_t size, size_t n, int base, bool whole, size_t *used)
{
    int64_t c = 0;
    size_t i = 0;
    while (i < n && i < size && digit_of(p[i]) < base) c = c * base + digit_of(p[i++]);
    *used = i;
    return whole && i < n ? -1 : c;
}

/* The escape at p (behind the backslash): bytes of it that are used; what it stands for goes to *out. */
static size_t escape(const char *p, size_t size, char **out, const char **why)
{
    static const char plain[] = "\\'\"abfnrtv", meant[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = *p ? strchr(plain, *p) : NULL;
    size_t used = 1, n = utf8_lead_size((uint8_t)*p);
    int64_t c;
    if (*p == '\n') return 1;
    if (known) return *(*out)++ = meant[known - plain], 1;
    if (*p >= '0' && *p <= '7') {
        c = code_of(p, size, 3, 8, false, &used);
    } else if (*p == 'x' || *p == 'u' || *p == 'U') {
        c = code_of(p + 1, size - 1, *p == 'x' ? 2 : *p == 'u' ? 4 : 8, 16, true, &used);
        used++;
    } else if (*p == 'N') {
        *why = "a character by its name (\\N) is not supported";
        return 1;
    } else { /* Python leaves the backslash; behind it, Jinja spells what is not ASCII as an escape that is read no more
              */
        *(*out)++ = '\\';
        if (n == 1) return *(*out)++ = *p, 1;
        uint32_t wide = utf8_char((const uint8_t *)p, n);
        *out += sprintf(*out, wide < 0x100 ? "x%02x" : wide < 0x10000 ? "u%04x" : "U%08x", wide);
        return n;
    }
    if (c < 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        *why = "an escape in a string that stands for no character";
    else *out += chat_utf8((uint32_t)c, *out);
    return used;
}

size_t chat_string_literal(const char *text, size_t size, size_t at, struct arena *arena, struct chat_value *out,
                           const char **why)
{
    char quote = text[at];
    size_t end = at + 1;
    bool escapes = false;
    for (; end < size && text[end] != quote; end++)
        if (text[end] == '\\') escapes = true, end++;
    if (end >= size) return *why = "a string does not end", at;
    *out = chat_string(text + at + 1, end - at - 1);
    if (!escapes) return end + 1;
    /* "\é" (3 bytes) grows most: to 4 bytes and, beyond 16 bits, from 5 to 10 */
    char *made = arena_alloc(arena, out->size + 1, 3), *p = made;
    if (!made) return *why = "out of memory", at;
    for (size_t i = at + 1; i < end && !*why;) {
        if (text[i] != '\\') *p++ = text[i++];
        else i += 1 + escape(text + i + 1, end - i - 1, &p, why);
    }
    *out = chat_string(made, (size_t)(p - made));
    return end + 1;
}
