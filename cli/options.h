/* Options as data: one table per command is the parser, the help text, and what the manual and completion are checked
 * against. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "core/error.h"
#include "core/text.h"

#include <stdint.h>

enum option_kind {
    OPTION_FLAG /* bool */,
    OPTION_TEXT /* const char * */,
    OPTION_NUMBER /* uint64_t */,
    OPTION_LIST /* struct option_list */
};

#define OPTION_LIST_MAX 64u
/* Of an option that may be given more than once: in the order of the command line. */
struct option_list {
    const char *items[OPTION_LIST_MAX];
    uint32_t n;
};

struct option {
    const char *name; /* "threads": --threads N or --threads=N */
    char letter;      /* 'o' for -o, or 0 */
    enum option_kind kind;
    size_t offset;     /* of the value in the command's arguments */
    const char *value; /* placeholder in help: "N", "DIR"; NULL for flags */
    const char *help;
    uint64_t min, max; /* OPTION_NUMBER */
};

/* What every command takes. */
struct common_args {
    bool help, json, quiet;
    uint64_t threads;
    const char *backend; /* of commands that compute (cli/backend_args.h) */
};

#define COMMON_OPTIONS(type)                                                                                           \
    {                                                                                                                  \
        "json", 0, OPTION_FLAG, offsetof(type, common.json), NULL, "one JSON object per result on standard output",    \
        0,      0},                                                                                                    \
        {"quiet", 'q', OPTION_FLAG, offsetof(type, common.quiet), NULL, "no progress", 0, 0},                          \
        {"threads", 't', OPTION_NUMBER, offsetof(type, common.threads), "N", "worker threads (default: one per CPU)",  \
         1,         1024},                                                                                             \
    {                                                                                                                  \
        "help", 'h', OPTION_FLAG, offsetof(type, common.help), NULL, "this text", 0, 0                                 \
    }

/* Fills `args` from argv[1 ..]; operands keep their order and end up in operands[0 .. *n_operands). An unknown option,
 * a missing or bad value is ERR_USAGE. "--" ends the options. */
MUST_CHECK bool options_parse(const struct option *options, uint32_t n_options, int argc, char **argv, void *args,
                              char **operands, uint32_t *n_operands, struct error *err);
void options_help(const struct option *options, uint32_t n_options, struct text *out);

#endif
