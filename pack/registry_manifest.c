#include "pack/registry_manifest.h"

#include <ctype.h>

#define ACCEPT                                                                                                         \
    "Accept: " OCI_MEDIA_INDEX ", " OCI_MEDIA_MANIFEST ", application/vnd.docker.distribution.manifest.list.v2+json, " \
    "application/vnd.docker.distribution.manifest.v2+json"

void registry_document_free(struct registry_document *d)
{
    buffer_free(&d->text);
    *d = (struct registry_document){0};
}

/* The type without its parameters. */
static void keep_type(char out[256], const char *value)
{
    size_t n = value ? strcspn(value, "; \t") : 0;
    snprintf(out, 256, "%.*s", (int)(n < 255 ? n : 0), value ? value : "");
}

static bool check_digest(const struct registry_document *d, const char *name, const struct digest *wanted,
                         const char *told, struct error *err)
{
    char found[OCI_DIGEST_SIZE];
    struct digest header;
    oci_digest_text(&d->digest, found);
    if (wanted && !digest_equal(&d->digest, wanted))
        return error_class(err, "digest", "manifest %.128s: what the registry sends has the digest %s", name, found);
    /* Of another algorithm, or not a digest: then it says nothing about this one. */
    if (told && oci_digest_parse(told, &header) && !digest_equal(&header, &d->digest))
        return error_class(err, "digest", "manifest %.128s: the registry calls it %.80s, and it has the digest %s",
                           name, told, found);
    return true;
}

bool registry_manifest_get(struct registry_line *l, const char *name, const struct digest *wanted,
                           struct registry_document *out, bool *found, struct error *err)
{
    CLEANUP(free) char *url = NULL;
    __attribute__((cleanup(cleanup_http_reply))) struct http_reply rp = {0};
    *out = (struct registry_document){0};
    *found = false;
    if (!registry_url(l->registry, &url, err, "manifests/%s", name)) return false;
    struct http_request rq = {.method = HTTP_GET, .url = url, .headers = {ACCEPT}, .reply_max = OCI_DOCUMENT_BYTES_MAX};
    if (!registry_call(l, &rq, &rp, err)) return error_wrap(err, "manifest %.128s", name);
    if (rp.status == 404) return true;
    if (rp.status != 200) return registry_refused(l->registry, &rp, err, "manifest %.128s", name);
    struct registry_document d = {.text = rp.body};
    rp.body = (struct buffer){0};
    keep_type(d.media_type, rp.headers[HTTP_CONTENT_TYPE]);
    const char *etag = rp.headers[HTTP_ETAG];
    if (etag && strlen(etag) < sizeof d.etag) snprintf(d.etag, sizeof d.etag, "%s", etag);
    bool ok = sha256_of(buffer_view(&d.text), &d.digest, err) &&
              check_digest(&d, name, wanted, rp.headers[HTTP_DOCKER_CONTENT_DIGEST], err);
    if (!ok) {
        registry_document_free(&d);
        return false;
    }
    *out = d;
    *found = true;
    return true;
}

bool registry_manifest_has(struct registry_line *l, const struct digest *d, bool *has, struct error *err)
{
    CLEANUP(free) char *url = NULL;
    __attribute__((cleanup(cleanup_http_reply))) struct http_reply rp = {0};
    char name[OCI_DIGEST_SIZE];
    oci_digest_text(d, name);
    if (!registry_url(l->registry, &url, err, "manifests/%s", name)) return false;
    struct http_request rq = {.method = HTTP_HEAD, .url = url, .headers = {ACCEPT}, .reply_max = REGISTRY_ANSWER_MAX};
    if (!registry_call(l, &rq, &rp, err)) return error_wrap(err, "manifest %s", name);
    *has = rp.status == 200;
    return *has || rp.status == 404 ? true : registry_refused(l->registry, &rp, err, "manifest %s", name);
}

/* docker-registry on a file system reads links while another client writes them, and then takes what is there for
 * wrong or missing. We have the digest of the text, and everything that it names has been sent: it is asked again. */
static bool is_confused(const struct http_reply *rp)
{
    return rp->status == 400 && rp->body.data &&
           (strstr((const char *)rp->body.data, "\"DIGEST_INVALID\"") ||
            strstr((const char *)rp->body.data, "\"MANIFEST_BLOB_UNKNOWN\""));
}

bool registry_manifest_put(struct registry_line *l, const struct manifest_put *p, bool *lists_subject, bool *conflict,
                           struct error *err)
{
    CLEANUP(free) char *url = NULL;
    __attribute__((cleanup(cleanup_http_reply))) struct http_reply rp = {0};
    char type[300], condition[200];
    struct error wait = ERROR_INIT;
    if (!registry_url(l->registry, &url, err, "manifests/%s", p->name)) return false;
    snprintf(type, sizeof type, "Content-Type: %.256s", p->media_type);
    bool is_new = conflict && !*p->etag;
    snprintf(condition, sizeof condition, is_new ? "If-None-Match: *" : "If-Match: %.128s", conflict ? p->etag : "");
    struct http_request rq = {.method = HTTP_PUT,
                              .url = url,
                              .headers = {type, conflict ? condition : NULL},
                              .body = p->text,
                              .reply_max = REGISTRY_ANSWER_MAX};
    for (uint32_t attempt = 0;;) {
        if (!registry_call(l, &rq, &rp, err)) return error_wrap(err, "manifest %.128s", p->name);
        if (!is_confused(&rp) || !registry_wait(l->registry, &attempt, &rp, &wait)) break;
        http_reply_free(&rp);
    }
    if (wait.code != ERR_NONE) {
        if (err) *err = wait;
        return false;
    }
    if (conflict) *conflict = rp.status == 412 || rp.status == 409;
    if (lists_subject) *lists_subject = rp.headers[HTTP_OCI_SUBJECT] != NULL;
    if (rp.status / 100 == 2 || (conflict && *conflict)) return true;
    return registry_refused(l->registry, &rp, err, "manifest %.128s", p->name);
}
