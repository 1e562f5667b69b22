#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_math.h"
#include "engine/chat/chat_print.h"
#include "engine/chat/chat_strings.h"

/* Filters of sequences that look at all of them at once. */

#define FILTER(name)                                                                                                   \
    static bool name(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)

FILTER(first)
{
    struct chat_value *items;
    size_t n;
    (void)args;
    if (v.kind == CHAT_ITERATOR && v.iterator->at < v.iterator->n)
        return *out = v.iterator->items[v.iterator->at++], true;
    if (!chat_items(r, v, &items, &n)) return false;
    *out = n ? items[0] : chat_undefined("the first of nothing");
    return true;
}

FILTER(last)
{
    struct chat_value *items;
    size_t n;
    (void)args;
    if (v.kind == CHAT_ITERATOR) return chat_fail(r, "last: an iterator has no last item before it has been walked");
    if (!chat_items(r, v, &items, &n)) return false;
    *out = n ? items[n - 1] : chat_undefined("the last of nothing");
    return true;
}

FILTER(list)
{
    struct chat_value *items;
    size_t n;
    (void)args;
    if (!chat_items(r, v, &items, &n) || !chat_seq_make(r, CHAT_LIST, n, out)) return false;
    if (n) memcpy(out->seq->items, items, n * sizeof *items);
    return true;
}

/* What the items are compared by: themselves or what a path leads to, small letters for strings. */
static bool key_of(struct chat_run *r, struct chat_value item, struct chat_value path, bool case_sensitive,
                   struct chat_value *out)
{
    struct chat_text t = {0};
    *out = item;
    if (path.kind != CHAT_ABSENT && path.kind != CHAT_NONE && !chat_path(r, item, path, chat_of(CHAT_NONE), out))
        return false;
    if (case_sensitive || out->kind != CHAT_STRING) return true;
    if (!chat_put_case(r, &t, chat_bytes(*out), CHAT_LOWER)) return false;
    return *out = chat_text_value(&t), true;
}

FILTER(join)
{
    struct chat_value mapped, separator = chat_words(""), *items;
    size_t n;
    if (args[0].kind != CHAT_ABSENT && !chat_str(r, args[0], &separator)) return false;
    if (args[1].kind == CHAT_ABSENT || args[1].kind == CHAT_NONE)
        return chat_join(r, chat_bytes(separator), v, true, out);
    if (!chat_items(r, v, &items, &n) || !chat_seq_make(r, CHAT_LIST, n, &mapped)) return false;
    for (size_t i = 0; i < n; i++)
        if (!key_of(r, items[i], args[1], true, &mapped.seq->items[i])) return false;
    return chat_join(r, chat_bytes(separator), mapped, true, out);
}

FILTER(reverse)
{
    struct chat_value *items, reversed;
    size_t n;
    (void)args;
    if (v.kind == CHAT_STRING) {
        struct chat_value bounds[3] = {chat_of(CHAT_NONE), chat_of(CHAT_NONE), chat_int(-1)};
        return chat_slice(r, v, bounds, out);
    }
    if (!chat_items(r, v, &items, &n) || !chat_seq_make(r, CHAT_LIST, n, &reversed)) return false;
    for (size_t i = 0; i < n; i++) reversed.seq->items[i] = items[n - 1 - i];
    /* a list, where Python can only walk it once to turn it round */
    return v.kind == CHAT_ITERATOR ? (*out = reversed, true) : chat_iterator_make(r, reversed.seq->items, n, out);
}

/* Several paths, "a,b": the keys are lists. */
static bool sort_key(struct chat_run *r, struct chat_value item, struct chat_value path, bool case_sensitive,
                     struct chat_value *out)
{
    struct chat_list keys = {0};
    struct bytes text = chat_bytes(path);
    if (path.kind != CHAT_STRING || !memchr(text.data, ',', text.size))
        return key_of(r, item, path, case_sensitive, out);
    for (size_t from = 0; from <= text.size;) {
        const uint8_t *comma = memchr(text.data + from, ',', text.size - from);
        size_t to = comma ? (size_t)(comma - text.data) : text.size;
        struct chat_value key;
        if (!key_of(r, item, chat_string(path.text + from, to - from), case_sensitive, &key) ||
            !chat_list_add(r, &keys, key))
            return false;
        from = to + 1;
    }
    return chat_list_take(r, &keys, CHAT_LIST, out);
}

FILTER(sort)
{
    struct chat_value keys;
    if (!list(r, v, NULL, out) || !chat_seq_make(r, CHAT_LIST, out->seq->n, &keys)) return false;
    for (size_t i = 0; i < out->seq->n; i++)
        if (!sort_key(r, out->seq->items[i], args[2], chat_truth(args[1]), &keys.seq->items[i])) return false;
    return chat_sort(r, out->seq->items, keys.seq->items, out->seq->n, chat_truth(args[0]));
}

FILTER(sum)
{
    struct chat_value *items, item;
    size_t n;
    *out = args[1].kind == CHAT_ABSENT ? chat_int(0) : args[1];
    if (out->kind == CHAT_STRING) return chat_fail(r, "sum: of strings");
    if (!chat_items(r, v, &items, &n)) return false;
    for (size_t i = 0; i < n; i++)
        if (!key_of(r, items[i], args[0], true, &item) || !chat_binary(r, '+', *out, item, out)) return false;
    return true;
}

static bool extreme(struct chat_run *r, struct chat_value v, const struct chat_value *args, int wanted,
                    struct chat_value *out)
{
    struct chat_value *items, key, best;
    size_t n;
    int order;
    if (!chat_items(r, v, &items, &n)) return false;
    *out = n ? items[0] : chat_undefined("the extreme of nothing");
    for (size_t i = 0; i < n; i++) {
        if (!key_of(r, items[i], args[1], chat_truth(args[0]), &key)) return false;
        if (i == 0) best = key;
        else if (!chat_order(r, key, best, &order)) return false;
        else if (order == wanted) best = key, *out = items[i];
    }
    return true;
}

FILTER(least)
{
    return extreme(r, v, args, -1, out);
}

FILTER(most)
{
    return extreme(r, v, args, 1, out);
}

FILTER(dict_sort)
{
    struct chat_value keys;
    bool by_value = chat_text_is(args[1], "value");
    if (args[1].kind != CHAT_ABSENT && !by_value && !chat_text_is(args[1], "key"))
        return chat_fail(r, "dictsort: by must be key or value");
    if (v.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, v);
    if (v.kind != CHAT_DICT) return chat_fail(r, "dictsort: %s is not a mapping", chat_kind_name(v));
    if (!chat_seq_make(r, CHAT_LIST, v.dict->n, out) || !chat_seq_make(r, CHAT_LIST, v.dict->n, &keys)) return false;
    for (uint32_t i = 0; i < v.dict->n; i++) {
        struct chat_pair p = v.dict->pairs[i];
        struct chat_value *pair = &out->seq->items[i];
        if (!chat_seq_make(r, CHAT_TUPLE, 2, pair) ||
            !key_of(r, by_value ? p.value : p.key, chat_of(CHAT_NONE), chat_truth(args[0]), &keys.seq->items[i]))
            return false;
        pair->seq->items[0] = p.key;
        pair->seq->items[1] = p.value;
    }
    return chat_sort(r, out->seq->items, keys.seq->items, out->seq->n, chat_truth(args[2]));
}

FILTER(unique)
{
    struct chat_value *items, key, seen;
    struct chat_list kept = {0};
    struct chat_pair *p;
    size_t n;
    if (!chat_items(r, v, &items, &n) || !chat_dict_make(r, 8, &seen)) return false;
    for (size_t i = 0; i < n; i++) {
        if (!key_of(r, items[i], args[1], chat_truth(args[0]), &key)) return false;
        if (!chat_dict_find(r, seen.dict, key, &p)) return false;
        if (p) continue;
        if (!chat_dict_set(r, seen.dict, key, key) || !chat_list_add(r, &kept, items[i])) return false;
    }
    return chat_iterator_make(r, kept.items, kept.n, out);
}

/* [1, 2, 3, 4, 5] | batch(2, 0): [1, 2], [3, 4], [5, 0] */
FILTER(batch)
{
    struct chat_value *items, group;
    struct chat_list groups = {0};
    int64_t size = 0;
    size_t n;
    if (!chat_arg_int(r, args[0], "batch", &size) || !chat_items(r, v, &items, &n)) return false;
    if (size < 1 || size > CHAT_RANGE_MAX) return chat_fail(r, "batch: of %lld items", (long long)size);
    for (size_t at = 0; at < n; at += (size_t)size) {
        size_t left = n - at < (size_t)size ? n - at : (size_t)size;
        bool fill = args[1].kind != CHAT_ABSENT && args[1].kind != CHAT_NONE;
        if (!chat_seq_make(r, CHAT_LIST, fill ? (size_t)size : left, &group)) return false;
        for (size_t i = 0; i < group.seq->n; i++) group.seq->items[i] = i < left ? items[at + i] : args[1];
        if (!chat_list_add(r, &groups, group)) return false;
    }
    return chat_iterator_make(r, groups.items, groups.n, out);
}

const struct chat_callable chat_filters_seq[] = {
    {"first", "", first, NULL},
    {"last", "", last, NULL},
    {"list", "", list, NULL},
    {"join", "| d attribute", join, NULL},
    {"reverse", "", reverse, NULL},
    {"sort", "| reverse case_sensitive attribute", sort, NULL},
    {"sum", "| attribute start", sum, NULL},
    {"min", "| case_sensitive attribute", least, NULL},
    {"max", "| case_sensitive attribute", most, NULL},
    {"dictsort", "| case_sensitive by reverse", dict_sort, NULL},
    {"unique", "| case_sensitive attribute", unique, NULL},
    {"batch", "linecount | fill_with", batch, NULL},
    {NULL, NULL, NULL, NULL},
};
