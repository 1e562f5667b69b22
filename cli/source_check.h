/* `--source-key`: the source folder's own signature (OpenSSF model signing) is verified before anything is read from
 * it. */
#ifndef CLI_SOURCE_CHECK_H
#define CLI_SOURCE_CHECK_H

#include "cli/commands.h"

struct source_args {
    const char *key, *roots, *signature;
    const char *time; /* when certificates must hold, as verify/policy.h reads it; NULL: now */
};

#define SOURCE_OPTIONS(type, member)                                                                                   \
    {"source-key",                                                                                                     \
     0,                                                                                                                \
     OPTION_TEXT,                                                                                                      \
     offsetof(type, member.key),                                                                                       \
     "FILE",                                                                                                           \
     "public key that must have signed the source folder (OpenSSF model signing)",                                     \
     0,                                                                                                                \
     0},                                                                                                               \
        {"source-roots",                                                                                               \
         0,                                                                                                            \
         OPTION_TEXT,                                                                                                  \
         offsetof(type, member.roots),                                                                                 \
         "FILE",                                                                                                       \
         "instead: certificates (PEM) that the source's signer must lead to",                                          \
         0,                                                                                                            \
         0},                                                                                                           \
    {                                                                                                                  \
        "source-signature", 0, OPTION_TEXT, offsetof(type, member.signature), "FILE",                                  \
            "where the source's signature is (default: DIR/model.sig)", 0, 0                                           \
    }

/* Nothing is asked for: true, and *out is NULL. Else *out says what was verified, for ingot.json and provenance:
 * {"root", "key_id" or "signer", "files": [{"name", "bytes", "sha256"}], "ignored": [...]}; ERR_MISMATCH when it does
 * not hold. */
MUST_CHECK bool source_check(const struct command_env *env, const struct source_args *args, const char *folder,
                             json_t **out, struct error *err);

#endif
