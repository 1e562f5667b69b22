#include "formats/name_match.h"

#include <stdlib.h>
#include <string.h>

/* One bit for each pair of first bytes: most places of a name cannot begin any text. */
#define STARTS_BYTES (65536u / 8u)

bool glob_is_pattern(const char *text)
{
    return strpbrk(text, "*?[") != NULL;
}

/* The set at p (behind its '['): *end is behind its ']'. False when there is no ']'. */
static bool set_matches(const char *p, uint8_t c, const char **end, bool *matches)
{
    bool negated = *p == '!', found = false;
    if (negated) p++;
    const char *first = p;
    for (; *p && (*p != ']' || p == first); p++) {
        uint8_t low = (uint8_t)*p, high = low;
        if (p[1] == '-' && p[2] && p[2] != ']') {
            high = (uint8_t)p[2];
            p += 2;
        }
        found = found || (low <= c && c <= high);
    }
    if (*p != ']') return false;
    *end = p + 1;
    *matches = found != negated;
    return true;
}

/* One step of the pattern that is not a star. *next: the pattern behind it. */
static bool step_matches(const char *p, uint8_t c, const char **next)
{
    bool matches;
    *next = p + 1;
    if (*p == '?') return true;
    if (*p == '[' && set_matches(p + 1, c, next, &matches)) return matches;
    return (uint8_t)*p == c;
}

bool glob_match(const char *pattern, const char *name)
{
    /* On a mismatch only the last star is widened: what an earlier one took can stay as it is. */
    const char *star = NULL, *star_name = NULL, *next;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            star_name = name;
        } else if (*pattern && step_matches(pattern, (uint8_t)*name, &next)) {
            pattern = next;
            name++;
        } else if (star) {
            pattern = star;
            name = ++star_name;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return *pattern == '\0';
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

uint32_t texts_sort(const char **texts, uint32_t n)
{
    uint32_t kept = 0;
    if (n) qsort(texts, n, sizeof *texts, by_bytes);
    for (uint32_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(texts[kept - 1], texts[i]) != 0) texts[kept++] = texts[i];
    return kept;
}

uint32_t texts_lower_bound(const char *const *texts, uint32_t n, const char *text)
{
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (strcmp(texts[mid], text) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static void mark_start(struct text_set *s, const char *text)
{
    uint32_t a = (uint8_t)text[0], b = a ? (uint8_t)text[1] : 0;
    if (!a) memset(s->starts, 0xff, STARTS_BYTES);
    for (uint32_t k = b; k <= (b ? b : 255); k++) s->starts[(a << 8 | k) / 8] |= (uint8_t)(1u << k % 8);
}

bool text_set_build(struct text_set *out, const char *const *texts, uint32_t n, struct error *err)
{
    *out = (struct text_set){.texts = malloc((n ? n : 1) * sizeof *out->texts), .starts = calloc(1, STARTS_BYTES)};
    if (!out->texts || !out->starts) {
        text_set_free(out);
        return error_memory(err, n * sizeof *out->texts + STARTS_BYTES);
    }
    if (n) memcpy(out->texts, texts, n * sizeof *texts);
    n = texts_sort(out->texts, n);
    for (uint32_t i = 0; i < n; i++) {
        const char *last = out->n ? out->texts[out->n - 1] : NULL;
        if (last && strncmp(out->texts[i], last, strlen(last)) == 0) continue;
        out->texts[out->n++] = out->texts[i];
        mark_start(out, out->texts[out->n - 1]);
    }
    return true;
}

void text_set_free(struct text_set *s)
{
    free(s->texts);
    free(s->starts);
    *s = (struct text_set){0};
}

/* No text begins with another, so the one that begins `name` is the last that is not above it. */
const char *text_set_prefix(const struct text_set *s, const char *name)
{
    uint32_t i = texts_lower_bound(s->texts, s->n, name);
    if (i < s->n && strcmp(s->texts[i], name) == 0) return s->texts[i];
    return i && strncmp(name, s->texts[i - 1], strlen(s->texts[i - 1])) == 0 ? s->texts[i - 1] : NULL;
}

const char *text_set_next(const struct text_set *s, const char **place)
{
    for (const char *p = *place; *p; p++) {
        uint32_t pair = (uint32_t)(uint8_t)p[0] << 8 | (uint8_t)p[1];
        const char *found = s->starts[pair / 8] >> pair % 8 & 1 ? text_set_prefix(s, p) : NULL;
        if (!found) continue;
        *place = p + 1;
        return found;
    }
    return NULL;
}

const char *text_set_inside(const struct text_set *s, const char *name)
{
    if (s->n && !*s->texts[0]) return s->texts[0];
    return text_set_next(s, &name);
}
