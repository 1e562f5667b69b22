/* The pre-tokenizers that tokenizer.ggml.pre names, as the split patterns of tokenizer.json, in both directions. A name
 * of llama.cpp stands for a pattern that it has rewritten for its own matcher; here is the one that the model's authors
 * published. Only byte-level BPE ("gpt2") has them. */
#ifndef FORMATS_GGUF_PRE_H
#define FORMATS_GGUF_PRE_H

#include "core/json.h"

struct gguf_pre {
    const char *names[6];    /* values of tokenizer.ggml.pre; the first is written; NULL-terminated */
    const char *patterns[3]; /* of Split steps in order; none: ByteLevel with its own (GPT-2's) pattern */
    bool ignore_merges, nfc;
    bool add_bos; /* what llama.cpp assumes when tokenizer.ggml.add_bos_token is absent */
};

const struct gguf_pre *gguf_pre_find(const char *name, size_t n); /* NULL when unknown */
/* The row of a tokenizer.json's pre_tokenizer, or NULL. ignore_merges and normalizer are not compared. */
const struct gguf_pre *gguf_pre_of(const json_t *pre_tokenizer);
/* A tokenizer.json's pre_tokenizer; new reference, NULL without memory. */
json_t *gguf_pre_json(const struct gguf_pre *p);

#endif
