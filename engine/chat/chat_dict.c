#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_text.h"

#include <math.h>

/* Up to this many pairs are searched one by one. */
#define PLAIN_MAX 8u

bool chat_dict_make(struct chat_run *r, size_t n, struct chat_value *out)
{
    struct chat_dict *d = chat_alloc(r, 1, sizeof *d);
    if (!d) return false;
    d->pairs = chat_alloc(r, n, sizeof *d->pairs);
    d->capacity = (uint32_t)n;
    *out = (struct chat_value){.kind = CHAT_DICT, .dict = d};
    return d->pairs != NULL;
}

/* Equal values have equal hashes: 1, 1.0 and true are one key. False for what cannot be a key. */
static bool hash(struct chat_value v, uint64_t *h)
{
    const uint64_t prime = 0x100000001b3u;
    if (v.kind == CHAT_FLOAT && v.real == floor(v.real) && fabs(v.real) < 0x1p62) v = chat_int((int64_t)v.real);
    switch ((enum chat_kind)v.kind) {
    case CHAT_UNDEFINED:
    case CHAT_NONE: *h = (*h ^ v.kind) * prime; return true;
    case CHAT_BOOL:
    case CHAT_INT: *h = (*h ^ (uint64_t)chat_integer(v)) * prime; return true;
    case CHAT_FLOAT: {
        uint64_t bits;
        memcpy(&bits, &v.real, 8);
        *h = (*h ^ bits) * prime;
        return true;
    }
    case CHAT_STRING:
        for (uint32_t i = 0; i < v.size; i++) *h = (*h ^ (uint8_t)v.text[i]) * prime;
        return true;
    case CHAT_TUPLE:
        for (size_t i = 0; i < v.seq->n; i++)
            if (!hash(v.seq->items[i], h)) return false;
        return true;
    case CHAT_ABSENT:
    case CHAT_LIST:
    case CHAT_VIEW:
    case CHAT_DICT: return false;
    default: *h = (*h ^ (uint64_t)(uintptr_t)v.seq) * prime; return true;
    }
}

static bool same_key(struct chat_run *r, struct chat_value a, struct chat_value b, bool *same)
{
    if (a.kind == CHAT_STRING && b.kind == CHAT_STRING)
        return *same = a.size == b.size && (a.size == 0 || memcmp(a.text, b.text, a.size) == 0), true;
    return chat_equal(r, a, b, same);
}

/* Where the slots of a large dictionary hold the key, or the free slot where it would stand. */
static bool find_slot(struct chat_run *r, const struct chat_dict *d, struct chat_value key, uint64_t h, uint32_t **slot)
{
    uint32_t mask = d->n_slots - 1, at = (uint32_t)(h ^ h >> 32) & mask;
    for (; d->slots[at]; at = (at + 1) & mask) {
        bool same;
        if (!chat_charge(r, 0) || !same_key(r, d->pairs[d->slots[at] - 1].key, key, &same)) return false;
        if (same) break;
    }
    *slot = &d->slots[at];
    return true;
}

bool chat_dict_find(struct chat_run *r, const struct chat_dict *d, struct chat_value key, struct chat_pair **pair)
{
    uint64_t h = 0xcbf29ce484222325u;
    *pair = NULL;
    if (!chat_charge(r, key.kind == CHAT_STRING ? key.size : 0)) return false;
    if ((d->slots || key.kind != CHAT_STRING) && !hash(key, &h))
        return chat_fail(r, "%s cannot be a key", chat_kind_name(key));
    if (d->slots) {
        uint32_t *slot;
        if (!find_slot(r, d, key, h, &slot)) return false;
        if (*slot) *pair = &d->pairs[*slot - 1];
        return true;
    }
    for (uint32_t i = 0; i < d->n && !*pair; i++) {
        bool same;
        if (!same_key(r, d->pairs[i].key, key, &same)) return false;
        if (same) *pair = &d->pairs[i];
    }
    return true;
}

static bool grow(struct chat_run *r, struct chat_dict *d)
{
    uint32_t capacity = d->capacity ? 2 * d->capacity : 4;
    struct chat_pair *pairs = chat_alloc(r, capacity, sizeof *pairs);
    if (!pairs) return false;
    if (d->n) memcpy(pairs, d->pairs, d->n * sizeof *pairs);
    d->pairs = pairs;
    d->capacity = capacity;
    return true;
}

/* At most half full, so that a search ends. */
static bool rehash(struct chat_run *r, struct chat_dict *d)
{
    uint32_t n_slots = d->n_slots ? 2 * d->n_slots : 4 * PLAIN_MAX;
    while (n_slots < 2 * (d->n + 1)) n_slots *= 2;
    if (!(d->slots = chat_alloc(r, n_slots, sizeof *d->slots))) return false;
    d->n_slots = n_slots;
    for (uint32_t i = 0; i < d->n; i++) {
        uint64_t h = 0xcbf29ce484222325u;
        uint32_t *slot;
        hash(d->pairs[i].key, &h);
        if (!find_slot(r, d, d->pairs[i].key, h, &slot)) return false;
        *slot = i + 1;
    }
    return true;
}

bool chat_dict_set(struct chat_run *r, struct chat_dict *d, struct chat_value key, struct chat_value value)
{
    struct chat_pair *p;
    uint64_t h = 0xcbf29ce484222325u;
    if (!hash(key, &h)) return chat_fail(r, "%s cannot be a key", chat_kind_name(key));
    if (!chat_dict_find(r, d, key, &p)) return false;
    if (p) return p->value = value, true;
    if (d->n == d->capacity && !grow(r, d)) return false;
    if (d->n >= PLAIN_MAX && d->n_slots < 2 * (d->n + 1) && !rehash(r, d)) return false;
    d->pairs[d->n++] = (struct chat_pair){key, value};
    if (!d->slots) return true;
    uint32_t *slot;
    if (!find_slot(r, d, key, h, &slot)) return false;
    *slot = d->n;
    return true;
}

const struct chat_value *chat_dict_get(const struct chat_dict *d, const char *name)
{
    for (uint32_t i = 0; i < d->n; i++)
        if (chat_text_is(d->pairs[i].key, name)) return &d->pairs[i].value;
    return NULL;
}

bool chat_contains(struct chat_run *r, struct chat_value in, struct chat_value item, bool *out)
{
    *out = false;
    switch ((enum chat_kind)in.kind) {
    case CHAT_UNDEFINED: return true;
    case CHAT_STRING:
        if (item.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, item);
        if (item.kind != CHAT_STRING) return chat_fail(r, "cannot look for %s in a string", chat_kind_name(item));
        *out = chat_find(chat_bytes(in), chat_bytes(item), 0, false) != SIZE_MAX;
        return chat_charge(r, in.size);
    case CHAT_LIST:
    case CHAT_TUPLE:
    case CHAT_RANGE:
    case CHAT_VIEW:
        for (size_t i = 0; i < in.seq->n && !*out; i++)
            if (!chat_equal(r, in.seq->items[i], item, out)) return false;
        return true;
    case CHAT_DICT: {
        struct chat_pair *p;
        if (!chat_dict_find(r, in.dict, item, &p)) return false;
        return *out = p != NULL, true;
    }
    case CHAT_ITERATOR: {
        struct chat_iterator *it = in.iterator;
        while (it->at < it->n && !*out)
            if (!chat_equal(r, it->items[it->at++], item, out)) return false;
        if (*out || !it->failure) return true;
        *r->err = *it->failure;
        return false;
    }
    default: return chat_fail(r, "cannot look for something in %s", chat_kind_name(in));
    }
}
