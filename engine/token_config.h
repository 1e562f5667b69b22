/* What tokenizer_config.json says to tokenizer files that leave it open: tokens beside the vocabulary, and whether a
 * text begins or ends with one. */
#ifndef ENGINE_TOKEN_CONFIG_H
#define ENGINE_TOKEN_CONFIG_H

#include "engine/added_tokens.h"

/* Entries of added_tokens_decoder; 0 when there is none. `config` may be NULL everywhere. */
size_t token_config_count(const json_t *config);
/* Adds them, in the order of their ids: they are looked for in the raw text. keep_spaces: what they say about spaces
 * and words around them counts; otherwise they are just their text. Ids from `least` on; the list has been begun. */
MUST_CHECK bool token_config_add(struct added_tokens *a, const json_t *config, uint32_t least, bool keep_spaces,
                                 struct error *err);

#endif
