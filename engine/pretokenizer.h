/* Cuts a text into the words that byte-pair encoding works on. */
#ifndef ENGINE_PRETOKENIZER_H
#define ENGINE_PRETOKENIZER_H

#include "core/json.h"

struct pretokenizer;
struct pretokenizer_run;

MUST_CHECK bool pretokenizer_open(struct pretokenizer **out, const json_t *spec, struct error *err);
/* As tiktoken and tekken cut: words of bytes, the matches of a pattern in Rust's dialect; the rest is left out. */
MUST_CHECK bool pretokenizer_open_matches(struct pretokenizer **out, const char *pattern, struct error *err);
void pretokenizer_close(struct pretokenizer *p); /* NULL is fine */
/* True when words are to be taken as bytes: the last step is ByteLevel. */
bool pretokenizer_is_byte_level(const struct pretokenizer *p);

/* What one call needs; for texts of `text_size` bytes together. */
MUST_CHECK bool pretokenizer_run_open(struct pretokenizer_run **out, const struct pretokenizer *p, size_t text_size,
                                      struct error *err);
void pretokenizer_run_close(struct pretokenizer_run *r);

/* Called with each word in order; never an empty one. */
typedef bool (*word_fn)(void *ctx, struct bytes word, struct error *err);
/* Cuts valid UTF-8. at_start: this is the beginning of the whole text (which Metaspace may ask for). */
MUST_CHECK bool pretokenizer_split(struct pretokenizer_run *r, struct bytes text, bool at_start, word_fn fn, void *ctx,
                                   struct error *err);

#endif
