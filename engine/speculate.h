/* Greedy decoding with drafts: the model's own multi-token-prediction head guesses the next tokens, the trunk runs over
 * all of them in one batch, and what it would not have said itself is taken back. The text is, to the bit, that of
 * decoding token by token, because a batch gives the bits of single tokens. */
#ifndef ENGINE_SPECULATE_H
#define ENGINE_SPECULATE_H

#include "engine/engine.h"

#define SPECULATE_DRAFTS_MAX 8u

struct speculation;
struct speculation_counts {
    uint64_t drafted, accepted; /* tokens that the head guessed; of these, those that the trunk chose too */
};
/* n_drafts: tokens that are guessed at a time, 1 to SPECULATE_DRAFTS_MAX; beyond the first the head goes on from its
 * own guesses. ERR_UNSUPPORTED when the model has no head. */
MUST_CHECK bool speculation_open(struct speculation **out, struct engine *e, uint32_t n_drafts, struct error *err);
void speculation_close(struct speculation *sp); /* NULL is fine */
CLEANUP_DEFINE(speculation, struct speculation, speculation_close)
/* Feeds the prompt; *id is the first token after it. */
MUST_CHECK bool speculation_start(struct speculation *sp, const uint32_t *prompt, uint32_t n, uint32_t *id,
                                  struct error *err);
/* The next tokens: ids has room for n_drafts + 1; *n is at least 1. */
MUST_CHECK bool speculation_next(struct speculation *sp, uint32_t *ids, uint32_t *n, struct error *err);
struct speculation_counts speculation_counted(const struct speculation *sp);

#endif
