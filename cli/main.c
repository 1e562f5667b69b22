/* Finds the command, parses its options, gives it threads and progress, and turns its error into one sentence and an
 * exit status. Commands themselves are in cmd_<name>.c. */
#include "backends/cpu/kernel.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "core/memory.h"
#include "core/version.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void print_usage(void)
{
    print_text("ingot %s: turns an upstream LLM checkpoint into a quantized, signed, verified package\n\n",
               INGOT_VERSION);
    print_text("usage: ingot COMMAND [OPTIONS] ...\n\n");
    for (const struct command *const *c = commands; *c; c++) print_text("  %-12s %s\n", (*c)->name, (*c)->summary);
    print_text("\n`ingot COMMAND --help` says more; `man ingot` too.\n");
}

static void print_help(const struct command *c)
{
    struct text t = TEXT_INIT;
    text_add(&t, "usage: ingot %s [OPTIONS]%s%s\n\n%s\n", c->name, *c->operands ? " " : "", c->operands, c->summary);
    if (c->details) text_add(&t, "\n%s\n", c->details);
    text_add(&t, "\noptions:\n");
    options_help(c->options, c->n_options, &t);
    if (t.data) fputs(t.data, stdout);
    text_free(&t);
}

static int fail(const struct command *c, const struct error *err, bool json)
{
    struct error ignored = ERROR_INIT;
    if (json && !ferror(stdout) && !print_json(json_pack("{s:o}", "error", error_json(err)), &ignored))
        fprintf(stderr, "ingot: %s\n", ignored.text);
    fprintf(stderr, "ingot%s%s: %s\n", c ? " " : "", c ? c->name : "", err->text);
    if (err->code == ERR_USAGE && c)
        fprintf(stderr, "usage: ingot %s [OPTIONS]%s%s   (--help says more)\n", c->name, *c->operands ? " " : "",
                c->operands);
    return error_exit_status(err);
}

static bool run(const struct command *c, const char *program, const void *args, char *const *operands,
                uint32_t n_operands, bool *error_printed, struct error *err)
{
    const struct common_args *common = args;
    struct console console;
    console_open(&console, common->quiet);
    struct progress progress = console_progress(&console);
    struct command_env env = {.common = common,
                              .program = program,
                              .progress = &progress,
                              .isa = isa_detected(),
                              .error_printed = error_printed};
    bool ok = pool_open(&env.pool, (uint32_t)common->threads, err) && c->run(&env, args, operands, n_operands, err);
    console_close(&console);
    pool_close(env.pool);
    if (!ok && err->code == ERR_CANCELLED && c->resumes) {
        struct error was = *err;
        error_set(err, ERR_CANCELLED, "%.900s; run the same command again to go on", was.text);
    }
    return ok && print_end(err);
}

static int run_command(const struct command *c, const char *program, int argc, char **argv)
{
    struct error err = ERROR_INIT;
    uint32_t n_operands;
    CLEANUP(free) void *args = calloc(1, c->args_bytes);
    CLEANUP(free) char **operands = calloc((size_t)argc + 1, sizeof *operands);
    if (!args || !operands) {
        error_memory(&err, c->args_bytes);
        return fail(c, &err, false);
    }
    bool json = false;
    for (int i = 1; i < argc; i++)
        json |= strcmp(argv[i], "--json") == 0; /* also for errors of the command line itself */
    if (!options_parse(c->options, c->n_options, argc, argv, args, operands, &n_operands, &err))
        return fail(c, &err, json);
    if (((struct common_args *)args)->help) {
        print_help(c);
        return print_end(&err) ? 0 : fail(c, &err, json);
    }
    if (n_operands < c->min_operands || n_operands > c->max_operands) {
        if (c->min_operands == c->max_operands)
            error_set(&err, ERR_USAGE, "%u operand%s expected, %u found", c->min_operands,
                      c->min_operands == 1 ? "" : "s", n_operands);
        else
            error_set(&err, ERR_USAGE, "%u to %u operands expected, %u found", c->min_operands, c->max_operands,
                      n_operands);
        return fail(c, &err, json);
    }
    const char *isa = getenv("INGOT_ISA");
    uint64_t cap;
    if (isa && *isa && !isa_parse(isa, &cap)) {
        error_set(&err, ERR_USAGE, "INGOT_ISA is '%.64s'; known are scalar, avx2, avx512, avx512bf16, neon", isa);
        return fail(c, &err, json);
    }
    bool error_printed = false;
    if (run(c, program, args, operands, n_operands, &error_printed, &err)) return 0;
    return fail(c, &err, json && !error_printed);
}

/* Sharded checkpoints have hundreds of files; the soft limit of descriptors is often 1024. */
static void raise_limits(void)
{
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) != 0 || rl.rlim_cur == rl.rlim_max) return;
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
}

int main(int argc, char **argv)
{
    console_catch_signals();
    raise_limits();
    memory_return_freed();
    struct error err = ERROR_INIT;
    const char *name = argc > 1 ? argv[1] : "--help";
    if (argc == 3 && strcmp(name, "help") == 0) { /* `ingot help CMD` is `ingot CMD --help` */
        static char help[] = "--help";
        name = argv[1] = argv[2];
        argv[2] = help;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_usage();
        return argc > 1 ? (print_end(&err) ? 0 : fail(NULL, &err, false)) : 2;
    }
    if (strcmp(name, "--version") == 0) {
        print_text("ingot %s\n", INGOT_VERSION);
        return print_end(&err) ? 0 : fail(NULL, &err, false);
    }
    for (const struct command *const *c = commands; *c; c++)
        if (strcmp((*c)->name, name) == 0) return run_command(*c, argv[0], argc - 1, argv + 1);
    bool json = false;
    for (int i = 1; i < argc; i++) json |= strcmp(argv[i], "--json") == 0;
    error_set(&err, ERR_USAGE, "there is no command '%.64s' (ingot --help lists them)", name);
    return fail(NULL, &err, json);
}
