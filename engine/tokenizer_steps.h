/* What normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json have in common: null, one step, or a
 * Sequence of steps, which may nest. */
#ifndef ENGINE_TOKENIZER_STEPS_H
#define ENGINE_TOKENIZER_STEPS_H

#include "core/json.h"
#include "core/text.h"

#define STEPS_MAX 64u
#define STEPS_DEPTH_MAX 8u

/* Called for each step in order; fails for a type it does not know with steps_refuse. */
typedef bool (*step_fn)(void *ctx, const json_t *step, const char *type, struct error *err);

/* `spec` is the value of `what`, NULL when absent; `list` is how a Sequence calls its steps. */
MUST_CHECK bool steps_read(const json_t *spec, const char *what, const char *list, step_fn fn, void *ctx,
                           struct error *err);
/* "type 'X' is not supported" */
bool steps_refuse(const char *type, struct error *err);
/* {"String": "..."} or {"Regex": "..."} */
MUST_CHECK bool steps_pattern(const json_t *step, const char **text, bool *is_regex, struct error *err);
/* The step Replace; both texts are borrowed from the document. A plain text is not empty. */
MUST_CHECK bool steps_replacement(const json_t *step, const char **pattern, bool *is_regex, struct bytes *content,
                                  struct error *err);
/* Appends `in` with every occurrence of the pattern, from the left, replaced. */
void steps_replace(struct text *out, struct bytes in, struct bytes pattern, struct bytes content);

#endif
