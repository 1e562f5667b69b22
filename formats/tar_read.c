/* Reading a layer of our own shape. The walk below only finds out which path and size the headers claim, and names the
 * usual foreign things; the proof is the comparison with headers laid anew from that path and size. */
#include "core/cleanup.h"
#include "formats/tar.h"

#define PAX_BYTES_MAX (4u * TAR_PAGE_BYTES)

struct walk {
    struct bytes head;
    const char *what;
    size_t at;                             /* offset of the next header */
    char pax_path[TAR_PATH_BYTES_MAX + 1]; /* from the last x member; empty: none */
    uint64_t pax_size;
    bool has_pax, has_pax_size;
};

static bool refuse(const struct walk *w, const char *why, struct error *err)
{
    return error_set(err, ERR_FORMAT, "%s: tar member at byte %zu %s", w->what, w->at, why);
}

static bool octal(const uint8_t *field, size_t digits, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        if (field[i] < '0' || field[i] > '7') return false;
        v = v * 8 + (uint64_t)(field[i] - '0');
    }
    *out = v;
    return true;
}

static bool header_sound(const struct walk *w, const uint8_t *h, struct error *err)
{
    static const uint8_t zeros[TAR_BLOCK_BYTES];
    uint64_t sum = 0, said;
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? ' ' : h[i];
    if (memcmp(h, zeros, sizeof zeros) == 0) return refuse(w, "is missing: the archive ends before its file", err);
    if (memcmp(h + 257,
               "ustar\0"
               "00",
               8) != 0)
        return refuse(w, "is not a ustar header", err);
    if (!octal(h + 148, 6, &said) || said != sum) return refuse(w, "has a wrong checksum", err);
    return true;
}

/* One "LENGTH key=value\n" at p; *used is LENGTH. */
static bool take_record(struct walk *w, const char *p, size_t left, size_t *used, struct error *err)
{
    size_t n = 0, i = 0;
    while (i < left && i < 5 && p[i] >= '0' && p[i] <= '9') n = n * 10 + (size_t)(p[i++] - '0');
    const char *equals = memchr(p, '=', left);
    if (i == 0 || n > left || n < i + 4 || p[i] != ' ' || p[n - 1] != '\n' || !equals || equals >= p + n)
        return refuse(w, "holds a broken pax record", err);
    const char *key = p + i + 1, *value = equals + 1;
    size_t key_bytes = (size_t)(equals - key), value_bytes = (size_t)(p + n - 1 - value);
    *used = n;
    if (key_bytes == 7 && memcmp(key, "comment", 7) == 0) return true;
    if (key_bytes == 4 && memcmp(key, "path", 4) == 0) {
        if (value_bytes == 0 || value_bytes > TAR_PATH_BYTES_MAX || memchr(value, 0, value_bytes))
            return refuse(w, "holds a pax path that is too long or broken", err);
        memcpy(w->pax_path, value, value_bytes);
        w->pax_path[value_bytes] = '\0';
        return true;
    }
    if (key_bytes != 4 || memcmp(key, "size", 4) != 0)
        return refuse(w, "holds a pax record other than path, size and comment", err);
    w->pax_size = 0;
    w->has_pax_size = true;
    for (size_t k = 0; k < value_bytes; k++)
        if (value[k] < '0' || value[k] > '9' || !u64_mul(w->pax_size, 10, &w->pax_size) ||
            !u64_add(w->pax_size, (uint64_t)(value[k] - '0'), &w->pax_size))
            return refuse(w, "holds a pax size that is not a number", err);
    return true;
}

static bool take_attributes(struct walk *w, uint64_t size, struct error *err)
{
    if (w->has_pax) return refuse(w, "is a second pax header in a row", err);
    if (size > PAX_BYTES_MAX || size > w->head.size - w->at - TAR_BLOCK_BYTES)
        return refuse(w, "has too many pax records", err);
    const char *p = (const char *)w->head.data + w->at + TAR_BLOCK_BYTES;
    for (size_t done = 0, used = 0; done < size; done += used)
        if (!take_record(w, p + done, (size_t)size - done, &used, err)) return false;
    w->has_pax = true;
    return true;
}

/* Follows the headers to the regular file; *path and *size are its claims. */
static bool find_file(struct walk *w, char *path, uint64_t *size, struct error *err)
{
    for (uint32_t members = 0; members < 2 * TAR_DEPTH_MAX + 2; members++) {
        if (w->head.size - w->at < TAR_BLOCK_BYTES) return refuse(w, "is missing: the archive ends too early", err);
        const uint8_t *h = w->head.data + w->at;
        uint64_t field;
        if (!header_sound(w, h, err)) return false;
        if (!octal(h + 124, 11, &field)) return refuse(w, "has a size that is not octal", err);
        switch (h[156]) {
        case 'x':
            if (!take_attributes(w, field, err)) return false;
            w->at += TAR_BLOCK_BYTES + ((size_t)field + TAR_BLOCK_BYTES - 1) / TAR_BLOCK_BYTES * TAR_BLOCK_BYTES;
            if (w->at > w->head.size) return refuse(w, "is missing: the archive ends too early", err);
            break;
        case '5':
            if (field != 0) return refuse(w, "is a directory with data", err);
            w->has_pax = w->has_pax_size = false;
            w->pax_path[0] = '\0';
            w->at += TAR_BLOCK_BYTES;
            break;
        case '0':
            if (w->has_pax_size && field != 0) return refuse(w, "has two sizes, in its pax and its ustar header", err);
            memcpy(path, h, TAR_NAME_BYTES);
            path[TAR_NAME_BYTES] = '\0';
            if (w->pax_path[0]) strcpy(path, w->pax_path);
            *size = w->has_pax_size ? w->pax_size : field;
            return true;
        default: return refuse(w, "is neither a directory nor a regular file", err);
        }
    }
    return refuse(w, "is one too many: more than a path's parents and one file", err);
}

bool tar_layer_parse(struct bytes head, uint64_t total_bytes, const char *what, struct tar_layer *out,
                     struct error *err)
{
    struct walk w = {.head = head, .what = what};
    char path[TAR_PATH_BYTES_MAX + 1];
    uint64_t size = 0;
    CLEANUP_BUFFER struct buffer ours = {0};
    if (!find_file(&w, path, &size, err)) return false;
    if (!tar_layer_header(path, size, &ours, out, err)) return error_wrap(err, "%s", what);
    for (size_t i = 0; i < ours.size; i++)
        if (i >= head.size || head.data[i] != ours.data[i])
            return error_set(err, ERR_FORMAT,
                             "%s: the tar header differs at byte %zu from the one that '%.256s' must have", what, i,
                             path);
    if (total_bytes != out->total_bytes)
        return error_set(err, ERR_FORMAT, "%s: has %llu bytes, a layer with '%.256s' of %llu bytes has %llu", what,
                         (unsigned long long)total_bytes, path, (unsigned long long)size,
                         (unsigned long long)out->total_bytes);
    return true;
}

bool tar_layer_read(const struct file_place *at, const char *what, struct tar_layer *out, struct error *err)
{
    size_t n = (size_t)u64_min(at->size, TAR_HEADER_BYTES_MAX);
    CLEANUP(free) uint8_t *head = malloc(n + 1);
    uint8_t tail[4 * TAR_BLOCK_BYTES];
    if (!head) return error_memory(err, n);
    if (!file_read_at(at->fd, what, at->offset, head, n, err) ||
        !tar_layer_parse(bytes_of(head, n), at->size, what, out, err))
        return false;
    size_t tail_bytes = tar_layer_tail(out);
    if (!file_read_at(at->fd, what, at->offset + at->size - tail_bytes, tail, tail_bytes, err)) return false;
    for (size_t i = 0; i < tail_bytes; i++)
        if (tail[i]) return error_set(err, ERR_FORMAT, "%s: something stands behind the file's data", what);
    return true;
}
