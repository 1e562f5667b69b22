#include "engine/chat/chat_access.h"
#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_math.h"
#include "engine/chat/chat_print.h"
#include "engine/chat/chat_strings.h"
#include "engine/unicode.h"

/* Filters of texts: what they are given becomes a text first, so that 5 | upper is "5". A text that is marked as safe
 * stays so. */

#define FILTER(name)                                                                                                   \
    static bool name(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)

static bool with_case(struct chat_run *r, struct chat_value v, enum chat_case to, struct chat_value *out)
{
    struct chat_text t = {0};
    if (!chat_str(r, v, &v) || !chat_put_case(r, &t, chat_bytes(v), to)) return false;
    *out = chat_text_value(&t);
    return out->safe = v.safe, true;
}

FILTER(upper)
{
    (void)args;
    return with_case(r, v, CHAT_UPPER, out);
}

FILTER(lower)
{
    (void)args;
    return with_case(r, v, CHAT_LOWER, out);
}

FILTER(capitalize)
{
    (void)args;
    return chat_str(r, v, &v) && chat_capitalize(r, chat_bytes(v), out) && (out->safe = v.safe, true);
}

static bool begins_words(uint32_t c)
{
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || chat_is_space(c);
}

/* A large letter behind white space and opening brackets. */
FILTER(title)
{
    struct chat_text t = {0};
    size_t word = 0;
    (void)args;
    if (!chat_str(r, v, &v)) return false;
    for (size_t at = 0, n; at <= v.size; at += n) {
        n = at < v.size ? utf8_lead_size((uint8_t)v.text[at]) : 1;
        if (at < v.size && !begins_words(utf8_char((const uint8_t *)v.text + at, n))) continue;
        if (at > word) {
            size_t first = utf8_lead_size((uint8_t)v.text[word]);
            if (!chat_put_case(r, &t, bytes_of(v.text + word, first), CHAT_UPPER) ||
                !chat_put_case(r, &t, bytes_of(v.text + word + first, at - word - first), CHAT_LOWER))
                return false;
        }
        if (at < v.size && !chat_put(r, &t, v.text + at, n)) return false;
        word = at + n;
    }
    *out = chat_text_value(&t);
    return out->safe = v.safe, true;
}

FILTER(trim)
{
    struct bytes set;
    bool given = args[0].kind != CHAT_ABSENT && args[0].kind != CHAT_NONE;
    if (!chat_str(r, v, &v) || (given && !chat_arg_string(r, args[0], "trim", &set))) return false;
    struct bytes kept = chat_strip(chat_bytes(v), given ? &set : NULL, true, true);
    *out = chat_string((const char *)kept.data, kept.size);
    out->safe = v.safe;
    return chat_charge(r, (v.size - kept.size) * (given ? 1 + set.size : 1));
}

FILTER(replace)
{
    struct chat_value old, now;
    int64_t count = -1;
    if (!chat_str(r, v, &v) || !chat_str(r, args[0], &old) || !chat_str(r, args[1], &now) ||
        (args[2].kind != CHAT_NONE && !chat_arg_int(r, args[2], "replace", &count)))
        return false;
    return chat_replace(r, chat_bytes(v), chat_bytes(old), chat_bytes(now), count, out);
}

static bool indentation(struct chat_run *r, struct chat_value width, struct chat_value *out)
{
    int64_t n = 4;
    if (width.kind == CHAT_STRING) return *out = width, true;
    return chat_arg_int(r, width, "indent", &n) && chat_binary(r, '*', chat_words(" "), chat_int(n), out);
}

FILTER(indent)
{
    struct chat_text t = {0};
    struct chat_list lines = {0};
    struct chat_value by, ended;
    bool first = chat_truth(args[1]), blank = chat_truth(args[2]);
    if (v.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, v);
    if (v.kind != CHAT_STRING) return chat_fail(r, "indent: %s is not a string", chat_kind_name(v));
    if (!indentation(r, args[0], &by) || !chat_binary(r, '+', v, chat_words("\n"), &ended) ||
        !chat_split_lines(r, ended, false, &lines))
        return false;
    for (size_t i = 0; i < lines.n; i++) {
        bool indented = i == 0 ? first : blank || lines.items[i].size > 0;
        if ((i && !chat_put_words(r, &t, "\n")) || (indented && !chat_put(r, &t, by.text, by.size)) ||
            !chat_put(r, &t, lines.items[i].text, lines.items[i].size))
            return false;
    }
    *out = chat_text_value(&t);
    return out->safe = v.safe, true;
}

FILTER(center)
{
    int64_t width = 80;
    return chat_str(r, v, &v) && chat_arg_int(r, args[0], "center", &width) &&
           chat_pad(r, chat_bytes(v), width, bytes_text(" "), 'c', out);
}

FILTER(shorten)
{
    int64_t length = 255, leeway = 5;
    struct bytes text = v.kind == CHAT_STRING ? chat_bytes(v) : bytes_of(NULL, 0), end = bytes_text("...");
    struct chat_text t = {0};
    size_t size;
    if (!chat_size(v, &size)) return chat_fail(r, "truncate: %s has no length", chat_kind_name(v));
    if (!chat_arg_int(r, args[0], "truncate", &length) || !chat_arg_string(r, args[2], "truncate", &end) ||
        (args[3].kind != CHAT_NONE && !chat_arg_int(r, args[3], "truncate", &leeway)) || !chat_charge(r, 16 * size))
        return false;
    int64_t n = (int64_t)size, kept = length - (int64_t)chat_length(end);
    if (kept < 0 || leeway < 0) return chat_fail(r, "truncate: to a length below that of its end");
    if (n <= length || n - length <= leeway) return *out = v, true;
    if (v.kind != CHAT_STRING) return chat_fail(r, "truncate: %s is not a string", chat_kind_name(v));
    text.size = chat_offset(text, (size_t)kept);
    const uint8_t *blank = chat_truth(args[1]) || !text.size ? NULL : memrchr(text.data, ' ', text.size);
    if (blank) text.size = (size_t)(blank - text.data);
    if (!chat_put(r, &t, text.data, text.size) || !chat_put(r, &t, end.data, end.size)) return false;
    *out = chat_text_value(&t);
    return true;
}

FILTER(string)
{
    (void)args;
    return chat_str(r, v, out);
}

FILTER(safe)
{
    (void)args;
    return chat_str(r, v, out) && (out->safe = true);
}

FILTER(escape)
{
    (void)args;
    return chat_escape(r, v, out);
}

static bool format(struct chat_run *r, struct chat_value v, const struct chat_call *call, struct chat_value *out)
{
    struct chat_value args;
    if (!chat_str(r, v, &v) || !chat_seq_make(r, CHAT_TUPLE, call->n, &args)) return false;
    if (call->n && call->n_named) return chat_fail(r, "format: plain and named arguments at the same time");
    for (size_t i = 0; i < call->n; i++) args.seq->items[i] = call->args[i];
    if (call->n_named) {
        struct chat_dict *d = chat_alloc(r, 1, sizeof *d);
        if (!d) return false;
        *d = (struct chat_dict){.pairs = (struct chat_pair *)(uintptr_t)call->named, .n = (uint32_t)call->n_named};
        args = (struct chat_value){.kind = CHAT_DICT, .dict = d};
    }
    return chat_percent(r, chat_bytes(v), args, out);
}

const struct chat_callable chat_filters_text[] = {
    {"upper", "", upper, NULL},
    {"lower", "", lower, NULL},
    {"capitalize", "", capitalize, NULL},
    {"title", "", title, NULL},
    {"trim", "| chars", trim, NULL},
    {"replace", "old new | count", replace, NULL},
    {"indent", "| width first blank", indent, NULL},
    {"center", "| width", center, NULL},
    {"truncate", "| length killwords end leeway", shorten, NULL},
    {"string", "", string, NULL},
    {"safe", "", safe, NULL},
    {"escape", "", escape, NULL},
    {"e", "", escape, NULL},
    {"format", NULL, NULL, format},
    {NULL, NULL, NULL, NULL},
};
