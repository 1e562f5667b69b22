/* Which of many texts begin at a place of another text: one step per byte. Built once, then never changed; its memory
 * is in proportion to the texts together, whatever they are. */
#ifndef ENGINE_BYTE_TRIE_H
#define ENGINE_BYTE_TRIE_H

#include "engine/tokenizer_vocab.h"

/* Bytes of all texts together: published vocabularies have a tenth of it, and a trie takes up to 30 times as much. */
#define TRIE_BYTES_MAX ((size_t)32 << 20)
#define TRIE_NONE UINT32_MAX

/* Its children are `n` nodes one behind the other. With many of them a table of 256 is used instead. */
struct trie_node {
    uint32_t first, id; /* id of the text that ends here, or ID_NONE */
    uint32_t n, table;
};
struct byte_trie {
    struct trie_node *nodes; /* [n_nodes]; 0 is the root */
    uint8_t *labels;         /* [n_nodes] the byte that leads to each */
    uint32_t *tables;        /* [n_tables][256] */
    uint32_t n_nodes, n_tables;
};

/* Of the texts that are there and for which `takes` is true (NULL: of all). Of two equal ones the higher id counts. No
 * node stands for the empty text. `what` names the set in errors. */
MUST_CHECK bool byte_trie_build(struct byte_trie *t, const struct token_texts *texts,
                                bool (*takes)(const void *ctx, uint32_t id), const void *ctx, const char *what,
                                struct error *err);
void byte_trie_free(struct byte_trie *t);

/* The node behind `node` (the root is 0) after one more byte, or TRIE_NONE. */
static inline uint32_t byte_trie_step(const struct byte_trie *t, uint32_t node, uint8_t byte)
{
    const struct trie_node *at = &t->nodes[node];
    if (at->table != TRIE_NONE) return t->tables[(size_t)at->table * 256 + byte];
    const uint8_t *labels = t->labels + at->first;
    for (uint32_t i = 0; i < at->n; i++)
        if (labels[i] == byte) return at->first + i;
    return TRIE_NONE;
}

#endif
