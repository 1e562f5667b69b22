#include "calibrate/calibrate.h"
#include "cli/backend_args.h"
#include "cli/commands.h"
#include "cli/source_check.h"
#include "cli/data_args.h"
#include "cli/gain_report.h"
#include "cli/input_report.h"
#include "cli/solve_report.h"
#include "plan/recipe_words.h"
#include "quantize/quantize.h"

struct quantize_args {
    struct common_args common;
    struct data_args data;
    const char *recipe, *layout, *stats, *output, *spill, *scales_from;
    uint64_t shard_bytes, solve_bytes;
    bool force, sequential, requantize;
    struct source_args source;
};

static const struct option options[] = {
    {"recipe", 'r', OPTION_TEXT, offsetof(struct quantize_args, recipe), "NAME|FILE",
     "what to quantize, and how (`ingot list recipes`)", 0, 0},
    {"output", 'o', OPTION_TEXT, offsetof(struct quantize_args, output), "DIR", "the quantized checkpoint", 0, 0},
    {"layout", 0, OPTION_TEXT, offsetof(struct quantize_args, layout), "NAME",
     "modelopt, compressed-tensors, awq or gptq, whatever the recipe says", 0, 0},
    {"stats", 's', OPTION_TEXT, offsetof(struct quantize_args, stats), "FILE",
     "statistics of an earlier `ingot calibrate`", 0, 0},
    DATA_OPTIONS(struct quantize_args),
    {"scales-from", 0, OPTION_TEXT, offsetof(struct quantize_args, scales_from), "DIR",
     "take all scales over from this quantized folder of the same plan", 0, 0},
    {"spill-dir", 0, OPTION_TEXT, offsetof(struct quantize_args, spill), "DIR",
     "where activations go that do not fit in memory", 0, 0},
    {"shard-size", 0, OPTION_NUMBER, offsetof(struct quantize_args, shard_bytes), "BYTES",
     "tensor bytes per file at most (default 5G)", 1, UINT64_MAX / 2},
    {"force", 0, OPTION_FLAG, offsetof(struct quantize_args, force), NULL, "replace an output that exists", 0, 0},
    {"sequential", 0, OPTION_FLAG, offsetof(struct quantize_args, sequential), NULL,
     "each layer sees what the quantized layers in front of it give", 0, 0},
    {"solve-memory", 0, OPTION_NUMBER, offsetof(struct quantize_args, solve_bytes), "BYTES",
     "for second moments, of recipes that solve weights (default 4 GiB)", 1, UINT64_MAX / 2},
    {"allow-requantize", 0, OPTION_FLAG, offsetof(struct quantize_args, requantize), NULL,
     "a source that is quantized already is decoded and quantized again", 0, 0},
    BACKEND_OPTION(struct quantize_args),
    SOURCE_OPTIONS(struct quantize_args, source),
    COMMON_OPTIONS(struct quantize_args),
};

static bool get_stats(const struct command_env *env, const struct quantize_args *a, const struct model *m,
                      const struct plan *plan, struct stats **out, struct error *err)
{
    if (a->scales_from && (a->stats || data_given(&a->data)))
        return error_set(err, ERR_USAGE, "--scales-from takes the place of --stats and --data");
    if (a->scales_from) return true;
    if (a->stats && data_given(&a->data)) return error_set(err, ERR_USAGE, "--stats and --data exclude each other");
    if (a->stats) return stats_load(out, a->stats, err) && stats_fit(*out, plan, err);
    if (!plan->needs_data && data_given(&a->data))
        progress_note(env->progress, "quantize", "recipe '%s' needs no calibration: the texts are not read",
                      plan->recipe->name);
    if (!plan->needs_data) return true;
    if (!data_given(&a->data))
        return error_set(err, ERR_USAGE, "recipe '%s' needs calibration: give --data, --ids or --stats",
                         plan->recipe->name);
    if (!backend_forward(env->common, "calibration", err)) return false;
    __attribute__((cleanup(cleanup_corpus))) struct corpus corpus = {0};
    CLEANUP(free) char *work_path = NULL;
    if (asprintf(&work_path, "%s.solve", a->output) < 0) return error_memory(err, 0);
    struct calibrate_options o = {.pool = env->pool,
                                  .isa = env->isa,
                                  .spill_dir = a->spill,
                                  .work_path = work_path,
                                  .solve_bytes = a->solve_bytes,
                                  .sequential = a->sequential};
    return data_load(&a->data, m, &corpus, err) && calibrate_run(plan, &corpus, &o, out, env->progress, err);
}

/* A line when experts saw no token: what was done about them. */
static bool report_unseen(const struct plan *plan, const struct stats *stats, struct error *err)
{
    struct arena *arena = arena_new();
    const char **names;
    uint32_t n = 0;
    bool ok = arena ? stats_unseen(stats, plan, arena, &names, &n, err) : error_memory(err, 0);
    if (ok && n)
        print_text("%u experts saw no calibration token (unseen_experts: %s), the first is %s\n", n,
                   unseen_name(plan->recipe->unseen), names[0]);
    arena_free(arena);
    return ok;
}

/* With --scales-from: which scales, and how many weights outgrew them. */
static bool put_clipped(json_t *j, const struct quantize_result *r, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&r->scales_digest, hex);
    json_t *worst = r->worst_clipped ? json_pack("{s:s,s:I,s:I}", "tensor", r->worst_clipped, "weights",
                                                 (json_int_t)r->worst_n_clipped, "of", (json_int_t)r->worst_n_elems)
                                     : json_null();
    json_t *clipped = json_pack("{s:I,s:I,s:o}", "weights", (json_int_t)r->n_clipped, "tensors",
                                (json_int_t)r->n_clipped_tensors, "worst", worst);
    return json_put(j, "scales_sha256", json_string(hex), err) && json_put(j, "clipped", clipped, err);
}

/* What the plan accepts knowingly, such as 4/6 on Mamba's projections. */
static bool put_notes(const struct plan *plan, json_t *j, struct error *err)
{
    if (plan->n_notes == 0) return true;
    json_t *notes = json_array();
    for (uint32_t i = 0; notes && i < plan->n_notes; i++) json_array_append_new(notes, json_string(plan->notes[i]));
    return json_put(j, "notes", notes, err);
}

static bool report(const struct command_env *env, const struct plan *plan, const struct stats *stats,
                   const char *scales_from, const struct quantize_result *r, const char *output, struct error *err)
{
    char hex[DIGEST_HEX_SIZE], was[32], is[32];
    digest_hex(&plan->digest, hex);
    if (env->common->json) {
        CLEANUP(json)
        json_t *j =
            json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:f,s:b,s:s,s:s,s:I}", "output", output, "plan_sha256", hex,
                      "quantized", (json_int_t)r->n_quantized, "copied", (json_int_t)r->n_copied, "zero_tensors",
                      (json_int_t)r->n_zero, "source_bytes", (json_int_t)plan->read_bytes, "bytes",
                      (json_int_t)plan->write_bytes, "effective_bits", plan_effective_bits(plan), "resumed", r->resumed,
                      "backend", r->backend, "device", r->device, "devices", (json_int_t)r->n_devices);
        return (j || error_memory(err, 0)) && (!stats || stats_put_experts(stats, plan, j, err)) &&
               (!scales_from || put_clipped(j, r, err)) && solve_report_json(stats, j, err) &&
               gain_report_json(plan, r, j, err) && input_report_json(stats, j, err) && put_notes(plan, j, err) &&
               print_json(json_incref(j), err);
    }
    text_bytes(was, plan->read_bytes);
    text_bytes(is, plan->write_bytes);
    print_text("%s -> %s (%.3f bits per weight), %u tensors quantized%s -> %s\n", was, is, plan_effective_bits(plan),
               r->n_quantized, r->resumed ? ", resumed" : "", output);
    solve_report_print(stats);
    gain_report_print(plan, r);
    input_report_print(stats);
    if (scales_from && r->n_clipped)
        print_text("%llu weights of %u tensors lie beyond what their scale reaches; most in %s: %llu of %llu\n",
                   (unsigned long long)r->n_clipped, r->n_clipped_tensors, r->worst_clipped,
                   (unsigned long long)r->worst_n_clipped, (unsigned long long)r->worst_n_elems);
    else if (scales_from) print_text("every weight lies within reach of its scale\n");
    for (uint32_t i = 0; i < plan->n_notes; i++) print_text("note: %s\n", plan->notes[i]);
    return !stats || report_unseen(plan, stats, err);
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct quantize_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    CLEANUP(recipe) struct recipe *recipe = NULL;
    CLEANUP(plan) struct plan *plan = NULL;
    CLEANUP(stats) struct stats *stats = NULL;
    if (!a->recipe) return error_set(err, ERR_USAGE, "option --recipe is missing");
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    struct quantize_options o = {.pool = env->pool,
                                 .isa = env->isa,
                                 .scales_from = a->scales_from,
                                 .replace = a->force,
                                 .shard_bytes = a->shard_bytes ? a->shard_bytes : SHARD_BYTES_DEFAULT};
    struct quantize_result r;
    CLEANUP(json) json_t *signature = NULL;
    if (!source_check(env, &a->source, operands[0], &signature, err)) return false;
    o.source_signature = signature;
    bool ok = backend_find(env->common->backend, &o.backend, err) && recipe_load(&recipe, a->recipe, err) &&
              (!a->layout || recipe_set_layout(recipe, a->layout, err)) &&
              (!a->requantize || recipe_allow_requantize(recipe, err)) && model_open(&m, operands[0], err) &&
              plan_build(&plan, m.inventory, recipe, err) && get_stats(env, a, &m, plan, &stats, err) &&
              quantize_run(plan, &m, stats, a->output, &o, &r, env->progress, err) &&
              report(env, plan, stats, a->scales_from, &r, a->output, err);
    /* The next run goes on: what was solved for it stays beside the output. */
    if (!ok && stats && err && err->code == ERR_CANCELLED) stats->keep_work = true;
    return ok;
}

const struct command command_quantize = {
    .name = "quantize",
    .operands = "DIR",
    .summary = "writes the quantized checkpoint",
    .details = "Calibrates first when the recipe needs it and no statistics are given. A run that was killed or "
               "interrupted goes on where\n"
               "it stopped when the same command is given again, and ends in the same bytes.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct quantize_args),
    .min_operands = 1,
    .max_operands = 1,
    .resumes = true,
    .run = run,
};
