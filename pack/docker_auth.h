/* Whom a registry is to believe us to be: the files and helper programs that `docker login`, `podman login` and
 * `skopeo login` leave behind. Read only; nothing is asked from a person, nothing is stored, nothing is printed.
 *
 * Files, the first one that has something for the registry counts: $REGISTRY_AUTH_FILE alone when it is set; else
 * $XDG_RUNTIME_DIR/containers/auth.json, $DOCKER_CONFIG/config.json or ~/.docker/config.json. In a file, a helper for
 * this registry (credHelpers) comes before its own entry (auths), that before the helper for all (credsStore): the
 * order of containers-auth.json(5) and of docker itself. */
#ifndef PACK_DOCKER_AUTH_H
#define PACK_DOCKER_AUTH_H

#include "core/json.h"

#define DOCKER_CONFIG_BYTES_MAX ((size_t)1 << 20)
#define DOCKER_SECRET_BYTES_MAX ((size_t)64 << 10) /* of a helper's answer; cloud tokens have some KiB */
#define DOCKER_HELPER_SECONDS 30                   /* a helper that asks a person who is not there */

struct docker_auth {
    char *user, *password; /* NULL: none are known */
    char *identity_token;  /* is exchanged for an access token; NULL: none */
    char *registry_token;  /* is sent as it is; NULL: none */
};

void docker_auth_free(struct docker_auth *a); /* wipes */

/* What the files say for HOST[:PORT]/REPOSITORY; all NULL when they say nothing, which is no error. */
MUST_CHECK bool docker_auth_find(const char *host, const char *repository, struct docker_auth *out, struct error *err);

/* ---- parts, for tests ----------------------------------------------------------------------------------------------
 */
/* One file's text. *helper (caller frees): the helper program to ask instead, or NULL. */
MUST_CHECK bool docker_config_parse(struct bytes text, const char *what, const char *host, const char *repository,
                                    struct docker_auth *out, char **helper, struct error *err);
/* A helper's answer to "get": {"Username", "Secret"}. */
MUST_CHECK bool docker_answer_parse(struct bytes text, const char *what, struct docker_auth *out, struct error *err);
/* Runs docker-credential-NAME get. It has no credentials: fine, *out stays empty. */
MUST_CHECK bool docker_helper_ask(const char *name, const char *server, struct docker_auth *out, struct error *err);

#endif
