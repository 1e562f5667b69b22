#include "engine/unigram.h"

#include "engine/unicode.h"

#include <stdlib.h>

/* The best way to a place in the word: the last token on it and where that begins (PLACE_NONE: no way is known). */
#define PLACE_NONE UINT32_MAX
struct way {
    double score;
    uint32_t start, id;
};

struct unigram_run {
    const struct unigram *u;
    struct way *ways; /* [capacity] */
    size_t capacity;
};

bool unigram_run_open(struct unigram_run **out, const struct unigram *u, struct error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return error_memory(err, sizeof **out);
    (*out)->u = u;
    return true;
}

void unigram_run_close(struct unigram_run *r)
{
    if (!r) return;
    free(r->ways);
    free(r);
}

void unigram_close(struct unigram *u)
{
    byte_trie_free(&u->trie);
    free(u->scores);
    *u = (struct unigram){0};
}

static bool reserve(struct unigram_run *r, size_t n, struct error *err)
{
    if (n <= r->capacity) return true;
    free(r->ways);
    r->capacity = 0;
    r->ways = malloc(n * sizeof *r->ways);
    if (!r->ways) return error_memory(err, n * sizeof *r->ways);
    r->capacity = n;
    return true;
}

/* A tie goes to the way that was there first. A sum of two floats is exact as a double, so rounding it once more gives
 * the float sum. */
static inline void offer(struct way *to, double score, uint32_t start, uint32_t id, bool narrow)
{
    if (narrow) score = (double)(float)score;
    if (to->start != PLACE_NONE && !(score > to->score)) return;
    *to = (struct way){score, start, id};
}

/* SentencePiece: sums that grow too large for floats begin again from nothing, here and at the places known so far. */
#define SCORE_RESET 100000.0

static void reset_scores(struct way *ways, size_t at, size_t known)
{
    double offset = ways[at].score;
    for (size_t i = at; i <= known; i++)
        if (i == at || ways[i].start != PLACE_NONE) ways[i].score = (double)(float)(ways[i].score - offset);
}

static inline bool find_ways(const struct unigram *u, struct way *ways, struct bytes word, bool narrow)
{
    for (size_t i = 0; i <= word.size; i++) ways[i].start = PLACE_NONE;
    ways[0].score = 0;
    for (size_t at = 0, known = 0, size; at < word.size; at += size) {
        if (narrow && (ways[at].score < -SCORE_RESET || ways[at].score > SCORE_RESET)) reset_scores(ways, at, known);
        double here = ways[at].score;
        bool single = false;
        uint32_t node = 0;
        size = utf8_lead_size(word.data[at]);
        for (size_t end = at; end < word.size;) {
            node = byte_trie_step(&u->trie, node, word.data[end++]);
            if (node == TRIE_NONE) break;
            uint32_t id = u->trie.nodes[node].id;
            if (id == ID_NONE) continue;
            known = end > known ? end : known;
            offer(&ways[end], u->scores[id] + here, (uint32_t)at, id, narrow);
            single = single || end - at == size;
        }
        if (single) continue;
        if (u->unk == ID_NONE) return false;
        known = at + size > known ? at + size : known;
        offer(&ways[at + size], u->unk_score + here, (uint32_t)at, u->unk, narrow);
    }
    return true;
}

/* A run of what is not in the vocabulary. Hugging Face looks for the whole run in the vocabulary first. */
static bool add_unknown(const struct unigram *u, struct bytes run, struct token_ids *ids, struct error *err)
{
    uint32_t id = u->sentencepiece ? ID_NONE : token_index_find(&u->vocab->index, run.data, run.size);
    if (id != ID_NONE) return token_ids_add(ids, id, err);
    bool bytes = u->byte_fallback;
    for (size_t i = 0; bytes && i < run.size; i++) bytes = u->byte_ids[run.data[i]] != ID_NONE;
    if (!bytes) return token_ids_add(ids, u->unk, err);
    for (size_t i = 0; i < run.size; i++)
        if (!token_ids_add(ids, u->byte_ids[run.data[i]], err)) return false;
    return true;
}

bool unigram_encode(struct unigram_run *r, struct bytes word, struct token_ids *ids, struct error *err)
{
    const struct unigram *u = r->u;
    if (!reserve(r, word.size + 1, err)) return false;
    struct way *ways = r->ways;
    if (!(u->sentencepiece ? find_ways(u, ways, word, true) : find_ways(u, ways, word, false)))
        return error_set(err, ERR_FORMAT, "model: a character is not in the vocabulary, and there is no unk_id");
    /* Turned around: each place on the way learns where the token that begins there ends. */
    uint32_t end = (uint32_t)word.size, next = PLACE_NONE;
    for (uint32_t start; end; next = end, end = start) {
        start = ways[end].start;
        ways[end].start = next;
    }
    size_t first_unknown = SIZE_MAX, at = 0;
    for (uint32_t to = next; to != PLACE_NONE; at = to, to = ways[to].start) {
        if (ways[to].id == u->unk) {
            if (first_unknown == SIZE_MAX) first_unknown = at;
            continue;
        }
        if (first_unknown != SIZE_MAX &&
            !add_unknown(u, bytes_of(word.data + first_unknown, at - first_unknown), ids, err))
            return false;
        first_unknown = SIZE_MAX;
        if (!token_ids_add(ids, ways[to].id, err)) return false;
    }
    if (first_unknown == SIZE_MAX) return true;
    return add_unknown(u, bytes_of(word.data + first_unknown, word.size - first_unknown), ids, err);
}
