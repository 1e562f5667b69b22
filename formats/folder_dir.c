/* A directory as a folder: its regular files, to FOLDER_DEPTH_MAX levels; and one file as a folder of its own. */
#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "formats/nemo.h"
#include "formats/torch_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct walk {
    struct folder *f;
    uint32_t n_entries; /* bounds the walk also where there are only directories */
    const char *only;   /* of files that hold weights, the one that counts; NULL: all */
    bool whole;         /* a link that leads nowhere is an error */
    struct error *err;
};

static bool walk(struct walk *w, int fd, const char *prefix, uint32_t level);

/* Takes over fd. */
static bool walk_below(struct walk *w, int fd, const char *path, uint32_t level)
{
    bool ok = walk(w, fd, path, level);
    close(fd);
    return ok;
}

/* An index speaks of files that a single one is not among. */
static bool ends_with_index(const char *name)
{
    size_t n = strlen(name), k = strlen(".index.json");
    return n > k && strcmp(name + n - k, ".index.json") == 0;
}

static bool visit(struct walk *w, int parent, const char *name, const char *path, uint32_t level)
{
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? true : error_set_errno(w->err, "cannot examine '%.256s'", path);
    if (S_ISDIR(st.st_mode)) {
        if (level == FOLDER_DEPTH_MAX) return true;
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd >= 0 ? walk_below(w, fd, path, level + 1)
                       : error_set_errno(w->err, "cannot open folder '%.256s'", path);
    }
    /* A link counts when it leads to a regular file; one that leads nowhere is a file that is not there. */
    if (S_ISLNK(st.st_mode) && fstatat(parent, name, &st, 0) != 0)
        return !w->whole ? true : error_set(w->err, ERR_FORMAT, "the link '%.256s' leads to no file", path);
    if (w->only && strcmp(w->only, name) != 0 && (checkpoint_is_weights(name) || ends_with_index(name))) return true;
    return S_ISREG(st.st_mode) ? folder_add(w->f, path, path, 0, (uint64_t)st.st_size, w->err) : true;
}

/* Names of distributed checkpoints, hidden or not. */
static bool is_wanted(const char *name)
{
    return strcmp(name, ".metadata") == 0 || strcmp(name, ".zarray") == 0;
}

static bool walk(struct walk *w, int fd, const char *prefix, uint32_t level)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* closedir closes it */
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    if (!d) {
        if (copy >= 0) close(copy);
        return error_set_errno(w->err, "cannot list folder '%.256s'", *prefix ? prefix : folder_path(w->f));
    }
    bool ok = true;
    struct dirent *e;
    while (ok && (errno = 0, e = readdir(d))) {
        if (e->d_name[0] == '.' && !is_wanted(e->d_name)) continue;
        CLEANUP(free) char *path = NULL;
        if (++w->n_entries > FOLDER_MEMBERS_MAX)
            ok = error_set(w->err, ERR_FORMAT, "folder '%.256s' holds more than %u files", folder_path(w->f),
                           FOLDER_MEMBERS_MAX);
        else if (*prefix) ok = path_join(&path, prefix, e->d_name, w->err);
        ok = ok && visit(w, fd, e->d_name, path ? path : e->d_name, level);
    }
    if (ok && errno != 0)
        ok = error_set_errno(w->err, "cannot list folder '%.256s'", *prefix ? prefix : folder_path(w->f));
    closedir(d);
    return ok;
}

/* One GGUF file as a model, with the other parts when its name says that it has some. */
static bool gguf_file_open(struct folder *f, const char *path, struct error *err)
{
    CLEANUP(free) char *parent = NULL;
    CLEANUP(free) char *name = NULL;
    int fd;
    if (!path_split(path, &parent, &name, err) || !dir_open(parent, &fd, err)) return false;
    folder_set_dir(f, fd);
    size_t stem;
    uint32_t number, count;
    if (!gguf_split_name(name, &stem, &number, &count)) count = 0;
    for (uint32_t k = 1; k <= (count ? count : 1) && k <= GGUF_FILES_MAX; k++) {
        char part[GGUF_PART_NAME_MAX];
        struct stat st;
        if (count) gguf_part_name(part, name, stem, k, count);
        const char *member = count ? part : name;
        if (fstatat(fd, member, &st, 0) != 0) {
            if (errno == ENOENT) continue; /* gguf_members names the parts that are missing */
            return error_set_errno(err, "cannot examine '%.256s'", member);
        }
        if (S_ISREG(st.st_mode) && !folder_add(f, member, member, 0, (uint64_t)st.st_size, err)) return false;
    }
    return true;
}

/* One of torch's files, with what lies beside it: a configuration, a tokenizer, no other weights. */
static bool torch_file_open(struct folder *f, const char *path, struct error *err)
{
    CLEANUP(free) char *parent = NULL;
    CLEANUP(free) char *name = NULL;
    int fd;
    if (!path_split(path, &parent, &name, err) || !dir_open(parent, &fd, err)) return false;
    folder_set_dir(f, fd);
    struct walk w = {.f = f, .only = name, .err = err};
    return walk(&w, fd, "", FOLDER_DEPTH_MAX);
}

bool folder_add_dir(struct folder *f, const char *path, bool whole, struct error *err)
{
    int fd;
    if (!dir_open(path, &fd, err)) return false;
    folder_set_dir(f, fd);
    struct walk w = {.f = f, .whole = whole, .err = err};
    return walk(&w, fd, "", 1);
}

static bool file_kind_open(struct folder *f, const char *rest, struct error *err)
{
    CLEANUP(free) char *parent = NULL;
    CLEANUP(free) char *name = NULL;
    CLEANUP(fd) int file = -1;
    uint64_t size;
    int fd;
    if (!path_split(rest, &parent, &name, err) || !dir_open(parent, &fd, err)) return false;
    folder_set_dir(f, fd);
    return file_open(fd, name, &file, &size, err) && folder_add(f, name, name, 0, size, err);
}

static bool dir_kind_open(struct folder *f, const char *rest, struct error *err)
{
    struct stat st;
    bool known = gguf_is_name(rest) || torch_is_name(rest) || nemo_is_name(rest);
    if (!known || stat(rest, &st) != 0 || !S_ISREG(st.st_mode)) return folder_add_dir(f, rest, false, err);
    return gguf_is_name(rest)   ? gguf_file_open(f, rest, err)
           : nemo_is_name(rest) ? file_kind_open(f, rest, err)
                                : torch_file_open(f, rest, err);
}

const struct folder_kind folder_kind_dir = {.prefix = "", .open = dir_kind_open};

const struct folder_kind folder_kind_file = {.prefix = "file:", .open = file_kind_open};
