/* A revision in the Hugging Face cache as a folder: a snapshot that was downloaded whole. Offline. */
#include "formats/folder.h"
#include "formats/hub_cache.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#define INCOMPLETE ".incomplete"

static bool is_incomplete(const char *name)
{
    size_t n = strlen(name), k = strlen(INCOMPLETE);
    return n > k && strcmp(name + n - k, INCOMPLETE) == 0;
}

/* A download that broke off leaves its blob under a name that ends so, beside no whole blob of that tag. The cache does
 * not say which revision it was for. */
static bool check_blobs(const char *model_dir, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    if (!path_join(&path, model_dir, "blobs", err)) return false;
    DIR *d = opendir(path);
    if (!d) return errno == ENOENT ? true : error_set_errno(err, "cannot list folder '%.256s'", path);
    bool ok = true;
    struct dirent *e;
    while (ok && (errno = 0, e = readdir(d))) {
        char tag[NAME_MAX + 1];
        struct stat st;
        if (!is_incomplete(e->d_name)) continue;
        snprintf(tag, sizeof tag, "%.*s", (int)strcspn(e->d_name, "."), e->d_name);
        if (fstatat(dirfd(d), tag, &st, 0) != 0)
            ok = error_set(err, ERR_FORMAT, "a download broke off (blobs/%.128s): fetch the revision again", e->d_name);
    }
    if (ok && errno != 0) ok = error_set_errno(err, "cannot list folder '%.256s'", path);
    closedir(d);
    return ok;
}

static bool open_snapshot(struct folder *f, const struct hub_ref *ref, struct error *err)
{
    CLEANUP(free) char *model = NULL;
    CLEANUP(free) char *snapshots = NULL;
    CLEANUP(free) char *path = NULL;
    char commit[HUB_COMMIT_HEX + 1];
    struct stat st;
    if (!hub_model_dir(ref, &model, err)) return false;
    if (stat(model, &st) != 0)
        return error_set(err, ERR_FORMAT, "the cache has no such model: there is no '%.512s'", model);
    if (!hub_commit(model, ref, commit, err) || !path_join(&snapshots, model, "snapshots", err) ||
        !path_join(&path, snapshots, commit, err))
        return false;
    if (stat(path, &st) != 0)
        return error_set(err, ERR_FORMAT, "the cache has no files of commit %s: there is no '%.512s'", commit, path);
    return check_blobs(model, err) && folder_add_dir(f, path, true, err);
}

static bool hub_open(struct folder *f, const char *rest, struct error *err)
{
    struct hub_ref ref;
    return hub_ref_parse(rest, &ref, err) &&
           (open_snapshot(f, &ref, err) || error_wrap(err, "'" HUB_PREFIX "%.256s'", rest));
}

const struct folder_kind folder_kind_hub = {.prefix = HUB_PREFIX, .open = hub_open};
