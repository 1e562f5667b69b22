#include "engine/bpe_merge.h"

#include <stdlib.h>

#define PAIR_NONE UINT64_MAX
#define FOUND_NONE UINT64_MAX
/* Words up to here are merged by looking at all pairs again; longer ones with a heap. */
#define SHORT_SYMBOLS 32u

/* A token of a long word while it is merged. */
struct symbol {
    uint32_t id, prev, next;
};
/* A pair that may be merged: rank << 32 | place of its left token, and what it becomes. */
struct candidate {
    uint64_t order;
    uint32_t merged;
};

/* rank << 32 | merged id of two neighbours, or FOUND_NONE. */
static uint64_t find_pair(const struct bpe *b, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    for (uint32_t at = (uint32_t)hash_mix(pair);; at++) {
        const struct merge_slot *slot = &b->merges[at & b->merge_mask];
        if (slot->pair == pair) return slot->found;
        if (slot->pair == PAIR_NONE) return FOUND_NONE;
    }
}

/* Merges in place; returns how many are left. */
static uint32_t merge_short(const struct bpe *b, uint32_t *ids, uint32_t n)
{
    uint64_t found[SHORT_SYMBOLS];
    for (uint32_t i = 0; i + 1 < n; i++) found[i] = find_pair(b, ids[i], ids[i + 1]);
    while (n > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < n; i++)
            if (found[i] >> 32 < found[best] >> 32) best = i;
        if (found[best] == FOUND_NONE) break;
        ids[best] = (uint32_t)found[best];
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        memmove(found + best, found + best + 1, (n - best - 1) * sizeof *found);
        if (best > 0) found[best - 1] = find_pair(b, ids[best - 1], ids[best]);
        if (best + 1 < n) found[best] = find_pair(b, ids[best], ids[best + 1]);
    }
    return n;
}

static void sift_up(struct candidate *h, size_t at)
{
    struct candidate c = h[at];
    for (size_t up; at && h[up = (at - 1) / 2].order > c.order; at = up) h[at] = h[up];
    h[at] = c;
}

static struct candidate pop(struct bpe_merging *m)
{
    struct candidate *h = m->heap, top = h[0], last = h[--m->n_heap];
    size_t at = 0, n = m->n_heap;
    for (size_t down; (down = 2 * at + 1) < n; at = down) {
        if (down + 1 < n && h[down + 1].order < h[down].order) down++;
        if (h[down].order >= last.order) break;
        h[at] = h[down];
    }
    h[at] = last;
    return top;
}

/* Notes the pair that begins at `left`, if it can be merged. The heap has room for two per symbol: every
 * merge takes a symbol away, one candidate off, and adds two at most. */
static void push_pair(const struct bpe *b, struct bpe_merging *m, uint32_t left)
{
    uint32_t right = m->symbols[left].next;
    if (right == ID_NONE) return;
    uint64_t found = find_pair(b, m->symbols[left].id, m->symbols[right].id);
    if (found == FOUND_NONE) return;
    m->heap[m->n_heap++] = (struct candidate){found >> 32 << 32 | left, (uint32_t)found};
    sift_up(m->heap, m->n_heap - 1);
}

static bool reserve_long(struct bpe_merging *m, size_t n, struct error *err)
{
    if (n <= m->capacity) return true;
    free(m->symbols);
    free(m->heap);
    m->capacity = 0;
    m->symbols = malloc(n * sizeof *m->symbols);
    m->heap = malloc(2 * n * sizeof *m->heap);
    if (!m->symbols || !m->heap) return error_memory(err, n * (sizeof *m->symbols + 2 * sizeof *m->heap));
    m->capacity = n;
    return true;
}

static bool merge_long(const struct bpe *b, struct bpe_merging *m, struct token_ids *word, struct error *err)
{
    uint32_t n = (uint32_t)word->n;
    if (!reserve_long(m, n, err)) return false;
    struct symbol *s = m->symbols;
    for (uint32_t i = 0; i < n; i++)
        s[i] = (struct symbol){word->data[i], i ? i - 1 : ID_NONE, i + 1 < n ? i + 1 : ID_NONE};
    m->n_heap = 0;
    for (uint32_t i = 0; i + 1 < n; i++) push_pair(b, m, i);
    while (m->n_heap) {
        struct candidate c = pop(m);
        uint32_t left = (uint32_t)c.order, right = s[left].id == ID_NONE ? ID_NONE : s[left].next;
        if (right == ID_NONE) continue;
        /* Since it was noted, one of the two may have become something else. */
        uint64_t found = find_pair(b, s[left].id, s[right].id);
        if (found >> 32 != c.order >> 32 || (uint32_t)found != c.merged) continue;
        s[left].id = c.merged;
        s[left].next = s[right].next;
        if (s[left].next != ID_NONE) s[s[left].next].prev = left;
        s[right].id = ID_NONE;
        if (s[left].prev != ID_NONE) push_pair(b, m, s[left].prev);
        push_pair(b, m, left);
    }
    word->n = 0;
    for (uint32_t i = 0; i != ID_NONE; i = s[i].next) word->data[word->n++] = s[i].id;
    return true;
}

bool bpe_merge(const struct bpe *b, struct bpe_merging *m, struct token_ids *word, struct error *err)
{
    if (word->n > SHORT_SYMBOLS) return merge_long(b, m, word, err);
    word->n = merge_short(b, word->data, (uint32_t)word->n);
    return true;
}

void bpe_merging_free(struct bpe_merging *m)
{
    free(m->symbols);
    free(m->heap);
    *m = (struct bpe_merging){0};
}
