#include "engine/bpe.h"
#include "engine/tokenizer.h"
#include "engine/unicode.h"

#include <stdlib.h>

/* Taking texts apart in every way costs the square of their lengths: so much is done in a second or two. Published
 * vocabularies need a hundredth of it. */
#define SPLIT_WORK_MAX ((uint64_t)1 << 31)

struct splitter {
    struct bpe *b;
    const uint32_t *ranks;
    bool chars;
    struct merge *merges;
    size_t n, capacity;
};

static bool add_split(struct splitter *s, struct merge m, const char *what, struct error *err)
{
    if (s->n == MERGES_MAX) return error_set(err, ERR_UNSUPPORTED, "%s: more than %u merges", what, MERGES_MAX);
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 4096;
        struct merge *p = realloc(s->merges, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        s->merges = p;
        s->capacity = capacity;
    }
    s->merges[s->n++] = m;
    return true;
}

/* All ways to take a text apart into two that are there. */
static bool split_text(struct splitter *s, uint32_t id, const char *what, struct error *err)
{
    struct bytes text = token_text(&s->b->own_texts, id);
    for (size_t at = 1; at < text.size; at++) {
        if (s->chars && (text.data[at] & 0xc0) == 0x80) continue;
        uint32_t left = token_index_find(&s->b->own_index, text.data, at);
        if (left == ID_NONE) continue;
        uint32_t right = token_index_find(&s->b->own_index, text.data + at, text.size - at);
        if (right == ID_NONE) continue;
        if (!add_split(s, (struct merge){left, right, id, s->ranks[id]}, what, err)) return false;
    }
    return true;
}

static bool split_all(struct splitter *s, const char *what, struct error *err)
{
    uint64_t work = 0;
    for (uint32_t id = 0; id < s->b->own_texts.n; id++) {
        uint64_t size = token_text(&s->b->own_texts, id).size;
        if (s->ranks[id] == RANK_NONE) continue;
        work += size * size;
        if (work > SPLIT_WORK_MAX) return error_set(err, ERR_UNSUPPORTED, "%s: its texts are too long", what);
        if (!split_text(s, id, what, err)) return false;
    }
    return true;
}

bool bpe_from_ranks(struct bpe *b, const uint32_t *ranks, bool chars, const char *what, struct error *err)
{
    struct splitter s = {.b = b, .ranks = ranks, .chars = chars};
    b->keys = &b->own_index;
    bool ok = token_index_build(&b->own_index, &b->own_texts, TWICE_FAILS, what, err) && split_all(&s, what, err) &&
              bpe_build_table(b, s.merges, s.n, err);
    free(s.merges);
    if (ok) bpe_find_cuts(b);
    return ok;
}

static void add_cut(struct bpe *b, uint32_t c)
{
    for (uint32_t i = 0; i < b->n_cuts && i < CUTS_MAX; i++)
        if (b->cut_after[i] == c) return;
    if (b->n_cuts < CUTS_MAX) b->cut_after[b->n_cuts] = c;
    b->n_cuts++;
}

void bpe_find_cuts(struct bpe *b)
{
    const uint8_t mark[] = SPACE_MARK;
    b->n_cuts = CUTS_MAX + 1;
    /* A whole word that is a token, or a mark that is unknown and joins others, would be cut. */
    if (b->byte_level || b->ignore_merges || token_index_find(b->keys, mark, SPACE_MARK_BYTES) >= b->n_pieces) return;
    b->n_cuts = 0;
    for (uint32_t at = 0; at <= b->merge_mask && b->n_cuts <= CUTS_MAX; at++) {
        if (b->merges[at].pair == UINT64_MAX) continue;
        struct bytes text = token_text(b->keys->texts, (uint32_t)b->merges[at].found);
        for (size_t i = 1; i + SPACE_MARK_BYTES <= text.size && b->n_cuts <= CUTS_MAX; i++) {
            if (memcmp(text.data + i, mark, SPACE_MARK_BYTES) != 0) continue;
            size_t before = i - 1;
            while (before && (text.data[before] & 0xc0) == 0x80) before--;
            add_cut(b, utf8_char(text.data + before, i - before));
        }
    }
}
