#include "cli/commands.h"
#include "cli/id_list.h"
#include "engine/tokenizer.h"

struct detokenize_args {
    struct common_args common;
    const char *ids;
    bool no_special;
};

static const struct option options[] = {
    {"ids", 0, OPTION_TEXT, offsetof(struct detokenize_args, ids), "1,2,3", "token ids", 0, 0},
    {"no-special", 0, OPTION_FLAG, offsetof(struct detokenize_args, no_special), NULL, "leave special tokens out", 0,
     0},
    COMMON_OPTIONS(struct detokenize_args),
};

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct detokenize_args *a = args;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    CLEANUP(free) uint32_t *ids = NULL;
    CLEANUP(free) char *text = NULL;
    size_t n, n_text;
    if (!a->ids) return error_set(err, ERR_USAGE, "option --ids is missing");
    if (!id_list_parse(a->ids, &ids, &n, err) || !folder_open(&f, operands[0], err) || !tokenizer_open(&t, f, err) ||
        !tokenizer_decode(t, ids, n, a->no_special, &text, &n_text, err))
        return false;
    if (env->common->json) return print_json(json_pack("{s:s%}", "text", text, n_text), err);
    print_text("%.*s\n", (int)n_text, text);
    return true;
}

const struct command command_detokenize = {
    .name = "detokenize",
    .operands = "DIR",
    .summary = "token ids to text",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct detokenize_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
