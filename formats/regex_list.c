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

/* What Python's \d, \w and \s stand for, of the letters that names have; NULL: another escape. */
static const char *letters_of(char escape)
{
    switch (tolower((unsigned char)escape)) {
    case 'd': return "0-9";
    case 'w': return "A-Za-z0-9_";
    case 's': return " \t\n\r\f\v";
    default: return NULL;
    }
}

/* Where the pattern is read and what it becomes. */
struct translation {
    const char *at;
    char *out;
    const char *text, *what;
    struct error *err;
};

static void add(struct translation *t, const char *more)
{
    while (*more) *t->out++ = *more++;
}

/* `\d` becomes `[0-9]`, `\D` `[^0-9]`; escaped punctuation stands alone in brackets, since the C library has escapes of
 * its own, such as `\<`. */
static bool escape(struct translation *t)
{
    char c = *++t->at;
    const char *letters = letters_of(c);
    if (letters) {
        add(t, isupper((unsigned char)c) ? "[^" : "[");
        add(t, letters);
        add(t, "]");
    } else if (c == '^' || c == '\\') { /* which brackets take for something else */
        *t->out++ = '\\';
        *t->out++ = c;
    } else if (c && ispunct((unsigned char)c)) {
        *t->out++ = '[';
        *t->out++ = c;
        *t->out++ = ']';
    } else {
        return refuse(t->text, t->what, "only \\d, \\w, \\s and escaped punctuation are read here", t->err);
    }
    t->at++;
    return true;
}

/* `[^\d.]`: in brackets a backslash stands for itself in the C library. */
static bool brackets(struct translation *t)
{
    static const char why[] =
        "in brackets only letters, digits, ranges, \\d, \\w, \\s and plain punctuation are read here";
    *t->out++ = *t->at++;
    if (*t->at == '^') *t->out++ = *t->at++;
    if (*t->at == ']') *t->out++ = *t->at++;
    for (; *t->at && *t->at != ']'; t->at++) {
        char c = *t->at;
        if (c == '\\') {
            const char *letters = letters_of(c = *++t->at);
            if (letters && islower((unsigned char)c)) {
                add(t, letters);
                continue;
            }
            if (!c || !ispunct((unsigned char)c) || strchr("]-^[\\", c)) return refuse(t->text, t->what, why, t->err);
        } else if (c == '[' && t->at[1] && strchr(":.=", t->at[1])) {
            return refuse(t->text, t->what, why, t->err);
        }
        *t->out++ = c;
    }
    if (*t->at) *t->out++ = *t->at++;
    return true;
}

/* `(?:` becomes `(`; out: room for 7 bytes per byte and 4 more. */
static bool translate(const char *text, const char *what, char *out, struct error *err)
{
    struct translation t = {text, out, text, what, err};
    add(&t, "^(");
    while (*t.at) {
        char c = *t.at;
        if (c == '(' && t.at[1] == '?') {
            if (t.at[2] != ':') return refuse(text, what, "looking around and flags are not read here", err);
            add(&t, "(");
            t.at += 3;
        } else if (c == '\\') {
            if (!escape(&t)) return false;
        } else if (c == '[') {
            if (!brackets(&t)) return false;
        } else if (c == '{') {
            return refuse(text, what, "counts are not read here", err);
        } else {
            *t.out++ = c;
            t.at++;
            if ((c == '*' || c == '+' || c == '?') && *t.at == '?') t.at++; /* lazy: fits the same names */
        }
    }
    add(&t, ")");
    *t.out = '\0';
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
        char pattern[7 * PATTERN_BYTES_MAX + 4];
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
