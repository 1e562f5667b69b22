/* Walking a tar by its headers: ustar, pax (path, size) and GNU's long names and large sizes, as Python's tarfile and
 * GNU tar write them. What is in front of the data is all that is read. */
#include "core/yaml.h"
#include "formats/checkpoint.h"
#include "formats/nemo.h"
#include "formats/tar.h"

#include <stdio.h>

#define PAX_BYTES_MAX ((uint64_t)64 << 10)

static bool bad(const struct nemo_walk *w, const char *why, struct error *err)
{
    return error_set(err, ERR_FORMAT, "'%.256s': tar member at byte %llu %s", folder_name(w->folder, w->member),
                     (unsigned long long)w->at, why);
}

bool nemo_is_name(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".nemo") == 0;
}

/* Octal digits, or GNU's binary numbers. */
static bool tar_number(const uint8_t *p, size_t n, uint64_t *out)
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
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) *out = *out * 8 + (uint64_t)(p[i] - '0');
    return i == n || p[i] == '\0' || p[i] == ' ';
}

static bool sum_is_right(const uint8_t *h)
{
    uint64_t sum = 0, said;
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? ' ' : h[i];
    return tar_number(h + 148, 8, &said) && said == sum;
}

struct extension {
    char path[NEMO_PATH_MAX + 1];
    uint64_t size;
    bool has_size;
};

/* "LENGTH key=value\n" records. */
static bool take_pax(const struct nemo_walk *w, const char *p, size_t left, struct extension *x, struct error *err)
{
    while (left) {
        size_t n = 0, i = 0;
        while (i < left && i < 6 && p[i] >= '0' && p[i] <= '9') n = n * 10 + (size_t)(p[i++] - '0');
        if (i == 0 || n > left || n < i + 3 || p[i] != ' ' || p[n - 1] != '\n')
            return bad(w, "holds a broken pax record", err);
        const char *key = p + i + 1, *equals = memchr(key, '=', n - i - 1);
        if (!equals) return bad(w, "holds a broken pax record", err);
        size_t bytes = (size_t)(p + n - 1 - equals - 1);
        if (equals - key == 4 && memcmp(key, "path", 4) == 0) {
            if (bytes == 0 || bytes > NEMO_PATH_MAX || memchr(equals + 1, 0, bytes))
                return bad(w, "has a path that is too long or broken", err);
            memcpy(x->path, equals + 1, bytes);
            x->path[bytes] = '\0';
        } else if (equals - key == 4 && memcmp(key, "size", 4) == 0) {
            x->size = 0;
            x->has_size = true;
            for (size_t k = 1; k <= bytes; k++)
                if (equals[k] < '0' || equals[k] > '9' || !u64_mul(x->size, 10, &x->size) ||
                    !u64_add(x->size, (uint64_t)(equals[k] - '0'), &x->size))
                    return bad(w, "has a pax size that is no number", err);
        } else if (equals - key > 10 && memcmp(key, "GNU.sparse", 10) == 0) return bad(w, "is sparse", err);
        p += n;
        left -= n;
    }
    return true;
}

/* A member that speaks of the next one: pax or a long name of GNU. */
static bool take_extension(const struct nemo_walk *w, uint8_t type, uint64_t offset, uint64_t size, struct extension *x,
                           struct error *err)
{
    if (size > PAX_BYTES_MAX) return bad(w, "has too many attributes", err);
    CLEANUP(free) char *text = malloc((size_t)size + 1);
    if (!text) return error_memory(err, (size_t)size);
    if (!folder_read(w->folder, w->member, offset, text, (size_t)size, err)) return false;
    text[size] = '\0';
    if (type == 'x') return take_pax(w, text, (size_t)size, x, err);
    if (type == 'g') return true;
    if (strlen(text) > NEMO_PATH_MAX || !*text) return bad(w, "has a path that is too long or broken", err);
    strcpy(x->path, text);
    return true;
}

static void take_name(const uint8_t *h, struct nemo_entry *e)
{
    char name[TAR_NAME_BYTES + 1] = {0}, prefix[156] = {0};
    memcpy(name, h, TAR_NAME_BYTES);
    if (memcmp(h + 257, "ustar\0", 6) == 0) memcpy(prefix, h + 345, 155);
    snprintf(e->path, sizeof e->path, "%s%s%s", prefix, *prefix ? "/" : "", name);
}

static void tidy(char *path)
{
    char *from = path;
    while (from[0] == '.' && from[1] == '/') from += 2;
    memmove(path, from, strlen(from) + 1);
    size_t n = strlen(path);
    while (n && path[n - 1] == '/') path[--n] = '\0';
}

bool nemo_next(struct nemo_walk *w, struct nemo_entry *out, bool *more, struct error *err)
{
    struct extension x = {.has_size = false};
    uint64_t total = folder_size(w->folder, w->member);
    static const uint8_t zeros[TAR_BLOCK_BYTES];
    for (;;) {
        uint8_t h[TAR_BLOCK_BYTES];
        uint64_t size, end;
        *more = false;
        if (total - w->at < sizeof h) return w->at == total ? true : bad(w, "is cut: the archive is truncated", err);
        if (!folder_read(w->folder, w->member, w->at, h, sizeof h, err)) return false;
        if (memcmp(h, zeros, sizeof h) == 0) return true;
        if (w->at == 0 && h[0] == 0x1f && h[1] == 0x8b)
            return error_set(err, ERR_UNSUPPORTED,
                             "'%.256s' is compressed with gzip; weights are read where they lie, so gunzip it first",
                             folder_name(w->folder, w->member));
        if (!sum_is_right(h) || !tar_number(h + 124, 12, &size)) return bad(w, "has no sound header", err);
        if (++w->n > 3 * NEMO_MEMBERS_MAX) return bad(w, "is one of too many", err);
        uint8_t type = h[156];
        bool extends = type == 'x' || type == 'g' || type == 'L';
        if (!extends && x.has_size) size = x.size;
        out->offset = w->at + TAR_BLOCK_BYTES;
        if (!u64_align(size, TAR_BLOCK_BYTES, &end) || !u64_add(end, out->offset, &end) || size > total - out->offset)
            return bad(w, "ends behind the archive: it is truncated", err);
        if (extends) {
            if (!take_extension(w, type, out->offset, size, &x, err)) return false;
            w->at = end;
            continue;
        }
        if (type != '0' && type != '\0' && type != '5') return bad(w, "is neither a file nor a directory", err);
        take_name(h, out);
        if (x.path[0]) strcpy(out->path, x.path);
        tidy(out->path);
        out->size = size;
        out->is_file = type != '5';
        if (out->path[0] && strcmp(out->path, ".") != 0 && !path_is_safe(out->path))
            return bad(w, "is not named by a plain relative path", err);
        w->at = u64_min(end, total);
        *more = true;
        return true;
    }
}

static bool only_archive(const struct folder *f, uint32_t *out)
{
    *out = NAME_NONE;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        const char *name = folder_name(f, i);
        if (strchr(name, '/')) continue;
        if (nemo_is_name(name)) {
            if (*out != NAME_NONE) return false;
            *out = i;
        } else if (checkpoint_is_weights(name)) return false;
    }
    return *out != NAME_NONE;
}

/* Speech models are packed alike: what a GPT's configuration has, and no other. */
static bool describes_gpt(const struct folder *f, uint32_t member, const struct nemo_entry *e, bool *out,
                          struct error *err)
{
    static const char *const keys[] = {"num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads"};
    struct error ignored = ERROR_INIT;
    CLEANUP(yaml) struct yaml *y = NULL;
    CLEANUP(free) uint8_t *text = NULL;
    if (e->size > NEMO_CONFIG_MAX) return true;
    text = malloc((size_t)e->size + 1);
    if (!text) return error_memory(err, (size_t)e->size);
    if (!folder_read(f, member, e->offset, text, (size_t)e->size, err)) return false;
    *out = yaml_parse_documents(bytes_of(text, (size_t)e->size), NEMO_CONFIG_NAME, &y, &ignored);
    const json_t *root = *out ? yaml_root(y) : NULL;
    if (json_is_array(root)) root = json_array_get(root, 0);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) *out &= json_object_get(root, keys[i]) != NULL;
    return true;
}

static bool find_config(const struct folder *f, uint32_t member, bool *out, struct error *err)
{
    struct nemo_walk w = {.folder = f, .member = member};
    struct nemo_entry e;
    for (bool more = true; more;) {
        if (!nemo_next(&w, &e, &more, err)) return false;
        if (more && e.is_file && strcmp(e.path, NEMO_CONFIG_NAME) == 0 && !describes_gpt(f, member, &e, out, err))
            return false;
    }
    return true;
}

bool nemo_expand(struct folder *f, bool *added, struct error *err)
{
    struct nemo_walk w = {.folder = f};
    struct nemo_entry e;
    uint32_t n = 0;
    bool gpt = false;
    *added = false;
    if (!only_archive(f, &w.member)) return true;
    if (!find_config(f, w.member, &gpt, err)) return false;
    for (bool more = gpt; more;) {
        if (!nemo_next(&w, &e, &more, err)) return false;
        if (!more || !e.is_file) continue;
        if (++n > NEMO_MEMBERS_MAX) return bad(&w, "is one of too many", err);
        if (!folder_add_part(f, w.member, e.path, e.offset, e.size, err)) return false;
        *added = true;
    }
    return true;
}
