#include "engine/bpe_merge.h"

#include "engine/unicode.h"

#include <stdlib.h>

/* What a word became before, for the short words that make up most of a text: one cache line each, the newest stays. */
#define CACHE_WORD_MAX 30u
#define CACHE_IDS_MAX 8u
#define CACHE_ENTRIES_MAX (1u << 15)
struct cache_entry {
    uint8_t size, n_ids, word[CACHE_WORD_MAX];
    uint32_t ids[CACHE_IDS_MAX];
};
_Static_assert(sizeof(struct cache_entry) == 64, "one cache line");

struct bpe_run {
    const struct bpe *b;
    struct cache_entry *cache;
    uint32_t cache_mask;
    struct token_ids start; /* the tokens of a word before merging */
    struct bpe_merging merging;
};

bool token_ids_reserve(struct token_ids *ids, size_t more, struct error *err)
{
    if (ids->capacity - ids->n >= more) return true;
    size_t capacity = ids->capacity ? ids->capacity : 64;
    while (capacity < ids->n + more) capacity *= 2;
    uint32_t *p = realloc(ids->data, capacity * sizeof *p);
    if (!p) return error_memory(err, capacity * sizeof *p);
    ids->data = p;
    ids->capacity = capacity;
    return true;
}

bool token_ids_add(struct token_ids *ids, uint32_t id, struct error *err)
{
    if (ids->n == ids->capacity && !token_ids_reserve(ids, 1, err)) return false;
    ids->data[ids->n++] = id;
    return true;
}

bool bpe_run_open(struct bpe_run **out, const struct bpe *b, size_t text_size, struct error *err)
{
    uint32_t entries = 64;
    while (entries < CACHE_ENTRIES_MAX && entries < text_size / 16) entries *= 2;
    struct bpe_run *r = calloc(1, sizeof *r);
    struct cache_entry *cache = calloc(entries, sizeof *cache);
    if (!r || !cache) {
        free(r);
        free(cache);
        return error_memory(err, entries * sizeof *cache);
    }
    *r = (struct bpe_run){.b = b, .cache = cache, .cache_mask = entries - 1};
    *out = r;
    return true;
}

void bpe_run_close(struct bpe_run *r)
{
    if (!r) return;
    free(r->cache);
    free(r->start.data);
    bpe_merging_free(&r->merging);
    free(r);
}

/* A token of a word that is merged. SentencePiece: what is no piece, or the unknown one, becomes its bytes, or one
 * token for as many as stand together. */
static bool add_merged(const struct bpe *b, uint32_t id, bool *unk, struct token_ids *ids, struct error *err)
{
    if (b->n_pieces == UINT32_MAX) return token_ids_add(ids, id, err);
    bool unknown = id >= b->n_pieces || id == b->unk, again = unknown && *unk;
    struct bytes text = token_text(&b->own_texts, id);
    *unk = unknown && !b->byte_fallback;
    if (!unknown) return token_ids_add(ids, id, err);
    if (!b->byte_fallback) return again ? true : token_ids_add(ids, b->unk, err);
    for (size_t i = 0; i < text.size; i++)
        if (!token_ids_add(ids, b->byte_ids[text.data[i]], err)) return false;
    return true;
}

/* A character that is not in the vocabulary: its bytes, or the token for the unknown, which waits in *unk until a known
 * character comes (not: until bytes come) so that several can become one. Without such a token: nothing. */
static bool add_unknown(const struct bpe *b, const uint8_t *p, size_t size, bool *unk, struct token_ids *out,
                        struct error *err)
{
    bool bytes = b->byte_fallback;
    for (size_t i = 0; bytes && i < size; i++) bytes = b->byte_ids[p[i]] != ID_NONE;
    for (size_t i = 0; bytes && i < size; i++)
        if (!token_ids_add(out, b->byte_ids[p[i]], err)) return false;
    if (bytes || !b->unk_token) return true;
    if (b->unk == ID_NONE)
        return error_set(err, ERR_FORMAT, "model: unk_token '%.200s' is needed and not in the vocabulary",
                         b->unk_token);
    bool again = *unk && !b->fuse_unk;
    *unk = true;
    return again ? token_ids_add(out, b->unk, err) : true;
}

static bool split_word(const struct bpe *b, struct bytes word, struct token_ids *out, struct error *err)
{
    bool unk = false;
    out->n = 0;
    for (size_t at = 0, size; at < word.size; at += size) {
        const uint8_t *p = word.data + at;
        size = b->byte_level ? 1 : utf8_lead_size(*p);
        uint32_t id = b->byte_level ? b->byte_ids[*p] : token_index_find(b->keys, p, size);
        if (id == ID_NONE) {
            if (!add_unknown(b, p, size, &unk, out, err)) return false;
            continue;
        }
        if (unk && !token_ids_add(out, b->unk, err)) return false;
        unk = false;
        if (!token_ids_add(out, id, err)) return false;
    }
    return unk ? token_ids_add(out, b->unk, err) : true;
}

static bool encode_word(struct bpe_run *r, struct bytes word, struct token_ids *ids, struct error *err)
{
    const struct bpe *b = r->b;
    uint32_t whole = b->ignore_merges ? token_index_find(b->keys, word.data, word.size) : ID_NONE;
    if (whole != ID_NONE) return token_ids_add(ids, whole, err);
    if (!split_word(b, word, &r->start, err)) return false;
    if (!bpe_merge(b, &r->merging, &r->start, err)) return false;
    bool unk = false;
    for (size_t i = 0; i < r->start.n; i++)
        if (!add_merged(b, r->start.data[i], &unk, ids, err)) return false;
    return true;
}

static bool encode_cached(struct bpe_run *r, struct bytes word, struct token_ids *ids, struct error *err)
{
    if (word.size > CACHE_WORD_MAX) return encode_word(r, word, ids, err);
    struct cache_entry *e = &r->cache[hash_bytes(word.data, word.size) & r->cache_mask];
    if (e->size == word.size && memcmp(e->word, word.data, word.size) == 0) {
        if (!token_ids_reserve(ids, CACHE_IDS_MAX, err)) return false;
        memcpy(ids->data + ids->n, e->ids, sizeof e->ids);
        ids->n += e->n_ids;
        return true;
    }
    size_t first = ids->n;
    if (!encode_word(r, word, ids, err)) return false;
    if (ids->n - first > CACHE_IDS_MAX) return true;
    e->size = (uint8_t)word.size;
    e->n_ids = (uint8_t)(ids->n - first);
    memcpy(e->word, word.data, word.size);
    if (e->n_ids) memcpy(e->ids, ids->data + first, e->n_ids * sizeof *e->ids);
    return true;
}

/* The first mark behind the beginning before which a word may be cut, or its end. */
static size_t next_cut(const struct bpe *b, struct bytes word, size_t at)
{
    while (at < word.size) {
        const uint8_t *mark = memmem(word.data + at, word.size - at, SPACE_MARK, SPACE_MARK_BYTES);
        if (!mark) break;
        at = (size_t)(mark - word.data);
        const uint8_t *before = mark - 1;
        while ((*before & 0xc0) == 0x80) before--;
        uint32_t c = utf8_char(before, (size_t)(mark - before)), i = 0;
        while (i < b->n_cuts && b->cut_after[i] != c) i++;
        if (i == b->n_cuts) return at;
        at += SPACE_MARK_BYTES;
    }
    return word.size;
}

bool bpe_encode(struct bpe_run *r, struct bytes word, struct token_ids *ids, struct error *err)
{
    const struct bpe *b = r->b;
    size_t start = 0;
    if (b->n_cuts > CUTS_MAX) return encode_cached(r, word, ids, err);
    while (start < word.size) {
        size_t lead = utf8_lead_size(word.data[start]), end = next_cut(b, word, start + lead);
        if (!encode_cached(r, bytes_of(word.data + start, end - start), ids, err)) return false;
        start = end;
    }
    return true;
}
