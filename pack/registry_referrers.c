/* What refers to a manifest: the referrers API of distribution-spec 1.1, and the tag that stands in for it. */
#include "pack/registry_header.h"
#include "pack/registry_manifest.h"

#include <time.h>

#define ROUNDS_MAX 20u
#define SETTLE_MS 400 /* longer than a registry takes from reading a small PUT to showing it */

static void fallback_tag(const struct digest *subject, char out[OCI_DIGEST_SIZE])
{
    oci_digest_text(subject, out);
    out[6] = '-';
}

struct list {
    struct registry_referrer *items;
    uint32_t n;
};

static bool add_page(struct list *list, struct bytes text, const char *what, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    json_t *manifests;
    if (!json_parse(text, JSON_DIALECT_STRICT, what, &doc, err) ||
        !json_get_array(doc, "manifests", what, &manifests, err))
        return false;
    size_t n = json_array_size(manifests);
    if (n > REGISTRY_REFERRERS_MAX - list->n)
        return error_set(err, ERR_FORMAT, "%s: lists more than %u manifests", what, REGISTRY_REFERRERS_MAX);
    struct registry_referrer *items = realloc(list->items, (list->n + n + 1) * sizeof *items);
    if (!items) return error_memory(err, n * sizeof *items);
    list->items = items;
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(manifests, i);
        const char *digest;
        struct registry_referrer *r = &items[list->n];
        if (!json_get_string(m, "digest", what, &digest, err) ||
            !json_get_u64(m, "size", what, 0, OCI_DOCUMENT_BYTES_MAX, &r->size, err))
            return false;
        if (!oci_digest_parse(digest, &r->digest))
            return error_set(err, ERR_FORMAT, "%s: \"%.128s\" is not \"sha256:\" and 64 lower-case hex digits", what,
                             digest);
        list->n++;
    }
    return true;
}

/* *known false: the registry has no such list of its own. */
static bool ask_api(struct registry_line *l, const struct digest *subject, struct list *list, bool *known,
                    struct error *err)
{
    char digest[OCI_DIGEST_SIZE], next[4096];
    CLEANUP(free) char *url = NULL;
    oci_digest_text(subject, digest);
    *known = false;
    if (!registry_url(l->registry, &url, err, "referrers/%s", digest)) return false;
    for (uint32_t page = 0; page < REGISTRY_PAGES_MAX; page++) {
        __attribute__((cleanup(cleanup_http_reply))) struct http_reply rp = {0};
        struct http_request rq = {.method = HTTP_GET,
                                  .url = url,
                                  .headers = {"Accept: " OCI_MEDIA_INDEX},
                                  .reply_max = OCI_DOCUMENT_BYTES_MAX};
        if (!registry_call(l, &rq, &rp, err)) return error_wrap(err, "referrers of %s", digest);
        /* 404, 400, 405, 501: what registries of before 1.1 answer; some send a page for people, with 200. */
        const char *type = rp.headers[HTTP_CONTENT_TYPE];
        bool is_index = rp.status == 200 && type && strncmp(type, OCI_MEDIA_INDEX, strlen(OCI_MEDIA_INDEX)) == 0;
        if (!is_index && page == 0 && rp.status != 401 && rp.status != 403 && rp.status != 429) return true;
        if (!is_index) return registry_refused(l->registry, &rp, err, "referrers of %s", digest);
        *known = true;
        if (!add_page(list, buffer_view(&rp.body), "referrers", err)) return false;
        if (!rp.headers[HTTP_LINK] || !link_next_parse(rp.headers[HTTP_LINK], next, sizeof next)) return true;
        char *joined;
        if (!http_url_join(url, next, &joined, err)) return false;
        free(url);
        url = joined;
    }
    return error_set(err, ERR_NETWORK, "referrers of %s: more than %u pages", digest, REGISTRY_PAGES_MAX);
}

bool registry_referrers(struct registry_line *l, const struct digest *subject, struct registry_referrer **out,
                        uint32_t *n, struct error *err)
{
    struct list list = {0};
    bool known, found = false;
    char tag[OCI_DIGEST_SIZE];
    struct registry_document d = {0};
    *out = NULL;
    *n = 0;
    bool ok = ask_api(l, subject, &list, &known, err);
    if (ok && !known) {
        fallback_tag(subject, tag);
        ok = registry_manifest_get(l, tag, NULL, &d, &found, err) &&
             (!found || add_page(&list, buffer_view(&d.text), tag, err));
        registry_document_free(&d);
    }
    if (!ok) {
        free(list.items);
        return false;
    }
    *out = list.items;
    *n = list.n;
    return true;
}

/* ---- the tag -------------------------------------------------------------------------------------------------------
 */
static bool lists(const json_t *manifests, const json_t *descriptor)
{
    const char *wanted = json_string_value(json_object_get(descriptor, "digest"));
    for (size_t i = 0; i < json_array_size(manifests); i++) {
        const char *digest = json_string_value(json_object_get(json_array_get(manifests, i), "digest"));
        if (digest && wanted && strcmp(digest, wanted) == 0) return true;
    }
    return false;
}

/* The index as it is, or a new one. What others wrote into it stays. */
static bool open_index(struct bytes old, const char *what, json_t **out, json_t **manifests, struct error *err)
{
    if (old.size == 0) {
        *out = json_pack("{s:i,s:s,s:[]}", "schemaVersion", 2, "mediaType", OCI_MEDIA_INDEX, "manifests");
        if (!*out) return error_memory(err, 0);
    } else if (!json_parse(old, JSON_DIALECT_STRICT, what, out, err)) return false;
    return json_get_array(*out, "manifests", what, manifests, err);
}

bool registry_fallback_merge(struct bytes old, const struct digest *subject, const struct fallback_entry *entries,
                             uint32_t n, char **out, size_t *out_size, uint32_t *missing, struct error *err)
{
    char tag[OCI_DIGEST_SIZE];
    CLEANUP(json) json_t *doc = NULL;
    json_t *manifests;
    fallback_tag(subject, tag);
    *missing = 0;
    *out = NULL;
    if (!open_index(old, tag, &doc, &manifests, err)) return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!digest_equal(&entries[i].subject, subject) || lists(manifests, entries[i].descriptor)) continue;
        if (json_array_append(manifests, entries[i].descriptor) != 0) return error_memory(err, 0);
        ++*missing;
    }
    if (json_array_size(manifests) > REGISTRY_REFERRERS_MAX)
        return error_set(err, ERR_FORMAT, "%s: would list more than %u manifests", tag, REGISTRY_REFERRERS_MAX);
    return json_canonical(doc, out, out_size, err);
}

/* One reading of a subject's index, and a writing when it lacks something. *missing: it did. */
static bool add_once(struct registry_line *l, const struct digest *subject, const struct fallback_entry *entries,
                     uint32_t n, uint32_t *missing, struct error *err)
{
    char tag[OCI_DIGEST_SIZE];
    __attribute__((cleanup(cleanup_registry_document))) struct registry_document d = {0};
    CLEANUP(free) char *text = NULL;
    size_t size = 0;
    bool found, conflict = false;
    fallback_tag(subject, tag);
    if (!registry_manifest_get(l, tag, NULL, &d, &found, err) ||
        !registry_fallback_merge(buffer_view(&d.text), subject, entries, n, &text, &size, missing, err))
        return false;
    if (*missing == 0) return true;
    struct manifest_put p = {
        .name = tag, .media_type = OCI_MEDIA_INDEX, .text = bytes_of(text, size), .etag = found ? d.etag : ""};
    /* Without an ETag there is nothing to match; a registry that knows no conditions ignores them. */
    bool conditional = !found || *d.etag;
    return registry_manifest_put(l, &p, NULL, conditional ? &conflict : NULL, err);
}

bool registry_fallback_add(struct registry_line *l, const struct fallback_entry *entries, uint32_t n, struct error *err)
{
    const struct progress *pr = registry_options(l->registry)->progress;
    for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
        uint32_t missing = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t lacks = 0;
            bool first = true; /* each subject once */
            for (uint32_t k = 0; k < i; k++) first = first && !digest_equal(&entries[k].subject, &entries[i].subject);
            if (first && !add_once(l, &entries[i].subject, entries, n, &lacks, err)) return false;
            missing += lacks;
        }
        if (missing == 0) return true; /* they had been there before, or still are after a wait */
        nanosleep(&(struct timespec){.tv_nsec = SETTLE_MS * 1000000L}, NULL);
        if (!progress_go_on(pr, err)) return false;
    }
    return error_set(err, ERR_NETWORK,
                     "the registry forgets entries of its list of referrers (they were written %u times)", ROUNDS_MAX);
}
