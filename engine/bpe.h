/* Byte-pair encoding: a word becomes its characters (or bytes), then the pair of neighbours that stands earliest in the
 * list of merges becomes one token, the leftmost first, until no pair is in the list.
 *
 * Byte-level tokenizers (those whose pre-tokenizer ends in ByteLevel) spell each byte as a printable character; words
 * come here as the bytes themselves, and the vocabulary is turned around when it is loaded. */
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
struct bpe {
    struct token_texts bytes_texts; /* byte-level: the texts as bytes; those with other characters are left out */
    struct token_index bytes_index;
    const struct token_index *keys; /* what words are looked up in */
    struct merge_slot *merges;
    uint32_t merge_mask;
    uint32_t byte_ids[256]; /* byte-level: each byte's token; otherwise those named <0x00> to <0xFF> */
    char *unk_token;        /* NULL: unknown characters are dropped */
    uint32_t unk;           /* ID_NONE: it is named and not in the vocabulary, an error where it is needed */
    bool byte_level, ignore_merges, byte_fallback, fuse_unk;
};

/* The small members of "model". Anything but BPE, and what is not done of it, is ERR_UNSUPPORTED. */
MUST_CHECK bool bpe_open(struct bpe *b, const json_t *model, struct error *err);
/* Reads the array of merges that begins with the next token of *s. The vocabulary must live as long as *b. */
MUST_CHECK bool bpe_read_merges(struct bpe *b, const struct vocab *v, struct json_scan *s, struct error *err);
/* After the merges: for words of bytes, or of characters. */
MUST_CHECK bool bpe_prepare(struct bpe *b, const struct vocab *v, bool byte_level, struct error *err);
void bpe_close(struct bpe *b);

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
