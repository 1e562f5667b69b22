/* libcurl's functions, found when they are first needed. Private to pack/registry.c and pack/registry_url.c. */
#ifndef PACK_REGISTRY_CURL_H
#define PACK_REGISTRY_CURL_H

#include "core/error.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#define CURL_FUNCTIONS(X)                                                                                              \
    X(curl_global_init)                                                                                                \
    X(curl_easy_init)                                                                                                  \
    X(curl_easy_cleanup)                                                                                               \
    X(curl_easy_reset)                                                                                                 \
    X(curl_easy_setopt)                                                                                                \
    X(curl_easy_perform)                                                                                               \
    X(curl_easy_getinfo)                                                                                               \
    X(curl_easy_strerror)                                                                                              \
    X(curl_easy_escape)                                                                                                \
    X(curl_free)                                                                                                       \
    X(curl_slist_append)                                                                                               \
    X(curl_slist_free_all)                                                                                             \
    X(curl_url)                                                                                                        \
    X(curl_url_cleanup)                                                                                                \
    X(curl_url_set)                                                                                                    \
    X(curl_url_get)

struct curl_functions {
#define X(name) __typeof__(name) *name##_fn;
    CURL_FUNCTIONS(X)
#undef X
};

/* NULL with ERR_UNSUPPORTED when libcurl is not there or too old. */
const struct curl_functions *curl_functions(struct error *err);

#endif
