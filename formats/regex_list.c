/* Lists of expressions, as configurations and recipes have them. */
#include "formats/quant_method.h"
#include "formats/regex.h"

struct regex_list {
    struct regex **compiled;
    char **texts;
    uint32_t n;
};

static bool refuse(const char *text, const char *what, const char *why, struct error *err)
{
    return error_set(err, ERR_UNSUPPORTED, "%s: pattern 're:%.128s': %s", what, text, why);
}

bool regex_list_make(struct regex_list **out, const char *const *texts, uint32_t n, const char *what, struct error *err)
{
    struct regex_list *l = calloc(1, sizeof *l);
    *out = l;
    if (!l || !(l->compiled = calloc(n ? n : 1, sizeof *l->compiled)) ||
        !(l->texts = calloc(n ? n : 1, sizeof *l->texts)))
        return error_memory(err, n * sizeof *l->compiled);
    for (uint32_t i = 0; i < n; i++) {
        const char *why;
        l->compiled[i] = regex_compile(texts[i], &why);
        if (!l->compiled[i]) return why ? refuse(texts[i], what, why, err) : error_memory(err, strlen(texts[i]));
        l->texts[l->n++] = strdup(texts[i]);
        if (!l->texts[i]) return error_memory(err, strlen(texts[i]));
    }
    return true;
}

void regex_list_free(struct regex_list *l)
{
    if (!l) return;
    for (uint32_t i = 0; i < l->n; i++) {
        regex_free(l->compiled[i]);
        free(l->texts[i]);
    }
    free(l->texts);
    free(l->compiled);
    free(l);
}

bool regex_list_fits(const struct regex_list *l, const char *name)
{
    for (uint32_t i = 0; l && i < l->n; i++)
        if (regex_fits(l->compiled[i], name)) return true;
    return false;
}

const char *regex_list_text(const struct regex_list *l, uint32_t i)
{
    return l && i < l->n ? l->texts[i] : NULL;
}

bool regex_list_one_fits(const struct regex_list *l, uint32_t i, const char *name)
{
    return regex_fits(l->compiled[i], name);
}
