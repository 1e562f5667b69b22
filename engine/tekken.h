/* A tokenizer from Mistral's tekken.json, as mistral_common's Tekkenizer reads it: the vocabulary cut to
 * default_vocab_size, the pattern from the file, special tokens before all others. A text begins with <s>; a special
 * token's name in a text is text, but in prompts. */
#ifndef ENGINE_TEKKEN_H
#define ENGINE_TEKKEN_H

#include "core/json.h"
#include "engine/tokenizer.h"

/* `t` is zeroed; `config` is not looked at. */
MUST_CHECK bool tekken_open(struct tokenizer *t, struct bytes file, const json_t *config, struct error *err);

#endif
