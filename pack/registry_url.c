/* libcurl itself, and what it knows of addresses. */
#include "core/cleanup.h"
#include "pack/registry.h"
#include "pack/registry_curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <strings.h>

static struct {
    struct curl_functions f;
    bool ready;
    char problem[256];
} lib;
static pthread_once_t lib_once = PTHREAD_ONCE_INIT;

static bool find(void *handle, const char *name, void *place)
{
    void *f = dlsym(handle, name);
    memcpy(place, &f, sizeof f);
    if (!f) snprintf(lib.problem, sizeof lib.problem, "it has no function %s", name);
    return f != NULL;
}

static void load(void)
{
    /* Debian's two builds of one library: with OpenSSL, and with GnuTLS. */
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!handle) handle = dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *why = dlerror();
        snprintf(lib.problem, sizeof lib.problem, "%.200s", why ? why : "not found");
        return;
    }
    bool ok = true;
#define X(name) ok = ok && find(handle, #name, &lib.f.name##_fn);
    CURL_FUNCTIONS(X)
#undef X
    if (!ok) return;
    lib.ready = lib.f.curl_global_init_fn(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    if (!lib.ready) snprintf(lib.problem, sizeof lib.problem, "it does not start");
}

const struct curl_functions *curl_functions(struct error *err)
{
    pthread_once(&lib_once, load);
    if (lib.ready) return &lib.f;
    error_set(err, ERR_UNSUPPORTED, "registries need libcurl (libcurl.so.4): %s", lib.problem);
    return NULL;
}

/* ---- addresses -----------------------------------------------------------------------------------------------------
 */
static bool part_of(CURLU *u, CURLUPart part, char **out)
{
    return lib.f.curl_url_get_fn(u, part, out, CURLU_DEFAULT_PORT) == CURLUE_OK;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *x = NULL, *y = NULL;
    bool same = part_of(a, part, &x) && part_of(b, part, &y) && strcasecmp(x, y) == 0;
    lib.f.curl_free_fn(x);
    lib.f.curl_free_fn(y);
    return same;
}

bool http_same_origin(const char *a, const char *b)
{
    if (!curl_functions(NULL)) return false;
    CURLU *x = lib.f.curl_url_fn(), *y = lib.f.curl_url_fn();
    bool same = x && y && lib.f.curl_url_set_fn(x, CURLUPART_URL, a, 0) == CURLUE_OK &&
                lib.f.curl_url_set_fn(y, CURLUPART_URL, b, 0) == CURLUE_OK && same_part(x, y, CURLUPART_SCHEME) &&
                same_part(x, y, CURLUPART_HOST) && same_part(x, y, CURLUPART_PORT);
    lib.f.curl_url_cleanup_fn(x);
    lib.f.curl_url_cleanup_fn(y);
    return same;
}

bool http_url_join(const char *base, const char *target, char **out, struct error *err)
{
    *out = NULL;
    if (!curl_functions(err)) return false;
    CURLU *u = lib.f.curl_url_fn();
    char *whole = NULL;
    if (!u) return error_memory(err, 0);
    bool ok = lib.f.curl_url_set_fn(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
              lib.f.curl_url_set_fn(u, CURLUPART_URL, target, CURLU_DISALLOW_USER) == CURLUE_OK &&
              lib.f.curl_url_get_fn(u, CURLUPART_URL, &whole, 0) == CURLUE_OK;
    lib.f.curl_url_cleanup_fn(u);
    if (!ok || (strncasecmp(whole, "https://", 8) != 0 && strncasecmp(whole, "http://", 7) != 0))
        ok = error_set(err, ERR_NETWORK, "the registry sends us to '%.256s', which is not an address of a registry",
                       target);
    if (ok && !(*out = strdup(whole))) ok = error_memory(err, strlen(whole));
    lib.f.curl_free_fn(whole);
    return ok;
}

bool http_escape(const char *text, char **out, struct error *err)
{
    *out = NULL;
    if (!curl_functions(err)) return false;
    char *escaped = lib.f.curl_easy_escape_fn(NULL, text, 0);
    if (escaped) *out = strdup(escaped);
    lib.f.curl_free_fn(escaped);
    return *out ? true : error_memory(err, strlen(text));
}
