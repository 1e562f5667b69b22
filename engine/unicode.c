#include "engine/unicode.h"

#include <stdlib.h>
#include <utf8proc.h>

/* Of utf8proc, and characters that one byte of text decomposes into: of a character at most four, or 18 when
 * compatibility counts (UAX #15, "Maximum Expansion Factors"), and these have at least two, or three, bytes. */
static const struct form {
    int options;
    uint32_t most;
} forms[] = {
    [UNICODE_NFC] = {UTF8PROC_STABLE | UTF8PROC_COMPOSE, 2},
    [UNICODE_NFD] = {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, 2},
    [UNICODE_NFKC] = {UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, 6},
    [UNICODE_NFKD] = {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 6},
};

/* The second byte decides about overlong forms, surrogates and what lies beyond U+10FFFF (Unicode 3.9, table 3-7). */
static bool second_fits(uint8_t lead, uint8_t second)
{
    switch (lead) {
    case 0xe0: return second >= 0xa0 && second <= 0xbf;
    case 0xed: return second >= 0x80 && second <= 0x9f;
    case 0xf0: return second >= 0x90 && second <= 0xbf;
    case 0xf4: return second >= 0x80 && second <= 0x8f;
    default: return second >= 0x80 && second <= 0xbf;
    }
}

/* Bytes at p that begin a character, at least 1; *whole when they are all of it. */
static size_t utf8_subpart(const uint8_t *p, size_t n, bool *whole)
{
    size_t size = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0, i = 1;
    while (i < size && i < n && (i == 1 ? second_fits(p[0], p[1]) : (p[i] & 0xc0) == 0x80)) i++;
    *whole = i == size;
    return i;
}

size_t utf8_size(const uint8_t *p, size_t n)
{
    bool whole;
    size_t size = utf8_subpart(p, n, &whole);
    return whole ? size : 0;
}

uint32_t utf8_char(const uint8_t *p, size_t size)
{
    static const uint8_t lead_mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = p[0] & lead_mask[size];
    for (size_t i = 1; i < size; i++) c = c << 6 | (p[i] & 0x3fu);
    return c;
}

/* Where the run of ASCII that begins at `at` ends. */
static size_t ascii_end(struct bytes text, size_t at)
{
    for (uint64_t eight; at + 8 <= text.size; at += 8) {
        memcpy(&eight, text.data + at, 8);
        if (eight & 0x8080808080808080u) break;
    }
    while (at < text.size && text.data[at] < 0x80) at++;
    return at;
}

size_t utf8_broken(struct bytes text)
{
    for (size_t at = 0; (at = ascii_end(text, at)) < text.size;) {
        size_t size = utf8_size(text.data + at, text.size - at);
        if (size == 0) return at;
        at += size;
    }
    return text.size;
}

void utf8_put(struct text *out, uint32_t c)
{
    uint8_t bytes[4];
    text_put(out, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, bytes));
}

void utf8_put_lossy(struct text *out, struct bytes text)
{
    size_t kept = 0;
    for (size_t at = 0; at < text.size;) {
        bool whole;
        size_t size = utf8_subpart(text.data + at, text.size - at, &whole);
        at += size;
        if (whole) continue;
        text_put(out, text.data + kept, at - size - kept);
        utf8_put(out, 0xfffd);
        kept = at;
    }
    text_put(out, text.data + kept, text.size - kept);
}

bool unicode_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool unicode_is_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
    }
    /* Joiners, and the symbols that are alphabetic: letters in circles and squares. */
    return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

uint32_t unicode_upper(uint32_t c)
{
    return (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
}

uint32_t unicode_lower(uint32_t c)
{
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

uint32_t unicode_title(uint32_t c)
{
    return (uint32_t)utf8proc_totitle((utf8proc_int32_t)c);
}

static bool in_categories(uint32_t c, uint32_t set)
{
    return set >> utf8proc_category((utf8proc_int32_t)c) & 1;
}

#define CATEGORY(name) (1u << UTF8PROC_CATEGORY_##name)

bool unicode_is_cased(uint32_t c)
{
    return in_categories(c, CATEGORY(LU) | CATEGORY(LL) | CATEGORY(LT)) || c == 0xaa || c == 0xba ||
           (c >= 0x2160 && c <= 0x217f) || (c >= 0x24b6 && c <= 0x24e9);
}

bool unicode_is_case_ignorable(uint32_t c)
{
    return in_categories(c, CATEGORY(MN) | CATEGORY(ME) | CATEGORY(CF) | CATEGORY(LM) | CATEGORY(SK)) || c == '\'' ||
           c == '.' || c == ':' || c == 0xb7 || c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027;
}

bool unicode_is_letter(uint32_t c)
{
    return in_categories(c, CATEGORY(LU) | CATEGORY(LL) | CATEGORY(LT) | CATEGORY(LM) | CATEGORY(LO));
}

bool unicode_is_decimal(uint32_t c)
{
    return in_categories(c, CATEGORY(ND));
}

bool unicode_is_printable(uint32_t c)
{
    return c == ' ' || !in_categories(c, CATEGORY(CC) | CATEGORY(CF) | CATEGORY(CS) | CATEGORY(CO) | CATEGORY(CN) |
                                             CATEGORY(ZL) | CATEGORY(ZP) | CATEGORY(ZS));
}

bool unicode_is_mark(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

void unicode_put_lower(struct text *out, uint32_t c)
{
    /* The only one that becomes two in every language (SpecialCasing.txt). */
    if (c == 0x130) text_put(out, "i\xcc\x87", 3);
    else utf8_put(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

size_t unicode_grapheme(const uint8_t *p, size_t n)
{
    utf8proc_int32_t state = 0;
    size_t at = utf8_lead_size(p[0]);
    uint32_t before = utf8_char(p, at);
    while (at < n) {
        size_t size = utf8_lead_size(p[at]);
        uint32_t c = utf8_char(p + at, size);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)c, &state)) break;
        before = c;
        at += size;
    }
    return at;
}

static int marks_class(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Canonical order: runs of marks sorted by class, equal classes as they stood. utf8proc's own sort takes quadratic time
 * on long runs. keys: room for n. */
static void sort_marks(int32_t *c, uint64_t *keys, size_t n)
{
    for (size_t first = 0, end; first < n; first = end) {
        bool sorted = true;
        int last = 0, c_class;
        for (end = first; end < n && (c_class = marks_class(c[end])) != 0; end++) {
            sorted = sorted && c_class >= last;
            last = c_class;
            /* The class, then the place in the run, then nothing: characters are fetched through the place. */
            keys[end] = (uint64_t)c_class << 32 | (uint32_t)end;
        }
        if (!sorted) {
            qsort(keys + first, end - first, sizeof *keys, by_number);
            for (size_t i = first; i < end; i++) keys[i] = (uint32_t)c[(uint32_t)keys[i]];
            for (size_t i = first; i < end; i++) c[i] = (int32_t)keys[i];
        }
        if (end == first) end++;
    }
}

/* The normal form of a stretch that no composition can cross. */
static bool put_form(struct bytes text, const struct form *form, struct text *out, struct error *err)
{
    size_t room = text.size * form->most, n = 0;
    int32_t small[256], *c = small;
    uint64_t small_keys[256], *keys = small_keys;
    if (room > sizeof small / sizeof *small) {
        c = malloc(room * sizeof *c);
        keys = malloc(room * sizeof *keys);
    }
    bool ok = c && keys;
    for (size_t at = 0, size; ok && at < text.size; at += size) {
        size = utf8_lead_size(text.data[at]);
        int bound = 0;
        utf8proc_ssize_t k = utf8proc_decompose_char((int32_t)utf8_char(text.data + at, size), c + n,
                                                     (utf8proc_ssize_t)(room - n), form->options, &bound);
        ok = k >= 0 && (size_t)k <= room - n;
        n += ok ? (size_t)k : 0;
    }
    if (ok) {
        sort_marks(c, keys, n);
        utf8proc_ssize_t k = utf8proc_normalize_utf32(c, (utf8proc_ssize_t)n, form->options);
        ok = k >= 0;
        for (utf8proc_ssize_t i = 0; i < k; i++) utf8_put(out, (uint32_t)c[i]);
    }
    if (c != small) {
        free(c);
        free(keys);
    }
    return ok && !out->failed ? true : error_memory(err, room * (sizeof *c + sizeof *keys));
}

bool unicode_normalize(struct bytes text, enum unicode_form form, struct text *out, struct error *err)
{
    /* Nothing composes with an ASCII character behind it: a stretch is one ASCII character and what follows. */
    for (size_t at = 0; at < text.size;) {
        size_t end = ascii_end(text, at), first = end > at ? end - 1 : at;
        if (end == text.size) first = end;
        text_put(out, text.data + at, first - at);
        while (end < text.size && text.data[end] >= 0x80) end += utf8_lead_size(text.data[end]);
        if (end > first && !put_form(bytes_of(text.data + first, end - first), &forms[form], out, err)) return false;
        at = end;
    }
    return out->failed ? error_memory(err, text.size) : true;
}
