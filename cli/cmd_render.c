#include "cli/chat_args.h"
#include "cli/commands.h"

struct render_args {
    struct common_args common;
    struct chat_args chat;
    const char *prompt;
    bool no_generation_prompt;
};

static const struct option options[] = {
    {"prompt", 'p', OPTION_TEXT, offsetof(struct render_args, prompt), "TEXT", "one user message behind the others", 0,
     0},
    CHAT_OPTIONS(struct render_args),
    {"no-generation-prompt", 0, OPTION_FLAG, offsetof(struct render_args, no_generation_prompt), NULL,
     "without the words that begin the answer", 0, 0},
    COMMON_OPTIONS(struct render_args),
};

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)env, (void)n_operands;
    const struct render_args *a = args;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(free) char *text = NULL;
    size_t n;
    if (!a->chat.messages && !a->prompt) return error_set(err, ERR_USAGE, "give --messages, --prompt or both");
    if (!folder_open(&f, operands[0], err) ||
        !chat_render(&a->chat, f, a->prompt, !a->no_generation_prompt, &text, &n, err))
        return false;
    if (a->common.json) return print_json(json_pack("{s:o}", "text", json_stringn_nocheck(text, n)), err);
    print_bytes(text, n);
    return true;
}

const struct command command_render = {
    .name = "render",
    .operands = "DIR",
    .summary = "a conversation as the text that the model's chat template makes of it",
    .details = "The text is printed as it is, without a line break behind it: what generate --chat gives to the model "
               "and what transformers' apply_chat_template returns.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct render_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
