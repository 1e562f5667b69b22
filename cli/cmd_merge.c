#include "cli/commands.h"
#include "cli/package_ref.h"
#include "pack/thin.h"

struct merge_args {
    struct common_args common;
    const char *from;
};

static const struct option options[] = {
    {"from", 'f', OPTION_TEXT, offsetof(struct merge_args, from), "DIR", "the layout to take them from", 0, 0},
    COMMON_OPTIONS(struct merge_args),
};

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct merge_args *a = args;
    CLEANUP(free) char *ref = NULL;
    uint32_t n = 0;
    if (!a->from) return error_set(err, ERR_USAGE, "option --from is missing");
    if (!package_ref(operands[0], &ref, err) || !merge_run(ref, a->from, &n, err)) return false;
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s,s:I}", "package", ref, "from", a->from, "added", (json_int_t)n), err);
    print_text("%s: %u signatures and statements added\n", ref, n);
    return true;
}

const struct command command_merge = {
    .name = "merge",
    .operands = "PACKAGE",
    .summary = "adds signatures and attestations from a thin copy to a package",
    .details = "What speaks of an image of this package is taken, nothing else; nothing is removed.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct merge_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
