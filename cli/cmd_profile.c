#include "cli/commands.h"
#include "pack/profile.h"

struct profile_args {
    struct common_args common;
    const char *engine, *gpu, *output, *kv_dtype;
    uint64_t context, sequences, draft;
    bool long_context, no_lint, force;
};

static const struct option options[] = {
    {"engine", 'e', OPTION_TEXT, offsetof(struct profile_args, engine), "NAME@VERSION", "for example vllm@0.17.1", 0,
     0},
    {"gpu", 'g', OPTION_TEXT, offsetof(struct profile_args, gpu), "ID:COUNT", "for example b200:2 (`ingot list gpus`)",
     0, 0},
    {"output", 'o', OPTION_TEXT, offsetof(struct profile_args, output), "DIR", "the profile becomes a folder in it", 0,
     0},
    {"context", 0, OPTION_NUMBER, offsetof(struct profile_args, context), "N", "tokens per sequence", 1, UINT32_MAX},
    {"sequences", 0, OPTION_NUMBER, offsetof(struct profile_args, sequences), "N", "sequences at once", 1, 1000000},
    {"draft", 0, OPTION_NUMBER, offsetof(struct profile_args, draft), "N", "tokens drafted by the MTP head", 0, 64},
    {"kv-dtype", 0, OPTION_TEXT, offsetof(struct profile_args, kv_dtype), "WORD",
     "KV cache type, instead of what the checkpoint declares", 0, 0},
    {"long-context", 0, OPTION_FLAG, offsetof(struct profile_args, long_context), NULL,
     "go beyond what the configuration says", 0, 0},
    {"no-lint", 0, OPTION_FLAG, offsetof(struct profile_args, no_lint), NULL,
     "write it though a rule says that it cannot run", 0, 0},
    {"force", 0, OPTION_FLAG, offsetof(struct profile_args, force), NULL, "replace a profile that exists", 0, 0},
    COMMON_OPTIONS(struct profile_args),
};

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct profile_args *a = args;
    if (!a->engine || !a->gpu || !a->output)
        return error_set(err, ERR_USAGE, "option --%s is missing", !a->engine ? "engine" : !a->gpu ? "gpu" : "output");
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    __attribute__((cleanup(cleanup_profile_result))) struct profile_result r = {0};
    struct profile_request req = {.engine = a->engine,
                                  .gpu = a->gpu,
                                  .context = a->context,
                                  .sequences = a->sequences,
                                  .draft_tokens = (uint32_t)a->draft,
                                  .kv_dtype = a->kv_dtype,
                                  .long_context = a->long_context,
                                  .force = a->no_lint,
                                  .replace = a->force};
    if (!model_open(&m, operands[0], err) || !profile_build(&m, &req, a->output, env->progress, &r, err)) return false;
    if (env->common->json) return print_json(json_deep_copy(r.json), err);
    print_text("%s%s\n", r.path, r.unchanged ? " (unchanged)" : "");
    for (uint32_t i = 0; i < r.n_notes; i++) print_text("note: %s\n", r.notes[i]);
    for (uint32_t i = 0; i < r.lint.n; i++)
        print_text("%s %s: %s\n", lint_severity_name(r.lint.findings[i].severity), r.lint.findings[i].rule->id,
                   r.lint.findings[i].text);
    return true;
}

const struct command command_profile = {
    .name = "profile",
    .operands = "DIR",
    .summary = "the serving profile for an engine and a GPU, with the memory fit",
    .details = "Writes the engine's configuration file, its command line and environment, and profile.json with every\n"
               "term of the memory calculation and what the lint rules say.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct profile_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
