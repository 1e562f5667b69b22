#include "pack/registry_call.h"

#include "core/json.h"
#include "pack/docker_auth.h"
#include "pack/registry_header.h"

#include <pthread.h>
#include <stdarg.h>
#include <strings.h>
#include <time.h>

#define REDIRECTS_MAX 5u
#define WAIT_FIRST_MS 250u
#define WAIT_LONGEST_MS 8000u
#define RETRY_AFTER_MAX_S 120u
#define SLICE_MS 50u /* between two looks whether to stop */

struct registry {
    struct registry_options options;
    char *base; /* "https://HOST" */
    char *scopes[REGISTRY_MOUNTS_MAX + 2];
    pthread_mutex_t lock; /* of what follows */
    bool looked_up;
    struct docker_auth auth;
    char *authorization; /* what the registry last accepted; NULL: it has not asked */
    uint64_t generation; /* of `authorization` */
};

static bool add_scopes(struct registry *r, const struct registry_options *o, struct error *err)
{
    uint32_t n = 0;
    if (asprintf(&r->scopes[n++], "repository:%s:%s", o->ref->repository, o->push ? "pull,push" : "pull") < 0)
        return error_memory(err, 0);
    for (uint32_t i = 0; i < o->n_mount_from && i < REGISTRY_MOUNTS_MAX; i++)
        if (asprintf(&r->scopes[n++], "repository:%s:pull", o->mount_from[i]) < 0) return error_memory(err, 0);
    return true;
}

/* The address of a server that is no registry, and what it is to be told about us. */
static bool set_site(struct registry *r, const struct registry_options *o, struct error *err)
{
    char host[256];
    bool plain = strncasecmp(o->site, "http://", 7) == 0;
    if (!plain && strncasecmp(o->site, "https://", 8) != 0)
        return error_set(err, ERR_USAGE, "'%.256s': expected https://HOST", o->site);
    const char *start = o->site + (plain ? 7 : 8);
    snprintf(host, sizeof host, "%.*s", (int)strcspn(start, "/"), start);
    if (plain && (!o->plain_http || !registry_host_is_loopback(host)))
        return error_set(err, ERR_USAGE, "'%.256s': without TLS only with --plain-http, and only to loopback addresses",
                         o->site);
    r->looked_up = true; /* nothing but what is given */
    r->base = strdup(o->site);
    r->authorization = o->authorization ? strdup(o->authorization) : NULL;
    if (!r->base || (o->authorization && !r->authorization)) return error_memory(err, strlen(o->site));
    for (size_t n = strlen(r->base); n && r->base[n - 1] == '/'; n--) r->base[n - 1] = 0;
    return true;
}

static bool set_registry(struct registry *r, const struct registry_options *o, struct error *err)
{
    const char *host = o->ref->host;
    if (o->plain_http && !registry_host_is_loopback(host))
        return error_set(err, ERR_USAGE, "--plain-http is for loopback addresses only, and '%s' is none", host);
    /* docker's registry answers under another name than it goes by. */
    const char *real = strcmp(host, "docker.io") == 0 ? "registry-1.docker.io" : host;
    return asprintf(&r->base, "%s://%s", o->plain_http ? "http" : "https", real) >= 0 ? add_scopes(r, o, err)
                                                                                      : error_memory(err, 0);
}

bool registry_open(struct registry **out, const struct registry_options *o, struct error *err)
{
    *out = NULL;
    struct registry *r = calloc(1, sizeof *r);
    if (!r) return error_memory(err, sizeof *r);
    r->options = *o;
    pthread_mutex_init(&r->lock, NULL);
    bool ok = o->site ? set_site(r, o, err) : set_registry(r, o, err);
    if (!ok) registry_close(r);
    else *out = r;
    return ok;
}

void registry_close(struct registry *r)
{
    if (!r) return;
    for (size_t i = 0; i < sizeof r->scopes / sizeof *r->scopes; i++) free(r->scopes[i]);
    if (r->authorization) explicit_bzero(r->authorization, strlen(r->authorization));
    free(r->authorization);
    docker_auth_free(&r->auth);
    pthread_mutex_destroy(&r->lock);
    free(r->base);
    free(r);
}

const struct registry_options *registry_options(const struct registry *r)
{
    return &r->options;
}

bool registry_url(const struct registry *r, char **out, struct error *err, const char *fmt, ...)
{
    char *rest = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&rest, fmt, ap);
    va_end(ap);
    if (n < 0) rest = NULL;
    n = !rest             ? -1
        : r->options.site ? asprintf(out, "%s/%s", r->base, rest)
                          : asprintf(out, "%s/v2/%s/%s", r->base, r->options.ref->repository, rest);
    free(rest);
    if (n >= 0) return true;
    *out = NULL;
    return error_memory(err, 0);
}

bool registry_line_open(struct registry_line *l, struct registry *r, void (*tick)(void *ctx), void *tick_ctx,
                        struct error *err)
{
    struct http_options o = {.plain = r->options.plain_http,
                             .ca_file = r->options.ca_file,
                             .progress = r->options.progress,
                             .tick = tick,
                             .tick_ctx = tick_ctx};
    l->registry = r;
    return http_open(&l->http, &o, err);
}

void registry_line_close(struct registry_line *l)
{
    http_close(l->http);
    l->http = NULL;
}

/* ---- credentials ---------------------------------------------------------------------------------------------------
 */
static char *current(struct registry *r, uint64_t *generation)
{
    pthread_mutex_lock(&r->lock);
    char *copy = r->authorization ? strdup(r->authorization) : NULL;
    *generation = r->generation;
    pthread_mutex_unlock(&r->lock);
    return copy;
}

/* After a 401 to a request that was sent with generation `seen`. *again: there is something new to send. One thread
 * asks, the others wait and take what it got. */
static bool renew(struct registry_line *l, const struct http_reply *rp, uint64_t seen, bool *again, struct error *err)
{
    struct registry *r = l->registry;
    bool ok = true;
    pthread_mutex_lock(&r->lock);
    *again = r->generation != seen;
    if (!*again && !r->looked_up) {
        ok = docker_auth_find(r->options.ref->host, r->options.ref->repository, &r->auth, err);
        r->looked_up = ok;
    }
    char *fresh = NULL;
    if (ok && !*again) ok = registry_answer(l->http, rp, &r->auth, (const char *const *)r->scopes, &fresh, err);
    if (ok && fresh) {
        if (r->authorization) explicit_bzero(r->authorization, strlen(r->authorization));
        free(r->authorization);
        r->authorization = fresh;
        r->generation++;
        *again = true;
    }
    pthread_mutex_unlock(&r->lock);
    return ok;
}

/* One exchange with the credentials that are known; on 401 once more with new ones. */
static bool exchange(struct registry_line *l, const struct http_request *rq, struct http_reply *rp, struct error *err)
{
    struct registry *r = l->registry;
    bool own = http_same_origin(rq->url, r->base);
    for (unsigned tries = 0;; tries++) {
        struct http_request full = *rq;
        uint64_t generation;
        CLEANUP(free) char *authorization = current(r, &generation);
        CLEANUP(free) char *line = NULL;
        size_t n = 0;
        while (n < HTTP_HEADERS_MAX && full.headers[n]) n++;
        if (own && authorization) {
            if (asprintf(&line, "Authorization: %s", authorization) < 0) return error_memory(err, 0);
            full.headers[n] = line;
        }
        bool ok = http_exchange(l->http, &full, rp, err), again = false;
        if (authorization) explicit_bzero(authorization, strlen(authorization));
        if (line) explicit_bzero(line, strlen(line));
        if (!ok || rp->status != 401 || !own || tries == 2 || r->options.site) return ok;
        if (!renew(l, rp, generation, &again, err)) return false;
        if (!again) return true;
        http_reply_free(rp);
    }
}

static bool is_redirect(const struct http_reply *rp)
{
    return (rp->status == 301 || rp->status == 302 || rp->status == 303 || rp->status == 307 || rp->status == 308) &&
           rp->headers[HTTP_LOCATION];
}

static bool check_encoding(const struct http_reply *rp, struct error *err)
{
    const char *encoding = rp->headers[HTTP_CONTENT_ENCODING];
    if (rp->status >= 300 || !encoding || strcasecmp(encoding, "identity") == 0) return true;
    return error_set(err, ERR_NETWORK, "the registry sends its answer encoded as '%.64s', which was not asked for",
                     encoding);
}

bool registry_call_once(struct registry_line *l, const struct http_request *rq, struct http_reply *rp,
                        struct error *err)
{
    struct http_request now = *rq;
    CLEANUP(free) char *url = NULL;
    bool follows = rq->method == HTTP_GET || rq->method == HTTP_HEAD;
    for (unsigned i = 0;; i++) {
        if (!exchange(l, &now, rp, err)) return false;
        if (!follows || !is_redirect(rp)) return check_encoding(rp, err);
        char *next;
        if (i == REDIRECTS_MAX) return error_set(err, ERR_NETWORK, "the registry redirects more than %u times", i);
        if (!http_url_join(now.url, rp->headers[HTTP_LOCATION], &next, err)) return false;
        free(url);
        now.url = url = next;
        http_reply_free(rp);
    }
}

/* ---- patience ------------------------------------------------------------------------------------------------------
 */
bool registry_may_pass(const struct http_reply *rp)
{
    long s = rp->status;
    return rp->broken || s == 408 || s == 429 || (s >= 500 && s < 600 && s != 501 && s != 505);
}

static bool sleep_ms(const struct registry *r, uint64_t ms, struct error *err)
{
    for (uint64_t slept = 0; slept < ms; slept += SLICE_MS) {
        uint64_t n = ms - slept < SLICE_MS ? ms - slept : SLICE_MS;
        if (!progress_go_on(r->options.progress, err)) return false;
        nanosleep(&(struct timespec){.tv_nsec = (long)n * 1000000}, NULL);
    }
    return progress_go_on(r->options.progress, err);
}

bool registry_wait(const struct registry *r, uint32_t *attempt, const struct http_reply *rp, struct error *err)
{
    uint64_t seconds, ms = *attempt < 6 ? (uint64_t)WAIT_FIRST_MS << *attempt : WAIT_LONGEST_MS;
    if (*attempt >= r->options.retries) return false;
    ++*attempt;
    const char *after = rp->headers[HTTP_RETRY_AFTER];
    if (after && retry_after_parse(after, &seconds)) {
        if (seconds > RETRY_AFTER_MAX_S)
            return error_set(err, ERR_NETWORK, "the registry asks to wait %llu seconds; at most %u are waited",
                             (unsigned long long)seconds, RETRY_AFTER_MAX_S);
        if (seconds * 1000 > ms) ms = seconds * 1000;
    }
    return sleep_ms(r, ms < WAIT_LONGEST_MS || after ? ms : WAIT_LONGEST_MS, err);
}

bool registry_call(struct registry_line *l, const struct http_request *rq, struct http_reply *rp, struct error *err)
{
    for (uint32_t attempt = 0;;) {
        struct error this_time = ERROR_INIT;
        bool ok = registry_call_once(l, rq, rp, &this_time);
        if ((ok && !registry_may_pass(rp)) || (!ok && !rp->broken)) {
            if (!ok && err) *err = this_time;
            return ok;
        }
        struct error wait = ERROR_INIT;
        if (!registry_wait(l->registry, &attempt, rp, &wait)) {
            if (err && (!ok || wait.code != ERR_NONE)) *err = wait.code != ERR_NONE ? wait : this_time;
            return ok && wait.code == ERR_NONE;
        }
        http_reply_free(rp);
    }
}

static bool has_credentials(const struct registry *r)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&r->lock;
    pthread_mutex_lock(lock);
    bool has = r->authorization != NULL;
    pthread_mutex_unlock(lock);
    return has;
}

bool registry_refused(const struct registry *r, const struct http_reply *rp, struct error *err, const char *fmt, ...)
{
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    const char *code = NULL, *message = NULL;
    CLEANUP(json) json_t *doc = NULL;
    if (rp->body.size && json_parse(buffer_view(&rp->body), JSON_DIALECT_STRICT, "answer", &doc, NULL)) {
        const json_t *first = json_array_get(json_object_get(doc, "errors"), 0);
        code = json_string_value(json_object_get(first, "code"));
        message = json_string_value(json_object_get(first, "message"));
    }
    const char *hint = rp->status == 401 && !has_credentials(r) ? "; no credentials for it are stored" : "";
    return error_set(err, ERR_NETWORK, "%s: the registry answers %ld%s%.64s%s%.256s%s%s", what, rp->status,
                     code ? " (" : "", code ? code : "", code && message ? ": " : "", code && message ? message : "",
                     code ? ")" : "", hint);
}
