#include "formats/quant_exclude.h"

#include "core/cleanup.h"
#include "formats/name_match.h"

#include <stdlib.h>
#include <string.h>

struct quantized {
    const char **names;
    uint32_t n;
};

/* Does one begin with these n bytes? */
static bool some_begins(const struct quantized *q, const char *prefix, size_t n)
{
    uint32_t lo = 0, hi = q->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (strncmp(q->names[mid], prefix, n) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo < q->n && strncmp(q->names[lo], prefix, n) == 0;
}

/* Is one exactly these n bytes? */
static bool some_is(const struct quantized *q, const char *name, size_t n)
{
    uint32_t lo = 0, hi = q->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strncmp(q->names[mid], name, n);
        if (c < 0) lo = mid + 1;
        else if (c > 0 || q->names[mid][n]) hi = mid;
        else return true;
    }
    return false;
}

/* The pattern for one module, NULL when memory is gone. */
static const char *summarize(struct arena *texts, const struct quantized *q, const char *name)
{
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        size_t n = (size_t)(dot - name);
        if (!some_begins(q, name, n)) return arena_printf(texts, "%.*s*", (int)n, name);
        if (!some_is(q, name, n) && !some_begins(q, name, n + 1)) return arena_printf(texts, "%.*s.*", (int)n, name);
    }
    return arena_text(texts, name);
}

/* "a.*" or "a*" already speaks for "a.b": sorted neighbours mostly share their pattern. */
static bool covered(const char *pattern, const char *name)
{
    size_t n = pattern ? strlen(pattern) : 0;
    return n && pattern[n - 1] == '*' && strncmp(pattern, name, n - 1) == 0 &&
           (name[n - 1] == '.' || pattern[n - 2] == '.');
}

/* vLLM takes an excluded name for a part of names, also in the middle, and turns `P*` into `P` and `P.*` first. Where
 * that would hit a quantized module, one letter is written as a set: the same names match, but no name holds the text.
 */
static const char *as_set(struct arena *texts, const char *pattern)
{
    size_t at = strlen(pattern);
    while (at > 0 && !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", pattern[at - 1])) at--;
    if (at == 0) return pattern;
    return arena_printf(texts, "%.*s[%c]%s", (int)at - 1, pattern, pattern[at - 1], pattern + at);
}

/* What vLLM may find inside a name. `P.*` stays as it is: no module has a star in its name. */
static bool stem(struct arena *texts, const char *pattern, const char **out)
{
    size_t n = strlen(pattern);
    bool star = n && pattern[n - 1] == '*';
    *out = star && n > 1 && pattern[n - 2] == '.' ? pattern : arena_copy(texts, pattern, n - star);
    return *out != NULL;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Stems that stand inside a quantized name: traps[] by their place in the set, then packed. */
static void find_traps(const struct text_set *stems, const struct quantized *q, const char **traps, uint32_t *n_traps)
{
    for (uint32_t i = 0; i < q->n; i++)
        for (const char *place = q->names[i], *t; (t = text_set_next(stems, &place));)
            traps[texts_lower_bound(stems->texts, stems->n, t)] = t;
    for (uint32_t i = 0; i < stems->n; i++)
        if (traps[i]) traps[(*n_traps)++] = traps[i];
}

/* The set keeps only the shortest of stems that begin alike: those that begin with a guilty one count as guilty too. */
static bool rewrite_traps(struct arena *texts, const char **traps, uint32_t n_traps, const char *const *stems,
                          const char **out, uint32_t n, struct error *err)
{
    struct text_set guilty;
    if (!text_set_build(&guilty, traps, n_traps, err)) return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < n; i++)
        if (text_set_prefix(&guilty, stems[i]) && !strchr(stems[i], '*')) ok = (out[i] = as_set(texts, out[i])) != NULL;
    text_set_free(&guilty);
    return ok ? true : error_memory(err, 0);
}

static bool disarm(struct arena *texts, const struct quantized *q, const char **out, uint32_t n, struct error *err)
{
    struct text_set stems;
    uint32_t n_traps = 0;
    CLEANUP(free) const char **list = malloc((n ? n : 1) * sizeof *list);
    CLEANUP(free) const char **traps = calloc(n ? n : 1, sizeof *traps);
    bool ok = list && traps;
    for (uint32_t i = 0; ok && i < n; i++) ok = stem(texts, out[i], &list[i]);
    if (!ok) return error_memory(err, n * sizeof *list);
    if (!text_set_build(&stems, list, n, err)) return false;
    find_traps(&stems, q, traps, &n_traps);
    text_set_free(&stems);
    return n_traps == 0 || rewrite_traps(texts, traps, n_traps, list, out, n, err);
}

/* Names without a dot first. */
static int in_order(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    bool x_dot = strchr(x, '.') != NULL, y_dot = strchr(y, '.') != NULL;
    return x_dot != y_dot ? x_dot - y_dot : strcmp(x, y);
}

bool quant_exclude(struct arena *texts, const char **plain, uint32_t n_plain, const char **quantized,
                   uint32_t n_quantized, const char **out, uint32_t *n_out, struct error *err)
{
    struct quantized q = {quantized, n_quantized};
    const char *last = NULL;
    uint32_t n = 0;
    if (n_plain) qsort(plain, n_plain, sizeof *plain, by_bytes);
    if (n_quantized) qsort(quantized, n_quantized, sizeof *quantized, by_bytes);
    for (uint32_t i = 0; i < n_plain; i++) {
        if (covered(last, plain[i])) continue;
        last = summarize(texts, &q, plain[i]);
        if (!last) return error_memory(err, strlen(plain[i]));
        out[n++] = last;
    }
    n = texts_sort(out, n);
    if (!disarm(texts, &q, out, n, err)) return false;
    if (n) qsort(out, n, sizeof *out, in_order);
    *n_out = n;
    return true;
}
