#include "cli/backend_args.h"
#include "cli/chat_args.h"
#include "cli/commands.h"
#include "cli/compute_args.h"
#include "cli/generated.h"
#include "cli/id_list.h"
#include "cli/sample_args.h"
#include "core/memory.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"

#include <stdlib.h>
#include <time.h>

#define EOS_MAX 64u

struct generate_args {
    struct common_args common;
    const char *prompt, *ids, *compute;
    const char *speculative;
    uint64_t n, drafts;
    struct sample_args sample;
    struct chat_args chat;
    bool ignore_eos, as_chat;
};

static const struct option options[] = {
    {"prompt", 'p', OPTION_TEXT, offsetof(struct generate_args, prompt), "TEXT", "the text to go on from", 0, 0},
    {"ids", 0, OPTION_TEXT, offsetof(struct generate_args, ids), "1,2,3", "token ids to go on from, taken as they are",
     0, 0},
    {"chat", 'c', OPTION_FLAG, offsetof(struct generate_args, as_chat), NULL,
     "the prompt is a user's message, rendered by the model's chat template", 0, 0},
    CHAT_OPTIONS(struct generate_args),
    {"n", 'n', OPTION_NUMBER, offsetof(struct generate_args, n), "N", "new tokens at most (default 64)", 1, 1u << 24},
    SAMPLE_OPTIONS(struct generate_args),
    {"ignore-eos", 0, OPTION_FLAG, offsetof(struct generate_args, ignore_eos), NULL,
     "go on behind the end-of-text token", 0, 0},
    COMPUTE_OPTION(struct generate_args),
    {"speculative", 0, OPTION_TEXT, offsetof(struct generate_args, speculative), "mtp",
     "draft with the model's multi-token-prediction head: the same greedy text in fewer steps", 0, 0},
    {"drafts", 0, OPTION_NUMBER, offsetof(struct generate_args, drafts), "N", "tokens drafted at a time (default 1)", 1,
     SPECULATE_DRAFTS_MAX},
    BACKEND_OPTION(struct generate_args),
    COMMON_OPTIONS(struct generate_args),
};

static bool prompt_ids(const struct generate_args *a, const struct model *m, const struct tokenizer *t, uint32_t **ids,
                       size_t *n, struct error *err)
{
    if (a->ids) return id_list_parse(a->ids, ids, n, err);
    if (a->as_chat) return chat_ids(&a->chat, m->folder, t, a->prompt, ids, n, err);
    CLEANUP(free) uint32_t *body = NULL;
    size_t n_body;
    uint32_t bos;
    bool has_bos;
    if (!tokenizer_encode(t, bytes_text(a->prompt), true, &body, &n_body, err) ||
        !hf_config_bos(&m->hf, &bos, &has_bos, err))
        return false;
    bool add = has_bos && (n_body == 0 || body[0] != bos);
    *ids = malloc((n_body + 1) * sizeof **ids);
    if (!*ids) return error_memory(err, n_body * sizeof **ids);
    if (add) (*ids)[0] = bos;
    if (n_body) memcpy(*ids + add, body, n_body * sizeof *body);
    *n = n_body + add;
    return true;
}

/* ---- tokens ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct stop {
    uint32_t eos[EOS_MAX], n_eos;
    uint64_t most;
};

static bool ends(const struct stop *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->n_eos; i++)
        if (id == s->eos[i]) return true;
    return false;
}

static bool read_stop(const struct generate_args *a, const struct model *m, struct stop *s, struct error *err)
{
    s->most = a->n ? a->n : 64;
    if (!hf_config_eos(&m->hf, s->eos, EOS_MAX, &s->n_eos, err)) return false;
    if (a->ignore_eos) s->n_eos = 0;
    return true;
}

static bool check_speculative(const struct generate_args *a, const struct sampler_config *config, struct error *err)
{
    if (a->drafts && !a->speculative) return error_set(err, ERR_USAGE, "--drafts is about --speculative mtp");
    if (!a->speculative) return true;
    if (strcmp(a->speculative, "mtp") != 0)
        return error_set(err, ERR_USAGE, "option --speculative: expected mtp, found '%.64s'", a->speculative);
    if (config->temperature > 0 || config->repetition_penalty != 1)
        return error_set(err, ERR_USAGE, "--speculative mtp takes the likeliest token: there is nothing to draw");
    return true;
}

/* The same tokens, several at a time. */
static bool decode_drafted(const struct command_env *env, const struct generate_args *a, struct engine *e,
                           const struct stop *stop, struct generated *out, struct error *err)
{
    CLEANUP(speculation) struct speculation *sp = NULL;
    uint32_t ids[SPECULATE_DRAFTS_MAX + 1], n = 1;
    double began = now();
    if (!speculation_open(&sp, e, a->drafts ? (uint32_t)a->drafts : 1, err) ||
        !speculation_start(sp, out->ids, (uint32_t)out->n_prompt, ids, err))
        return false;
    double fed = now();
    out->drafted = true;
    out->prompt_seconds = fed - began;
    for (;;) {
        bool end = false;
        for (uint32_t i = 0; i < n && !end; i++) {
            end = ends(stop, ids[i]);
            if (!end && !generated_add(env, out, ids[i], err)) return false;
            end = end || out->n == stop->most;
        }
        out->seconds = now() - fed;
        out->counts = speculation_counted(sp);
        if (end) return true;
        if (env->common->json) progress_update(env->progress, "generate", NULL, out->n, stop->most);
        if (!progress_go_on(env->progress, err) || !speculation_next(sp, ids, &n, err)) return false;
    }
}

static bool decode(const struct command_env *env, const struct generate_args *a, const struct model *m,
                   struct generated *out, struct error *err)
{
    CLEANUP(engine) struct engine *e = NULL;
    CLEANUP(session) struct session *s = NULL;
    CLEANUP(sampler) struct sampler *sampler = NULL;
    CLEANUP(free) float *logits = NULL;
    uint64_t vocab = m->inventory->config.dims[DIM_VOCAB];
    struct stop stop;
    struct sampler_config config;
    struct engine_options eo = {.pool = env->pool, .isa = env->isa, .quantize_inputs = true};
    if (!compute_parse(a->compute, &eo.compute, err) || !sample_settings(&a->sample, m, &config, err) ||
        !check_speculative(a, &config, err) || !sampler_open(&sampler, &config, math_for(env->isa), vocab, err) ||
        !read_stop(a, m, &stop, err) || !engine_open(&e, m->inventory, &eo, err))
        return false;
    note_length(&m->inventory->config, "generate", out->n_prompt + stop.most - 1);
    if (a->speculative) return decode_drafted(env, a, e, &stop, out, err);
    if (!session_open(&s, e, err) || !memory_alloc(&logits, vocab, sizeof *logits, err)) return false;
    double began = now();
    if (!session_feed(s, out->ids, (uint32_t)out->n_prompt, logits, err)) return false;
    double fed = now();
    out->prompt_seconds = fed - began;
    for (;;) {
        uint32_t id = sampler_next(sampler, logits, out->ids, out->n_prompt + out->n);
        bool end = ends(&stop, id);
        if (!end && !generated_add(env, out, id, err)) return false;
        out->seconds = now() - fed;
        if (end || out->n == stop.most) return true;
        if (env->common->json) progress_update(env->progress, "generate", NULL, out->n, stop.most);
        if (!progress_go_on(env->progress, err) || !session_feed(s, &id, 1, logits, err)) return false;
    }
}

static bool make_room(const struct generate_args *a, const uint32_t *prompt, struct generated *out, struct error *err)
{
    if (out->n_prompt > UINT32_MAX) return error_set(err, ERR_UNSUPPORTED, "the prompt is too long");
    if (!memory_alloc(&out->ids, out->n_prompt + (a->n ? a->n : 64), sizeof *out->ids, err)) return false;
    memcpy(out->ids, prompt, out->n_prompt * sizeof *prompt);
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct generate_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    CLEANUP(free) uint32_t *prompt = NULL;
    struct generated out = {0};
    if (!a->as_chat && chat_given(&a->chat))
        return error_set(err, ERR_USAGE, "the options of a conversation need --chat");
    if (a->as_chat && (a->ids || (!a->prompt && !a->chat.messages)))
        return error_set(err, ERR_USAGE, "with --chat give --prompt, --messages or both");
    if (!a->as_chat && !a->prompt == !a->ids) return error_set(err, ERR_USAGE, "give one of --prompt and --ids");
    if (!backend_forward(env->common, "generation", err)) return false;
    if (!model_open(&m, operands[0], err) || !model_gives_logits(&m.inventory->config, "generating", err)) return false;
    bool has_tokenizer = tokenizer_file(m.folder) != NULL;
    if ((has_tokenizer || !a->ids) && !tokenizer_open(&t, m.folder, err)) return false;
    if (!prompt_ids(a, &m, t, &prompt, &out.n_prompt, err)) return false;
    out.text = (struct text_stream){.tokenizer = t, .skip_special = true};
    bool ok = make_room(a, prompt, &out, err) && decode(env, a, &m, &out, err) && generated_print(env, t, &out, err);
    free(out.ids);
    text_stream_close(&out.text);
    return ok;
}

const struct command command_generate = {
    .name = "generate",
    .operands = "DIR",
    .summary = "goes on from a prompt, token by token",
    .details = "The last line of --json is {\"ids\": [new ids], \"text\": ...}. The end-of-text token ends the text "
               "and is not part of it.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct generate_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
