#include "core/json.h"
#include "engine/bpe.h"
#include "engine/tokenizer.h"
#include "engine/unicode.h"

/* Steps from a pair's own place in the table, as for texts. */
#define PROBES_MAX 2048u
#define PAIR_NONE UINT64_MAX

uint32_t byte_to_char(uint8_t byte)
{
    /* What is printable in Latin-1 stands for itself; the others follow from U+0100 on in their order. */
    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad)) return byte;
    return byte <= 0x20 ? 0x100u + byte : byte <= 0xa0 ? 0x121u + (byte - 0x7fu) : 0x143u;
}

int char_to_byte(uint32_t c)
{
    if (c < 0x100) return byte_to_char((uint8_t)c) == c ? (int)c : -1;
    if (c <= 0x120) return (int)(c - 0x100);
    if (c <= 0x142) return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}

/* An option that would change the tokens and is not done: absent, null and "" are fine. */
static bool refuse_text(const json_t *model, const char *key, struct error *err)
{
    const char *text = "";
    if (!json_opt_string(model, key, "model", &text, err)) return false;
    return *text ? error_set(err, ERR_UNSUPPORTED, "model: key '%s' is not supported, found '%.200s'", key, text)
                 : true;
}

bool bpe_open(struct bpe *b, const json_t *model, struct error *err)
{
    static const char *const keys[] = {
        "type",          "dropout",       "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
        "byte_fallback", "ignore_merges", NULL};
    const char *unk = NULL;
    double dropout = 0;
    if (!json_known_keys(model, "model", keys, err) || !json_opt_string(model, "unk_token", "model", &unk, err) ||
        !json_opt_number(model, "dropout", "model", &dropout, err) ||
        !refuse_text(model, "continuing_subword_prefix", err) || !refuse_text(model, "end_of_word_suffix", err) ||
        !json_opt_bool(model, "fuse_unk", "model", &b->fuse_unk, err) ||
        !json_opt_bool(model, "byte_fallback", "model", &b->byte_fallback, err) ||
        !json_opt_bool(model, "ignore_merges", "model", &b->ignore_merges, err))
        return false;
    if (dropout != 0) return error_set(err, ERR_UNSUPPORTED, "model: dropout %g would make the tokens random", dropout);
    if (!unk) return true;
    b->unk_token = strdup(unk);
    return b->unk_token ? true : error_memory(err, strlen(unk));
}

void bpe_close(struct bpe *b)
{
    token_texts_free(&b->own_texts);
    token_index_free(&b->own_index);
    free(b->merges);
    free(b->unk_token);
    *b = (struct bpe){0};
}

/* A pair that is there twice counts where it stands last, as in the reference. */
static bool put_pair(struct bpe *b, uint64_t pair, uint64_t found, struct error *err)
{
    uint32_t at = (uint32_t)hash_mix(pair);
    for (uint32_t i = 0; i < PROBES_MAX && i <= b->merge_mask; i++) {
        struct merge_slot *slot = &b->merges[(at + i) & b->merge_mask];
        if (slot->pair != PAIR_NONE && slot->pair != pair) continue;
        *slot = (struct merge_slot){pair, found};
        return true;
    }
    return error_set(err, ERR_FORMAT, "model.merges: its pairs collide on purpose");
}

struct merge_reader {
    const struct vocab *v;
    struct merge *merges;
    size_t n, capacity;
    uint8_t *text; /* both texts, one behind the other */
};

static uint32_t id_of(const struct merge_reader *r, struct bytes text, size_t merge, struct error *err)
{
    uint32_t id = token_index_find(&r->v->index, text.data, text.size);
    if (id == ID_NONE)
        error_set(err, ERR_FORMAT, "model.merges[%zu]: '%.*s' is not in the vocabulary", merge,
                  text.size > 200 ? 200 : (int)text.size, (const char *)text.data);
    return id;
}

static bool add_merge(struct merge_reader *r, struct bytes left, struct bytes right, struct error *err)
{
    if (r->n == MERGES_MAX) return error_set(err, ERR_UNSUPPORTED, "model.merges: more than %u", MERGES_MAX);
    if (r->n == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 1024;
        struct merge *p = realloc(r->merges, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        r->merges = p;
        r->capacity = capacity;
    }
    struct bytes parts[3] = {left, right, bytes_of(left.data, left.size + right.size)};
    uint32_t ids[3];
    for (int i = 0; i < 3; i++) {
        ids[i] = id_of(r, parts[i], r->n, err);
        if (ids[i] == ID_NONE) return false;
    }
    r->merges[r->n] = (struct merge){ids[0], ids[1], ids[2], (uint32_t)r->n};
    r->n++;
    return true;
}

/* "left right", as older files have it. */
static bool read_joined(struct merge_reader *r, struct bytes raw, struct error *err)
{
    size_t n = json_unescape(raw, (char *)r->text);
    if (n >= 8 && memcmp(r->text, "#version", 8) == 0) return true;
    uint8_t *space = memchr(r->text, ' ', n);
    size_t left = space ? (size_t)(space - r->text) : n;
    if (!space || memchr(space + 1, ' ', n - left - 1))
        return error_set(err, ERR_FORMAT,
                         "model.merges[%zu]: expected two texts with one space between, found '%.200s'", r->n,
                         (const char *)r->text);
    memmove(space, space + 1, n - left - 1);
    return add_merge(r, bytes_of(r->text, left), bytes_of(r->text + left, n - left - 1), err);
}

/* ["left", "right"]; the bracket has been read. */
static bool read_pair(struct merge_reader *r, struct json_scan *s, struct error *err)
{
    size_t size[2] = {0, 0};
    bool ok = true;
    for (int i = 0; ok && i < 2; i++) {
        ok = json_scan_next(s) == JSON_TOKEN_STRING;
        if (ok) size[i] = json_unescape(s->token, (char *)r->text + size[0]);
    }
    if (!ok || json_scan_next(s) != JSON_TOKEN_ARRAY_END)
        return error_set(err, ERR_FORMAT, "model.merges[%zu]: expected a pair of texts", r->n);
    return add_merge(r, bytes_of(r->text, size[0]), bytes_of(r->text + size[0], size[1]), err);
}

static bool read_all(struct merge_reader *r, struct json_scan *s, struct error *err)
{
    struct json_scan ahead = *s;
    if (json_scan_next(s) != JSON_TOKEN_ARRAY) return error_set(err, ERR_FORMAT, "model.merges: expected a list");
    size_t span = json_scan_skip(&ahead) ? ahead.at - s->start : 0;
    r->text = malloc(span + 1);
    if (!r->text) return error_memory(err, span);
    for (enum json_token t; (t = json_scan_next(s)) != JSON_TOKEN_ARRAY_END;) {
        if (t == JSON_TOKEN_STRING ? !read_joined(r, s->token, err) : t == JSON_TOKEN_ARRAY && !read_pair(r, s, err))
            return false;
        if (t != JSON_TOKEN_STRING && t != JSON_TOKEN_ARRAY)
            return error_set(err, ERR_FORMAT, "model.merges[%zu]: expected a text or a pair of texts", r->n);
    }
    return true;
}

bool bpe_build_table(struct bpe *b, const struct merge *merges, size_t n, struct error *err)
{
    size_t n_slots = 16;
    while (n_slots / 2 < n) n_slots *= 2;
    b->merges = malloc(n_slots * sizeof *b->merges);
    if (!b->merges) return error_memory(err, n_slots * sizeof *b->merges);
    b->merge_mask = (uint32_t)(n_slots - 1);
    memset(b->merges, 0xff, n_slots * sizeof *b->merges);
    for (size_t i = 0; i < n; i++) {
        const struct merge *m = &merges[i];
        if (!put_pair(b, (uint64_t)m->left << 32 | m->right, (uint64_t)m->rank << 32 | m->merged, err)) return false;
    }
    return true;
}

bool bpe_read_merges(struct bpe *b, const struct vocab *v, struct json_scan *s, struct error *err)
{
    struct merge_reader r = {.v = v};
    bool ok = read_all(&r, s, err) && bpe_build_table(b, r.merges, r.n, err);
    free(r.text);
    free(r.merges);
    return ok;
}

/* The texts as bytes. A text with a character that stands for no byte can never come out of a word. */
static bool turn_around(struct bpe *b, const struct vocab *v, struct error *err)
{
    struct token_texts *out = &b->own_texts;
    if (!token_texts_reserve(out, v->texts.pool_size, err) || !token_texts_grow(out, v->texts.n - 1, err)) return false;
    for (uint32_t id = 0; id < v->texts.n; id++) {
        struct bytes t = token_text(&v->texts, id);
        uint32_t start = out->pool_size;
        bool ok = t.data != NULL;
        for (size_t at = 0, size; ok && at < t.size; at += size) {
            size = utf8_lead_size(t.data[at]);
            int byte = char_to_byte(utf8_char(t.data + at, size));
            ok = byte >= 0;
            if (ok) out->pool[out->pool_size++] = (uint8_t)byte;
        }
        if (ok) out->texts[id] = (struct token_text){start, out->pool_size - start};
        else out->pool_size = start;
    }
    return token_index_build(&b->own_index, out, TWICE_FAILS, "model.vocab", err);
}

bool bpe_prepare(struct bpe *b, const struct vocab *v, bool byte_level, struct error *err)
{
    b->byte_level = byte_level;
    if (byte_level && b->byte_fallback)
        return error_set(err, ERR_UNSUPPORTED,
                         "model: byte_fallback together with the pre-tokenizer ByteLevel is not supported");
    if (byte_level && !turn_around(b, v, err)) return false;
    b->keys = byte_level ? &b->own_index : &v->index;
    for (uint32_t i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        b->byte_ids[i] = byte_level ? token_index_find(b->keys, &byte, 1) : vocab_byte(v, byte);
    }
    if (b->unk_token) b->unk = token_index_find(&v->index, (const uint8_t *)b->unk_token, strlen(b->unk_token));
    b->n_pieces = UINT32_MAX;
    bpe_find_cuts(b);
    return true;
}
