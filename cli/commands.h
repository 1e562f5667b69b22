/* The list of commands. A command is one file cli/cmd_<name>.c and one line in commands[] (cli/commands.c); help,
 * manual synopsis and completion come from its table. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/options.h"
#include "core/json.h"
#include "core/pool.h"
#include "core/progress.h"

/* What a command is given besides its arguments. */
struct command_env {
    const struct common_args *common;
    const char *program; /* as the user called it: for commands to try next */
    const struct progress *progress;
    struct pool *pool;
    uint64_t isa;
    bool *error_printed; /* set by a command whose JSON result holds its error already */
};

struct command {
    const char *name;
    const char *operands; /* for the synopsis: "DIR" */
    const char *summary;  /* one line */
    const char *details;  /* more lines for --help, or NULL */
    const struct option *options;
    uint32_t n_options;
    size_t args_bytes; /* its arguments begin with struct common_args */
    uint32_t min_operands, max_operands;
    bool resumes; /* a run that was stopped goes on when the same command is given again */
    bool (*run)(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err);
};
extern const struct command *const commands[]; /* NULL-terminated */

/* Standard output, for results. print_json writes one line and releases `value` (NULL: out of memory). */
void print_text(const char *fmt, ...) PRINTF_LIKE(1, 2);
void print_bytes(const char *text, size_t n); /* as they are, NUL too */
MUST_CHECK bool print_json(json_t *value, struct error *err);
struct model_config;
/* One line on standard error, with --quiet too, when `longest` tokens are more than the model says it was made for.
 * They are computed all the same, as the reference does: positions have no table that ends. */
void note_length(const struct model_config *cfg, const char *command, uint64_t longest);
/* What --json says of an error: {"status": ..., "code": ..., "message": ..., "check": ...}; new reference or NULL. */
json_t *error_json(const struct error *err);
/* Flushes standard output; a closed pipe or a full disk behind it is an error like any other. */
MUST_CHECK bool print_end(struct error *err);

#endif
