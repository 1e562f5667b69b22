#include "engine/chat/chat_compare.h"

#include <math.h>

static const char *const kind_names[CHAT_KIND_COUNT] = {
    [CHAT_ABSENT] = "nothing",
    [CHAT_UNDEFINED] = "an undefined value",
    [CHAT_NONE] = "none",
    [CHAT_BOOL] = "a boolean",
    [CHAT_INT] = "an integer",
    [CHAT_FLOAT] = "a number",
    [CHAT_STRING] = "a string",
    [CHAT_LIST] = "a list",
    [CHAT_TUPLE] = "a tuple",
    [CHAT_RANGE] = "a range",
    [CHAT_VIEW] = "a view of a mapping",
    [CHAT_ITERATOR] = "an iterator",
    [CHAT_DICT] = "a mapping",
    [CHAT_NAMESPACE] = "a namespace",
    [CHAT_LOOP] = "a loop",
    [CHAT_MACRO] = "a macro",
    [CHAT_FUNCTION] = "a function",
    [CHAT_METHOD] = "a method",
};

const char *chat_kind_name(struct chat_value v)
{
    return kind_names[v.kind];
}

bool chat_truth(struct chat_value v)
{
    switch ((enum chat_kind)v.kind) {
    case CHAT_ABSENT:
    case CHAT_UNDEFINED:
    case CHAT_NONE: return false;
    case CHAT_BOOL: return v.truth;
    case CHAT_INT: return v.integer != 0;
    case CHAT_FLOAT: return v.real != 0;
    case CHAT_STRING: return v.size != 0;
    case CHAT_LIST:
    case CHAT_TUPLE:
    case CHAT_RANGE:
    case CHAT_VIEW: return v.seq->n != 0;
    case CHAT_DICT: return v.dict->n != 0;
    default: return true;
    }
}

/* long double holds every int64_t and every double (64 or 113 bits of mantissa on the machines we build for). */
static int number_order(struct chat_value a, struct chat_value b)
{
    long double x = a.kind == CHAT_FLOAT ? (long double)a.real : (long double)chat_integer(a);
    long double y = b.kind == CHAT_FLOAT ? (long double)b.real : (long double)chat_integer(b);
    return isnan(x) || isnan(y) ? 2 : x < y ? -1 : x > y;
}

static bool same_address(struct chat_value a, struct chat_value b)
{
    return a.kind == b.kind && a.seq == b.seq;
}

static bool equal_seqs(struct chat_run *r, const struct chat_seq *a, const struct chat_seq *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; i < a->n && *out; i++)
        if (!chat_equal(r, a->items[i], b->items[i], out)) return false;
    return true;
}

static bool equal_dicts(struct chat_run *r, const struct chat_dict *a, const struct chat_dict *b, bool *out)
{
    *out = a->n == b->n;
    for (uint32_t i = 0; i < a->n && *out; i++) {
        struct chat_pair *p;
        if (!chat_dict_find(r, b, a->pairs[i].key, &p)) return false;
        *out = p != NULL;
        if (p && !chat_equal(r, a->pairs[i].value, p->value, out)) return false;
    }
    return true;
}

bool chat_equal(struct chat_run *r, struct chat_value a, struct chat_value b, bool *out)
{
    bool ok = true;
    if (!chat_charge(r, a.kind == CHAT_STRING ? a.size : 0)) return false;
    if (chat_is_number(a) && chat_is_number(b)) return *out = number_order(a, b) == 0, true;
    *out = false;
    if (a.kind != b.kind) return true;
    switch ((enum chat_kind)a.kind) {
    case CHAT_UNDEFINED:
    case CHAT_NONE: return *out = true;
    case CHAT_STRING: return *out = a.size == b.size && (a.size == 0 || memcmp(a.text, b.text, a.size) == 0), true;
    case CHAT_LIST:
    case CHAT_TUPLE:
    case CHAT_RANGE:
        if (!chat_enter(r)) return false;
        ok = equal_seqs(r, a.seq, b.seq, out);
        chat_leave(r);
        return ok;
    case CHAT_DICT:
        if (!chat_enter(r)) return false;
        ok = equal_dicts(r, a.dict, b.dict, out);
        chat_leave(r);
        return ok;
    default: return *out = same_address(a, b), true;
    }
}

bool chat_order(struct chat_run *r, struct chat_value a, struct chat_value b, int *order)
{
    if (!chat_charge(r, a.kind == CHAT_STRING ? a.size : 0)) return false;
    if (chat_is_number(a) && chat_is_number(b)) return *order = number_order(a, b), true;
    if (a.kind == CHAT_STRING && b.kind == CHAT_STRING) {
        size_t n = a.size < b.size ? a.size : b.size;
        int c = n ? memcmp(a.text, b.text, n) : 0; /* the order of UTF-8 is that of its characters */
        return *order = c < 0 ? -1 : c > 0 ? 1 : a.size < b.size ? -1 : a.size > b.size, true;
    }
    if (a.kind == b.kind && (a.kind == CHAT_LIST || a.kind == CHAT_TUPLE)) {
        for (size_t i = 0; i < a.seq->n && i < b.seq->n; i++) {
            bool same;
            if (!chat_equal(r, a.seq->items[i], b.seq->items[i], &same)) return false;
            if (same) continue;
            if (!chat_enter(r)) return false;
            bool ok = chat_order(r, a.seq->items[i], b.seq->items[i], order);
            chat_leave(r);
            return ok;
        }
        return *order = a.seq->n < b.seq->n ? -1 : a.seq->n > b.seq->n, true;
    }
    if (a.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, a);
    if (b.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, b);
    return chat_fail(r, "cannot order %s and %s", chat_kind_name(a), chat_kind_name(b));
}

struct sorting {
    struct chat_run *r;
    struct chat_value *items, *keys, *items_to, *keys_to;
    bool reverse;
};

/* Python's sort filter compares lists of keys, and lists ask for equality first: undefined keys are equal. */
static bool key_order(struct chat_run *r, struct chat_value a, struct chat_value b, int *order)
{
    bool same = false;
    if (a.kind == b.kind && a.kind != CHAT_STRING && a.kind != CHAT_INT && !chat_equal(r, a, b, &same)) return false;
    return same ? (*order = 0, true) : chat_order(r, a, b, order);
}

/* Sorts [from, to) into itself, with the other two arrays as room. */
static bool merge_sort(const struct sorting *s, size_t from, size_t to)
{
    if (to - from < 2) return true;
    size_t middle = from + (to - from) / 2, a = from, b = middle;
    if (!merge_sort(s, from, middle) || !merge_sort(s, middle, to)) return false;
    for (size_t i = from; i < to; i++) {
        int order = 0;
        if (a < middle && b < to && !key_order(s->r, s->keys[b], s->keys[a], &order)) return false;
        bool second = a == middle || (b < to && (order == (s->reverse ? 1 : -1)));
        size_t take = second ? b++ : a++;
        s->items_to[i] = s->items[take];
        s->keys_to[i] = s->keys[take];
    }
    memcpy(s->items + from, s->items_to + from, (to - from) * sizeof *s->items);
    memcpy(s->keys + from, s->keys_to + from, (to - from) * sizeof *s->keys);
    return true;
}

bool chat_sort(struct chat_run *r, struct chat_value *items, struct chat_value *keys, size_t n, bool reverse)
{
    struct sorting s = {.r = r, .items = items, .keys = keys, .reverse = reverse};
    s.items_to = chat_alloc(r, n, sizeof *items);
    s.keys_to = s.items_to ? chat_alloc(r, n, sizeof *keys) : NULL;
    return s.keys_to && merge_sort(&s, 0, n);
}
