#include "engine/tokenizer_vocab.h"

#include "engine/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

/* Steps from a text's own place in the table. Half full and well mixed, a table of millions stays below a hundred. */
#define PROBES_MAX 2048u

bool token_texts_reserve(struct token_texts *t, size_t pool_size, struct error *err)
{
    t->pool = malloc(pool_size + 1);
    if (!t->pool) return error_memory(err, pool_size);
    t->pool_capacity = (uint32_t)pool_size;
    return true;
}

bool token_texts_grow(struct token_texts *t, uint32_t id, struct error *err)
{
    if (id >= t->capacity) {
        uint32_t capacity = t->capacity ? t->capacity : 1024;
        while (capacity <= id) capacity *= 2;
        struct token_text *p = realloc(t->texts, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        t->texts = p;
        t->capacity = capacity;
    }
    while (t->n <= id) t->texts[t->n++] = (struct token_text){ID_NONE, 0};
    return true;
}

void token_texts_free(struct token_texts *t)
{
    free(t->pool);
    free(t->texts);
    *t = (struct token_texts){0};
}

/* The slot of a text: id and the high half of its hash, or 0 for a free one. The id is stored plus one. */
static uint64_t *find_slot(const struct token_index *ix, const uint8_t *text, size_t n, uint64_t hash)
{
    for (uint32_t i = 0; i < PROBES_MAX && i <= ix->mask; i++) {
        uint64_t *slot = &ix->slots[((uint32_t)hash + i) & ix->mask];
        if (*slot == 0) return slot;
        if (*slot >> 32 != hash >> 32) continue;
        struct bytes other = token_text(ix->texts, (uint32_t)*slot - 1);
        if (other.size == n && memcmp(other.data, text, n) == 0) return slot;
    }
    return NULL;
}

bool token_index_build(struct token_index *ix, const struct token_texts *texts, enum token_twice twice,
                       const char *what, struct error *err)
{
    uint32_t n_slots = 16;
    while (n_slots / 2 < texts->n) n_slots *= 2;
    *ix = (struct token_index){texts, calloc(n_slots, sizeof *ix->slots), n_slots - 1};
    if (!ix->slots) return error_memory(err, n_slots * sizeof *ix->slots);
    for (uint32_t id = 0; id < texts->n; id++) {
        struct bytes t = token_text(texts, id);
        if (!t.data) continue;
        uint64_t hash = hash_bytes(t.data, t.size), *slot = find_slot(ix, t.data, t.size, hash);
        if (!slot) return error_set(err, ERR_FORMAT, "%s: its texts collide on purpose", what);
        if (*slot && twice == TWICE_FAILS)
            return error_set(err, ERR_FORMAT, "%s: '%.*s' is there twice, with ids %u and %u", what,
                             t.size > 200 ? 200 : (int)t.size, (const char *)t.data, (uint32_t)*slot - 1, id);
        *slot = hash >> 32 << 32 | (id + 1);
    }
    return true;
}

uint32_t token_index_find(const struct token_index *ix, const uint8_t *text, size_t n)
{
    const uint64_t *slot = find_slot(ix, text, n, hash_bytes(text, n));
    return slot && *slot ? (uint32_t)*slot - 1 : ID_NONE;
}

void token_index_free(struct token_index *ix)
{
    free(ix->slots);
    *ix = (struct token_index){0};
}

static bool add_token(struct vocab *v, struct bytes raw_text, struct bytes raw_id, struct error *err)
{
    struct token_texts *t = &v->texts;
    char *text = (char *)t->pool + t->pool_size;
    uint32_t size = (uint32_t)json_unescape(raw_text, text);
    uint64_t id;
    if (!json_token_u64(raw_id, &id) || id >= TOKENIZER_IDS_MAX)
        return error_set(err, ERR_FORMAT, "model.vocab: '%.200s': expected an id from 0 to %u, found %.*s", text,
                         TOKENIZER_IDS_MAX - 1, raw_id.size > 40 ? 40 : (int)raw_id.size, (const char *)raw_id.data);
    if (!token_texts_grow(t, (uint32_t)id, err)) return false;
    struct bytes other = token_text(t, (uint32_t)id);
    if (other.data)
        return error_set(err, ERR_FORMAT, "model.vocab: '%.200s' and '%.*s' have the same id, %u", text,
                         other.size > 200 ? 200 : (int)other.size, (const char *)other.data, (uint32_t)id);
    t->texts[id] = (struct token_text){t->pool_size, size};
    t->pool_size += size;
    v->n_tokens++;
    return true;
}

bool vocab_read(struct vocab *v, struct json_scan *s, struct error *err)
{
    struct json_scan ahead = *s;
    if (json_scan_next(s) != JSON_TOKEN_OBJECT)
        return error_set(err, ERR_FORMAT, "model.vocab: expected an object of ids");
    /* A text is never longer than its spelling. */
    if (!json_scan_skip(&ahead) || !token_texts_reserve(&v->texts, ahead.at - s->start, err)) return false;
    while (json_scan_next(s) == JSON_TOKEN_KEY) {
        struct bytes text = s->token;
        if (json_scan_next(s) != JSON_TOKEN_NUMBER)
            return error_set(err, ERR_FORMAT, "model.vocab: '%.*s': expected a number",
                             text.size > 200 ? 200 : (int)text.size, (const char *)text.data);
        if (!add_token(v, text, s->token, err)) return false;
    }
    if (v->n_tokens == 0) return error_set(err, ERR_FORMAT, "model.vocab: is empty");
    return token_index_build(&v->index, &v->texts, TWICE_FAILS, "model.vocab", err);
}

uint32_t vocab_byte(const struct vocab *v, uint8_t byte)
{
    char name[8];
    int n = snprintf(name, sizeof name, "<0x%02X>", byte);
    return token_index_find(&v->index, (const uint8_t *)name, (size_t)n);
}

void vocab_free(struct vocab *v)
{
    token_texts_free(&v->texts);
    token_index_free(&v->index);
}
