/* From the texts of tokens to the text they stand for. */
#ifndef ENGINE_DECODE_H
#define ENGINE_DECODE_H

#include "core/json.h"
#include "core/text.h"
#include "engine/tokenizer_steps.h"

enum decode_kind {
    DECODE_BYTE_LEVEL,
    DECODE_BYTE_FALLBACK,
    DECODE_FUSE,
    DECODE_REPLACE,
    DECODE_STRIP,
    DECODE_METASPACE
};
struct decode_step {
    enum decode_kind kind;
    struct bytes pattern; /* replace; borrowed from the document, as content is */
    struct bytes content; /* replace; strip and metaspace: the character */
    uint64_t start, stop; /* strip: so many at both ends, at most */
    bool drop_first;      /* metaspace: the first token loses its marks */
};
struct decoder {
    json_t *spec;
    struct decode_step steps[STEPS_MAX];
    uint32_t n_steps;
};

/* Without a decoder (NULL, null) the texts are put together with one space between, as the reference does. */
MUST_CHECK bool decoder_open(struct decoder *d, json_t *spec, struct error *err);
void decoder_close(struct decoder *d);

/* Texts of tokens, one behind the other: piece i ends at ends[i]. */
struct decode_pieces {
    struct text text;
    size_t *ends, n, capacity;
};
MUST_CHECK bool decode_add(struct decode_pieces *p, struct error *err); /* what was put into p->text is a piece */
void decode_pieces_free(struct decode_pieces *p);

/* Appends what the pieces stand for to *out, all of it valid UTF-8 when the pieces are. Uses the pieces up. */
MUST_CHECK bool decoder_apply(const struct decoder *d, struct decode_pieces *p, struct text *out, struct error *err);

#endif
