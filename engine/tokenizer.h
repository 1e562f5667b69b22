/* Text to token ids and back, exactly as the reference library of each file format does. Which file of a folder is
 * used, where there are several, is the order of the rows (engine/tokenizer_files.c, which says why):
 *
 *   tokenizer.json   Hugging Face `tokenizers` 0.23
 *   tekken.json      Mistral's Tekkenizer (mistral_common 1.13)                      tekken.h
 *   tiktoken.model   tiktoken 0.14 with the pattern of Kimi's Python code            tiktoken.h
 *   tokenizer.model  the `sentencepiece` library 0.2, BPE and Unigram                spm_load.h
 *
 * A tokenizer is opened once and never changes; any number of threads may encode and decode with it at the same time
 * (what a call needs besides it lives in the call). What a file asks for and this program does not do is
 * ERR_UNSUPPORTED when it is opened, never left out. Of a tokenizer.json these parts are done:
 *
 *   added tokens    single_word, lstrip, rstrip, normalized, special              added_tokens.h
 *   normalizers     NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, StripAccents, Lowercase, Nmt, Precompiled, Sequence
 *   pre-tokenizers  Split, ByteLevel (last), Digits, Metaspace, WhitespaceSplit, Sequence  pretokenizer.h
 *   model           BPE without dropout, prefix and suffix; Unigram               bpe.h, unigram.h
 *   post-processors TemplateProcessing, ByteLevel (of no effect on ids), Sequence postprocess.h
 *   decoders        ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip, Sequence  decode.h
 *
 * "truncation" and "padding" in the file are not applied: they are settings of the session that saved it, and serving
 * engines switch both off for every call. */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include "core/bytes.h"
#include "formats/folder.h"

/* The largest published file has 33 MB (262,144 tokens). */
#define TOKENIZER_FILE_MAX ((size_t)128 << 20)
/* Token ids lie below this: the largest published vocabulary has a quarter of a million. */
#define TOKENIZER_IDS_MAX (1u << 22)
/* Bytes of one text. */
#define TOKENIZER_TEXT_MAX ((size_t)1 << 30)

struct tokenizer;

/* The name of the file that tokenizer_open would use, or NULL when the folder has none. */
const char *tokenizer_file(const struct folder *f);
/* From that file, and tokenizer_config.json where the format leaves something open. */
MUST_CHECK bool tokenizer_open(struct tokenizer **out, const struct folder *f, struct error *err);
/* From the bytes of a tokenizer.json, which are not needed afterwards. `what` names them in errors. */
MUST_CHECK bool tokenizer_open_bytes(struct tokenizer **out, struct bytes json, const char *what, struct error *err);
/* From the bytes of any of the files above, by its name, and of tokenizer_config.json (empty: there is none). */
MUST_CHECK bool tokenizer_open_file(struct tokenizer **out, const char *name, struct bytes file, struct bytes config,
                                    const char *what, struct error *err);
void tokenizer_close(struct tokenizer *t); /* NULL is fine */
CLEANUP_DEFINE(tokenizer, struct tokenizer, tokenizer_close)

/* *ids: the caller frees; never NULL on success. add_special: with the tokens that the post-processor adds. Text that
 * is not UTF-8 is ERR_FORMAT with the offset of the first bad byte. A special token that stands in the text becomes
 * that token, with or without add_special; but the special tokens of tekken.json and the control pieces of a
 * tokenizer.model are text there, as in their libraries, unless tokenizer_config.json names them. */
MUST_CHECK bool tokenizer_encode(const struct tokenizer *t, struct bytes text, bool add_special, uint32_t **ids,
                                 size_t *n, struct error *err);
/* A prompt that was put together on purpose, as a chat template renders it: every special token that stands in the text
 * is that token, whatever the file, and nothing is added. */
MUST_CHECK bool tokenizer_encode_prompt(const struct tokenizer *t, struct bytes text, uint32_t **ids, size_t *n,
                                        struct error *err);
/* *text: valid UTF-8 and a terminator that *n_text does not count; the caller frees. Byte sequences that are no UTF-8
 * come out as U+FFFD. skip_special leaves special tokens out. Ids that name no token stand for nothing, as in the
 * reference: a model may have more rows than the tokenizer has tokens. */
MUST_CHECK bool tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special,
                                 char **text, size_t *n_text, struct error *err);

#endif
