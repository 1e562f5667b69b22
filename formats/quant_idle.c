/* Entries of a quantization configuration that speak of nothing. */
#include "formats/name_match.h"
#include "formats/quant_method.h"

#include <stdlib.h>
#include <string.h>

struct names {
    const char *const *texts; /* sorted */
    uint32_t n;
};

static bool is_name(const struct names *m, const char *text)
{
    uint32_t i = texts_lower_bound(m->texts, m->n, text);
    return i < m->n && strcmp(m->texts[i], text) == 0;
}

/* Some name begins so, and ends there or goes on behind a dot when `whole`. */
static bool begins_name(const struct names *m, const char *text, size_t n, bool whole)
{
    char *prefix = strndup(text, n);
    bool found = false;
    for (uint32_t i = prefix ? texts_lower_bound(m->texts, m->n, prefix) : m->n; !found && i < m->n; i++) {
        if (strncmp(m->texts[i], text, n) != 0) break;
        found = !whole || m->texts[i][n] == '\0' || m->texts[i][n] == '.';
    }
    free(prefix);
    return found;
}

/* As ModelOpt's lists mean it, and AWQ's: a wildcard, or a text that stands anywhere. */
static bool loosely_fits(const struct names *m, const char *text)
{
    size_t n = strlen(text), first = strcspn(text, "*?[");
    if (begins_name(m, text, first, false) && (first == n || (first + 1 == n && text[first] == '*'))) return true;
    for (uint32_t i = 0; i < m->n; i++)
        if (first == n ? strstr(m->texts[i], text) != NULL : glob_match(text, m->texts[i])) return true;
    return false;
}

static bool pattern_fits(const struct names *m, const struct regex_list *l, uint32_t i)
{
    for (uint32_t k = 0; k < m->n; k++)
        if (regex_list_one_fits(l, i, m->texts[k])) return true;
    return false;
}

static void count(uint32_t *n, const char **first, const char *text)
{
    if ((*n)++ == 0) *first = text;
}

static void idle_patterns(const struct names *m, const struct regex_list *l, uint32_t *n, const char **first)
{
    const char *text;
    for (uint32_t i = 0; (text = regex_list_text(l, i)); i++)
        if (!pattern_fits(m, l, i)) count(n, first, text);
}

uint32_t quant_form_idle(const struct quant_form *f, const char *const *names, uint32_t n_names, const char **first)
{
    struct names m = {names, n_names};
    uint32_t n = 0;
    *first = NULL;
    for (uint32_t i = 0; i < f->n_excluded; i++) {
        const char *text = f->excluded[i];
        if (!(f->exact_names ? is_name(&m, text) : loosely_fits(&m, text))) count(&n, first, text);
    }
    for (uint32_t i = 0; i < f->n_layers; i++)
        if (!begins_name(&m, f->layers[i].name, strlen(f->layers[i].name), true)) count(&n, first, f->layers[i].name);
    for (uint32_t i = 0; i < f->n_targets; i++) {
        if (f->targets[i].name && !is_name(&m, f->targets[i].name)) count(&n, first, f->targets[i].name);
        idle_patterns(&m, f->targets[i].patterns, &n, first);
    }
    idle_patterns(&m, f->ignored, &n, first);
    return n;
}
