#include "pack/registry.h"

#include "core/cleanup.h"
#include "pack/registry_curl.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/socket.h>

#define HEADER_BYTES_MAX ((size_t)64 << 10)
#define CONNECT_SECONDS 30L
#define RECEIVE_BUFFER_BYTES (256L << 10)
#define SEND_BUFFER_BYTES (1L << 20)
#define LOW_SPEED_BYTES 1024L

/* ---- one connection ------------------------------------------------------------------------------------------------
 */
struct http {
    const struct curl_functions *curl;
    CURL *easy;
    struct http_options options;
    /* Of the exchange at hand. */
    const struct http_request *rq;
    struct http_reply *reply;
    struct error *err; /* set by a callback that ended the exchange */
    uint64_t body_at;  /* bytes of the request's body that are out */
    size_t header_bytes, body_capacity;
    bool refused_address;
};

bool http_open(struct http **out, const struct http_options *o, struct error *err)
{
    *out = NULL;
    const struct curl_functions *curl = curl_functions(err);
    struct http *h = curl ? calloc(1, sizeof *h) : NULL;
    if (!curl) return false;
    if (!h) return error_memory(err, sizeof *h);
    h->curl = curl;
    h->options = *o;
    h->easy = h->curl->curl_easy_init_fn();
    if (!h->easy) {
        free(h);
        return error_memory(err, 0);
    }
    *out = h;
    return true;
}

void http_close(struct http *h)
{
    if (!h) return;
    h->curl->curl_easy_cleanup_fn(h->easy);
    free(h);
}

void http_reply_free(struct http_reply *r)
{
    for (size_t i = 0; i < HTTP_HEADER_COUNT; i++) free(r->headers[i]);
    for (size_t i = 0; i < HTTP_CHALLENGES_MAX; i++) free(r->challenges[i]);
    buffer_free(&r->body);
    *r = (struct http_reply){0};
}

/* ---- callbacks: 0 or a wrong size ends the exchange ---------------------------------------------------------------
 */
static size_t on_send(char *dst, size_t size, size_t n, void *ctx)
{
    struct http *h = ctx;
    const struct http_request *rq = h->rq;
    uint64_t total = rq->body.data ? rq->body.size : rq->body_size, left = total - h->body_at;
    size_t want = left < size * n ? (size_t)left : size * n;
    if (want == 0) return 0;
    if (rq->body.data) memcpy(dst, rq->body.data + h->body_at, want);
    else if (!file_read_at(rq->body_fd, "blob", rq->body_offset + h->body_at, dst, want, h->err))
        return CURL_READFUNC_ABORT;
    h->body_at += want;
    if (rq->sent) atomic_fetch_add_explicit(rq->sent, want, memory_order_relaxed);
    return want;
}

/* libcurl sends a request anew on a fresh connection when a kept one turns out to be dead. Of a piece of a blob the
 * registry may by then hold a part, and would append the rest to it twice: who sends pieces asks first. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct http *h = ctx;
    if (origin != SEEK_SET || offset != 0 || (!h->rq->body.data && h->body_at > 0)) return CURL_SEEKFUNC_FAIL;
    h->body_at = 0;
    return CURL_SEEKFUNC_OK;
}

static bool keep_body(struct http *h, const void *data, size_t n)
{
    struct buffer *b = &h->reply->body;
    if (n > h->rq->reply_max - b->size)
        return error_set(h->err, ERR_NETWORK, "the registry's answer has more than %zu bytes", h->rq->reply_max);
    if (b->size + n + 1 > h->body_capacity) {
        size_t capacity = 2 * (b->size + n) + 1024;
        uint8_t *p = realloc(b->data, capacity);
        if (!p) return error_memory(h->err, capacity);
        b->data = p;
        h->body_capacity = capacity;
    }
    memcpy(b->data + b->size, data, n);
    b->size += n;
    b->data[b->size] = 0;
    return true;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct http *h = ctx;
    size_t bytes = size * n;
    long status = h->reply->status;
    bool ok;
    if (h->rq->sink && (status == 200 || status == 206))
        ok = h->rq->sink(h->rq->sink_ctx, h->reply, data, bytes, h->err);
    else ok = keep_body(h, data, bytes);
    return ok ? bytes : (bytes ? 0 : 1);
}

static const char *const header_names[HTTP_HEADER_COUNT] = {
    [HTTP_LOCATION] = "location",
    [HTTP_CONTENT_TYPE] = "content-type",
    [HTTP_CONTENT_ENCODING] = "content-encoding",
    [HTTP_CONTENT_RANGE] = "content-range",
    [HTTP_RANGE] = "range",
    [HTTP_LINK] = "link",
    [HTTP_ETAG] = "etag",
    [HTTP_RETRY_AFTER] = "retry-after",
    [HTTP_DOCKER_CONTENT_DIGEST] = "docker-content-digest",
    [HTTP_OCI_SUBJECT] = "oci-subject",
    [HTTP_OCI_CHUNK_MIN_LENGTH] = "oci-chunk-min-length",
};

/* A new status line begins a new reply (after a 1xx, or a proxy's own). */
static void begin_reply(struct http *h, const char *line, size_t n)
{
    struct http_reply *r = h->reply;
    const char *space = memchr(line, ' ', n);
    long status = 0;
    for (size_t i = 0; space && i < 3 && isdigit((unsigned char)space[1 + i]); i++)
        status = status * 10 + (space[1 + i] - '0');
    http_reply_free(r);
    r->status = status;
    h->body_capacity = 0;
}

static bool keep_header(struct http *h, const char *name, size_t name_size, const char *value, size_t n)
{
    struct http_reply *r = h->reply;
    char **place = NULL;
    if (name_size == 16 && strncasecmp(name, "www-authenticate", 16) == 0) {
        if (r->n_challenges == HTTP_CHALLENGES_MAX) return true;
        place = &r->challenges[r->n_challenges++];
    }
    for (size_t i = 0; !place && i < HTTP_HEADER_COUNT; i++)
        if (strlen(header_names[i]) == name_size && strncasecmp(name, header_names[i], name_size) == 0)
            place = &r->headers[i];
    if (!place) return true;
    free(*place);
    *place = strndup(value, n);
    return *place ? true : error_memory(h->err, n);
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
    struct http *h = ctx;
    size_t bytes = size * n, end = bytes;
    h->header_bytes += bytes;
    if (h->header_bytes > HEADER_BYTES_MAX) {
        error_set(h->err, ERR_NETWORK, "the registry's headers have more than %zu bytes", HEADER_BYTES_MAX);
        return 0;
    }
    if (bytes > 5 && strncasecmp(line, "HTTP/", 5) == 0) {
        begin_reply(h, line, bytes);
        return bytes;
    }
    const char *colon = memchr(line, ':', bytes);
    if (!colon) return bytes;
    size_t from = (size_t)(colon - line) + 1;
    while (end > from && strchr(" \t\r\n", line[end - 1])) end--;
    while (from < end && (line[from] == ' ' || line[from] == '\t')) from++;
    return keep_header(h, line, (size_t)(colon - line), line + from, end - from) ? bytes : 0;
}

static int on_progress(void *ctx, curl_off_t dt, curl_off_t d, curl_off_t ut, curl_off_t u)
{
    struct http *h = ctx;
    (void)dt, (void)d, (void)ut, (void)u;
    if (h->options.tick) h->options.tick(h->options.tick_ctx);
    return progress_go_on(h->options.progress, h->err) ? 0 : 1;
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    struct sockaddr_in6 v6;
    if (a->sa_family != AF_INET6) return false;
    memcpy(&v6, a, sizeof v6);
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct http *h = ctx;
    (void)purpose;
    if (strncasecmp(h->rq->url, "https:", 6) != 0 && !is_loopback(&a->addr)) {
        h->refused_address = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- the exchange --------------------------------------------------------------------------------------------------
 */
#define SET(option, value) (h->curl->curl_easy_setopt_fn(h->easy, option, value) == CURLE_OK)

static bool set_limits(struct http *h, bool https)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    bool ok = SET(CURLOPT_PROTOCOLS_STR, https ? "https" : "http");
#else
    bool ok = SET(CURLOPT_PROTOCOLS, https ? (long)CURLPROTO_HTTPS : (long)CURLPROTO_HTTP);
#endif
    uint32_t stall = h->rq->stall_seconds ? h->rq->stall_seconds : HTTP_STALL_SECONDS;
    return ok && SET(CURLOPT_NOSIGNAL, 1L) && SET(CURLOPT_FOLLOWLOCATION, 0L) &&
           SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) && SET(CURLOPT_SSL_VERIFYPEER, 1L) &&
           SET(CURLOPT_SSL_VERIFYHOST, 2L) && SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           SET(CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS) && SET(CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES) &&
           SET(CURLOPT_LOW_SPEED_TIME, (long)stall) && SET(CURLOPT_BUFFERSIZE, RECEIVE_BUFFER_BYTES) &&
           /* Instead of the system's, which libcurl also has a folder of. */
           (!h->options.ca_file || (SET(CURLOPT_CAINFO, h->options.ca_file) && SET(CURLOPT_CAPATH, NULL))) &&
           (https || SET(CURLOPT_PROXY, "")) && /* a loopback address is not another machine's to reach */
           SET(CURLOPT_USERAGENT, "ingot");
}

static bool set_callbacks(struct http *h)
{
    return SET(CURLOPT_WRITEFUNCTION, on_body) && SET(CURLOPT_WRITEDATA, h) && SET(CURLOPT_HEADERFUNCTION, on_header) &&
           SET(CURLOPT_HEADERDATA, h) && SET(CURLOPT_NOPROGRESS, 0L) && SET(CURLOPT_XFERINFOFUNCTION, on_progress) &&
           SET(CURLOPT_XFERINFODATA, h) && SET(CURLOPT_OPENSOCKETFUNCTION, on_socket) && SET(CURLOPT_OPENSOCKETDATA, h);
}

static bool set_method(struct http *h)
{
    static const char *const words[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    const struct http_request *rq = h->rq;
    uint64_t size = rq->body.data ? rq->body.size : rq->body_size;
    if (rq->method == HTTP_GET) return SET(CURLOPT_HTTPGET, 1L);
    if (rq->method == HTTP_HEAD) return SET(CURLOPT_NOBODY, 1L);
    if (rq->method == HTTP_DELETE) return SET(CURLOPT_HTTPGET, 1L) && SET(CURLOPT_CUSTOMREQUEST, words[rq->method]);
    return SET(CURLOPT_UPLOAD, 1L) && SET(CURLOPT_CUSTOMREQUEST, words[rq->method]) &&
           SET(CURLOPT_READFUNCTION, on_send) && SET(CURLOPT_READDATA, h) && SET(CURLOPT_SEEKFUNCTION, on_seek) &&
           SET(CURLOPT_SEEKDATA, h) && SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)size) &&
           (size < (uint64_t)SEND_BUFFER_BYTES || SET(CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER_BYTES));
}

static bool add_line(const struct http *h, struct curl_slist **list, const char *line)
{
    if (strpbrk(line, "\r\n")) return false;
    struct curl_slist *longer = h->curl->curl_slist_append_fn(*list, line);
    if (longer) *list = longer;
    return longer != NULL;
}

static bool set_headers(struct http *h, struct curl_slist **list)
{
    /* No waiting for "100 Continue": whether we are let in is known from the first request, which has no body. */
    bool ok = add_line(h, list, "Expect:");
    for (size_t i = 0; ok && i < HTTP_HEADERS_MAX && h->rq->headers[i]; i++) ok = add_line(h, list, h->rq->headers[i]);
    return ok && SET(CURLOPT_HTTPHEADER, *list);
}

/* What will fail the same way again is not worth another try. */
static bool is_passing(CURLcode rc)
{
    switch (rc) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_OUT_OF_MEMORY: return false;
    default: return true;
    }
}

static bool explain(struct http *h, CURLcode rc, const char *detail, struct error *err)
{
    char host[256] = "";
    const char *begin = strstr(h->rq->url, "://");
    if (begin) snprintf(host, sizeof host, "%.*s", (int)strcspn(begin + 3, "/?#"), begin + 3);
    if (h->refused_address) return error_set(err, ERR_NETWORK, "%s: plain HTTP goes to loopback addresses only", host);
    if (rc == CURLE_OUT_OF_MEMORY) return error_memory(err, 0);
    h->reply->broken = is_passing(rc);
    return error_set(err, ERR_NETWORK, "%s: %s", host, *detail ? detail : h->curl->curl_easy_strerror_fn(rc));
}

bool http_exchange(struct http *h, const struct http_request *rq, struct http_reply *reply, struct error *err)
{
    *reply = (struct http_reply){0};
    struct error own = ERROR_INIT;
    struct curl_slist *list = NULL;
    char detail[CURL_ERROR_SIZE] = "";
    bool https = strncasecmp(rq->url, "https://", 8) == 0;
    if (!https && (!h->options.plain || strncasecmp(rq->url, "http://", 7) != 0))
        return error_set(err, ERR_NETWORK, "the registry sends us to '%.256s', which is not https", rq->url);
    h->rq = rq;
    h->reply = reply;
    h->err = &own;
    h->body_at = 0;
    h->header_bytes = h->body_capacity = 0;
    h->refused_address = false;
    h->curl->curl_easy_reset_fn(h->easy);
    bool set = SET(CURLOPT_URL, rq->url) && SET(CURLOPT_ERRORBUFFER, detail) && set_limits(h, https) &&
               set_callbacks(h) && set_method(h) && set_headers(h, &list);
    CURLcode rc = set ? h->curl->curl_easy_perform_fn(h->easy) : CURLE_FAILED_INIT;
    h->curl->curl_easy_reset_fn(h->easy); /* forgets the list and the text, which end here; the connection stays */
    h->curl->curl_slist_free_all_fn(list);
    if (!set) return error_set(err, ERR_UNSUPPORTED, "the installed libcurl is too old, or a header is not sendable");
    if (own.code != ERR_NONE) {
        if (err) *err = own;
        return false;
    }
    /* Who refuses a body need not take all of it: the answer counts, not the pipe that broke behind it. */
    bool answered = (rc == CURLE_SEND_ERROR || rc == CURLE_RECV_ERROR) && reply->status >= 400;
    return rc == CURLE_OK || answered ? true : explain(h, rc, detail, err);
}
