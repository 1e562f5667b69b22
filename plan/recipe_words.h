/* The words of recipe files and what they mean: one table per key, so that errors can list them. */
#ifndef PLAN_RECIPE_WORDS_H
#define PLAN_RECIPE_WORDS_H

#include "plan/recipe.h"

/* An absent key leaves *out as it is. */
MUST_CHECK bool word_of_type(const json_t *json, const char *key, const char *what, unsigned uses,
                             const struct quant_type **out, struct error *err);
MUST_CHECK bool word_of_scales(const json_t *json, const char *key, const char *what, enum scale_method *out,
                               struct error *err);
MUST_CHECK bool word_of_rounding(const json_t *json, const char *key, const char *what, enum fp8_rounding *out,
                                 struct error *err);
MUST_CHECK bool word_of_unseen(const json_t *json, const char *key, const char *what, enum unseen_policy *out,
                               struct error *err);
MUST_CHECK bool word_of_kv(const char *word, const char *what, enum kv_choice *out, struct error *err);

/* The word alone, as other files than recipes hold it; false when it is none. */
bool unseen_parse(const char *word, enum unseen_policy *out);

const char *rounding_name(enum fp8_rounding r);
const char *unseen_name(enum unseen_policy p);
const char *scales_name(enum scale_method m);

#endif
