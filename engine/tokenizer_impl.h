/* What a tokenizer is made of; for its own files. */
#ifndef ENGINE_TOKENIZER_IMPL_H
#define ENGINE_TOKENIZER_IMPL_H

#include "engine/added_tokens.h"
#include "engine/bpe.h"
#include "engine/decode.h"
#include "engine/postprocess.h"
#include "engine/pretokenizer.h"
#include "engine/tokenizer.h"

struct tokenizer {
    struct vocab vocab;
    struct added_tokens added;
    struct normalizer normalizer;
    struct pretokenizer *pre;
    struct bpe bpe;
    struct postprocess post;
    struct decoder decoder;
};

#endif
