#include "formats/torch_zip.h"

#include "core/crc32.h"

#define LOCAL_MAGIC 0x04034b50u
#define CENTRAL_MAGIC 0x02014b50u
#define END_MAGIC 0x06054b50u
#define END64_MAGIC 0x06064b50u
#define LOCATOR_MAGIC 0x07064b50u
#define DESCRIPTOR_MAGIC 0x08074b50u
#define LOCAL_BYTES 30u
#define CENTRAL_BYTES 46u
#define END_BYTES 22u
#define END64_BYTES 56u
#define LOCATOR_BYTES 20u
#define DESCRIPTOR_BYTES_MAX 24u
#define COMMENT_BYTES_MAX 65535u
#define FLAG_ENCRYPTED 0x2041u /* also strong and of the directory */
#define FLAG_DESCRIPTOR 0x8u
#define NOT_HERE32 0xffffffffu /* the number is in the zip64 field */

/* While the directory is read: what it says of a member. */
struct central {
    const char *name;
    uint64_t header, size, end; /* end: behind data and descriptor */
    uint64_t data;
    uint32_t crc32;
    uint16_t flags;
};

struct reading {
    const struct file_range *r;
    struct arena *arena;
    struct buffer directory;
    struct central *entries;
    uint64_t n, directory_at;
    struct error *err;
};

bool range_read(const struct file_range *r, uint64_t at, void *dst, size_t n, struct error *err)
{
    if (at > r->size || n > r->size - at)
        return error_set(err, ERR_FORMAT, "'%.256s': %zu bytes at byte %llu were asked for, it has %llu", r->what, n,
                         (unsigned long long)at, (unsigned long long)r->size);
    return folder_read(r->folder, r->member, r->offset + at, dst, n, err);
}

static bool bad(const struct reading *z, const char *why)
{
    return error_set(z->err, ERR_FORMAT, "'%.256s': zip archive: %s", z->r->what, why);
}

static bool bad_entry(const struct reading *z, const char *name, const char *why)
{
    return error_set(z->err, ERR_FORMAT, "'%.256s': zip member '%.256s' %s", z->r->what, name, why);
}

bool torch_zip_probe(const uint8_t *head, size_t n)
{
    return n >= 4 && (load_le32(head) == LOCAL_MAGIC || load_le32(head) == END_MAGIC);
}

/* The end record: its comment, if any, reaches to the last byte. */
static bool find_end(const struct reading *z, uint8_t end[END_BYTES], uint64_t *at)
{
    uint64_t size = z->r->size;
    if (size < END_BYTES) return bad(z, "it is too short to have a directory: it is truncated");
    *at = size - END_BYTES;
    if (!range_read(z->r, *at, end, END_BYTES, z->err)) return false;
    if (load_le32(end) == END_MAGIC && load_le16(end + 20) == 0) return true;
    size_t n = (size_t)u64_min(size, COMMENT_BYTES_MAX + END_BYTES);
    CLEANUP(free) uint8_t *tail = malloc(n);
    if (!tail) return error_memory(z->err, n);
    if (!range_read(z->r, size - n, tail, n, z->err)) return false;
    for (size_t i = n - END_BYTES + 1; i-- > 0;) {
        if (load_le32(tail + i) != END_MAGIC || load_le16(tail + i + 20) != n - END_BYTES - i) continue;
        memcpy(end, tail + i, END_BYTES);
        *at = size - n + i;
        return true;
    }
    return bad(z, "the directory at its end is missing: it is truncated");
}

/* Counts, sizes and offsets of 32 bits stand for the zip64 record's where they are all ones. */
static bool read_end(struct reading *z, uint64_t *directory_bytes)
{
    uint8_t end[END_BYTES], locator[LOCATOR_BYTES], e64[END64_BYTES];
    uint64_t at = 0, n, bytes, offset, expect;
    if (!find_end(z, end, &at)) return false;
    if (load_le16(end + 4) != 0 || load_le16(end + 6) != 0) return bad(z, "it is one part of several");
    n = load_le16(end + 10);
    bytes = load_le32(end + 12);
    offset = load_le32(end + 16);
    if (load_le16(end + 8) != n) return bad(z, "it counts its members in two ways");
    expect = at;
    bool has64 = at >= LOCATOR_BYTES && range_read(z->r, at - LOCATOR_BYTES, locator, LOCATOR_BYTES, z->err) &&
                 load_le32(locator) == LOCATOR_MAGIC;
    if (has64) {
        uint64_t at64 = load_le64(locator + 8);
        if (at < LOCATOR_BYTES + END64_BYTES || at64 != at - LOCATOR_BYTES - END64_BYTES)
            return bad(z, "its zip64 record is not in front of the end");
        if (!range_read(z->r, at64, e64, END64_BYTES, z->err)) return false;
        if (load_le32(e64) != END64_MAGIC || load_le64(e64 + 4) != END64_BYTES - 12 || load_le32(e64 + 16) != 0 ||
            load_le32(e64 + 20) != 0 || load_le64(e64 + 24) != load_le64(e64 + 32))
            return bad(z, "its zip64 record is broken");
        if ((n != 0xffff && n != load_le64(e64 + 32)) || (bytes != NOT_HERE32 && bytes != load_le64(e64 + 40)) ||
            (offset != NOT_HERE32 && offset != load_le64(e64 + 48)))
            return bad(z, "its two end records disagree");
        n = load_le64(e64 + 32);
        bytes = load_le64(e64 + 40);
        offset = load_le64(e64 + 48);
        expect = at64;
    } else if (n == 0xffff || bytes == NOT_HERE32 || offset == NOT_HERE32) return bad(z, "its zip64 record is missing");
    if (offset > expect || bytes != expect - offset) return bad(z, "its directory is not in front of the end record");
    if (n > ZIP_ENTRIES_MAX || bytes > ZIP_DIRECTORY_MAX)
        return error_set(z->err, ERR_UNSUPPORTED, "'%.256s': zip archive: more than %u members", z->r->what,
                         ZIP_ENTRIES_MAX);
    if (n > bytes / CENTRAL_BYTES) return bad(z, "it counts more members than its directory can hold");
    z->n = n;
    z->directory_at = offset;
    *directory_bytes = bytes;
    return true;
}

/* Takes the numbers that the 32-bit fields leave to the zip64 field, in their order. */
static bool take64(const uint8_t *extra, size_t bytes, uint64_t *const values[3], const bool wanted[3])
{
    for (size_t at = 0; at + 4 <= bytes;) {
        size_t n = load_le16(extra + at + 2), from = at + 4;
        if (n > bytes - from) return false;
        if (load_le16(extra + at) == 1) {
            for (int k = 0; k < 3; k++) {
                if (!wanted[k]) continue;
                if (from + 8 > at + 4 + n) return false;
                *values[k] = load_le64(extra + from);
                from += 8;
            }
            return true;
        }
        at += 4 + n;
    }
    return !wanted[0] && !wanted[1] && !wanted[2];
}

static bool read_central(struct reading *z, struct central *c, size_t *at)
{
    const uint8_t *p = z->directory.data + *at;
    size_t left = z->directory.size - *at;
    if (left < CENTRAL_BYTES || load_le32(p) != CENTRAL_MAGIC) return bad(z, "its directory is broken");
    size_t name = load_le16(p + 28), extra = load_le16(p + 30), comment = load_le16(p + 32);
    if (name + extra + comment > left - CENTRAL_BYTES) return bad(z, "its directory is broken");
    if (name == 0 || name > ZIP_NAME_MAX || memchr(p + CENTRAL_BYTES, 0, name))
        return bad(z, "a member's name is empty, longer than 512 bytes or holds a NUL byte");
    c->name = arena_copy(z->arena, (const char *)p + CENTRAL_BYTES, name);
    if (!c->name) return error_memory(z->err, name);
    if (!path_is_safe(c->name)) return bad_entry(z, c->name, "is not named by a plain relative path");
    uint64_t stored = load_le32(p + 20);
    c->flags = load_le16(p + 8);
    c->crc32 = load_le32(p + 16);
    c->size = load_le32(p + 24);
    c->header = load_le32(p + 42);
    uint64_t *const values[3] = {&c->size, &stored, &c->header};
    const bool wanted[3] = {c->size == NOT_HERE32, stored == NOT_HERE32, c->header == NOT_HERE32};
    if (!take64(p + CENTRAL_BYTES + name, extra, values, wanted))
        return bad_entry(z, c->name, "has a broken extra field");
    if (c->flags & FLAG_ENCRYPTED)
        return error_set(z->err, ERR_UNSUPPORTED, "'%.256s': zip member '%.256s' is encrypted", z->r->what, c->name);
    if (load_le16(p + 10) != 0)
        return error_set(z->err, ERR_UNSUPPORTED,
                         "'%.256s': zip member '%.256s' is compressed (method %u); torch.save stores, and only what is"
                         " stored can be read in place",
                         z->r->what, c->name, load_le16(p + 10));
    if (stored != c->size) return bad_entry(z, c->name, "is stored and has two sizes");
    if (load_le16(p + 34) != 0) return bad_entry(z, c->name, "lies in another part");
    *at += CENTRAL_BYTES + name + extra + comment;
    return true;
}

/* Behind the data of a member whose local header does not know sizes: with or without a magic, 32 or 64 bits. */
static bool read_descriptor(const struct reading *z, struct central *c)
{
    uint8_t d[DESCRIPTOR_BYTES_MAX];
    size_t n = (size_t)u64_min(sizeof d, z->directory_at - c->end);
    if (!range_read(z->r, c->end, d, n, z->err)) return false;
    for (size_t skip = 0; skip <= 4; skip += 4) {
        if (skip && (n < 4 || load_le32(d) != DESCRIPTOR_MAGIC)) break;
        const uint8_t *p = d + skip;
        bool wide =
            n >= skip + 20 && load_le32(p) == c->crc32 && load_le64(p + 4) == c->size && load_le64(p + 12) == c->size;
        bool narrow =
            n >= skip + 12 && load_le32(p) == c->crc32 && load_le32(p + 4) == c->size && load_le32(p + 8) == c->size;
        if (!wide && !narrow) continue;
        c->end += skip + (wide ? 20 : 12);
        return true;
    }
    return bad_entry(z, c->name, "has a data descriptor that disagrees with the directory");
}

/* The header in front of the data must say what the directory says. */
static bool read_local(struct reading *z, struct central *c)
{
    uint8_t h[LOCAL_BYTES + ZIP_NAME_MAX];
    size_t name = strlen(c->name);
    if (c->header > z->directory_at || z->directory_at - c->header < LOCAL_BYTES + name)
        return bad_entry(z, c->name, "begins behind the directory");
    if (!range_read(z->r, c->header, h, LOCAL_BYTES + name, z->err)) return false;
    if (load_le32(h) != LOCAL_MAGIC) return bad_entry(z, c->name, "is not where the directory says");
    if (load_le16(h + 26) != name || memcmp(h + LOCAL_BYTES, c->name, name) != 0)
        return bad_entry(z, c->name, "has another name in front of its data");
    if (load_le16(h + 8) != 0 || load_le16(h + 6) != c->flags)
        return bad_entry(z, c->name, "has another method or other flags in front of its data");
    size_t extra = load_le16(h + 28);
    c->data = c->header + LOCAL_BYTES + name + extra;
    if (c->data > z->directory_at || c->size > z->directory_at - c->data)
        return bad_entry(z, c->name, "reaches into the directory");
    c->end = c->data + c->size;
    uint32_t crc = load_le32(h + 14), stored = load_le32(h + 18), size = load_le32(h + 22);
    bool later = c->flags & FLAG_DESCRIPTOR;
    if (crc != c->crc32 && !(later && crc == 0)) return bad_entry(z, c->name, "has another CRC in front of its data");
    bool is64 = stored == NOT_HERE32 || size == NOT_HERE32; /* the numbers are the directory's, which were checked */
    if (!is64 && (stored != c->size || size != c->size) && !(later && stored == 0 && size == 0))
        return bad_entry(z, c->name, "has another size in front of its data");
    return !later || read_descriptor(z, c);
}

static int by_header(const void *a, const void *b)
{
    const struct central *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}

static bool no_overlap(struct reading *z)
{
    qsort(z->entries, (size_t)z->n, sizeof *z->entries, by_header);
    for (uint64_t i = 1; i < z->n; i++)
        if (z->entries[i].header < z->entries[i - 1].end)
            return error_set(z->err, ERR_FORMAT, "'%.256s': zip members '%.256s' and '%.256s' overlap", z->r->what,
                             z->entries[i - 1].name, z->entries[i].name);
    return true;
}

/* "archive/", of "archive/data.pkl": all members begin with it. */
static bool find_prefix(struct reading *z, size_t *out)
{
    const char *pkl = NULL;
    for (uint64_t i = 0; i < z->n; i++) {
        const char *slash = strchr(z->entries[i].name, '/');
        if (!slash || strcmp(slash, "/data.pkl") != 0) continue;
        if (pkl) return bad(z, "it has two data.pkl");
        pkl = z->entries[i].name;
    }
    if (!pkl)
        return error_set(z->err, ERR_FORMAT,
                         "'%.256s' is a zip archive without a data.pkl: torch.save did not write it", z->r->what);
    *out = (size_t)(strchr(pkl, '/') - pkl) + 1;
    for (uint64_t i = 0; i < z->n; i++)
        if (strncmp(z->entries[i].name, pkl, *out) != 0)
            return bad_entry(z, z->entries[i].name, "is outside the folder of data.pkl");
    return true;
}

static int by_entry_name(const void *a, const void *b)
{
    return strcmp(((const struct zip_entry *)a)->name, ((const struct zip_entry *)b)->name);
}

static bool finish(struct reading *z, struct torch_zip *out)
{
    size_t prefix = 0;
    if (!no_overlap(z) || !find_prefix(z, &prefix)) return false;
    out->n = (uint32_t)z->n;
    out->entries = arena_alloc(z->arena, out->n, sizeof *out->entries);
    if (!out->entries) return error_memory(z->err, out->n * sizeof *out->entries);
    for (uint32_t i = 0; i < out->n; i++) {
        const struct central *c = &z->entries[i];
        out->entries[i] = (struct zip_entry){c->name + prefix, c->data, c->size, c->crc32};
    }
    qsort(out->entries, out->n, sizeof *out->entries, by_entry_name);
    for (uint32_t i = 1; i < out->n; i++)
        if (strcmp(out->entries[i - 1].name, out->entries[i].name) == 0)
            return bad_entry(z, out->entries[i].name, "is there twice");
    return sha256_of(buffer_view(&z->directory), &out->directory, z->err);
}

static bool open_all(struct reading *z, struct torch_zip *out)
{
    uint64_t bytes = 0;
    size_t at = 0;
    if (!read_end(z, &bytes)) return false;
    z->directory.data = malloc((size_t)bytes + 1);
    z->directory.size = (size_t)bytes;
    z->entries = calloc((size_t)z->n + 1, sizeof *z->entries);
    if (!z->directory.data || !z->entries) return error_memory(z->err, (size_t)bytes);
    if (!range_read(z->r, z->directory_at, z->directory.data, z->directory.size, z->err)) return false;
    for (uint64_t i = 0; i < z->n; i++)
        if (!read_central(z, &z->entries[i], &at) || !read_local(z, &z->entries[i])) return false;
    if (at != z->directory.size) return bad(z, "its directory holds more than its members");
    return finish(z, out);
}

bool torch_zip_open(struct torch_zip *out, const struct file_range *r, struct arena *arena, struct error *err)
{
    struct reading z = {.r = r, .arena = arena, .err = err};
    bool ok = open_all(&z, out);
    buffer_free(&z.directory);
    free(z.entries);
    return ok;
}

const struct zip_entry *torch_zip_find(const struct torch_zip *z, const char *name)
{
    struct zip_entry key = {.name = name};
    return bsearch(&key, z->entries, z->n, sizeof *z->entries, by_entry_name);
}

bool torch_zip_load(const struct file_range *r, const struct zip_entry *e, size_t max, struct buffer *out,
                    struct error *err)
{
    *out = (struct buffer){0};
    if (e->size > max)
        return error_set(err, ERR_UNSUPPORTED, "'%.256s': zip member '%.256s' has %llu bytes, at most %zu are read",
                         r->what, e->name, (unsigned long long)e->size, max);
    CLEANUP_BUFFER struct buffer b = {.data = malloc((size_t)e->size + 1), .size = (size_t)e->size};
    if (!b.data) return error_memory(err, b.size);
    if (!range_read(r, e->offset, b.data, b.size, err)) return false;
    b.data[b.size] = 0;
    uint32_t crc = crc32_add(0, b.data, b.size);
    if (crc != e->crc32)
        return error_set(err, ERR_FORMAT, "'%.256s': zip member '%.256s': the bytes have CRC %08x, the file says %08x",
                         r->what, e->name, crc, e->crc32);
    *out = b;
    b = (struct buffer){0};
    return true;
}
