#include "calibrate/calibrate.h"
#include "cli/backend_args.h"
#include "cli/commands.h"
#include "cli/source_check.h"
#include "cli/data_args.h"
#include "cli/input_report.h"
#include "cli/memory_report.h"
#include "cli/solve_report.h"
#include "core/file.h"
#include "plan/fold.h"

struct calibrate_args {
    struct common_args common;
    struct data_args data;
    const char *recipe, *output, *spill;
    uint64_t solve_bytes;
    bool sequential, requantize;
    struct source_args source;
};

static const struct option options[] = {
    {"recipe", 'r', OPTION_TEXT, offsetof(struct calibrate_args, recipe), "NAME|FILE",
     "the recipe that says what to watch", 0, 0},
    {"output", 'o', OPTION_TEXT, offsetof(struct calibrate_args, output), "FILE", "the statistics, a safetensors file",
     0, 0},
    DATA_OPTIONS(struct calibrate_args),
    {"spill-dir", 0, OPTION_TEXT, offsetof(struct calibrate_args, spill), "DIR",
     "where activations go that do not fit in memory", 0, 0},
    {"sequential", 0, OPTION_FLAG, offsetof(struct calibrate_args, sequential), NULL,
     "each layer sees what the quantized layers in front of it give", 0, 0},
    {"solve-memory", 0, OPTION_NUMBER, offsetof(struct calibrate_args, solve_bytes), "BYTES",
     "for second moments, of recipes that solve weights (default 4 GiB)", 1, UINT64_MAX / 2},
    {"allow-requantize", 0, OPTION_FLAG, offsetof(struct calibrate_args, requantize), NULL,
     "a source that is quantized already is decoded and quantized again", 0, 0},
    BACKEND_OPTION(struct calibrate_args),
    SOURCE_OPTIONS(struct calibrate_args, source),
    COMMON_OPTIONS(struct calibrate_args),
};

static bool report(const struct command_env *env, const struct stats *s, const struct plan *plan, const char *output,
                   const struct memory_report *memory, struct error *err)
{
    struct arena *arena = arena_new();
    const char **unseen;
    uint32_t n_unseen;
    bool ok = arena ? stats_unseen(s, plan, arena, &unseen, &n_unseen, err) : error_memory(err, 0);
    if (ok && env->common->json) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&s->digest, hex);
        CLEANUP(json)
        json_t *j = json_pack("{s:s,s:s,s:I,s:I,s:I,s:o}", "output", output, "sha256", hex, "texts",
                              (json_int_t)s->n_texts, "tokens", (json_int_t)s->n_tokens, "points",
                              (json_int_t)s->n_stats, "memory", memory_report_json(memory));
        ok = (j || error_memory(err, 0)) && stats_put_experts(s, plan, j, err) && solve_report_json(s, j, err) &&
             input_report_json(s, j, err) && print_json(json_incref(j), err);
    } else if (ok) {
        print_text("%llu texts, %llu tokens, %u maxima -> %s\n", (unsigned long long)s->n_texts,
                   (unsigned long long)s->n_tokens, s->n_stats, output);
        solve_report_print(s);
        input_report_print(s);
        for (uint32_t i = 0; i < n_unseen; i++)
            print_text("saw no token: %s%s\n", unseen[i],
                       plan->recipe->unseen == UNSEEN_ALL_TOKENS  ? ": all tokens were sent through it"
                       : plan->recipe->unseen == UNSEEN_LAYER_MAX ? ": it will use the layer's maximum"
                                                                  : "");
        memory_report_print(memory);
    }
    arena_free(arena);
    return ok;
}

/* Moments, samples, and what threads search in. */
static bool add_solving(struct memory_report *memory, const struct plan *plan, const struct pool *pool, uint64_t budget)
{
    uint64_t sampled = plan_fold_bytes(plan), moments = plan->solve_bytes - sampled;
    if (budget && moments > budget) moments = budget;
    memory->expected += moments + sampled + pool_threads(pool) * plan_fold_worker_bytes(plan);
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct calibrate_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    __attribute__((cleanup(cleanup_corpus))) struct corpus corpus = {0};
    CLEANUP(recipe) struct recipe *recipe = NULL;
    CLEANUP(plan) struct plan *plan = NULL;
    CLEANUP(stats) struct stats *stats = NULL;
    if (!a->recipe) return error_set(err, ERR_USAGE, "option --recipe is missing");
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    if (!data_given(&a->data)) return error_set(err, ERR_USAGE, "option --data (or --ids) is missing");
    if (!backend_forward(env->common, "calibration", err)) return false;
    struct memory_report memory;
    struct engine_options eo = {.pool = env->pool, .isa = env->isa, .quantize_inputs = true};
    struct calibrate_options o = {.pool = env->pool,
                                  .isa = env->isa,
                                  .spill_dir = a->spill,
                                  .work_path = a->output,
                                  .solve_bytes = a->solve_bytes,
                                  .sequential = a->sequential};
    CLEANUP(json) json_t *signature = NULL;
    return source_check(env, &a->source, operands[0], &signature, err) && recipe_load(&recipe, a->recipe, err) &&
           (!a->requantize || recipe_allow_requantize(recipe, err)) && model_open(&m, operands[0], err) &&
           plan_build(&plan, m.inventory, recipe, err) && data_load(&a->data, &m, &corpus, err) &&
           memory_report_begin(&memory, m.inventory, &eo, &corpus, a->spill, false, err) &&
           add_solving(&memory, plan, env->pool, a->solve_bytes) &&
           calibrate_run(plan, &corpus, &o, &stats, env->progress, err) && dir_make_parents(a->output, err) &&
           stats_save(stats, a->output, err) && report(env, stats, plan, a->output, &memory, err);
}

const struct command command_calibrate = {
    .name = "calibrate",
    .operands = "DIR",
    .summary = "runs texts through the model and keeps what the recipe must know",
    .details = "The beginning-of-text token is put in front of every text when the model has one. The model is read "
               "block by block and\n"
               "never held whole.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct calibrate_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
