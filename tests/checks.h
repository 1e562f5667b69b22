/* What unit tests share: checks that print both values, a temporary folder, paths to data. On top of cmocka. */
#ifndef TESTS_CHECKS_H
#define TESTS_CHECKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/error.h"

/* The call must succeed; prints its error otherwise. */
#define CHECK_OK(call)                                                     \
    do {                                                                   \
        struct error *e_ = check_error();                                  \
        if (!(call)) fail_msg("%s: %s", #call, e_->text);                  \
    } while (0)

/* The call must fail with this code, and its text must contain `part`. Use `err` inside the call: check_error(). */
#define CHECK_FAILS(call, want_code, part)                                                            \
    do {                                                                                              \
        struct error *e_ = check_error();                                                             \
        if (call) fail_msg("%s: succeeded, expected the error '%s'", #call, part);                    \
        if (e_->code != (want_code))                                                                  \
            fail_msg("%s: code %s, expected %s (%s)", #call, error_code_name(e_->code), error_code_name(want_code), e_->text); \
        if (!strstr(e_->text, part)) fail_msg("%s: '%s' does not contain '%s'", #call, e_->text, part); \
    } while (0)

/* A cleared error for the calls above to fill. */
static inline struct error *check_error(void)
{
    static struct error e;
    e = (struct error)ERROR_INIT;
    return &e;
}

static inline void check_bytes(const void *got, const void *want, size_t n, const char *what)
{
    const uint8_t *g = got, *w = want;
    for (size_t i = 0; i < n; i++)
        if (g[i] != w[i]) fail_msg("%s: byte %zu of %zu is %02x, expected %02x", what, i, n, g[i], w[i]);
}

/* A fresh folder, removed by check_folder_remove. */
static inline const char *check_folder(void)
{
    static char path[64];
    strcpy(path, "/tmp/ingot-test-XXXXXX");
    if (!mkdtemp(path)) fail_msg("cannot make a temporary folder");
    return path;
}

static inline void check_folder_remove(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0) fail_msg("cannot remove %s", path);
}

/* Deterministic pseudo-random numbers (SplitMix64). */
static inline uint64_t check_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The folder of shared fixtures: $INGOT_SHARED, or "../shared" beside the source tree; NULL when it is not there. */
static inline const char *check_shared(void)
{
    static char path[512];
    const char *env = getenv("INGOT_SHARED");
    snprintf(path, sizeof path, "%s", env ? env : "../shared");
    return access(path, R_OK) == 0 ? path : NULL;
}

#endif
