/* llm-compressor's schemes in our words. Private to plan/recipe_llmcompressor*.c. */
#ifndef PLAN_LLMCOMPRESSOR_H
#define PLAN_LLMCOMPRESSOR_H

#include "plan/recipe_foreign.h"

/* What a modifier's scheme or one of its groups says of the linears that it targets. */
struct scheme {
    const char *weights, *inputs; /* words of ours; NULL: none of ours, see refuse */
    uint32_t group;
    bool zero;
    const char *observer; /* of the weights, or NULL */
    char refuse[160];     /* not empty: what no rule can say */
};

/* By a preset's name, whatever its case; false when there is none of that name. */
bool llm_preset(const char *name, struct scheme *out);
/* {weights: ARGS, input_activations: ARGS, ...}; `doc` and `file` are for errors. */
MUST_CHECK bool llm_scheme(const struct yaml *doc, const char *file, const json_t *json, struct scheme *out,
                           struct error *err);
/* kv_cache_scheme: only FP8 with one scale is read. */
MUST_CHECK bool llm_kv_scheme(const struct yaml *doc, const char *file, const json_t *json, struct error *err);
/* Refuses words that recipes of ours do not have for this half. */
void llm_scheme_finish(struct scheme *s);
/* "file: line 3" of a node, in a buffer of 512 bytes. */
const char *llm_at(const struct yaml *doc, const char *file, const json_t *node, char out[512]);

#endif
