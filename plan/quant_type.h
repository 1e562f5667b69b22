/* The words of recipes for how weights, inputs and caches are stored, one row each. Which words together make a type
 * that engines load is said by the rows of formats/quant_format_rows.c. */
#ifndef PLAN_QUANT_TYPE_H
#define PLAN_QUANT_TYPE_H

#include "core/error.h"
#include "numeric/op.h"

enum type_use { USE_WEIGHTS = 1, USE_INPUTS = 2, USE_CACHE = 4 };

struct quant_type {
    const char *word;   /* in recipes: "nvfp4", "fp8_token" */
    const char *stored; /* the word in the rows of quant_formats[]: several words may be stored alike */
    unsigned uses;      /* enum type_use */
    enum mxfp4_rule mxfp4_rule;
    bool groups; /* `group` and `zero` stand beside it */
};

/* "none" first. The word NULL ends it. */
extern const struct quant_type quant_types[];
#define QUANT_TYPE_NONE (&quant_types[0])

/* By its word; "off" is "none". NULL when unknown. */
const struct quant_type *quant_type_find(const char *word);
/* False for NULL: a line that says nothing. */
bool quant_type_is(const struct quant_type *t, const char *word);

#endif
