/* Errors: one struct that the caller owns, usually on the stack of the command.
 *
 * Every function that can fail returns bool and takes `struct error *err` last; true means done. Nothing here
 * allocates, so an error can always be reported, also when memory is gone. Each level on the way up may put its own
 * context in front (error_wrap) at the three places a user thinks in: command, file, tensor:
 * `quantize: shard 3 of 12: tensor 'x.weight': scale is not finite`.
 *
 * Texts come out as one line of printable UTF-8: control bytes, bidirectional overrides and broken UTF-8 in names that
 * a file brought along are written as \xNN, so that a hostile name cannot forge a line or move the terminal. */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Order matters only to error_codes[] in error.c, which gives each its word and its exit status. */
enum error_code {
    ERR_NONE,
    ERR_MISMATCH,    /* checked, and the answer is no */
    ERR_USAGE,       /* the command line or a file written by the user's hand as options */
    ERR_FORMAT,      /* bad input: a file is broken or disagrees with another */
    ERR_UNSUPPORTED, /* well-formed, but not something this program does */
    ERR_IO,          /* the operating system refused to read or write */
    ERR_MEMORY,
    ERR_DEVICE,    /* a GPU or its driver */
    ERR_CANCELLED, /* by a signal; work so far is kept and resumable */
    ERR_UNDECIDED, /* something asked for could not be checked */
    ERR_NETWORK,
    ERR_INTERNAL, /* our own mistake */
    ERR_CODE_COUNT
};

#define ERROR_TEXT_MAX 1024

struct error {
    enum error_code code;
    int os_errno;      /* 0 unless the operating system gave one */
    const char *check; /* static word naming the failed class ("signature", "digest", ...), or NULL */
    char text[ERROR_TEXT_MAX];
};

#define ERROR_INIT                                                                                                     \
    {                                                                                                                  \
        .code = ERR_NONE                                                                                               \
    }

/* All of these return false, so that `return error_set(...)` reads well. `err` may be NULL: then nothing is kept. */
bool error_set(struct error *err, enum error_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool error_set_errno(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3); /* appends strerror(errno) */
bool error_memory(struct error *err, size_t bytes);                              /* "out of memory (N bytes)" */
bool error_wrap(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);      /* "context: text" */
/* Gives the failure its class word; the text begins with it: "signature: ...". */
bool error_class(struct error *err, const char *check, const char *fmt, ...) PRINTF_LIKE(3, 4);

int error_exit_status(const struct error *err);
const char *error_code_name(enum error_code code);

/* Copies `src` (n bytes) into dst as one line of printable UTF-8 (see above), always terminated; cuts at size. */
void error_printable(char *dst, size_t size, const char *src, size_t n);

#endif
