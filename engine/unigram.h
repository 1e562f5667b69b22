/* Unigram: a word becomes the tokens whose scores have the largest sum, found from left to right, position by position.
 *
 * There are two arithmetics, because ties and rounding decide: that of Hugging Face (doubles), and that of
 * SentencePiece (0.2.3), which keeps the sums in floats. What is not in the vocabulary costs ten more than the worst
 * token. */
#ifndef ENGINE_UNIGRAM_H
#define ENGINE_UNIGRAM_H

#include "core/json.h"
#include "engine/bpe.h"
#include "engine/byte_trie.h"

struct unigram {
    const struct vocab *vocab;
    struct byte_trie trie;
    double *scores; /* [vocab->texts.n] */
    double unk_score;
    uint32_t unk; /* ID_NONE: a character that is not in the vocabulary is an error */
    uint32_t byte_ids[256];
    bool byte_fallback, sentencepiece;
};

/* The small members of "model": unk_id, byte_fallback. */
MUST_CHECK bool unigram_open(struct unigram *u, const json_t *model, struct error *err);
/* Reads the array whose value begins with the next token of *s: [["text", score], ...]; ids count from 0. The
 * vocabulary must live as long as *u. */
MUST_CHECK bool unigram_read(struct unigram *u, struct vocab *v, struct json_scan *s, struct error *err);
/* After scores, unk and the two flags: makes the rest. Tokens for which `takes` is false (NULL: all are true) are never
 * found; scores[] of the others are taken. */
MUST_CHECK bool unigram_prepare(struct unigram *u, const struct vocab *v, bool (*takes)(const void *ctx, uint32_t id),
                                const void *ctx, struct error *err);
void unigram_close(struct unigram *u);

/* What one call of the tokenizer needs. */
struct unigram_run;
MUST_CHECK bool unigram_run_open(struct unigram_run **out, const struct unigram *u, struct error *err);
void unigram_run_close(struct unigram_run *r);
/* Appends the tokens of one word, which is valid UTF-8. */
MUST_CHECK bool unigram_encode(struct unigram_run *r, struct bytes word, struct token_ids *ids, struct error *err);

#endif
