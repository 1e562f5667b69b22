/* One HTTP exchange with a registry: the door to libcurl, which is opened when it is first needed, so that every other
 * command starts without its forty libraries and works where it is not installed.
 *
 * A connection belongs to one thread and is kept open between exchanges. Nothing is followed and nothing is repeated
 * here: redirects, credentials and retries are pack/registry_call.c's. What holds for every exchange: certificates are
 * verified; plain HTTP reaches loopback addresses only, checked on the address that is dialled; no protocol but HTTP;
 * no compressed transfer; no header block over 64 KiB; a peer that sends or takes less than 1 KiB a second for
 * `stall_seconds` is given up. */
#ifndef PACK_REGISTRY_H
#define PACK_REGISTRY_H

#include "core/file.h"
#include "core/progress.h"

#define HTTP_HEADERS_MAX 8u
#define HTTP_CHALLENGES_MAX 4u
#define HTTP_STALL_SECONDS 60u

struct http_options {
    bool plain;                      /* http:// is allowed, to loopback */
    const char *ca_file;             /* PEM; NULL: the system's */
    const struct progress *progress; /* is asked whether to stop; may be NULL */
    void (*tick)(void *ctx);         /* called now and then while an exchange goes on; may be NULL */
    void *tick_ctx;
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE };

enum http_header {
    HTTP_LOCATION,
    HTTP_CONTENT_TYPE,
    HTTP_CONTENT_ENCODING,
    HTTP_CONTENT_RANGE,
    HTTP_RANGE,
    HTTP_LINK,
    HTTP_ETAG,
    HTTP_RETRY_AFTER,
    HTTP_DOCKER_CONTENT_DIGEST,
    HTTP_OCI_SUBJECT,
    HTTP_OCI_CHUNK_MIN_LENGTH,
    HTTP_HEADER_COUNT
};

struct http_reply {
    long status;                      /* 0: none came */
    char *headers[HTTP_HEADER_COUNT]; /* NULL: absent. Of one that came twice, the last */
    char *challenges[HTTP_CHALLENGES_MAX];
    uint32_t n_challenges;
    struct buffer body; /* what did not go to the sink */
    bool broken;        /* the exchange failed on the way, and may go well another time */
};

void http_reply_free(struct http_reply *r);

static inline void cleanup_http_reply(struct http_reply *r)
{
    http_reply_free(r);
}

/* Takes the body of a reply 200 or 206 piece by piece; false ends the exchange with its error. */
typedef bool (*http_sink_fn)(void *ctx, const struct http_reply *r, const void *data, size_t n, struct error *err);

struct http_request {
    enum http_method method;
    const char *url;
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value", NULL ends; none that holds a line break is sent */
    /* The body of POST, PUT and PATCH: a part of a file, or bytes; neither: empty. */
    int body_fd; /* used when body_size is not 0 and body.data is NULL */
    uint64_t body_offset, body_size;
    struct bytes body;
    _Atomic uint64_t *sent; /* counts what has gone out of a file, for progress; may be NULL */
    size_t reply_max;       /* bytes of a body that are kept; more is an error */
    http_sink_fn sink;
    void *sink_ctx;
    uint32_t stall_seconds; /* 0: HTTP_STALL_SECONDS */
};

struct http;
/* ERR_UNSUPPORTED when libcurl is not there or too old. */
MUST_CHECK bool http_open(struct http **out, const struct http_options *o, struct error *err);
void http_close(struct http *h); /* NULL is fine */
/* True when a whole reply came, whatever its status. *reply is filled as far as it came, and to be freed always. */
MUST_CHECK bool http_exchange(struct http *h, const struct http_request *rq, struct http_reply *reply,
                              struct error *err);

/* Whether both have the same scheme, host and port: who may see the same credentials. */
bool http_same_origin(const char *a, const char *b);
/* `target` as seen from `base`; http or https only. *out: caller frees. */
MUST_CHECK bool http_url_join(const char *base, const char *target, char **out, struct error *err);
/* Percent-encoded for a query. *out: caller frees. */
MUST_CHECK bool http_escape(const char *text, char **out, struct error *err);

#endif
