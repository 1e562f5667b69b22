/* The text of tokens as they come, cut only where it is certain: what add gives, put together, is what decoding all
 * tokens at once gives. */
#ifndef ENGINE_TEXT_STREAM_H
#define ENGINE_TEXT_STREAM_H

#include "engine/tokenizer.h"

struct text_stream {
    const struct tokenizer *tokenizer; /* borrowed */
    bool skip_special;
    uint32_t *ids;
    size_t n, capacity;
    size_t before, done; /* ids from `before` on give context; the text of those before `done` has been given */
};

/* *text: what became certain with this token, maybe nothing; the caller frees. */
MUST_CHECK bool text_stream_add(struct text_stream *s, uint32_t id, char **text, size_t *n, struct error *err);
/* What is left when no token follows. */
MUST_CHECK bool text_stream_end(struct text_stream *s, char **text, size_t *n, struct error *err);
void text_stream_close(struct text_stream *s);

#endif
