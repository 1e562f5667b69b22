#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_math.h"
#include "engine/chat/chat_print.h"
#include "engine/chat/chat_strings.h"

#include <math.h>

/* Filters of single values. */

#define FILTER(name)                                                                                                   \
    static bool name(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)

FILTER(length)
{
    size_t n;
    (void)args;
    if (!chat_size(v, &n)) return chat_fail(r, "%s has no length", chat_kind_name(v));
    *out = chat_int((int64_t)n);
    return chat_charge(r, v.kind == CHAT_STRING ? v.size : 0);
}

FILTER(otherwise)
{
    (void)r;
    *out = v;
    if (v.kind == CHAT_UNDEFINED || (chat_truth(args[1]) && !chat_truth(v)))
        *out = args[0].kind == CHAT_ABSENT ? chat_words("") : args[0];
    return true;
}

static bool real_to_int(struct chat_run *r, double f, struct chat_value *out)
{
    if (!(f > -0x1p63 && f < 0x1p63)) return chat_beyond(r, "int: an integer beyond 64 bits");
    return *out = chat_int((int64_t)f), true;
}

/* What is no integer becomes the default, 0. */
FILTER(integer)
{
    struct chat_value otherwise = args[0].kind == CHAT_ABSENT ? chat_int(0) : args[0];
    int64_t base = 10, i;
    double f;
    bool huge;
    *out = otherwise;
    if (!chat_arg_int(r, args[1], "int", &base)) return false;
    switch ((enum chat_kind)v.kind) {
    case CHAT_UNDEFINED: return chat_fail_undefined(r, v);
    case CHAT_BOOL:
    case CHAT_INT: return *out = chat_int(chat_integer(v)), true;
    case CHAT_FLOAT: return isnan(v.real) || real_to_int(r, v.real, out);
    case CHAT_STRING:
        if (base != 2 && base != 8 && base != 10 && base != 16)
            return chat_beyond(r, "int: in base %lld", (long long)base);
        if (chat_parse_int(chat_bytes(v), (int)base, &i, &huge))
            return huge ? chat_beyond(r, "int: an integer beyond 64 bits") : (*out = chat_int(i), true);
        if (!chat_parse_real(chat_bytes(v), &f) || !isfinite(f)) return true;
        return real_to_int(r, f, out);
    default: return true;
    }
}

FILTER(real)
{
    double f;
    *out = args[0].kind == CHAT_ABSENT ? chat_real(0) : args[0];
    if (v.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, v);
    if (chat_is_number(v)) *out = chat_real(chat_number(v));
    else if (v.kind == CHAT_STRING && chat_parse_real(chat_bytes(v), &f)) *out = chat_real(f);
    return true;
}

FILTER(absolute)
{
    (void)args;
    if (v.kind == CHAT_FLOAT) return *out = chat_real(fabs(v.real)), true;
    if (!chat_is_integer(v)) return chat_fail(r, "abs: %s is not a number", chat_kind_name(v));
    return chat_negate(r, v, chat_integer(v) >= 0, out);
}

FILTER(rounded)
{
    int64_t digits = 0;
    if (!chat_is_number(v)) return chat_fail(r, "round: %s is not a number", chat_kind_name(v));
    if (!chat_arg_int(r, args[0], "round", &digits)) return false;
    if (args[1].kind == CHAT_ABSENT || chat_text_is(args[1], "common")) return chat_round(r, v, digits, out);
    bool up = chat_text_is(args[1], "ceil");
    if (!up && !chat_text_is(args[1], "floor")) return chat_fail(r, "round: the method must be common, ceil or floor");
    if (digits < 0 || digits > 22) return chat_beyond(r, "round: to %lld digits", (long long)digits);
    double scale = pow(10, (double)digits), f = chat_number(v) * scale;
    return *out = chat_real((up ? ceil(f) : floor(f)) / scale), true;
}

static bool separators(struct chat_run *r, struct chat_value given, struct chat_json *how)
{
    if (given.kind == CHAT_ABSENT || given.kind == CHAT_NONE) return true;
    bool pair = (given.kind == CHAT_LIST || given.kind == CHAT_TUPLE) && given.seq->n == 2;
    if (!pair || given.seq->items[0].kind != CHAT_STRING || given.seq->items[1].kind != CHAT_STRING)
        return chat_fail(r, "tojson: separators must be two strings");
    how->item_separator = chat_bytes(given.seq->items[0]);
    how->key_separator = chat_bytes(given.seq->items[1]);
    return true;
}

/* As transformers overrides it: json.dumps without escaping for HTML. */
FILTER(to_json)
{
    struct chat_text t = {0};
    struct chat_value by;
    struct chat_json how = {.ascii = chat_truth(args[0]),
                            .sort_keys = chat_truth(args[3]),
                            .indented = args[1].kind != CHAT_ABSENT && args[1].kind != CHAT_NONE,
                            .key_separator = bytes_text(": ")};
    how.item_separator = bytes_text(how.indented ? "," : ", ");
    if (how.indented) {
        if (args[1].kind != CHAT_STRING && !chat_is_integer(args[1]))
            return chat_fail(r, "tojson: indent is %s", chat_kind_name(args[1]));
        by = args[1];
        if (by.kind != CHAT_STRING && !chat_binary(r, '*', chat_words(" "), by, &by)) return false;
        how.indent = chat_bytes(by);
    }
    if (!separators(r, args[2], &how) || !chat_put_json(r, &t, v, &how)) return false;
    return *out = chat_text_value(&t), true;
}

FILTER(attribute)
{
    struct chat_value found = {0};
    struct bytes name;
    char text[64];
    if (!chat_arg_string(r, args[0], "attr", &name)) return false;
    *out = chat_undefined(NULL);
    if (v.kind == CHAT_DICT || name.size >= sizeof text) return true; /* a key is no attribute */
    memcpy(text, name.data, name.size);
    text[name.size] = 0;
    if (!chat_attribute(r, v, text, &found)) return false;
    if (found.kind == CHAT_UNDEFINED) found.text = NULL;
    return *out = found, true;
}

const struct chat_callable chat_filters_value[] = {
    {"length", "", length, NULL},
    {"count", "", length, NULL},
    {"default", "| default_value boolean", otherwise, NULL},
    {"d", "| default_value boolean", otherwise, NULL},
    {"int", "| default base", integer, NULL},
    {"float", "| default", real, NULL},
    {"abs", "", absolute, NULL},
    {"round", "| precision method", rounded, NULL},
    {"tojson", "| ensure_ascii indent separators sort_keys", to_json, NULL},
    {"attr", "name", attribute, NULL},
    {NULL, NULL, NULL, NULL},
};

static const struct chat_callable *find_in(const struct chat_callable *list, const char *name)
{
    for (; list->name; list++)
        if (strcmp(list->name, name) == 0) return list;
    return NULL;
}

const struct chat_callable *chat_filter_find(const char *name)
{
    const struct chat_callable *const lists[] = {chat_filters_value, chat_filters_text, chat_filters_seq,
                                                 chat_filters_lazy},
                                      *found = NULL;
    for (size_t i = 0; i < sizeof lists / sizeof *lists && !found; i++) found = find_in(lists[i], name);
    return found;
}

const struct chat_callable *chat_test_find(const char *name)
{
    return find_in(chat_tests, name);
}
