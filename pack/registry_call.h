/* A repository of a registry, as several threads use it at once: its address, who we are to it, and patience.
 *
 * Credentials are asked of docker's files only when the registry asks for them, and go to the registry's own scheme,
 * host and port, or, of a Bearer challenge, to the realm that it names; never along a redirect. What fails in passing
 * (429, 5xx, a broken connection) is tried again a fixed number of times, after 0.25 s, 0.5 s, 1 s ... or what
 * Retry-After says. All failures of registry and network are ERR_NETWORK. */
#ifndef PACK_REGISTRY_CALL_H
#define PACK_REGISTRY_CALL_H

#include "pack/registry.h"
#include "pack/registry_ref.h"

#define REGISTRY_RETRIES_DEFAULT 5u
#define REGISTRY_ANSWER_MAX ((size_t)64 << 10) /* bytes of an answer that is not a document: errors, tokens */
#define REGISTRY_MOUNTS_MAX 16u

struct registry_options {
    const struct registry_ref *ref;
    /* A server that is no registry, reached with the same patience and care: then there is no ref, registry_url appends
     * to this, "https://HOST/...", and `authorization` ("Bearer ...", or NULL) is sent to its origin from the start. */
    const char *site, *authorization;
    bool plain_http; /* ERR_USAGE unless the host is a loopback address */
    bool push;       /* access that is asked for: pull, or pull and push */
    const char *ca_file;
    uint32_t retries;
    const char *const *mount_from; /* repositories of the same registry; what is asked for is pull */
    uint32_t n_mount_from;
    const struct progress *progress;
};

struct registry;
MUST_CHECK bool registry_open(struct registry **out, const struct registry_options *o, struct error *err);
void registry_close(struct registry *r); /* NULL is fine */
const struct registry_options *registry_options(const struct registry *r);
/* "SCHEME://HOST/v2/REPOSITORY/" (of a site, itself and "/") and the rest. *out: caller frees. */
MUST_CHECK bool registry_url(const struct registry *r, char **out, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* One thread's connection. */
struct registry_line {
    struct registry *registry;
    struct http *http;
};
/* `tick` as in http_options. */
MUST_CHECK bool registry_line_open(struct registry_line *l, struct registry *r, void (*tick)(void *ctx), void *tick_ctx,
                                   struct error *err);
void registry_line_close(struct registry_line *l);

/* One exchange, with credentials and (GET and HEAD) up to five redirects. No second try after a failure. */
MUST_CHECK bool registry_call_once(struct registry_line *l, const struct http_request *rq, struct http_reply *rp,
                                   struct error *err);
/* The same with patience; only for what may be repeated whole. A status that stays bad is the caller's to judge. */
MUST_CHECK bool registry_call(struct registry_line *l, const struct http_request *rq, struct http_reply *rp,
                              struct error *err);

/* Whether the failure that `rp` shows may pass. */
bool registry_may_pass(const struct http_reply *rp);
/* Waits before try number *attempt + 1, and counts it. False: no tries are left (err is as it was), or it was
 * cancelled, or the registry asks for more than two minutes (err says so). */
MUST_CHECK bool registry_wait(const struct registry *r, uint32_t *attempt, const struct http_reply *rp,
                              struct error *err);
/* ERR_NETWORK: "what: the registry answers 403 (DENIED: its words)". Returns false. */
bool registry_refused(const struct registry *r, const struct http_reply *rp, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* ---- pack/registry_token.c -----------------------------------------------------------------------------------------
 */
struct docker_auth;
/* What to send, for the challenges of a reply 401. *out: "Bearer ..." or "Basic ...", caller frees; NULL: nothing that
 * we have fits. `scopes`: "repository:NAME:pull", NULL-terminated. */
MUST_CHECK bool registry_answer(struct http *http, const struct http_reply *rp, const struct docker_auth *auth,
                                const char *const *scopes, char **out, struct error *err);

#endif
