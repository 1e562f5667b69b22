#include "engine/chat/chat_access.h"
#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_strings.h"
#include "engine/unicode.h"

/* Methods of strings that cut them, join them and look for parts of them. */

#define METHOD(name)                                                                                                   \
    static bool name(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)

/* Adds text[from, to), marked as `v` is. */
static bool add(struct chat_run *r, struct chat_list *l, struct chat_value v, size_t from, size_t to)
{
    struct chat_value part = chat_string(v.text + from, to - from);
    part.safe = v.safe;
    return chat_list_add(r, l, part);
}

static size_t space_end(struct chat_value v, size_t at)
{
    for (size_t n; at < v.size; at += n) {
        n = utf8_lead_size((uint8_t)v.text[at]);
        if (!chat_is_space(utf8_char((const uint8_t *)v.text + at, n))) break;
    }
    return at;
}

static size_t word_end(struct chat_value v, size_t at)
{
    for (size_t n; at < v.size; at += n) {
        n = utf8_lead_size((uint8_t)v.text[at]);
        if (chat_is_space(utf8_char((const uint8_t *)v.text + at, n))) break;
    }
    return at;
}

/* At runs of white space; what is left behind `most` cuts keeps its inner space. */
static bool split_words(struct chat_run *r, struct chat_value v, int64_t most, struct chat_list *l)
{
    for (size_t at = space_end(v, 0), to; at < v.size; at = space_end(v, to)) {
        to = word_end(v, at);
        if (most >= 0 && (int64_t)l->n == most)
            to = at + chat_strip(bytes_of(v.text + at, v.size - at), NULL, false, true).size;
        if (!add(r, l, v, at, to)) return false;
        if (most >= 0 && (int64_t)l->n == most + 1) break;
    }
    return true;
}

static bool split_at(struct chat_run *r, struct chat_value v, struct bytes sep, int64_t most, struct chat_list *l)
{
    size_t at = 0, found;
    while ((most < 0 || (int64_t)l->n < most) && (found = chat_find(chat_bytes(v), sep, at, false)) != SIZE_MAX) {
        if (!add(r, l, v, at, found)) return false;
        at = found + sep.size;
    }
    return add(r, l, v, at, v.size);
}

/* Looking for a part from behind compares it at every place. */
static bool charge_backwards(struct chat_run *r, size_t text, size_t part)
{
    size_t places = text > part ? text - part : 0;
    return chat_charge(r, places) && chat_charge(r, places > SIZE_MAX / (part + 1) ? SIZE_MAX : places / 16 * part);
}

static bool split_behind(struct chat_run *r, struct chat_value v, struct bytes sep, int64_t most, struct chat_list *l)
{
    struct chat_list backwards = {0};
    size_t end = v.size, found;
    while ((int64_t)backwards.n < most) {
        found = chat_find(bytes_of(v.text, end), sep, 0, true);
        if (!charge_backwards(r, found == SIZE_MAX ? end : end - found, sep.size)) return false;
        if (found == SIZE_MAX) break;
        if (!add(r, &backwards, v, found + sep.size, end)) return false;
        end = found;
    }
    if (!add(r, l, v, 0, end)) return false;
    while (backwards.n > 0)
        if (!chat_list_add(r, l, backwards.items[--backwards.n])) return false;
    return true;
}

static bool splitting(struct chat_run *r, struct chat_value v, const struct chat_value *args, bool from_behind,
                      struct chat_value *out)
{
    struct chat_list l = {0};
    struct bytes sep;
    int64_t most = -1;
    bool words = args[0].kind == CHAT_ABSENT || args[0].kind == CHAT_NONE;
    if (!chat_charge(r, v.size) || !chat_arg_int(r, args[1], "split", &most) ||
        (!words && !chat_arg_string(r, args[0], "split", &sep)))
        return false;
    if (!words && sep.size == 0) return chat_fail(r, "split: an empty separator");
    if (words && from_behind && most >= 0) return chat_beyond(r, "rsplit of white space with a limit");
    bool ok = words                      ? split_words(r, v, most, &l)
              : from_behind && most >= 0 ? split_behind(r, v, sep, most, &l)
                                         : split_at(r, v, sep, most, &l);
    return ok && chat_list_take(r, &l, CHAT_LIST, out);
}

METHOD(split)
{
    return splitting(r, v, args, false, out);
}

METHOD(rsplit)
{
    return splitting(r, v, args, true, out);
}

METHOD(splitlines)
{
    struct chat_list l = {0};
    return chat_split_lines(r, v, chat_truth(args[0]), &l) && chat_list_take(r, &l, CHAT_LIST, out);
}

static bool parted(struct chat_run *r, struct chat_value v, const struct chat_value *args, bool last,
                   struct chat_value *out)
{
    struct chat_list l = {0};
    struct bytes sep;
    if (!chat_arg_string(r, args[0], "partition", &sep)) return false;
    if (sep.size == 0) return chat_fail(r, "partition: an empty separator");
    if (last ? !charge_backwards(r, v.size, sep.size) : !chat_charge(r, v.size)) return false;
    size_t at = chat_find(chat_bytes(v), sep, 0, last), gap = sep.size;
    if (at == SIZE_MAX) at = last ? 0 : v.size, gap = 0;
    return add(r, &l, v, 0, at) && add(r, &l, v, at, at + gap) && add(r, &l, v, at + gap, v.size) &&
           chat_list_take(r, &l, CHAT_TUPLE, out);
}

METHOD(partition)
{
    return parted(r, v, args, false, out);
}

METHOD(rpartition)
{
    return parted(r, v, args, true, out);
}

METHOD(join)
{
    return chat_join(r, chat_bytes(v), args[0], false, out);
}

/* text[start:end]; *begin: characters before it. */
static bool window(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out,
                   int64_t *begin)
{
    struct chat_value bounds[3] = {args[0], args[1], chat_of(CHAT_NONE)};
    int64_t n = (int64_t)chat_length(chat_bytes(v));
    for (int i = 0; i < 2; i++)
        if (bounds[i].kind == CHAT_ABSENT) bounds[i] = chat_of(CHAT_NONE);
    *begin = chat_is_integer(bounds[0]) ? chat_integer(bounds[0]) : 0;
    if (*begin < 0) *begin = *begin + n < 0 ? 0 : *begin + n;
    return chat_slice(r, v, bounds, out);
}

static bool found_at(struct chat_run *r, struct chat_value v, const struct chat_value *args, bool last, bool must,
                     struct chat_value *out)
{
    struct chat_value part;
    struct bytes wanted;
    int64_t begin;
    if (!chat_arg_string(r, args[0], "find", &wanted) || !window(r, v, args + 1, &part, &begin)) return false;
    if (last ? !charge_backwards(r, part.size, wanted.size) : !chat_charge(r, part.size)) return false;
    size_t at = chat_find(chat_bytes(part), wanted, 0, last);
    if (begin > (int64_t)chat_length(chat_bytes(v))) at = SIZE_MAX;
    if (at == SIZE_MAX && must) return chat_fail(r, "index: the part is not there");
    *out = chat_int(at == SIZE_MAX ? -1 : begin + (int64_t)chat_length(bytes_of(part.text, at)));
    return true;
}

METHOD(find)
{
    return found_at(r, v, args, false, false, out);
}

METHOD(rfind)
{
    return found_at(r, v, args, true, false, out);
}

METHOD(index_of)
{
    return found_at(r, v, args, false, true, out);
}

METHOD(last_index_of)
{
    return found_at(r, v, args, true, true, out);
}

METHOD(count)
{
    struct chat_value part;
    struct bytes wanted;
    int64_t begin, n = 0;
    if (!chat_arg_string(r, args[0], "count", &wanted) || !window(r, v, args + 1, &part, &begin)) return false;
    for (size_t at = 0; wanted.size && (at = chat_find(chat_bytes(part), wanted, at, false)) != SIZE_MAX; n++)
        at += wanted.size;
    if (wanted.size == 0 && begin <= (int64_t)chat_length(chat_bytes(v)))
        n = (int64_t)chat_length(chat_bytes(part)) + 1;
    *out = chat_int(n);
    return chat_charge(r, part.size);
}

static bool begins(struct chat_value v, struct chat_value part, bool at_end)
{
    return part.size <= v.size && memcmp(at_end ? v.text + v.size - part.size : v.text, part.text, part.size) == 0;
}

static bool begins_any(struct chat_run *r, struct chat_value v, const struct chat_value *args, bool at_end,
                       struct chat_value *out)
{
    struct chat_value text, one = args[0], *parts = &one;
    size_t n = 1;
    int64_t begin;
    if (one.kind == CHAT_TUPLE) parts = one.seq->items, n = one.seq->n;
    *out = chat_bool(false);
    if (!window(r, v, args + 1, &text, &begin)) return false;
    bool outside = begin > (int64_t)chat_length(chat_bytes(v));
    for (size_t i = 0; i < n; i++) {
        struct bytes part;
        if (!chat_arg_string(r, parts[i], at_end ? "endswith" : "startswith", &part) || !chat_charge(r, part.size))
            return false;
        out->truth |= !outside && begins(text, parts[i], at_end);
    }
    return true;
}

METHOD(startswith)
{
    return begins_any(r, v, args, false, out);
}

METHOD(endswith)
{
    return begins_any(r, v, args, true, out);
}

METHOD(removeprefix)
{
    struct bytes part;
    if (!chat_arg_string(r, args[0], "removeprefix", &part)) return false;
    *out = v;
    if (begins(v, args[0], false)) out->text += part.size, out->size -= (uint32_t)part.size;
    return true;
}

METHOD(removesuffix)
{
    struct bytes part;
    if (!chat_arg_string(r, args[0], "removesuffix", &part)) return false;
    *out = v;
    if (begins(v, args[0], true)) out->size -= (uint32_t)part.size;
    return true;
}

const struct chat_callable chat_string_cuts[] = {
    {"split", "| sep maxsplit", split, NULL},
    {"rsplit", "| sep maxsplit", rsplit, NULL},
    {"splitlines", "| keepends", splitlines, NULL},
    {"partition", "sep", partition, NULL},
    {"rpartition", "sep", rpartition, NULL},
    {"join", "iterable", join, NULL},
    {"find", "sub | start end", find, NULL},
    {"rfind", "sub | start end", rfind, NULL},
    {"index", "sub | start end", index_of, NULL},
    {"rindex", "sub | start end", last_index_of, NULL},
    {"count", "sub | start end", count, NULL},
    {"startswith", "prefix | start end", startswith, NULL},
    {"endswith", "suffix | start end", endswith, NULL},
    {"removeprefix", "prefix", removeprefix, NULL},
    {"removesuffix", "suffix", removesuffix, NULL},
    {NULL, NULL, NULL, NULL},
};
