/* What happens to a text before it is cut into words: the normalizers of a tokenizer.json. */
#ifndef ENGINE_TOKENIZER_NORMALIZE_H
#define ENGINE_TOKENIZER_NORMALIZE_H

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "engine/charsmap.h"
#include "engine/pretokenizer_match.h"
#include "engine/tokenizer_steps.h"
#include "engine/unicode.h"

enum normalize_kind {
    NORMALIZE_FORM,
    NORMALIZE_PREPEND,
    NORMALIZE_REPLACE,
    NORMALIZE_STRIP,
    NORMALIZE_LOWERCASE,
    NORMALIZE_STRIP_ACCENTS,
    NORMALIZE_NMT,
    NORMALIZE_PRECOMPILED
};
/* Texts are borrowed from the document the normalizer was read from, which `spec` keeps. */
struct normalize_step {
    enum normalize_kind kind;
    enum unicode_form form;
    struct bytes pattern, content;
    struct matcher *matcher; /* replace: NULL for a plain text */
    bool left, right;        /* strip */
    struct buffer blob;      /* precompiled: what `map` lies in */
    struct charsmap map;
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
    struct match_run *match; /* made when it is needed, for `text_size` bytes in all */
    size_t text_size;
};
MUST_CHECK bool normalizer_apply(const struct normalizer *n, struct normalize_run *r, struct bytes in,
                                 struct bytes *out, struct error *err);
void normalize_run_close(struct normalize_run *r);

#endif
