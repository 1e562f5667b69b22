#include "plan/quant_type.h"

#include <string.h>

const struct quant_type quant_types[] = {
    {.word = "none", .stored = "none", .uses = USE_WEIGHTS | USE_INPUTS | USE_CACHE},
    {.word = "nvfp4", .stored = "nvfp4", .uses = USE_WEIGHTS | USE_INPUTS | USE_CACHE},
    {.word = "fp8", .stored = "fp8", .uses = USE_WEIGHTS | USE_INPUTS | USE_CACHE},
    {.word = "fp8_channel", .stored = "fp8_channel", .uses = USE_WEIGHTS},
    {.word = "fp8_token", .stored = "fp8_token", .uses = USE_INPUTS},
    {.word = "fp8_block", .stored = "fp8_block", .uses = USE_WEIGHTS},
    {.word = "fp8_group", .stored = "fp8_group", .uses = USE_INPUTS},
    {.word = "mxfp8", .stored = "mxfp8", .uses = USE_WEIGHTS | USE_INPUTS},
    {.word = "mxfp4", .stored = "mxfp4", .uses = USE_WEIGHTS, .mxfp4_rule = MXFP4_MODELOPT},
    {.word = "mxfp4_ocp", .stored = "mxfp4", .uses = USE_WEIGHTS, .mxfp4_rule = MXFP4_OCP},
    {.word = "int4", .stored = "int4", .uses = USE_WEIGHTS, .groups = true},
    {.word = NULL},
};

const struct quant_type *quant_type_find(const char *word)
{
    if (strcmp(word, "off") == 0) return QUANT_TYPE_NONE;
    for (const struct quant_type *t = quant_types; t->word; t++)
        if (strcmp(t->word, word) == 0) return t;
    return NULL;
}

bool quant_type_is(const struct quant_type *t, const char *word)
{
    return t && strcmp(t->word, word) == 0;
}
