/* What happens to a text before it is cut into words. */
#ifndef ENGINE_TOKENIZER_NORMALIZE_H
#define ENGINE_TOKENIZER_NORMALIZE_H

#include "core/json.h"
#include "core/text.h"
#include "engine/tokenizer_steps.h"

enum normalize_kind { NORMALIZE_NFC, NORMALIZE_PREPEND, NORMALIZE_REPLACE };
/* Texts are borrowed from the document the normalizer was read from, which `spec` keeps. */
struct normalize_step {
    enum normalize_kind kind;
    struct bytes pattern, content;
};
struct normalizer {
    json_t *spec;
    struct normalize_step steps[STEPS_MAX];
    uint32_t n_steps;
};

/* NULL, null: changes nothing */
MUST_CHECK bool normalizer_open(struct normalizer *n, json_t *spec, struct error *err);
void normalizer_close(struct normalizer *n);

/* *out is `in` itself or lies in one of the buffers, which may be used again afterwards. Nothing stays nothing. */
struct normalize_run {
    struct text buffers[2];
};
MUST_CHECK bool normalizer_apply(const struct normalizer *n, struct normalize_run *r, struct bytes in,
                                 struct bytes *out, struct error *err);
void normalize_run_close(struct normalize_run *r);

#endif
