#include "engine/chat/chat_strings.h"

#include "engine/chat/chat_access.h"
#include "engine/chat/chat_print.h"
#include "engine/unicode.h"

#include <errno.h>
#include <stdlib.h>

#define NUMBER_MAX 400u

/* Copies one character of text[*at ..]. */
static bool put_one(struct chat_run *r, struct chat_text *t, struct bytes text, size_t *at)
{
    size_t n = utf8_lead_size(text.data[*at]);
    *at += n;
    return chat_put(r, t, text.data + *at - n, n);
}

bool chat_replace(struct chat_run *r, struct bytes text, struct bytes old, struct bytes now, int64_t count,
                  struct chat_value *out)
{
    struct chat_text t = {0};
    size_t at = 0;
    bool ok = chat_charge(r, text.size);
    if (old.size == 0) { /* before every character, and at the end */
        for (; ok && count != 0 && at < text.size; count--)
            ok = chat_put(r, &t, now.data, now.size) && put_one(r, &t, text, &at);
        ok = ok && (at < text.size || count == 0 || chat_put(r, &t, now.data, now.size));
    }
    while (ok && old.size && count != 0) {
        size_t found = chat_find(text, old, at, false);
        if (found == SIZE_MAX) break;
        ok = chat_put(r, &t, text.data + at, found - at) && chat_put(r, &t, now.data, now.size);
        at = found + old.size;
        count--;
    }
    if (!ok || !chat_put(r, &t, text.data + at, text.size - at)) return false;
    *out = chat_text_value(&t);
    return true;
}

static bool is_line_end(uint32_t c)
{
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool chat_split_lines(struct chat_run *r, struct chat_value text, bool keep_ends, struct chat_list *out)
{
    size_t from = 0;
    if (!chat_charge(r, text.size)) return false;
    for (size_t at = 0, n; at < text.size; at += n) {
        n = utf8_lead_size((uint8_t)text.text[at]);
        if (!is_line_end(utf8_char((const uint8_t *)text.text + at, n))) continue;
        if (text.text[at] == '\r' && at + 1 < text.size && text.text[at + 1] == '\n') n = 2;
        if (!chat_list_add(r, out, chat_string(text.text + from, (keep_ends ? at + n : at) - from))) return false;
        from = at + n;
    }
    return from == text.size || chat_list_add(r, out, chat_string(text.text + from, text.size - from));
}

bool chat_join(struct chat_run *r, struct bytes separator, struct chat_value of, bool as_text, struct chat_value *out)
{
    struct chat_text t = {0};
    struct chat_value *items;
    size_t n;
    if (!chat_items(r, of, &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        if (!as_text && items[i].kind != CHAT_STRING)
            return chat_fail(r, "join: %s among the strings", chat_kind_name(items[i]));
        if ((i && !chat_put(r, &t, separator.data, separator.size)) || !chat_put_str(r, &t, items[i])) return false;
    }
    *out = chat_text_value(&t);
    return true;
}

bool chat_capitalize(struct chat_run *r, struct bytes text, struct chat_value *out)
{
    struct chat_text t = {0};
    for (size_t at = 0; at < text.size;)
        if (!chat_put_case_at(r, &t, text, &at, at == 0 ? CHAT_TITLE : CHAT_LOWER)) return false;
    *out = chat_text_value(&t);
    return true;
}

bool chat_pad(struct chat_run *r, struct bytes text, int64_t width, struct bytes fill, char where,
              struct chat_value *out)
{
    struct chat_text t = {0};
    int64_t room = width - (int64_t)chat_length(text), left;
    if (room < 0) room = 0;
    if (!chat_room(r, &t, (uint64_t)room)) return false;
    /* str.center puts the odd one left when the width is odd, format's ^ right */
    left = where == '<' ? 0 : where == '>' ? room : where == '^' ? room / 2 : room / 2 + (room & width & 1);
    for (int64_t i = 0; i < left; i++)
        if (!chat_put(r, &t, fill.data, fill.size)) return false;
    if (!chat_put(r, &t, text.data, text.size)) return false;
    for (int64_t i = left; i < room; i++)
        if (!chat_put(r, &t, fill.data, fill.size)) return false;
    *out = chat_text_value(&t);
    return true;
}

/* Without white space around and underscores between digits; false when they stand elsewhere. */
static bool plain_number(struct bytes text, char out[NUMBER_MAX + 1])
{
    size_t n = 0;
    text = chat_strip(text, NULL, true, true);
    for (size_t i = 0; i < text.size; i++) {
        bool between = i > 0 && i + 1 < text.size && text.data[i - 1] != '_' && text.data[i + 1] != '_';
        if (text.data[i] == '_' && !between) return false;
        if (text.data[i] == '_') continue;
        if (text.data[i] <= ' ' || text.data[i] >= 0x7f || n == NUMBER_MAX) return false;
        out[n++] = (char)text.data[i];
    }
    out[n] = 0;
    return n > 0;
}

bool chat_parse_int(struct bytes text, int base, int64_t *out, bool *huge)
{
    char plain[NUMBER_MAX + 1], *end, *p = plain;
    *huge = false;
    if (!plain_number(text, plain)) return false;
    bool negative = *p == '-';
    if (*p == '-' || *p == '+') p++;
    if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))) return false;
    if (p[0] == '0' && p[1] && strchr(base == 16 ? "xX" : base == 8 ? "oO" : base == 2 ? "bB" : "", p[1])) p += 2;
    errno = 0;
    unsigned long long v = strtoull(p, &end, base);
    *huge = errno == ERANGE || v > (unsigned long long)INT64_MAX + negative;
    *out = (int64_t)(negative ? 0 - v : v);
    return *end == 0 && *p != 0 && *p != '-' && *p != '+';
}

bool chat_parse_real(struct bytes text, double *out)
{
    char plain[NUMBER_MAX + 1], *end;
    if (!plain_number(text, plain) || strpbrk(plain, "xXpP(")) return false;
    *out = strtod(plain, &end);
    return *end == 0;
}
