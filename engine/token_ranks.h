/* Vocabularies that are a list of byte strings in base64, whose place in the list says what is merged first. */
#ifndef ENGINE_TOKEN_RANKS_H
#define ENGINE_TOKEN_RANKS_H

#include "engine/bpe.h"

/* Bytes of one token: the longest published ones have a few hundred. */
#define RANKED_BYTES_MAX 4096u

/* Room for base64 texts of `size` bytes together. */
MUST_CHECK bool token_ranks_begin(struct bpe *b, size_t size, struct error *err);
/* Ids are unique; the lower one is merged first. The text must be base64 as an encoder writes it. */
MUST_CHECK bool token_ranks_add(struct bpe *b, uint32_t id, struct bytes base64, struct error *err);
/* Every byte must be a token. */
MUST_CHECK bool token_ranks_finish(struct bpe *b, const char *what, struct error *err);

#endif
