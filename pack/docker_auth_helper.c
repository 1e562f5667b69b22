/* Credential helpers: docker-credential-NAME get, the server's name on its standard input, JSON on its standard output.
 * What it prints is bounded in size and in time, and is never part of a message. */
#include "core/file.h"
#include "pack/docker_auth.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

bool docker_answer_parse(struct bytes text, const char *what, struct docker_auth *out, struct error *err)
{
    *out = (struct docker_auth){0};
    CLEANUP(json) json_t *doc = NULL;
    struct error ignored = ERROR_INIT; /* could quote the secret */
    const char *user, *secret;
    if (!json_parse(text, JSON_DIALECT_STRICT, what, &doc, &ignored) ||
        !json_get_string(doc, "Username", what, &user, &ignored) ||
        !json_get_string(doc, "Secret", what, &secret, &ignored))
        return error_set(err, ERR_FORMAT, "%s: expected {\"Username\": ..., \"Secret\": ...}", what);
    for (const char *s = user; s; s = s == user ? secret : NULL)
        for (const char *p = s; *p; p++)
            if ((unsigned char)*p < 0x20 || *p == 0x7f)
                return error_set(err, ERR_FORMAT, "%s: the credentials hold a control character", what);
    bool is_token = strcmp(user, "<token>") == 0; /* docker's word for it */
    char **place = is_token ? &out->identity_token : &out->password;
    *place = strdup(secret);
    out->user = is_token ? NULL : strdup(user);
    if (*place && (is_token || out->user)) return true;
    docker_auth_free(out);
    return error_memory(err, strlen(secret));
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until the end of what it prints; false: too much, too late, or it cannot be read. */
static bool read_all(int fd, const char *what, char *out, size_t max, size_t *size, struct error *err)
{
    int64_t until = now_ms() + DOCKER_HELPER_SECONDS * 1000;
    for (*size = 0;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = until - now_ms();
        int rc = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (rc < 0 && errno == EINTR) continue;
        if (rc == 0)
            return error_set(err, ERR_NETWORK, "%s gives no answer within %d seconds", what, DOCKER_HELPER_SECONDS);
        ssize_t n = rc > 0 ? read(fd, out + *size, max - *size) : -1;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, "cannot read from %s", what);
        if (n == 0) return true;
        *size += (size_t)n;
        if (*size == max) return error_set(err, ERR_FORMAT, "%s answers with more than %zu bytes", what, max);
    }
}

static bool start(const char *program, int in, int out, pid_t *child, struct error *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    char word[] = "get";
    char *argv[] = {(char *)(uintptr_t)program, word, NULL};
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    if (posix_spawn_file_actions_init(&files) != 0) return error_memory(err, sizeof files);
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return error_memory(err, sizeof attr);
    }
    int rc = posix_spawn_file_actions_adddup2(&files, in, 0);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(&files, out, 1);
    if (rc == 0) rc = posix_spawnattr_setsigdefault(&attr, &defaults);
    if (rc == 0) rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    if (rc == 0) rc = posix_spawnp(child, program, &files, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    errno = rc;
    return rc == 0 ? true : error_set_errno(err, "cannot run the credential helper '%.128s'", program);
}

/* Its end is waited for only when it has said all it has to say; else it is ended. */
static bool finish(pid_t child, bool kill_it, bool *succeeded)
{
    int status;
    if (kill_it) kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return false;
    *succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return true;
}

/* Both ends close on exec: the child has its copies as 0 and 1. */
static bool make_pipe(int ends[2], struct error *err)
{
    return pipe2(ends, O_CLOEXEC) == 0 ? true : error_set_errno(err, "cannot make a pipe");
}

static bool talk(const char *program, const char *server, char *answer, size_t *n, bool *succeeded, struct error *err)
{
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    pid_t child = -1;
    if (!make_pipe(to, err)) return false;
    bool ok = make_pipe(from, err) && start(program, to[0], from[1], &child, err);
    close(to[0]);
    if (from[1] >= 0) close(from[1]);
    /* Shorter than a pipe holds, so it cannot block; a helper that does not read it is its own business. */
    if (ok && write(to[1], server, strlen(server)) < 0 && errno != EPIPE)
        ok = error_set_errno(err, "cannot write to '%.128s'", program);
    close(to[1]);
    if (ok) ok = read_all(from[0], program, answer, DOCKER_SECRET_BYTES_MAX, n, err);
    if (from[0] >= 0) close(from[0]);
    if (child > 0 && !finish(child, !ok, succeeded) && ok)
        ok = error_set_errno(err, "cannot wait for '%.128s'", program);
    return ok;
}

bool docker_helper_ask(const char *name, const char *server, struct docker_auth *out, struct error *err)
{
    char program[128];
    size_t n = 0;
    bool succeeded = false;
    *out = (struct docker_auth){0};
    snprintf(program, sizeof program, "docker-credential-%s", name);
    CLEANUP(free) char *answer = malloc(DOCKER_SECRET_BYTES_MAX);
    if (!answer) return error_memory(err, DOCKER_SECRET_BYTES_MAX);
    bool ok = talk(program, server, answer, &n, &succeeded, err);
    /* docker-credential-helpers' own words for "none": then there are none, and the registry may be open. */
    static const char none[] = "credentials not found";
    if (ok && succeeded) ok = docker_answer_parse(bytes_of(answer, n), program, out, err);
    else if (ok && !(n >= sizeof none - 1 && memmem(answer, n, none, sizeof none - 1)))
        ok = error_set(err, ERR_NETWORK, "the credential helper '%s' failed for %.256s", program, server);
    explicit_bzero(answer, DOCKER_SECRET_BYTES_MAX);
    return ok;
}
