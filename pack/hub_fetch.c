#include "pack/hub_fetch.h"

#include "core/arena.h"
#include "core/json.h"
#include "core/text.h"
#include "formats/name_match.h"
#include "pack/registry_blob.h"
#include "pack/registry_jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>

struct hub_file {
    const char *name;
    char id[DIGEST_HEX_SIZE]; /* of the blob: SHA-256, or git's name */
    bool large;               /* has a SHA-256 */
    bool again;               /* another file has the same content, and fetches it */
    uint64_t size;
};

struct fetch {
    const struct hub_fetch_options *o;
    char name[2 * HUB_NAME_MAX + 2];
    struct registry *server;
    struct registry_jobs jobs;
    struct arena *arena;
    struct hub_file *files;
    uint32_t n_files;
    char commit[HUB_COMMIT_HEX + 1];
    char *dir; /* of the model in the cache */
    int lock, blobs;
    _Atomic uint32_t n_there;
};

/* ---- what there is to fetch ---- */

/* A path as an address has it: everything but its slashes escaped. */
static bool escape_path(const char *path, char **out, struct error *err)
{
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        CLEANUP(free) char *part = strndup(p, n);
        CLEANUP(free) char *escaped = NULL;
        if (!part) return error_memory(err, n);
        if (!http_escape(part, &escaped, err)) return false;
        text_add(&t, "%s%s", escaped, p[n] ? "/" : "");
        p += n + (p[n] != 0);
    }
    return text_take(&t, out, NULL, err);
}

static bool is_hex(const char *s, size_t n)
{
    return s && strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

static bool wanted(const struct fetch *f, const char *name)
{
    return (!f->o->include || glob_match(f->o->include, name)) && !(f->o->exclude && glob_match(f->o->exclude, name));
}

static bool read_file(struct fetch *f, const json_t *row, struct error *err)
{
    static const char what[] = "list of files";
    const char *name = NULL, *git = NULL, *sha = NULL;
    uint64_t size = 0;
    if (!json_get_string(row, "rfilename", what, &name, err)) return false;
    if (!path_is_safe(name))
        return error_set(err, ERR_NETWORK, "the list of files has the name '%.256s', which is no plain relative path",
                         name);
    if (!wanted(f, name)) return true;
    const json_t *lfs = json_object_get(row, "lfs");
    bool large = json_is_object(lfs);
    if (!json_get_u64(large ? lfs : row, "size", what, 0, INT64_MAX, &size, err) ||
        !(large ? json_get_string(lfs, "sha256", what, &sha, err) : json_get_string(row, "blobId", what, &git, err)))
        return error_wrap(err, "file '%.256s'", name);
    if (large ? !is_hex(sha, DIGEST_HEX_SIZE - 1) : !is_hex(git, GIT_ID_HEX_SIZE - 1))
        return error_set(err, ERR_NETWORK, "file '%.256s': the list's digest '%.80s' is none", name, large ? sha : git);
    if (!large && size > HUB_SMALL_MAX)
        return error_set(err, ERR_NETWORK, "file '%.256s' has %llu bytes and no SHA-256", name,
                         (unsigned long long)size);
    struct hub_file *to = &f->files[f->n_files++];
    *to = (struct hub_file){.name = arena_text(f->arena, name), .large = large, .size = size};
    snprintf(to->id, sizeof to->id, "%s", large ? sha : git);
    return to->name ? true : error_memory(err, strlen(name));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct hub_file *)a)->name, ((const struct hub_file *)b)->name);
}

static int by_id(const void *a, const void *b)
{
    const struct hub_file *x = a, *y = b;
    int c = strcmp(x->id, y->id);
    return c ? c : strcmp(x->name, y->name);
}

/* Marks equal contents; a size that differs then is the list's lie. */
static bool find_equal(struct fetch *f, struct error *err)
{
    qsort(f->files, f->n_files, sizeof *f->files, by_id);
    for (uint32_t i = 1; i < f->n_files; i++) {
        f->files[i].again = strcmp(f->files[i - 1].id, f->files[i].id) == 0;
        if (f->files[i].again && f->files[i - 1].size != f->files[i].size)
            return error_set(err, ERR_NETWORK, "the list of files gives '%.256s' and '%.256s' one digest and two sizes",
                             f->files[i - 1].name, f->files[i].name);
    }
    return true;
}

static bool read_list(struct fetch *f, struct bytes body, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    json_t *rows = NULL;
    const char *commit = NULL;
    if (!json_parse(body, JSON_DIALECT_STRICT, "list of files", &doc, err) ||
        !json_get_string(doc, "sha", "list of files", &commit, err) ||
        !json_get_array(doc, "siblings", "list of files", &rows, err))
        return false;
    if (!hub_is_commit(commit) || (hub_is_commit(f->o->ref.revision) && strcmp(commit, f->o->ref.revision) != 0))
        return error_set(err, ERR_NETWORK, "revision '%.64s': the server says that it is commit '%.64s'",
                         f->o->ref.revision, commit);
    memcpy(f->commit, commit, sizeof f->commit);
    size_t n = json_array_size(rows);
    if (n > HUB_FILES_MAX)
        return error_set(err, ERR_NETWORK, "the model has %zu files; at most %u are fetched", n, HUB_FILES_MAX);
    f->files = calloc(n + 1, sizeof *f->files);
    if (!f->files) return error_memory(err, n * sizeof *f->files);
    for (size_t i = 0; i < n; i++)
        if (!read_file(f, json_array_get(rows, i), err)) return false;
    if (f->n_files == 0) return error_set(err, ERR_USAGE, "no file of the model is asked for");
    if (!find_equal(f, err)) return false;
    qsort(f->files, f->n_files, sizeof *f->files, by_name);
    for (uint32_t i = 1; i < f->n_files; i++)
        if (strcmp(f->files[i - 1].name, f->files[i].name) == 0)
            return error_set(err, ERR_NETWORK, "the list of files has '%.256s' twice", f->files[i].name);
    return true;
}

static bool ask_list(struct fetch *f, struct registry_line *l, struct error *err)
{
    CLEANUP(free) char *revision = NULL;
    CLEANUP(free) char *url = NULL;
    __attribute__((cleanup(cleanup_http_reply))) struct http_reply rp = {0};
    if (!http_escape(f->o->ref.revision, &revision, err) ||
        !registry_url(f->server, &url, err, "api/models/%s/revision/%s?blobs=true", f->name, revision))
        return false;
    struct http_request rq = {.method = HTTP_GET, .url = url, .reply_max = HUB_LISTING_MAX};
    if (!registry_call(l, &rq, &rp, err)) return false;
    if (rp.status != 200)
        return error_set(err, ERR_NETWORK, "the server answers %ld to '%s' at revision '%.64s'%s", rp.status, f->name,
                         f->o->ref.revision,
                         rp.status == 401 || rp.status == 403 ? ": it wants a token that may read it (HF_TOKEN)"
                         : rp.status == 404                   ? ": there is none"
                                                              : "");
    return read_list(f, buffer_view(&rp.body), err);
}

/* ---- files ---- */

static bool file_url(const struct fetch *f, const struct hub_file *file, char **out, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    return escape_path(file->name, &path, err) &&
           registry_url(f->server, out, err, "%s/resolve/%s/%s", f->name, f->commit, path);
}

/* As large as the list says, and of the content that its name stands for: a size alone proves nothing. */
static bool have_small(const struct fetch *f, const struct hub_file *file)
{
    CLEANUP_BUFFER struct buffer text = {0};
    struct stat st;
    char id[GIT_ID_HEX_SIZE];
    return fstatat(f->blobs, file->id, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == file->size && file_load(f->blobs, file->id, HUB_SMALL_MAX, &text, NULL) &&
           git_blob_id(buffer_view(&text), id, NULL) && strcmp(id, file->id) == 0;
}

/* One without a SHA-256: whole in memory. */
static bool fetch_small(struct fetch *f, const struct hub_file *file, const char *url, struct registry_line *l,
                        struct error *err)
{
    __attribute__((cleanup(cleanup_http_reply))) struct http_reply rp = {0};
    CLEANUP(free) char *blobs = NULL;
    CLEANUP(free) char *path = NULL;
    char id[GIT_ID_HEX_SIZE];
    struct http_request rq = {.method = HTTP_GET, .url = url, .reply_max = (size_t)file->size + 1};
    if (have_small(f, file)) {
        f->n_there++;
        return true;
    }
    if (!registry_call(l, &rq, &rp, err)) return false;
    if (rp.status != 200) return registry_refused(f->server, &rp, err, "file '%.256s'", file->name);
    if (!git_blob_id(buffer_view(&rp.body), id, err)) return false;
    if (rp.body.size != file->size || strcmp(id, file->id) != 0)
        return error_class(err, "digest", "file '%.256s': %zu bytes with git's name %s came, expected %llu with %s",
                           file->name, rp.body.size, id, (unsigned long long)file->size, file->id);
    atomic_fetch_add(&f->jobs.done_bytes, file->size);
    return path_join(&blobs, f->dir, "blobs", err) && path_join(&path, blobs, file->id, err) &&
           file_save(path, buffer_view(&rp.body), 0666, err);
}

static bool fetch_file(void *ctx, uint64_t i, struct registry_line *l, struct error *err)
{
    struct fetch *f = ctx;
    const struct hub_file *file = &f->files[i];
    CLEANUP(free) char *url = NULL;
    bool there = false;
    if (file->again) return true;
    if (!file_url(f, file, &url, err)) return false;
    if (!file->large) return fetch_small(f, file, url, l, err);
    struct blob_fetch b = {.blob = {.size = file->size},
                           .dirfd = f->blobs,
                           .received = &f->jobs.done_bytes,
                           .url = url,
                           .suffix = ".incomplete"};
    if (!digest_parse(file->id, &b.blob.digest)) return error_set(err, ERR_INTERNAL, "not a digest");
    if (!registry_blob_fetch(l, &b, &there, err)) return error_wrap(err, "file '%.256s'", file->name);
    f->n_there += there;
    return true;
}

/* ---- the cache ---- */

static bool open_cache(struct fetch *f, struct error *err)
{
    CLEANUP(free) char *blobs = NULL;
    CLEANUP(free) char *inside = NULL;
    if (!hub_model_dir(&f->o->ref, &f->dir, err) || !path_join(&blobs, f->dir, "blobs", err) ||
        !path_join(&inside, blobs, "x", err) || !dir_make_parents(inside, err) || !dir_open(f->dir, &f->lock, err) ||
        !dir_open(blobs, &f->blobs, err))
        return false;
    if (flock(f->lock, LOCK_EX | LOCK_NB) == 0) return true;
    return error_set(err, ERR_IO, "'%.512s' is being fetched into by another process", f->dir);
}

static bool link_file(const char *snapshot, const struct hub_file *file, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    CLEANUP(free) char *target = NULL;
    char found[PATH_MAX];
    text_add(&t, "../../");
    for (const char *p = file->name; (p = strchr(p, '/')); p++) text_add(&t, "../");
    text_add(&t, "blobs/%s", file->id);
    if (!text_take(&t, &target, NULL, err) || !path_join(&path, snapshot, file->name, err) ||
        !dir_make_parents(path, err))
        return false;
    ssize_t n = readlink(path, found, sizeof found - 1);
    if (n > 0 && (size_t)n == strlen(target) && memcmp(found, target, (size_t)n) == 0) return true;
    if ((n >= 0 && unlink(path) != 0) || symlink(target, path) != 0)
        return error_set_errno(err, "cannot make the link '%.512s'", path);
    return true;
}

/* Under a hidden name first: a snapshot is there whole or not at all. One that is there gets what it lacks. */
static bool make_snapshot(struct fetch *f, char **out, struct error *err)
{
    CLEANUP(free) char *folder = NULL;
    CLEANUP(free) char *partial = NULL;
    char hidden[HUB_COMMIT_HEX + 16];
    struct stat st;
    snprintf(hidden, sizeof hidden, ".%s.partial", f->commit);
    if (!path_join(&folder, f->dir, "snapshots", err) || !path_join(out, folder, f->commit, err) ||
        !path_join(&partial, folder, hidden, err))
        return false;
    bool there = stat(*out, &st) == 0;
    for (uint32_t i = 0; i < f->n_files; i++)
        if (!link_file(there ? *out : partial, &f->files[i], err)) return false;
    if (!there && rename(partial, *out) != 0) return error_set_errno(err, "cannot rename to '%.512s'", *out);
    return true;
}

static bool write_reference(const struct fetch *f, struct error *err)
{
    CLEANUP(free) char *refs = NULL;
    CLEANUP(free) char *path = NULL;
    if (hub_is_commit(f->o->ref.revision)) return true;
    return path_join(&refs, f->dir, "refs", err) && path_join(&path, refs, f->o->ref.revision, err) &&
           dir_make_parents(path, err) && file_save(path, bytes_of(f->commit, HUB_COMMIT_HEX), 0666, err);
}

static bool run(struct fetch *f, struct hub_fetch_result *out, struct error *err)
{
    struct registry_options ro = {.site = f->o->endpoint,
                                  .authorization = f->o->token,
                                  .plain_http = f->o->plain_http,
                                  .ca_file = f->o->ca_file,
                                  .retries = f->o->retries,
                                  .progress = f->o->progress};
    if (!f->arena) return error_memory(err, 0);
    if (!registry_open(&f->server, &ro, err) || !registry_jobs_open(&f->jobs, f->server, f->o->jobs, "fetch", err) ||
        !ask_list(f, &f->jobs.lines[0], err) || !open_cache(f, err))
        return false;
    for (uint32_t i = 0; i < f->n_files; i++) f->jobs.total_bytes += f->files[i].size;
    if (!registry_jobs_run(&f->jobs, f->n_files, fetch_file, f, err) || !make_snapshot(f, &out->snapshot, err) ||
        !write_reference(f, err))
        return false;
    memcpy(out->commit, f->commit, sizeof out->commit);
    out->n_files = f->n_files;
    out->n_there = f->n_there;
    out->bytes = f->jobs.total_bytes;
    return true;
}

bool hub_fetch(const struct hub_fetch_options *o, struct hub_fetch_result *out, struct error *err)
{
    *out = (struct hub_fetch_result){.snapshot = NULL};
    struct fetch f = {.o = o, .arena = arena_new(), .lock = -1, .blobs = -1};
    hub_ref_name(&o->ref, f.name);
    bool ok = run(&f, out, err);
    registry_jobs_close(&f.jobs);
    registry_close(f.server);
    if (f.blobs >= 0) close(f.blobs);
    if (f.lock >= 0) close(f.lock);
    arena_free(f.arena);
    free(f.files);
    free(f.dir);
    if (ok) return true;
    free(out->snapshot);
    out->snapshot = NULL;
    return error_wrap(err, "'" HUB_PREFIX "%s'", f.name);
}
