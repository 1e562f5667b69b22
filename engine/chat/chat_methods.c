#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_filters.h"

#define METHOD(name)                                                                                                   \
    static bool name(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)

METHOD(list_index)
{
    int64_t n = (int64_t)v.seq->n, from = 0, to = n;
    bool same = false;
    if (!chat_arg_int(r, args[1], "index", &from) || !chat_arg_int(r, args[2], "index", &to)) return false;
    if (from < 0) from = from + n < 0 ? 0 : from + n;
    if (to < 0) to += n;
    for (int64_t i = from; i < to && i < n; i++) {
        if (!chat_equal(r, v.seq->items[i], args[0], &same)) return false;
        if (same) return *out = chat_int(i), true;
    }
    return chat_fail(r, "index: the item is not there");
}

METHOD(list_count)
{
    int64_t n = 0;
    bool same;
    for (size_t i = 0; i < v.seq->n; i++) {
        if (!chat_equal(r, v.seq->items[i], args[0], &same)) return false;
        n += same;
    }
    return *out = chat_int(n), true;
}

/* Nothing can change a value, so that a copy is the value. */
METHOD(copy)
{
    (void)r, (void)args;
    return *out = v, true;
}

/* Tuples and ranges have all but the last. */
const struct chat_callable chat_list_methods[] = {
    {"index", "value | start stop", list_index, NULL},
    {"count", "value", list_count, NULL},
    {"copy", "", copy, NULL},
    {NULL, NULL, NULL, NULL},
};

METHOD(get)
{
    struct chat_pair *p;
    if (!chat_dict_find(r, v.dict, args[0], &p)) return false;
    *out = p ? p->value : args[1].kind == CHAT_ABSENT ? chat_of(CHAT_NONE) : args[1];
    return true;
}

static bool view(struct chat_run *r, struct chat_value v, const char *name, struct chat_value *out)
{
    if (!chat_seq_make(r, CHAT_VIEW, v.dict->n, out)) return false;
    out->seq->view = name;
    return true;
}

METHOD(keys)
{
    (void)args;
    if (!view(r, v, "dict_keys", out)) return false;
    for (uint32_t i = 0; i < v.dict->n; i++) out->seq->items[i] = v.dict->pairs[i].key;
    return true;
}

METHOD(values)
{
    (void)args;
    if (!view(r, v, "dict_values", out)) return false;
    for (uint32_t i = 0; i < v.dict->n; i++) out->seq->items[i] = v.dict->pairs[i].value;
    return true;
}

METHOD(items)
{
    (void)args;
    if (!view(r, v, "dict_items", out)) return false;
    for (uint32_t i = 0; i < v.dict->n; i++) {
        struct chat_value *pair = &out->seq->items[i];
        if (!chat_seq_make(r, CHAT_TUPLE, 2, pair)) return false;
        pair->seq->items[0] = v.dict->pairs[i].key;
        pair->seq->items[1] = v.dict->pairs[i].value;
    }
    return true;
}

const struct chat_callable chat_dict_methods[] = {
    {"get", "key | default", get, NULL},
    {"keys", "", keys, NULL},
    {"values", "", values, NULL},
    {"items", "", items, NULL},
    {"copy", "", copy, NULL},
    {"fromkeys", NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL},
};

const struct chat_callable *chat_method_find(struct chat_value of, const char *name)
{
    const struct chat_callable *lists[2] = {NULL, NULL};
    if (of.kind == CHAT_STRING) lists[0] = chat_string_methods, lists[1] = chat_string_cuts;
    else if (of.kind >= CHAT_LIST && of.kind <= CHAT_RANGE) lists[0] = chat_list_methods;
    else if (of.kind == CHAT_DICT) lists[0] = chat_dict_methods;
    for (size_t i = 0; i < 2 && lists[i]; i++)
        for (const struct chat_callable *c = lists[i]; c->name; c++)
            if (strcmp(c->name, name) == 0)
                return c->run == copy && (of.kind == CHAT_TUPLE || of.kind == CHAT_RANGE) ? NULL : c;
    return NULL;
}

bool chat_method_changes(struct chat_value of, const char *name)
{
    static const char *const of_list[] = {"append", "clear",  "pop",    "reverse", "insert",
                                          "sort",   "extend", "remove", NULL};
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    const char *const *names = of.kind == CHAT_LIST ? of_list : of.kind == CHAT_DICT ? of_dict : NULL;
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0) return true;
    size_t n = strlen(name); /* what Python keeps for itself */
    return n > 4 && name[0] == '_' && name[1] == '_' && name[n - 1] == '_' && name[n - 2] == '_';
}
