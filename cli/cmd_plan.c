#include "cli/commands.h"
#include "plan/plan.h"

struct plan_args {
    struct common_args common;
    const char *recipe, *layout;
    bool every, requantize;
};

static const struct option options[] = {
    {"recipe", 'r', OPTION_TEXT, offsetof(struct plan_args, recipe), "NAME|FILE",
     "what to quantize, and how (`ingot list recipes`)", 0, 0},
    {"layout", 0, OPTION_TEXT, offsetof(struct plan_args, layout), "NAME",
     "modelopt, compressed-tensors, awq or gptq, whatever the recipe says", 0, 0},
    {"every", 0, OPTION_FLAG, offsetof(struct plan_args, every), NULL,
     "a line for every tensor instead of one per kind", 0, 0},
    {"allow-requantize", 0, OPTION_FLAG, offsetof(struct plan_args, requantize), NULL,
     "a source that is quantized already is decoded and quantized again", 0, 0},
    COMMON_OPTIONS(struct plan_args),
};

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct plan_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    CLEANUP(recipe) struct recipe *recipe = NULL;
    CLEANUP(plan) struct plan *plan = NULL;
    if (!a->recipe) return error_set(err, ERR_USAGE, "option --recipe is missing");
    if (!recipe_load(&recipe, a->recipe, err) || (a->layout && !recipe_set_layout(recipe, a->layout, err)) ||
        (a->requantize && !recipe_allow_requantize(recipe, err)) || !model_open(&m, operands[0], err) ||
        !plan_build(&plan, m.inventory, recipe, err))
        return false;
    if (env->common->json) {
        json_t *j;
        return plan_json(plan, &j, err) && print_json(j, err);
    }
    CLEANUP(free) char *text = NULL;
    if (!plan_text(plan, a->every, &text, err)) return false;
    print_text("%s", text);
    return true;
}

const struct command command_plan = {
    .name = "plan",
    .operands = "DIR",
    .summary = "what would happen to every tensor; nothing is written",
    .details = "Prints what a recipe does to a checkpoint: which tensors become what and why, sizes, bits per weight, "
               "and the memory\n"
               "that quantize needs. The digest at the end names the plan; the quantized checkpoint carries it.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct plan_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
