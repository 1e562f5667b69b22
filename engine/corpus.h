/* Texts as token ids, for calibration and parity: from JSON lines ({"text": ...} or {"input_ids": [...]}), a plain text
 * file, or a JSON list of lists of ids. */
#ifndef ENGINE_CORPUS_H
#define ENGINE_CORPUS_H

#include "core/crypto.h"
#include "engine/engine.h"

#define CORPUS_BYTES_MAX ((size_t)4 << 30)
#define CORPUS_TEXTS_MAX 10000000u

struct corpus {
    struct text_ids *texts;
    uint32_t n_texts;
    uint64_t n_tokens;
    struct digest digest; /* of all ids: for each text its count and its ids as 32-bit little-endian numbers */
};

struct corpus_options {
    uint32_t max_tokens; /* per text, the beginning-of-text token included; a longer text is cut (a plain text file:
                            divided) */
    uint32_t max_texts;  /* 0: all */
};

/* `model` gives tokenizer and configuration. Texts get the beginning-of-text token in front when the model has one and
 * the tokenizer did not put it there; ids are taken as they are. A file ending in .jsonl is JSON lines, in .json ids,
 * anything else plain text. */
MUST_CHECK bool corpus_load(struct corpus *out, const char *path, const struct model *model,
                            const struct corpus_options *opt, struct error *err);
/* From texts in memory, NULL-terminated. */
MUST_CHECK bool corpus_from_texts(struct corpus *out, const char *const *texts, const struct model *model,
                                  const struct corpus_options *opt, struct error *err);
/* Only ids, whatever the name of the file. */
MUST_CHECK bool corpus_load_ids(struct corpus *out, const char *path, const struct corpus_options *opt,
                                struct error *err);
/* The token that follows each token of all texts, NO_NEXT_TOKEN behind a text's last; the caller frees. */
#define NO_NEXT_TOKEN UINT32_MAX
MUST_CHECK bool corpus_next_tokens(const struct corpus *c, uint32_t **out, struct error *err);
void corpus_close(struct corpus *c);

static inline void cleanup_corpus(struct corpus *c)
{
    corpus_close(c);
}

/* Tokens of the longest text. */
uint64_t corpus_longest(const struct corpus *c);

#endif
