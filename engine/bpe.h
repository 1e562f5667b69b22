/* Byte-pair encoding: a word becomes its characters (or bytes), then the pair of neighbours that stands earliest in the
 * list of merges becomes one token, the leftmost first, until no pair is in the list.
 *
 * Byte-level tokenizers (those whose pre-tokenizer ends in ByteLevel) spell each byte as a printable character; words
 * come here as the bytes themselves, and the vocabulary is turned around when it is loaded.
 *
 * Files without a list of merges (SentencePiece, tekken, tiktoken) mean: any two neighbours may be merged that are a
 * token together, and the token's rank decides. bpe_from_ranks makes the list.
 *
 * A long word is cut before each mark of a space (U+2581) where no merge reaches across: SentencePiece's way is to take
 * the whole text as one word, and words that are cut are short, often the same, and give the same tokens. */
#ifndef ENGINE_BPE_H
#define ENGINE_BPE_H

#include "core/json.h"
#include "engine/tokenizer_vocab.h"

#define MERGES_MAX (1u << 22)

/* A list of ids that grows. */
struct token_ids {
    uint32_t *data;
    size_t n, capacity;
};
MUST_CHECK bool token_ids_add(struct token_ids *ids, uint32_t id, struct error *err);
MUST_CHECK bool token_ids_reserve(struct token_ids *ids, size_t more, struct error *err);

/* left id << 32 | right id -> rank << 32 | merged id */
struct merge_slot {
    uint64_t pair, found;
};
/* One of the list, before it is a table. Equal ranks: the leftmost pair goes first. */
struct merge {
    uint32_t left, right, merged, rank;
};
#define CUTS_MAX 16u
struct bpe {
    /* What words are looked up in when it is not the vocabulary. Byte-level: the texts as bytes; those with other
     * characters are left out. SentencePiece: the pieces and, from n_pieces on, characters that only occur in pieces.
     */
    struct token_texts own_texts;
    struct token_index own_index;
    const struct token_index *keys; /* what words are looked up in */
    struct merge_slot *merges;
    uint32_t merge_mask;
    uint32_t byte_ids[256]; /* byte-level: each byte's token; otherwise those named <0x00> to <0xFF> */
    char *unk_token;        /* NULL: unknown characters are dropped */
    uint32_t unk;           /* ID_NONE: it is named and not in the vocabulary, an error where it is needed */
    uint32_t n_pieces;      /* SentencePiece: see above; otherwise UINT32_MAX */
    bool byte_level, ignore_merges, byte_fallback, fuse_unk;
    /* The mark's neighbours on the left across which words are not cut; n_cuts > CUTS_MAX: words are never cut. */
    uint32_t cut_after[CUTS_MAX], n_cuts;
};

/* The small members of "model". What is not done of it is ERR_UNSUPPORTED. */
MUST_CHECK bool bpe_open(struct bpe *b, const json_t *model, struct error *err);
/* Reads the array of merges that begins with the next token of *s. The vocabulary must live as long as *b. */
MUST_CHECK bool bpe_read_merges(struct bpe *b, const struct vocab *v, struct json_scan *s, struct error *err);
/* After the merges: for words of bytes, or of characters. */
MUST_CHECK bool bpe_prepare(struct bpe *b, const struct vocab *v, bool byte_level, struct error *err);
void bpe_close(struct bpe *b);

/* Instead of the three above. The tokens of own_texts with ranks[id] != RANK_NONE can be made, in the order of their
 * ranks; `chars`: of whole characters. own_texts is there, everything else is made. */
#define RANK_NONE UINT32_MAX
MUST_CHECK bool bpe_from_ranks(struct bpe *b, const uint32_t *ranks, bool chars, const char *what, struct error *err);
/* For the functions above: the table of a list of merges, and where words may be cut. */
MUST_CHECK bool bpe_build_table(struct bpe *b, const struct merge *merges, size_t n, struct error *err);
void bpe_find_cuts(struct bpe *b);

/* What one call of the tokenizer needs. `text_size` bytes of text are coming. */
struct bpe_run;
MUST_CHECK bool bpe_run_open(struct bpe_run **out, const struct bpe *b, size_t text_size, struct error *err);
void bpe_run_close(struct bpe_run *r);
/* Appends the tokens of one word, which is valid UTF-8. */
MUST_CHECK bool bpe_encode(struct bpe_run *r, struct bytes word, struct token_ids *ids, struct error *err);

/* The characters that stand for bytes: GPT-2's table. */
uint32_t byte_to_char(uint8_t byte);
/* The byte of a character, or -1. */
int char_to_byte(uint32_t c);

#endif
