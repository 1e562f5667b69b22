/* Folders and paths; declared in core/file.h. */
#include "core/cleanup.h"
#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

bool dir_open(const char *path, int *fd, struct error *err)
{
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd >= 0) return true;
    if (errno == ENOENT) return error_set(err, ERR_FORMAT, "folder '%.512s' does not exist", path);
    if (errno == ENOTDIR) return error_set(err, ERR_FORMAT, "'%.512s' is not a folder", path);
    return error_set_errno(err, "cannot open folder '%.512s'", path);
}

bool dir_make_parents(const char *path, struct error *err)
{
    CLEANUP(free) char *copy = strdup(path);
    if (!copy) return error_memory(err, strlen(path));
    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--) copy[n - 1] = '\0'; /* "a/b/" is a/b */
    for (char *p = *copy ? copy + 1 : copy; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) return error_set_errno(err, "cannot make folder '%.512s'", copy);
        *p = '/';
    }
    return true;
}

bool dir_sync(int dirfd, const char *name, struct error *err)
{
    return fsync(dirfd) == 0 ? true : error_set_errno(err, "cannot flush the folder of '%.512s' to disk", name);
}

bool dir_remove_tree(int parent, const char *name, struct error *err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return true;
    if (errno != EISDIR && errno != EPERM) return error_set_errno(err, "cannot remove '%.512s'", name);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return error_set_errno(err, "cannot remove '%.512s'", name);
    bool ok = dir_empty(fd, name, err);
    close(fd);
    if (ok && unlinkat(parent, name, AT_REMOVEDIR) != 0)
        ok = error_set_errno(err, "cannot remove folder '%.512s'", name);
    return ok;
}

bool dir_empty(int dirfd, const char *name, struct error *err)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* readdir moves an offset: not the caller's */
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        if (fd >= 0) close(fd);
        return error_set_errno(err, "cannot list folder '%.512s'", name);
    }
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) ok = dir_remove_tree(fd, e->d_name, err);
    closedir(d);
    return ok;
}

bool dir_is_within(int dirfd, const char *outer)
{
    struct stat want, at, above;
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool within = false;
    bool go_on = fd >= 0 && stat(outer, &want) == 0 && fstat(fd, &at) == 0;
    while (go_on && !within) {
        within = at.st_dev == want.st_dev && at.st_ino == want.st_ino;
        int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = up;
        if (fd < 0 || fstat(fd, &above) != 0) break;
        go_on = above.st_dev != at.st_dev || above.st_ino != at.st_ino; /* the root is its own parent */
        at = above;
    }
    if (fd >= 0) close(fd);
    return within;
}

bool dir_space(const char *path, uint64_t *out, struct error *err)
{
    CLEANUP(free) char *p = strdup(*path ? path : ".");
    if (!p) return error_memory(err, strlen(path));
    struct statvfs v;
    while (statvfs(p, &v) != 0) {
        char *slash = strrchr(p, '/');
        if (errno != ENOENT || (!slash && strcmp(p, ".") == 0))
            return error_set_errno(err, "cannot examine '%.512s'", path);
        if (!slash) strcpy(p, ".");
        else if (slash == p) p[1] = '\0';
        else *slash = '\0';
    }
    return u64_mul(v.f_bavail, v.f_frsize, out) ? true
                                                : error_set(err, ERR_IO, "cannot measure free space at '%.512s'", path);
}

bool path_split(const char *path, char **folder, char **name, struct error *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t slash = n;
    while (slash > 0 && path[slash - 1] != '/') slash--;
    *folder = *name = NULL;
    const char *base = path + slash;
    size_t base_size = n - slash;
    if (base_size == 0 || (base_size == 1 && base[0] == '.') || (base_size == 2 && memcmp(base, "..", 2) == 0))
        return error_set(err, ERR_USAGE, "'%.512s' does not end in a name", path);
    *folder = slash == 0 ? strdup(".") : slash == 1 ? strdup("/") : strndup(path, slash - 1);
    *name = strndup(base, base_size);
    if (*folder && *name) return true;
    free(*folder);
    free(*name);
    *folder = *name = NULL;
    return error_memory(err, n);
}

bool path_join(char **out, const char *folder, const char *name, struct error *err)
{
    size_t a = strlen(folder), n = a + strlen(name) + 2;
    *out = malloc(n);
    if (!*out) return error_memory(err, n);
    snprintf(*out, n, "%s%s%s", folder, a && folder[a - 1] == '/' ? "" : "/", name);
    return true;
}

bool path_is_safe(const char *path)
{
    if (!*path || *path == '/' || strchr(path, '\\')) return false;
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.')) return false;
        p += n;
        if (!*p) return true;
    }
}
