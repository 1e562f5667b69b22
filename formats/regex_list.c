/* Python's expressions by the C library's: only what means the same in both is taken. Matching is that of an automaton
 * (no references, no counts), in time linear in the name. */
#include "formats/quant_method.h"

#include <ctype.h>
#include <regex.h>

#define PATTERN_BYTES_MAX 4096u

struct regex_list {
    regex_t *compiled;
    char **texts;
    uint32_t n;
};

static bool refuse(const char *text, const char *what, const char *why, struct error *err)
{
    return error_set(err, ERR_UNSUPPORTED, "%s: pattern 're:%.128s': %s", what, text, why);
}

/* `(?:` becomes `(`, `\d` becomes `[0-9]`; escaped punctuation stays. out: room for 5 bytes per byte and 3 more. */
static bool translate(const char *text, const char *what, char *out, struct error *err)
{
    *out++ = '^';
    *out++ = '(';
    for (const char *p = text; *p; p++) {
        if (p[0] == '(' && p[1] == '?') {
            if (p[2] != ':') return refuse(text, what, "looking around and flags are not read here", err);
            *out++ = '(';
            p += 2;
        } else if (*p == '\\') {
            p++;
            if (*p == 'd') {
                memcpy(out, "[0-9]", 5);
                out += 5;
            } else if (*p && ispunct((unsigned char)*p)) {
                *out++ = '\\';
                *out++ = *p;
            } else {
                return refuse(text, what, "only \\d and escaped punctuation are read here", err);
            }
        } else if (*p == '{') {
            return refuse(text, what, "counts are not read here", err);
        } else {
            *out++ = *p;
            if ((*p == '*' || *p == '+' || *p == '?') && p[1] == '?') p++; /* lazy: fits the same names */
        }
    }
    *out++ = ')';
    *out = '\0';
    return true;
}

bool regex_list_make(struct regex_list **out, const char *const *texts, uint32_t n, const char *what, struct error *err)
{
    struct regex_list *l = calloc(1, sizeof *l);
    *out = l;
    if (!l || !(l->compiled = calloc(n ? n : 1, sizeof *l->compiled)) ||
        !(l->texts = calloc(n ? n : 1, sizeof *l->texts)))
        return error_memory(err, n * sizeof(regex_t));
    for (uint32_t i = 0; i < n; i++) {
        char pattern[5 * PATTERN_BYTES_MAX + 4];
        if (strlen(texts[i]) > PATTERN_BYTES_MAX) return refuse(texts[i], what, "it is too long", err);
        if (!translate(texts[i], what, pattern, err)) return false;
        if (regcomp(&l->compiled[i], pattern, REG_EXTENDED | REG_NOSUB) != 0)
            return refuse(texts[i], what, "it is no regular expression", err);
        l->texts[l->n++] = strdup(texts[i]);
        if (!l->texts[i]) return error_memory(err, strlen(texts[i]));
    }
    return true;
}

void regex_list_free(struct regex_list *l)
{
    if (!l) return;
    for (uint32_t i = 0; i < l->n; i++) {
        regfree(&l->compiled[i]);
        free(l->texts[i]);
    }
    free(l->texts);
    free(l->compiled);
    free(l);
}

bool regex_list_fits(const struct regex_list *l, const char *name)
{
    for (uint32_t i = 0; l && i < l->n; i++)
        if (regexec(&l->compiled[i], name, 0, NULL, 0) == 0) return true;
    return false;
}

const char *regex_list_text(const struct regex_list *l, uint32_t i)
{
    return l && i < l->n ? l->texts[i] : NULL;
}

bool regex_list_one_fits(const struct regex_list *l, uint32_t i, const char *name)
{
    return regexec(&l->compiled[i], name, 0, NULL, 0) == 0;
}
