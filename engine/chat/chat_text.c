#include "engine/chat/chat_text.h"

#include "engine/unicode.h"

size_t chat_utf8(uint32_t c, char out[4])
{
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

size_t chat_length(struct bytes text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.size; i++) n += (text.data[i] & 0xc0) != 0x80;
    return n;
}

size_t chat_offset(struct bytes text, size_t at)
{
    size_t i = 0;
    for (; i < text.size; i++)
        if ((text.data[i] & 0xc0) != 0x80 && at-- == 0) break;
    return i;
}

bool chat_is_space(uint32_t c)
{
    return unicode_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

static bool strips(struct bytes text, size_t at, size_t size, const struct bytes *set)
{
    if (!set) return chat_is_space(utf8_char(text.data + at, size));
    for (size_t i = 0, n; i < set->size; i += n) {
        n = utf8_lead_size(set->data[i]);
        if (n == size && memcmp(set->data + i, text.data + at, n) == 0) return true;
    }
    return false;
}

struct bytes chat_strip(struct bytes text, const struct bytes *set, bool left, bool right)
{
    size_t from = 0, to = text.size;
    for (size_t n; left && from < to; from += n)
        if (n = utf8_lead_size(text.data[from]), !strips(text, from, n, set)) break;
    while (right && to > from) {
        size_t at = to - 1;
        while ((text.data[at] & 0xc0) == 0x80) at--;
        if (!strips(text, at, to - at, set)) break;
        to = at;
    }
    return bytes_of(text.data + from, to - from);
}

size_t chat_find(struct bytes text, struct bytes part, size_t from, bool last)
{
    if (from > text.size || part.size > text.size - from) return SIZE_MAX;
    if (!last) {
        const uint8_t *p =
            part.size ? memmem(text.data + from, text.size - from, part.data, part.size) : text.data + from;
        return p ? (size_t)(p - text.data) : SIZE_MAX;
    }
    for (size_t at = text.size - part.size + 1; at-- > from;)
        if (part.size == 0 || memcmp(text.data + at, part.data, part.size) == 0) return at;
    return SIZE_MAX;
}
