#include "engine/chat/chat_access.h"

#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_loop.h"
#include "engine/chat/chat_text.h"

bool chat_size(struct chat_value v, size_t *n)
{
    switch ((enum chat_kind)v.kind) {
    case CHAT_UNDEFINED: *n = 0; return true;
    case CHAT_STRING: *n = chat_length(chat_bytes(v)); return true;
    case CHAT_LIST:
    case CHAT_TUPLE:
    case CHAT_RANGE:
    case CHAT_VIEW: *n = v.seq->n; return true;
    case CHAT_DICT: *n = v.dict->n; return true;
    default: return false;
    }
}

static bool characters(struct chat_run *r, struct chat_value v, struct chat_value **items, size_t *n)
{
    *n = chat_length(chat_bytes(v));
    if (!chat_charge(r, 4 * (size_t)v.size) || !(*items = chat_alloc(r, *n, sizeof **items))) return false;
    for (size_t at = 0, i = 0; at < v.size; i++) {
        size_t size = 1;
        while (at + size < v.size && ((uint8_t)v.text[at + size] & 0xc0) == 0x80) size++;
        (*items)[i] = chat_string(v.text + at, size);
        at += size;
    }
    return true;
}

bool chat_items(struct chat_run *r, struct chat_value v, struct chat_value **items, size_t *n)
{
    *items = NULL;
    *n = 0;
    switch ((enum chat_kind)v.kind) {
    case CHAT_UNDEFINED: return true;
    case CHAT_STRING: return characters(r, v, items, n);
    case CHAT_LIST:
    case CHAT_TUPLE:
    case CHAT_RANGE:
    case CHAT_VIEW: *items = v.seq->items, *n = v.seq->n; return chat_charge(r, *n);
    case CHAT_DICT:
        if (!(*items = chat_alloc(r, v.dict->n, sizeof **items))) return false;
        for (*n = 0; *n < v.dict->n; ++*n) (*items)[*n] = v.dict->pairs[*n].key;
        return chat_charge(r, *n);
    case CHAT_ITERATOR:
        if (v.iterator->failure) return *r->err = *v.iterator->failure, false;
        *items = v.iterator->items + v.iterator->at;
        *n = v.iterator->n - v.iterator->at;
        v.iterator->at = v.iterator->n;
        return chat_charge(r, *n);
    default: return chat_fail(r, "cannot walk over %s", chat_kind_name(v));
    }
}

static bool method(struct chat_run *r, struct chat_value of, const char *name, struct chat_value *out, bool *found)
{
    const struct chat_callable *c = chat_method_find(of, name);
    *found = c != NULL || chat_method_changes(of, name);
    if (!c) {
        *out = chat_undefined(name);
        out->size = of.kind;
        return out->safe = *found, true;
    }
    struct chat_method *m = chat_alloc(r, 1, sizeof *m);
    if (!m) return false;
    *m = (struct chat_method){of, c};
    *out = (struct chat_value){.kind = CHAT_METHOD, .method = m};
    return true;
}

bool chat_attribute(struct chat_run *r, struct chat_value of, const char *name, struct chat_value *out)
{
    struct chat_pair *pair = NULL;
    const struct chat_value *member;
    bool found;
    if (of.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, of);
    if (of.kind == CHAT_LOOP) {
        if (!chat_loop_attribute(r, of.loop, name, out, &found)) return false;
        if (found) return true;
    }
    if (of.kind == CHAT_NAMESPACE) {
        if (!chat_charge(r, of.dict->n)) return false;
        if ((member = chat_dict_get(of.dict, name))) return *out = *member, true;
    }
    if (!method(r, of, name, out, &found) || found) return found;
    if (of.kind == CHAT_DICT && !chat_dict_find(r, of.dict, chat_words(name), &pair)) return false;
    if (pair) *out = pair->value;
    return true;
}

/* A name in a string, terminated; one of more than 63 bytes is none of ours. */
static const char *short_name(struct chat_run *r, struct chat_value key)
{
    char *name = key.size < 64 && !memchr(key.text, 0, key.size) ? chat_alloc(r, key.size + 1, 1) : NULL;
    if (name) memcpy(name, key.text, key.size);
    return name;
}

static bool missing(struct chat_run *r, struct chat_value of, struct chat_value key, struct chat_value *out)
{
    bool found;
    *out = chat_undefined(NULL);
    out->size = of.kind;
    if (key.kind != CHAT_STRING) return true;
    const char *name = short_name(r, key);
    if (!name) return !r->bounded;
    if (of.kind == CHAT_NAMESPACE || of.kind == CHAT_LOOP) return chat_attribute(r, of, name, out);
    return method(r, of, name, out, &found);
}

static bool character(struct chat_run *r, struct chat_value of, int64_t at, struct chat_value *out, bool *found)
{
    struct bytes text = chat_bytes(of);
    int64_t n = (int64_t)chat_length(text);
    if (at < 0) at += n;
    *found = at >= 0 && at < n;
    if (!chat_charge(r, of.size) || !*found) return !r->bounded;
    size_t from = chat_offset(text, (size_t)at), size = chat_offset(bytes_of(text.data + from, text.size - from), 1);
    *out = chat_string(of.text + from, size);
    out->safe = of.safe;
    return true;
}

bool chat_item(struct chat_run *r, struct chat_value of, struct chat_value key, struct chat_value *out)
{
    bool indexed = of.kind == CHAT_LIST || of.kind == CHAT_TUPLE || of.kind == CHAT_RANGE, found = false;
    struct chat_pair *pair = NULL;
    if (of.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, of);
    if (of.kind == CHAT_DICT && key.kind != CHAT_LIST && key.kind != CHAT_DICT && key.kind != CHAT_VIEW &&
        key.kind != CHAT_TUPLE && !chat_dict_find(r, of.dict, key, &pair))
        return false;
    if (of.kind == CHAT_DICT && key.kind == CHAT_TUPLE && !chat_dict_find(r, of.dict, key, &pair) && r->bounded)
        return false;
    if (pair) return *out = pair->value, true;
    if (indexed && chat_is_integer(key)) {
        int64_t at = chat_integer(key), n = (int64_t)of.seq->n;
        if (at < 0) at += n;
        if (at >= 0 && at < n) return *out = of.seq->items[at], true;
    }
    if (of.kind == CHAT_STRING && chat_is_integer(key)) {
        if (!character(r, of, chat_integer(key), out, &found)) return false;
        if (found) return true;
    }
    return missing(r, of, key, out);
}

/* Python's slice.indices: where a slice of n items begins and ends, and how many items it has. */
static bool slice_indices(struct chat_run *r, const struct chat_value bounds[3], int64_t n, int64_t at[2],
                          int64_t *count, int64_t *step)
{
    for (int i = 0; i < 3; i++)
        if (bounds[i].kind != CHAT_NONE && !chat_is_integer(bounds[i]))
            return bounds[i].kind == CHAT_UNDEFINED ? chat_fail_undefined(r, bounds[i])
                                                    : chat_fail(r, "%s bounds a slice", chat_kind_name(bounds[i]));
    *step = bounds[2].kind == CHAT_NONE ? 1 : chat_integer(bounds[2]);
    if (*step == 0) return chat_fail(r, "the step of a slice is zero");
    if (*step < -INT64_MAX) *step = -INT64_MAX;
    for (int i = 0; i < 2; i++) {
        int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
        at[i] = (i == 0) == (*step > 0) ? low : high;
        if (bounds[i].kind == CHAT_NONE) continue;
        at[i] = chat_integer(bounds[i]);
        if (at[i] < 0) at[i] += n;
        at[i] = at[i] < low ? low : at[i] > high ? high : at[i];
    }
    if (*step > 0) *count = at[0] < at[1] ? (at[1] - at[0] - 1) / *step + 1 : 0;
    else *count = at[1] < at[0] ? (at[0] - at[1] - 1) / -*step + 1 : 0;
    return true;
}

bool chat_slice(struct chat_run *r, struct chat_value of, const struct chat_value bounds[3], struct chat_value *out)
{
    int64_t ends[2] = {0}, count = 0, step = 1;
    struct chat_value *items;
    size_t n;
    if (of.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, of);
    if (of.kind != CHAT_STRING && of.kind != CHAT_LIST && of.kind != CHAT_TUPLE && of.kind != CHAT_RANGE)
        return chat_fail(r, "a slice of %s", chat_kind_name(of));
    if (!chat_size(of, &n) || !slice_indices(r, bounds, (int64_t)n, ends, &count, &step)) return false;
    int64_t from = ends[0];
    if (of.kind == CHAT_STRING && step == 1) {
        struct bytes text = chat_bytes(of);
        size_t begin = chat_offset(text, (size_t)from);
        *out = chat_string(of.text + begin, chat_offset(bytes_of(text.data + begin, text.size - begin), (size_t)count));
        out->safe = of.safe;
        return chat_charge(r, of.size);
    }
    if (!chat_items(r, of, &items, &n)) return false;
    if (of.kind == CHAT_STRING) {
        struct chat_text t = {0};
        for (int64_t i = 0; i < count; i++)
            if (!chat_put(r, &t, items[from + i * step].text, items[from + i * step].size)) return false;
        *out = chat_text_value(&t);
        return out->safe = of.safe, true;
    }
    if (!chat_seq_make(r, (enum chat_kind)of.kind, (size_t)count, out)) return false;
    for (int64_t i = 0; i < count; i++) out->seq->items[i] = items[from + i * step];
    if (of.kind == CHAT_RANGE) {
        /* what only shows when it is printed may wrap around */
        uint64_t start = (uint64_t)of.seq->start, stride = (uint64_t)of.seq->step;
        out->seq->step = (int64_t)(stride * (uint64_t)step);
        out->seq->start = (int64_t)(start + (uint64_t)from * stride);
        out->seq->stop = (int64_t)(start + (uint64_t)ends[1] * stride);
    }
    return true;
}

bool chat_path(struct chat_run *r, struct chat_value of, struct chat_value path, struct chat_value otherwise,
               struct chat_value *out)
{
    bool stands = otherwise.kind != CHAT_NONE && otherwise.kind != CHAT_ABSENT;
    struct bytes text = chat_bytes(path);
    *out = of;
    if (path.kind != CHAT_STRING) {
        if (!chat_item(r, of, path, out)) return false;
        if (out->kind == CHAT_UNDEFINED && stands) *out = otherwise;
        return true;
    }
    for (size_t from = 0; from <= text.size;) {
        const uint8_t *dot = from < text.size ? memchr(text.data + from, '.', text.size - from) : NULL;
        size_t to = dot ? (size_t)(dot - text.data) : text.size;
        struct chat_value key = chat_string(path.text + from, to - from);
        int64_t number = 0;
        bool digits = to > from && to - from < 10;
        for (size_t i = from; i < to && digits; i++) {
            digits = text.data[i] >= '0' && text.data[i] <= '9';
            number = number * 10 + (text.data[i] - '0');
        }
        if (!chat_item(r, *out, digits ? chat_int(number) : key, out)) return false;
        if (out->kind == CHAT_UNDEFINED && stands) *out = otherwise;
        from = to + 1;
    }
    return true;
}
