/* Fetching a blob; see registry_blob.h. */
#include "core/cleanup.h"
#include "pack/registry_blob.h"
#include "pack/registry_header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define READ_BYTES ((size_t)256 << 10)
#define RESET_BYTES ((uint64_t)1 << 20) /* of headway give a new set of tries */
#define TRIES_MAX 1000u
#define SUFFIX_MAX 32u

struct fetching {
    struct registry_line *line;
    const struct blob_fetch *b;
    char digest[OCI_DIGEST_SIZE];
    char part[DIGEST_HEX_SIZE + SUFFIX_MAX];
    char hex[DIGEST_HEX_SIZE];
    int fd;
    uint64_t have, old;  /* bytes in the file; of them from an earlier run */
    struct sha256 *hash; /* of those */
    bool checked;        /* the reply at hand continues where we are */
};

static void count(const struct fetching *f, int64_t n)
{
    if (f->b->received) atomic_fetch_add_explicit(f->b->received, (uint64_t)n, memory_order_relaxed);
}

/* From nothing. */
static bool restart(struct fetching *f, struct error *err)
{
    count(f, -(int64_t)f->have);
    sha256_close(f->hash, NULL, NULL);
    f->hash = NULL;
    f->have = f->old = 0;
    if (ftruncate(f->fd, 0) != 0) return error_set_errno(err, "cannot empty '%s'", f->part);
    return sha256_open(&f->hash, err);
}

static bool read_old(struct fetching *f, uint64_t size, struct error *err)
{
    CLEANUP(free) uint8_t *piece = malloc(READ_BYTES);
    if (!piece) return error_memory(err, READ_BYTES);
    while (f->have < size) {
        size_t n = size - f->have < READ_BYTES ? (size_t)(size - f->have) : READ_BYTES;
        if (!file_read_at(f->fd, f->part, f->have, piece, n, err)) return false;
        sha256_add(f->hash, piece, n);
        f->have += n;
        count(f, (int64_t)n);
        if (!progress_go_on(registry_options(f->line->registry)->progress, err)) return false;
    }
    f->old = f->have;
    return true;
}

static bool open_part(struct fetching *f, struct error *err)
{
    struct stat st;
    f->fd = openat(f->b->dirfd, f->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (f->fd < 0 || fstat(f->fd, &st) != 0) return error_set_errno(err, "cannot open '%s'", f->part);
    if (!S_ISREG(st.st_mode)) return error_set(err, ERR_IO, "'%s' is not a regular file", f->part);
    if (!sha256_open(&f->hash, err)) return false;
    return (uint64_t)st.st_size > f->b->blob.size ? restart(f, err) : read_old(f, (uint64_t)st.st_size, err);
}

/* 200 begins at 0, whatever was asked for; 206 must begin where we are. */
static bool check_start(struct fetching *f, const struct http_reply *r, struct error *err)
{
    const char *range = r->headers[HTTP_CONTENT_RANGE];
    uint64_t first, last, total;
    f->checked = true;
    if (r->status == 200) return f->have == 0 || restart(f, err);
    if (!range || !content_range_parse(range, &first, &last, &total) || first != f->have ||
        (total != UINT64_MAX && total != f->b->blob.size))
        return error_set(
            err, ERR_NETWORK, "blob %s: asked for bytes %llu-%llu, and the registry answers with the range '%.64s'",
            f->digest, (unsigned long long)f->have, (unsigned long long)f->b->blob.size - 1, range ? range : "");
    return true;
}

static bool take(void *ctx, const struct http_reply *r, const void *data, size_t n, struct error *err)
{
    struct fetching *f = ctx;
    if (!f->checked && !check_start(f, r, err)) return false;
    if (n > f->b->blob.size - f->have)
        return error_class(err, "digest", "blob %s: the registry sends more than its %llu bytes", f->digest,
                           (unsigned long long)f->b->blob.size);
    const uint8_t *p = data;
    for (size_t done = 0; done < n;) {
        ssize_t k = pwrite(f->fd, p + done, n - done, (off_t)(f->have + done));
        if (k < 0 && errno == EINTR) continue;
        if (k == 0) errno = ENOSPC;
        if (k <= 0) return error_set_errno(err, "cannot write '%s'", f->part);
        done += (size_t)k;
    }
    sha256_add(f->hash, data, n);
    f->have += n;
    count(f, (int64_t)n);
    return true;
}

/* One GET of what is missing. *rp is kept for who judges. */
static bool get(struct fetching *f, struct http_reply *rp, struct error *err)
{
    CLEANUP(free) char *url = NULL;
    char range[64];
    if (!f->b->url && !registry_url(f->line->registry, &url, err, "blobs/%s", f->digest)) return false;
    snprintf(range, sizeof range, "Range: bytes=%llu-", (unsigned long long)f->have);
    struct http_request rq = {.method = HTTP_GET,
                              .url = url ? url : f->b->url,
                              .headers = {f->have ? range : NULL},
                              .reply_max = REGISTRY_ANSWER_MAX,
                              .sink = take,
                              .sink_ctx = f};
    f->checked = false;
    return registry_call_once(f->line, &rq, rp, err);
}

static bool fetch(struct fetching *f, struct error *err)
{
    uint32_t attempt = 0;
    uint64_t reached = f->have;
    for (uint32_t tries = 0; f->have < f->b->blob.size; tries++) {
        __attribute__((cleanup(cleanup_http_reply))) struct http_reply rp = {0};
        struct error wait = ERROR_INIT;
        struct registry *r = f->line->registry;
        if (!get(f, &rp, err) && !rp.broken) return false;
        if (f->have == f->b->blob.size) break;
        if (!rp.broken && rp.status == 416 && f->have > 0) {
            if (!restart(f, err)) return false;
            continue;
        }
        bool passing = registry_may_pass(&rp) || rp.status == 200 || rp.status == 206; /* 2xx that ended early */
        if (!passing) return registry_refused(r, &rp, err, "blob %s", f->digest);
        if (f->have >= reached + RESET_BYTES) {
            reached = f->have;
            attempt = 0;
        }
        if (tries < TRIES_MAX && registry_wait(r, &attempt, &rp, &wait)) continue;
        if (wait.code != ERR_NONE && err) *err = wait;
        else if (!rp.broken) {
            if (rp.status != 200 && rp.status != 206) return registry_refused(r, &rp, err, "blob %s", f->digest);
            return error_class(err, "digest", "blob %s: the registry sends %llu of its %llu bytes", f->digest,
                               (unsigned long long)f->have, (unsigned long long)f->b->blob.size);
        } else error_wrap(err, "blob %s", f->digest);
        return false;
    }
    return true;
}

static bool finish(struct fetching *f, bool *right, struct error *err)
{
    struct digest found;
    char text[OCI_DIGEST_SIZE];
    struct sha256 *hash = f->hash;
    f->hash = NULL;
    if (!sha256_close(hash, &found, err)) return false;
    *right = digest_equal(&found, &f->b->blob.digest);
    if (!*right && f->old == 0) {
        unlinkat(f->b->dirfd, f->part, 0);
        oci_digest_text(&found, text);
        return error_class(err, "digest", "blob %s: what the registry sends has the digest %s", f->digest, text);
    }
    if (!*right) return true; /* what an earlier run left may be to blame: once more from nothing */
    if (fsync(f->fd) != 0) return error_set_errno(err, "cannot flush '%s' to disk", f->part);
    if (renameat(f->b->dirfd, f->part, f->b->dirfd, f->hex) != 0)
        return error_set_errno(err, "cannot rename to '%s'", f->hex);
    return true;
}

/* HEX as an earlier run left it. A wrong one is removed. */
static bool have_already(const struct fetching *f, bool *has, struct error *err)
{
    struct stat st;
    struct digest found;
    *has = false;
    CLEANUP(fd) int fd = openat(f->b->dirfd, f->hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return true;
    if (fd < 0 || fstat(fd, &st) != 0) return error_set_errno(err, "cannot open '%s'", f->hex);
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == f->b->blob.size) {
        if (!sha256_of_file(fd, f->hex, 0, f->b->blob.size, &found, err)) return false;
        *has = digest_equal(&found, &f->b->blob.digest);
    }
    if (*has) count(f, (int64_t)f->b->blob.size);
    else if (unlinkat(f->b->dirfd, f->hex, 0) != 0) return error_set_errno(err, "cannot remove '%s'", f->hex);
    return true;
}

bool registry_blob_fetch(struct registry_line *l, const struct blob_fetch *b, bool *was_there, struct error *err)
{
    struct fetching f = {.line = l, .b = b, .fd = -1};
    oci_digest_text(&b->blob.digest, f.digest);
    digest_hex(&b->blob.digest, f.hex);
    snprintf(f.part, sizeof f.part, "%s%s", f.hex, b->suffix ? b->suffix : REGISTRY_PART_SUFFIX);
    *was_there = false;
    if (!have_already(&f, was_there, err)) return false;
    if (*was_there) return true;
    bool right = false, ok = open_part(&f, err);
    for (int round = 0; ok && !right && round < 2; round++) {
        if (round > 0) ok = restart(&f, err);
        ok = ok && fetch(&f, err) && finish(&f, &right, err);
    }
    sha256_close(f.hash, NULL, NULL);
    if (f.fd >= 0) close(f.fd);
    return ok;
}
