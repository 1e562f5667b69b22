/* The end of an encoder: a text's rows behind the final norm, pooled, and through the score head where there is one. */
#ifndef ENGINE_POOLING_H
#define ENGINE_POOLING_H

#include "engine/engine.h"

#define ENCODER_ROWS 256u /* normed at a time */

struct encoder;
/* For a model with OUTPUT_EMBEDDING or OUTPUT_SCORES; borrows the engine. */
MUST_CHECK bool encoder_open(struct encoder **out, const struct engine *e, struct error *err);
void encoder_close(struct encoder *x); /* NULL is fine */
CLEANUP_DEFINE(encoder, struct encoder, encoder_close)
/* Numbers that a text gives: hidden, or labels. */
uint64_t encoder_width(const struct model_config *cfg);
/* What encoder_open allocates, in bytes. */
uint64_t encoder_bytes(const struct model_config *cfg);
/* Behind the last block of a stream over n_tokens tokens of that text: [encoder_width]. Embeddings are as they are
 * pooled, not normalized; scores are divided by the temperature. Sums run in double, token by token. */
MUST_CHECK bool encoder_text(struct encoder *x, struct stream *s, uint32_t text, uint32_t n_tokens, float *out,
                             struct error *err);

#endif
