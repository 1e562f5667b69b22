#include "plan/recipe_foreign.h"
bool llmcompressor_is_recipe(const json_t *doc)
{
    (void)doc;
    return false;
}
bool llmcompressor_recipe(const struct yaml *docs, const char *file, json_t **out, struct error *err)
{
    (void)docs;
    *out = NULL;
    return error_set(err, ERR_UNSUPPORTED, "%s", file);
}
