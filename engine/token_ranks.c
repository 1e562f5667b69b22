#include "engine/token_ranks.h"

#include "engine/tokenizer.h"

#include <stdlib.h>

bool token_ranks_begin(struct bpe *b, size_t size, struct error *err)
{
    b->n_pieces = UINT32_MAX;
    b->byte_level = b->ignore_merges = true;
    return token_texts_reserve(&b->own_texts, size, err);
}

static int digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Bytes written to dst, or SIZE_MAX: four digits for three bytes, the last four with one or two '=' and no bits left
 * over. */
static size_t decode(struct bytes in, uint8_t *dst)
{
    size_t n = 0, padding = 0;
    if (in.size % 4 != 0) return SIZE_MAX;
    while (padding < 2 && padding < in.size && in.data[in.size - 1 - padding] == '=') padding++;
    uint32_t bits = 0, n_bits = 0;
    for (size_t i = 0; i < in.size - padding; i++) {
        int d = digit(in.data[i]);
        if (d < 0) return SIZE_MAX;
        bits = bits << 6 | (uint32_t)d;
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        dst[n++] = (uint8_t)(bits >> n_bits);
        bits &= (1u << n_bits) - 1;
    }
    return bits ? SIZE_MAX : n;
}

bool token_ranks_add(struct bpe *b, uint32_t id, struct bytes base64, struct error *err)
{
    struct token_texts *t = &b->own_texts;
    if (base64.size > RANKED_BYTES_MAX / 3 * 4 || base64.size > t->pool_capacity - t->pool_size)
        return error_set(err, ERR_FORMAT, "a token of %zu base64 digits, at most %u", base64.size,
                         RANKED_BYTES_MAX / 3 * 4);
    size_t n = decode(base64, t->pool + t->pool_size);
    if (n == SIZE_MAX || n == 0)
        return error_set(err, ERR_FORMAT, "'%.*s' is not a base64 text", base64.size > 100 ? 100 : (int)base64.size,
                         (const char *)base64.data);
    if (id >= TOKENIZER_IDS_MAX)
        return error_set(err, ERR_FORMAT, "id %u, expected 0 to %u", id, TOKENIZER_IDS_MAX - 1);
    if (!token_texts_grow(t, id, err)) return false;
    if (t->texts[id].at != ID_NONE) return error_set(err, ERR_FORMAT, "the id %u is there twice", id);
    t->texts[id] = (struct token_text){t->pool_size, (uint32_t)n};
    t->pool_size += (uint32_t)n;
    return true;
}

bool token_ranks_finish(struct bpe *b, const char *what, struct error *err)
{
    uint32_t n = b->own_texts.n;
    CLEANUP(free) uint32_t *ranks = malloc((n + 1u) * sizeof *ranks);
    if (!ranks) return error_memory(err, n * sizeof *ranks);
    for (uint32_t i = 0; i < n; i++) ranks[i] = b->own_texts.texts[i].at == ID_NONE ? RANK_NONE : i;
    if (!bpe_from_ranks(b, ranks, false, what, err)) return false;
    for (uint32_t i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        b->byte_ids[i] = token_index_find(&b->own_index, &byte, 1);
        if (b->byte_ids[i] == ID_NONE) return error_set(err, ERR_FORMAT, "%s: byte %02x is no token", what, i);
    }
    return true;
}
