#include "cli/backend_args.h"
#include "cli/commands.h"
#include "cli/compute_args.h"
#include "cli/logits_file.h"
#include "core/file.h"
#include "engine/corpus.h"
#include "engine/engine.h"

struct logits_args {
    struct common_args common;
    const char *ids, *output, *spill, *compute;
    bool hidden, states, router, mtp, plain;
};

static const struct option options[] = {
    {"ids", 0, OPTION_TEXT, offsetof(struct logits_args, ids), "FILE", "token ids: a JSON list of lists", 0, 0},
    {"output", 'o', OPTION_TEXT, offsetof(struct logits_args, output), "FILE",
     "a safetensors file: 0.logits, 1.logits, ... F32 [tokens, vocabulary]; of encoders 0.embedding or 0.scores", 0, 0},
    {"hidden", 0, OPTION_FLAG, offsetof(struct logits_args, hidden), NULL,
     "also N.hidden.L, what enters layer L, and N.hidden.final_norm", 0, 0},
    {"states", 0, OPTION_FLAG, offsetof(struct logits_args, states), NULL,
     "also N.recurrent_state.L and N.conv_state.L behind the last token", 0, 0},
    {"router", 0, OPTION_FLAG, offsetof(struct logits_args, router), NULL,
     "also N.router.L.experts and N.router.L.weights", 0, 0},
    {"mtp", 0, OPTION_FLAG, offsetof(struct logits_args, mtp), NULL,
     "also N.mtp_logits, of the multi-token-prediction head: row I is about token I + 2", 0, 0},
    {"plain-inputs", 0, OPTION_FLAG, offsetof(struct logits_args, plain), NULL,
     "activations and caches as they are, also where the checkpoint quantizes them", 0, 0},
    {"spill-dir", 0, OPTION_TEXT, offsetof(struct logits_args, spill), "DIR",
     "where activations go that do not fit in memory", 0, 0},
    COMPUTE_OPTION(struct logits_args),
    BACKEND_OPTION(struct logits_args),
    COMMON_OPTIONS(struct logits_args),
};

static bool run_blocks(struct logits_file *f, const struct engine *e, struct stream *s, struct mtp *head,
                       const struct progress *pr, struct error *err)
{
    const struct model_config *cfg = engine_config(e);
    struct observer ob = logits_file_observer(f);
    for (uint32_t b = 0; b < cfg->n_blocks; b++) {
        progress_update(pr, "logits", block_kind_name(cfg->blocks[b].kind), b, cfg->n_blocks);
        if (!logits_file_hidden(f, s, b, err) || !stream_block(s, b, &ob, pr, err) || !logits_file_failed(f, err))
            return false;
    }
    return logits_file_hidden(f, s, cfg->n_blocks, err) && logits_file_logits(f, e, s, err) &&
           (!head || logits_file_mtp(f, s, head, err));
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct logits_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    __attribute__((cleanup(cleanup_corpus))) struct corpus corpus = {0};
    CLEANUP(engine) struct engine *e = NULL;
    CLEANUP(stream) struct stream *s = NULL;
    CLEANUP(mtp) struct mtp *head = NULL;
    if (!a->ids) return error_set(err, ERR_USAGE, "option --ids is missing");
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    enum compute compute;
    if (!compute_parse(a->compute, &compute, err) || !backend_forward(env->common, "logits", err)) return false;
    struct corpus_options co = {.max_tokens = UINT32_MAX};
    struct engine_options eo = {.pool = env->pool, .isa = env->isa, .compute = compute, .quantize_inputs = !a->plain};
    struct logits_what what = {a->hidden, a->states, a->router, a->mtp};
    struct logits_file *f = NULL;
    if (!model_open(&m, operands[0], err) || !corpus_load_ids(&corpus, a->ids, &co, err) ||
        !engine_open(&e, m.inventory, &eo, err) || !stream_open(&s, e, corpus.texts, corpus.n_texts, a->spill, err) ||
        (a->mtp && !mtp_open(&head, e, false, err)) || !dir_make_parents(a->output, err) ||
        !logits_file_open(&f, a->output, &m.inventory->config, &corpus, what, err))
        return false;
    note_length(&m.inventory->config, "logits", corpus_longest(&corpus));
    if (!run_blocks(f, e, s, head, env->progress, err)) {
        logits_file_abort(f);
        return false;
    }
    if (!logits_file_commit(f, err)) return false;
    if (env->common->json)
        return print_json(json_pack("{s:s,s:I,s:I}", "output", a->output, "texts", (json_int_t)corpus.n_texts, "tokens",
                                    (json_int_t)corpus.n_tokens),
                          err);
    print_text("%u texts, %llu tokens -> %s\n", corpus.n_texts, (unsigned long long)corpus.n_tokens, a->output);
    return true;
}

const struct command command_logits = {
    .name = "logits",
    .operands = "DIR",
    .summary = "runs token ids through a model and writes all logits",
    .details = "Quantized checkpoints are evaluated as an engine would: weights from their own bytes, "
               "activations and\n"
               "caches quantized as they declare.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct logits_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
