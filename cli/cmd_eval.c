#include "cli/backend_args.h"
#include "cli/commands.h"
#include "cli/compute_args.h"
#include "cli/data_args.h"
#include "cli/memory_report.h"
#include "verify/eval.h"

struct eval_args {
    struct common_args common;
    struct data_args data;
    const char *spill, *compute;
};

static const struct option options[] = {
    DATA_OPTIONS(struct eval_args),
    {"spill-dir", 0, OPTION_TEXT, offsetof(struct eval_args, spill), "DIR",
     "where activations go that do not fit in memory", 0, 0},
    COMPUTE_OPTION(struct eval_args),
    BACKEND_OPTION(struct eval_args),
    COMMON_OPTIONS(struct eval_args),
};

static bool report(const struct command_env *env, const struct corpus *corpus, const struct eval_result *r,
                   const struct memory_report *memory, struct error *err)
{
    double speed = r->seconds > 0 ? (double)r->n_tokens / r->seconds : 0;
    if (!env->common->json) {
        print_text("%u texts, %llu tokens, %llu predicted\n", corpus->n_texts, (unsigned long long)r->n_tokens,
                   (unsigned long long)r->n_predicted);
        print_text("perplexity %.6g (%.6g nats per token), likeliest token right %.2f %%\n", r->perplexity, r->nll_mean,
                   100 * r->top1);
        print_text("%.1f tokens/s, %.2f s\n", speed, r->seconds);
        memory_report_print(memory);
        return true;
    }
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&corpus->digest, hex);
    return print_json(json_pack("{s:s,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:o}", "data_sha256", hex, "texts",
                                (json_int_t)corpus->n_texts, "tokens", (json_int_t)r->n_tokens, "predicted",
                                (json_int_t)r->n_predicted, "perplexity", r->perplexity, "nll_mean", r->nll_mean,
                                "top1", r->top1, "seconds", r->seconds, "tokens_per_second", speed, "memory",
                                memory_report_json(memory)),
                      err);
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct eval_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    __attribute__((cleanup(cleanup_corpus))) struct corpus corpus = {0};
    CLEANUP(engine) struct engine *e = NULL;
    struct eval_result r;
    struct memory_report memory;
    if (!data_given(&a->data)) return error_set(err, ERR_USAGE, "option --data (or --ids) is missing");
    struct engine_options eo = {.pool = env->pool, .isa = env->isa, .quantize_inputs = true};
    if (!compute_parse(a->compute, &eo.compute, err) || !backend_forward(env->common, "evaluation", err) ||
        !model_open(&m, operands[0], err) || !data_load(&a->data, &m, &corpus, err) ||
        !memory_report_begin(&memory, m.inventory, &eo, &corpus, a->spill, true, err) ||
        !engine_open(&e, m.inventory, &eo, err))
        return false;
    note_length(&m.inventory->config, "eval", corpus_longest(&corpus));
    return eval_run(&r, e, &corpus, a->spill, env->pool, env->progress, err) && report(env, &corpus, &r, &memory, err);
}

const struct command command_eval = {
    .name = "eval",
    .operands = "MODEL",
    .summary = "perplexity of a model on texts, and how fast it ran",
    .details =
        "exp of the mean negative log likelihood of every token but each text's first. Quantized checkpoints are\n"
        "evaluated as an engine would: weights from their own bytes, activations and caches quantized as they\n"
        "declare. The model is read block by block and never held whole.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct eval_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
