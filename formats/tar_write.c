/* Laying headers; the shape is described in formats/tar.h. */
#include "core/cleanup.h"
#include "core/text.h"
#include "formats/tar.h"

#define COMMENT_BYTES_MIN 12u /* "12 comment=\n" */
#define PAX_MEMBER_NAME "PaxHeaders/align"

bool tar_path_check(const char *path, struct error *err)
{
    size_t n = strlen(path), depth = 1;
    char printable[TAR_PATH_BYTES_MAX + 1];
    if (n > TAR_PATH_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "path '%.64s...' has %zu bytes, at most %u are possible", path, n,
                         TAR_PATH_BYTES_MAX);
    if (!path_is_safe(path)) return error_set(err, ERR_FORMAT, "path '%.512s' is not a plain relative path", path);
    error_printable(printable, sizeof printable, path, n);
    if (strcmp(printable, path) != 0) return error_set(err, ERR_FORMAT, "path '%.512s' is not printable UTF-8", path);
    for (const char *p = path; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (strncmp(p, ".wh.", 4) == 0)
            return error_set(err, ERR_FORMAT, "path '%.512s' would be taken for a white-out by an unpacker", path);
    for (const char *p = path; *p; p++) depth += *p == '/';
    if (depth > TAR_DEPTH_MAX)
        return error_set(err, ERR_FORMAT, "path '%.512s' has more than %u components", path, TAR_DEPTH_MAX);
    return true;
}

/* `width` - 1 octal digits and a terminator. */
static void put_octal(uint8_t *field, size_t width, uint64_t value)
{
    for (size_t i = width - 1; i-- > 0; value >>= 3) field[i] = (uint8_t)('0' + (value & 7));
    field[width - 1] = 0;
}

/* One ustar header. Fields and offsets: POSIX.1-2017, pax, "ustar Interchange Format". */
static void put_member(struct text *t, const char *name, size_t name_bytes, char type, unsigned mode, uint64_t size)
{
    uint8_t h[TAR_BLOCK_BYTES] = {0};
    memcpy(h, name, name_bytes < TAR_NAME_BYTES ? name_bytes : TAR_NAME_BYTES);
    put_octal(h + 100, 8, mode);
    put_octal(h + 108, 8, 0);
    put_octal(h + 116, 8, 0);
    put_octal(h + 124, 12, size);
    put_octal(h + 136, 12, 0);
    h[156] = (uint8_t)type;
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    put_octal(h + 329, 8, 0);
    put_octal(h + 337, 8, 0);
    uint64_t sum = 8 * ' '; /* the checksum field counts as spaces */
    for (size_t i = 0; i < sizeof h; i++) sum += h[i];
    put_octal(h + 148, 7, sum);
    h[155] = ' ';
    text_put(t, h, sizeof h);
}

/* "LENGTH key=value\n", where LENGTH counts itself. Every total above the smallest can be had; `total` says which. */
static void put_record(struct text *t, size_t total, const char *key, const char *value, size_t value_bytes)
{
    text_add(t, "%zu %s=", total, key);
    text_put(t, value, value_bytes);
    text_put(t, "\n", 1);
}

static size_t record_bytes(const char *key, size_t value_bytes)
{
    size_t body = strlen(key) + value_bytes + 3, total = body + 1;
    for (size_t limit = 10; total >= limit; limit *= 10) total = body + (size_t)snprintf(NULL, 0, "%zu", total);
    return total;
}

static void put_zeros(struct text *t, size_t n)
{
    static const uint8_t zeros[TAR_BLOCK_BYTES];
    text_put(t, zeros, n);
}

static void put_directory(struct text *t, const char *name, size_t name_bytes)
{
    if (name_bytes > TAR_NAME_BYTES) {
        size_t n = record_bytes("path", name_bytes);
        put_member(t, PAX_MEMBER_NAME, strlen(PAX_MEMBER_NAME), 'x', 0644, n);
        put_record(t, n, "path", name, name_bytes);
        put_zeros(t, (TAR_BLOCK_BYTES - n % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES);
    }
    put_member(t, name, name_bytes, '5', 0755, 0);
}

/* The file's own x member, which makes whatever follows its header begin on a page. `at`: where t begins. */
static void put_attributes(struct text *t, uint64_t at, const char *path, uint64_t data_bytes)
{
    char size[24];
    size_t path_bytes = strlen(path),
           size_bytes = (size_t)snprintf(size, sizeof size, "%llu", (unsigned long long)data_bytes);
    size_t path_record = path_bytes > TAR_NAME_BYTES ? record_bytes("path", path_bytes) : 0;
    size_t size_record = data_bytes > TAR_OCTAL_SIZE_MAX ? record_bytes("size", size_bytes) : 0;
    size_t n = TAR_PAGE_BYTES - (size_t)((at + t->size + (uint64_t)2 * TAR_BLOCK_BYTES) % TAR_PAGE_BYTES);
    while (n < path_record + size_record + COMMENT_BYTES_MIN) n += TAR_PAGE_BYTES;
    put_member(t, PAX_MEMBER_NAME, strlen(PAX_MEMBER_NAME), 'x', 0644, n);
    if (path_record) put_record(t, path_record, "path", path, path_bytes);
    if (size_record) put_record(t, size_record, "size", size, size_bytes);
    size_t comment = n - path_record - size_record;
    char spaces[2 * TAR_PAGE_BYTES];
    memset(spaces, ' ', sizeof spaces);
    size_t frame = (size_t)snprintf(NULL, 0, "%zu comment=\n", comment);
    put_record(t, comment, "comment", spaces, comment - frame);
}

bool tar_layer_header(const char *path, uint64_t data_bytes, struct buffer *out, struct tar_layer *layer,
                      struct error *err)
{
    *out = (struct buffer){0};
    if (!tar_path_check(path, err)) return false;
    if (data_bytes > TAR_DATA_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "'%.512s' has %llu bytes, at most %llu are possible", path,
                         (unsigned long long)data_bytes, (unsigned long long)TAR_DATA_BYTES_MAX);
    struct text t = TEXT_INIT;
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/'))
        put_directory(&t, path, (size_t)(slash - path) + 1);
    put_attributes(&t, 0, path, data_bytes);
    put_member(&t, path, strlen(path), '0', 0644, data_bytes > TAR_OCTAL_SIZE_MAX ? 0 : data_bytes);
    *layer = (struct tar_layer){.data_bytes = data_bytes, .data_offset = t.size};
    strcpy(layer->path, path);
    uint64_t padded = (data_bytes + TAR_BLOCK_BYTES - 1) / TAR_BLOCK_BYTES * TAR_BLOCK_BYTES;
    layer->total_bytes = layer->data_offset + padded + (uint64_t)2 * TAR_BLOCK_BYTES;
    char *text;
    if (!text_take(&t, &text, &out->size, err)) return false;
    out->data = (uint8_t *)text;
    return true;
}

static bool append(struct text *t, struct buffer *out, struct error *err)
{
    uint8_t *p = t->failed ? NULL : realloc(out->data, out->size + t->size + 1);
    if (!p) return error_memory(err, out->size + t->size);
    memcpy(p + out->size, t->data, t->size);
    out->data = p;
    out->size += t->size;
    p[out->size] = 0;
    return true;
}

bool tar_member_directory(const char *name, struct buffer *out, struct error *err)
{
    CLEANUP(text) struct text t = TEXT_INIT;
    put_directory(&t, name, strlen(name));
    return append(&t, out, err);
}

bool tar_member_header(uint64_t at, const char *name, uint64_t data_bytes, struct buffer *out, struct error *err)
{
    CLEANUP(text) struct text t = TEXT_INIT;
    put_attributes(&t, at, name, data_bytes);
    put_member(&t, name, strlen(name), '0', 0644, data_bytes > TAR_OCTAL_SIZE_MAX ? 0 : data_bytes);
    return append(&t, out, err);
}
