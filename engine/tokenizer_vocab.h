/* The vocabulary of a tokenizer: texts by id and ids by text. Built while the file is read, then never changed. */
#ifndef ENGINE_TOKENIZER_VOCAB_H
#define ENGINE_TOKENIZER_VOCAB_H

#include "core/bytes.h"
#include "core/error.h"
#include "core/json_scan.h"

#define ID_NONE UINT32_MAX

/* Texts one behind the other, found by number. `at` is ID_NONE where there is none. */
struct token_text {
    uint32_t at, size;
};
struct token_texts {
    uint8_t *pool;
    struct token_text *texts; /* [n] */
    uint32_t n, pool_size, pool_capacity, capacity;
};

/* From text to id. Hashed without a key, so a stranger could choose texts that collide: then the building fails. */
struct token_index {
    const struct token_texts *texts;
    uint64_t *slots;
    uint32_t mask;
};

struct vocab {
    struct token_texts texts; /* as the file spells them; n is the highest id + 1 */
    struct token_index index;
    uint32_t n_tokens;
};

/* A hash for tables of tokens and of pairs; good in its low bits. */
static inline uint64_t hash_mix(uint64_t v)
{
    v = (v ^ v >> 32) * 0xd6e8feb86659fd93u;
    v = (v ^ v >> 32) * 0xd6e8feb86659fd93u;
    return v ^ v >> 32;
}

static inline uint64_t hash_bytes(const uint8_t *p, size_t n)
{
    uint64_t h = n * 0x9e3779b97f4a7c15u, w;
    for (; n > 8; n -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = hash_mix(h ^ w);
    }
    w = 0;
    memcpy(&w, p, n);
    return hash_mix(h ^ w);
}

static inline struct bytes token_text(const struct token_texts *t, uint32_t id)
{
    return id < t->n && t->texts[id].at != ID_NONE ? bytes_of(t->pool + t->texts[id].at, t->texts[id].size)
                                                   : bytes_of(NULL, 0);
}

/* Room for texts of `pool_size` bytes together, each with a terminator's byte to spare. */
MUST_CHECK bool token_texts_reserve(struct token_texts *t, size_t pool_size, struct error *err);
/* Numbers up to `id` can be used; new ones have no text. */
MUST_CHECK bool token_texts_grow(struct token_texts *t, uint32_t id, struct error *err);
void token_texts_free(struct token_texts *t);

/* Over all texts there are. Two equal ones are ERR_FORMAT ("what" names the set), or the higher id counts. */
enum token_twice { TWICE_FAILS, TWICE_LAST };
MUST_CHECK bool token_index_build(struct token_index *ix, const struct token_texts *texts, enum token_twice twice,
                                  const char *what, struct error *err);
uint32_t token_index_find(const struct token_index *ix, const uint8_t *text, size_t n); /* ID_NONE when absent */
void token_index_free(struct token_index *ix);

/* Reads the object whose value begins with the next token of *s: {"text": id, ...}. Ids are unique and below
 * TOKENIZER_IDS_MAX; at least one. */
MUST_CHECK bool vocab_read(struct vocab *v, struct json_scan *s, struct error *err);
/* The token that stands for a byte by its name, <0x00> to <0xFF>; ID_NONE when there is none. */
uint32_t vocab_byte(const struct vocab *v, uint8_t byte);
void vocab_free(struct vocab *v);

#endif
