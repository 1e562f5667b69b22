/* What a tokenizer is made of; for its own files. */
#ifndef ENGINE_TOKENIZER_IMPL_H
#define ENGINE_TOKENIZER_IMPL_H

#include "engine/added_tokens.h"
#include "engine/bpe.h"
#include "engine/decode.h"
#include "engine/postprocess.h"
#include "engine/pretokenizer.h"
#include "engine/spm.h"
#include "engine/tokenizer.h"
#include "engine/unigram.h"

enum model_kind { MODEL_BPE, MODEL_UNIGRAM };

struct tokenizer {
    struct vocab vocab;
    struct added_tokens added;
    struct normalizer normalizer;
    struct spm *spm; /* instead of the normalizer and the decoder; or NULL */
    struct pretokenizer *pre;
    enum model_kind model;
    struct bpe bpe;
    struct unigram unigram;
    struct postprocess post;
    struct decoder decoder;
    /* Tokens are the byte strings of bpe.own_texts, and no decoder is asked. special_apart: bytes before and behind a
     * special token that is left out are no character together. */
    bool bytes, special_apart;
    /* A text is cut after so many characters, and in longer runs of blanks or of others; 0: it is not. */
    uint32_t chunk_chars, run_chars;
};

/* From a tokenizer.json; `t` is zeroed, `config` is not looked at. */
MUST_CHECK bool tokenizer_json_open(struct tokenizer *t, struct bytes json, const json_t *config, struct error *err);

#endif
