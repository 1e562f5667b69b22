#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2 */
#endif
#include "core/staging.h"

#include "core/cleanup.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define JOURNAL_NAME ".ingot-journal"
#define JOURNAL_BYTES_MAX ((size_t)1 << 30)

struct record {
    char *name, *value;
};

struct staging {
    int parent, dir, journal;
    char *name, *partial, *path;
    bool fresh, resumed, replace; /* fresh: nothing of an earlier run is in it */
    struct record *records;
    size_t n_records, capacity;
};

static bool remember(struct staging *s, const char *name, size_t name_size, const char *value, size_t value_size,
                     struct error *err)
{
    if (s->n_records == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 16;
        struct record *p = realloc(s->records, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        s->records = p;
        s->capacity = capacity;
    }
    struct record r = {strndup(name, name_size), strndup(value, value_size)};
    if (!r.name || !r.value) {
        free(r.name);
        free(r.value);
        return error_memory(err, value_size);
    }
    s->records[s->n_records++] = r;
    return true;
}

/* Whole lines only: a torn last line is work that was not finished. */
static bool read_journal(struct staging *s, const char *key, bool *same_key, struct error *err)
{
    *same_key = false;
    CLEANUP_BUFFER struct buffer text = {0};
    if (faccessat(s->dir, JOURNAL_NAME, F_OK, 0) != 0) return true;
    if (!file_load(s->dir, JOURNAL_NAME, JOURNAL_BYTES_MAX, &text, err)) return false;
    const char *p = (const char *)text.data;
    size_t line = 0, whole = 0;
    for (const char *end; (end = strchr(p, '\n')); p = end + 1, line++) {
        size_t n = (size_t)(end - p);
        if (line == 0) {
            if (n != strlen(key) || memcmp(p, key, n) != 0) return true;
            *same_key = true;
        } else {
            const char *space = memchr(p, ' ', n);
            if (space && !remember(s, p, (size_t)(space - p), space + 1, n - (size_t)(space - p) - 1, err))
                return false;
        }
        whole += n + 1;
    }
    if (*same_key &&
        whole < text.size) { /* cut the torn tail off, so that the next record begins on a line of its own */
        int fd = openat(s->dir, JOURNAL_NAME, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        bool cut = fd >= 0 && ftruncate(fd, (off_t)whole) == 0;
        if (!cut) error_set_errno(err, "cannot repair the journal of '%s'", s->name);
        if (fd >= 0) close(fd);
        return cut;
    }
    return true;
}

/* Empties the folder but keeps it: it carries our lock. The journal goes first, so that a kill in between leaves parts
 * that nobody believes in. */
static bool start_afresh(struct staging *s, const char *key, struct error *err)
{
    s->fresh = true;
    if (!dir_remove_tree(s->dir, JOURNAL_NAME, err) || !dir_empty(s->dir, s->partial, err)) return false;
    s->journal = openat(s->dir, JOURNAL_NAME, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (s->journal < 0) return error_set_errno(err, "cannot create the journal of '%s'", s->name);
    size_t n = strlen(key);
    if (write(s->journal, key, n) != (ssize_t)n || write(s->journal, "\n", 1) != 1 || fsync(s->journal) != 0)
        return error_set_errno(err, "cannot write the journal of '%s'", s->name);
    return dir_sync(s->dir, s->partial, err);
}

static bool go_on(struct staging *s, struct error *err)
{
    s->journal = openat(s->dir, JOURNAL_NAME, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    s->resumed = true;
    return s->journal >= 0 ? true : error_set_errno(err, "cannot open the journal of '%s'", s->name);
}

/* Makes and locks the partial folder; loops because another process may rename it to its final name in between. */
static bool lock_partial(struct staging *s, struct error *err)
{
    for (;;) {
        if (mkdirat(s->parent, s->partial, 0777) != 0 && errno != EEXIST)
            return error_set_errno(err, "cannot make folder '%s'", s->path);
        s->dir = openat(s->parent, s->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (s->dir < 0) return error_set_errno(err, "cannot open folder '%s'", s->path);
        if (flock(s->dir, LOCK_EX | LOCK_NB) != 0)
            return errno == EWOULDBLOCK ? error_set(err, ERR_IO, "another process is making '%s'", s->name)
                                        : error_set_errno(err, "cannot lock '%s'", s->path);
        struct stat ours, named;
        if (fstat(s->dir, &ours) != 0) return error_set_errno(err, "cannot examine '%s'", s->path);
        if (fstatat(s->parent, s->partial, &named, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == named.st_ino)
            return true;
        close(s->dir);
        s->dir = -1;
    }
}

static void release(struct staging *s)
{
    for (size_t i = 0; i < s->n_records; i++) {
        free(s->records[i].name);
        free(s->records[i].value);
    }
    free(s->records);
    if (s->journal >= 0) close(s->journal);
    if (s->dir >= 0) close(s->dir);
    if (s->parent >= 0) close(s->parent);
    free(s->name);
    free(s->partial);
    free(s->path);
    free(s);
}

static bool exists(const struct staging *s)
{
    return faccessat(s->parent, s->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool open_all(struct staging *s, const char *final_path, const char *key, struct error *err)
{
    CLEANUP(free) char *folder = NULL;
    if (strchr(key, '\n'))
        return error_set(err, ERR_INTERNAL, "the key of '%.256s' has more than one line", final_path);
    if (!path_split(final_path, &folder, &s->name, err)) return false;
    size_t n = strlen(s->name) + sizeof "..ingot-partial";
    s->partial = malloc(n);
    if (!s->partial) return error_memory(err, n);
    snprintf(s->partial, n, ".%s.ingot-partial", s->name);
    if (!path_join(&s->path, folder, s->partial, err) || !dir_open(folder, &s->parent, err)) return false;
    if (exists(s) && !s->replace)
        return error_set(err, ERR_USAGE, "output '%.512s' exists already (--force replaces it)", final_path);
    bool same_key;
    if (!lock_partial(s, err) || !read_journal(s, key, &same_key, err)) return false;
    return same_key ? go_on(s, err) : start_afresh(s, key, err);
}

bool staging_open(struct staging **out, const char *final_path, const char *key, bool replace, struct error *err)
{
    *out = NULL;
    struct staging *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    s->parent = s->dir = s->journal = -1;
    s->replace = replace;
    if (!open_all(s, final_path, key, err)) {
        if (s->fresh) dir_remove_tree(s->parent, s->partial, NULL);
        release(s);
        return false;
    }
    *out = s;
    return true;
}

const char *staging_path(const struct staging *s)
{
    return s->path;
}

bool staging_resumed(const struct staging *s)
{
    return s->resumed;
}

const char *staging_recorded(const struct staging *s, const char *name)
{
    for (size_t i = s->n_records; i-- > 0;)
        if (strcmp(s->records[i].name, name) == 0) return s->records[i].value;
    return NULL;
}

bool staging_record(struct staging *s, const char *name, const char *value, struct error *err)
{
    /* A line of the journal is "name value": anything else would be read back as another record. */
    if (!*name || strpbrk(name, " \n") || strchr(value, '\n'))
        return error_set(err, ERR_INTERNAL, "the journal of '%.256s' cannot hold the record '%.256s'", s->name, name);
    size_t n = strlen(name) + strlen(value) + 3;
    CLEANUP(free) char *line = malloc(n);
    if (!line) return error_memory(err, n);
    snprintf(line, n, "%s %s\n", name, value);
    for (size_t done = 0; done < n - 1;) {
        ssize_t k = write(s->journal, line + done, n - 1 - done);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return error_set_errno(err, "cannot write the journal of '%s'", s->name);
        done += (size_t)k;
    }
    if (fsync(s->journal) != 0) return error_set_errno(err, "cannot flush the journal of '%s'", s->name);
    return remember(s, name, strlen(name), value, strlen(value), err);
}

/* For file systems without RENAME_EXCHANGE (NFS, some FUSE): the old folder steps aside under a hidden name. Between
 * the two renames there is none under the final name, which a reader can notice; a half one there never is. */
static bool swap_in_two_steps(struct staging *s, struct error *err)
{
    size_t n = strlen(s->name) + sizeof "..ingot-old";
    CLEANUP(free) char *old = malloc(n);
    if (!old) return error_memory(err, n);
    snprintf(old, n, ".%s.ingot-old", s->name);
    if (!dir_remove_tree(s->parent, old, err)) return false;
    if (renameat(s->parent, s->name, s->parent, old) != 0) return error_set_errno(err, "cannot replace '%s'", s->name);
    if (renameat(s->parent, s->partial, s->parent, s->name) != 0) {
        error_set_errno(err, "cannot replace '%s'", s->name);
        if (renameat(s->parent, old, s->parent, s->name) != 0) return error_wrap(err, "the old one is now '%s'", old);
        return false;
    }
    return dir_sync(s->parent, s->name, err) && dir_remove_tree(s->parent, old, err);
}

/* Swaps the new folder in and removes the old one, which then carries the partial's name. */
static bool swap_in(struct staging *s, struct error *err)
{
    if (renameat2(s->parent, s->partial, s->parent, s->name, RENAME_EXCHANGE) != 0)
        return errno == EINVAL ? swap_in_two_steps(s, err) : error_set_errno(err, "cannot replace '%s'", s->name);
    return dir_sync(s->parent, s->name, err) && dir_remove_tree(s->parent, s->partial, err);
}

static bool commit(struct staging *s, struct error *err)
{
    if (unlinkat(s->dir, JOURNAL_NAME, 0) != 0)
        return error_set_errno(err, "cannot remove the journal of '%s'", s->name);
    if (!dir_sync(s->dir, s->partial, err)) return false;
    if (exists(s) && s->replace) return swap_in(s, err);
    int rc = renameat2(s->parent, s->partial, s->parent, s->name, RENAME_NOREPLACE);
    if (rc != 0 && errno == EINVAL)
        rc = renameat(s->parent, s->partial, s->parent, s->name); /* refuses a folder that is not empty */
    if (rc != 0) return error_set_errno(err, "cannot rename to '%s'", s->name);
    return dir_sync(s->parent, s->name, err);
}

bool staging_commit(struct staging *s, struct error *err)
{
    bool ok = commit(s, err);
    /* The journal is gone, so no later run would believe the parts. */
    if (!ok) dir_remove_tree(s->parent, s->partial, NULL);
    release(s);
    return ok;
}

void staging_close(struct staging *s, bool keep)
{
    if (!s) return;
    if (!keep && s->partial) dir_remove_tree(s->parent, s->partial, NULL);
    release(s);
}
