#include "engine/charsmap.h"

#include "engine/unicode.h"

bool charsmap_open(struct charsmap *m, struct bytes blob, struct error *err)
{
    *m = (struct charsmap){0};
    if (blob.size == 0) return true;
    if (blob.size > CHARSMAP_BYTES_MAX)
        return error_set(err, ERR_UNSUPPORTED, "precompiled_charsmap: %zu bytes, at most %zu are read", blob.size,
                         CHARSMAP_BYTES_MAX);
    uint32_t size = blob.size > 4 ? load_le32(blob.data) : 0;
    if (blob.size <= 4 || size >= blob.size - 4 || size % 4 != 0 || size == 0)
        return error_set(err, ERR_FORMAT, "precompiled_charsmap: %zu bytes cannot hold a table of %u bytes and texts",
                         blob.size, size);
    struct bytes texts = bytes_of(blob.data + 4 + size, blob.size - 4 - size);
    if (utf8_broken(texts) < texts.size || texts.data[texts.size - 1] != '\0')
        return error_set(err, ERR_FORMAT, "precompiled_charsmap: its texts are not UTF-8 that ends with NUL");
    *m = (struct charsmap){blob.data + 4, (const char *)texts.data, size / 4, (uint32_t)texts.size};
    return true;
}

/* darts-clone's unit: bits 0-7 label (with bit 31 set it is a value), bit 8 "a rule ends here", bits 10-30 offset,
 * which bit 9 scales by 256. */
static uint32_t unit_offset(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* The text at `at`, or false when it begins inside a character. */
static bool rule_text(const struct charsmap *m, uint32_t at, struct bytes *to)
{
    if (at >= m->texts_size || ((uint8_t)m->texts[at] & 0xc0) == 0x80) return false;
    *to = bytes_text(m->texts + at);
    return true;
}

size_t charsmap_find(const struct charsmap *m, struct bytes in, bool longest, struct bytes *to)
{
    size_t found = 0;
    if (m->n_units == 0) return 0;
    uint32_t at = unit_offset(load_le32(m->units));
    for (size_t i = 0; i < in.size; i++) {
        at ^= in.data[i];
        if (at >= m->n_units) break;
        uint32_t unit = load_le32(m->units + 4 * (size_t)at);
        if ((unit & (1u << 31 | 0xff)) != in.data[i]) break;
        at ^= unit_offset(unit);
        if (!(unit & 1u << 8)) continue;
        bool whole = i + 1 == in.size || (in.data[i + 1] & 0xc0) != 0x80;
        if (at >= m->n_units || !whole || !rule_text(m, load_le32(m->units + 4 * (size_t)at) & 0x7fffffff, to))
            continue;
        found = i + 1;
        if (!longest) break;
    }
    return found;
}
