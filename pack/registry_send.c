/* Sending a blob; see registry_blob.h. The state of an upload is where it goes and how much of it is there. */
#include "core/cleanup.h"
#include "pack/registry_blob.h"
#include "pack/registry_header.h"

#include <fcntl.h>
#include <stdatomic.h>

#define FINISH_STALL_SECONDS 600u /* a registry may read the whole blob again before it answers the last request */
#define SESSION_BYTES_MAX ((size_t)8 << 10)
#define RESTARTS_MAX 3u
#define RESET_BYTES ((uint64_t)1 << 20) /* of headway give a new set of tries */
#define TRIES_MAX 1000u

struct sending {
    struct registry_line *line;
    const struct blob_send *b;
    char digest[OCI_DIGEST_SIZE];
    char *session; /* NULL: none */
    uint64_t at;   /* bytes that the session holds */
    uint64_t chunk_bytes;
    struct http_reply reply; /* the last one */
};

bool registry_blob_has(struct registry_line *l, const struct registry_blob *b, bool *has, struct error *err)
{
    CLEANUP(free) char *url = NULL;
    __attribute__((cleanup(cleanup_http_reply))) struct http_reply rp = {0};
    char digest[OCI_DIGEST_SIZE];
    oci_digest_text(&b->digest, digest);
    if (!registry_url(l->registry, &url, err, "blobs/%s", digest)) return false;
    struct http_request rq = {.method = HTTP_HEAD, .url = url, .reply_max = REGISTRY_ANSWER_MAX};
    if (!registry_call(l, &rq, &rp, err)) return false;
    *has = rp.status == 200;
    return *has || rp.status == 404 ? true : registry_refused(l->registry, &rp, err, "blob %.19s...", digest);
}

static bool has_blob(struct sending *s, bool *has, struct error *err)
{
    return registry_blob_has(s->line, &s->b->blob, has, err);
}

/* Takes the session's next address from the last reply, which must have one. */
static bool take_session(struct sending *s, const char *from, struct error *err)
{
    const char *location = s->reply.headers[HTTP_LOCATION];
    char *next = NULL;
    if (!location) return error_set(err, ERR_NETWORK, "the registry gives an upload no address");
    if (!http_url_join(from, location, &next, err)) return false;
    free(s->session);
    s->session = next;
    return true;
}

/* So that the next run can go on when this one is killed. That it cannot be kept is no reason to stop. */
static void remember(const struct sending *s)
{
    struct error ignored = ERROR_INIT;
    if (!s->b->session_file || s->b->blob.size <= s->chunk_bytes) return;
    if (!dir_make_parents(s->b->session_file, &ignored) ||
        !file_save(s->b->session_file, bytes_text(s->session), 0600, &ignored))
        return;
}

static void forget(const struct sending *s)
{
    if (s->b->session_file) unlink(s->b->session_file);
}

static void drop_session(struct sending *s)
{
    forget(s);
    free(s->session);
    s->session = NULL;
    s->at = 0;
}

static void take_chunk_size(struct sending *s)
{
    const char *least = s->reply.headers[HTTP_OCI_CHUNK_MIN_LENGTH];
    uint64_t bytes;
    if (least && retry_after_parse(least, &bytes) && bytes > s->chunk_bytes && bytes <= OCI_BLOB_BYTES_MAX)
        s->chunk_bytes = bytes;
}

/* POST for a mount from `from`, or (NULL) for an upload. *done: mounted. */
static bool begin(struct sending *s, const char *from, bool *done, struct error *err)
{
    CLEANUP(free) char *url = NULL;
    struct registry *r = s->line->registry;
    *done = false;
    bool named = from ? registry_url(r, &url, err, "blobs/uploads/?mount=%s&from=%s", s->digest, from)
                      : registry_url(r, &url, err, "blobs/uploads/");
    if (!named) return false;
    struct http_request rq = {.method = HTTP_POST, .url = url, .reply_max = REGISTRY_ANSWER_MAX};
    http_reply_free(&s->reply);
    if (!registry_call(s->line, &rq, &s->reply, err)) return false;
    s->at = 0;
    take_chunk_size(s);
    if (s->reply.status == 202) return take_session(s, url, err);
    *done = from && s->reply.status == 201;
    /* Who may not read the other repository, or where there is no such: an ordinary upload. */
    if (*done || (from && s->reply.status < 500 && s->reply.status != 401)) return true;
    return registry_refused(r, &s->reply, err, "blob %.19s...", s->digest);
}

static bool mount(struct sending *s, bool *done, struct error *err)
{
    const struct registry_options *o = registry_options(s->line->registry);
    *done = false;
    /* A registry that cannot begins an upload instead: the last one is used, the others expire. */
    for (uint32_t i = 0; i < o->n_mount_from && !*done; i++)
        if (strcmp(o->mount_from[i], o->ref->repository) != 0 && !begin(s, o->mount_from[i], done, err)) return false;
    return true;
}

/* One PATCH, or (last) the PUT, of n bytes from s->at on. */
static bool send_part(struct sending *s, uint64_t n, bool last, struct error *err)
{
    CLEANUP(free) char *url = NULL;
    char range[64];
    if (last && asprintf(&url, "%s%cdigest=%s", s->session, strchr(s->session, '?') ? '&' : '?', s->digest) < 0) {
        url = NULL;
        return error_memory(err, strlen(s->session));
    }
    snprintf(range, sizeof range, "Content-Range: %llu-%llu", (unsigned long long)s->at,
             (unsigned long long)(s->at + n - 1));
    struct http_request rq = {.method = last ? HTTP_PUT : HTTP_PATCH,
                              .url = last ? url : s->session,
                              .headers = {"Content-Type: application/octet-stream", last ? NULL : range},
                              .body_fd = s->b->fd,
                              .body_offset = s->b->offset + s->at,
                              .body_size = n,
                              .sent = s->b->sent,
                              .reply_max = REGISTRY_ANSWER_MAX,
                              .stall_seconds = FINISH_STALL_SECONDS};
    http_reply_free(&s->reply);
    return registry_call_once(s->line, &rq, &s->reply, err);
}

/* After a PATCH was taken: where the session now is. A registry that took less says so in Range. */
static bool step(struct sending *s, uint64_t n, struct error *err)
{
    const char *range = s->reply.headers[HTTP_RANGE];
    uint64_t next = s->at + n, told;
    bool sure;
    if (range && upload_range_parse(range, &told, &sure) && sure) {
        if (told > next || told < s->at)
            return error_set(err, ERR_NETWORK, "the registry says it has %llu bytes of a blob of which %llu were sent",
                             (unsigned long long)told, (unsigned long long)next);
        next = told;
    }
    s->at = next;
    if (s->reply.headers[HTTP_LOCATION] && !take_session(s, s->session, err)) return false;
    remember(s);
    return true;
}

/* Asks the session how far it came. When it is gone, or says what cannot be, there is none afterwards. */
static bool ask(struct sending *s, struct error *err)
{
    struct http_request rq = {.method = HTTP_GET, .url = s->session, .reply_max = REGISTRY_ANSWER_MAX};
    http_reply_free(&s->reply);
    if (!registry_call(s->line, &rq, &s->reply, err)) return false;
    const char *range = s->reply.headers[HTTP_RANGE];
    uint64_t next = 0;
    bool sure = false;
    if (s->reply.status / 100 == 2 && range && upload_range_parse(range, &next, &sure) && sure &&
        next <= s->b->blob.size) {
        s->at = next;
        return !s->reply.headers[HTTP_LOCATION] || take_session(s, s->session, err);
    }
    /* "0-0" is said of one byte and of none: an empty session costs nothing to begin again. */
    drop_session(s);
    return true;
}

/* An upload that a killed run left. What the file says is only believed as far as the registry does. */
static bool take_up(struct sending *s, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(free) char *base = NULL;
    if (!s->b->session_file || access(s->b->session_file, R_OK) != 0) return true;
    if (!registry_url(s->line->registry, &base, err, "blobs/uploads/")) return false;
    if (!file_load(AT_FDCWD, s->b->session_file, SESSION_BYTES_MAX, &text, NULL) || !text.size ||
        strlen((const char *)text.data) != text.size ||
        !http_url_join(base, (const char *)text.data, &s->session, NULL)) {
        forget(s);
        return true;
    }
    if (!http_same_origin(base, s->session)) {
        drop_session(s);
        return true;
    }
    bool ok = ask(s, err);
    if (ok && s->session && s->b->sent) atomic_fetch_add(s->b->sent, s->at);
    return ok;
}

/* The registry says that the bytes are not those of the digest. Ours, or did the session mix them up? */
static bool judge(struct sending *s, uint32_t *restarts, struct error *err)
{
    struct digest found;
    char text[OCI_DIGEST_SIZE];
    if (!sha256_of_file(s->b->fd, "blob", s->b->offset, s->b->blob.size, &found, err)) return false;
    oci_digest_text(&found, text);
    if (!digest_equal(&found, &s->b->blob.digest))
        return error_class(err, "digest", "blob %s of the package: its file has the digest %s", s->digest, text);
    if (++*restarts >= RESTARTS_MAX)
        return registry_refused(s->line->registry, &s->reply, err, "blob %.19s... (whose bytes are right)", s->digest);
    drop_session(s);
    return true;
}

/* What one try achieves. */
enum outcome { SENT, WENT_ON, MAY_PASS, FAILED };

static enum outcome send_some(struct sending *s, struct error *err)
{
    uint64_t left = s->b->blob.size - s->at;
    /* A small blob goes whole with the PUT; of a large one the PUT is empty, which every registry takes. */
    bool last = left == 0 || (s->at == 0 && left <= s->chunk_bytes);
    uint64_t n = last || left < s->chunk_bytes ? left : s->chunk_bytes;
    if (!send_part(s, n, last, err)) return s->reply.broken ? MAY_PASS : FAILED;
    if (last && (s->reply.status == 201 || s->reply.status == 204)) return SENT;
    if (!last && (s->reply.status == 202 || s->reply.status == 201 || s->reply.status == 204))
        return step(s, n, err) ? WENT_ON : FAILED;
    if (registry_may_pass(&s->reply) || s->reply.status == 416 || s->reply.status == 404) return MAY_PASS;
    registry_refused(s->line->registry, &s->reply, err, "blob %.19s...", s->digest);
    return FAILED;
}

/* Before the next try: wait, see whether it got there after all, ask the session. *has: it is there. */
static bool recover(struct sending *s, uint32_t *attempt, bool *has, struct error *err)
{
    struct error wait = ERROR_INIT;
    if (!registry_wait(s->line->registry, attempt, &s->reply, &wait)) {
        if (wait.code != ERR_NONE && err) *err = wait;
        else if (!s->reply.broken) registry_refused(s->line->registry, &s->reply, err, "blob %.19s...", s->digest);
        return false;
    }
    return has_blob(s, has, err) && (*has || !s->session || ask(s, err));
}

static bool upload(struct sending *s, struct error *err)
{
    uint32_t attempt = 0, restarts = 0;
    uint64_t reached = 0;
    for (uint32_t tries = 0;; tries++) {
        bool done = false;
        if (!s->session && !begin(s, NULL, &done, err)) return false;
        enum outcome got = send_some(s, err);
        if (got == SENT) return true;
        if (s->at >= reached + RESET_BYTES) {
            reached = s->at;
            attempt = 0;
        }
        if (got == FAILED && s->reply.status == 400 && !s->reply.broken) {
            if (!judge(s, &restarts, err)) return false;
        } else if (got == FAILED || (got == MAY_PASS && tries > TRIES_MAX)) return false;
        else if (got == MAY_PASS) {
            if (!recover(s, &attempt, &done, err)) return false;
            if (done) return true;
        }
    }
}

bool registry_blob_send(struct registry_line *l, const struct blob_send *b, enum blob_way *way, struct error *err)
{
    struct sending s = {
        .line = l, .b = b, .chunk_bytes = b->chunk_bytes ? b->chunk_bytes : REGISTRY_CHUNK_BYTES_DEFAULT};
    bool done = false;
    oci_digest_text(&b->blob.digest, s.digest);
    bool ok = has_blob(&s, &done, err);
    *way = BLOB_WAS_THERE;
    if (ok && !done) {
        *way = BLOB_MOUNTED;
        ok = mount(&s, &done, err);
    }
    if (ok && !done) {
        *way = BLOB_SENT;
        ok = (s.session || take_up(&s, err)) && upload(&s, err);
        if (ok) forget(&s);
    }
    if (ok && *way != BLOB_SENT && b->sent) atomic_fetch_add(b->sent, b->blob.size);
    http_reply_free(&s.reply);
    free(s.session);
    return ok;
}
