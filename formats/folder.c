/* What every kind of folder shares: the sorted list of members, and descriptors opened at first use and kept. */
#include "formats/folder.h"

#include "core/arena.h"
#include "formats/gguf_folder.h"
#include "formats/nemo.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const struct folder_kind *const kinds[] = {&folder_kind_oci, &folder_kind_oci_archive, &folder_kind_hub,
                                                  &folder_kind_file, &folder_kind_dir};

struct member {
    const char *name, *path;
    uint64_t offset, size;
    uint32_t file; /* which of struct open_files */
    int made;      /* its own descriptor: it lies in memory, or in a file elsewhere; or -1 */
};

/* Behind a pointer, because reading a const folder fills it. One per different path: in an OCI layout many members lie
 * in one blob. */
struct open_files {
    pthread_mutex_t lock;
    uint32_t n;
    struct {
        const char *path;
        int fd;
        uint64_t size;
    } files[];
};

struct folder {
    char *path;
    int dirfd;
    struct arena *texts;
    struct member *members; /* sorted by name once the kind has filled them */
    uint32_t n_members, capacity;
    struct open_files *open;
    const char *absent, *absent_why; /* folder_explain_absent */
};

bool folder_add(struct folder *f, const char *name, const char *path, uint64_t offset, uint64_t size, struct error *err)
{
    uint64_t end;
    if (!path_is_safe(name) || !path_is_safe(path))
        return error_set(err, ERR_FORMAT, "folder '%.256s': the file name '%.256s' is not a plain relative path",
                         f->path, name);
    if (!u64_add(offset, size, &end) || end > INT64_MAX)
        return error_set(err, ERR_FORMAT, "folder '%.256s': file '%.256s' ends beyond any file", f->path, name);
    if (f->n_members == FOLDER_MEMBERS_MAX)
        return error_set(err, ERR_FORMAT, "folder '%.256s' holds more than %u files", f->path, FOLDER_MEMBERS_MAX);
    if (f->n_members == f->capacity) {
        uint32_t capacity = f->capacity ? 2 * f->capacity : 64;
        struct member *p = realloc(f->members, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        f->members = p;
        f->capacity = capacity;
    }
    struct member m = {.name = arena_text(f->texts, name), .offset = offset, .size = size, .made = -1};
    m.path = strcmp(name, path) == 0 ? m.name : arena_text(f->texts, path);
    if (!m.name || !m.path) return error_memory(err, strlen(name));
    f->members[f->n_members++] = m;
    return true;
}

bool folder_add_part(struct folder *f, uint32_t member, const char *name, uint64_t offset, uint64_t size,
                     struct error *err)
{
    const struct member m = f->members[member];
    if (offset > m.size || size > m.size - offset)
        return error_set(err, ERR_INTERNAL, "'%.256s' is not inside '%.256s'", name, m.name);
    if (m.made >= 0) {
        int fd = fcntl(m.made, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) return error_set_errno(err, "cannot open '%.256s' a second time", m.name);
        return folder_add_open(f, name, fd, m.offset + offset, size, err);
    }
    return folder_add(f, name, m.path, m.offset + offset, size, err);
}

bool folder_add_made(struct folder *f, const char *name, struct bytes data, struct error *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) return error_set_errno(err, "cannot make memory for '%.256s'", name);
    for (size_t at = 0; at < data.size;) {
        ssize_t n = write(fd, data.data + at, data.size - at);
        if (n <= 0) {
            close(fd);
            return error_set(err, ERR_MEMORY, "no memory for the %zu bytes of '%.256s'", data.size, name);
        }
        at += (size_t)n;
    }
    if (!folder_add(f, name, name, 0, data.size, err)) {
        close(fd);
        return false;
    }
    f->members[f->n_members - 1].made = fd;
    return true;
}

bool folder_add_open(struct folder *f, const char *name, int fd, uint64_t offset, uint64_t size, struct error *err)
{
    if (!folder_add(f, name, name, offset, size, err)) {
        close(fd);
        return false;
    }
    f->members[f->n_members - 1].made = fd;
    return true;
}

bool folder_explain_absent(struct folder *f, const char *name, const char *why, struct error *err)
{
    f->absent = arena_text(f->texts, name);
    f->absent_why = arena_text(f->texts, why);
    return f->absent && f->absent_why ? true : error_memory(err, 0);
}

void folder_set_dir(struct folder *f, int dirfd)
{
    if (f->dirfd >= 0) close(f->dirfd);
    f->dirfd = dirfd;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static int by_path(const void *a, const void *b)
{
    return strcmp((*(struct member *const *)a)->path, (*(struct member *const *)b)->path);
}

static void close_files(struct folder *f)
{
    if (!f->open) return;
    for (uint32_t i = 0; i < f->open->n; i++)
        if (f->open->files[i].fd >= 0) close(f->open->files[i].fd);
    pthread_mutex_destroy(&f->open->lock);
    free(f->open);
    f->open = NULL;
}

/* Numbers the different paths of the members. */
static bool number_files(struct folder *f, struct error *err)
{
    uint32_t n = f->n_members;
    CLEANUP(free) struct member **sorted = malloc((n ? n : 1) * sizeof *sorted);
    f->open = calloc(1, sizeof *f->open + n * sizeof f->open->files[0]);
    if (!sorted || !f->open) return error_memory(err, n * sizeof *sorted);
    pthread_mutex_init(&f->open->lock, NULL);
    for (uint32_t i = 0; i < n; i++) sorted[i] = &f->members[i];
    qsort(sorted, n, sizeof *sorted, by_path);
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(sorted[i]->path, sorted[i - 1]->path) != 0) {
            f->open->files[f->open->n].path = sorted[i]->path;
            f->open->files[f->open->n++].fd = -1;
        }
        sorted[i]->file = f->open->n - 1;
    }
    return true;
}

/* Makes the members findable and readable. */
static bool settle(struct folder *f, struct error *err)
{
    if (f->n_members) qsort(f->members, f->n_members, sizeof *f->members, by_name);
    for (uint32_t i = 1; i < f->n_members; i++)
        if (strcmp(f->members[i - 1].name, f->members[i].name) == 0)
            return error_set(err, ERR_FORMAT, "folder '%.256s': file '%.256s' is there twice", f->path,
                             f->members[i].name);
    close_files(f);
    return number_files(f, err);
}

static bool fill_by_kind(struct folder *f, void *ctx, struct error *err)
{
    size_t k = 0;
    (void)ctx;
    while (strncmp(f->path, kinds[k]->prefix, strlen(kinds[k]->prefix)) != 0) k++; /* ends: the last prefix is empty */
    return kinds[k]->open(f, f->path + strlen(kinds[k]->prefix), err);
}

/* What follows from the members that were found. */
static bool complete(struct folder *f, struct error *err)
{
    bool added;
    if (!settle(f, err)) return false;
    if (!nemo_expand(f, &added, err) || (added && !settle(f, err))) return false;
    uint32_t n = f->n_members;
    if (folder_find(f, "adapter_config.json") != NAME_NONE &&
        !folder_explain_absent(f, "config.json",
                               "this is an adapter, no model: `ingot convert MODEL --merge-lora` takes it", err))
        return false;
    return gguf_describe(f, err) && nemo_describe(f, err) && (f->n_members == n || settle(f, err));
}

bool folder_open_by(struct folder **out, const char *path, bool (*fill)(struct folder *f, void *ctx, struct error *err),
                    void *ctx, struct error *err)
{
    *out = NULL;
    struct folder *f = calloc(1, sizeof *f);
    if (!f) return error_memory(err, sizeof *f);
    f->dirfd = -1;
    f->path = strdup(path);
    f->texts = arena_new();
    bool ok = f->path && f->texts ? fill(f, ctx, err) && complete(f, err) : error_memory(err, strlen(path));
    if (ok) *out = f;
    else folder_close(f);
    return ok;
}

bool folder_open(struct folder **out, const char *path, struct error *err)
{
    return folder_open_by(out, path, fill_by_kind, NULL, err);
}

void folder_close(struct folder *f)
{
    if (!f) return;
    close_files(f);
    for (uint32_t i = 0; i < f->n_members; i++)
        if (f->members[i].made >= 0) close(f->members[i].made);
    if (f->dirfd >= 0) close(f->dirfd);
    arena_free(f->texts);
    free(f->members);
    free(f->path);
    free(f);
}

const char *folder_path(const struct folder *f)
{
    return f->path;
}

uint32_t folder_count(const struct folder *f)
{
    return f->n_members;
}

const char *folder_name(const struct folder *f, uint32_t member)
{
    return f->members[member].name;
}

uint64_t folder_size(const struct folder *f, uint32_t member)
{
    return f->members[member].size;
}

uint32_t folder_find(const struct folder *f, const char *name)
{
    uint32_t lo = 0, hi = f->n_members;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(f->members[mid].name, name);
        if (c == 0) return mid;
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    return NAME_NONE;
}

bool folder_place(const struct folder *f, uint32_t member, int *fd, uint64_t *offset, struct error *err)
{
    const struct member *m = &f->members[member];
    struct open_files *o = f->open;
    *offset = m->offset;
    if (m->made >= 0) {
        *fd = m->made;
        return true;
    }
    pthread_mutex_lock(&o->lock);
    int *kept = &o->files[m->file].fd;
    bool ok = *kept >= 0 || file_open(f->dirfd, m->path, kept, &o->files[m->file].size, err);
    uint64_t size = o->files[m->file].size;
    *fd = *kept;
    pthread_mutex_unlock(&o->lock);
    if (!ok) return false;
    /* The list was made earlier: what it says about sizes is what everybody has planned with. */
    if (m->offset + m->size > size || (m->name == m->path && m->size != size))
        return error_set(err, ERR_FORMAT,
                         "'%.256s' has %llu bytes, %llu were there when the folder was listed: it is being changed",
                         m->path, (unsigned long long)size, (unsigned long long)(m->offset + m->size));
    return true;
}

bool folder_read(const struct folder *f, uint32_t member, uint64_t offset, void *dst, size_t n, struct error *err)
{
    const struct member *m = &f->members[member];
    int fd;
    uint64_t base;
    if (offset > m->size || n > m->size - offset)
        return error_set(err, ERR_FORMAT, "'%.256s': %zu bytes at byte %llu were asked for, the file has %llu", m->name,
                         n, (unsigned long long)offset, (unsigned long long)m->size);
    return folder_place(f, member, &fd, &base, err) && file_read_at(fd, m->name, base + offset, dst, n, err);
}

bool folder_stamp(const struct folder *f, struct digest *out, struct error *err)
{
    struct sha256 *h;
    if (!sha256_open(&h, err)) return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < f->n_members; i++) {
        const struct member *m = &f->members[i];
        struct stat st = {0};
        if (m->made >= 0) continue; /* follows from the others */
        ok = fstatat(f->dirfd, m->path, &st, 0) == 0 || error_set_errno(err, "cannot look at '%.256s'", m->path);
        const uint64_t facts[] = {m->offset,
                                  m->size,
                                  (uint64_t)st.st_ino,
                                  (uint64_t)st.st_mtim.tv_sec,
                                  (uint64_t)st.st_mtim.tv_nsec,
                                  (uint64_t)st.st_ctim.tv_sec,
                                  (uint64_t)st.st_ctim.tv_nsec};
        sha256_add(h, m->name, strlen(m->name) + 1);
        if (ok) sha256_add(h, facts, sizeof facts);
    }
    return sha256_close(h, ok ? out : NULL, err) && ok;
}

static bool absent(const struct folder *f, const char *name, struct error *err)
{
    struct stat st;
    if (f->dirfd >= 0 && path_is_safe(name) && fstatat(f->dirfd, name, &st, 0) == 0 && !S_ISREG(st.st_mode))
        return error_set(err, ERR_FORMAT, "folder '%.256s': '%.256s' is not a regular file", f->path, name);
    if (f->absent && strcmp(f->absent, name) == 0)
        return error_set(err, ERR_UNSUPPORTED, "folder '%.256s': file '%.256s' does not exist, and %.512s", f->path,
                         name, f->absent_why);
    return error_set(err, ERR_FORMAT, "folder '%.256s': file '%.256s' does not exist", f->path, name);
}

bool folder_load(const struct folder *f, const char *name, size_t max, struct buffer *out, struct error *err)
{
    *out = (struct buffer){0};
    uint32_t member = folder_find(f, name);
    if (member == NAME_NONE) return absent(f, name, err);
    uint64_t size = f->members[member].size;
    if (size > max)
        return error_set(err, ERR_FORMAT, "'%.256s' has %llu bytes, at most %zu are read", name,
                         (unsigned long long)size, max);
    CLEANUP_BUFFER struct buffer b = {.data = malloc((size_t)size + 1), .size = (size_t)size};
    if (!b.data) return error_memory(err, (size_t)size + 1);
    if (!folder_read(f, member, 0, b.data, b.size, err)) return false;
    b.data[b.size] = 0;
    *out = b;
    b = (struct buffer){0};
    return true;
}

bool folder_survives(const struct folder *f, const char *output, struct error *err)
{
    return !dir_is_within(f->dirfd, output)
               ? true
               : error_set(err, ERR_USAGE, "output '%.512s' would replace '%.512s', which is being read", output,
                           f->path);
}
