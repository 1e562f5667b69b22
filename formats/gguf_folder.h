/* The files that a Hugging Face folder has beside its weights, made from what a GGUF file says, so that every command
 * finds them where it looks. */
#ifndef FORMATS_GGUF_FOLDER_H
#define FORMATS_GGUF_FOLDER_H

#include "formats/folder.h"

/* For folders whose weights are GGUF: adds config.json, tokenizer.json, tokenizer_config.json and chat_template.jinja,
 * each where no file of that name is there and the GGUF file has what it takes. Others are left alone. */
MUST_CHECK bool gguf_describe(struct folder *f, struct error *err);

/* The tokenizer's file from tokenizer.*, and what it is called: tokenizer.json, or tokenizer.model for SentencePiece's
 * kind. *out NULL, and `why` says why, when it cannot be made. Caller frees *out. */
struct gguf;
MUST_CHECK bool gguf_tokenizer(const struct gguf *g, const char **name, char **out, size_t *out_size, char why[256],
                               struct error *err);
/* tokenizer.model; tokens, scores and types are there and equally many. */
MUST_CHECK bool gguf_spm(const struct gguf *g, char **out, size_t *out_size, struct error *err);

#endif
