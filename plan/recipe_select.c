#include "formats/name_match.h"
#include "formats/quant_method.h"
#include "plan/recipe.h"

/* The class a published pattern's `class` word means for one of our roles. */
static bool class_fits(const char *word, enum tensor_role role)
{
    if (strcmp(word, "Embedding") == 0) return role == ROLE_EMBED || role == ROLE_MTP_EMBED;
    if (strcmp(word, "Linear") == 0) return role != ROLE_EMBED && role != ROLE_MTP_EMBED;
    return false;
}

static bool is_excepted(const struct recipe_line *l, const char *module)
{
    for (const char *const *p = l->except; p && *p; p++)
        if (glob_match(*p, module)) return true;
    return l->except_regex && regex_list_fits(l->except_regex, module);
}

bool recipe_line_selects(const struct recipe_line *l, const struct recipe_target *t, const char *quantizer_suffix)
{
    if (t->mtp && !l->mtp) return false;
    if (l->module_class && !class_fits(l->module_class, t->role)) return false;
    if (l->before >= 0 && l->before != t->next) return false;
    if (is_excepted(l, t->module)) return false;
    if (l->layers) {
        bool in = false;
        for (uint32_t i = 0; i < l->n_layers; i++) in |= t->layer == (int32_t)l->layers[i];
        if (!in) return false;
    }
    if (l->roles) {
        for (const char *const *w = l->roles; *w; w++)
            if (role_is(t->role, *w)) return true;
        return false;
    }
    if (l->regex) return regex_list_fits(l->regex, t->module);
    if (l->module) return glob_match(l->module, t->module);
    char name[1024];
    int n = snprintf(name, sizeof name, "%s.%s", t->module, quantizer_suffix);
    return n > 0 && (size_t)n < sizeof name && glob_match(l->quantizer, name);
}

bool recipe_line_selects_cache(const struct recipe_line *l, const struct recipe_target *t, const char *quantizer)
{
    return l->quantizer && !l->module_class && recipe_line_selects(l, t, quantizer);
}
