#include "pack/docker_auth.h"

#include "core/crypto.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <strings.h>

/* docker's own registry has this key in the files, whatever it is called on the command line. */
#define DOCKER_HUB_KEY "https://index.docker.io/v1/"

static void wipe(char **text)
{
    if (*text) explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void docker_auth_free(struct docker_auth *a)
{
    wipe(&a->user);
    wipe(&a->password);
    wipe(&a->identity_token);
    wipe(&a->registry_token);
}

static bool is_empty(const struct docker_auth *a)
{
    return !a->password && !a->identity_token && !a->registry_token;
}

static bool keep(char **out, const char *value, size_t n, struct error *err)
{
    if (n == 0) return true;
    *out = strndup(value, n);
    return *out ? true : error_memory(err, n);
}

/* Goes into a header or a form: no control bytes. */
static bool is_sendable(const char *s)
{
    for (; s && *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) return false;
    return true;
}

static bool check_sendable(const struct docker_auth *a, const char *what, struct error *err)
{
    if (is_sendable(a->user) && is_sendable(a->password) && is_sendable(a->identity_token) &&
        is_sendable(a->registry_token))
        return true;
    return error_set(err, ERR_FORMAT, "%s: the credentials hold a control character", what);
}

/* "auth": base64 of USER:PASSWORD. */
static bool read_pair(const char *text, const char *what, struct docker_auth *out, struct error *err)
{
    uint8_t *pair = NULL;
    size_t n = 0;
    struct error ignored = ERROR_INIT; /* its text could quote the secret */
    if (!base64_decode(text, DOCKER_SECRET_BYTES_MAX, &pair, &n, &ignored))
        return error_set(err, ERR_FORMAT, "%s: key 'auth' is not base64", what);
    const uint8_t *colon = memchr(pair, ':', n);
    bool ok = colon && !memchr(pair, 0, n);
    if (!ok) error_set(err, ERR_FORMAT, "%s: key 'auth' does not hold USER:PASSWORD", what);
    size_t user = ok ? (size_t)(colon - pair) : 0;
    ok = ok && keep(&out->user, (const char *)pair, user, err) &&
         keep(&out->password, (const char *)colon + 1, n - user - 1, err);
    explicit_bzero(pair, n);
    free(pair);
    return ok;
}

static bool read_entry(const json_t *entry, const char *what, struct docker_auth *out, struct error *err)
{
    const char *pair = "", *user = "", *password = "", *identity = "", *registry = "";
    if (!json_is_object(entry)) return error_set(err, ERR_FORMAT, "%s: expected an object", what);
    struct error ignored = ERROR_INIT; /* as above: what was found is not for a terminal */
    if (!json_opt_string(entry, "auth", what, &pair, &ignored) ||
        !json_opt_string(entry, "username", what, &user, &ignored) ||
        !json_opt_string(entry, "password", what, &password, &ignored) ||
        !json_opt_string(entry, "identitytoken", what, &identity, &ignored) ||
        !json_opt_string(entry, "registrytoken", what, &registry, &ignored))
        return error_set(err, ERR_FORMAT, "%s: a credential is not a string", what);
    if (*pair && !read_pair(pair, what, out, err)) return false;
    if (!*pair &&
        (!keep(&out->user, user, strlen(user), err) || !keep(&out->password, password, strlen(password), err)))
        return false;
    return keep(&out->identity_token, identity, strlen(identity), err) &&
           keep(&out->registry_token, registry, strlen(registry), err) && check_sendable(out, what, err);
}

/* "https://HOST/v1/" and "HOST/v2" are old spellings of "HOST". */
static size_t host_of_key(const char *key, const char **host)
{
    if (strncasecmp(key, "https://", 8) == 0) key += 8;
    else if (strncasecmp(key, "http://", 7) == 0) key += 7;
    *host = key;
    return strcspn(key, "/");
}

/* How well a key fits: bytes of it that count, 0 for not at all. HOST/PATH (podman) fits repositories below PATH. */
static size_t fit_of(const char *key, const char *host, const char *repository)
{
    const char *name;
    if (strcmp(host, "docker.io") == 0 && strcmp(key, DOCKER_HUB_KEY) == 0) return strlen(key);
    size_t n = host_of_key(key, &name);
    if (n != strlen(host) || strncasecmp(name, host, n) != 0) return 0;
    const char *path = name + n + (name[n] == '/');
    size_t p = strlen(path);
    while (p > 0 && path[p - 1] == '/') p--;
    if (p == 0 || (p == 2 && (memcmp(path, "v1", 2) == 0 || memcmp(path, "v2", 2) == 0))) return n;
    bool below = strncmp(path, repository, p) == 0 && (repository[p] == '/' || repository[p] == '\0');
    return below && name == key ? n + p : 0;
}

static const json_t *best_entry(const json_t *auths, const char *host, const char *repository)
{
    const json_t *best = NULL;
    size_t best_fit = 0;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)auths, key, value) {
        size_t fit = fit_of(key, host, repository);
        if (fit > best_fit) {
            best_fit = fit;
            best = value;
        }
    }
    return best;
}

/* The word is part of a program's name. */
static bool helper_name(const json_t *value, const char *what, char **out, struct error *err)
{
    const char *name = json_string_value(value);
    size_t n = name ? strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") : 0;
    if (!name || n == 0 || n > 64 || name[n])
        return error_set(err, ERR_FORMAT, "%s: expected the name of a credential helper, found %s", what,
                         json_brief(value));
    *out = strdup(name);
    return *out ? true : error_memory(err, n);
}

bool docker_config_parse(struct bytes text, const char *what, const char *host, const char *repository,
                         struct docker_auth *out, char **helper, struct error *err)
{
    *out = (struct docker_auth){0};
    *helper = NULL;
    CLEANUP(json) json_t *doc = NULL;
    const char *as_key = strcmp(host, "docker.io") == 0 ? DOCKER_HUB_KEY : host;
    if (!json_parse(text, JSON_DIALECT_STRICT, what, &doc, err)) return false;
    if (!json_is_object(doc)) return error_set(err, ERR_FORMAT, "%s: expected an object", what);
    const json_t *helpers = json_object_get(doc, "credHelpers"), *auths = json_object_get(doc, "auths"),
                 *store = json_object_get(doc, "credsStore");
    if ((helpers && !json_is_object(helpers)) || (auths && !json_is_object(auths)))
        return error_set(err, ERR_FORMAT, "%s: expected 'auths' and 'credHelpers' to be objects", what);
    const json_t *own = json_object_get(helpers, host);
    if (!own) own = json_object_get(helpers, as_key);
    if (own) return helper_name(own, what, helper, err);
    const json_t *entry = best_entry(auths, host, repository);
    if (entry && !read_entry(entry, what, out, err)) {
        docker_auth_free(out);
        return false;
    }
    if (!is_empty(out) || !store || (json_is_string(store) && !*json_string_value(store))) return true;
    docker_auth_free(out);
    return helper_name(store, what, helper, err);
}

static bool ask_file(const char *path, const char *host, const char *repository, struct docker_auth *out,
                     struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(free) char *helper = NULL;
    if (access(path, F_OK) != 0) return true;
    bool ok = file_load(AT_FDCWD, path, DOCKER_CONFIG_BYTES_MAX, &text, err) &&
              docker_config_parse(buffer_view(&text), path, host, repository, out, &helper, err);
    if (text.data) explicit_bzero(text.data, text.size);
    if (!ok || !helper) return ok;
    return docker_helper_ask(helper, strcmp(host, "docker.io") == 0 ? DOCKER_HUB_KEY : host, out, err);
}

static bool ask_below(const char *folder, const char *name, const char *host, const char *repository,
                      struct docker_auth *out, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    return path_join(&path, folder, name, err) && ask_file(path, host, repository, out, err);
}

bool docker_auth_find(const char *host, const char *repository, struct docker_auth *out, struct error *err)
{
    *out = (struct docker_auth){0};
    const char *only = getenv("REGISTRY_AUTH_FILE"), *run = getenv("XDG_RUNTIME_DIR"),
               *docker = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
    if (only && *only) return ask_file(only, host, repository, out, err);
    if (run && *run && !ask_below(run, "containers/auth.json", host, repository, out, err)) return false;
    if (!is_empty(out)) return true;
    if (docker && *docker) return ask_below(docker, "config.json", host, repository, out, err);
    return !home || !*home || ask_below(home, ".docker/config.json", host, repository, out, err);
}
