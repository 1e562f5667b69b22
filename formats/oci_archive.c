#include "formats/oci_archive.h"

#include "core/cleanup.h"
#include "formats/oci_layout.h"
#include "formats/tar.h"

#include <fcntl.h>

#define BLOB_PREFIX OCI_BLOBS_FOLDER "/"

struct member {
    struct digest digest;
    uint64_t offset, size;
};

struct oci_archive {
    int fd;
    char *name;
    struct file_place marker, index; /* offset 0: not there */
    struct member *blobs;
    uint32_t n_blobs, capacity;
};

/* ---- one header -----------------------------------------------------------------------------------------------------
 */

struct walk {
    struct oci_archive *a;
    uint64_t total, at;
    char path[TAR_PATH_BYTES_MAX + 1]; /* of the member; from its pax header when it has one */
    uint64_t size;                     /* the pax header's */
    bool has_pax, has_path, has_size;
};

static bool bad(const struct walk *w, const char *why, struct error *err)
{
    return error_set(err, ERR_FORMAT, "'%.256s': tar member at byte %llu %s", w->a->name, (unsigned long long)w->at,
                     why);
}

/* Octal digits, which a zero or a space ends, or GNU's binary numbers. */
static bool number(const uint8_t *p, size_t n, uint64_t *out)
{
    *out = 0;
    if (p[0] == 0x80) {
        for (size_t i = 1; i < n; i++) {
            if (*out >> 55) return false;
            *out = *out << 8 | p[i];
        }
        return true;
    }
    size_t i = 0;
    while (i < n && p[i] == ' ') i++;
    size_t first = i;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) *out = *out * 8 + (uint64_t)(p[i] - '0');
    return i > first && (i == n || p[i] == '\0' || p[i] == ' ');
}

static bool sum_is_right(const uint8_t *h)
{
    uint64_t sum = 0, said;
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? ' ' : h[i];
    return number(h + 148, 8, &said) && said == sum;
}

static bool is_key(const char *key, const char *equals, const char *wanted)
{
    return (size_t)(equals - key) == strlen(wanted) && memcmp(key, wanted, strlen(wanted)) == 0;
}

static bool take_size(struct walk *w, const char *digits, size_t n, struct error *err)
{
    w->size = 0;
    w->has_size = n > 0;
    for (size_t i = 0; i < n; i++)
        if (digits[i] < '0' || digits[i] > '9' || !u64_mul(w->size, 10, &w->size) ||
            !u64_add(w->size, (uint64_t)(digits[i] - '0'), &w->size))
            w->has_size = false;
    return w->has_size ? true : bad(w, "has a pax size that is no number", err);
}

/* "LENGTH key=value\n" records. Times and owners say nothing here; what changes the meaning of the member does. */
static bool take_records(struct walk *w, const char *p, size_t left, struct error *err)
{
    for (size_t n = 0; left; p += n, left -= n) {
        size_t i = 0;
        n = 0;
        while (i < left && i < 6 && p[i] >= '0' && p[i] <= '9') n = n * 10 + (size_t)(p[i++] - '0');
        const char *key = p + i + 1;
        if (i == 0 || n > left || n < i + 4 || p[i] != ' ' || p[n - 1] != '\n')
            return bad(w, "holds a broken pax record", err);
        const char *equals = memchr(key, '=', n - i - 1);
        if (!equals) return bad(w, "holds a broken pax record", err);
        size_t bytes = (size_t)(p + n - 1 - equals - 1);
        if (is_key(key, equals, "size")) {
            if (w->has_size) return bad(w, "has two pax sizes", err);
            if (!take_size(w, equals + 1, bytes, err)) return false;
        } else if (is_key(key, equals, "path")) {
            if (w->has_path || bytes == 0 || bytes > TAR_PATH_BYTES_MAX || memchr(equals + 1, 0, bytes))
                return bad(w, "has a pax path that is too long or broken", err);
            memcpy(w->path, equals + 1, bytes);
            w->path[bytes] = '\0';
            w->has_path = true;
        } else if (is_key(key, equals, "linkpath") || (equals - key > 4 && memcmp(key, "GNU.", 4) == 0))
            return bad(w, "is a link or sparse", err);
    }
    return true;
}

static bool take_pax(struct walk *w, uint64_t size, struct error *err)
{
    char text[OCI_ARCHIVE_PAX_BYTES_MAX];
    if (w->has_pax) return bad(w, "is a second pax header in a row", err);
    if (size > sizeof text) return bad(w, "has too many pax records", err);
    w->has_pax = true;
    return file_read_at(w->a->fd, w->a->name, w->at + TAR_BLOCK_BYTES, text, (size_t)size, err) &&
           take_records(w, text, (size_t)size, err);
}

static void take_name(struct walk *w, const uint8_t *h)
{
    char name[TAR_NAME_BYTES + 1] = {0}, prefix[156] = {0};
    if (w->has_path) return;
    memcpy(name, h, TAR_NAME_BYTES);
    if (memcmp(h + 257, "ustar\0", 6) == 0) memcpy(prefix, h + 345, 155);
    snprintf(w->path, sizeof w->path, "%s%s%s", prefix, *prefix ? "/" : "", name);
}

/* ---- members --------------------------------------------------------------------------------------------------------
 */

/* "./" in front and one "/" behind a directory are how others write the same names. */
static const char *plain(char *path, bool is_directory)
{
    char *p = path;
    if (p[0] == '.' && p[1] == '/') p += 2;
    size_t n = strlen(p);
    if (is_directory && n && p[n - 1] == '/') p[n - 1] = '\0';
    return p;
}

static bool add_blob(struct walk *w, const struct member *m, struct error *err)
{
    struct oci_archive *a = w->a;
    if (a->n_blobs == OCI_ARCHIVE_BLOBS_MAX)
        return error_set(err, ERR_FORMAT, "'%.256s': holds more than %u blobs", a->name, OCI_ARCHIVE_BLOBS_MAX);
    if (a->n_blobs == a->capacity) {
        uint32_t capacity = a->capacity ? 2 * a->capacity : 64;
        struct member *p = realloc(a->blobs, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        a->blobs = p;
        a->capacity = capacity;
    }
    a->blobs[a->n_blobs++] = *m;
    return true;
}

static bool add_document(struct walk *w, struct file_place *place, const char *name, const struct member *m,
                         struct error *err)
{
    if (place->offset) return error_set(err, ERR_FORMAT, "'%.256s': holds '%s' twice", w->a->name, name);
    *place = (struct file_place){.fd = w->a->fd, .offset = m->offset, .size = m->size};
    return true;
}

static bool add_member(struct walk *w, uint8_t type, struct member *m, struct error *err)
{
    const char *path = plain(w->path, type == '5');
    if (type == '5') {
        if (strcmp(path, "") == 0 || strcmp(path, ".") == 0 || strcmp(path, "blobs") == 0 ||
            strcmp(path, OCI_BLOBS_FOLDER) == 0)
            return true;
    } else if (strcmp(path, OCI_LAYOUT_FILE) == 0) return add_document(w, &w->a->marker, OCI_LAYOUT_FILE, m, err);
    else if (strcmp(path, OCI_INDEX_FILE) == 0) return add_document(w, &w->a->index, OCI_INDEX_FILE, m, err);
    else if (strncmp(path, BLOB_PREFIX, strlen(BLOB_PREFIX)) == 0 &&
             digest_parse(path + strlen(BLOB_PREFIX), &m->digest))
        return add_blob(w, m, err);
    return error_set(err, ERR_FORMAT, "'%.256s': holds '%.256s', which does not belong into an image layout",
                     w->a->name, path);
}

/* What fills up the last block of a member. */
static bool check_padding(const struct walk *w, uint64_t from, uint64_t to, struct error *err)
{
    uint8_t rest[TAR_BLOCK_BYTES];
    if (from == to) return true;
    if (!file_read_at(w->a->fd, w->a->name, from, rest, (size_t)(to - from), err)) return false;
    for (size_t i = 0; i < (size_t)(to - from); i++)
        if (rest[i]) return bad(w, "has something behind its data", err);
    return true;
}

/* The member at w->at, a pax header or what it speaks of. */
static bool take_member(struct walk *w, const uint8_t *h, struct error *err)
{
    uint64_t size, end, next;
    uint8_t type = h[156] ? h[156] : '0';
    if (!sum_is_right(h) || !number(h + 124, 12, &size)) return bad(w, "has no sound header", err);
    if (type != 'x' && w->has_size) {
        if (size && size != w->size) return bad(w, "has two sizes, in its pax and its ustar header", err);
        size = w->size;
    }
    if (!u64_add(w->at + TAR_BLOCK_BYTES, size, &end) || !u64_align(end, TAR_BLOCK_BYTES, &next) || next > w->total)
        return bad(w, "ends behind the archive: it is cut off", err);
    if (!check_padding(w, end, next, err)) return false;
    if (type == 'x') {
        if (!take_pax(w, size, err)) return false;
    } else {
        if (type != '0' && type != '5') return bad(w, "is neither a regular file nor a directory", err);
        if (type == '5' && size) return bad(w, "is a directory with data", err);
        take_name(w, h);
        struct member m = {.offset = w->at + TAR_BLOCK_BYTES, .size = size};
        if (!add_member(w, type, &m, err)) return false;
        w->has_pax = w->has_path = w->has_size = false;
    }
    w->at = next;
    return true;
}

/* ---- the archive ----------------------------------------------------------------------------------------------------
 */

static bool is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

static bool check_end(struct walk *w, struct error *err)
{
    uint8_t chunk[8 * TAR_BLOCK_BYTES];
    if (w->has_pax) return bad(w, "is missing behind its pax header", err);
    if (w->total - w->at < 2 * (uint64_t)TAR_BLOCK_BYTES) return bad(w, "is half an end: the archive is cut off", err);
    if (w->total - w->at > OCI_ARCHIVE_TAIL_BYTES_MAX) return bad(w, "is an end with too much behind it", err);
    while (w->at < w->total) {
        size_t n = (size_t)u64_min(sizeof chunk, w->total - w->at);
        if (!file_read_at(w->a->fd, w->a->name, w->at, chunk, n, err)) return false;
        if (!is_zero(chunk, n)) return bad(w, "stands behind the end of the archive", err);
        w->at += n;
    }
    return true;
}

static int by_digest(const void *a, const void *b)
{
    return memcmp(((const struct member *)a)->digest.bytes, ((const struct member *)b)->digest.bytes, DIGEST_BYTES);
}

static bool sort_blobs(struct oci_archive *a, struct error *err)
{
    if (a->n_blobs) qsort(a->blobs, a->n_blobs, sizeof *a->blobs, by_digest);
    for (uint32_t i = 1; i < a->n_blobs; i++)
        if (by_digest(&a->blobs[i - 1], &a->blobs[i]) == 0) {
            char hex[DIGEST_HEX_SIZE];
            digest_hex(&a->blobs[i].digest, hex);
            return error_set(err, ERR_FORMAT, "'%.256s': holds '" BLOB_PREFIX "%s' twice", a->name, hex);
        }
    return true;
}

static bool walk_all(struct walk *w, struct error *err)
{
    uint8_t h[TAR_BLOCK_BYTES];
    for (uint32_t n = 0;; n++) {
        if (n > 2 * OCI_ARCHIVE_BLOBS_MAX + 64) return bad(w, "is one of too many", err);
        if (w->total - w->at < sizeof h) return bad(w, "is missing: the archive is cut off", err);
        if (!file_read_at(w->a->fd, w->a->name, w->at, h, sizeof h, err)) return false;
        if (is_zero(h, sizeof h)) return check_end(w, err);
        if (w->at == 0 && h[0] == 0x1f && h[1] == 0x8b)
            return error_set(err, ERR_UNSUPPORTED,
                             "'%.256s' is compressed with gzip; a package is read where it lies, so gunzip it first",
                             w->a->name);
        if (!take_member(w, h, err)) return false;
    }
}

bool oci_archive_read(struct oci_archive **out, int fd, uint64_t size, const char *name, struct error *err)
{
    struct oci_archive *a = calloc(1, sizeof *a);
    *out = NULL;
    if (!a) {
        close(fd);
        return error_memory(err, sizeof *a);
    }
    a->fd = fd;
    a->name = strdup(name);
    struct walk w = {.a = a, .total = size};
    if ((a->name || error_memory(err, strlen(name))) && walk_all(&w, err) && sort_blobs(a, err)) {
        *out = a;
        return true;
    }
    oci_archive_close(a);
    return false;
}

bool oci_archive_open(struct oci_archive **out, int dirfd, const char *name, struct error *err)
{
    int fd;
    uint64_t size;
    *out = NULL;
    return file_open(dirfd, name, &fd, &size, err) && oci_archive_read(out, fd, size, name, err);
}

void oci_archive_close(struct oci_archive *a)
{
    if (!a) return;
    close(a->fd);
    free(a->name);
    free(a->blobs);
    free(a);
}

const char *oci_archive_name(const struct oci_archive *a)
{
    return a->name;
}

static bool hand_out(const struct oci_archive *a, uint64_t offset, uint64_t size, struct file_place *out,
                     struct error *err)
{
    *out = (struct file_place){.fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 0), .offset = offset, .size = size};
    return out->fd >= 0 ? true : error_set_errno(err, "cannot open '%.256s' again", a->name);
}

bool oci_archive_document(const struct oci_archive *a, const char *name, struct file_place *out, struct error *err)
{
    const struct file_place *p = strcmp(name, OCI_INDEX_FILE) == 0 ? &a->index : &a->marker;
    *out = (struct file_place)FILE_PLACE_INIT;
    return p->offset
               ? hand_out(a, p->offset, p->size, out, err)
               : error_set(err, ERR_FORMAT, "'%.256s': not an OCI image archive: file '%s' is missing", a->name, name);
}

static const struct member *find(const struct oci_archive *a, const struct digest *d)
{
    struct member key = {.digest = *d};
    return a->n_blobs ? bsearch(&key, a->blobs, a->n_blobs, sizeof key, by_digest) : NULL;
}

bool oci_archive_blob(const struct oci_archive *a, const struct digest *d, const char *what, struct file_place *out,
                      struct error *err)
{
    const struct member *m = find(a, d);
    char hex[DIGEST_HEX_SIZE];
    *out = (struct file_place)FILE_PLACE_INIT;
    if (m) return hand_out(a, m->offset, m->size, out, err);
    digest_hex(d, hex);
    return error_set(err, ERR_FORMAT, "%s: file '%s' is missing", what, hex);
}

bool oci_archive_has(const struct oci_archive *a, const struct digest *d)
{
    return find(a, d) != NULL;
}

uint32_t oci_archive_count(const struct oci_archive *a)
{
    return a->n_blobs;
}

uint64_t oci_archive_size(const struct oci_archive *a, uint32_t i, const struct digest **d)
{
    *d = &a->blobs[i].digest;
    return a->blobs[i].size;
}
