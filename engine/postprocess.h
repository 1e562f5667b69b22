/* Tokens that are put around a text. */
#ifndef ENGINE_POSTPROCESS_H
#define ENGINE_POSTPROCESS_H

#include "core/json.h"
#include "engine/bpe.h"

struct postprocess {
    struct token_ids before, after;
};

/* TemplateProcessing (its "single" form, with the text once in it), ByteLevel, which changes no ids, and Sequences with
 * at most one template. Ids must be below n_ids. */
MUST_CHECK bool postprocess_open(struct postprocess *p, const json_t *spec, uint32_t n_ids, struct error *err);
void postprocess_close(struct postprocess *p);

#endif
