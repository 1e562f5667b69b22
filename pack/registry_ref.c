#include "pack/registry_ref.h"

#include <arpa/inet.h>
#include <ctype.h>

static size_t span_word(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789");
}

/* What may stand between two words of a component: ".", "_", "__" or dashes. */
static size_t span_separator(const char *s)
{
    if (*s == '.') return 1;
    if (*s == '_') return s[1] == '_' ? 2 : 1;
    return strspn(s, "-");
}

bool registry_repository_is_valid(const char *name)
{
    if (strlen(name) > REGISTRY_REPOSITORY_MAX) return false;
    for (const char *p = name;; p++) {
        size_t n;
        for (;; p += n) {
            n = span_word(p);
            if (n == 0) return false;
            p += n;
            n = span_separator(p);
            if (n == 0) break;
        }
        if (*p == '\0') return true;
        if (*p != '/') return false;
    }
}

/* The end of the host's name: where a port or nothing follows. NULL: no host. */
static const char *end_of_name(const char *host)
{
    if (*host == '[') {
        char address[64];
        unsigned char ignored[16];
        const char *close = strchr(host, ']');
        size_t n = close ? (size_t)(close - host - 1) : 0;
        if (!close || n == 0 || n >= sizeof address) return NULL;
        memcpy(address, host + 1, n);
        address[n] = '\0';
        return inet_pton(AF_INET6, address, ignored) == 1 ? close + 1 : NULL;
    }
    for (const char *p = host;; p++) {
        size_t n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-");
        if (n == 0 || n > 63 || p[0] == '-' || p[n - 1] == '-') return NULL;
        p += n;
        if (*p != '.') return p;
    }
}

bool registry_host_is_valid(const char *host)
{
    const char *p = strlen(host) <= REGISTRY_HOST_MAX ? end_of_name(host) : NULL;
    if (!p) return false;
    if (*p == '\0') return true;
    size_t n = strspn(p + 1, "0123456789");
    unsigned port = 0;
    if (*p != ':' || n == 0 || n > 5 || p[1 + n] != '\0') return false;
    for (size_t i = 0; i < n; i++) port = port * 10 + (unsigned)(p[1 + i] - '0');
    return port > 0 && port < 65536;
}

bool registry_host_is_loopback(const char *host)
{
    char name[REGISTRY_HOST_MAX + 1];
    unsigned char address[4];
    if (!registry_host_is_valid(host)) return false;
    size_t n = (size_t)(end_of_name(host) - host);
    memcpy(name, host, n);
    name[n] = '\0';
    return strcmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0 ||
           (inet_pton(AF_INET, name, address) == 1 && address[0] == 127);
}

static bool refuse(const char *text, const char *part, const char *what, struct error *err)
{
    return error_set(err, ERR_USAGE, "'%.256s': '%.128s' is not %s; expected HOST/REPOSITORY[:TAG][@sha256:HEX]", text,
                     part, what);
}

/* Cuts "@DIGEST" and ":TAG" off the copy. */
static bool cut_ends(char *name, const char *text, struct registry_ref *out, struct error *err)
{
    char *at = strchr(name, '@');
    if (at) {
        *at = '\0';
        if (!oci_digest_parse(at + 1, &out->digest))
            return refuse(text, at + 1, "\"sha256:\" and 64 lower-case hex digits", err);
        out->has_digest = true;
    }
    char *colon = strrchr(name, ':');
    if (!colon) return true;
    *colon = '\0';
    if (!oci_tag_is_valid(colon + 1)) return refuse(text, colon + 1, "a tag", err);
    snprintf(out->tag, sizeof out->tag, "%s", colon + 1);
    return true;
}

bool registry_ref_parse(const char *text, struct registry_ref *out, struct error *err)
{
    *out = (struct registry_ref){0};
    const char *slash = strchr(text, '/');
    CLEANUP(free) char *name = slash ? strdup(slash + 1) : NULL;
    if (slash && !name) return error_memory(err, strlen(text));
    if (!slash) return refuse(text, text, "an image in a registry", err);
    CLEANUP(free) char *host = strndup(text, (size_t)(slash - text));
    if (!host) return error_memory(err, strlen(text));
    /* A first part without dot and port is a repository for other programs, which add a registry of their own. */
    if (!registry_host_is_valid(host) || (!strpbrk(host, ".:") && strcmp(host, "localhost") != 0))
        return refuse(text, host, "the host of a registry", err);
    if (!cut_ends(name, text, out, err)) return false;
    if (!registry_repository_is_valid(name)) return refuse(text, name, "the name of a repository", err);
    snprintf(out->host, sizeof out->host, "%s", host);
    snprintf(out->repository, sizeof out->repository, "%s", name);
    return true;
}
