/* What push and pull have in common on the command line. */
#ifndef CLI_REGISTRY_ARGS_H
#define CLI_REGISTRY_ARGS_H

#include "cli/commands.h"

struct registry_args {
    bool plain_http, no_referrers;
    const char *ca_file;
    uint64_t jobs, retries;
};

/* Rows of the option table of a command whose arguments have a member `registry`. */
#define REGISTRY_OPTIONS(type)                                                                                         \
    {"no-referrers",                                                                                                   \
     0,                                                                                                                \
     OPTION_FLAG,                                                                                                      \
     offsetof(type, registry.no_referrers),                                                                            \
     NULL,                                                                                                             \
     "leave signatures and attestations out",                                                                          \
     0,                                                                                                                \
     0},                                                                                                               \
        {"jobs", 'j', OPTION_NUMBER, offsetof(type, registry.jobs), "N", "blobs at a time (default 4)", 1, 32},        \
        {"retries",                                                                                                    \
         0,                                                                                                            \
         OPTION_NUMBER,                                                                                                \
         offsetof(type, registry.retries),                                                                             \
         "N",                                                                                                          \
         "tries again after a failure that may pass (default 5)",                                                      \
         1,                                                                                                            \
         100},                                                                                                         \
        {"ca-file",   0,                                                                                               \
         OPTION_TEXT, offsetof(type, registry.ca_file),                                                                \
         "FILE",      "certificates to trust (PEM) instead of the system's",                                           \
         0,           0},                                                                                              \
    {                                                                                                                  \
        "plain-http", 0, OPTION_FLAG, offsetof(type, registry.plain_http), NULL,                                       \
            "without TLS; for loopback addresses only", 0, 0                                                           \
    }

#endif
