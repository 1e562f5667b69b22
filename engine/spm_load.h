/* A tokenizer from a SentencePiece model, BPE or Unigram. Beside it, tokenizer_config.json may name further tokens and
 * say add_bos_token and add_eos_token; without these a text begins with the model's <s>, where it has one. */
#ifndef ENGINE_SPM_LOAD_H
#define ENGINE_SPM_LOAD_H

#include "core/json.h"
#include "engine/tokenizer.h"

/* `t` is zeroed; `config` may be NULL. Of a model with unused pieces only Unigram is done. */
MUST_CHECK bool spm_open(struct tokenizer *t, struct bytes file, const json_t *config, struct error *err);

#endif
