/* A tokenizer from a tiktoken file as Kimi's models have it: lines of base64 and rank. What the file leaves open stands
 * in tokenizer_config.json (added_tokens_decoder) and in the published Python code beside it: the pattern, 256 special
 * tokens behind the vocabulary, and long texts that are cut before anything else. */
#ifndef ENGINE_TIKTOKEN_H
#define ENGINE_TIKTOKEN_H

#include "core/json.h"
#include "engine/tokenizer.h"

/* `t` is zeroed; `config` may be NULL. A tokenizer_class other than TikTokenTokenizer is ERR_UNSUPPORTED. */
MUST_CHECK bool tiktoken_open(struct tokenizer *t, struct bytes file, const json_t *config, struct error *err);

#endif
