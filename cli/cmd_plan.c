#include "cli/commands.h"
#include "cli/compute_args.h"
#include "cli/data_args.h"
#include "cli/memory_report.h"
#include "plan/plan.h"

struct plan_args {
    struct common_args common;
    struct data_args data;
    const char *recipe, *explain, *spill, *compute;
    uint64_t generate;
    bool every, requantize;
};

static const struct option options[] = {
    {"recipe", 'r', OPTION_TEXT, offsetof(struct plan_args, recipe), "NAME|FILE",
     "what to quantize, and how (`ingot list recipes`)", 0, 0},
    {"every", 0, OPTION_FLAG, offsetof(struct plan_args, every), NULL,
     "a line for every tensor instead of one per kind", 0, 0},
    {"explain", 0, OPTION_TEXT, offsetof(struct plan_args, explain), "TENSOR",
     "which rules speak of this tensor, which one decides, what it shares and what is written", 0, 0},
    {"allow-requantize", 0, OPTION_FLAG, offsetof(struct plan_args, requantize), NULL,
     "a source that is quantized already is decoded and quantized again", 0, 0},
    DATA_OPTIONS(struct plan_args),
    {"spill-dir", 0, OPTION_TEXT, offsetof(struct plan_args, spill), "DIR",
     "where activations would go that do not fit in memory", 0, 0},
    COMPUTE_OPTION(struct plan_args),
    {"generate", 0, OPTION_NUMBER, offsetof(struct plan_args, generate), "N",
     "say what memory a text of N tokens takes in `ingot generate`", 1, 1u << 30},
    COMMON_OPTIONS(struct plan_args),
};

static bool explain(const struct plan *plan, const char *tensor, bool json, struct error *err)
{
    json_t *j;
    CLEANUP(free) char *text = NULL;
    if (!plan_explain(plan, tensor, &j, err)) return false;
    if (json) return print_json(j, err);
    bool ok = plan_explain_text(j, &text, err);
    json_decref(j);
    if (ok) print_text("%s", text);
    return ok;
}

/* What the passes of calibrate, eval and generate take. */
static bool tell_memory(const struct command_env *env, const struct plan_args *a, const struct model *m, json_t *plan,
                        struct error *err)
{
    __attribute__((cleanup(cleanup_corpus))) struct corpus corpus = {0};
    struct engine_options eo = {.pool = env->pool, .isa = env->isa, .quantize_inputs = true};
    if (!compute_parse(a->compute, &eo.compute, err) || (data_given(&a->data) && !data_load(&a->data, m, &corpus, err)))
        return false;
    struct memory_question q = {.inventory = m->inventory,
                                .options = &eo,
                                .corpus = data_given(&a->data) ? &corpus : NULL,
                                .spill_dir = a->spill,
                                .n_tokens = a->generate,
                                .text_tokens = data_max_tokens(&a->data)};
    if (!env->common->json) return memory_answer_print(&q, err);
    json_t *memory;
    if (!memory_answer_json(&q, &memory, err)) return false;
    json_object_set_new(plan, "memory", memory);
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct plan_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    CLEANUP(recipe) struct recipe *recipe = NULL;
    CLEANUP(plan) struct plan *plan = NULL;
    CLEANUP(json) json_t *j = NULL;
    CLEANUP(free) char *text = NULL;
    bool asks = data_given(&a->data) || a->generate || !a->recipe;
    if (!asks && (a->data.max_tokens || a->data.max_texts || a->spill || a->compute))
        return error_set(err, ERR_USAGE, "options about texts need --data, --ids or --generate, or no --recipe");
    if (a->explain && !a->recipe) return error_set(err, ERR_USAGE, "option --explain needs --recipe");
    if ((a->recipe && !recipe_load(&recipe, a->recipe, err)) ||
        (recipe && a->requantize && !recipe_allow_requantize(recipe, err)) || !model_open(&m, operands[0], err) ||
        (recipe && !plan_build(&plan, m.inventory, recipe, err)))
        return false;
    if (a->explain) return explain(plan, a->explain, env->common->json, err);
    if (env->common->json) {
        if (plan ? !plan_json(plan, &j, err) : !(j = json_object())) return false;
        return (!asks || tell_memory(env, a, &m, j, err)) && print_json(json_incref(j), err);
    }
    if (plan && !plan_text(plan, a->every, &text, err)) return false;
    print_text("%s%s", plan ? text : "", plan && asks ? "\n" : "");
    return !asks || tell_memory(env, a, &m, NULL, err);
}

const struct command command_plan = {
    .name = "plan",
    .operands = "DIR",
    .summary = "what would happen to every tensor; nothing is written",
    .details =
        "Prints what a recipe does to a checkpoint: which tensors become what and why, sizes, bits per weight, "
        "and the memory\n"
        "that quantize needs. The digest at the end names the plan; the quantized checkpoint carries it.\n"
        "With texts, --generate, or no recipe: the memory that the forward pass takes in calibrate, eval, logits\n"
        "and generate.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct plan_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
