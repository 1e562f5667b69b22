/* The files of a folder, and their digests. */
#include "core/file.h"
#include "formats/oms.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* What model_signing's own program leaves out. */
static const char *const ignored_always[] = {".git", ".gitattributes", ".github", ".gitignore"};

struct walk {
    const struct oms_scan *scan;
    struct oms_list *out;
    uint32_t capacity;
    struct stat signature; /* st_ino 0: there is none yet */
    const char *signature_name;
};

static bool is_ignored(const struct oms_list *l, const char *path)
{
    for (uint32_t i = 0; i < l->n_ignored; i++) {
        size_t n = strlen(l->ignored[i]);
        if (strncmp(path, l->ignored[i], n) == 0 && (path[n] == '\0' || path[n] == '/')) return true;
    }
    return false;
}

static bool add_file(struct walk *w, const char *path, uint64_t bytes, struct error *err)
{
    struct oms_list *l = w->out;
    if (l->n_files == OMS_FILES_MAX)
        return error_set(err, ERR_FORMAT, "folder '%.256s' holds more than %u files", w->scan->folder, OMS_FILES_MAX);
    if (l->n_files == w->capacity) {
        uint32_t capacity = w->capacity ? 2 * w->capacity : 64;
        struct oms_file *p = realloc(l->files, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        l->files = p;
        w->capacity = capacity;
    }
    char *name = strdup(path);
    if (!name) return error_memory(err, strlen(path));
    l->files[l->n_files++] = (struct oms_file){.name = name, .bytes = bytes};
    return true;
}

static bool walk(struct walk *w, int fd, const char *prefix, uint32_t level, struct error *err);

static bool visit(struct walk *w, int parent, const char *name, const char *path, uint32_t level, struct error *err)
{
    struct stat st;
    if (is_ignored(w->out, path)) return true;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return error_set_errno(err, "cannot examine '%.256s'", path);
    /* The signature itself; another hard link to it is a file like any other. */
    if (w->signature.st_ino && st.st_ino == w->signature.st_ino && st.st_dev == w->signature.st_dev &&
        strcmp(name, w->signature_name) == 0)
        return true;
    if (S_ISREG(st.st_mode)) return add_file(w, path, (uint64_t)st.st_size, err);
    if (S_ISLNK(st.st_mode))
        return error_set(err, ERR_FORMAT, "'%.256s' is a symbolic link: what it leads to would not be signed", path);
    if (!S_ISDIR(st.st_mode)) return error_set(err, ERR_FORMAT, "'%.256s' is neither a file nor a folder", path);
    if (level == OMS_DEPTH_MAX)
        return error_set(err, ERR_FORMAT, "'%.256s': more than %u folders deep", path, OMS_DEPTH_MAX);
    CLEANUP(fd) int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? walk(w, fd, path, level + 1, err) : error_set_errno(err, "cannot open folder '%.256s'", path);
}

static bool walk(struct walk *w, int fd, const char *prefix, uint32_t level, struct error *err)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* closedir closes it */
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    if (!d) {
        if (copy >= 0) close(copy);
        return error_set_errno(err, "cannot list folder '%.256s'", *prefix ? prefix : w->scan->folder);
    }
    bool ok = true;
    struct dirent *e;
    while (ok && (errno = 0, e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        CLEANUP(free) char *path = NULL;
        if (*prefix) ok = path_join(&path, prefix, e->d_name, err);
        ok = ok && visit(w, fd, e->d_name, path ? path : e->d_name, level, err);
    }
    if (ok && errno != 0) ok = error_set_errno(err, "cannot list folder '%.256s'", *prefix ? prefix : w->scan->folder);
    closedir(d);
    return ok;
}

/* By the parts of the paths, as the reference orders them: "a/b" before "a-b". */
static int by_parts(const void *pa, const void *pb)
{
    const uint8_t *a = (const uint8_t *)((const struct oms_file *)pa)->name,
                  *b = (const uint8_t *)((const struct oms_file *)pb)->name;
    for (;; a++, b++) {
        unsigned x = *a == '/' ? 1 : *a ? *a + 1u : 0, y = *b == '/' ? 1 : *b ? *b + 1u : 0;
        if (x != y) return x < y ? -1 : 1;
        if (!x) return 0;
    }
}

static bool add_ignored(struct oms_list *l, struct error *err)
{
    size_t n = sizeof ignored_always / sizeof *ignored_always;
    char **p = realloc(l->ignored, (l->n_ignored + n) * sizeof *p);
    if (!p) return error_memory(err, (l->n_ignored + n) * sizeof *p);
    l->ignored = p;
    for (size_t i = 0; i < n; i++) {
        if (is_ignored(l, ignored_always[i])) continue;
        if (!(p[l->n_ignored] = strdup(ignored_always[i]))) return error_memory(err, 16);
        l->n_ignored++;
    }
    return true;
}

bool oms_list_files(const struct oms_scan *scan, struct oms_list *out, struct error *err)
{
    struct walk w = {.scan = scan, .out = out};
    CLEANUP(fd) int fd = -1;
    if (!add_ignored(out, err) || !dir_open(scan->folder, &fd, err)) return false;
    if (scan->signature && stat(scan->signature, &w.signature) != 0) w.signature = (struct stat){0};
    const char *slash = scan->signature ? strrchr(scan->signature, '/') : NULL;
    w.signature_name = slash ? slash + 1 : scan->signature;
    if (!walk(&w, fd, "", 1, err)) return false;
    if (out->n_files) qsort(out->files, out->n_files, sizeof *out->files, by_parts);
    return out->n_files ? true : error_set(err, ERR_FORMAT, "folder '%.256s' is empty", scan->folder);
}

/* ---- hashing --------------------------------------------------------------------------------------------------------
 */

struct hashing {
    const struct oms_scan *scan;
    struct oms_list *list;
    int dir;
};

/* Every component is opened without following links; the file is read through one descriptor. */
static bool open_below(int dir, const char *path, int *out, struct error *err)
{
    CLEANUP(free) char *copy = strdup(path);
    int at = dir;
    if (!copy) return error_memory(err, strlen(path));
    for (char *p = copy;;) {
        char *slash = strchr(p, '/');
        if (slash) *slash = '\0';
        int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | (slash ? O_DIRECTORY : O_NONBLOCK | O_NOCTTY);
        int next = openat(at, p, flags);
        int saved = errno;
        if (at != dir) close(at);
        errno = saved;
        if (next < 0) return error_set_errno(err, "cannot open '%.256s'", path);
        at = next;
        if (!slash) break;
        p = slash + 1;
    }
    *out = at;
    return true;
}

static bool hash_one(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct hashing *h = ctx;
    struct oms_file *f = &h->list->files[item];
    CLEANUP(fd) int fd = -1;
    struct stat st;
    if (!open_below(h->dir, f->name, &fd, err)) return false;
    if (fstat(fd, &st) != 0) return error_set_errno(err, "cannot examine '%.256s'", f->name);
    if (!S_ISREG(st.st_mode)) return error_set(err, ERR_FORMAT, "'%.256s' is not a regular file", f->name);
    f->bytes = (uint64_t)st.st_size;
    return progress_go_on(h->scan->progress, err) && sha256_of_file(fd, f->name, 0, f->bytes, &f->digest, err);
}

bool oms_hash(const struct oms_scan *scan, struct oms_list *list, struct error *err)
{
    struct hashing h = {.scan = scan, .list = list};
    CLEANUP(fd) int fd = -1;
    struct sha256 *root;
    if (!dir_open(scan->folder, &fd, err)) return false;
    h.dir = fd;
    progress_update(scan->progress, scan->stage, "digests", 0, 0);
    if (!pool_try(scan->pool, list->n_files, hash_one, &h, err) || !sha256_open(&root, err)) return false;
    for (uint32_t i = 0; i < list->n_files; i++) sha256_add(root, list->files[i].digest.bytes, DIGEST_BYTES);
    return sha256_close(root, &list->root, err);
}
