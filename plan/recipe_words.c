#include "plan/recipe_words.h"

#include "core/text.h"

struct word {
    const char *word;
    int value;
};

static const struct word scales[] = {{"max", SCALES_MAX},
                                     {"mse", SCALES_MSE},
                                     {"four_over_six", SCALES_FOUR_OVER_SIX},
                                     {"local_hessian", SCALES_LOCAL_HESSIAN},
                                     {"mse_range", SCALES_RANGE},
                                     {"mxfp4_cast", SCALES_MXFP4_CAST},
                                     {NULL, 0}};
static const struct word roundings[] = {
    {"single", FP8_SINGLE}, {"modelopt-cpu", FP8_MODELOPT_CPU}, {"modelopt-cuda", FP8_MODELOPT_CUDA}, {NULL, 0}};
static const struct word unseen[] = {
    {"error", UNSEEN_ERROR}, {"layer_max", UNSEEN_LAYER_MAX}, {"all_tokens", UNSEEN_ALL_TOKENS}, {NULL, 0}};
static const struct word kv_words[] = {
    {"none", KV_NONE}, {"fp8", KV_FP8}, {"fp8_cast", KV_FP8_CAST}, {"nvfp4", KV_NVFP4}, {"nvfp4_cast", KV_NVFP4_CAST},
    {NULL, 0}};

static bool find(const struct word *table, const char *word, const char *key, const char *what, int *out,
                 struct error *err)
{
    __attribute__((cleanup(cleanup_text))) struct text list = TEXT_INIT;
    for (const struct word *w = table; w->word; w++) {
        if (strcmp(w->word, word) == 0) {
            *out = w->value;
            return true;
        }
        text_add(&list, "%s%s", w == table ? "" : ", ", w->word);
    }
    return error_set(err, ERR_FORMAT, "%s: key '%s': expected one of %s, found '%.64s'", what, key, list.data, word);
}

static bool read_word(const struct word *table, const json_t *json, const char *key, const char *what, int *out,
                      struct error *err)
{
    const char *word = NULL;
    if (!json_has(json, key)) return true;
    return json_get_string(json, key, what, &word, err) && find(table, word, key, what, out, err);
}

#define WORD_OF(name, table, type)                                                                                     \
    bool name(const json_t *json, const char *key, const char *what, type *out, struct error *err)                     \
    {                                                                                                                  \
        int v = (int)*out;                                                                                             \
        if (!read_word(table, json, key, what, &v, err)) return false;                                                 \
        *out = (type)v;                                                                                                \
        return true;                                                                                                   \
    }
WORD_OF(word_of_scales, scales, enum scale_method)
WORD_OF(word_of_rounding, roundings, enum fp8_rounding)
WORD_OF(word_of_unseen, unseen, enum unseen_policy)

bool word_of_type(const json_t *json, const char *key, const char *what, unsigned uses, const struct quant_type **out,
                  struct error *err)
{
    const char *word = NULL;
    if (!json_has(json, key)) return true;
    if (!json_get_string(json, key, what, &word, err)) return false;
    const struct quant_type *t = quant_type_find(word);
    if (t && t->uses & uses) {
        *out = t;
        return true;
    }
    __attribute__((cleanup(cleanup_text))) struct text list = TEXT_INIT;
    for (t = quant_types; t->word; t++)
        if (t->uses & uses) text_add(&list, "%s%s", t == quant_types ? "" : ", ", t->word);
    return error_set(err, ERR_FORMAT, "%s: key '%s': expected one of %s, found '%.64s'", what, key, list.data, word);
}

bool word_of_kv(const char *word, const char *what, enum kv_choice *out, struct error *err)
{
    int v = 0;
    if (!find(kv_words, word, "kv_cache", what, &v, err)) return false;
    *out = (enum kv_choice)v;
    return true;
}

bool unseen_parse(const char *word, enum unseen_policy *out)
{
    for (const struct word *w = unseen; w->word; w++) {
        if (strcmp(w->word, word) != 0) continue;
        *out = (enum unseen_policy)w->value;
        return true;
    }
    return false;
}

static const char *name_of(const struct word *table, int value)
{
    while (table->word && table->value != value) table++;
    return table->word;
}

const char *rounding_name(enum fp8_rounding r)
{
    return name_of(roundings, (int)r);
}

const char *unseen_name(enum unseen_policy p)
{
    return name_of(unseen, (int)p);
}

const char *scales_name(enum scale_method m)
{
    return name_of(scales, (int)m);
}
