/* Options of commands that use a private key: which, and where its passphrase (or the token's PIN) comes from. Never
 * from the command line itself, which every user of the machine can read. */
#ifndef CLI_KEY_ARGS_H
#define CLI_KEY_ARGS_H

#include "cli/commands.h"
#include "core/crypto.h"

struct key_args {
    const char *key, *passphrase_env, *passphrase_fd;
};

#define KEY_PASSPHRASE_ENV "INGOT_KEY_PASSPHRASE"

#define PASSPHRASE_OPTIONS(type, member)                                                                               \
    {"passphrase-env",                                                                                                 \
     0,                                                                                                                \
     OPTION_TEXT,                                                                                                      \
     offsetof(type, member.passphrase_env),                                                                            \
     "NAME",                                                                                                           \
     "environment variable with the passphrase or PIN (default: " KEY_PASSPHRASE_ENV ")",                              \
     0,                                                                                                                \
     0},                                                                                                               \
    {                                                                                                                  \
        "passphrase-fd", 0, OPTION_TEXT, offsetof(type, member.passphrase_fd), "N",                                    \
            "open file descriptor to read the passphrase or PIN from", 0, 0                                            \
    }
#define KEY_OPTIONS(type, member)                                                                                      \
    {                                                                                                                  \
        "key", 'k', OPTION_TEXT, offsetof(type, member.key), "FILE|URI", "private key: a PEM file or a pkcs11: URI",   \
        0,     0},                                                                                                     \
        PASSPHRASE_OPTIONS(type, member)

/* Fills `out` for key_open; it refers to `args`. Asks the terminal only when neither option nor variable has a text. */
struct key_secret key_args_secret(const struct key_args *args);
/* ERR_USAGE when --key is missing. */
MUST_CHECK bool key_args_open(const struct key_args *args, struct key **out, struct error *err);
/* A passphrase for a new key: from option or variable; with `wanted`, the terminal is asked, twice. Empty: none. */
MUST_CHECK bool key_args_new_passphrase(const struct key_args *args, bool wanted, char out[KEY_SECRET_MAX],
                                        struct error *err);

#endif
