#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_print.h"
#include "engine/chat/chat_text.h"
#include "engine/unicode.h"

#include <math.h>

static bool put_string(struct chat_run *r, struct chat_text *t, struct bytes s, bool ascii)
{
    static const char letters[] = "btn?fr"; /* of U+0008 ... U+000D */
    size_t plain = 0;
    if (!chat_put_words(r, t, "\"")) return false;
    for (size_t at = 0, n; at < s.size; at += n) {
        n = utf8_lead_size(s.data[at]);
        uint32_t c = utf8_char(s.data + at, n);
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || !ascii)) continue;
        bool ok = chat_put(r, t, s.data + plain, at - plain);
        plain = at + n;
        if (c == '"' || c == '\\') ok = ok && chat_put_format(r, t, "\\%c", (char)c);
        else if (c >= 8 && c <= 13 && c != 11) ok = ok && chat_put_format(r, t, "\\%c", letters[c - 8]);
        else if (c < 0x10000) ok = ok && chat_put_format(r, t, "\\u%04x", c);
        else
            ok = ok && chat_put_format(r, t, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                                       0xdc00 + ((c - 0x10000) & 0x3ff));
        if (!ok) return false;
    }
    return chat_put(r, t, s.data + plain, s.size - plain) && chat_put_words(r, t, "\"");
}

static bool put_real(struct chat_run *r, struct chat_text *t, double f)
{
    char number[CHAT_REAL_TEXT];
    chat_real_text(f, number);
    return chat_put_words(r, t, isnan(f) ? "NaN" : isinf(f) ? (f < 0 ? "-Infinity" : "Infinity") : number);
}

static bool new_line(struct chat_run *r, struct chat_text *t, const struct chat_json *how, uint32_t level)
{
    if (!how->indented) return true;
    bool ok = chat_put_words(r, t, "\n");
    for (uint32_t i = 0; i < level && ok; i++) ok = chat_put(r, t, how->indent.data, how->indent.size);
    return ok;
}

static bool put_value(struct chat_run *r, struct chat_text *t, struct chat_value v, const struct chat_json *how,
                      uint32_t level);

static bool put_list(struct chat_run *r, struct chat_text *t, const struct chat_seq *s, const struct chat_json *how,
                     uint32_t level)
{
    if (s->n == 0) return chat_put_words(r, t, "[]");
    if (!chat_put_words(r, t, "[") || !new_line(r, t, how, level + 1)) return false;
    for (size_t i = 0; i < s->n; i++)
        if ((i && (!chat_put(r, t, how->item_separator.data, how->item_separator.size) ||
                   !new_line(r, t, how, level + 1))) ||
            !put_value(r, t, s->items[i], how, level + 1))
            return false;
    return new_line(r, t, how, level) && chat_put_words(r, t, "]");
}

static bool put_key(struct chat_run *r, struct chat_text *t, struct chat_value key, const struct chat_json *how)
{
    struct chat_json plain = {.ascii = how->ascii};
    if (key.kind == CHAT_STRING) return put_string(r, t, chat_bytes(key), how->ascii);
    if (!chat_is_number(key) && key.kind != CHAT_NONE)
        return chat_fail(r, "tojson: %s cannot be a key of JSON", chat_kind_name(key));
    return chat_put_words(r, t, "\"") && put_value(r, t, key, &plain, 0) && chat_put_words(r, t, "\"");
}

/* The pairs in the order in which they are written. */
static bool ordered(struct chat_run *r, const struct chat_dict *d, bool sort, struct chat_value **keys,
                    struct chat_value **values)
{
    *keys = chat_alloc(r, d->n, sizeof **keys);
    *values = *keys ? chat_alloc(r, d->n, sizeof **values) : NULL;
    for (uint32_t i = 0; i < d->n && *values; i++) {
        (*keys)[i] = d->pairs[i].key;
        (*values)[i] = d->pairs[i].value;
    }
    return *values && (!sort || chat_sort(r, *values, *keys, d->n, false));
}

static bool put_dict(struct chat_run *r, struct chat_text *t, const struct chat_dict *d, const struct chat_json *how,
                     uint32_t level)
{
    struct chat_value *keys, *values;
    if (d->n == 0) return chat_put_words(r, t, "{}");
    if (!ordered(r, d, how->sort_keys, &keys, &values) || !chat_put_words(r, t, "{") || !new_line(r, t, how, level + 1))
        return false;
    for (uint32_t i = 0; i < d->n; i++)
        if ((i && (!chat_put(r, t, how->item_separator.data, how->item_separator.size) ||
                   !new_line(r, t, how, level + 1))) ||
            !put_key(r, t, keys[i], how) || !chat_put(r, t, how->key_separator.data, how->key_separator.size) ||
            !put_value(r, t, values[i], how, level + 1))
            return false;
    return new_line(r, t, how, level) && chat_put_words(r, t, "}");
}

static bool put_value(struct chat_run *r, struct chat_text *t, struct chat_value v, const struct chat_json *how,
                      uint32_t level)
{
    bool ok;
    if (!chat_charge(r, 0)) return false;
    switch ((enum chat_kind)v.kind) {
    case CHAT_NONE: return chat_put_words(r, t, "null");
    case CHAT_BOOL: return chat_put_words(r, t, v.truth ? "true" : "false");
    case CHAT_INT: return chat_put_format(r, t, "%lld", (long long)v.integer);
    case CHAT_FLOAT: return put_real(r, t, v.real);
    case CHAT_STRING: return put_string(r, t, chat_bytes(v), how->ascii);
    case CHAT_LIST:
    case CHAT_TUPLE:
    case CHAT_DICT:
        if (!chat_enter(r)) return false;
        ok = v.kind == CHAT_DICT ? put_dict(r, t, v.dict, how, level) : put_list(r, t, v.seq, how, level);
        chat_leave(r);
        return ok;
    default: return chat_fail(r, "tojson: %s is not JSON", chat_kind_name(v));
    }
}

bool chat_put_json(struct chat_run *r, struct chat_text *t, struct chat_value v, const struct chat_json *how)
{
    return put_value(r, t, v, how, 0);
}

static bool from_object(struct chat_run *r, const json_t *json, struct chat_value *out)
{
    const char *key;
    json_t *member;
    if (!chat_dict_make(r, json_object_size(json), out)) return false;
    json_object_foreach ((json_t *)(uintptr_t)json, key, member) {
        struct chat_value v;
        if (!chat_from_json(r, member, &v) || !chat_dict_set(r, out->dict, chat_words(key), v)) return false;
    }
    return true;
}

bool chat_from_json(struct chat_run *r, const json_t *json, struct chat_value *out)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT: return from_object(r, json, out);
    case JSON_ARRAY:
        if (!chat_seq_make(r, CHAT_LIST, json_array_size(json), out)) return false;
        for (size_t i = 0; i < out->seq->n; i++)
            if (!chat_from_json(r, json_array_get(json, i), &out->seq->items[i])) return false;
        return true;
    case JSON_STRING: *out = chat_string(json_string_value(json), json_string_length(json)); return true;
    case JSON_INTEGER: *out = chat_int(json_integer_value(json)); return true;
    case JSON_REAL: *out = chat_real(json_real_value(json)); return true;
    case JSON_TRUE:
    case JSON_FALSE: *out = chat_bool(json_is_true(json)); return true;
    case JSON_NULL: break;
    }
    *out = chat_of(CHAT_NONE);
    return true;
}
