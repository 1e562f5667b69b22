#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_print.h"

#include <stdlib.h>

/* The global functions: Jinja's, and those that transformers adds. */

#define FUNCTION(name)                                                                                                 \
    static bool name(struct chat_run *r, struct chat_value self, const struct chat_value *args, struct chat_value *out)

bool chat_arg_int(struct chat_run *r, struct chat_value arg, const char *what, int64_t *out)
{
    if (arg.kind == CHAT_ABSENT) return true;
    if (arg.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, arg);
    if (!chat_is_integer(arg)) return chat_fail(r, "%s: expected an integer, found %s", what, chat_kind_name(arg));
    *out = chat_integer(arg);
    return true;
}

bool chat_arg_string(struct chat_run *r, struct chat_value arg, const char *what, struct bytes *out)
{
    if (arg.kind == CHAT_ABSENT) return true;
    if (arg.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, arg);
    if (arg.kind != CHAT_STRING) return chat_fail(r, "%s: expected a string, found %s", what, chat_kind_name(arg));
    *out = chat_bytes(arg);
    return true;
}

FUNCTION(range)
{
    int64_t start = 0, stop = 0, step = 1;
    (void)self;
    bool only_stop = args[1].kind == CHAT_ABSENT;
    if (!chat_arg_int(r, args[0], "range", only_stop ? &stop : &start) || !chat_arg_int(r, args[1], "range", &stop) ||
        !chat_arg_int(r, args[2], "range", &step))
        return false;
    if (step == 0) return chat_fail(r, "range: the step is zero");
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step, n = 0;
    uint64_t distance = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
    if (step > 0 ? stop > start : stop < start) n = (distance - 1) / stride + 1;
    if (n > CHAT_RANGE_MAX) return chat_beyond(r, "range: more than %d items", CHAT_RANGE_MAX);
    if (!chat_seq_make(r, CHAT_RANGE, n, out)) return false;
    for (uint64_t i = 0; i < n; i++) out->seq->items[i] = chat_int((int64_t)((uint64_t)start + i * (uint64_t)step));
    out->seq->start = start;
    out->seq->stop = stop;
    out->seq->step = step;
    return true;
}

static bool add_pairs(struct chat_run *r, struct chat_value from, struct chat_dict *to)
{
    struct chat_value *items, *pair;
    size_t n, two;
    if (from.kind == CHAT_DICT) {
        for (uint32_t i = 0; i < from.dict->n; i++)
            if (!chat_dict_set(r, to, from.dict->pairs[i].key, from.dict->pairs[i].value)) return false;
        return true;
    }
    if (!chat_items(r, from, &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        if (!chat_items(r, items[i], &pair, &two)) return false;
        if (two != 2) return chat_fail(r, "dict: a pair of %zu", two);
        if (!chat_dict_set(r, to, pair[0], pair[1])) return false;
    }
    return true;
}

static bool dict(struct chat_run *r, struct chat_value self, const struct chat_call *call, struct chat_value *out)
{
    (void)self;
    if (call->n > 1) return chat_fail(r, "dict: takes one argument and is given %zu", call->n);
    if (!chat_dict_make(r, call->n_named, out) || (call->n && !add_pairs(r, call->args[0], out->dict))) return false;
    for (size_t i = 0; i < call->n_named; i++)
        if (!chat_dict_set(r, out->dict, call->named[i].key, call->named[i].value)) return false;
    return true;
}

static bool namespace(struct chat_run *r, struct chat_value self, const struct chat_call *call, struct chat_value *out)
{
    if (!dict(r, self, call, out)) return false;
    for (uint32_t i = 0; i < out->dict->n; i++) {
        struct chat_value key = out->dict->pairs[i].key;
        if (key.kind == CHAT_STRING && key.size && key.text[0] == '_')
            return chat_fail(r, "a namespace may not hold '%.*s'", key.size > 64 ? 64 : (int)key.size, key.text);
    }
    out->kind = CHAT_NAMESPACE;
    return true;
}

FUNCTION(raise_exception)
{
    struct chat_value text;
    (void)self, (void)out;
    if (!chat_str(r, args[0], &text)) return false;
    return chat_fail(r, "the template refuses this conversation: %.*s", text.size > 400 ? 400 : (int)text.size,
                     text.text);
}

/* The format comes from the template; strftime writes within its bounds whatever it holds. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static size_t date_text(char *to, size_t size, const char *format, const struct tm *now)
{
    return strftime(to, size, format, now);
}
#pragma GCC diagnostic pop

FUNCTION(strftime_now)
{
    char format[256], text[1024];
    struct bytes given = {0};
    (void)self;
    if (!chat_arg_string(r, args[0], "strftime_now", &given)) return false;
    if (given.size >= sizeof format || memchr(given.data, 0, given.size))
        return chat_beyond(r, "strftime_now: a format of more than 255 bytes");
    if (given.size == 0) return *out = chat_words(""), true;
    memcpy(format, given.data, given.size);
    format[given.size] = 0;
    size_t n = date_text(text, sizeof text, format, &r->now);
    if (n == 0) return chat_beyond(r, "strftime_now: a date of more than 1023 bytes");
    struct chat_text t = {0};
    if (!chat_put(r, &t, text, n)) return false;
    return *out = chat_text_value(&t), true;
}

const struct chat_callable chat_functions[] = {
    {"range", "start | stop step", range, NULL},
    {"dict", NULL, NULL, dict},
    {"namespace", NULL, NULL, namespace},
    {"raise_exception", "message", raise_exception, NULL},
    {"strftime_now", "format", strftime_now, NULL},
    {"cycler", NULL, NULL, NULL},
    {"joiner", NULL, NULL, NULL},
    {"lipsum", NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL},
};
