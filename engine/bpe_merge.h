/* The merging of one word's tokens. For bpe.c. */
#ifndef ENGINE_BPE_MERGE_H
#define ENGINE_BPE_MERGE_H

#include "engine/bpe.h"

struct symbol;
struct candidate;

/* Working memory for long words; zeroed before its first use. */
struct bpe_merging {
    struct symbol *symbols; /* [capacity] */
    struct candidate *heap; /* [2 * capacity], n_heap of them there */
    size_t n_heap, capacity;
};
void bpe_merging_free(struct bpe_merging *m);

/* Merges neighbours in *word until no pair is in the list. */
MUST_CHECK bool bpe_merge(const struct bpe *b, struct bpe_merging *m, struct token_ids *word, struct error *err);

#endif
