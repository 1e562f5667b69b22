/* Tokens that are cut out of a text before anything else happens to it: at each place the longest one, from the left.
 * Those that are "normalized" are looked for, in their own normalized form, in what the normalizer made of the rest. */
#ifndef ENGINE_ADDED_TOKENS_H
#define ENGINE_ADDED_TOKENS_H

#include "core/arena.h"
#include "engine/tokenizer_normalize.h"
#include "engine/tokenizer_vocab.h"

#define ADDED_TOKENS_MAX 100000u
#define ADDED_TOKEN_BYTES_MAX 4096u

struct added_token {
    struct bytes content, match; /* as written, and what is looked for */
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool in_prompts; /* looked for in prompts only: texts in which tokens are written on purpose */
};

/* Sorted by what is looked for; those that begin with byte b are [first[b], first[b + 1]). */
struct added_set {
    const struct added_token **tokens;
    uint32_t n, first[257];
};

struct added_tokens {
    struct arena *arena;
    struct added_token *tokens; /* [capacity], n of them there, as the file has them */
    uint32_t n, capacity;
    struct added_set raw, normalized, prompt; /* prompt: raw and those that are in_prompts */
    uint32_t *by_id;                          /* [n_ids] place in tokens, or ID_NONE */
    uint32_t n_ids;
};

/* `list` is the value of added_tokens, or NULL. A token must have the id that the reference gives it, whatever the file
 * says: the vocabulary's, or else the next one. */
MUST_CHECK bool added_tokens_open(struct added_tokens *a, const json_t *list, const struct vocab *v,
                                  const struct normalizer *n, struct error *err);
/* One by one, for other files: at most `capacity`; what is added is copied, and looked for as it is written. */
MUST_CHECK bool added_tokens_begin(struct added_tokens *a, size_t capacity, struct error *err);
MUST_CHECK bool added_tokens_add(struct added_tokens *a, const struct added_token *t, struct error *err);
MUST_CHECK bool added_tokens_finish(struct added_tokens *a, struct error *err);
void added_tokens_close(struct added_tokens *a);
const struct added_token *added_token_by_id(const struct added_tokens *a, uint32_t id); /* NULL: it is none */

/* The longest token of the set that n > 0 bytes begin with, or NULL. */
const struct added_token *added_set_longest(const struct added_set *set, const uint8_t *p, size_t n);

/* Cuts a text: added_cut_next gives its pieces in order until it returns false. */
struct added_cut {
    const struct added_set *set;
    struct bytes text;
    size_t at, done;
    const struct added_token *waiting;
    size_t stop;
};
struct added_piece {
    const struct added_token *token; /* NULL: text between tokens */
    struct bytes text;
};
void added_cut_begin(struct added_cut *c, const struct added_set *set, struct bytes text);
bool added_cut_next(struct added_cut *c, struct added_piece *out);

#endif
